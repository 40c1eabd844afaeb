/** @module EngineTensor: what an engine says of one of its inputs or outputs. */

import type { Shape } from "../core/shape.ts";
import type { TensorInfo } from "../core/tensor.ts";
import { cString, readCString } from "../ffi/cstring.ts";
import { type MethodOf, methodId, shim } from "../ffi/shim.ts";
import { dtypeOf } from "./data-type.ts";
import type { TensorRtLibrary } from "./library.ts";
import { ShapeCells } from "./shape-cells.ts";

/** nvinfer1::TensorIOMode. */
const MODES: readonly ("none" | "input" | "output")[] = ["none", "input", "output"];

/** nvinfer1::TensorFormat: linear, row-major. */
const LINEAR = 0;

/** An input or output of an engine. */
export interface EngineTensor extends TensorInfo {
  readonly mode: "input" | "output";
  /** True where its values are read on the host, before the inference runs. */
  readonly isShapeInput: boolean;
  /** Where its memory lies. */
  readonly location: "device" | "host";
  /** True for plain row-major memory; false for a vectorised layout, which `formatText` describes. */
  readonly isLinear: boolean;
  /** TensorRT's own words: `Row major linear FP32 format (kLINEAR)`. */
  readonly formatText: string;
  /** Smallest, typical and largest shape of each optimisation profile; equal where the shape is fixed, empty for outputs. */
  readonly profiles: readonly ProfileShape[];
}

/** The shapes an input may have under one optimisation profile. */
export interface ProfileShape {
  readonly min: Shape;
  readonly opt: Shape;
  readonly max: Shape;
}

const cells = new ShapeCells();

function profilesOf(library: TensorRtLibrary, engine: number, name: Uint8Array, count: number): ProfileShape[] {
  return Array.from({ length: count }, (_, profile) => {
    const [min, opt, max] = [0, 1, 2].map((selector) => {
      const rank = shim().bt_engine_profile_shape(library.handle, engine, name, profile, selector, cells.cells);
      return cells.read(library.check(rank, "CudaEngine.getProfileShape"));
    });
    return { min: min!, opt: opt!, max: max! };
  });
}

/**
 * Read one tensor of an engine.
 *
 * @param engine       address of the ICudaEngine
 * @param profileCount number of its optimisation profiles
 * @param source       the plan, for messages
 * @throws {ModelError} If its element type has no JavaScript array
 */
export function readEngineTensor(
  library: TensorRtLibrary,
  engine: number,
  name: string,
  profileCount: number,
  source: string,
): EngineTensor {
  const native = shim();
  const encoded = cString(name);
  const i32Of = (method: MethodOf<"i32_of">): number =>
    library.check(native.bt_i32_of(library.handle, engine, methodId(method), encoded), method);
  const mode = MODES[i32Of("CudaEngine.getTensorIOMode")] === "input" ? "input" : "output";
  const rank = native.bt_engine_tensor_shape(library.handle, engine, encoded, cells.cells);
  const shape = cells.read(library.check(rank, "CudaEngine.getTensorShape"));
  const isShapeInference = native.bt_bool_of(
    library.handle,
    engine,
    methodId("CudaEngine.isShapeInferenceIO"),
    encoded,
  );
  const format = native.bt_text_of(library.handle, engine, methodId("CudaEngine.getTensorFormatDesc"), encoded);
  return {
    name,
    dtype: dtypeOf(i32Of("CudaEngine.getTensorDataType"), name, source),
    shape,
    mode,
    isShapeInput: mode === "input" && library.check(isShapeInference, "CudaEngine.isShapeInferenceIO") === 1,
    location: i32Of("CudaEngine.getTensorLocation") === 0 ? "device" : "host",
    isLinear: i32Of("CudaEngine.getTensorFormat") === LINEAR,
    formatText: readCString(format),
    profiles: mode === "input" ? profilesOf(library, engine, encoded, profileCount) : [],
  };
}
