/** @module Nvrtc: compiles CUDA C++ to PTX with libnvrtc: kernels of a user's own, and those of `bun run kernels`. */

import { join } from "node:path";
import { message, NativeError, OptionError } from "../core/errors.ts";
import { unknownWord } from "../core/options.ts";
import { cudaFile, cudaMajors, cudaPackages } from "./cuda-runtime.ts";
import { CUDA_TOOLKIT } from "./discovery.ts";
import { type NativeCalls, openLibrary } from "./library.ts";
import { addressOf, CStrings, cString, OutCells, readCString } from "./memory.ts";

type NvrtcCalls = NativeCalls<typeof NVRTC_SYMBOLS>;

/** What {@linkcode Nvrtc.compile} takes beside the source. */
interface CompileOptions {
  /** Of the source, for messages: `preprocess.cu`. */
  readonly name: string;
  /** Texts of the headers that the source includes, by the name it includes them under. */
  readonly headers: Readonly<Record<string, string>>;
  /** Compiler flags: `--gpu-architecture=compute_75`. */
  readonly flags: readonly string[];
}

/** What came of a source. */
export interface CompiledPtx {
  readonly ptx: string;
  /** Warnings; empty if there are none. */
  readonly log: string;
}

/** The compiler, at one version. */
export class Nvrtc {
  /** `12.2` */
  readonly version: string;
  readonly path: string;
  readonly #calls: NvrtcCalls;
  readonly #out = new OutCells(2);

  private constructor(calls: NvrtcCalls, path: string) {
    this.#calls = calls;
    this.path = path;
    const { cells } = this.#out;
    this.#check(calls.nvrtcVersion(cells, cells.subarray(1)), "nvrtcVersion");
    this.version = `${this.#out.i32(0)}.${this.#out.i32(1)}`;
  }

  /**
   * Open libnvrtc, of the newest version of CUDA that the driver takes.
   *
   * @param folder where the one of CUDA 12 lies that is wanted, unless BUN_TENSORRT_NVRTC says otherwise
   * @throws {LibraryLoadError} If it is nowhere
   */
  static open(folder?: string): Nvrtc {
    const { path, symbols } = openLibrary(
      {
        name: "libnvrtc",
        variable: "BUN_TENSORRT_NVRTC",
        files: (folder === undefined ? cudaMajors() : [12]).map((major) => cudaFile("nvrtc", major)),
        python: cudaPackages("cuda_nvrtc"),
        toolkit: CUDA_TOOLKIT,
        ...(folder === undefined ? {} : { own: () => join(folder, cudaFile("nvrtc", 12)) }),
        hint:
          "install the CUDA toolkit or, alone, the Python package nvidia-cuda-nvrtc-cu12, or set BUN_TENSORRT_NVRTC to the " +
          "path of the file",
      },
      NVRTC_SYMBOLS,
    );
    return new Nvrtc(symbols, path);
  }

  /**
   * Compile a source.
   *
   * @throws {NativeError} If it does not compile; the message holds the compiler's log
   */
  compile(source: string, options: CompileOptions): CompiledPtx {
    const calls = this.#calls;
    const out = this.#out;
    const names = new CStrings(Object.keys(options.headers));
    const headers = new CStrings(Object.values(options.headers));
    const created = calls.nvrtcCreateProgram(
      out.cells,
      cString(source),
      cString(options.name),
      headers.texts.length,
      headers.cells,
      names.cells,
    );
    this.#check(created, "nvrtcCreateProgram");
    const program = out.pointer();
    const handle = new OutCells(1);
    handle.setPointer(0, program);
    try {
      const flags = new CStrings(options.flags);
      const status = calls.nvrtcCompileProgram(program, flags.texts.length, flags.cells);
      this.#check(calls.nvrtcGetProgramLogSize(program, out.cells), "nvrtcGetProgramLogSize");
      const log = new Uint8Array(new ArrayBuffer(out.pointer()));
      this.#check(calls.nvrtcGetProgramLog(program, log), "nvrtcGetProgramLog");
      const text = readCString(addressOf(log)).trim();
      this.#check(status, "nvrtcCompileProgram", ` for ${options.name}\n${text}`);
      this.#check(calls.nvrtcGetPTXSize(program, out.cells), "nvrtcGetPTXSize");
      const ptx = new Uint8Array(new ArrayBuffer(out.pointer()));
      this.#check(calls.nvrtcGetPTX(program, ptx), "nvrtcGetPTX");
      return { ptx: readCString(addressOf(ptx)), log: text };
    } finally {
      this.#check(calls.nvrtcDestroyProgram(handle.cells), "nvrtcDestroyProgram");
    }
  }

  #check(status: number, call: string, detail = ""): void {
    if (status === 0) return;
    const code = readCString(this.#calls.nvrtcGetErrorString(status));
    throw new NativeError(message(`complete ${call}`, `it returned ${code} (${status})${detail}`), { code, call });
  }
}

/** libnvrtc, versions 12 and 13. */
export const NVRTC_SYMBOLS = {
  nvrtcGetErrorString: { args: ["i32"], returns: "ptr" }, // result
  nvrtcVersion: { args: ["ptr", "ptr"], returns: "i32" }, // major, minor
  // prog, src, name, numHeaders, headers, includeNames
  nvrtcCreateProgram: { args: ["ptr", "ptr", "ptr", "i32", "ptr", "ptr"], returns: "i32" },
  nvrtcDestroyProgram: { args: ["ptr"], returns: "i32" }, // prog
  nvrtcCompileProgram: { args: ["ptr", "i32", "ptr"], returns: "i32" }, // prog, numOptions, options
  nvrtcGetPTXSize: { args: ["ptr", "ptr"], returns: "i32" }, // prog, ptxSizeRet
  nvrtcGetPTX: { args: ["ptr", "ptr"], returns: "i32" }, // prog, ptx
  nvrtcGetProgramLogSize: { args: ["ptr", "ptr"], returns: "i32" }, // prog, logSizeRet
  nvrtcGetProgramLog: { args: ["ptr", "ptr"], returns: "i32" }, // prog, log
} as const;

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
