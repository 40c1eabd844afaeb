/** @module Options: one place where a zod schema meets a caller's object and turns into a readable error. */

import type { z } from "zod";
import { message, OptionError } from "./errors.ts";

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
    const hint = near === undefined ? `the options are ${known.join(", ")}` : `did you mean ${JSON.stringify(near)}?`;
    throw new OptionError(message(action, `option ${JSON.stringify(name)} is unknown`, hint), name, {
      cause: parsed.error,
    });
  }
  const value = issue.path.reduce<unknown>(
    (object, key) => (object as Record<PropertyKey, unknown> | undefined)?.[key],
    options,
  );
  const where = path === "" ? "the options" : `option ${JSON.stringify(path)}`;
  throw new OptionError(message(action, `${where} is refused, got ${received(path, value)}`, issue.message), path, {
    cause: parsed.error,
  });
}
