/** @module bun-tensorrt/serve: a detector behind HTTP. */

export { type GpuSample, type GpuSampler, ServiceMetrics } from "../service/metrics.ts";
export type { DetectionJson, ResultJson } from "../tasks/detect/detect-forms.ts";
export type { ServedDetector, ServedModel } from "./detect-desk.ts";
export { type DetectionServer, serve } from "./detection-server.ts";
export type { ServeOptions } from "./serve-config.ts";
