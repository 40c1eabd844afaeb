/** @module bun-tensorrt/serve: a detector behind HTTP, at an address of its own or within a server of yours. */

export {
  type GpuSample,
  type GpuSampler,
  ServiceMetrics,
  type ServiceMetricsOptions,
  type ServiceStage,
} from "../service/metrics.ts";
export type { DetectionJson, ResultJson } from "../tasks/detect/detection.ts";
export type { ServedDetector, ServedModel } from "./detect-desk.ts";
export { createHandler, type DetectionHandler, type DetectionServer, serve } from "./detection-server.ts";
export type { LiveStream } from "./live-streams.ts";
export type { HandlerOptions, ServeOptions } from "./serve-config.ts";
