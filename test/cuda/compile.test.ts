import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { NVRTC_WHEEL, wheelFolder } from "../../scripts/cuda-wheels.ts";
import { compileCuda } from "../../src/ffi/nvrtc.ts";

const folder = wheelFolder(NVRTC_WHEEL);
const compilerTest = test.skipIf(!existsSync(folder));
const former = process.env.BUN_TENSORRT_NVRTC;
beforeAll(() => {
  process.env.BUN_TENSORRT_NVRTC = join(folder, "libnvrtc.so.12");
});
afterAll(() => {
  if (former === undefined) delete process.env.BUN_TENSORRT_NVRTC;
  else process.env.BUN_TENSORRT_NVRTC = former;
});

const KERNEL = `extern "C" __global__ void twice(float *values) { values[threadIdx.x] *= FACTOR; }\n`;

test("compileCuda() refuses an option it does not know, with the one that was meant", () => {
  expect(() => compileCuda(KERNEL, { flag: [] } as object)).toThrow('Unknown option "flag". Did you mean "flags"?');
});

compilerTest("compileCuda() makes PTX for GPUs from 7.5 on, or for the one that is named", () => {
  expect(compileCuda(KERNEL, { flags: ["-DFACTOR=2"] }).ptx).toMatch(/\.target sm_75[\s\S]*\.visible \.entry twice/);
  expect(compileCuda(KERNEL, { flags: ["-DFACTOR=2", "--gpu-architecture=compute_90"] }).ptx).toContain("sm_90");
  const headers = { "factor.h": "#define FACTOR 2\n" };
  expect(compileCuda(`#include "factor.h"\n${KERNEL}`, { headers }).log).toBe("");
});

compilerTest("compileCuda() says what is wrong with a source, by its name and line", () => {
  expect(() => compileCuda(KERNEL, { name: "twice.cu" })).toThrow(
    /twice\.cu\(1\): error: identifier "FACTOR" is undefined/,
  );
});
