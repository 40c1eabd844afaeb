import { expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { evaluate } from "../../src/api/evaluate.ts";
import { PoseEstimator, Segmenter } from "../../src/api/object-model.ts";
import { pulled } from "../support/catalogue.ts";
import { sharedFile } from "../support/shared.ts";

const annotations = sharedFile("reference", "coco_val2017_shared_seg.json");
const map = sharedFile("reference", "map.json");
const images = sharedFile("images", "coco_val2017");
const isElsewhere = annotations === undefined || map === undefined || images === undefined;
const wanted = isElsewhere ? undefined : JSON.parse(readFileSync(map, "utf8"));

/** As near as another resize and another decoder come. */
const NEAR = 0.003;

/** Figures that are further away than that. */
function strays(found: object, reference: Readonly<Record<string, number>>): unknown[] {
  const values: Readonly<Record<string, unknown>> = { ...found };
  return Object.entries(reference).filter(([name, value]) => !(Math.abs((values[name] as number) - value) <= NEAR));
}

const segmenter = await pulled("yolo11n-seg");
test.skipIf(isElsewhere || segmenter === undefined)(
  "yolo11n-seg has the AP of boxes and masks that the reference has",
  async () => {
    await using model = await Segmenter.load(segmenter!, { backend: "cpu", inFlight: 2 });
    const { metrics, images: scored } = await evaluate(model, annotations!, { images: images! });
    expect(scored).toBe(wanted.pictures);
    const { bbox, segmNative } = wanted["yolo11n-seg"];
    expect([strays(metrics.box, bbox), strays(metrics.mask, segmNative)]).toEqual([[], []]);
  },
  300_000,
);

const estimator = await pulled("yolo11n-pose");
test.skipIf(isElsewhere || estimator === undefined)(
  "yolo11n-pose has the AP of key points that the reference has",
  async () => {
    const { keypoints, picturesUsed } = wanted["yolo11n-pose"];
    const used = new Set<number>(picturesUsed);
    const all = JSON.parse(readFileSync(annotations!, "utf8"));
    type Annotation = { readonly image_id: number; readonly category_id: number };
    const part = {
      ...all,
      images: all.images.filter(({ id }: { readonly id: number }) => used.has(id)),
      annotations: all.annotations.filter((one: Annotation) => used.has(one.image_id) && one.category_id === 1),
    };
    const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-val-"));
    try {
      const file = join(folder, "persons.json");
      writeFileSync(file, JSON.stringify(part));
      await using model = await PoseEstimator.load(estimator!, { backend: "cpu", inFlight: 2 });
      const { metrics } = await evaluate(model, file, { images: images! });
      expect(strays(metrics.keypoints, keypoints)).toEqual([]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
  300_000,
);

test("evaluate() refuses what is no model that was loaded, and what is no path", async () => {
  const refused = (model: unknown, data: unknown) => evaluate(model as never, data as never);
  await expect(refused("yolo11n", "data.yaml")).rejects.toThrow(
    'Cannot evaluate a model: the model is "yolo11n"\nHint: load it first',
  );
  await expect(refused(null, "data.yaml")).rejects.toThrow("the model is null");
  await expect(refused({ task: "detect" }, undefined)).rejects.toThrow("the dataset is undefined\nHint: give the path");
});
