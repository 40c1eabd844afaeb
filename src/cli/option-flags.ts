/**
 * @module OptionFlags: flags out of tables of options, and options out of the flags that were given; and the schemas of options
 * that commands alone have, from the text of a flag to what it stands for.
 */

import { closeSync, openSync, readSync } from "node:fs";
import { z } from "zod";
import { refuseStrays } from "../accelerators/accelerator.ts";
import { type MachineChoice, machineOf } from "../api/machine-options.ts";
import { OptionError } from "../core/errors.ts";
import { kebab, type Option, type OptionTable, ruleOf, shapeOf, type ValuesOf } from "../core/options.ts";
import { bytesFrom, numberFrom, sizeFrom, wholeWithin } from "../core/value-options.ts";
import { namesIn } from "../model/model-info.ts";
import { type Flag, type ParsedArguments, refuse } from "./args.ts";

/** A number above 0, at most `most`. */
export function positiveNumber(most: number): z.ZodType<number, string> {
  const rule = `a number above 0, at most ${most}`;
  return z.string().transform(numberFrom).pipe(z.number(rule).positive(rule).max(most, rule));
}

/** A whole number from `least` to `most`. */
export function wholeNumber(least: number, most: number): z.ZodType<number, string> {
  return z.string().transform(numberFrom).pipe(wholeWithin(least, most));
}

/** A whole number from 1 to `most`. */
export function count(most: number): z.ZodType<number, string> {
  return wholeNumber(1, most);
}

/** `640`, or `640x480`: a square side, or [width, height] in pixels. */
export const pixelSize: z.ZodType<number | readonly [width: number, height: number], string> = z
  .string()
  .regex(/^[1-9]\d{0,4}(x[1-9]\d{0,4})?$/i, "a side such as 640, or width x height such as 640x480, in pixels")
  .transform((text) => sizeFrom(text) as number | [number, number]);

/** Smallest, typical and largest value of something that may vary. */
export interface Range<T> {
  readonly min: T;
  readonly opt: T;
  readonly max: T;
}

/** One value, or `least,typical,largest` of them. */
function oneOrThree<T>(one: z.ZodType<T, string>, rule: string): z.ZodType<T | Range<T>, string> {
  return z.string().transform((text, context) => {
    const parts = text.split(",").map((part) => one.safeParse(part.trim()));
    const values = parts.flatMap(({ data }) => (data === undefined ? [] : [data]));
    if (values.length === parts.length && parts.length === 1) return values[0]!;
    if (values.length === parts.length && parts.length === 3) {
      return { min: values[0]!, opt: values[1]!, max: values[2]! };
    }
    context.addIssue({ code: "custom", message: rule });
    return z.NEVER;
  });
}

/** `4`, or `1,4,8`: as many, or least, typical and largest number. */
export function countRange(most: number): z.ZodType<number | Range<number>, string> {
  const rule = `a whole number from 1 to ${most}, or least,typical,largest such as 1,4,8`;
  return oneOrThree(count(most), rule).refine(
    (value) => typeof value === "number" || (value.min <= value.opt && value.opt <= value.max),
    rule,
  );
}

/** Width and height in pixels. */
type Pixels = readonly [width: number, height: number];

const SIZE_RULE =
  "a side such as 640, or width x height such as 640x480, in pixels; or least,typical,largest such as 320,640,1280";

const square: z.ZodType<Pixels, string> = pixelSize.transform((size): Pixels => {
  return typeof size === "number" ? [size, size] : size;
});

function isOrdered({ min, opt, max }: Range<Pixels>): boolean {
  return [0, 1].every((side) => min[side]! <= opt[side]! && opt[side]! <= max[side]!);
}

/** `640`, `640x480`, or three of them: a size, or least, typical and largest. */
export const sizeRange: z.ZodType<Pixels | Range<Pixels>, string> = oneOrThree(square, SIZE_RULE).refine(
  (value) => !("min" in value) || isOrdered(value),
  SIZE_RULE,
);

/** `64MiB`, `1.5GiB`, `500MB`, `4096`: a number of bytes. */
export const byteCount: z.ZodType<number, string> = z
  .string()
  .transform(bytesFrom)
  .pipe(z.int("a number of bytes, such as 64MiB, 2GiB or 1048576"));

/** `8.6,8.9`: compute capabilities. */
export const capabilityList: z.ZodType<readonly string[], string> = z
  .string()
  .transform((text) => text.split(",").map((part) => part.trim()))
  .pipe(z.array(z.string().regex(/^\d{1,2}\.\d$/, "compute capabilities such as 8.6, separated by commas")));

/** A flag that is given or not. */
export const toggle: { readonly schema: z.ZodDefault<z.ZodBoolean> } = { schema: z.boolean().default(false) };

/** The path of a file or a folder. */
export const path: z.ZodType<string> = z.string().min(1, "a path");

/** `--list` */
export const LIST: Option<z.ZodOptional<z.ZodType<string>>> = {
  schema: path.optional(),
  value: "FILE",
  help: "more inputs, one a line, # for comments; `-` is standard input",
};

/** `--quiet` */
export const QUIET: Option<z.ZodDefault<z.ZodBoolean>> = {
  ...toggle,
  flag: "quiet",
  short: "q",
  help: "no progress and no summary",
};

/**
 * Standard output in `--output`. Opened by its other name, a file it is led into would have two who write, each from its
 * own place on.
 */
const STANDARD_OUTPUT: readonly string[] = ["-", "/dev/stdout"];

/** The file that `--output` names; `undefined` for standard output. */
export function outputFile(output: string | undefined): string | undefined {
  return STANDARD_OUTPUT.includes(output ?? "-") ? undefined : output;
}

/** A flag, and the option it says. */
export interface OptionFlag extends Flag {
  /** `["preprocessing", "fit"]` */
  readonly path: readonly string[];
  readonly option: Option;
}

/** What a schema is of. Of zod's own, without what may be left out. */
interface Kind {
  readonly type: string;
  readonly values: readonly string[] | undefined;
  /** The default that it has. */
  readonly usual: unknown;
}

function kindOf(schema: z.ZodType): Kind {
  type Def = { readonly type: string; readonly innerType?: z.ZodType; readonly defaultValue?: unknown };
  const def = schema.def as Def;
  if (def.innerType !== undefined)
    return { ...kindOf(def.innerType), ...(def.type === "default" ? { usual: def.defaultValue } : {}) };
  const values = def.type === "enum" ? (schema as z.ZodEnum).options.map(String) : undefined;
  return { type: def.type, values, usual: undefined };
}

function flagOf(path: readonly string[], option: Option): OptionFlag {
  const { type, values: own, usual } = kindOf(option.schema);
  const values = own === undefined ? undefined : [...own, ...(option.synonyms ?? [])];
  const { flag = kebab(path.at(-1)!), help = "", otherwise, short, isList } = option;
  const isShown = usual !== undefined && type !== "boolean" && !(Array.isArray(usual) && usual.length === 0);
  const standard = otherwise ?? (isShown ? String(usual) : undefined);
  const value =
    option.value ?? (type === "boolean" ? undefined : (values?.join("|") ?? (type === "number" ? "N" : "TEXT")));
  return {
    name: flag,
    path,
    option,
    summary: standard === undefined ? help : `${help} (default ${standard})`,
    ...(value === undefined ? {} : { value }),
    ...(values === undefined ? {} : { values }),
    ...(short === undefined ? {} : { short }),
    ...(isList === undefined ? {} : { isList }),
    aliases: (option.aliases ?? []).map((alias) => {
      const [name, text] = typeof alias === "string" ? [alias] : alias;
      return { name: kebab(name), ...(text === undefined ? {} : { text }) };
    }),
  };
}

/**
 * The flags of a table, in its order: of all options with a line of help, and of those within them. An option that has its
 * own name beside the group it belongs to has one flag.
 *
 * @param except names of options that have none here
 */
export function flagsOf(
  table: OptionTable,
  except: readonly string[] = [],
  path: readonly string[] = [],
): OptionFlag[] {
  const flags = Object.entries(table).flatMap(([name, option]) => {
    if (except.includes(name)) return [];
    if (option.options !== undefined) return flagsOf(option.options, except, [...path, name]);
    return option.help === undefined ? [] : [flagOf([...path, name], option)];
  });
  return flags.filter(({ name }, at) => flags.findIndex((flag) => flag.name === name) === at);
}

/** More than the names of any model take; what has no end is not read on. */
const MOST_LABEL_BYTES = 2 ** 24;

/** @returns the text, or what is wrong with the file */
function readLabels(file: string): { readonly text: string } | { readonly fault: string } {
  const bytes = Buffer.alloc(MOST_LABEL_BYTES + 1);
  let descriptor: number | undefined;
  try {
    descriptor = openSync(file, "r");
    let length = 0;
    for (let got = -1; got !== 0 && length < bytes.length; length += got) {
      got = readSync(descriptor, bytes, length, bytes.length - length, null);
    }
    if (length > MOST_LABEL_BYTES) return { fault: "cannot be read: EFBIG" };
    const text = bytes.toString("utf8", 0, length).trimEnd();
    return text === "" ? { fault: "holds no name" } : { text };
  } catch (error) {
    return { fault: `cannot be read: ${(error as NodeJS.ErrnoException).code}` };
  } finally {
    if (descriptor !== undefined) closeSync(descriptor);
  }
}

/**
 * Class names from a file: one a line, where an empty line is a class without a name and those at the end are none; or a list or
 * dict, as in JSON.
 */
function labelsFrom(file: string): readonly string[] {
  const labels = readLabels(file);
  const hint = "give a file with one name a line, or a JSON list of names";
  if (!("text" in labels)) throw refuse("labels", `${JSON.stringify(file)} ${labels.fault}`, hint);
  const text = labels.text.trimStart();
  if (!/^[[{]/.test(text)) return labels.text.split(/\r?\n/).map((line) => line.trim());
  const names = namesIn(text);
  if (names === undefined) throw refuse("labels", `${JSON.stringify(file)} holds no list of names`, hint);
  return names;
}

function spelt({ name, option }: OptionFlag, text: string | true): unknown {
  if (text === true) return !name.startsWith("no-");
  if (name === "labels") return labelsFrom(text);
  if (option.fromText !== undefined) return option.fromText(text);
  return kindOf(option.schema).type === "number" ? numberFrom(text) : text;
}

/**
 * The options that flags were given for, and no others.
 *
 * @throws {OptionError} If a value is refused; it names the flag
 */
export function optionsFrom<Options extends object>(
  { flags: given }: ParsedArguments,
  flags: readonly OptionFlag[],
): Partial<Options> {
  const options: Record<string, unknown> = {};
  for (const flag of flags) {
    const text = given[flag.name];
    if (text === undefined) continue;
    const value = spelt(flag, text);
    const { error } = flag.option.schema.safeParse(value);
    if (error !== undefined) {
      const rule = flag.option.textRule ?? ruleOf(error.issues[0]!);
      throw new OptionError(`--${flag.name} must be ${rule}, got ${JSON.stringify(text)}`, flag.name, { cause: error });
    }
    let within = options;
    for (const name of flag.path.slice(0, -1)) {
      within[name] ??= {};
      within = within[name] as Record<string, unknown>;
    }
    within[flag.path.at(-1)!] = value;
  }
  return options as Partial<Options>;
}

/** The values of all flags of a table. @throws {OptionError} If a value is refused; it names the flag */
export function valuesFrom<Table extends OptionTable>(parsed: ParsedArguments, table: Table): ValuesOf<Table> {
  const shape = Object.entries(shapeOf(table)).map(([name, schema]) => [name, schema.optional()]);
  return z.object(Object.fromEntries(shape)).parse(optionsFrom(parsed, flagsOf(table))) as ValuesOf<Table>;
}

/** What a model is loaded with. @throws {OptionError} If a value is refused, or an option is for another machine than was asked for */
export function loadOptionsFrom<
  Options extends MachineChoice & { readonly device?: number | readonly number[] | undefined },
>(parsed: ParsedArguments, flags: readonly OptionFlag[]): Options {
  const options = optionsFrom<Options>(parsed, flags) as Options;
  refuseStrays(machineOf(options), [options.device ?? 0].flat(), spellingIn(flags));
  return options;
}

/** How the flags spell an option: `--no-jpeg-check` for `jpegCheck`. */
export function spellingIn(flags: readonly OptionFlag[]): (name: string) => string {
  return (name) => `--${flags.find(({ path }) => path.at(-1) === name)?.name ?? kebab(name)}`;
}
