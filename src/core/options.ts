/** @module Options: one place where a zod schema meets a caller's object and turns into a readable error. */

import type { z } from "zod";
import { OptionError } from "./errors.ts";

/** Edits (insert, delete, replace) that turn `a` into `b`; a swap of neighbours counts as two. */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const replace = (previous[column - 1] ?? 0) + (a[row - 1] === b[column - 1] ? 0 : 1);
      current.push(Math.min(replace, (previous[column] ?? 0) + 1, (current[column - 1] ?? 0) + 1));
    }
    previous = current;
  }
  return previous[b.length] ?? 0;
}

/** No option, command or class has a longer name, and comparing takes time by the square of the length. */
const LONGEST_WORD = 100;

/**
 * The known word nearest to a misspelt one.
 *
 * @returns the candidate within three edits and half the word's length, or `undefined`
 */
export function nearestWord(word: string, candidates: readonly string[]): string | undefined {
  if (word.length > LONGEST_WORD) return undefined;
  let best: string | undefined;
  let distance = Math.min(3, Math.ceil(word.length / 2)) + 1;
  for (const candidate of candidates) {
    // Each character that one has more is an edit; names without any are no suggestion.
    if (candidate === "" || Math.abs(candidate.length - word.length) >= distance) continue;
    const edits = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (edits < distance) {
      best = candidate;
      distance = edits;
    }
  }
  return best;
}

/** The longest option that an unknown one begins with, as a word: `iouThreshold` is `iou` to others, not `threshold`. */
function begunBy(key: string, known: readonly string[]): string | undefined {
  const found = known.filter((name) => key.startsWith(name) && /^[A-Z_]/.test(key.slice(name.length)));
  return found.sort((a, b) => b.length - a.length)[0];
}

/**
 * What is said of a name that is not known: `Unknown option "treshold". Did you mean "threshold"?`
 *
 * @param kind  what it should name, singular: `option`
 * @param known every name there is, for the hint where none is near
 * @param near  the one that was meant
 */
export function unknownWord(
  kind: string,
  name: string,
  known: readonly string[],
  near: string | undefined = nearestWord(name, known),
): string {
  const unknown = `Unknown ${kind} ${JSON.stringify(name)}`;
  if (near !== undefined) return `${unknown}. Did you mean ${JSON.stringify(near)}?`;
  return `${unknown}\nHint: choose one of ${known.join(", ")}`;
}

/** What zod expects of a value, where a schema gives no rule of its own. */
const EXPECTED: Readonly<Record<string, string>> = {
  array: "a list",
  boolean: "true or false",
  int: "a whole number",
  number: "a number",
  object: "an object",
  record: "an object",
  string: "a string",
};

const LIMITS: Readonly<Record<string, string>> = {
  "<": "less than",
  "<=": "at most",
  ">": "more than",
  ">=": "at least",
};

/** What a value must be: the rule that the schema gives, or one made of zod's own text. */
export function ruleOf({ message: text }: z.core.$ZodIssue): string {
  const [, limit, most] = /^Too (?:big|small): .* ([<>]=?)(\S+)/.exec(text) ?? [];
  if (limit !== undefined) return `${text.includes("array") ? "a list of " : ""}${LIMITS[limit]} ${most}`;
  const [, expected = ""] = /^Invalid (?:input|option): expected (.*?)(?:, received .*)?$/.exec(text) ?? [];
  return EXPECTED[expected] ?? (expected === "" ? text : expected.replaceAll("|", ", "));
}

/** Options whose values let somebody in. */
const SECRET = /(?:^|\.)(?:token|password|secret)$/;

function received(path: string, value: unknown): string {
  if (SECRET.test(path)) return typeof value === "string" ? "a text that is not shown" : typeof value;
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "object" && value !== null) return Array.isArray(value) ? "an array" : "an object";
  return String(value);
}

/** The names that an object schema takes, or one within it, whether it may be left out or not. */
function namesAt(schema: unknown, path: readonly PropertyKey[]): string[] {
  type Node = { readonly shape?: Record<PropertyKey, Node>; readonly def?: { readonly innerType?: Node } };
  const bare = (node: Node | undefined): Node | undefined =>
    node?.def?.innerType === undefined ? node : bare(node.def.innerType);
  const found = path.reduce<Node | undefined>((node, key) => bare(node?.shape?.[key]), bare(schema as Node));
  return Object.keys(found?.shape ?? {});
}

/**
 * Check a caller's options once, at the edge.
 *
 * @param schema  a strict object schema, so that a misspelt option is found
 * @param options what the caller wrote
 * @param action  what the options are for: `load a detector`
 * @returns the complete configuration, defaults filled in
 * @throws {OptionError} If an option is unknown or out of range; it names the option and the nearest known one
 */
export function parseOptions<Out, In>(schema: z.ZodType<Out, In>, options: unknown, action: string): Out {
  const parsed = schema.safeParse(options);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  if (issue === undefined) throw parsed.error;
  const path = issue.path.join(".");
  if (issue.code === "unrecognized_keys") {
    const key = issue.keys[0] ?? "";
    const known = namesAt(schema, issue.path);
    const name = [...issue.path, key].join(".");
    const near = begunBy(key, known) ?? nearestWord(key, known);
    throw new OptionError(unknownWord("option", name, known, near), name, { cause: parsed.error });
  }
  const value = issue.path.reduce<unknown>(
    (object, key) => (object as Record<PropertyKey, unknown> | undefined)?.[key],
    options,
  );
  const where = path === "" ? `The options to ${action}` : `Option ${JSON.stringify(path)}`;
  const text = `${where} must be ${ruleOf(issue)}, got ${received(path, value)}`;
  throw new OptionError(text, path, { cause: parsed.error });
}
