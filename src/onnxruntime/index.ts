/** @module ONNX Runtime by FFI: sessions on the CPU, off the JS thread. */

export type { DType, DTypeMap, Shape } from "../core/tensor.ts";
export { createTensor, type Tensor, type TensorInfo, tensorOf } from "../core/tensor.ts";
export { Inference, type InferenceRunOptions } from "./inference.ts";
export type { ModelDescription } from "./model-description.ts";
export type { Provider } from "./providers.ts";
export { type RunOptions, Session } from "./session.ts";
export type { Optimization, SessionConfig, SessionOptions } from "./session-options.ts";
