import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { setLogSink } from "../../src/core/log.ts";
import { findGpuUsage, GpuUsage } from "../../src/nvml/gpu-usage.ts";
import { fileFolder } from "../support/folder.ts";

setDefaultTimeout(120_000);

const isMissing = Bun.which("gcc") === null;
const inFolder = fileFolder("nvml");

function withNvml<T>(path: string, work: () => T): T {
  const before = process.env.BUN_TENSORRT_NVML;
  process.env.BUN_TENSORRT_NVML = path;
  try {
    return work();
  } finally {
    if (before === undefined) delete process.env.BUN_TENSORRT_NVML;
    else process.env.BUN_TENSORRT_NVML = before;
  }
}

test.skipIf(isMissing)("GpuUsage reads what GPUs tell and leaves out what they do not, as gcc is there", () => {
  const library = inFolder("libnvidia-ml.so.1");
  const source = join(import.meta.dir, "../native/fake-nvml.c");
  const built = Bun.spawnSync(["gcc", "-shared", "-fPIC", "-Wall", "-Werror", "-o", library, source]);
  expect(built.stderr.toString()).toBe("");
  const lines: string[] = [];
  const former = setLogSink((level, text) => lines.push(`${level}: ${text}`));
  try {
    withNvml(library, () => {
      using usage = GpuUsage.open();
      expect(usage.length).toBe(5);
      const memory = { memoryUsedBytes: 20 * 2 ** 30, memoryTotalBytes: 80 * 2 ** 30 };
      for (const _ of [1, 2]) {
        expect(usage.read()).toEqual([
          { index: 0, ...memory, utilisation: 0.37 },
          { index: 1, ...memory, utilisation: undefined },
        ]);
      }
    });
  } finally {
    setLogSink(former);
  }
  // Once a GPU, and not at every scrape.
  expect(lines.filter((line) => line.startsWith("warn"))).toEqual([
    "warn: Skipped the metrics of GPU 4, which is lost",
    "warn: Skipped the metrics of GPU 3, which is lost",
  ]);
});

test("findGpuUsage without NVML leaves the metrics out, and says so once", () => {
  const lines: string[] = [];
  const former = setLogSink((level, text) => lines.push(`${level}: ${text}`));
  try {
    expect(withNvml("/nowhere/libnvidia-ml.so.1", findGpuUsage)).toBeUndefined();
  } finally {
    setLogSink(former);
  }
  expect(lines).toEqual([
    expect.stringMatching(
      /^info: Skipped the GPU metrics \(utilisation, memory\)\. Cannot load the library libnvidia-ml/,
    ),
  ]);
});
