import { expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { NVRTC_WHEEL, wheelFolder } from "../../scripts/cuda-wheels.ts";
import { isGpuMissing, isOnCpu, SLOW_TEST_MS } from "../support/gpu.ts";
import { isTensorRtMissing } from "../support/gpu-tensorrt.ts";
import { docstringSnippets } from "../support/snippets.ts";
import { toyDetector } from "../support/toy-detector.ts";

const root = join(import.meta.dir, "../..");
const nvrtc = wheelFolder(NVRTC_WHEEL);
const compilers = existsSync(nvrtc) ? { BUN_TENSORRT_NVRTC: join(nvrtc, "libnvrtc.so.12") } : {};
const isNvrtcMissing = !existsSync(nvrtc);

/** Run a program; its output, after checking that it went well. */
function run(path: string, ...words: readonly string[]): string {
  const env = { ...process.env, ...compilers };
  const child = Bun.spawnSync([process.execPath, path, ...words], { cwd: root, env, stdout: "pipe", stderr: "pipe" });
  expect(child.stderr.toString()).toBe("");
  expect(child.exitCode).toBe(0);
  return child.stdout.toString();
}

function example(name: string, ...words: readonly string[]): string {
  return run(join(root, "examples/low-level", name), ...words);
}

test.skipIf(isGpuMissing)("examples/low-level/1-copy.ts copies there and back", () => {
  expect(example("1-copy.ts")).toMatch(/: [\d.]+ of [\d.]+ GiB free\n6220800 bytes there and back, equal: true\n$/);
});

test.skipIf(isGpuMissing || isNvrtcMissing)("examples/low-level/2-kernel.ts compiles and runs a kernel", () => {
  expect(example("2-kernel.ts")).toBe("compiled: .visible .entry brighten\nfirst 100 101 102, brightest 255\n");
});

test.skipIf(isGpuMissing)("examples/low-level/3-timing.ts measures two streams", () => {
  expect(example("3-timing.ts")).toMatch(/^(round \d: fill \d+\.\d{3} ms, copy \d+\.\d{3} ms\n){3}$/);
});

test.skipIf(isGpuMissing)("examples/low-level/4-graph.ts replays a graph on new contents", () => {
  const lines = [1, 2, 3].map((frame) => `frame ${frame}: 0 at the top, ${frame} at the bottom\n`);
  expect(example("4-graph.ts")).toBe(`3 nodes\n${lines.join("")}`);
});

test.skipIf(isGpuMissing || isOnCpu || isTensorRtMissing)(
  "examples/low-level/5-engine.ts builds, loads and runs an engine",
  () => {
    const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-engine-"));
    try {
      const model = join(folder, "toy.onnx");
      writeFileSync(model, toyDetector());
      expect(example("5-engine.ts", model)).toMatch(/^the plan was (built|in the cache)\n.*: f32 \[.*\], first /);
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
  SLOW_TEST_MS,
);

// On the CPU there are the kernels of files only: see ../support/cpu-cuda.ts.
const others = isOnCpu
  ? /"bun-tensorrt\/(nvdec|nvjpeg|tensorrt)"|\.kernel\(/
  : /"bun-tensorrt\/(nvdec|nvjpeg|tensorrt)"/;
const snippets = docstringSnippets().filter(({ code }) => code.includes('"bun-tensorrt/cuda"') && !others.test(code));
test.skipIf(isGpuMissing || isNvrtcMissing)("every @example of bun-tensorrt/cuda runs", () => {
  const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-examples-"));
  try {
    mkdirSync(join(folder, "node_modules"));
    symlinkSync(root, join(folder, "node_modules/bun-tensorrt"));
    for (const [at, { code }] of snippets.entries()) writeFileSync(join(folder, `${at}.ts`), code);
    const all = snippets.map((_, at) => `await import("./${at}.ts");\nconsole.log("ran ${at}");\n`);
    writeFileSync(join(folder, "all.ts"), all.join(""));
    const output = run(join(folder, "all.ts"));
    expect(output.match(/^ran \d+$/gm)).toHaveLength(snippets.length);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
