/** @module Anchors: the sizes of boxes that heads of anchors begin with: of families by name, of metadata, and of files beside a model. */

import { OptionError } from "../core/errors.ts";
import { unknownWord } from "../core/options.ts";
import { parseLiteral } from "../model/model-info.ts";

/** Widths and heights in input pixels, by family, finest level first. YOLOv2 has them in cells of 32 pixels. */
export const ANCHORS: Readonly<Record<string, readonly number[]>> = {
  "yolov2-voc": [1.08, 1.19, 3.42, 4.41, 6.63, 11.38, 9.42, 5.11, 16.62, 10.52].map((cells) => cells * 32),
  "yolov2-coco": [
    ...[0.57273, 0.677385, 1.87446, 2.06253, 3.33843],
    ...[5.47434, 7.88282, 3.52778, 9.77052, 9.16828],
  ].map((cells) => cells * 32),
  yolov3: [10, 13, 16, 30, 33, 23, 30, 61, 62, 45, 59, 119, 116, 90, 156, 198, 373, 326],
  "yolov3-tiny": [10, 14, 23, 27, 37, 58, 81, 82, 135, 169, 344, 319],
  // Darknet's released yolov3-tiny.weights were trained with the mask 1, 2, 3 for 0, 1, 2.
  "yolov3-tiny-darknet": [23, 27, 37, 58, 81, 82, 81, 82, 135, 169, 344, 319],
  yolov4: [12, 16, 19, 36, 40, 28, 36, 75, 76, 55, 72, 146, 142, 110, 192, 243, 459, 401],
  "yolov4-tiny": [23, 27, 37, 58, 81, 82, 81, 82, 135, 169, 344, 319],
  yolov5: [10, 13, 16, 30, 33, 23, 30, 61, 62, 45, 59, 119, 116, 90, 156, 198, 373, 326],
  "yolov5-p6": [
    ...[19, 27, 44, 40, 38, 94, 96, 68, 86, 152, 180, 137],
    ...[140, 301, 303, 264, 238, 542, 436, 615, 739, 380, 925, 792],
  ],
  yolov7: [12, 16, 19, 36, 40, 28, 36, 75, 76, 55, 72, 146, 142, 110, 192, 243, 459, 401],
  "yolov7-tiny": [10, 13, 16, 30, 33, 23, 30, 61, 62, 45, 59, 119, 116, 90, 156, 198, 373, 326],
};

/** Widths and heights in input pixels, finest level first, or the family that has them: `"yolov5"`. */
export type Anchors = string | readonly number[];

/** The anchors that a head reads with, and who said them. */
export interface AnchorsTaken {
  /** Widths and heights in input pixels, finest level first. */
  readonly values: readonly number[];
  /** `option`: the caller; `metadata`: the model; `file`: one beside it; `head`: nobody, they are the family's. */
  readonly from: "option" | "metadata" | "file" | "head";
  /** The family or the file that they are of, where there is one. */
  readonly name?: string;
  /** How far centres may leave their cells, by level: `scale_x_y` of a Darknet `.cfg`. */
  readonly centreScales?: readonly number[];
  /** True: that `.cfg` has `new_coords=1`, Scaled-YOLOv4's boxes, whose maps come out of a logistic convolution. */
  readonly hasNewCoords?: boolean;
}

/** The anchors of a family, which a head takes where nobody says any. */
export function usualAnchors(family: string): AnchorsTaken {
  return { values: ANCHORS[family]!, from: "head", name: family };
}

/** The anchors that a caller says. @throws {OptionError} If no family is called so; it names the nearest */
export function anchorsSaid(said: Anchors | undefined): AnchorsTaken | undefined {
  if (said === undefined) return undefined;
  if (typeof said !== "string") return { values: said, from: "option" };
  if (Object.hasOwn(ANCHORS, said)) return { values: ANCHORS[said]!, from: "option", name: said };
  throw new OptionError(unknownWord("family of anchors", said, Object.keys(ANCHORS)), "anchors");
}

/** True for widths and heights. */
export function areAnchors(values: readonly number[]): boolean {
  return values.length > 0 && values.length % 2 === 0 && values.every((value) => Number.isFinite(value) && value > 0);
}

/** The numbers of a nested list. */
function flattened(value: unknown): number[] {
  return Array.isArray(value) ? value.flatMap(flattened) : [Number(value)];
}

/** The anchors that metadata has, as a list or a list of lists; `undefined` if none, or no such list. */
export function anchorsOf({ anchors }: Readonly<Record<string, string>>): AnchorsTaken | undefined {
  const value = anchors === undefined ? undefined : parseLiteral(anchors);
  const found = Array.isArray(value) ? flattened(value) : [];
  return areAnchors(found) ? { values: found, from: "metadata" } : undefined;
}

/** A number list of a key of a `.cfg`'s section: `mask = 0,1,2`. */
function listOf(section: string, key: string): number[] {
  const [, list = ""] = new RegExp(`^[ \\t]*${key}[ \\t]*=([\\d \\t.,]+)`, "m").exec(section) ?? [];
  return (list.match(/\d+(\.\d+)?/g) ?? []).map(Number);
}

/**
 * The anchors of a `.cfg` of Darknet. Each `[yolo]` section lists all of them, and its `mask` those of its level, which may leave some
 * out and repeat others: YOLOv4-tiny's do. Levels stand in the order of the network: they are put in that of their sizes.
 */
function anchorsOfCfg(sections: readonly string[]): Omit<AnchorsTaken, "from"> | undefined {
  const levels = sections.map((section) => {
    const anchors = listOf(section, "anchors");
    const mask = listOf(section, "mask");
    const values = mask.flatMap((at) => [anchors[2 * at] ?? Number.NaN, anchors[2 * at + 1] ?? Number.NaN]);
    const hasNewCoords = listOf(section, "new_coords")[0] === 1;
    const scale = listOf(section, "scale_x_y")[0] ?? 1;
    return { values, scale, hasNewCoords, area: (values[0] ?? 0) * (values[1] ?? 0) };
  });
  const sorted = levels.toSorted((a, b) => a.area - b.area);
  const values = sorted.flatMap((level) => level.values);
  const centreScales = sorted.map(({ scale }) => scale);
  const isOfNew = sorted.every(({ hasNewCoords }) => hasNewCoords);
  return areAnchors(values) ? { values, centreScales, ...(isOfNew ? { hasNewCoords: true } : {}) } : undefined;
}

/**
 * The anchors of a file beside a model: a `.cfg` of Darknet (`anchors = 10,13, …`), a `.yaml` of YOLOv5 or v7 (lists under
 * `anchors:`), or numbers alone.
 */
export function anchorsIn(text: string): Omit<AnchorsTaken, "from"> | undefined {
  const sections = text.split(/^(?=[ \t]*\[[a-z_]+\])/m).filter((section) => /^[ \t]*\[yolo\]/.test(section));
  if (sections.length > 0 && sections.every((section) => listOf(section, "mask").length > 0)) {
    return anchorsOfCfg(sections);
  }
  const [, named] = /^[ \t]*anchors[ \t]*[:=]((?:[ \t\d.,[\]-]|#.*|\r?\n)*)/m.exec(text) ?? [];
  const list = named ?? (/^[\d\s.,[\]]+$/.test(text) ? text : "");
  const numbers = list.replaceAll(/#.*/g, "").match(/\d+(\.\d+)?/g) ?? [];
  const values = numbers.map(Number);
  return areAnchors(values) ? { values } : undefined;
}

/** Pairs for each of some levels; `undefined` if they cannot be shared out. */
export function anchorsByLevel(
  values: readonly number[],
  levels: number,
): readonly (readonly (readonly [number, number])[])[] | undefined {
  const each = values.length / 2 / levels;
  if (!Number.isInteger(each) || each < 1) return undefined;
  const pairs = Array.from({ length: values.length / 2 }, (_, at) => [values[2 * at]!, values[2 * at + 1]!] as const);
  return Array.from({ length: levels }, (_, level) => pairs.slice(level * each, (level + 1) * each));
}
