/**
 * @module Fake CUDA: a libcudart, a libcuda and a libnvjpeg that run nothing, for machines without a GPU: every call
 * succeeds, memory is the host's, and handles are numbers. For programs of their own, as a library that is opened stays open.
 */

import { afterAll, beforeAll, describe, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CUDA_DRIVER_SYMBOLS } from "../../src/ffi/cuda-driver.ts";
import { CUDA_RUNTIME_SYMBOLS } from "../../src/ffi/cuda-runtime.ts";
import { NVJPEG_SYMBOLS } from "../../src/ffi/nvjpeg.ts";

const root = join(import.meta.dir, "../..");

/** Runs a program, in the package's folder, with the fake libraries. @returns what it printed */
export type RunOnFakeCuda = (code: string, variables?: Readonly<Record<string, string>>) => Promise<string>;

/** Calls that do more than return 0, as C. */
const BODIES: Readonly<Record<string, string>> = {
  cudaRuntimeGetVersion: "(int *out) { *out = 12020; return 0; }",
  cuDriverGetVersion: "(int *out) { *out = 12020; return 0; }",
  cudaGetDeviceCount: "(int *out) { *out = 2; return 0; }",
  cudaSetDevice: "(int device) { current = device; return 0; }",
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
  cudaStreamCreateWithPriority:
    "(void **out, unsigned flags, int priority) { (void)flags; (void)priority; *out = handle(); return 0; }",
  cudaEventCreateWithFlags: "(void **out, unsigned flags) { (void)flags; *out = handle(); return 0; }",
  // An event of a test's own making is its status.
  cudaEventQuery: "(void *event) { return (uintptr_t)event < 1000 ? (int)(uintptr_t)event : 0; }",
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
static int current = -1, freed_on = -1, pinned = 0, is_short = 0;
void fakeShortage(int now) { is_short = now; }
int fakeFreedOn(void) { return freed_on; }
int fakePinned(void) { return pinned; }
static uintptr_t last = 0x5000;
static inline void *handle(void) { return (void *)(last += 0x10); }
`;

function build(path: string, table: Readonly<Record<string, { readonly returns: string }>>): void {
  const functions = Object.entries(table).map(([name, { returns }]) => {
    const type = returns === "ptr" ? "const void *" : "int ";
    return `${type}${name}${BODIES[name] ?? "() { return 0; }"}\n`;
  });
  const source = Buffer.from(HEAD + functions.join(""));
  const command = ["gcc", "-std=gnu11", "-O1", "-w", "-fPIC", "-shared", "-x", "c", "-o", path, "-"];
  const { exitCode, stderr } = Bun.spawnSync(command, { stdin: source, stderr: "pipe" });
  if (exitCode !== 0) throw new Error(stderr.toString());
}

/** Compile them. @returns the environment that a program finds them by */
function buildFakeCuda(folder: string): Record<string, string> {
  const runtime = join(folder, "libcudart.so.12");
  const driver = join(folder, "libcuda.so.1");
  build(runtime, CUDA_RUNTIME_SYMBOLS);
  build(driver, { ...CUDA_DRIVER_SYMBOLS, ...SHIM_CALLS });
  const nvjpeg = join(folder, "libnvjpeg.so.12");
  build(nvjpeg, NVJPEG_SYMBOLS);
  return {
    BUN_TENSORRT_CUDART: runtime,
    BUN_TENSORRT_LIBCUDA: driver,
    BUN_TENSORRT_NVJPEG: nvjpeg,
    // The shim leaves the search for libcuda to the dynamic linker.
    LD_LIBRARY_PATH: folder,
  };
}

async function run(code: string, variables: Readonly<Record<string, string>>): Promise<string> {
  const env = { ...process.env, ...variables };
  const child = Bun.spawn([process.execPath, "-e", code], { cwd: root, env, stdout: "pipe", stderr: "pipe" });
  const timer = setTimeout(() => child.kill(), 20_000);
  const [output, errors] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  clearTimeout(timer);
  if ((await child.exited) !== 0) throw new Error(`${output}${errors}`);
  return output.trim();
}

/** A test on a machine with the fake libraries; it is skipped where there is no compiler for them. */
export function fakeCudaTest(name: string, work: (runOnFakeCuda: RunOnFakeCuda) => Promise<void>): void {
  describe.skipIf(Bun.which("gcc") === null)("with a fake CUDA, as gcc is there", () => {
    const folder = mkdtempSync(join(tmpdir(), "fake-cuda-"));
    let machine: Record<string, string> = {};

    beforeAll(() => {
      machine = buildFakeCuda(folder);
    });

    afterAll(() => rmSync(folder, { recursive: true }));

    test(name, () => work((code, variables = {}) => run(code, { ...machine, ...variables })), 30_000);
  });
}
