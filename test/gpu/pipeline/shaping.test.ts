import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { Detector, imageOf, OrientedDetector, PoseEstimator, Segmenter } from "../../../src/index.ts";
import { largestDifference, matched } from "../../objects/reference.ts";
import { chance } from "../../support/chance.ts";
import { useEngineCache } from "../../support/engine-cache.ts";
import { SLOW_TEST_MS } from "../../support/gpu.ts";
import { isTensorRtMissing } from "../../support/gpu-tensorrt.ts";
import { isMissing, sharedPath } from "../../support/shared.ts";
import { TOY_SIDE, type ToyHead, toyHead } from "../../support/toy-heads.ts";

// The first use of a model builds its engine.
setDefaultTimeout(SLOW_TEST_MS);

const FACADES = { detect: Detector, segment: Segmenter, pose: PoseEstimator, obb: OrientedDetector };
type Task = keyof typeof FACADES;
type Source = string | ReturnType<typeof imageOf>;

const random = chance(5);
const NOISE = imageOf(
  Uint8Array.from({ length: TOY_SIDE * TOY_SIDE * 3 }, () => random() * 256),
  { width: TOY_SIDE, height: TOY_SIDE },
);

/** What is found in an image, and how it is read. */
async function found(
  model: string | Uint8Array,
  task: Task,
  source: Source,
  shape: boolean,
  labels?: readonly string[],
) {
  const options = { backend: "gpu", precision: "fp32", firstEngine: "full", shape, labels } as const;
  await using loaded = await FACADES[task].load(model, options);
  const result = await loaded.detect(source, { threshold: 0.2 });
  const objects = "detections" in result ? result.detections : result.objects;
  return {
    kind: loaded.recognition.plan.kind,
    objects: objects.map((object) => ({ ...object, numbers: flat(object) })),
  };
}

/** Every number of an object but its score and its mask. */
function flat(value: unknown, key = ""): number[] {
  if (key === "score" || key === "mask") return [];
  if (typeof value === "number") return [value];
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([name, inner]) => flat(inner, name));
}

type Case = readonly [
  name: string,
  model: string | Uint8Array,
  task: Task,
  source: Source,
  labels?: readonly string[] | undefined,
];

const MODELS: readonly Case[] = [
  ...(
    [
      [{ family: "yolov8" }],
      [{ family: "yolov8", batch: "batch", dtype: "f16" }],
      [{ family: "yolov8", task: "segment" }],
      [{ family: "yolov8", task: "pose" }],
      [{ family: "yolov8", task: "obb" }],
      [{ family: "yolo26", isFinal: true }],
      [{ family: "yolo26", task: "obb", isFinal: true }],
      [{ family: "yolov5" }],
      [{ family: "yolox" }, ["a", "b", "c"]],
      [{ family: "nanodet" }, ["a", "b", "c"]],
    ] as const
  ).map(([toy, labels]: readonly [ToyHead, (readonly string[])?]) => {
    return [Object.values(toy).join(", "), toyHead(toy), toy.task ?? "detect", NOISE, labels] as const;
  }),
  ...(["models/yolov8n_640.onnx"] as const)
    .filter((name) => !isMissing(name))
    .map((name) => [name, sharedPath(name), "detect", sharedPath("images/photos/bus.jpg")] as const),
];

describe.skipIf(isTensorRtMissing)("an engine of a model that is cut at its maps", () => {
  useEngineCache();

  for (const [name, model, task, source, labels] of MODELS) {
    test(`finds what the one of the model as exported finds: ${name}`, async () => {
      const whole = await found(model, task, source, false, labels);
      const cut = await found(model, task, source, true, labels);
      expect(whole.objects.length).toBeGreaterThan(0);
      expect(cut.kind).toEndWith("-maps");
      const apart = (a: { numbers: number[] }, b: { numbers: number[] }): number =>
        largestDifference(a.numbers, b.numbers);
      // The tactics of two engines differ, and with them the last bits of TF32.
      const { pairs, lost, extra } = matched(cut.objects, whole.objects, apart, 2);
      expect(lost + extra).toBeLessThanOrEqual(Math.ceil(whole.objects.length / 20));
      const [a, b] = [pairs.map(([one]) => one.score), pairs.map(([, other]) => other.score)];
      expect(largestDifference(a, b)).toBeLessThan(0.02);
    });
  }
});
