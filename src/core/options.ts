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

/** Options with every default filled in. */
export type Filled<Options> = { readonly [Name in keyof Options]-?: Exclude<Options[Name], undefined> };

/** The same, where those of `Open` may stay `undefined`. */
export type Complete<Options, Open extends keyof Options> = Filled<Omit<Options, Open>> & {
  readonly [Name in Open]: Options[Name] | undefined;
};

/** The options that are given: laid over others, those that are `undefined` would hide them. */
export function givenOf<Options extends object>(options: Options): Options {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Options;
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

/** What a caller gave in the place of something else, for messages. @param path of the option; what is secret by its name is not shown */
export function received(path: string, value: unknown): string {
  if (SECRET.test(path)) return typeof value === "string" ? "a text that is not shown" : typeof value;
  if (typeof value === "string") return JSON.stringify(value);
  if (Array.isArray(value)) return value.length === 0 ? "an empty list" : `a list of ${value.length}`;
  if (typeof value === "object" && value !== null) return "an object";
  return String(value);
}

/**
 * One option, declared once: its schema, and how it is said on a command line. Its type and its docstring are those of the
 * interface whose key it is.
 */
export interface Option<Schema extends z.ZodType = z.ZodType> {
  /** Checks it, and holds its default. */
  readonly schema: Schema;
  /** One line for the help; an option without one has no flag. */
  readonly help?: string;
  /** What holds where it is left out, in words, where the schema has no default that says it. */
  readonly otherwise?: string;
  /** What stands for its value in the help, where its type does not tell. */
  readonly value?: string;
  /** One letter. */
  readonly short?: string;
  /** Its flag, where that is not its name in kebab-case. */
  readonly flag?: string;
  /** Its value from text, where its type does not tell how. */
  readonly fromText?: (text: string) => unknown;
  /** What its text must be, where the rule of the schema names a value of a program: `[width, height]`. */
  readonly textRule?: string;
  /** Words that `fromText` takes beside those of the schema: help and completions name them. */
  readonly synonyms?: readonly string[];
  /** True: given again, a flag goes on. */
  readonly isList?: boolean;
  /** Former names, and those that others use. As a flag each is taken; with text or a function for what it stands for. */
  readonly aliases?: readonly (string | readonly [name: string, text: string | ((text: string) => string)])[];
  /** Options within it. */
  readonly options?: OptionTable;
}

/** Options by name, in the order of the help. */
export type OptionTable = Readonly<Record<string, Option>>;

/** The table of an interface of options: every key of it, and no other. */
export type OptionsOf<Options> = { readonly [Name in keyof Required<Options>]: Option };

/** The same, where a value that is left out stays so: what holds then is for others to say. */
export type GivenOptions<Options> = {
  readonly [Name in keyof Options]-?: Option<z.ZodOptional<z.ZodType<Exclude<Options[Name], undefined>>>>;
};

/** The same of options that have a default. */
export type UsualOptions<Options> = {
  readonly [Name in keyof Options]-?: Option<z.ZodDefault<z.ZodType<Exclude<Options[Name], undefined>>>>;
};

/** What a table stands for once it has been checked; what has neither been given nor a default is `undefined`. */
export type ValuesOf<Table extends OptionTable> = {
  readonly [Name in keyof Table]:
    | z.output<Table[Name]["schema"]>
    | (Table[Name]["schema"] extends z.ZodDefault ? never : undefined);
};

/** The schemas of a table, for an object schema. */
export function shapeOf<Table extends OptionTable>(table: Table): { [Name in keyof Table]: Table[Name]["schema"] } {
  const entries = Object.entries(table).map(([name, { schema }]) => [name, schema]);
  return Object.fromEntries(entries) as { [Name in keyof Table]: Table[Name]["schema"] };
}

/** `max-det` of `max_det` and `maxDet`. */
export function kebab(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`).replaceAll("_", "-");
}

/** The options within an object of the options; none where there is no such object. */
function tableAt(table: OptionTable, path: readonly PropertyKey[]): OptionTable {
  return path.reduce<OptionTable>((options, name) => options[String(name)]?.options ?? {}, table);
}

/**
 * The option that a former or foreign name stands for, in whatever spelling, or one within another that has the name.
 *
 * @param path of the object within the options that has the name
 */
export function aliasOf(key: string, table: OptionTable, path: readonly PropertyKey[] = []): string | undefined {
  for (const [name, { aliases = [], options = {} }] of Object.entries(tableAt(table, path))) {
    if (aliases.some((alias) => kebab(typeof alias === "string" ? alias : alias[0]) === kebab(key))) return name;
    const inner = Object.keys(options).find((own) => kebab(own) === kebab(key)) ?? aliasOf(key, options);
    if (inner !== undefined) return `${name}.${inner}`;
  }
  return undefined;
}

/** The names that an object schema takes, or one within it, whether it may be left out or not. */
function namesAt(schema: unknown, path: readonly PropertyKey[]): string[] {
  type Def = { readonly innerType?: Node; readonly valueType?: Node; readonly element?: Node };
  type Node = { readonly shape?: Record<PropertyKey, Node>; readonly def?: Def };
  const bare = (node: Node | undefined): Node | undefined =>
    node?.def?.innerType === undefined ? node : bare(node.def.innerType);
  const within = (node: Node | undefined, key: PropertyKey): Node | undefined =>
    bare(node?.shape?.[key] ?? node?.def?.valueType ?? node?.def?.element);
  const found = path.reduce<Node | undefined>(within, bare(schema as Node));
  return Object.keys(found?.shape ?? {});
}

/**
 * Check a caller's options once, at the edge.
 *
 * @param schema  a strict object schema, so that a misspelt option is found
 * @param options what the caller wrote
 * @param action  what the options are for: `load a detector`
 * @param table   of the options, for names that others use
 * @returns the complete configuration, defaults filled in
 * @throws {OptionError} If an option is unknown or out of range; it names the option and the nearest known one
 */
export function parseOptions<Out, In>(
  schema: z.ZodType<Out, In>,
  options: unknown,
  action: string,
  table: OptionTable = {},
): Out {
  const parsed = schema.safeParse(options);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  if (issue === undefined) throw parsed.error;
  const path = issue.path.join(".");
  if (issue.code === "unrecognized_keys") {
    const key = issue.keys[0] ?? "";
    const seen = namesAt(schema, issue.path);
    // A schema that is worked out shows no names.
    const known = seen.length > 0 ? seen : Object.keys(tableAt(table, issue.path));
    const name = [...issue.path, key].join(".");
    const near = aliasOf(key, table, issue.path) ?? begunBy(key, known) ?? nearestWord(key, known);
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
