import { expect, test } from "bun:test";
import type { Shape } from "../../src/core/tensor.ts";
import { hostReason } from "../../src/heads/host-plan.ts";
import { recogniseModel } from "../../src/heads/recognition.ts";
import { needsShapes, withShapes } from "../../src/model/model-info.ts";
import { DYNAMIC_IMAGES, model, ultralytics } from "./model-infos.ts";

const open = (shape: Shape, metadata: Record<string, string> = {}): ReturnType<typeof model> =>
  model([["output0", shape]], { inputs: [DYNAMIC_IMAGES], metadata });

function found(shape: Shape, actual: Shape): Shape {
  return withShapes(open(shape), new Map([["output0", actual]]), [64, 64]).outputs[0]!.shape;
}

test("needsShapes(): where rows or channels are open, or even the rank; channels that come first tell enough", () => {
  for (const shape of [[-1, -1, -1], [-1, -1, 6], [1, -1, 85], [-1, -1], []])
    expect(needsShapes(open(shape))).toBe(true);
  for (const shape of [
    [-1, 84, -1],
    [-1, 300, 6],
    [-1, 7],
    [-1, 80, 20, 20],
  ]) {
    expect(needsShapes(open(shape))).toBe(false);
  }
});

test("withShapes() fills what is open, and leaves the batch, what is declared, and what a run on zeros does not tell", () => {
  expect(found([-1, -1, -1], [1, 252, 85])).toEqual([-1, 252, 85]);
  expect(found([2, -1, 6], [2, 252, 6])).toEqual([2, 252, 6]);
  // Nothing was found on zeros: how many rows there may be is still unknown. The GPU says -1 then.
  expect(found([-1, -1, -1], [1, 0, 6])).toEqual([-1, -1, 6]);
  expect(found([-1, -1, -1], [-1, -1, 6])).toEqual([-1, -1, 6]);
  expect(found([], [1, 252, 85])).toEqual([-1, 252, 85]);
  expect(found([-1, -1, -1], [1, 252])).toEqual([-1, -1, -1]);
  expect(withShapes(open([-1, -1, -1]), new Map(), [64, 64]).outputs[0]!.shape).toEqual([-1, -1, -1]);
});

test("a GPU decodes columns of a fixed number of rows; of an open one it does not, however many a run found", () => {
  const dets = (rows: number) =>
    model(
      [
        ["dets", [1, rows, 5]],
        ["labels", [1, rows], "i64"],
      ],
      { inputs: [DYNAMIC_IMAGES] },
    );
  const found = withShapes(dets(-1), new Map(Object.entries({ dets: [1, 100, 5], labels: [1, 100] })), [64, 64]);
  const reasonOf = (info: ReturnType<typeof model>) => hostReason(recogniseModel(info, { isSilent: true }).plan);
  const help = "export it with a fixed number of rows";
  expect(reasonOf(dets(100))).toBeUndefined();
  // As an engine tells shapes, without a run.
  expect(reasonOf(found)).toBeUndefined();
  expect(reasonOf(dets(-1))).toEqual({ what: "an open number of rows", help });
  expect(reasonOf({ ...found, openRows: ["dets", "labels"] })).toEqual({ what: "an open number of rows", help });
});

test("a dynamic export with NMS inside is recognised, whether zeros give rows or none", () => {
  const metadata = ultralytics(3, { args: "{'nms': True, 'dynamic': True}" });
  for (const rows of [300, 0]) {
    const described = withShapes(open([-1, -1, -1], metadata), new Map([["output0", [1, rows, 6]]]), [640, 640]);
    expect(recogniseModel(described, {})).toMatchObject({ head: "yolo-end-to-end", plan: { columns: 6 } });
  }
});
