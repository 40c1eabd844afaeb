/** @module ONNX Runtime by FFI: sessions on the CPU, off the JS thread. */

export type { DType, DTypeMap, Shape } from "../core/tensor.ts";
export { createTensor, type Tensor, type TensorInfo, tensorOf } from "../core/tensor.ts";
export { Inference, type InferenceRunOptions } from "./inference.ts";
export type { ModelDescription } from "./model-source.ts";
export { type RunOptions, Session } from "./session.ts";
export type { Optimization, Provider, SessionConfig, SessionOptions } from "./session-options.ts";
