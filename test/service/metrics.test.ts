import { expect, test } from "bun:test";
import { setLogSink } from "../../src/core/log.ts";
import { type GpuSample, ServiceMetrics } from "../../src/service/metrics.ts";

test("ServiceMetrics counts frames by outcome, drops by reason and errors by code", async () => {
  const metrics = new ServiceMetrics();
  metrics.frame("ok", 3);
  metrics.frame("error");
  metrics.drop("busy", 2);
  metrics.error("not-an-image");
  metrics.addInFlight(2);
  metrics.addInFlight(-1);
  const text = await metrics.text();
  expect(text).toContain('bun_tensorrt_frames_total{outcome="ok"} 3\n');
  expect(text).toContain('bun_tensorrt_frames_total{outcome="error"} 1\n');
  expect(text).toContain('bun_tensorrt_frames_total{outcome="dropped"} 2\n');
  expect(text).toContain('bun_tensorrt_drops_total{reason="busy"} 2\n');
  expect(text).toContain('bun_tensorrt_errors_total{code="not-an-image"} 1\n');
  expect(text).toContain("bun_tensorrt_frames_in_flight 1\n");
  expect(text).toMatch(/process_resident_memory_bytes \d{7,}/);
  expect(metrics.contentType).toContain("text/plain");
});

test("ServiceMetrics measures stages in seconds, from 0.1 ms to 10 s", async () => {
  const metrics = new ServiceMetrics();
  metrics.observeTiming({ decode: 6, preprocess: 1, infer: 40, postprocess: 0.08, total: 48 });
  metrics.observe("total", 20_000);
  const text = await metrics.text();
  expect(text).toContain('bun_tensorrt_stage_seconds_bucket{le="0.0001",stage="postprocess"} 1\n');
  expect(text).toContain('bun_tensorrt_stage_seconds_bucket{le="0.025",stage="infer"} 0\n');
  expect(text).toContain('bun_tensorrt_stage_seconds_bucket{le="0.05",stage="infer"} 1\n');
  expect(text).toContain('bun_tensorrt_stage_seconds_bucket{le="10",stage="total"} 0\n');
  expect(text).toContain('bun_tensorrt_stage_seconds_sum{stage="total"} 20\n');
});

test("ServiceMetrics counts devices by the engine that runs at each scrape, and none where none was built", async () => {
  let engines: readonly ("quick" | "full" | undefined)[] = ["quick", "full", undefined];
  const metrics = new ServiceMetrics({ backends: () => engines.map((engine) => ({ engine })) });
  const text = await metrics.text();
  expect(text).toContain('bun_tensorrt_engines{engine="quick"} 1\n');
  expect(text).toContain('bun_tensorrt_engines{engine="full"} 1\n');
  engines = ["full", "full", undefined];
  const later = await metrics.text();
  expect(later).toContain('bun_tensorrt_engines{engine="full"} 2\n');
  expect(later).not.toContain('engine="quick"');
});

test("ServiceMetrics asks the GPU sampler at each scrape, and forgets a GPU that has gone", async () => {
  let samples: readonly GpuSample[] = [
    { gpu: "0", utilisation: 0.5, memoryUsedBytes: 1024, memoryTotalBytes: 4096 },
    { gpu: "1", utilisation: undefined, memoryUsedBytes: 0, memoryTotalBytes: 4096 },
  ];
  let asked = 0;
  const gpu = (): readonly GpuSample[] => {
    asked += 1;
    return samples;
  };
  const metrics = new ServiceMetrics({ gpu });
  expect(await metrics.text()).toContain('bun_tensorrt_gpu_utilisation_ratio{gpu="0"} 0.5\n');
  expect(await metrics.text()).not.toContain('utilisation_ratio{gpu="1"}');
  expect(asked).toBe(2);
  samples = samples.slice(1);
  const text = await metrics.text();
  expect(text).not.toContain('{gpu="0"}');
  expect(text).toContain('bun_tensorrt_gpu_memory_total_bytes{gpu="1"} 4096\n');
});

test("ServiceMetrics leaves a GPU out that cannot be read, and says so", async () => {
  const log: string[] = [];
  const metrics = new ServiceMetrics({
    gpu: () => {
      throw new Error("Cannot run NVML: GPU is lost");
    },
  });
  setLogSink((level, text) => log.push(`${level}: ${text}`));
  try {
    const text = await metrics.text();
    expect(text).toContain('bun_tensorrt_frames_total{outcome="ok"} 0\n');
    expect(text).not.toContain('gpu="');
  } finally {
    setLogSink(undefined);
  }
  expect(log).toEqual(["warn: Skipped the GPU metrics (utilisation, memory). Cannot run NVML: GPU is lost"]);
});

test("two ServiceMetrics share nothing", async () => {
  const one = new ServiceMetrics();
  const other = new ServiceMetrics();
  one.frame("ok");
  expect(await other.text()).toContain('bun_tensorrt_frames_total{outcome="ok"} 0\n');
});
