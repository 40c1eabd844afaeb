/** @module Decode cases: outputs of every plan, filled with noise that has ties, overlaps, NaN and infinities in it. */

import { allocate, type DType, type DTypeMap, type Tensor, volume } from "../../src/core/tensor.ts";
import type { DecodePlan, DensePlan } from "../../src/heads/plans.ts";
import type { RowExtra } from "../../src/model/rows.ts";
import { chance } from "./chance.ts";

/** A batch of outputs and the plan they are read by. */
export interface DecodeCase {
  readonly name: string;
  readonly plan: DecodePlan;
  readonly outputs: ReadonlyMap<string, Tensor>;
  readonly batch: number;
  readonly inputWidth: number;
  readonly inputHeight: number;
  readonly needsNms: boolean;
  /** What is gathered for the kept rows. */
  readonly extras?: readonly RowExtra[];
  /** Channels side by side of outputs on a device, where it is not one. */
  readonly vectors?: ReadonlyMap<string, number>;
}

type FloatType = "f32" | "f16";

/** Numbers by chance, some of them none. */
export class Noise {
  readonly random: () => number;
  constructor(seed: number) {
    this.random = chance(seed);
  }

  below(limit: number): number {
    return Math.floor(this.random() * limit);
  }

  /** The value, or seldom NaN or an infinity. */
  odd(value: number): number {
    const fate = this.random();
    return fate < 0.0005 ? Number.NaN : fate < 0.001 ? Number.POSITIVE_INFINITY : value;
  }

  /** A score of few values, so that many are equal; the higher the power, the fewer are high. */
  score(power: number): number {
    return this.odd(Math.round(this.random() ** power * 64) / 64);
  }

  /** A coordinate in one of a few clusters, so that boxes overlap. */
  clustered(clusters: number, distance: number, spread: number): number {
    return this.odd(this.below(clusters) * distance + this.random() * spread);
  }
}

/** A tensor by its elements. */
export function tensor<T extends DType>(dtype: T, shape: readonly number[], value: (at: number) => number): Tensor {
  const data = allocate(dtype, volume(shape)) as DTypeMap[DType];
  for (let at = 0; at < data.length; at++) {
    if (data instanceof BigInt64Array) data[at] = BigInt(value(at));
    else data[at] = value(at);
  }
  return { dtype, shape, data } as Tensor;
}

function dense(
  dtype: FloatType,
  parts: Pick<DensePlan, "order" | "score" | "boxUnit">,
  [batch, anchors, classes]: readonly [number, number, number],
): DecodeCase {
  const noise = new Noise(anchors + classes);
  const { order, score, boxUnit } = parts;
  const classChannel = score === "class" ? 4 : 5;
  const channels = classChannel + classes + 3;
  const unit = boxUnit === "fraction" ? 640 : 1;
  const power = classes > 40 ? 60 : 8;
  const value = (channel: number): number => {
    if (channel < 2) return noise.clustered(8, 70 / unit, 20 / unit);
    if (channel < 4) return ((noise.random() < 0.02 ? -1 : 1) * (40 + noise.random() * 30)) / unit;
    return channel < classChannel ? noise.score(1) : noise.score(power);
  };
  const isChannelMajor = order === "channel-major";
  const shape = isChannelMajor ? [batch, channels, anchors] : [batch, anchors, channels];
  const output = tensor(dtype, shape, (at) =>
    value(isChannelMajor ? Math.floor(at / anchors) % channels : at % channels),
  );
  return {
    name: `dense ${order} ${score} ${boxUnit} ${dtype} [${shape.join(", ")}]`,
    plan: { kind: "dense", output: "output0", channels, classes, classChannel, ...parts },
    outputs: new Map([["output0", output]]),
    batch,
    inputWidth: 640,
    inputHeight: 480,
    needsNms: true,
    // The channels behind the classes, and one that overlaps them.
    extras: [
      { name: "tail", output: "output0", order, channels, first: channels - 3, length: 3 },
      { name: "all", output: "output0", order, channels, first: 0, length: channels },
    ],
  };
}

/** A value of column `column` of a row x1, y1, x2, y2, score, class. */
function rowValue(noise: Noise, column: number): number {
  if (column < 4) return noise.odd((column > 1 ? 60 : 0) + noise.below(5) * 80 + noise.random() * 9);
  return column === 4 ? noise.score(1) : noise.below(40);
}

/** Rows of x1, y1, x2, y2, score and class. */
export const SIX_COLUMNS = {
  kind: "rows",
  output: "rows",
  columns: 6,
  boxColumn: 0,
  scoreColumn: 4,
  classColumn: 5,
  batchColumn: undefined,
  counts: undefined,
} as const;

function rows(dtype: FloatType, needsNms: boolean): DecodeCase[] {
  const noise = new Noise(11);
  const size = { batch: 3, inputWidth: 320, inputHeight: 256, needsNms };
  const image = tensor(dtype, [3, 70, 6], (at) => rowValue(noise, at % 6));
  const flat = tensor(dtype, [100, 7], (at) => (at % 7 === 6 ? noise.below(3) : rowValue(noise, at % 7)));
  const counted = tensor(dtype, [90, 6], (at) => rowValue(noise, at % 6));
  return [
    {
      ...size,
      name: `rows ${dtype}, NMS ${needsNms}`,
      plan: SIX_COLUMNS,
      outputs: new Map([["rows", image]]),
    },
    {
      ...size,
      name: `rows of all images ${dtype}, NMS ${needsNms}`,
      plan: { ...SIX_COLUMNS, columns: 7, batchColumn: 6 },
      extras: [{ name: "row", output: "rows", order: "flat", channels: 7, first: 4, length: 3 }],
      outputs: new Map([["rows", flat]]),
    },
    ...(["i32", "i64"] as const).map((type) => ({
      ...size,
      name: `counted rows ${dtype} ${type}, NMS ${needsNms}`,
      plan: { ...SIX_COLUMNS, counts: "counts" },
      extras: [{ name: "row", output: "rows", order: "flat", channels: 6, first: 3, length: 2 } as const],
      outputs: new Map([
        ["rows", counted],
        ["counts", tensor(type, [3], (at) => [20, 0, 60][at]!)],
      ]),
    })),
  ];
}

/** Rows whose boxes are centre and size as fractions; the clusters lie inside an image of 320 × 256. */
function centredRows(dtype: FloatType): DecodeCase {
  const noise = new Noise(37);
  const value = (column: number): number => {
    if (column < 2) return 0.1 + noise.clustered(5, 0.15, 0.02);
    return column < 4 ? 0.1 + noise.random() * 0.1 : rowValue(noise, column);
  };
  return {
    name: `centred rows in fractions ${dtype}`,
    plan: { ...SIX_COLUMNS, boxForm: "centre", boxUnit: "fraction" },
    outputs: new Map([["rows", tensor(dtype, [3, 70, 6], (at) => value(at % 6))]]),
    batch: 3,
    inputWidth: 320,
    inputHeight: 256,
    needsNms: false,
  };
}

/** Boxes as corners: behind the classes' channels in either order, and in a tensor of their own of either rank. */
function corners(dtype: FloatType): DecodeCase[] {
  const noise = new Noise(41);
  const [batch, anchors, classes] = [2, 330, 7];
  const corner = (axis: number): number => rowValue(noise, axis) / (axis % 2 === 0 ? 640 : 480);
  const size = { batch, inputWidth: 640, inputHeight: 480, needsNms: true };
  const plan = { kind: "dense", output: "output0", classes, score: "class", boxForm: "corners" } as const;
  const joined = (["channel-major", "anchor-major"] as const).map((order): DecodeCase => {
    const channels = 4 + classes;
    const isChannelMajor = order === "channel-major";
    const shape = isChannelMajor ? [batch, channels, anchors] : [batch, anchors, channels];
    const output = tensor(dtype, shape, (at) => {
      const channel = isChannelMajor ? Math.floor(at / anchors) % channels : at % channels;
      return channel < 4 ? rowValue(noise, channel) : noise.score(8);
    });
    return {
      ...size,
      name: `corners ${order} ${dtype}`,
      plan: { ...plan, order, channels, classChannel: 4, boxUnit: "pixels" },
      outputs: new Map([["output0", output]]),
    };
  });
  // As pytorch-ssd has them, with the score of the background first, and as YOLOv4.
  const apart = (
    [
      [1, [batch, anchors, 4]],
      [0, [batch, anchors, 1, 4]],
    ] as const
  ).map(([classChannel, shape]): DecodeCase => {
    const channels = classes + classChannel;
    return {
      ...size,
      name: `corners apart, in fractions, ${dtype} [${shape.join(", ")}]`,
      plan: { ...plan, order: "anchor-major", channels, classChannel, boxUnit: "fraction", boxes: "boxes" },
      outputs: new Map([
        ["output0", tensor(dtype, [batch, anchors, channels], () => noise.score(8))],
        ["boxes", tensor(dtype, shape, (at) => corner(at % 4))],
      ]),
    };
  });
  return [...joined, ...apart];
}

function columns(dtype: FloatType): DecodeCase[] {
  const noise = new Noise(13);
  const boxes = tensor(dtype, [2, 90, 4], (at) => rowValue(noise, at % 4));
  const scores = tensor(dtype, [2, 90], () => rowValue(noise, 4));
  return (["f32", "f16", "i32", "i64"] as const).map((type) => ({
    name: `columns ${dtype}, classes ${type}`,
    plan: {
      kind: "columns",
      boxes: "boxes",
      scores: "scores",
      classes: "classes",
      counts: type === "f32" ? undefined : "counts",
    },
    outputs: new Map([
      ["boxes", boxes],
      ["scores", scores],
      ["classes", tensor(type, [2, 90], () => noise.below(80))],
      ["counts", tensor(type === "i64" ? "i64" : "i32", type === "f16" ? [2] : [2, 1], (at) => [50, 120][at]!)],
    ]),
    batch: 2,
    inputWidth: 640,
    inputHeight: 640,
    needsNms: type === "i32",
  }));
}

/** Columns whose boxes are fractions of the input. */
function fractionColumns(dtype: FloatType): DecodeCase {
  const noise = new Noise(14);
  const side = (at: number): number => noise.clustered(4, 0.2, 0.05) + (at % 4 < 2 ? 0 : 0.15);
  return {
    name: `columns in fractions ${dtype}`,
    plan: { kind: "columns", boxes: "boxes", scores: "scores", classes: "classes", boxUnit: "fraction" },
    outputs: new Map([
      ["boxes", tensor(dtype, [2, 90, 4], side)],
      ["scores", tensor(dtype, [2, 90], () => noise.score(1))],
      ["classes", tensor("i32", [2, 90], () => noise.below(3))],
    ]),
    batch: 2,
    inputWidth: 640,
    inputHeight: 384,
    needsNms: true,
  };
}

/** Columns of shared tensors: as mmdeploy, whose last rows only fill up; as TensorFlow; one image's; and classes as bytes, or none. */
function parts(dtype: FloatType): DecodeCase[] {
  const noise = new Noise(15);
  const [images, rows] = [2, 90];
  const size = { batch: images, inputWidth: 640, inputHeight: 384, needsNms: false } as const;
  const isFilling = (row: number): boolean => row % rows > 80;
  const dets = (width: number, score: number): Tensor =>
    tensor(dtype, [images, rows, width], (at) => {
      const column = at % width;
      if (column === score) return isFilling(Math.floor(at / width)) ? 0 : rowValue(noise, 4);
      return rowValue(noise, column % 4);
    });
  const labels = (type: DType, shape: readonly number[]): Tensor =>
    tensor(type, shape, (at) => (type !== "u8" && isFilling(at) ? -1 : noise.below(80)));
  const classes = { output: "labels", width: 1, first: 0 };
  const inDets = (width: number, score: number) =>
    ({
      kind: "parts",
      boxes: { output: "dets", width, first: 0 },
      scores: { output: "dets", width, first: score },
    }) as const;
  const fraction = (shape: readonly number[]): Tensor =>
    tensor(dtype, shape, (at) => noise.clustered(4, 0.2, 0.05) + (at % 4 < 2 ? 0 : 0.15));
  return [
    {
      ...size,
      name: `parts of one tensor ${dtype}, classes i64`,
      plan: { ...inDets(5, 4), classes },
      outputs: new Map([
        ["dets", dets(5, 4)],
        ["labels", labels("i64", [images, rows])],
      ]),
    },
    {
      ...size,
      name: `parts by their centres ${dtype}, classes f32`,
      plan: { ...inDets(6, 5), classes, boxForm: "centre" },
      outputs: new Map([
        ["dets", dets(6, 5)],
        ["labels", labels("f32", [images, rows, 1])],
      ]),
      needsNms: true,
    },
    {
      ...size,
      name: `parts y before x, in fractions ${dtype}, counts f32`,
      plan: {
        ...{ kind: "parts", boxUnit: "fraction", axes: "yx", counts: "count" },
        boxes: { output: "boxes", width: 4, first: 0 },
        scores: { output: "scores", width: 1, first: 0 },
        classes,
      } as const,
      outputs: new Map([
        ["boxes", fraction([images, rows, 4])],
        ["scores", tensor(dtype, [images, rows], () => noise.score(1))],
        ["labels", tensor(dtype, [images, rows], () => noise.below(9))],
        ["count", tensor("f32", [images], (at) => [50, 90][at]!)],
      ]),
    },
    {
      ...size,
      batch: 1,
      name: `parts of one image ${dtype}, classes u8`,
      plan: {
        ...{ kind: "parts", isSingle: true },
        boxes: { output: "boxes", width: 4, first: 0 },
        scores: { output: "scores", width: 1, first: 0 },
        classes,
      } as const,
      outputs: new Map([
        ["boxes", tensor(dtype, [rows, 4], (at) => rowValue(noise, at % 4))],
        ["scores", tensor(dtype, [rows], () => rowValue(noise, 4))],
        ["labels", labels("u8", [rows])],
      ]),
    },
    {
      ...size,
      name: `parts without classes ${dtype}`,
      plan: inDets(5, 4),
      outputs: new Map([["dets", dets(5, 4)]]),
    },
  ];
}

function queries(dtype: FloatType): DecodeCase[] {
  const noise = new Noise(17);
  const count = 90;
  const classes = 21;
  return (["sigmoid", "softmax"] as const).map((activation) => ({
    name: `queries ${activation} ${dtype}`,
    plan: { kind: "queries", logits: "logits", boxes: "boxes", classes, activation },
    outputs: new Map([
      [
        "logits",
        tensor(dtype, [2, count, classes], () => noise.odd(noise.random() * 10 - (activation === "sigmoid" ? 7 : 3))),
      ],
      [
        "boxes",
        tensor(dtype, [2, count, 4], (at) =>
          at % 4 < 2 ? 0.1 + noise.clustered(6, 0.15, 0.02) : 0.1 + noise.random() * 0.1,
        ),
      ],
    ]),
    batch: 2,
    inputWidth: 640,
    inputHeight: 512,
    needsNms: false,
    extras: [{ name: "box", output: "boxes", order: "anchor-major", channels: 4, first: 1, length: 3 }] as const,
  }));
}

/** Cells of the grids of strides 8, 16, 32 in an input of 100 × 76. */
const GRIDS: readonly number[] = [13 * 10, 7 * 5, 4 * 3];

function grid(dtype: FloatType): DecodeCase {
  const noise = new Noise(19);
  const classes = 11;
  const cells = GRIDS.reduce((sum, count) => sum + count, 0);
  const value = (channel: number): number => {
    if (channel < 4) return noise.odd(noise.random() * 2 - (channel < 2 ? 0.5 : 0));
    return noise.score(1);
  };
  return {
    name: `grid ${dtype}`,
    plan: { kind: "grid", output: "output", classes, strides: [8, 16, 32] },
    outputs: new Map([["output", tensor(dtype, [2, cells, 5 + classes], (at) => value(at % (5 + classes)))]]),
    batch: 2,
    inputWidth: 100,
    inputHeight: 76,
    needsNms: true,
  };
}

function distanceBins(dtype: FloatType): DecodeCase {
  const noise = new Noise(23);
  const classes = 11;
  const bins = 8;
  const outputs = new Map<string, Tensor>();
  const levels = GRIDS.map((cells, at) => {
    const level = { stride: 8 << at, classMap: `classes ${at}`, distanceMap: `distances ${at}` };
    outputs.set(
      level.classMap,
      tensor(dtype, [2, cells, classes], () => noise.score(3)),
    );
    outputs.set(
      level.distanceMap,
      tensor(dtype, [2, cells, 4 * bins], () => noise.odd(noise.random() * 8 - 4)),
    );
    return level;
  });
  return {
    name: `distance bins ${dtype}`,
    plan: { kind: "distance-bins", levels, classes, bins },
    outputs,
    batch: 2,
    inputWidth: 100,
    inputHeight: 76,
    needsNms: true,
  };
}

function fastestDet(dtype: FloatType): DecodeCase {
  const noise = new Noise(29);
  const classes = 20;
  const value = (channel: number): number => {
    if (channel === 0) return noise.odd(noise.random());
    return noise.odd(channel < 5 ? noise.random() * 4 - 2 : noise.random() ** 2);
  };
  return {
    name: `fastestdet ${dtype}`,
    plan: { kind: "fastestdet", output: "output", classes },
    outputs: new Map([
      ["output", tensor(dtype, [2, 5 + classes, 9, 11], (at) => value(Math.floor(at / 99) % (5 + classes)))],
    ]),
    batch: 2,
    inputWidth: 352,
    inputHeight: 288,
    needsNms: true,
  };
}

/** Every plan in both float types, sizes from one anchor up to `most`: YOLOv8 has 8,400. */
export function decodeCases(most = 8400): DecodeCase[] {
  const cases: DecodeCase[] = [];
  for (const dtype of ["f32", "f16"] as const) {
    for (const boxUnit of ["pixels", "fraction"] as const) {
      const small = [2, Math.min(most, 700), 17] as const;
      cases.push(dense(dtype, { order: "channel-major", score: "class", boxUnit }, small));
      for (const score of ["class", "product", "objectness"] as const) {
        cases.push(dense(dtype, { order: "anchor-major", score, boxUnit }, small));
      }
    }
    for (const size of [
      [1, 1, 1],
      [3, 33, 3],
      [2, most, 80],
    ] as const) {
      cases.push(dense(dtype, { order: "channel-major", score: "class", boxUnit: "pixels" }, size));
      cases.push(dense(dtype, { order: "anchor-major", score: "product", boxUnit: "pixels" }, size));
    }
    cases.push(
      ...rows(dtype, true),
      ...rows(dtype, false),
      ...columns(dtype),
      fractionColumns(dtype),
      ...parts(dtype),
      ...queries(dtype),
    );
    cases.push(grid(dtype), distanceBins(dtype), fastestDet(dtype));
    cases.push(centredRows(dtype), ...corners(dtype));
  }
  return cases;
}

/** How many candidates {@linkcode manyCandidates} makes, and of which kind. */
export interface Crowd {
  readonly anchors: number;
  /** `different` and `equal` scores of boxes that seldom overlap; `crowded`: most do, and the worst quarter lies apart. */
  readonly kind: "different" | "equal" | "crowded";
}

/** One class and far more candidates than the selection takes at once, or than enter NMS at all. */
export function manyCandidates({ anchors, kind }: Crowd): DecodeCase {
  const noise = new Noise(31);
  const extent = kind === "crowded" ? 40 : 4000;
  const scores = Float32Array.from({ length: anchors }, () => (kind === "equal" ? 0.5 : noise.random()));
  const output = tensor("f32", [1, 5, anchors], (at) => {
    const channel = Math.floor(at / anchors);
    const score = scores[at % anchors]!;
    if (channel < 2) return noise.random() * extent + (kind === "crowded" && score < 0.25 ? 2000 : 0);
    return channel < 4 ? 10 + noise.random() * 10 : score;
  });
  return {
    name: `${anchors} candidates, ${kind}`,
    plan: {
      kind: "dense",
      output: "output0",
      order: "channel-major",
      channels: 5,
      classes: 1,
      classChannel: 4,
      score: "class",
      boxUnit: "pixels",
    },
    outputs: new Map([["output0", output]]),
    batch: 1,
    inputWidth: 4000,
    inputHeight: 4000,
    needsNms: true,
  };
}
