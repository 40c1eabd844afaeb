import { afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { Detector } from "../../../src/api/detector.ts";
import { setLogSink } from "../../../src/core/log.ts";
import { PinnedBuffer } from "../../../src/cuda/buffers.ts";
import { imageOf } from "../../../src/image/image.ts";
import { encodeImage } from "../../../src/image/image-file.ts";
import type { BuildProgress } from "../../../src/runtime/backend.ts";
import { testBackend } from "../../contract/backend-contract.ts";
import { DEFAULT_BACKEND_OPTIONS, loadGpu } from "../../support/backends.ts";
import { useEngineCache } from "../../support/engine-cache.ts";
import { flatImage } from "../../support/flat-image.ts";
import { Gpu, isGpuMissing, SLOW_TEST_MS } from "../../support/gpu.ts";
import { onnxModel } from "../../support/onnx-writer.ts";
import { openDetector } from "../../support/open-detector.ts";
import { toyDetector } from "../../support/toy-detector.ts";

// The first use of a model builds its engine.
setDefaultTimeout(SLOW_TEST_MS);

const options = {
  ...DEFAULT_BACKEND_OPTIONS,
  batch: 4,
  build: { ...DEFAULT_BACKEND_OPTIONS.build, precision: "fp32" },
} as const;

describe.skipIf(isGpuMissing)("GpuBackend", () => {
  useEngineCache();

  afterEach(() => setLogSink(undefined));

  for (const streams of ["one", "split", "parallel"] as const) {
    testBackend(`GpuBackend (${streams})`, (model, changed) =>
      loadGpu(model, { ...options, streams, inFlight: 2, ...changed }),
    );
  }

  test("GpuSlot replays a graph from the second frame on, with new pixels and another selection each time", async () => {
    const backend = await loadGpu(toyDetector(), options);
    const slot = backend.createSlot();
    const selection = { threshold: 0.01, iou: 0.5, maxDetections: 10, classAgnostic: false, classIds: undefined };
    for (const level of [255, 128, 64, 255, 32]) {
      const [block] = await slot.run([flatImage(64, 64, level)], [64, 64], selection);
      expect(block!.scores[0]).toBeCloseTo((0.9 * level) / 255, 3);
    }
    const [few] = await slot.run([flatImage(64, 64, 255)], [64, 64], { ...selection, maxDetections: 1 });
    expect(few!.count).toBe(1);
    const [many] = await slot.run([flatImage(64, 64, 255)], [64, 64], { ...selection, maxDetections: 1000 });
    expect(many!.count).toBe(3);
    slot.close();
    backend.close();
  });

  test("a model that no CUDA graph can hold runs piece by piece, and says so once a slot", async () => {
    const warnings: string[] = [];
    setLogSink((level, text) => level === "warn" && warnings.push(text));
    const refused = (): string[] => warnings.filter((text) => text.includes("runs without a CUDA graph"));
    await using detector = await Detector.load(toyDetector({ batch: 1, hasDataShape: true }), {
      backend: "gpu",
      precision: "fp32",
      firstEngine: "full",
      streams: "one",
      inFlight: 1,
      threshold: 0,
    });
    for (const level of [255, 128, 0, 64, 255]) {
      const { detections } = await detector.detect(flatImage(64, 64, level));
      expect(detections[0]?.score ?? 0).toBeCloseTo((0.9 * level) / 255, 3);
    }
    expect(refused().length).toBe(1);
  });

  test("Detector takes frames in page-locked memory without copying them first, and image files", async () => {
    await using detector = await Detector.load(toyDetector(), {
      backend: "gpu",
      precision: "fp32",
      firstEngine: "full",
    });
    expect(detector.backend.kind).toBe("gpu");
    using gpu = new Gpu();
    using pinned = PinnedBuffer.create("u8", [128 * 128 * 3 + 64], gpu.device);
    pinned.data.fill(255);
    const frame = imageOf(pinned.data.subarray(64), { width: 128, height: 128 });
    for (let round = 0; round < 3; round++) {
      const { detections } = await detector.detect(frame);
      expect(detections.map(({ label }) => label)).toEqual(["cat", "dog", "dog"]);
      expect(detections[0]?.box).toEqual([16, 16, 80, 80]);
    }
    const file = await encodeImage(flatImage(96, 96, 255), { format: "jpeg" });
    expect((await detector.detect(file)).detections.length).toBe(3);
  });

  test("Detector runs several frames at once on slots of their own, results in order", async () => {
    await using detector = await Detector.load(toyDetector(), {
      backend: "gpu",
      precision: "fp32",
      firstEngine: "full",
      inFlight: 3,
      threshold: 0,
    });
    const levels = Array.from({ length: 60 }, (_, at) => 255 - at * 4);
    const scores: number[] = [];
    for await (const { detections } of detector.stream(levels.map((level) => flatImage(64, 64, level)))) {
      scores.push(detections[0]!.score);
    }
    for (const [at, level] of levels.entries()) expect(scores[at]).toBeCloseTo((0.9 * level) / 255, 3);
  });

  test("a model whose outputs declare no sizes is what it is on the CPU, built from the model and out of the cache", async () => {
    const box = [32, 24, 32, 16];
    const metadata = { stride: "32", names: "{0: 'a', 1: 'b', 2: 'c'}" };
    const models = {
      "yolo-objectness": openDetector({ row: [...box, 0.5, 0.1, 0.9, 0.1], perCell: 3, metadata }),
      yolo: openDetector({ row: [...box, 0.1, 0.9, 0.1], isTransposed: true, metadata }),
      // One class of YOLOv5: its rows are those of no other.
      single: openDetector({
        row: [...box, 0.5, 0.9],
        perCell: 3,
        metadata: { stride: "32", names: "{0: 'a'}" },
        declared: ["batch", "anchors", 6],
      }),
    };
    const selection = { threshold: 0.3, iou: 0.5, maxDetections: 10, classAgnostic: false, classIds: undefined };
    for (const [name, model] of Object.entries(models)) {
      for (const batch of [1, 1]) {
        const backend = await loadGpu(model, { ...options, batch, inFlight: 1 });
        const slot = backend.createSlot();
        const [block] = await slot.run([flatImage(64, 64, 255)], [64, 64], selection);
        expect(backend.task.spec.head).toBe(name === "single" ? "yolo-objectness" : name);
        // Where the engine is of one shape, TensorRT may have worked out what the model leaves open.
        expect(backend.task.spec.reason).toMatch(/ at 64x64; |^output0: f32 \[1, \d+, \d+\]; /);
        expect(block!.count).toBe(1);
        expect([...block!.boxes.subarray(0, 4)]).toEqual([16, 16, 48, 32]);
        slot.close();
        backend.close();
      }
    }
  });

  test("a model of no known head is refused before an engine is built for it", async () => {
    const unknown = onnxModel({
      inputs: [{ name: "images", dtype: "f32", shape: [1, 3, 64, 64] }],
      outputs: [{ name: "mean", dtype: "f32", shape: [1, 3, 1, 1] }],
      nodes: [{ op: "GlobalAveragePool", inputs: ["images"], outputs: ["mean"] }],
    });
    const folder = join(process.env.BUN_TENSORRT_CACHE!, "engines");
    const plans = (): string[] => readdirSync(folder).filter((name) => name.endsWith(".plan"));
    const before = plans();
    const phases: string[] = [];
    const build = { ...options.build, onProgress: ({ phase }: BuildProgress): void => void phases.push(phase) };
    await expect(loadGpu(unknown, { ...options, build })).rejects.toThrow("its tensors fit no known head");
    expect(phases).toEqual([]);
    expect(plans()).toEqual(before);
  });
});
