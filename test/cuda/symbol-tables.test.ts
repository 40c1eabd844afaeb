import { dlopen, type FFIFunction } from "bun:ffi";
import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { NVJPEG_WHEELS, NVRTC_WHEEL, RUNTIME_WHEELS, type Wheel, wheelFolder } from "../../scripts/cuda-wheels.ts";
import { CUDA_DRIVER_SYMBOLS, CUDA_RUNTIME_SYMBOLS } from "../../src/ffi/cuda-runtime.ts";
import type { SymbolTable } from "../../src/ffi/library.ts";
import {
  NVJPEG_BACKEND_GPU_HYBRID,
  NVJPEG_BACKEND_HARDWARE,
  NVJPEG_FLAGS_UPSAMPLING_WITH_INTERPOLATION,
  NVJPEG_IMAGE_BYTES,
  NVJPEG_IMAGE_PITCH,
  NVJPEG_OUTPUT_RGBI,
  NVJPEG_STATUSES,
  NVJPEG_SYMBOLS,
} from "../../src/ffi/nvidia-libraries.ts";
import { NVRTC_SYMBOLS } from "../../src/ffi/nvrtc.ts";

const HANDLES =
  /\b(cuda\w+_t|CU(context|module|function|stream|event|deviceptr)|nvrtcProgram|nvjpeg(Handle|JpegState)_t)\b/;

/** The type a table should give a C parameter or result. */
function typeOf(declaration: string): string {
  if (/\bcudaError_t\b/.test(declaration) && !declaration.includes("*")) return "i32";
  if (declaration.includes("*") || HANDLES.test(declaration)) return "ptr";
  if (/\b(size_t|unsigned long long)\b/.test(declaration)) return "usize";
  if (/\bunsigned int\b/.test(declaration)) return "u32";
  if (/\b(int|enum|CUresult|CUdevice|CU\w+|nvrtcResult|nvjpeg\w+_t|libraryPropertyType)\b/.test(declaration))
    return "i32";
  throw new Error(`Cannot tell the type of ${declaration}`);
}

interface Prototype {
  readonly parameters: readonly string[];
  readonly returns: string;
}

/** The C parameters and result of every function a header declares, by name. */
function readHeader(path: string): Map<string, Prototype> {
  const text = readFileSync(path, "utf8")
    .replaceAll(/\/\*[\s\S]*?\*\//g, " ")
    .replaceAll(/__dv\([^)]*\)|\b__(host|device|cudart_builtin)__\b|\b(CUDARTAPI|CUDAAPI|NVJPEGAPI|extern)\b/g, " ")
    .replaceAll(/\s+/g, " ");
  const found = new Map<string, Prototype>();
  const pattern =
    /\b(cudaError_t|CUresult|nvrtcResult|nvjpegStatus_t|const char ?\*) ?((?:cuda|cu|nvrtc|nvjpeg)[A-Z]\w+) ?\(([^()]*)\) ?;/g;
  for (const [, returns = "", name = "", list = ""] of text.matchAll(pattern)) {
    const parameters = /^\s*(void)?\s*$/.test(list) ? [] : list.split(",");
    // Inline twins for C++ follow the C declaration; the first one counts.
    if (!found.has(name)) found.set(name, { parameters, returns });
  }
  return found;
}

function compare(table: SymbolTable, header: string): void {
  const declared = readHeader(header);
  for (const [symbol, { args = [], returns }] of Object.entries(table)) {
    const name = declared.has(symbol) ? symbol : symbol.replace(/_v2$/, "");
    const prototype = declared.get(name) ?? { parameters: ["nothing of this name"], returns: "" };
    expect(prototype.parameters.map(typeOf), symbol).toEqual([...args] as string[]);
    expect(typeOf(prototype.returns), symbol).toBe(returns as string);
  }
}

function library(wheel: Wheel, file: string): string {
  return join(wheelFolder(wheel), file);
}

function isInstalled(wheel: Wheel): boolean {
  return existsSync(wheelFolder(wheel));
}

describe.each([...RUNTIME_WHEELS])("$name $version", (wheel) => {
  const file = `libcudart.so.${wheel.version.split(".")[0]}`;

  test.skipIf(!isInstalled(wheel))("has every symbol of CUDA_RUNTIME_SYMBOLS", () => {
    expect(() => dlopen(library(wheel, file), CUDA_RUNTIME_SYMBOLS as Record<string, FFIFunction>)).not.toThrow();
  });

  test.skipIf(!isInstalled(wheel))("declares the parameters of CUDA_RUNTIME_SYMBOLS", () => {
    compare(CUDA_RUNTIME_SYMBOLS, join(wheelFolder(wheel), "../include/cuda_runtime_api.h"));
  });

  test.skipIf(!isInstalled(wheel))("declares the parameters of CUDA_DRIVER_SYMBOLS", () => {
    compare(CUDA_DRIVER_SYMBOLS, join(wheelFolder(wheel), "../include/cuda.h"));
  });
});

test.skipIf(!isInstalled(NVRTC_WHEEL))("libnvrtc has every symbol of NVRTC_SYMBOLS, with its parameters", () => {
  expect(() =>
    dlopen(library(NVRTC_WHEEL, "libnvrtc.so.12"), NVRTC_SYMBOLS as Record<string, FFIFunction>),
  ).not.toThrow();
  compare(NVRTC_SYMBOLS, join(wheelFolder(NVRTC_WHEEL), "../include/nvrtc.h"));
});

describe.each([...NVJPEG_WHEELS])("$name $version", (wheel) => {
  const file = `libnvjpeg.so.${wheel.version.split(".")[0]}`;

  test.skipIf(!isInstalled(wheel))("has every symbol of NVJPEG_SYMBOLS, with its parameters", () => {
    expect(() => dlopen(library(wheel, file), NVJPEG_SYMBOLS as Record<string, FFIFunction>)).not.toThrow();
    compare(NVJPEG_SYMBOLS, join(wheelFolder(wheel), "../include/nvjpeg.h"));
  });

  test.skipIf(!isInstalled(wheel))("declares the numbers and the struct that are relied on", () => {
    const header = readFileSync(join(wheelFolder(wheel), "../include/nvjpeg.h"), "utf8");
    const value = (name: string): string | undefined => new RegExp(`\\b${name}\\s*=?\\s*([\\d<]+)`).exec(header)?.[1];
    for (const [number, name] of NVJPEG_STATUSES.entries()) expect([name, value(name)]).toEqual([name, String(number)]);
    expect(value("NVJPEG_BACKEND_GPU_HYBRID")).toBe(String(NVJPEG_BACKEND_GPU_HYBRID));
    expect(value("NVJPEG_BACKEND_HARDWARE")).toBe(String(NVJPEG_BACKEND_HARDWARE));
    expect(value("NVJPEG_OUTPUT_RGBI")).toBe(String(NVJPEG_OUTPUT_RGBI));
    expect(value("NVJPEG_FLAGS_UPSAMPLING_WITH_INTERPOLATION")).toBe("1<<5");
    expect(2 ** 5).toBe(NVJPEG_FLAGS_UPSAMPLING_WITH_INTERPOLATION);
    expect(value("NVJPEG_MAX_COMPONENT")).toBe("4");
    const image = /typedef struct\s*\{([^}]*)\}\s*nvjpegImage_t/.exec(header)?.[1]?.replaceAll(/\s+/g, " ").trim();
    expect(image).toBe("unsigned char * channel[NVJPEG_MAX_COMPONENT]; size_t pitch[NVJPEG_MAX_COMPONENT];");
    expect([NVJPEG_IMAGE_BYTES, NVJPEG_IMAGE_PITCH]).toEqual([64, 4]);
  });
});
