/** @module Manifest: the entry points of the package's own kernels, as `scripts/kernels.ts` lists them. */

import manifest from "../../ptx/manifest.json";
import { ArgumentError, message } from "../core/errors.ts";
import type { Parameter, ParameterType } from "./kernel.ts";

/** A source of `kernels/`, without its ending. */
export type OwnModule =
  | "decode_dense"
  | "decode_distance_bins"
  | "decode_fastestdet"
  | "decode_grid"
  | "decode_maps"
  | "decode_queries"
  | "decode_rows"
  | "jpeg"
  | "jpeg_check"
  | "mask"
  | "preprocess"
  | "preprocess_antialias"
  | "preprocess_channels"
  | "preprocess_lobed"
  | "rotated"
  | "select"
  | "transform";

/** Rows of parameters by entry point. */
type Entries = Readonly<Record<string, readonly (readonly (string | number)[])[]>>;

// The names are spelt out above: NodeNext refuses declarations that import JSON.
const modules: Readonly<Record<OwnModule, { readonly entries: Entries }>> = manifest.modules;

/**
 * The parameters of a kernel, as the manifest lists them.
 *
 * @throws {ArgumentError} If the module has no such entry point
 */
export function kernelParameters(module: OwnModule, name: string): readonly Parameter[] {
  const { entries } = modules[module];
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
