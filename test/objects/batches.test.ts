import { expect, test } from "bun:test";
import { ShapeError } from "../../src/core/errors.ts";
import type { Tensor, TensorInfo } from "../../src/core/tensor.ts";
import { decodeFacePoints } from "../../src/heads/face-grid.ts";
import type { DecodeInput, ModelSpec } from "../../src/heads/head.ts";
import { headOf, OBJECT_HEADS } from "../../src/heads/registry.ts";
import { decodePartPoints } from "../../src/heads/rows.ts";
import { readTraits } from "../../src/heads/traits.ts";
import { Candidates, createDetectionBlock } from "../../src/model/rows.ts";

type Declared = readonly [name: string, shape: readonly number[], dtype?: "i64"];

const SIDE = 64;
const IMAGES = 3;
const STRIDES = [8, 16, 32];
const cells = (stride: number): number => (SIDE / stride) ** 2;

/** The outputs of each head for a batch, by the names of its exporter. */
const MODELS: Readonly<Record<string, readonly Declared[]>> = {
  "yolo-nas-pose": [
    ["num_predictions", [IMAGES, 1], "i64"],
    ["post_nms_boxes", [IMAGES, 40, 4]],
    ["post_nms_scores", [IMAGES, 40]],
    ["post_nms_joints", [IMAGES, 40, 5, 3]],
  ],
  "yolo-nas-pose-raw": [
    ["1", [IMAGES, 84, 4]],
    ["2", [IMAGES, 84, 1]],
    ["3", [IMAGES, 84, 6, 2]],
    ["4", [IMAGES, 84, 6]],
  ],
  rtmo: [
    ["dets", [IMAGES, 40, 5]],
    ["keypoints", [IMAGES, 40, 17, 3]],
  ],
  mmrotate: [
    ["dets", [IMAGES, 40, 6]],
    ["labels", [IMAGES, 40], "i64"],
  ],
  centerface: [
    ["heatmap", [IMAGES, 1, 16, 16]],
    ["scale", [IMAGES, 2, 16, 16]],
    ["offset", [IMAGES, 2, 16, 16]],
    ["landmarks", [IMAGES, 10, 16, 16]],
  ],
  yunet: STRIDES.flatMap((stride): Declared[] => [
    [`kps_${stride}`, [IMAGES, cells(stride), 10]],
    [`bbox_${stride}`, [IMAGES, cells(stride), 4]],
    [`obj_${stride}`, [IMAGES, cells(stride), 1]],
    [`cls_${stride}`, [IMAGES, cells(stride), 1]],
  ]),
  scrfd: STRIDES.flatMap((stride): Declared[] => [
    [`kps_${stride}`, [IMAGES, cells(stride) * 2, 10]],
    [`bbox_${stride}`, [IMAGES, cells(stride) * 2, 4]],
    [`score_${stride}`, [IMAGES, cells(stride) * 2, 1]],
  ]),
  retinaface: [
    ["landmarks", [IMAGES, 168, 10]],
    ["scores", [IMAGES, 168, 2]],
    ["boxes", [IMAGES, 168, 4]],
  ],
};

/** Numbers of the same sequence for each seed, from 0 to 1. */
function numbers(count: number, seed: number): number[] {
  let state = seed;
  return Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state >>> 8) / 2 ** 24;
  });
}

function tensorOf([, shape, dtype]: Declared, seed: number): Tensor {
  const values = numbers(
    shape.reduce((all, side) => all * side),
    seed,
  );
  if (dtype === "i64")
    return { dtype, shape, data: BigInt64Array.from(values, (value) => BigInt(30 + Math.floor(value * 9))) } as Tensor;
  return { dtype: "f32", shape, data: Float32Array.from(values) } as Tensor;
}

/** An image of a batch, alone. */
function alone({ dtype, shape, data }: Tensor, image: number): Tensor {
  const length = data.length / IMAGES;
  return { dtype, shape: [1, ...shape.slice(1)], data: data.slice(image * length, (image + 1) * length) } as Tensor;
}

/** Every row of an image with its points. */
function found(spec: ModelSpec, outputs: ReadonlyMap<string, Tensor>, index: number): number[][] {
  const input: DecodeInput = { outputs, index, inputWidth: SIDE, inputHeight: SIDE, threshold: 0.4 };
  const candidates = new Candidates();
  headOf(spec).decode(spec.plan, input, candidates);
  const { count, numbers: width } = spec.keypoints ?? { count: 0, numbers: 2 };
  const block = createDetectionBlock(candidates.count, [{ length: count * width }]);
  block.count = candidates.count;
  block.sources.set(candidates.sources.subarray(0, candidates.count));
  const points = block.extras[0]!;
  if (spec.plan.kind === "faces") decodeFacePoints(spec.plan, input, block, points);
  if (spec.plan.kind === "parts") decodePartPoints(spec.plan, input, block, points);
  return Array.from({ length: candidates.count }, (_, row) => [
    ...candidates.boxes.subarray(row * 4, row * 4 + 4),
    candidates.scores[row]!,
    candidates.classIds[row]!,
    ...points.subarray(row * count * width, (row + 1) * count * width),
  ]);
}

for (const [name, declared] of Object.entries(MODELS)) {
  test(`${name}: each image of a batch has what it has alone, whatever the order of the outputs`, () => {
    const outputs = declared.map(
      ([output, shape, dtype]): TensorInfo => ({ name: output, shape, dtype: dtype ?? "f32" }),
    );
    const inputs = [{ name: "input", shape: [IMAGES, 3, SIDE, SIDE], dtype: "f32" } as const];
    const traits = readTraits({ inputs, outputs, metadata: {} })!;
    const specs = OBJECT_HEADS.map((head) => head.recognise(traits)).filter((spec) => spec !== undefined);
    expect(specs.map(({ head }) => head)).toEqual([name]);
    const [spec] = specs as [ModelSpec];
    expect(spec.unexplained).toEqual([]);
    const batch = new Map(declared.map((one, at) => [one[0], tensorOf(one, at + 1)]));
    for (let image = 0; image < IMAGES; image++) {
      const single = new Map([...batch].map(([output, tensor]) => [output, alone(tensor, image)]));
      const rows = found(spec, batch, image);
      expect(rows.length).toBeGreaterThan(0);
      expect(rows).toEqual(found(spec, single, 0));
    }
  });
}

test("SCRFD's outputs are told by names, by their rows, or by numbers that grow in the order of the graph", () => {
  const kinds = [1, 4, 10];
  const recognise = (names: readonly string[], rows: (stride: number) => number): ModelSpec["plan"] | undefined => {
    const outputs = STRIDES.flatMap((stride, level) =>
      kinds.map((numbers, kind) => ({
        name: names[level * 3 + kind]!,
        shape: [rows(stride), numbers],
        dtype: "f32" as const,
      })),
    ).reverse();
    const inputs = [{ name: "input.1", shape: [1, 3, SIDE, SIDE], dtype: "f32" as const }];
    const traits = readTraits({ inputs, outputs, metadata: {} })!;
    return OBJECT_HEADS.map((head) => head.recognise(traits)).find((spec) => spec !== undefined)?.plan;
  };
  const numbered = ["448", "451", "454", "471", "474", "477", "494", "497", "500"];
  const words = numbered.map((name) => `out_${name}`);
  const own = STRIDES.flatMap((stride) => ["score", "bbox", "kps"].map((kind) => `${kind}_${stride}`));
  const levelsOf = (names: readonly string[]): object[] =>
    STRIDES.map((stride, level) => ({
      stride,
      scores: names[level * 3],
      boxes: names[level * 3 + 1],
      points: names[level * 3 + 2],
    }));
  for (const [names, rows] of [
    [own, () => -1],
    [words, (stride: number) => cells(stride) * 2],
    [numbered, () => -1],
  ] as const) {
    expect(recognise(names, rows)).toMatchObject({ form: "scrfd", levels: levelsOf(names) });
  }
  // Numbers in another order than the strides have other rows than these, which is found out with the first image.
  const plan = recognise(numbered, () => -1)!;
  const outputs = new Map(
    numbered.map((name, at): [string, Tensor] => {
      const shape = [cells(STRIDES[2 - Math.floor(at / 3)]!) * 2, kinds[at % 3]!];
      return [name, tensorOf([name, shape], 1)];
    }),
  );
  const input = { outputs, index: 0, inputWidth: SIDE, inputHeight: SIDE, threshold: 0.5 };
  expect(() => headOf({ head: "scrfd" }).decode(plan, input, new Candidates())).toThrow(ShapeError);
  // Nothing tells: nothing is guessed.
  expect(recognise(words, () => -1)).toBeUndefined();
  expect(recognise(numbered.toReversed(), () => -1)).toBeUndefined();
});

test("RetinaFace's own exporter leaves the last axes open, and its names tell them; other anchors are another model", () => {
  const recognise = (anchors: number): ModelSpec | undefined => {
    const outputs = ["outputtt", "output", "outputt"].map((name) => ({
      name,
      shape: [1, anchors, -1],
      dtype: "f32" as const,
    }));
    const inputs = [{ name: "input", shape: [1, 3, -1, -1], dtype: "f32" as const }];
    const traits = readTraits({ inputs, outputs, metadata: {} })!;
    return OBJECT_HEADS.map((head) => head.recognise(traits)).find((spec) => spec !== undefined);
  };
  const level = { scores: "outputt", boxes: "output", points: "outputtt" };
  expect(recognise(16_800)?.plan).toMatchObject({ form: "retinaface", levels: [level, level, level] });
  // Three anchors in some cells, and a fourth stride.
  expect(recognise(23_500)).toBeUndefined();
});
