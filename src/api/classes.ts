/** @module Classes: those that a caller names, looked up among a model's. */

import { OptionError } from "../core/errors.ts";
import { nearestWord } from "../core/options.ts";
import { idsOf, labelOf } from "../model/model-info.ts";
import type { NmsOptions } from "../tasks/detect/nms.ts";

/** Class names in a message. */
const MOST_NAMES = 100;

/** Entries between commas, or between double quotes, where a comma is a comma and `""` is a quote. */
const CLASS_ENTRY = /\s*(?:"((?:[^"]|"")*)"\s*|([^",][^,]*)?)(,|$)/y;

/**
 * Read a list of classes from one text, as `--classes` and `?classes=` have it: `person,2,"lamp, red"`. What is in double
 * quotes is a name, whatever it holds; digits without them are an id.
 *
 * @returns names and ids; empty where there are none, `undefined` if a quote is not closed
 */
export function classesIn(text: string): (string | number)[] | undefined {
  const classes: (string | number)[] = [];
  for (let at = 0; at < text.length; at = CLASS_ENTRY.lastIndex) {
    CLASS_ENTRY.lastIndex = at;
    const match = CLASS_ENTRY.exec(text);
    if (match === null) return undefined;
    const [, quoted, plain = ""] = match;
    const word = plain.trim();
    if (quoted !== undefined) classes.push(quoted.replaceAll('""', '"'));
    else if (word !== "") classes.push(/^\d+$/.test(word) ? Number(word) : word);
  }
  return classes;
}

/** The names for a message: of thousands the first will do. */
function listOf(labels: readonly string[]): string {
  const shown = labels.slice(0, MOST_NAMES).map((_, id) => labelOf(labels, id));
  return labels.length > MOST_NAMES ? `${shown.join(", ")}, …` : shown.join(", ");
}

/**
 * Look up the classes of a call in the model's labels.
 *
 * @throws {OptionError} If a class is none of the model's
 */
export function nmsOptionsOf(
  config: Omit<NmsOptions, "classIds"> & { readonly classes: readonly (string | number)[] | undefined },
  labels: readonly string[],
): NmsOptions {
  const { classes, ...rest } = config;
  if (classes === undefined) return { ...rest, classIds: undefined };
  const classIds = new Set<number>();
  for (const wanted of classes) {
    const ids = idsOf(wanted, labels);
    if (ids.length === 0) {
      const near = typeof wanted === "string" ? nearestWord(wanted, labels) : undefined;
      const more =
        near === undefined ? `\nHint: the classes are ${listOf(labels)}` : `. Did you mean ${JSON.stringify(near)}?`;
      throw new OptionError(`Unknown class ${JSON.stringify(wanted)}${more}`, "classes");
    }
    for (const id of ids) classIds.add(id);
  }
  return { ...rest, classIds };
}
