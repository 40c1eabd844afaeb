import { expect, test } from "bun:test";
import { ModelError, ShapeError } from "../../src/core/errors.ts";
import type { Shape } from "../../src/core/tensor.ts";
import { allocate, type DType, type Tensor, tensorOf, volume } from "../../src/core/tensor.ts";
import type { ModelSpec } from "../../src/heads/head.ts";
import { NumberSlice } from "../../src/heads/outputs.ts";
import { recogniseModel } from "../../src/heads/recognition.ts";
import { headNamed } from "../../src/heads/registry.ts";
import { Candidates } from "../../src/model/rows.ts";
import { chance } from "../support/chance.ts";
import { type Declared, DYNAMIC_IMAGES, model } from "./model-infos.ts";

function tensor(shape: readonly number[], values: readonly number[], dtype: DType = "f32"): Tensor {
  const data = allocate(dtype, volume(shape));
  for (const [at, value] of values.entries()) data[at] = dtype === "i64" ? BigInt(value) : value;
  return tensorOf(dtype, shape, data);
}

interface Run {
  readonly threshold?: number;
  readonly index?: number;
  readonly size?: readonly [width: number, height: number];
  readonly isOfChance?: boolean;
}

function decode(recognition: ModelSpec, outputs: Readonly<Record<string, Tensor>>, run: Run = {}): Candidates {
  const { threshold = 0.5, index = 0, size = [64, 32], isOfChance } = run;
  const candidates = new Candidates();
  const [inputWidth, inputHeight] = size;
  const input = { outputs: new Map(Object.entries(outputs)), index, inputWidth, inputHeight, threshold, isOfChance };
  headNamed(recognition.head).decode(recognition.plan, input, candidates);
  return candidates;
}

function rowsOf(candidates: Candidates): number[][] {
  return Array.from({ length: candidates.count }, (_, row) => [
    ...candidates.boxes.subarray(row * 4, row * 4 + 4),
    candidates.scores[row]!,
    candidates.classIds[row]!,
  ]);
}

/** [N, 4+classes, anchors] of two classes; a model whose anchors are open. */
const dense = recogniseModel(model([["o", [-1, 6, -1]]], { inputs: [DYNAMIC_IMAGES] }), {});

/** Anchors as rows, turned channel-major. */
function channelMajor(rows: readonly (readonly number[])[], dtype: DType = "f32"): Tensor {
  const channels = rows[0]!.length;
  const values = Array.from({ length: channels }, (_, channel) => rows.map((row) => row[channel]!)).flat();
  return tensor([1, channels, rows.length], values, dtype);
}

test("numbers of chance are not taken for a model's first image, which is looked at all the same", () => {
  const fresh = recogniseModel(model([["o", [-1, 6, -1]]], { inputs: [DYNAMIC_IMAGES] }), {});
  const o = channelMajor([[10, 10, 4, 6, 0.75, -1]]);
  expect(decode(fresh, { o }, { isOfChance: true }).count).toBe(1);
  expect(() => decode(fresh, { o })).toThrow("channel 5 goes below 0, and no probability does");
  const cells = 8 * 4 + 4 * 2 + 2;
  const grid = recogniseModel(model([["o", [1, cells, 7]]], { inputs: [DYNAMIC_IMAGES] }), { head: "yolox" });
  // Sizes in pixels, of objects that reach no threshold.
  const sizes = tensor([1, cells, 7], Array.from({ length: cells }, () => [8, 8, 50, 40, 0, 0, 0]).flat());
  expect(decode(grid, { o: sizes }, { isOfChance: true }).count).toBe(0);
  expect(() => decode(grid, { o: sizes })).toThrow(ModelError);
});

test("the dense decoder takes the best class of each anchor, the first of equal ones, at the threshold or above", () => {
  const o = channelMajor([
    [10, 10, 4, 6, 0.5, 0.25],
    [20, 10, 4, 6, 0.25, 0.75],
    [30, 10, 4, 6, 0.75, 0.75],
    [40, 10, 4, 6, 0.4999, 0.25],
    [50, 10, 4, 6, 0.625, 0.875],
    [60, 10, 4, 6, 1, 0],
  ]);
  expect(rowsOf(decode(dense, { o }))).toEqual([
    [8, 7, 12, 13, 0.5, 0],
    [18, 7, 22, 13, 0.75, 1],
    [28, 7, 32, 13, 0.75, 0],
    [48, 7, 52, 13, 0.875, 1],
    [58, 7, 62, 13, 1, 0],
  ]);
  expect(decode(dense, { o }, { threshold: 0 }).count).toBe(6);
});

test("the dense decoder finds in columns what it finds in rows, however many anchors, NaN of either sign included", () => {
  const random = chance(20261124);
  const byRow = recogniseModel(model([["o", [1, 8400, 6]]]), { head: "yolo-transposed" });
  // As processors make it of 0 / 0: its sign bit is set.
  const negativeNaN = new Float32Array(Int32Array.of(-4194304).buffer)[0]!;
  const scores = [0, -0, 0.4999, 0.5, 0.75, 0.9, 1, -3, Number.NaN, negativeNaN, Number.POSITIVE_INFINITY];
  for (const anchors of [1, 2, 3, 4, 5, 6, 7, 8, 9, 21, 84, 399]) {
    for (const share of [0.02, 0.3, 1]) {
      const score = (): number => (random() < share ? scores[Math.floor(random() * scores.length)]! : random() * 0.4);
      const rows = Array.from({ length: anchors }, (_, at) => [at + 10, 10, 4, 6, score(), score()]);
      const found = decode(dense, { o: channelMajor(rows) });
      const wanted = decode(byRow, { o: tensor([1, anchors, 6], rows.flat()) });
      expect(rowsOf(found)).toEqual(rowsOf(wanted));
      expect(found.dropped).toBe(wanted.dropped);
    }
  }
});

test("the threshold is rounded to f32: a score that f32 cannot tell from it is kept", () => {
  const o = channelMajor([[10, 10, 4, 6, 0.1, 0]]);
  // f32 has 0.1 a little above the f64.
  expect(decode(dense, { o }, { threshold: 0.1 }).count).toBe(1);
  expect(decode(dense, { o }, { threshold: 0.1000000014 }).count).toBe(1);
  expect(decode(dense, { o }, { threshold: 0.10000001 }).count).toBe(0);
});

test("NaN in a class, a box or objectness drops the row and counts it; the others stay", () => {
  const rows = [
    [10, 10, 4, 6, 0.75, Number.NaN],
    [20, 10, 4, 6, Number.NaN, 0.75],
    [Number.NaN, 10, 4, 6, 0.75, 0],
    [40, 10, 4, Number.NaN, 0, 0.75],
    [50, 10, 4, 6, 0.75, 0],
  ];
  const channels = decode(dense, { o: channelMajor(rows) });
  expect(rowsOf(channels)).toEqual([[48, 7, 52, 13, 0.75, 0]]);
  expect(channels.dropped).toBe(4);

  const anchors = recogniseModel(model([["o", [1, 8400, 6]]]), { head: "yolo-transposed" });
  const major = decode(anchors, { o: tensor([1, 5, 6], rows.flat()) });
  expect(rowsOf(major)).toEqual([[48, 7, 52, 13, 0.75, 0]]);
  expect(major.dropped).toBe(4);

  const objectness = recogniseModel(model([["output", [1, 25200, 7]]]), {});
  const product = decode(objectness, {
    output: tensor([1, 2, 7], [9, 9, 4, 4, Number.NaN, 1, 1, 9, 9, 4, 4, 1, 0.75, 0]),
  });
  expect(rowsOf(product)).toEqual([[7, 7, 11, 11, 0.75, 0]]);
  expect(product.dropped).toBe(1);
});

test("f16 outputs decode as their values in f32", () => {
  const rows = [
    [10.5, 10, 4, 6, 0.3, 0.9],
    [Number.NaN, 10, 4, 6, 0.3, 0.9],
    [65504, 10, 4, 6, 0.3, 0.9],
  ];
  const found = decode(dense, { o: channelMajor(rows, "f16") });
  const score = new Float16Array([0.9])[0]!;
  expect(rowsOf(found)).toEqual([
    [8.5, 7, 12.5, 13, score, 1],
    [65502, 7, 65506, 13, score, 1],
  ]);
  expect(found.dropped).toBe(1);
});

test("an output that does not fit the plan is a ShapeError that says what was expected", () => {
  const size = { size: [64, 64] } as const;
  expect(() => decode(dense, {})).toThrow(
    'Cannot decode output "o": it must be f32 or f16 [?, 6, ?], got no such output',
  );
  expect(() => decode(dense, { o: tensor([1, 7, 2], []) })).toThrow(
    "got f32 [1, 7, 2]\nHint: the model has another head",
  );
  expect(() => decode(dense, { o: tensor([6, 2], []) })).toThrow(ShapeError);
  expect(() => decode(dense, { o: tensor([1, 6, 2, 1], []) })).toThrow(ShapeError);
  expect(() => decode(dense, { o: tensor([1, 6, 2], [], "i32") })).toThrow(ShapeError);
  expect(() => decode(dense, { o: tensor([1, 6, 2], []) }, { index: 1 })).toThrow("of at least 2 rows");
  // Grids depend on the input's size.
  const yolox = recogniseModel(model([["output", [-1, -1, 85]]], { inputs: [DYNAMIC_IMAGES] }), { head: "yolox" });
  expect(decode(yolox, { output: tensor([1, 84, 85], []) }, size).count).toBe(0);
  expect(() => decode(yolox, { output: tensor([1, 85, 85], []) }, size)).toThrow("[?, 84, 85]");
});

test("dynamic shapes resolve from the tensors, no rows at all included", () => {
  for (const anchors of [0, 1, 3, 21, 1000]) {
    const rows = Array.from({ length: anchors }, (_, at) => [at, 10, 4, 6, 0.75, 0]);
    const o = anchors === 0 ? tensor([1, 6, 0], []) : channelMajor(rows);
    expect(decode(dense, { o }).count).toBe(anchors);
  }
});

test("a grid that holds decoded boxes is refused at the first that is kept, by the head that it needs", () => {
  const grid = recogniseModel(model([["output", [1, 42, 6]]], { inputs: [["images", [1, 3, 32, 64]]] }), {
    head: "yolox",
  });
  const found = (...cell: number[]): Candidates => decode(grid, { output: tensor([1, 42, 6], cell) });
  expect(rowsOf(found(0.5, 0.5, 1, -1, 0.9, 0.9))).toHaveLength(1);
  expect(found(0.5, 0.5, 9, 9, 0.9, 0.9).count).toBe(1);
  const decoded: [number[], number][] = [
    [[20, 16, 12, 8, 0.9, 0.9], 12],
    [[4, 4, 8, 10, 0.9, 0.9], 10],
    [[60, 4, 4, 4, 0.9, 0.9], 60],
    [[4, 30, 4, 4, 0.9, 0.9], 30],
  ];
  for (const [cell, value] of decoded) {
    expect(() => found(...cell)).toThrow(
      new ModelError(
        `Cannot decode the model's output as head "yolox": it must hold offsets in cells and logarithms of sizes, which are small, got ${value}\n` +
          'Hint: the model was exported with its decoding (YOLOX: --decode_in_inference); name the head by `head: "yolox-decoded"` (`--head yolox-decoded`); if it has no objectness, by `head: "yolo-transposed"` (`--head yolo-transposed`)',
        "yolox",
      ),
    );
  }
  // Sizes in pixels in most cells of the first image show it, though nothing is kept.
  const rows = Array.from({ length: 42 }, () => [20, 16, 12, 8, 0.001, 0.001]).flat();
  const other = { ...grid, plan: { ...grid.plan } };
  expect(() => decode(other, { output: tensor([1, 42, 6], rows) })).toThrow("which are small, got 12");
  // What is not kept may hold anything, and what is infinite is dropped.
  expect(found(20, 16, 12, 8, 0.1, 0.9).count).toBe(0);
  expect(found(0, 0, Number.POSITIVE_INFINITY, 1, 0.9, 0.9).dropped).toBe(1);
});

const RTDETR_OUTPUTS: readonly Declared[] = [
  ["labels", [-1, 300], "i64"],
  ["boxes", [-1, 300, 4]],
  ["scores", [-1, 300]],
];
const rtdetr = recogniseModel(
  model(RTDETR_OUTPUTS, { inputs: [DYNAMIC_IMAGES, ["orig_target_sizes", [-1, 2], "i64"]] }),
  {},
);

test("class ids come in i64, i32, f32 or f16, and are whole numbers", () => {
  const boxes = tensor([1, 2, 4], [1, 2, 3, 4, 5, 6, 7, 8]);
  const scores = tensor([1, 2], [0.75, 0.5]);
  for (const dtype of ["i64", "i32", "f32", "f16"] as const) {
    const labels = tensor([1, 2], [7, 364], dtype);
    expect(rowsOf(decode(rtdetr, { labels, boxes, scores }))).toEqual([
      [1, 2, 3, 4, 0.75, 7],
      [5, 6, 7, 8, 0.5, 364],
    ]);
  }
  for (const bad of [0.5, -1, Number.NaN]) {
    const labels = tensor([1, 2], [bad, 0]);
    expect(() => decode(rtdetr, { labels, boxes, scores })).toThrow(ModelError);
  }
  expect(() => decode(rtdetr, { labels: tensor([1, 2], [-1, 0], "i64"), boxes, scores })).toThrow(
    "class ids are whole numbers from 0 on, got -1",
  );
  // Rows that are not kept may hold anything.
  expect(decode(rtdetr, { labels: tensor([1, 2], [1, -7.5]), boxes, scores }, { threshold: 0.6 }).count).toBe(1);
});

test("300 rows of six that are no end-to-end head are refused by their class column", () => {
  const rows = recogniseModel(model([["output0", [1, 300, 6]]]), {});
  const output0 = tensor([1, 1, 6], [0.5, 0.5, 0.2, 0.2, 0.9, 0.1]);
  expect(() => decode(rows, { output0 })).toThrow(/class ids are whole numbers[\s\S]*name one of the other heads/);
  // Two classes of which no first one passes.
  const low = tensor([1, 2, 6], [1, 2, 3, 4, 0.9, 5, 0.5, 0.5, 0.2, 0.2, 0.1, 0.9]);
  expect(() => decode(rows, { output0: low })).toThrow("class ids are whole numbers from 0 on, got 0.89");
  const empty = tensor([1, 2, 6], [1, 2, 3, 4, 0.1, -1, 1, 2, 3, 4, 0.1, Number.NaN]);
  expect(decode(rows, { output0: empty }).count).toBe(0);
  const padded = tensor([1, 2, 6], [1, 2, 3, 4, 0.9, 5, 0, 0, 0, 0, 0, 0]);
  expect(rowsOf(decode(rows, { output0: padded }, { threshold: 0 }))).toEqual([[1, 2, 3, 4, Math.fround(0.9), 5]]);
  const broken = decode(rows, { output0: tensor([1, 1, 6], new Array(6).fill(Number.NaN)) });
  expect([broken.count, broken.dropped]).toEqual([0, 1]);
});

test("rows with an image's number or counts go to their image", () => {
  const batch = recogniseModel(model([["output", [-1, 7]]]), {});
  const output = tensor([3, 7], [1, 1, 2, 3, 4, 5, 0.9, 0, 1, 2, 3, 4, 6, 0.8, 1, 1, 2, 3, 4, 7, 0.7]);
  expect(rowsOf(decode(batch, { output }, { index: 1 })).map((row) => row[5])).toEqual([5, 7]);
  expect(rowsOf(decode(batch, { output }, { index: 0 })).map((row) => row[5])).toEqual([6]);
  expect(decode(batch, { output }, { index: 2 }).count).toBe(0);
  expect(decode(batch, { output: tensor([0, 7], []) }).count).toBe(0);

  const paddle = recogniseModel(
    model(
      [
        ["rows", [-1, 6]],
        ["counts", [-1], "i32"],
      ],
      {
        inputs: [
          ["image", [-1, 3, 640, 640]],
          ["im_shape", [-1, 2]],
          ["scale_factor", [-1, 2]],
        ],
      },
    ),
    { head: "paddle-rtdetr" },
  );
  const rows = tensor([3, 6], [5, 0.9, 1, 2, 3, 4, 6, 0.8, 1, 2, 3, 4, 7, 0.7, 1, 2, 3, 4]);
  const classes = (counts: number[], index: number): number[] =>
    rowsOf(decode(paddle, { rows, counts: tensor([counts.length], counts, "i32") }, { index })).map((row) => row[5]!);
  expect(classes([1, 0, 2], 0)).toEqual([5]);
  expect(classes([1, 0, 2], 1)).toEqual([]);
  expect(classes([1, 0, 2], 2)).toEqual([6, 7]);
  // A count beyond the rows does not read past them.
  expect(classes([1, 9], 1)).toEqual([6, 7]);
  // Nor do counts below 0 read in front of them: they end up at the first row, as on the GPU.
  expect(classes([-1, 1], 0)).toEqual([]);
  expect(classes([-1, 1], 1)).toEqual([5]);
  expect(classes([-2, 1, 2], 2)).toEqual([5, 6]);
});

test("rows past EfficientNMS's count are not read", () => {
  const nms = recogniseModel(
    model([
      ["num_dets", [1, 1], "i32"],
      ["det_boxes", [1, 3, 4]],
      ["det_scores", [1, 3]],
      ["det_classes", [1, 3], "i32"],
    ]),
    {},
  );
  const outputs = (count: number): Record<string, Tensor> => ({
    num_dets: tensor([1, 1], [count], "i32"),
    det_boxes: tensor([1, 3, 4], [1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4]),
    det_scores: tensor([1, 3], [0.9, 0.8, 0.7]),
    det_classes: tensor([1, 3], [1, 2, -99], "i32"),
  });
  expect(decode(nms, outputs(2)).count).toBe(2);
  expect(decode(nms, outputs(0)).count).toBe(0);
  expect(decode(nms, outputs(-1)).count).toBe(0);
});

test("queries whose logits all lie from 0 to 1 are refused: they are probabilities", () => {
  const boxes = tensor([1, 2, 4], [0.5, 0.5, 0.25, 0.5, 0.25, 0.25, 0.25, 0.25]);
  for (const head of ["hugging-face", "hugging-face-softmax"]) {
    const tensors: [string, Shape][] = [
      ["logits", [1, 300, 7]],
      ["pred_boxes", [1, 300, 4]],
    ];
    const spec = recogniseModel(model(tensors), { head });
    const decoded = (first: number) => () => {
      const values = Array<number>(14).fill(0.002).fill(first, 3, 4);
      return decode(spec, { logits: tensor([1, 2, 7], values), pred_boxes: boxes });
    };
    expect(decoded(0.9)).toThrow("as logits: all lie from 0 to 1, as probabilities do");
    decoded(1.1)();
    decoded(-0.1)();
    decoded(Number.NaN)();
  }
});

test("sigmoid queries keep what reaches the threshold, also where f32 has few values left", () => {
  const rfDetr = recogniseModel(
    model([
      ["dets", [1, 300, 4]],
      ["labels", [1, 300, 3]],
    ]),
    {},
  );
  const dets = tensor([1, 2, 4], [0.5, 0.5, 0.25, 0.5, 0.25, 0.25, 0.25, 0.25]);
  const labels = tensor([1, 2, 3], [0, 2, -3, 40, Number.NaN, -200]);
  const found = decode(rfDetr, { dets, labels });
  expect(rowsOf(found).map((row) => [...row.slice(0, 4), row[5]])).toEqual([
    [24, 8, 40, 24, 0],
    [24, 8, 40, 24, 1],
    [8, 4, 24, 12, 0],
  ]);
  expect(found.dropped).toBe(1);
  expect(decode(rfDetr, { dets, labels }, { threshold: 1 }).count).toBe(1);
  expect(decode(rfDetr, { dets, labels }, { threshold: 0 }).count).toBe(5);
  // Just around the threshold: the shortcut over logits agrees with the sigmoid.
  for (const threshold of [0.001, 0.25, 0.5, 0.9, 0.9999, 0.9999999]) {
    const middle = Math.log(threshold / (1 - threshold));
    const logits = Array.from({ length: 300 }, (_, at) => Math.fround(middle + (at - 150) * 1e-6));
    const many = tensor([1, 100, 3], logits);
    const boxes = tensor([1, 100, 4], new Array(400).fill(0.5));
    const expected = logits.filter((x) => Math.fround(1 / (1 + Math.exp(-x))) >= Math.fround(threshold)).length;
    expect(decode(rfDetr, { dets: boxes, labels: many }, { threshold }).count).toBe(expected);
  }
});

test("NumberSlice widens every dtype from where it is told, and follows a new buffer", () => {
  const slice = new NumberSlice();
  const read = (source: Tensor, start: number, length: number): number[] => {
    slice.load(source, start, length);
    return [...slice.data.subarray(slice.offset, slice.offset + length)];
  };
  const values = [1, -2, 3, 2047, -5];
  for (const dtype of ["f32", "f16", "i32", "i64", "f16", "i64"] as const) {
    expect(read(tensor([5], values, dtype), 1, 3)).toEqual([-2, 3, 2047]);
    expect(read(tensor([5], values.toReversed(), dtype), 0, 5)).toEqual(values.toReversed());
  }
  const view = new Float16Array(new ArrayBuffer(20), 4, 5);
  view.set(values);
  expect(read(tensorOf("f16", [5], view), 2, 2)).toEqual([3, 2047]);
});

test("a class below 0 in any row of a model's first image is no probability: an angle, or coefficients of masks", () => {
  const spec = recogniseModel(model([["output0", [1, 7, 8400]]]), { labels: ["a", "b", "c"] });
  const first = (values: readonly number[]): Candidates =>
    decode(spec, {
      output0: channelMajor([
        [30, 30, 20, 20, 0.9, 0.1, 0.2],
        [50, 50, 20, 20, ...values],
      ]),
    });
  expect(() => first([0, 0, -0.4])).toThrow(/channel 6 goes below 0, and no probability does\nHint: .*`--task obb`/);
  const other = { ...spec, plan: { ...spec.plan } };
  const middle = { output0: channelMajor([[30, 30, 20, 20, 0.9, -0.4, 0.2]]) };
  expect(() => decode(other, middle)).toThrow(/channel 5 goes (.|\n)*coefficients of masks/);
  // What quantisation leaves below 0 is none of it, and later images are not looked at.
  const rounded = { ...spec, plan: { ...spec.plan } };
  expect(decode(rounded, { output0: channelMajor([[30, 30, 20, 20, 0.9, -0.004, 0.2]]) }).count).toBe(1);
});
