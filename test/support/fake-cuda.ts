/**
 * @module Fake CUDA: a libcudart, a libcuda and a libnvjpeg that run nothing, for machines without a GPU: every call
 * succeeds, memory is the host's, and handles are numbers; and a libnvcuvid that decodes a stream made up for tests, see nvcuvid.c.
 * For programs of their own, as a library that is opened stays open.
 */

import { beforeAll, describe, test } from "bun:test";
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { toolFolder } from "../../scripts/generated.ts";
import { CUDA_DRIVER_SYMBOLS, CUDA_RUNTIME_SYMBOLS } from "../../src/ffi/cuda-runtime.ts";
import { NVJPEG_SYMBOLS } from "../../src/ffi/nvidia-libraries.ts";

const root = join(import.meta.dir, "../..");

/** Runs a program, in the package's folder, with the fake libraries. @returns what it printed */
export type RunOnFakeCuda = (code: string, variables?: Readonly<Record<string, string>>) => Promise<string>;

/** Calls that do more than return 0, as C. */
const BODIES: Readonly<Record<string, string>> = {
  cudaRuntimeGetVersion: "(int *out) { *out = 12020; return 0; }",
  cuDriverGetVersion: "(int *out) { *out = 12020; return 0; }",
  cudaGetDeviceCount: "(int *out) { *out = 2; return 0; }",
  // The first call makes the context, which takes as long as a test says.
  cudaSetDevice:
    '(int device) { static int calls; const char *ms = getenv("FAKE_SET_UP_MS"); if (calls++ == 0 && ms != NULL) usleep(1000 * atoi(ms)); current = device; return 0; }',
  cudaGetErrorName: '(int status) { return status == 600 ? "cudaErrorNotReady" : "cudaErrorFake"; }',
  cudaGetErrorString: '(int status) { (void)status; return "a fake error"; }',
  // Device memory may be short for a while.
  cudaMalloc: "(void **out, size_t bytes) { return is_short || (*out = malloc(bytes)) == NULL ? 2 : 0; }",
  cudaFree: "(void *memory) { freed_on = current; free(memory); return 0; }",
  // Address space alone: pages are taken when they are written.
  cudaHostAlloc:
    "(void **out, size_t bytes, unsigned flags) { (void)flags; pinned += 1; return (*out = malloc(bytes)) == NULL ? 2 : 0; }",
  cudaHostGetDevicePointer: "(void **out, void *memory, unsigned flags) { (void)flags; *out = memory; return 0; }",
  cudaFreeHost: "(void *memory) { pinned -= 1; free(memory); return 0; }",
  cudaMemcpyAsync:
    "(void *to, const void *from, size_t bytes, int kind, void *stream) { (void)kind; (void)stream; memcpy(to, from, bytes); return 0; }",
  cudaMemcpy2DAsync:
    "(char *to, size_t pitch, const char *from, size_t from_pitch, size_t width, size_t height, int kind, void *stream) { (void)kind; (void)stream; for (size_t row = 0; row < height; row++) memcpy(to + row * pitch, from + row * from_pitch, width); return 0; }",
  cudaStreamCreateWithPriority:
    "(void **out, unsigned flags, int priority) { (void)flags; (void)priority; *out = handle(); return 0; }",
  cudaEventCreateWithFlags: "(void **out, unsigned flags) { (void)flags; *out = handle(); return 0; }",
  // An event of a test's own making is its status.
  cudaEventQuery: "(void *event) { return (uintptr_t)event < 1000 ? (int)(uintptr_t)event : 0; }",
  cudaStreamIsCapturing: "(void *stream, int *out) { (void)stream; *out = 0; return 0; }",
  cudaStreamEndCapture: "(void *stream, void **out) { (void)stream; *out = handle(); return 0; }",
  cudaGraphInstantiateWithFlags:
    "(void **out, void *graph, unsigned long long flags) { (void)graph; (void)flags; *out = handle(); return 0; }",
  cuDevicePrimaryCtxRetain: "(void **out, int device) { (void)device; *out = handle(); return 0; }",
  cuModuleLoadDataEx:
    "(void **out, const void *image, unsigned count, int *keys, void **values) { (void)image; (void)count; (void)keys; (void)values; *out = handle(); return 0; }",
  // One kernel may be named that no module has: CUDA_ERROR_NOT_FOUND.
  cuModuleGetFunction:
    '(void **out, void *module, const char *name) { (void)module; const char *none = getenv("FAKE_MISSING_KERNEL"); if (none != NULL && strcmp(name, none) == 0) return 500; *out = handle(); return 0; }',
  nvjpegGetProperty: "(int part, int *out) { *out = part == 0 ? 12 : 1; return 0; }",
  // The first two are refused, one a backend, as where memory is short.
  nvjpegCreateEx:
    "(int backend, void *a, void *b, unsigned flags, void **out) { (void)backend; (void)a; (void)b; (void)flags; static int calls; *out = handle(); return calls++ < 2 ? 5 : 0; }",
  nvjpegGetHardwareDecoderInfo:
    "(void *nvjpeg, unsigned *engines, unsigned *cores) { (void)nvjpeg; *engines = 1; *cores = 7; return 0; }",
};

/** What the shim asks libcuda for beside the table. */
const SHIM_CALLS = { cuCtxSetCurrent: { returns: "i32" }, cuDeviceGetCount: { returns: "i32" } } as const;

const HEAD = `
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static int current = -1, freed_on = -1, pinned = 0, is_short = 0;
void fakeShortage(int now) { is_short = now; }
int fakeFreedOn(void) { return freed_on; }
int fakePinned(void) { return pinned; }
static uintptr_t last = 0x5000;
static inline void *handle(void) { return (void *)(last += 0x10); }
`;

function sourceOf(table: Readonly<Record<string, { readonly returns: string }>>): string {
  const functions = Object.entries(table).map(([name, { returns }]) => {
    const type = returns === "ptr" ? "const void *" : "int ";
    return `${type}${name}${BODIES[name] ?? "() { return 0; }"}\n`;
  });
  return HEAD + functions.join("");
}

/** The libraries by the variable that names each to the package, with their sources. */
const LIBRARIES: readonly (readonly [variable: string, file: string, source: string])[] = [
  ["BUN_TENSORRT_CUDART", "libcudart.so.12", sourceOf(CUDA_RUNTIME_SYMBOLS)],
  ["BUN_TENSORRT_LIBCUDA", "libcuda.so.1", sourceOf({ ...CUDA_DRIVER_SYMBOLS, ...SHIM_CALLS })],
  ["BUN_TENSORRT_NVJPEG", "libnvjpeg.so.12", sourceOf(NVJPEG_SYMBOLS)],
  ["BUN_TENSORRT_NVCUVID", "libnvcuvid.so.1", readFileSync(join(import.meta.dir, "nvcuvid.c"), "utf8")],
];

function compile(path: string, source: string): void {
  const command = ["gcc", "-std=gnu11", "-O1", "-w", "-fPIC", "-shared", "-x", "c", "-o", path, "-", "-lpthread"];
  const { exitCode, stderr } = Bun.spawnSync(command, { stdin: Buffer.from(source), stderr: "pipe" });
  if (exitCode !== 0) throw new Error(stderr.toString());
}

/** Compile them, or find them in the cache. @returns the environment that a program finds them by */
function buildFakeCuda(): Record<string, string> {
  const hash = createHash("sha256").update(process.arch);
  for (const [, , source] of LIBRARIES) hash.update(source);
  const cache = toolFolder("fake-cuda", () => {});
  const folder = join(cache, hash.digest("hex").slice(0, 16));
  if (!existsSync(folder)) {
    const scratch = mkdtempSync(join(cache, "build-"));
    for (const [, file, source] of LIBRARIES) compile(join(scratch, file), source);
    try {
      renameSync(scratch, folder);
    } catch (error) {
      // Another process was quicker.
      rmSync(scratch, { recursive: true });
      if (!existsSync(folder)) throw error;
    }
  }
  const variables = LIBRARIES.map(([variable, file]) => [variable, join(folder, file)]);
  // The shim leaves the search for libcuda to the dynamic linker.
  return { ...Object.fromEntries(variables), LD_LIBRARY_PATH: folder };
}

/** A second on an idle machine, twenty in an emulator, many more where others keep the cores busy. */
const LIMIT_MS = 110_000;

async function run(code: string, variables: Readonly<Record<string, string>>): Promise<string> {
  const env = { ...process.env, ...variables };
  const child = Bun.spawn([process.execPath, "-e", code], { cwd: root, env, stdout: "pipe", stderr: "pipe" });
  const timer = setTimeout(() => child.kill(), LIMIT_MS);
  const [output, errors] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  clearTimeout(timer);
  if ((await child.exited) !== 0) throw new Error(`${output}${errors}`);
  return output.trim();
}

/** A test on a machine with the fake libraries; it is skipped where there is no compiler for them. */
export function fakeCudaTest(name: string, work: (runOnFakeCuda: RunOnFakeCuda) => Promise<void>): void {
  describe.skipIf(Bun.which("gcc") === null)("with a fake CUDA, as gcc is there", () => {
    let machine: Record<string, string> = {};

    beforeAll(() => {
      machine = buildFakeCuda();
    });

    test(name, () => work((code, variables = {}) => run(code, { ...machine, ...variables })), LIMIT_MS + 10_000);
  });
}
