/**
 * @module Semantic task: which class each pixel of an image is of; and its result, with the classes' areas, as JSON and
 * text, and drawn.
 */

import { BunTensorRtError, ModelError, message, ShapeError } from "../../core/errors.ts";
import { formatShape, type Tensor } from "../../core/tensor.ts";
import { plural, round } from "../../core/units.ts";
import { isClassMap } from "../../heads/traits.ts";
import type { Image } from "../../image/image.ts";
import { labelOf } from "../../model/model-info.ts";
import type { FrameResult } from "../../runtime/backend.ts";
import type { HostTensors, OpenedModel } from "../../runtime/task.ts";
import { drawShapes, type LabelledShape, paintCaptions, paintShapes } from "../detect/draw.ts";
import { type MapSpec, type MapTaskOptions, recogniseMap } from "../image/map-recognition.ts";
import { MapResizer, type MapValues, mapAxes, mapTaps, nearestTaps } from "../image/map-resize.ts";
import { HostMap, type MapForm, type View } from "../image/map-task.ts";
import { labelsOfFiles } from "../model-files.ts";
import { Mask } from "../segment/mask.ts";
import { encodeCounts, type Rle } from "../segment/mask-forms.ts";
import { type MaskForm, type ResultForms, type TaskResult, tensorsOf, timingJson } from "../task-result.ts";
import type { ValueGuard } from "../value-guard.ts";

/** What a caller may say of a model. */
export interface SemanticTaskOptions extends MapTaskOptions {
  readonly labels?: readonly string[] | undefined;
}

/** What a model was recognised as. */
export interface SemanticSpec extends MapSpec {
  readonly task: "semantic";
  /** `undefined` of a model that chooses the classes itself, and has no names for them. */
  readonly classes: number | undefined;
  /** One a class, by class id; empty where neither the model nor the caller has any. */
  readonly labels: readonly string[];
  /** True of a model that gives classes, and no logits. */
  readonly isChosen: boolean;
  /** Of a pixel in the result: more than 256 classes take 16. */
  readonly bits: 8 | 16;
}

/** Most classes that a byte tells apart. */
const BYTE_CLASSES = 256;

/** Class of each pixel, row by row. */
export type ClassMap = Uint8Array<ArrayBuffer> | Uint16Array<ArrayBuffer>;

/** @throws {ModelError} If it is another model, or has another number of classes than names */
async function recognise(opened: OpenedModel, options: SemanticTaskOptions): Promise<SemanticSpec> {
  const { info, names, spec } = await recogniseMap(opened, "semantic", options);
  const isChosen = isClassMap(info);
  const channels = isChosen ? -1 : info.shape[1]!;
  // One logit tells two classes apart.
  const classes = channels > 0 ? Math.max(channels, 2) : undefined;
  const given = options.labels?.length === 0 ? undefined : options.labels;
  if (given !== undefined && classes !== undefined && given.length !== classes && given.length !== channels) {
    const found = `it has ${plural(classes, "class")}, got ${plural(given.length, "class name")}`;
    throw new ModelError(message(`use ${opened.source}`, found, "give one name for each class"), opened.source);
  }
  const own = names !== undefined && (classes ?? names.length) >= names.length ? names : undefined;
  const labels = given ?? own ?? labelsOfFiles(options.files, classes) ?? [];
  const known = classes ?? (labels.length || undefined);
  const bits = (known ?? (info.dtype === "u8" ? BYTE_CLASSES : Number.POSITIVE_INFINITY)) > BYTE_CLASSES ? 16 : 8;
  return { ...spec, task: "semantic", classes: known, labels, isChosen, bits };
}

/** Models of semantic maps. */
export const SEMANTIC: MapForm<SemanticSpec, ClassMap, SemanticTaskOptions> = {
  name: "semantic",
  recognise,
  createWork: (spec, options, guard) => new HostSemantic(spec, options, guard),
};

class HostSemantic extends HostMap<ClassMap> {
  protected readonly looksAtWhole = false;
  readonly #spec: SemanticSpec;
  readonly #resizer = new MapResizer();

  constructor(spec: SemanticSpec, options: MapTaskOptions, guard: ValueGuard) {
    super(spec, options, guard);
    this.#spec = spec;
  }

  protected start({ width, height }: Image): ClassMap {
    return this.#spec.bits === 8 ? new Uint8Array(width * height) : new Uint16Array(width * height);
  }

  protected place(outputs: HostTensors["outputs"], name: string, row: number, view: View): void {
    const tensor = outputs.get(name)!;
    const { width } = this.images[view.image]!;
    const map = this.maps[view.image]!;
    if (this.#spec.isChosen) placeChosen(checked(tensor, name, 1, row), row, view, map, width);
    else this.#placeBest(checked(tensor, name, undefined, row), row, view, map, width);
  }

  #placeBest({ shape, data }: Tensor, row: number, { region, tile }: View, map: ClassMap, width: number): void {
    const [, classes, mapHeight, mapWidth] = shape as [number, number, number, number];
    const [across, down] = mapAxes(region, mapWidth, mapHeight);
    const columns = mapTaps(across, "bilinear", tile.left - tile.x, tile.right - tile.x);
    const rows = mapTaps(down, "bilinear", 0, region.height);
    const start = row * classes * mapWidth * mapHeight;
    for (let y = tile.top; y < tile.bottom; y++) {
      const target = map.subarray(y * width + tile.left, y * width + tile.right);
      this.#resizer.bestOfRow(
        data as MapValues,
        start,
        [classes, mapHeight, mapWidth],
        columns,
        rows,
        y - tile.y,
        target,
      );
    }
  }
}

/** The low halves of integers of 64 bits, which hold every class, and how far they lie apart. */
function integersOf({ data }: Tensor): readonly [ArrayLike<number>, number] {
  if (!(data instanceof BigInt64Array)) return [data as Uint8Array, 1];
  return [new Int32Array(data.buffer, data.byteOffset, data.length * 2), 2];
}

function placeChosen(tensor: Tensor, row: number, { region, tile }: View, map: ClassMap, width: number): void {
  const [mapHeight, mapWidth] = tensor.shape.slice(-2) as [number, number];
  const [across, down] = mapAxes(region, mapWidth, mapHeight);
  const columns = nearestTaps(across);
  const rows = nearestTaps(down);
  const [values, step] = integersOf(tensor);
  for (let y = tile.top; y < tile.bottom; y++) {
    const from = (row * mapHeight + rows[y - tile.y]!) * mapWidth;
    for (let x = tile.left; x < tile.right; x++) map[y * width + x] = values[(from + columns[x - tile.x]!) * step]!;
  }
}

/** @throws {ShapeError} If it is no map with such a row @param channels of [N, channels, height, width]; `undefined` for any */
function checked(tensor: Tensor, name: string, channels: number | undefined, row: number): Tensor {
  const { shape, dtype } = tensor;
  const isMap =
    shape.length === 4 ? channels === undefined || shape[1] === channels : channels === 1 && shape.length === 3;
  if (isMap && row < shape[0]!) return tensor;
  const expected = `[N, ${channels ?? "classes"}, height, width] with a row ${row}`;
  const actual = `${dtype} ${formatShape(shape)}`;
  const found = `the output ${JSON.stringify(name)} must be ${expected}, got ${actual}`;
  throw new ShapeError(message("make a map", found), { tensor: name, expected, actual });
}

/** What an image has of one class. */
export interface ClassArea {
  /** Name of the class, or `class 7` where the model has no name for it. */
  readonly label: string;
  readonly classId: number;
  /** Of the image. */
  readonly pixels: number;
  /** Of the image's pixels, 0–1. */
  readonly share: number;
}

/** Which class each pixel of an image is of. */
export interface SemanticResult extends TaskResult {
  readonly task: "semantic";
  /** Class id of each pixel, row by row: [height, width]. Of 16 bits where the model has, or may have, more than 256 classes. */
  readonly classMap: ClassMap;
  /** Of the classes that the image has, largest first. */
  readonly areas: readonly ClassArea[];
}

function areasOf(map: ClassMap, labels: readonly string[]): ClassArea[] {
  const counts = new Uint32Array(map instanceof Uint8Array ? 2 ** 8 : 2 ** 16);
  for (let at = 0; at < map.length; at++) counts[map[at]!]!++;
  const found = [...counts.keys()].filter((classId) => counts[classId]! > 0);
  return found
    .map((classId) => {
      const pixels = counts[classId]!;
      return { label: labelOf(labels, classId), classId, pixels, share: pixels / map.length };
    })
    .sort((a, b) => b.pixels - a.pixels);
}

/** Make a result of what a slot gave for an image. @param startedAt when it was asked for, by `performance.now()` */
export function semanticResultOf(
  { output, width, height, timings, damage }: FrameResult<ClassMap>,
  startedAt: number,
  labels: readonly string[],
): SemanticResult {
  return {
    task: "semantic",
    classMap: output,
    areas: areasOf(output, labels),
    width,
    height,
    timing: { ...timings, total: performance.now() - startedAt },
    ...(damage === undefined ? {} : { damage }),
  };
}

/**
 * The pixels of one class, for `toRle()`, `toPolygons()` and `toBitmap()`.
 *
 * @example
 * ```ts
 * import { maskOfClass, SemanticSegmenter } from "bun-tensorrt";
 *
 * await using segmenter = await SemanticSegmenter.load("segformer/model.onnx");
 * const result = await segmenter.segment("street.jpg");
 * for (const { label, classId } of result.areas) console.log(label, maskOfClass(result, classId).toRle({ compressed: true }));
 * ```
 */
export function maskOfClass({ classMap, width, height }: SemanticResult, classId: number): Mask {
  return Mask.fromBitmap(
    Uint8Array.from(classMap, (id) => (id === classId ? 1 : 0)),
    width,
    height,
  );
}

/** Run lengths of every class, column by column as pycocotools has them, in one pass over the map. */
function runsOf({ classMap, width, height }: SemanticResult): ReadonlyMap<number, readonly number[]> {
  const total = width * height;
  const runs = new Map<number, number[]>();
  const ends = new Map<number, number>();
  const close = (classId: number, start: number, end: number): void => {
    const own = runs.get(classId) ?? [];
    if (own.length === 0) runs.set(classId, own);
    own.push(start - (ends.get(classId) ?? 0), end - start);
    ends.set(classId, end);
  };
  let [current, start] = [classMap[0]!, 0];
  for (let x = 0, at = 0; x < width; x++) {
    for (let y = 0, from = x; y < height; y++, from += width, at++) {
      if (classMap[from] === current) continue;
      close(current, start, at);
      [current, start] = [classMap[from]!, at];
    }
  }
  close(current, start, total);
  for (const [classId, own] of runs) if (ends.get(classId)! < total) own.push(total - ends.get(classId)!);
  return runs;
}

/** What an area has beside its numbers, by the id of its class. */
function maskJson(result: SemanticResult, masks: MaskForm): (classId: number) => object {
  const { width, height } = result;
  const size = [height, width];
  if (masks === "none") return () => ({});
  if (masks === "polygon") {
    return (classId) => ({ mask: { size, polygons: maskOfClass(result, classId).toPolygons({ kind: "edges" }) } });
  }
  const runs = runsOf(result);
  return (classId) => ({ mask: { size, counts: encodeCounts(runs.get(classId)!) } });
}

/** One area in JSON. */
export interface AreaJson extends ClassArea {
  /** Of other forms than run lengths something else. */
  readonly mask?: Rle<string>;
}

/** The classes of an image as what is laid on it, and what is written: their shares in place of scores. */
function captions({ classMap, areas, width, height }: SemanticResult): LabelledShape[] {
  return areas.map(({ label, classId, share }) => ({
    label,
    classId,
    score: share,
    box: [0, 0, width, height],
    paint(canvas, colour, _, { masks, opacity }) {
      if (!masks) return;
      const cover = Math.round(opacity * 255);
      const coverage = Uint8Array.from(classMap, (id) => (id === classId ? cover : 0));
      canvas.stamp({ width, height, advance: width, coverage }, 0, 0, colour);
    },
  }));
}

function refuse(action: string): never {
  throw new BunTensorRtError(message(action, "a semantic map gives classes of pixels, and no objects"));
}

/** Results of semantic maps. */
export const SEMANTIC_FORMS: ResultForms<SemanticResult> = {
  noun: "class",
  count: ({ areas }) => areas.length,
  doubts: () => [],
  columns: ["label", "class", "pixels", "share"],
  rows: ({ areas }) =>
    areas.map(({ label, classId, pixels, share }) => [label, `${classId}`, `${pixels}`, share.toFixed(4)]),
  csvColumns: ["label", "class", "pixels", "share"],
  csvRows(result) {
    return this.rows(result);
  },
  json(result, masks = "none") {
    const { task, width, height, areas, timing, damage } = result;
    const maskOf = maskJson(result, masks);
    return {
      task,
      width,
      height,
      areas: areas.map(({ label, classId, pixels, share }) => {
        return { label, classId, pixels, share: round(share, 6), ...maskOf(classId) };
      }),
      timing: timingJson(timing),
      ...(damage === undefined ? {} : { damage }),
    };
  },
  yolo: () => refuse("write label files"),
  coco: () => refuse("write a results file of COCO"),
  tensorForms: () => [
    { name: "areas", datatype: "INT64", shape: [-1] },
    { name: "classes", datatype: "INT64", shape: [-1] },
    { name: "labels", datatype: "BYTES", shape: [-1] },
  ],
  tensors: ({ areas }, forms) =>
    tensorsOf(forms, areas.length, [
      areas.map(({ pixels }) => pixels),
      areas.map(({ classId }) => classId),
      areas.map(({ label }) => label),
    ]),
  draw: (image, result, options) => drawShapes(image, captions(result), options, paintCaptions),
  paint: (image, result, options) => paintShapes(image, captions(result), options, paintCaptions),
};
