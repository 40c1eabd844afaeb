/** @module Compile: CUDA C++ to PTX, for kernels of a user's own. */

import { OptionError } from "../core/errors.ts";
import { unknownWord } from "../core/options.ts";
import { type CompiledPtx, Nvrtc } from "../ffi/nvrtc.ts";

/** What {@linkcode compileCuda} takes beside the source. */
export interface CompileCudaOptions {
  /** What to call the source in messages. Default `kernel.cu`. */
  readonly name?: string | undefined;
  /** Texts of headers, by the names that the source includes them under. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** Flags of NVRTC, such as `--fmad=false`. Unless they name a GPU, the PTX is for all from compute capability 7.5 on. */
  readonly flags?: readonly string[] | undefined;
}

const NAMES: readonly (keyof CompileCudaOptions)[] = ["name", "headers", "flags"];

let compiler: Nvrtc | undefined;

/**
 * Compile CUDA C++ to PTX by NVRTC, on this thread, for as long as it takes: tenths of a second for a small kernel. No GPU
 * is needed. Declare kernels `extern "C"`, so that {@linkcode Module.kernel} finds them by their names.
 *
 * @throws {LibraryLoadError} If libnvrtc is nowhere
 * @throws {NativeError} If it does not compile; the message holds the compiler's log
 * @throws {OptionError} If an option is unknown
 *
 * @example
 * ```ts
 * import { compileCuda } from "bun-tensorrt/cuda";
 *
 * const { ptx, log } = compileCuda(`
 *   extern "C" __global__ void twice(float *values, int count) {
 *     const int at = blockIdx.x * blockDim.x + threadIdx.x;
 *     if (at < count) values[at] *= 2;
 *   }
 * `);
 * console.log(ptx.length, log);
 * ```
 */
export function compileCuda(source: string, options: CompileCudaOptions = {}): CompiledPtx {
  for (const option of Object.keys(options)) {
    if (!NAMES.includes(option as keyof CompileCudaOptions))
      throw new OptionError(unknownWord("option", option, NAMES), option);
  }
  const { name = "kernel.cu", headers = {}, flags = [] } = options;
  const isForOne = flags.some((flag) => /^(--gpu-architecture|-arch)\b/.test(flag));
  compiler ??= Nvrtc.open();
  return compiler.compile(source, {
    name,
    headers,
    flags: isForOne ? flags : ["--gpu-architecture=compute_75", ...flags],
  });
}
