/** @module Manifest: the entry points of the package's own kernels, as `scripts/kernels.ts` lists them. */

import manifest from "../../ptx/manifest.json";
import { ArgumentError, message } from "../core/errors.ts";
import type { Parameter, ParameterType } from "./kernel.ts";

/** A source of `kernels/`, without its ending. */
export type OwnModule = keyof typeof manifest.modules;

/**
 * The parameters of a kernel, as the manifest lists them.
 *
 * @throws {ArgumentError} If the module has no such entry point
 */
export function kernelParameters(module: OwnModule, name: string): readonly Parameter[] {
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
