import { expect, test } from "bun:test";
import { Detector } from "../../src/api/detector.ts";
import { ImageModel } from "../../src/api/image-model.ts";
import type { Model } from "../../src/api/model.ts";
import { OrientedDetector, PoseEstimator, Segmenter } from "../../src/api/object-model.ts";
import { Classifier } from "../../src/api/whole-image-models.ts";
import { ModelError } from "../../src/core/errors.ts";
import { imageOf } from "../../src/image/image.ts";
import { finalRows, fixedModel, rawGrid } from "../support/fixed-model.ts";
import { toyClassifier } from "../support/toy-classifier.ts";

const names = "{0: 'person'}";
const BOX = [12, 16, 16, 12, 0.75];
const ONES = new Array<number>(32).fill(1);
const PROTOTYPES = { name: "output1", shape: [1, 32, 8, 8], values: new Array<number>(32 * 64).fill(1) };

const MODELS: Readonly<Record<string, Uint8Array>> = {
  detect: fixedModel([rawGrid(5, [[1, BOX]])], { metadata: { task: "detect", names } }),
  pose: fixedModel([rawGrid(11, [[1, [...BOX, 10, 14, 0.9, 14, 18, 0.8]]])], {
    metadata: { task: "pose", names, kpt_shape: "[2, 3]" },
  }),
  obb: fixedModel([rawGrid(6, [[1, [...BOX, Math.PI / 2]]])], { metadata: { task: "obb", names } }),
  segment: fixedModel([rawGrid(37, [[1, [...BOX, ...ONES]]]), PROTOTYPES], { metadata: { task: "segment", names } }),
  classify: toyClassifier({
    ...({ scores: "means", hasSoftmax: true, side: 32 } as const),
    metadata: { task: "classify", names: "{0: 'a', 1: 'b', 2: 'c'}" },
  }),
};

const FACADES = {
  detect: Detector,
  pose: PoseEstimator,
  obb: OrientedDetector,
  segment: Segmenter,
  classify: Classifier,
  image: ImageModel,
};

for (const [task, bytes] of Object.entries(MODELS)) {
  test(`a model of the task ${task} is loaded by its own façade, and refused by each other one with the name of that`, async () => {
    for (const [own, Facade] of Object.entries(FACADES)) {
      const loading: Promise<Model> = Facade.load(bytes, { backend: "cpu" });
      if (own === task) {
        await using model = await loading;
        expect(model.task as string).toBe(task);
        continue;
      }
      const error = await loading.then(
        () => undefined,
        (found: unknown) => found,
      );
      expect(error).toBeInstanceOf(ModelError);
      const facade = FACADES[task as keyof typeof FACADES].name;
      expect((error as ModelError).message).toMatch(
        new RegExp(`^Cannot use the model from bytes .*its task is "${task}"\nHint: load it with \`${facade}\``),
      );
    }
  });
}

test('`task: "detect"` takes models of pose, masks and oriented boxes for their boxes, the turned ones as their own NMS keeps them', async () => {
  const image = imageOf(new Uint8Array(32 * 32 * 3), { width: 32, height: 32 });
  const boxesOf = async (bytes: Uint8Array): Promise<readonly (readonly number[])[]> => {
    await using detector = await Detector.load(bytes, { backend: "cpu", task: "detect" });
    expect([detector.task, detector instanceof Detector]).toEqual(["detect", true]);
    const { detections, implausible } = await detector.detect(image);
    expect(implausible).toBe(0);
    expect(Object.keys(detections[0]!)).toEqual(["label", "classId", "score", "box"]);
    return detections.map(({ box }) => box.map((side) => Math.round(side * 1000) / 1000));
  };
  const upright = [[4, 10, 20, 22]];
  for (const task of ["detect", "pose", "segment"])
    expect([task, await boxesOf(MODELS[task]!)]).toEqual([task, upright]);
  expect(await boxesOf(MODELS.obb!)).toEqual([[6, 8, 18, 24]]);
  // One behind the other and turned: the boxes around them overlap, they do not.
  const turned = rawGrid(6, [
    [1, [12, 16, 16, 2, 0.75, Math.PI / 4]],
    [2, [15, 13, 16, 2, 0.7, Math.PI / 4]],
  ]);
  const two = { metadata: { task: "obb", names } };
  expect(await boxesOf(fixedModel([turned], two))).toHaveLength(2);
  const final = finalRows(7, [[12, 16, 16, 12, 0.75, 0, Math.PI / 2]]);
  expect(await boxesOf(fixedModel([final], { metadata: { task: "obb", names, end2end: "True" } }))).toEqual([
    [6, 8, 18, 24],
  ]);
  await using detector = await Detector.load(MODELS.obb!, { backend: "cpu", task: "detect" });
  using batch = await detector.staged([image]);
  await batch.preprocess();
  await batch.infer();
  expect(await batch.postprocess()).toMatchObject([[{ label: "person", score: 0.75 }]]);
});
