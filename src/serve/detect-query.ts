/** @module DetectQuery: the options in the address of a request. */

import { message, OptionError } from "../core/errors.ts";
import { nearestWord } from "../core/options.ts";
import { classesIn, type DetectOptions } from "../detector/detector-config.ts";

/** How results are answered: JSON, or the picture with its boxes drawn. */
export type AnswerFormat = "json" | "image";

/** What the query says. */
export interface DetectQuery {
  /** `undefined` where nothing was said: the detector's own options hold. */
  readonly options: DetectOptions | undefined;
  readonly format: AnswerFormat;
}

const NUMBERS = ["threshold", "iou", "maxDetections"] as const;
const NAMES = [...NUMBERS, "classes", "classAgnostic"];

function refuse(name: string, found: string, hint: string): OptionError {
  return new OptionError(message("detect", found, hint), name);
}

function received(name: string, value: unknown, rule: string): OptionError {
  return refuse(name, `option ${JSON.stringify(name)} is refused, got ${JSON.stringify(value)}`, rule);
}

function numberOf(name: string, value: unknown): number {
  const number = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
  if (typeof number !== "number" || !Number.isFinite(number)) throw received(name, value, "a number");
  return number;
}

function flagOf(name: string, value: unknown): boolean {
  if (value === true || value === "true" || value === "1" || value === "") return true;
  if (value === false || value === "false" || value === "0") return false;
  throw received(name, value, "true or false");
}

function classesOf(value: unknown): (string | number)[] {
  if (typeof value !== "string" && typeof value !== "number") throw received("classes", value, "person,dog or 0,16");
  const classes = classesIn(String(value));
  if (classes === undefined) throw received("classes", value, 'names in quotes end with one: "lamp, red",person');
  return classes;
}

/**
 * Options of one request from names and values; ranges are the detector's to check.
 *
 * @param values texts of a query, or the parameters of an inference request
 * @param others names that the caller takes besides, for hints
 * @returns `undefined` where there are none
 * @throws {OptionError} If a name is unknown, or a value of another type
 */
export function detectOptionsOf(
  values: ReadonlyMap<string, unknown>,
  others: readonly string[] = [],
): DetectOptions | undefined {
  const options: { -readonly [Key in keyof DetectOptions]: DetectOptions[Key] } = {};
  for (const [name, value] of values) {
    if (name === "classes") options.classes = classesOf(value);
    else if (name === "classAgnostic") options.classAgnostic = flagOf(name, value);
    else if ((NUMBERS as readonly string[]).includes(name)) {
      options[name as (typeof NUMBERS)[number]] = numberOf(name, value);
    } else {
      const names = [...NAMES, ...others];
      const near = nearestWord(name, names);
      const hint = near === undefined ? `the options are ${names.join(", ")}` : `did you mean ${JSON.stringify(near)}?`;
      throw refuse(name, `option ${JSON.stringify(name)} is unknown`, hint);
    }
  }
  return values.size === 0 ? undefined : options;
}

/**
 * Read the query of `/detect`. `classes` may be given several times, the others once.
 *
 * @throws {OptionError} If something in it is unknown, given twice, or of another type
 */
export function parseDetectQuery(query: URLSearchParams): DetectQuery {
  const values = new Map<string, unknown>();
  for (const name of new Set(query.keys())) {
    // Unknown names are told of below; there may be thousands.
    if (values.size > NAMES.length + 1) break;
    const all = query.getAll(name);
    if (all.length > 1 && name !== "classes") throw refuse(name, `option "${name}" is given twice`, "give it once");
    values.set(name, all.join(","));
  }
  const format = values.get("format") ?? "json";
  if (format !== "json" && format !== "image") throw received("format", format, "json or image");
  values.delete("format");
  return { options: detectOptionsOf(values, ["format"]), format };
}
