import { afterEach, describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { Detector } from "../../../src/api/detector.ts";
import { setLogSink } from "../../../src/core/log.ts";
import { encodeImage } from "../../../src/image/image-file.ts";
import { EngineCache } from "../../../src/tensorrt/engine-cache.ts";
import { useEngineCache } from "../../support/engine-cache.ts";
import { flatImage } from "../../support/flat-image.ts";
import { SLOW_TEST_MS } from "../../support/gpu.ts";
import { gpuLibrary, isTensorRtMissing } from "../../support/gpu-tensorrt.ts";
import { toyDetector } from "../../support/toy-detector.ts";

const OPTIONS = { backend: "gpu", precision: "fp32", threshold: 0, inFlight: 2 } as const;

/** What is kept of engines, without what says how they are run. */
function kept(): string[] {
  return readdirSync(new EngineCache().folder).filter((name) => /\.(plan|tmp)$/.test(name));
}

describe.skipIf(isTensorRtMissing)("an ONNX model on the GPU", () => {
  useEngineCache();
  afterEach(() => setLogSink(undefined));

  test(
    "runs with a quick engine first, and with the full one later: no frame is lost, and boxes stay the same",
    async () => {
      const lines: string[] = [];
      setLogSink((_, text) => lines.push(text));
      {
        await using detector = await Detector.load(toyDetector(), OPTIONS);
        expect(detector.backend.engine).toBe("quick");
      }
      // The process ended before: nothing half-written is left, and the next start begins with the engine that is there.
      expect(kept().length).toBe(1);
      await using detector = await Detector.load(toyDetector(), OPTIONS);
      expect([detector.backend.engine, kept().length]).toEqual(["quick", 1]);
      await detector.detect(await encodeImage(flatImage(64, 64, 255)));
      const wanted = [255, 128, 64].map((level) => (0.9 * level) / 255);
      let frames = 0;
      const end = performance.now() + SLOW_TEST_MS / 2;
      const frame = async function* () {
        for (let more = 100; more > 0; ) {
          yield flatImage(64, 64, [255, 128, 64][frames++ % 3]!);
          if (detector.backend.engine === "full") more -= 1;
          else if (performance.now() > end) throw new Error("The full engine never came");
        }
      };
      let next = 0;
      for await (const { index, detections } of detector.stream(frame())) {
        expect(index).toBe(next);
        expect(detections[0]!.score).toBeCloseTo(wanted[next % 3]!, 2);
        next += 1;
      }
      expect(next).toBe(frames);
      expect(detector.backends.map(({ engine }) => engine)).toEqual(["full"]);
      expect(lines.filter((line) => line.startsWith("Frames go to the full engine"))).toHaveLength(1);
      // Frames would wait while nvJPEG is set up.
      const set = lines.filter((line) => /^JPEG is decoded (by|on the CPU, as) /.test(line));
      expect(set.length).toBeLessThan(2);
      // Nobody begins with the quick one any more.
      expect(kept().length).toBe(1);
      await using again = await Detector.load(toyDetector(), OPTIONS);
      expect(again.backend.engine).toBe("full");
    },
    SLOW_TEST_MS,
  );

  test("waits for the full engine where that is asked for", async () => {
    const before = kept().length;
    await using detector = await Detector.load(toyDetector({ batch: 1 }), { ...OPTIONS, firstEngine: "full" });
    expect([detector.backend.engine, kept().length - before]).toEqual(["full", 1]);
    expect(gpuLibrary().version.family).toBe("TensorRT");
  });
});
