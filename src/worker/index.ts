/** @module bun-tensorrt/worker: frames from Redis streams in, detections out. */

export type { Depth, Detection, Detections, Frame, Timings } from "../tasks/messages.js";
export { DetectionSchema, DetectionsSchema, Encoding, FrameSchema } from "../tasks/messages.js";
export type { Broker, ClaimedEntries, Destination, Field, ReadOptions, StreamEntry, StreamLag } from "./broker.ts";
export {
  readConfigFile,
  Worker,
  type WorkerDetector,
  type WorkerModel,
  type WorkerParts,
  type WorkerState,
} from "./worker.ts";
export type {
  ClaimOptions,
  DeadLetterOptions,
  HttpOptions,
  OutputOptions,
  ReconnectOptions,
  SourceOptions,
  SourceRules,
  WorkerOptions,
} from "./worker-config.ts";
