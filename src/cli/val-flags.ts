/** @module ValFlags: the flags of `val`, and what they stand for. */

import { DETECTOR_OPTIONS, type DetectorOptions, EVALUATE_OPTIONS } from "../api/detector-config.ts";
import { CLASSIFIER_OPTIONS, type ClassifierOptions } from "../api/whole-image-config.ts";
import type { OptionTable } from "../core/options.ts";
import { type Flag, helpHint, type ParsedArguments, refuse } from "./args.ts";
import { detectorOptionsFrom } from "./detect-flags.ts";
import { flagsOf, loadOptionsFrom, type OptionFlag, path, QUIET, toggle, valuesFrom } from "./option-flags.ts";

const { images, split, threshold } = EVALUATE_OPTIONS;

const OWN = {
  data: { schema: path, short: "d", value: "PATH", help: "COCO annotations, data.yaml, or the folder of a dataset" },
  images,
  split,
  track: {
    schema: path,
    value: "FILE|DIR",
    help: "score tracks in place of a model: MOT files, with the truth in --data",
  },
  json: {
    ...toggle,
    help: "as JSON: {model, data, task, images, objects, metrics}",
  },
  isQuiet: QUIET,
} satisfies OptionTable;

/** Masks are compared at the size of the image. */
const OBJECT_FLAGS = flagsOf({ ...DETECTOR_OPTIONS, threshold }, ["maskSize"]);
/** How many classes are looked at is a matter of the figures. */
const CLASS_FLAGS = flagsOf(CLASSIFIER_OPTIONS, ["top"]);

/** Flags that say the same thing of models of both kinds, or something of one kind only. */
function without(flags: readonly OptionFlag[], others: readonly OptionFlag[]): OptionFlag[] {
  return flags.filter(({ name }) => !others.some((other) => other.name === name));
}

/** In the order of the help. */
export const VAL_FLAGS: readonly Flag[] = [...flagsOf(OWN), ...OBJECT_FLAGS, ...without(CLASS_FLAGS, OBJECT_FLAGS)];

/** The flags of `val`, checked, but for those of the model. */
interface ValArguments {
  /** Path or name of the model. */
  readonly model: string;
  readonly data: string;
  readonly images: string | undefined;
  readonly split: string | undefined;
  readonly json: boolean;
  readonly isQuiet: boolean;
}

/** The flags of `val --track`, checked. */
export interface ValTrackArguments {
  /** File or folder of tracks. */
  readonly track: string;
  /** That of the truth. */
  readonly data: string;
  readonly json: boolean;
}

/**
 * Check the flags of `val --track`.
 *
 * @returns `undefined` where a model is scored
 * @throws {OptionError} If the truth is missing, or something is said of a model
 */
export function parseTrackFlags(parsed: ParsedArguments): ValTrackArguments | undefined {
  const { track, data, json = false } = valuesFrom(parsed, OWN);
  if (track === undefined) return undefined;
  const example = "bunx bun-tensorrt val --track tracks --data MOT17/train";
  const [model] = parsed.operands;
  if (model !== undefined) {
    throw refuse("track", `--track scores files of tracks and no model, got ${JSON.stringify(model)}`, example);
  }
  if (data === undefined) throw refuse("data", "Missing --data", example);
  const own = ["track", "data", "json", "quiet"];
  const stray = VAL_FLAGS.find(({ name }) => parsed.flags[name] !== undefined && !own.includes(name));
  if (stray !== undefined) throw refuse(stray.name, `--${stray.name} is for models, and --track was given`, example);
  return { track, data, json };
}

/** Check the flags of `val`. @throws {OptionError} If a value is refused, or the model or the dataset is missing */
export function parseValFlags(parsed: ParsedArguments): ValArguments {
  const { data, ...flags } = valuesFrom(parsed, OWN);
  const [model, ...others] = parsed.operands;
  const example = "bunx bun-tensorrt val yolo11n --data instances_val2017.json --images val2017";
  if (model === undefined || others.length > 0) {
    throw refuse("model", `Expected one model, got ${parsed.operands.length}`, example);
  }
  if (data === undefined) throw refuse("data", "Missing --data", example);
  if (flags.images !== undefined && !/\.json$/i.test(data)) {
    throw refuse("images", `--images is for COCO annotations, and --data is ${JSON.stringify(data)}`, "leave it out");
  }
  return { ...flags, model, data } as ValArguments;
}

/** @throws {OptionError} If a flag is for the other kind of model only */
function refuseForeign(
  { flags: given }: ParsedArguments,
  flags: readonly OptionFlag[],
  others: readonly OptionFlag[],
  [noun, other]: readonly [noun: string, other: string],
): void {
  const stray = without(others, flags).find(({ name }) => given[name] !== undefined);
  if (stray === undefined) return;
  throw refuse(stray.name, `--${stray.name} is for ${other}, and the dataset is for ${noun}`, helpHint("val"));
}

/** What a classifier is loaded with. @throws {OptionError} If a value is refused, or a flag is for another kind of model */
export function classifierOptions(parsed: ParsedArguments): ClassifierOptions {
  refuseForeign(parsed, CLASS_FLAGS, OBJECT_FLAGS, ["classifiers", "models of objects"]);
  return loadOptionsFrom<ClassifierOptions>(parsed, CLASS_FLAGS);
}

/** What another model is loaded with. @throws {OptionError} If a value is refused, or a flag is for another kind of model */
export function detectorOptions(parsed: ParsedArguments): DetectorOptions {
  refuseForeign(parsed, OBJECT_FLAGS, CLASS_FLAGS, ["models of objects", "classifiers"]);
  return detectorOptionsFrom(parsed, OBJECT_FLAGS);
}
