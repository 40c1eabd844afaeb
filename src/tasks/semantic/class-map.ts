/** @module SemanticResult: the classes of an image's pixels, with their areas, as JSON and text, and drawn. */

import { BunTensorRtError, message } from "../../core/errors.ts";
import { round } from "../../core/units.ts";
import { labelOf } from "../../model/model-info.ts";
import type { FrameResult } from "../../runtime/job.ts";
import { drawShapes, type LabelledShape, paintCaptions, paintShapes } from "../detect/draw.ts";
import { Mask } from "../segment/mask.ts";
import { encodeCounts, type Rle } from "../segment/rle.ts";
import { type MaskForm, type ResultForms, type TaskResult, tensorsOf, timingJson } from "../task-result.ts";
import type { ClassMap } from "./semantic-task.ts";

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
