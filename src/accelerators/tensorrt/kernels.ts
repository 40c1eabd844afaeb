/** @module KernelLaunch: a launch written down as data, and the same bound to a kernel, ready to be enqueued every frame. */

import { readFileSync } from "node:fs";
import decodeDense from "../../../ptx/decode_dense.ptx" with { type: "file" };
import decodeDistanceBins from "../../../ptx/decode_distance_bins.ptx" with { type: "file" };
import decodeFastestdet from "../../../ptx/decode_fastestdet.ptx" with { type: "file" };
import decodeGrid from "../../../ptx/decode_grid.ptx" with { type: "file" };
import decodeMaps from "../../../ptx/decode_maps.ptx" with { type: "file" };
import decodeQueries from "../../../ptx/decode_queries.ptx" with { type: "file" };
import decodeRows from "../../../ptx/decode_rows.ptx" with { type: "file" };
import mask from "../../../ptx/mask.ptx" with { type: "file" };
import preprocess from "../../../ptx/preprocess.ptx" with { type: "file" };
import preprocessAntialias from "../../../ptx/preprocess_antialias.ptx" with { type: "file" };
import preprocessChannels from "../../../ptx/preprocess_channels.ptx" with { type: "file" };
import preprocessLobed from "../../../ptx/preprocess_lobed.ptx" with { type: "file" };
import rotated from "../../../ptx/rotated.ptx" with { type: "file" };
import select from "../../../ptx/select.ptx" with { type: "file" };
import transform from "../../../ptx/transform.ptx" with { type: "file" };
import { importedFile } from "../../core/embedded.ts";
import { ArgumentError, message, ShapeError } from "../../core/errors.ts";
import { Resource } from "../../core/resource.ts";
import { type DType, formatShape, type Shape } from "../../core/tensor.ts";
import type { DevicePtr } from "../../core/units.ts";
import type { TypedDeviceMemory } from "../../cuda/buffers.ts";
import type { Device } from "../../cuda/device.ts";
import {
  type Kernel,
  type KernelArguments,
  kernelParameters,
  type LaunchConfig,
  Module,
  type OwnModule,
} from "../../cuda/kernel.ts";
import type { OnStream } from "../../cuda/stream.ts";
import { refuseOutput } from "../../heads/outputs.ts";

/** A launch as plain data: which kernel, how many threads, and the value of every parameter by its name. */
export interface LaunchSpec {
  readonly module: KernelModule;
  readonly kernel: string;
  readonly config: LaunchConfig;
  /** Addresses and numbers. */
  readonly values: Readonly<Record<string, number>>;
}

/**
 * Write the value of every parameter into an argument block.
 *
 * @throws {ArgumentError} If a value is missing, or there is no such parameter
 */
export function writeArguments(args: KernelArguments, values: Readonly<Record<string, number>>): void {
  for (const name of Object.keys(values)) args.index(name);
  for (const [at, { name, type }] of args.parameters.entries()) {
    const value = values[name];
    if (value === undefined) throw new ArgumentError(`Cannot launch a kernel: its parameter ${name} has no value`);
    if (type === "pointer") args.setPointer(at, value as DevicePtr);
    else if (type === "i32") args.setI32(at, value);
    else if (type === "u32") args.setU32(at, value);
    else args.setF32(at, value);
  }
}

/** A kernel with its arguments written: enqueuing it does nothing else. */
export class KernelLaunch {
  readonly #kernel: Kernel;
  readonly #config: LaunchConfig;
  readonly #args: KernelArguments;

  /** @throws {ArgumentError} If the values are not those of the kernel's parameters */
  constructor(library: KernelLibrary, spec: LaunchSpec) {
    this.#kernel = library.kernel(spec.module, spec.kernel);
    this.#config = spec.config;
    this.#args = this.#kernel.createArguments();
    writeArguments(this.#args, spec.values);
  }

  /** Enqueue it. */
  enqueue(options: OnStream): void {
    this.#kernel.launch(this.#config, this.#args, options);
  }
}

/// <reference path="../../core/files.d.ts" />

/** A source of `kernels/`, without its ending; that of nvjpeg/ is loaded there. */
type KernelModule = Exclude<OwnModule, "jpeg" | "jpeg_check">;

const PATHS: Readonly<Record<KernelModule, string>> = {
  decode_dense: decodeDense,
  decode_distance_bins: decodeDistanceBins,
  decode_fastestdet: decodeFastestdet,
  decode_grid: decodeGrid,
  decode_maps: decodeMaps,
  decode_queries: decodeQueries,
  decode_rows: decodeRows,
  mask,
  preprocess,
  preprocess_antialias: preprocessAntialias,
  preprocess_channels: preprocessChannels,
  preprocess_lobed: preprocessLobed,
  rotated,
  select,
  transform,
};

/** The kernels on one device. Keep one per device: the driver compiles each module when it is first used. */
export class KernelLibrary extends Resource {
  readonly device: Device;
  readonly #modules = new Map<KernelModule, Module>();
  readonly #kernels = new Map<string, Kernel>();

  private constructor(device: Device) {
    super("KernelLibrary", device);
    this.device = device;
  }

  /** An empty library; nothing is loaded yet. */
  static create(device: Device): KernelLibrary {
    return new KernelLibrary(device);
  }

  /**
   * A kernel by the name of its entry point. Slow the first time: ask outside the hot path.
   *
   * @throws {ArgumentError} If the module has no such entry point
   * @throws {CudaError} If the driver cannot load the module
   */
  kernel(module: KernelModule, name: string): Kernel {
    this.assertOpen(`load the kernel ${name}`);
    const known = this.#kernels.get(name);
    if (known !== undefined) return known;
    const parameters = kernelParameters(module, name);
    const kernel = this.#load(module).kernel(name, parameters);
    this.#kernels.set(name, kernel);
    return kernel;
  }

  #load(name: KernelModule): Module {
    const known = this.#modules.get(name);
    if (known !== undefined) return known;
    const module = Module.load(this.device, readFileSync(importedFile(PATHS[name])), { name: `${name}.ptx` });
    this.#modules.set(name, module);
    return module;
  }

  protected override release(): void {
    using owned = new DisposableStack();
    for (const module of this.#modules.values()) owned.use(module);
    this.#modules.clear();
    this.#kernels.clear();
  }
}

/** Every output of a model in device memory, by name. */
export type DeviceOutputs = ReadonlyMap<string, TypedDeviceMemory>;

/** Codes of kernels/decode.cuh and, the last, of decode_rows.cu. */
const CODES: Partial<Record<DType, number>> = { f32: 0, f16: 1, i32: 2, i64: 3, u8: 4 };

/** The code of a dtype that {@linkcode deviceOutput} let through. */
export function dtypeCode(output: TypedDeviceMemory): number {
  return CODES[output.dtype] ?? -1;
}

/**
 * An output by name.
 *
 * @param expected -1 for a dimension of any size
 * @param vectors  "any" for a kernel that reads channels in vectors: it takes `vector` of the output
 * @throws {ShapeError} If it is missing, or has another dtype or shape, or its channels lie in vectors and the kernel does not
 *   read them
 */
export function deviceOutput(
  outputs: DeviceOutputs,
  name: string,
  dtypes: readonly DType[],
  expected: Shape,
  vectors: "linear" | "any" = "linear",
): TypedDeviceMemory {
  const output = outputs.get(name);
  const fits =
    output !== undefined &&
    dtypes.includes(output.dtype) &&
    output.shape.length === expected.length &&
    expected.every((dim, axis) => dim < 0 || dim === output.shape[axis]);
  if (!fits) return refuseOutput(name, `${dtypes.join(" or ")} ${formatShape(expected)}`, output);
  if (vectors === "linear") assertLinear(name, output);
  return output;
}

/** @throws {ShapeError} If the channels of an output lie in vectors */
export function assertLinear(name: string, { vector = 1 }: TypedDeviceMemory): void {
  if (vector === 1) return;
  const actual = `channels in vectors of ${vector}`;
  const hint = "build the plan anew from the ONNX model, with linear outputs";
  const text = message(`read the output ${JSON.stringify(name)}`, `it must be row-major, got ${actual}`, hint);
  throw new ShapeError(text, { tensor: name, expected: "a row-major tensor", actual });
}
