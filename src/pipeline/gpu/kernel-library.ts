/** @module KernelLibrary: the package's precompiled kernels, each module loaded on a device when first asked for. */

/// <reference path="../../cuda/ptx.d.ts" />

import { readFileSync } from "node:fs";
import decodeDense from "../../../ptx/decode_dense.ptx" with { type: "file" };
import decodeDistanceBins from "../../../ptx/decode_distance_bins.ptx" with { type: "file" };
import decodeFastestdet from "../../../ptx/decode_fastestdet.ptx" with { type: "file" };
import decodeGrid from "../../../ptx/decode_grid.ptx" with { type: "file" };
import decodeQueries from "../../../ptx/decode_queries.ptx" with { type: "file" };
import decodeRows from "../../../ptx/decode_rows.ptx" with { type: "file" };
import manifest from "../../../ptx/manifest.json";
import preprocess from "../../../ptx/preprocess.ptx" with { type: "file" };
import preprocessAntialias from "../../../ptx/preprocess_antialias.ptx" with { type: "file" };
import select from "../../../ptx/select.ptx" with { type: "file" };
import transform from "../../../ptx/transform.ptx" with { type: "file" };
import { ArgumentError, message } from "../../core/errors.ts";
import { Resource } from "../../core/resource.ts";
import type { Device } from "../../cuda/device.ts";
import type { Kernel } from "../../cuda/kernel.ts";
import type { Parameter, ParameterType } from "../../cuda/kernel-arguments.ts";
import { Module } from "../../cuda/module.ts";

/** A source of `kernels/`, without its ending; that of nvjpeg/ is loaded there. */
export type KernelModule = Exclude<keyof typeof manifest.modules, "jpeg" | "jpeg_check">;

const PATHS: Readonly<Record<KernelModule, string>> = {
  decode_dense: decodeDense,
  decode_distance_bins: decodeDistanceBins,
  decode_fastestdet: decodeFastestdet,
  decode_grid: decodeGrid,
  decode_queries: decodeQueries,
  decode_rows: decodeRows,
  preprocess,
  preprocess_antialias: preprocessAntialias,
  select,
  transform,
};

/**
 * The parameters of a kernel, as the manifest lists them.
 *
 * @throws {ArgumentError} If the module has no such entry point
 */
export function kernelParameters(module: KernelModule, name: string): readonly Parameter[] {
  const entries: Readonly<Record<string, readonly (readonly (string | number)[])[]>> = manifest.modules[module].entries;
  const rows = entries[name];
  if (rows === undefined) {
    throw new ArgumentError(
      message(`load the kernel ${name}`, `${module} has only ${Object.keys(entries).join(", ")}`),
    );
  }
  return rows.map(([parameter, type, offsetBytes, byteLength]) => ({
    name: String(parameter),
    type: type as ParameterType,
    offsetBytes: Number(offsetBytes),
    byteLength: Number(byteLength),
  }));
}

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
    const module = Module.load(this.device, readFileSync(PATHS[name]), { name: `${name}.ptx` });
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
