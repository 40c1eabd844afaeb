import { expect, test } from "bun:test";
import { Model } from "../../src/api/model.ts";
import { ClosedError, ModelError, OptionError } from "../../src/core/errors.ts";
import { flatImage } from "../support/flat-image.ts";
import { nearestModel } from "../support/image-models.ts";
import { toyDetector } from "../support/toy-detector.ts";

test("Model.load() recognises the task, and gives the façade of it", async () => {
  await using detector = await Model.load(toyDetector());
  if (detector.task !== "detect") throw new Error(`a detector was taken for ${detector.task}`);
  expect((await detector.detect(flatImage(64, 64, 255))).detections.length).toBe(3);
  await using enlarging = await Model.load(nearestModel([1, 3, 16, 16], [1, 3, 32, 32], "NCHW", 2), { backend: "cpu" });
  if (enlarging.task !== "image") throw new Error(`an image model was taken for ${enlarging.task}`);
  await enlarging.warmUp({ size: [20, 20] });
  const { image, tiles } = await enlarging.transform(flatImage(40, 20, 7));
  expect([image.width, image.height, image.data[0]]).toEqual([80, 40, 7]);
  expect(tiles).toBeGreaterThan(1);
  // What a model tells of its machine, and its end, are the same for every task.
  expect(enlarging.backends).toEqual([enlarging.backend]);
  expect([enlarging.stalledMs, detector.stalledMs]).toEqual([0, 0]);
  await enlarging.close({ force: true });
  await expect(enlarging.transform(flatImage(40, 20, 7))).rejects.toThrow(ClosedError);
});

test("Model.load() says of every task why a model is none of its, and which option belongs to one task", async () => {
  const model = toyDetector({ metadata: { task: "classify" } });
  const error = await Model.load(model).catch((reason: unknown) => reason as Error);
  expect(error).toBeInstanceOf(ModelError);
  expect((error as Error).message).toContain("detect: ");
  expect((error as Error).message).toContain("image: ");
  for (const option of ["tile", "head"]) {
    const refusal = await Model.load(toyDetector(), { [option]: 64 }).catch((reason: unknown) => reason);
    expect(refusal).toBeInstanceOf(OptionError);
    expect((refusal as Error).message).toStartWith(`Unknown option "${option}"`);
    // The hint names no option of one task alone.
    expect((refusal as Error).message).not.toMatch(/overlap|threshold|size/);
  }
});
