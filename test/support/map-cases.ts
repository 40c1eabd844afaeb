/** @module Map cases: maps of every plan and vector, filled with noise that has ties, overlaps, NaN and infinities in it. */

import type { Tensor } from "../../src/core/tensor.ts";
import type { AnchorMapsPlan, DistanceMapsPlan, OffsetMapsPlan } from "../../src/heads/plans.ts";
import type { RowExtra, RowMaps } from "../../src/model/rows.ts";
import { type DecodeCase, Noise, tensor } from "./decode-cases.ts";

type FloatType = "f32" | "f16";
type Size = readonly [width: number, height: number];

/** Maps of odd sizes, 8x6, 4x3 and 2x2 cells, and of one cell each. */
const ODD: Size = [60, 44];
const ONE: Size = [8, 8];

/** Channels side by side that TensorRT has for a dtype, of so many channels: of the last, kHWC and kHWC8. */
function vectorsOf(dtype: FloatType, channels: number): readonly number[] {
  return dtype === "f32" ? [1, 32, channels] : [1, 2, 4, 16, 32, Math.ceil(channels / 8) * 8];
}

/** Outputs of maps by name, and how they lie on a device. */
class Maps {
  readonly outputs = new Map<string, Tensor>();
  readonly vectors = new Map<string, number>();
  readonly batch: number;
  readonly #dtype: FloatType;
  readonly #vector: number;
  readonly #size: Size;

  /** @param vector index in {@linkcode vectorsOf}: the channels of each map follow from it */
  constructor(dtype: FloatType, batch: number, size: Size, vector: number) {
    this.#dtype = dtype;
    this.batch = batch;
    this.#size = size;
    this.#vector = vector;
  }

  grid(stride: number): readonly [columns: number, rows: number] {
    return [Math.ceil(this.#size[0] / stride), Math.ceil(this.#size[1] / stride)];
  }

  /** A map [N, channels, rows, columns] by its channels. */
  add(name: string, stride: number, channels: number, value: (channel: number) => number): string {
    const [columns, rows] = this.grid(stride);
    const shape = [this.batch, channels, rows, columns];
    const made = tensor(this.#dtype, shape, (at) => value(Math.floor(at / (columns * rows)) % channels));
    this.outputs.set(name, made);
    this.vectors.set(name, vectorsOf(this.#dtype, channels)[this.#vector]!);
    return name;
  }

  /** A row-major tensor by its last axis. */
  addLast(name: string, shape: readonly number[], value: (channel: number) => number): string {
    const last = shape.at(-1)!;
    this.outputs.set(
      name,
      tensor(this.#dtype, shape, (at) => value(at % last)),
    );
    return name;
  }
}

/** Logits of few values, so that many are equal; the more classes, the fewer are high. */
function logit(noise: Noise, classes: number): number {
  return noise.odd(Math.round((noise.random() ** Math.max(4, classes) * 12 - 9) * 8) / 8);
}

interface DistanceForm {
  readonly size?: Size;
  readonly batch?: number;
  readonly classes?: number;
  readonly bins?: number;
  readonly plan?: Partial<DistanceMapsPlan>;
  readonly needsNms?: boolean;
  /** Maps of points and coefficients beside. */
  readonly hasExtras?: boolean;
  /** Classes and distances are channels of one map. */
  readonly isJoined?: boolean;
}

const STRIDES: readonly number[] = [8, 16, 32];

function distances(dtype: FloatType, vector: number, form: DistanceForm = {}): DecodeCase {
  const { size = ODD, batch = 2, classes = 11, bins = 16, plan = {}, needsNms = true, hasExtras, isJoined } = form;
  const { order = "NCHW", areLogits = true, angle } = plan;
  const noise = new Noise(classes * 100 + bins + vector);
  const maps = new Maps(dtype, batch, size, vector);
  const score = (): number =>
    areLogits ? logit(noise, classes) : noise.random() < 0.001 ? Number.NaN : noise.random() ** 8;
  const distance = (): number => noise.odd(bins === 1 ? noise.random() * 4 : noise.random() * 8 - 4);
  const numbers = classes + 4 * bins;
  const levels = STRIDES.map((stride, at) => {
    const [columns, rows] = maps.grid(stride);
    if (order === "NHWC") {
      const classMap = maps.addLast(`classes ${at}`, [batch, rows, columns, classes], score);
      return { stride, classMap, distanceMap: maps.addLast(`d ${at}`, [batch, rows, columns, 4 * bins], distance) };
    }
    if (order === "rows") return { stride, classMap: "rows", distanceMap: "rows" };
    const number = (channel: number): number => (channel < 4 * bins ? distance() : score());
    const joined = isJoined ? maps.add(`all ${at}`, stride, numbers, number) : undefined;
    const level = {
      stride,
      classMap: joined ?? maps.add(`classes ${at}`, stride, classes, score),
      distanceMap: joined ?? maps.add(`distances ${at}`, stride, 4 * bins, distance),
    };
    if (angle === undefined) return level;
    return { ...level, angleMap: maps.add(`angles ${at}`, stride, 1, () => noise.odd(noise.random() * 4 - 2)) };
  });
  if (order === "rows") {
    const cells = STRIDES.reduce((sum, stride) => sum + maps.grid(stride)[0] * maps.grid(stride)[1], 0);
    maps.addLast("rows", [batch, cells, numbers], (channel) => (channel < classes ? score() : distance()));
  }
  const extras: RowExtra[] = [];
  const extra = (rule: RowMaps["rule"], length: number, numbers?: 2 | 3): void => {
    const channels = length + 3;
    const of = STRIDES.map((stride, at) => {
      const value = (): number => noise.random() * 6 - 3;
      return { stride, output: maps.add(`${rule} ${at}`, stride, channels, value) };
    });
    const mapped: RowMaps = { levels: of, rule, ...(numbers && { numbers }) };
    extras.push({ name: rule, output: "", order: "maps", maps: mapped, channels, first: 2, length });
  };
  if (hasExtras) {
    extra("raw", 35);
    extra("points", 51);
    extra("centred-points", 10, 2);
  }
  const pushed = { output: "", order: "pushed", channels: 5 } as const;
  if (angle !== undefined) {
    extras.push({ ...pushed, name: "sides", first: 0, length: 4 }, { ...pushed, name: "angles", first: 4, length: 1 });
  }
  const said = Object.entries(plan).map(([name, value]) => `, ${name} ${value}`);
  return {
    name: `distance maps ${dtype} x${[...maps.vectors.values()].join("/")}, ${classes} classes, ${bins} bins, ${size.join("x")}${said.join("")}`,
    plan: {
      ...{ kind: "distance-maps", levels, classes, bins, order, areLogits, centre: 0.5 },
      ...(isJoined && { distanceChannel: 0, classChannel: 4 * bins }),
      ...plan,
    },
    outputs: maps.outputs,
    vectors: maps.vectors,
    batch,
    inputWidth: size[0],
    inputHeight: size[1],
    needsNms,
    extras,
  };
}

interface AnchorForm {
  readonly classes?: number;
  readonly isSplit?: boolean;
  readonly plan?: Partial<AnchorMapsPlan>;
}

function anchors(dtype: FloatType, vector: number, { classes = 7, isSplit, plan = {} }: AnchorForm): DecodeCase {
  const { order = "channels", form = "yolov5", activated = "nothing" } = plan;
  const batch = 2;
  const noise = new Noise(classes * 10 + vector);
  const maps = new Maps(dtype, batch, ODD, vector);
  const isSharp = form === "yolov5" && activated === "all";
  const numbers = plan.numbers ?? 5 + classes;
  const each = isSplit ? 1 : 3;
  const value = (channel: number): number => {
    const number = channel % numbers;
    if (number < 4) return noise.odd(isSharp ? noise.random() : noise.random() * 2 - 1);
    if (activated === "nothing" || form === "yolov2")
      return number === 4 && noise.random() < 0.1 ? 3 : logit(noise, classes);
    return noise.random() ** (number === 4 ? 4 : 1);
  };
  const levels = STRIDES.slice(0, 2).map((stride, at) => {
    const [columns, rows] = maps.grid(stride);
    const sizes = Array.from({ length: each }, (_, anchor) => [8.4 * (anchor + 1), 12.3 * (at + 1)] as const);
    const level = { stride, anchors: sizes, centreScale: 1.1 };
    if (isSplit) {
      const output = maps.add(`boxes ${at}`, stride, 4 * each, value);
      const objectnessMap = maps.add(`objects ${at}`, stride, each, () => value(4));
      return { ...level, output, objectnessMap, classMap: maps.add(`c ${at}`, stride, classes * each, () => value(5)) };
    }
    if (order === "channels") return { ...level, output: maps.add(`map ${at}`, stride, numbers * each, value) };
    const shape = order === "anchors" ? [each, rows, columns, numbers] : [rows, columns, each, numbers];
    return { ...level, output: maps.addLast(`map ${at}`, [batch, ...shape], value) };
  });
  const extra: RowExtra = {
    name: "coefficients",
    output: "",
    order: "maps",
    maps: {
      levels: levels.map(({ stride, output }) => ({ stride, output })),
      rule: "raw",
      anchors: each,
      ...(plan.counted && { counted: plan.counted }),
    },
    channels: numbers * each,
    first: 3,
    length: 2,
  };
  const said = Object.entries({ isSplit, ...plan }).map(([name, told]) => `, ${name} ${told}`);
  return {
    name: `anchor maps ${dtype} x${[...maps.vectors.values()].join("/")}, ${classes} classes${said.join("")}`,
    plan: { kind: "anchor-maps", levels, classes, order, form, activated, ...plan },
    outputs: maps.outputs,
    vectors: maps.vectors,
    batch,
    inputWidth: ODD[0],
    inputHeight: ODD[1],
    needsNms: true,
    extras: order === "channels" && !isSplit ? [extra] : [],
  };
}

function offsets(dtype: FloatType, vector: number, classes: number, centre: OffsetMapsPlan["centre"]): DecodeCase {
  const noise = new Noise(classes + vector);
  const maps = new Maps(dtype, 2, ODD, vector);
  const each = 3;
  const levels = STRIDES.map((stride, at) => ({
    stride,
    classMap: maps.add(`score ${at}`, stride, classes * each, () => noise.random() ** 12),
    boxMap: maps.add(`box ${at}`, stride, 4 * each, () => noise.odd(noise.random() - 0.5)),
    anchors: Array.from({ length: each }, (_, anchor) => [stride * (anchor + 1.3), stride * 2.1] as const),
  }));
  return {
    name: `offset maps ${dtype} x${[...maps.vectors.values()].join("/")}, ${classes} classes`,
    plan: { kind: "offset-maps", levels, classes, centre },
    outputs: maps.outputs,
    vectors: maps.vectors,
    batch: 2,
    inputWidth: ODD[0],
    inputHeight: ODD[1],
    needsNms: true,
  };
}

/** Every plan of maps. @param most width and height of the largest input */
export function mapCases(most: number): DecodeCase[] {
  const final = { plan: { isMultiLabel: true }, needsNms: false };
  const cases: DecodeCase[] = [];
  for (const dtype of ["f32", "f16"] as const) {
    for (const vector of vectorsOf(dtype, 8).keys()) {
      cases.push(
        distances(dtype, vector, { hasExtras: true, batch: 3 }),
        distances(dtype, vector, { ...final, classes: 37 }),
        anchors(dtype, vector, { plan: { counted: "anchors", numbers: 14 } }),
        offsets(dtype, vector, 5, 0.5),
      );
    }
    cases.push(
      distances(dtype, 0, { size: ONE, classes: 2, bins: 8, batch: 3 }),
      distances(dtype, 2, { size: ONE, classes: 3, bins: 8, hasExtras: true }),
      distances(dtype, 2, { size: [most, most], classes: 80, batch: 1 }),
      distances(dtype, 1, { bins: 1, plan: { areLogits: false, centre: 0 } }),
      distances(dtype, 2, { isJoined: true, classes: 16 }),
      distances(dtype, 0, { isJoined: true, bins: 8, plan: { areLogits: false } }),
      distances(dtype, 0, { plan: { order: "NHWC" }, classes: 3 }),
      distances(dtype, 0, { plan: { order: "NHWC", areLogits: false }, classes: 16 }),
      distances(dtype, 0, { plan: { order: "rows", areLogits: false, centre: 0 }, bins: 8 }),
      distances(dtype, 0, { plan: { order: "rows", areLogits: false, centre: 0 }, bins: 8, classes: 8 }),
      distances(dtype, 2, { ...final, classes: 1 }),
      distances(dtype, 2, { plan: { isMultiLabel: true, most: 7 }, needsNms: false }),
      distances(dtype, 0, { plan: { isMultiLabel: true, areLogits: false } }),
      offsets(dtype, 0, 1, 0),
      anchors(dtype, 2, { isSplit: true, classes: 16, plan: { form: "yolox" } }),
      anchors(dtype, 1, { isSplit: true, classes: 3, plan: { form: "yolox" } }),
    );
    for (const form of ["darknet", "yolov2", "yolov5", "yolox", "custom-vision"] as const) {
      cases.push(anchors(dtype, 0, { plan: { form } }));
    }
    for (const order of ["anchors", "cells", "channels"] as const) {
      cases.push(
        anchors(dtype, 0, { classes: 1, plan: { order, form: "yolov5" } }),
        anchors(dtype, 0, { plan: { order, form: "yolov5", activated: "all" } }),
        anchors(dtype, 0, { plan: { order, form: "darknet", activated: "scores" } }),
      );
    }
  }
  return cases;
}

/** Oriented boxes of maps, raw and final. */
export function orientedMapCases(): DecodeCase[] {
  return (["f32", "f16"] as const).flatMap((dtype) => [
    distances(dtype, 2, { classes: 15, plan: { angle: "sigmoid" } }),
    distances(dtype, 0, { classes: 15, bins: 1, plan: { angle: "radians" } }),
    distances(dtype, 2, { classes: 5, plan: { angle: "radians", isMultiLabel: true }, needsNms: false }),
  ]);
}
