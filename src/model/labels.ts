/** @module Labels: class names, from the metadata, from the caller, or COCO's where their number fits. */

import { logger } from "../core/log.ts";
import { COCO_80, COCO_91 } from "./coco.ts";
import { parseLiteral } from "./python-literal.ts";

/** More classes than any detector has; a larger id in the metadata is a fault, not a reason to fill memory. */
const MAX_CLASSES = 100_000;

/** Entries of a dict or list, as [id, name]; `undefined` if one has another type. */
function entriesOf(text: string): [id: number, name: string][] | undefined {
  const value = parseLiteral(text);
  const pairs = value instanceof Map ? [...value] : Array.isArray(value) ? [...value.entries()] : undefined;
  if (pairs === undefined || pairs.length === 0) return undefined;
  const entries: [number, string][] = [];
  for (const [key, name] of pairs) {
    const id = Number(key);
    if (!Number.isInteger(id) || id < 0 || id >= MAX_CLASSES) return undefined;
    if (typeof name !== "string" && typeof name !== "number") return undefined;
    entries.push([id, String(name)]);
  }
  return entries;
}

/**
 * Class names out of Ultralytics' `names` metadata: a Python dict `{0: 'person', 1: "it's"}`, a list, or JSON of either.
 *
 * @returns names by class id, ids without a name being empty; `undefined`, with a line in the log, if it is none of these
 */
export function parseNames(text: string): readonly string[] | undefined {
  const entries = entriesOf(text);
  if (entries === undefined) {
    logger.warn(`Ignoring the model's metadata "names" as it is no list of class names: ${text.slice(0, 80)}`);
    return undefined;
  }
  const count = entries.reduce((most, [id]) => Math.max(most, id + 1), 0);
  const names: string[] = new Array(count).fill("");
  for (const [id, name] of entries) names[id] = name;
  return names;
}

/**
 * The labels of a model.
 *
 * @param classes number of classes; `undefined` where the outputs do not tell
 * @param names   the caller's or the metadata's names; padded with empty strings
 * @returns those names, else COCO's for 80 or 91 classes, else `class 0`, `class 1`, …; COCO's 80 are assumed where the
 *   number is unknown, since the published weights of those families are COCO's: whoever asks says so in the log
 */
export function labelsFor(classes: number | undefined, names: readonly string[] | undefined): readonly string[] {
  if (names !== undefined) {
    return [...names, ...new Array<string>(Math.max(0, (classes ?? 0) - names.length)).fill("")];
  }
  if (classes === undefined || classes === COCO_80.length) return COCO_80;
  if (classes === COCO_91.length) return COCO_91;
  return Array.from({ length: classes }, (_, id) => `class ${id}`);
}

/** The name of a class; `class 7` where it has none. */
export function labelOf(labels: readonly string[], classId: number): string {
  const label = labels[classId];
  return label === undefined || label === "" ? `class ${classId}` : label;
}

/** Ids by name, once a list: a call may name thousands of classes, and a model have as many. */
const idsByName = new WeakMap<readonly string[], ReadonlyMap<string, number[]>>();

/** Ids of every class that detections call so: models may give one name to several, or to none. */
export function idsOf(wanted: string | number, labels: readonly string[]): readonly number[] {
  if (typeof wanted === "number") return wanted >= 0 && wanted < labels.length ? [wanted] : [];
  const known = idsByName.get(labels) ?? Map.groupBy(labels.keys(), (id) => labelOf(labels, id));
  idsByName.set(labels, known);
  return known.get(wanted) ?? [];
}
