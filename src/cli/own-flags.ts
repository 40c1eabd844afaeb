/** @module OwnFlags: the flags of commands that have few. */

import { z } from "zod";
import {
  ANCHORS_OPTION,
  KEYPOINT_SHAPE_OPTION,
  LABELS_OPTION,
  MACHINE_OPTIONS,
  TASK_OPTION,
} from "../api/machine-options.ts";
import { catalogue } from "../catalogue/catalogue.ts";
import type { CudaMajor } from "../catalogue/components.ts";
import { kebab, type OptionTable, shapeOf } from "../core/options.ts";
import { numberFrom } from "../core/value-options.ts";
import type { ObjectTaskName } from "../heads/traits.ts";
import { PREPROCESSING_OPTIONS, refusePadding } from "../image/image-options.ts";
import type { PreprocessingOptions } from "../image/preprocessing.ts";
import { type Flag, type ParsedArguments, refuse } from "./args.ts";
import { flagsOf, path, toggle, valuesFrom, wholeNumber } from "./option-flags.ts";

const samples = catalogue.filter(({ kind }) => kind === "image").map(({ name }) => name);

const DEMO = {
  model: {
    schema: path,
    short: "m",
    value: "FILE|NAME",
    help: "ONNX file, or a name from `models`",
    otherwise: "yolo11n",
  },
  image: {
    schema: z.enum(samples, `one of ${samples.join(", ")}`).default("sample2"),
    value: "NAME",
    help: "sample image from `models`",
  },
  backend: MACHINE_OPTIONS.backend,
  save: { schema: path.default("out"), short: "s", value: "DIR", help: "folder for the annotated image" },
} satisfies OptionTable;

/** Of `demo`, in the order of the help. */
export const DEMO_FLAGS: readonly Flag[] = flagsOf(DEMO);

/** The flags of `demo`, checked. */
interface DemoFlags {
  readonly model: string | undefined;
  readonly image: string;
  readonly backend: string | undefined;
  readonly save: string;
}

/** Check the flags of `demo`. @throws {OptionError} If a value is refused */
export function parseDemoFlags(parsed: ParsedArguments): DemoFlags {
  return valuesFrom(parsed, DEMO);
}

/** Flags that say something of plans only. */
const PLANS = {
  layers: {
    ...toggle,
    help: "show a plan's layers; more of them if it was built with --profiling-verbosity detailed",
  },
  device: {
    schema: wholeNumber(0, 1023).default(0),
    value: "N",
    help: "number of the GPU that a plan is loaded on",
  },
  allowHostCode: {
    ...toggle,
    help: "let a version-compatible plan run the code it brings: only if you trust it",
  },
} satisfies OptionTable;

const INSPECT = {
  json: { ...toggle, help: "as JSON; of a model: {file, byteLength, inputs, outputs, metadata, recognition}" },
  head: {
    schema: z.string().min(1, "the name of a head"),
    value: "NAME|FILE",
    help: "take it for this head, or for one of a file",
    aliases: ["layout"],
  },
  task: { ...TASK_OPTION, value: "NAME", help: "take it for a model of this task; detect: for its boxes only" },
  keypointShape: KEYPOINT_SHAPE_OPTION,
  anchors: ANCHORS_OPTION,
  labels: LABELS_OPTION,
  preprocessing: {
    schema: z.strictObject(shapeOf(PREPROCESSING_OPTIONS)) as z.ZodType<PreprocessingOptions>,
    options: PREPROCESSING_OPTIONS,
  },
  ...PLANS,
} satisfies OptionTable;

/** Of `inspect`, in the order of the help. */
export const INSPECT_FLAGS: readonly Flag[] = flagsOf(INSPECT);

/** What is said of a model, checked. */
interface SaidFlags {
  readonly head: string | undefined;
  readonly task: "detect" | ObjectTaskName | undefined;
  readonly keypointShape: readonly [count: number, numbers: 2 | 3] | undefined;
  readonly anchors: string | readonly number[] | undefined;
  readonly labels: readonly string[] | undefined;
  readonly preprocessing: PreprocessingOptions | undefined;
}

/** The flags of `inspect`, checked. */
export interface InspectFlags extends SaidFlags {
  readonly json: boolean;
  readonly layers: boolean;
  readonly device: number;
  readonly allowHostCode: boolean;
  /** Name of a flag that was given and is for plans only. */
  readonly ofPlans: string | undefined;
}

/** Check the flags of `inspect`. @throws {OptionError} If a value is refused, or padding that there is none of */
export function parseInspectFlags(parsed: ParsedArguments): InspectFlags {
  const flags = valuesFrom(parsed, INSPECT);
  refusePadding(flags.preprocessing, (name) => `--${name}`);
  return { ...flags, ofPlans: flagsOf(PLANS).find(({ name }) => parsed.flags[name] !== undefined)?.name };
}

const DOCTOR = {
  model: {
    schema: path,
    short: "m",
    value: "FILE|NAME",
    help: "tell of this model, too: what it is, and what runs where",
  },
  head: INSPECT.head,
  task: INSPECT.task,
  keypointShape: KEYPOINT_SHAPE_OPTION,
  anchors: ANCHORS_OPTION,
  labels: INSPECT.labels,
  json: { ...toggle, help: "as JSON: [{name, state, found, version, path, fix}]; with --model {findings, model}" },
} satisfies OptionTable;

/** Of `doctor`, in the order of the help. */
export const DOCTOR_FLAGS: readonly Flag[] = flagsOf(DOCTOR);

/** Check the flags of `doctor`. @throws {OptionError} If a value is refused, or something is said of a model that is not given */
export function parseDoctorFlags(
  parsed: ParsedArguments,
): Omit<SaidFlags, "preprocessing"> & { readonly json: boolean; readonly model: string | undefined } {
  const flags = valuesFrom(parsed, DOCTOR);
  const ofModels = ["head", "task", "keypointShape", "anchors", "labels"] as const;
  const lone = flags.model === undefined ? ofModels.find((name) => flags[name] !== undefined) : undefined;
  if (lone !== undefined) {
    const values = { head: "yolov5-maps", task: "pose", keypointShape: "17,3", anchors: "yolov7", labels: "names.txt" };
    const flag = `--${kebab(lone)}`;
    const hint = `bunx bun-tensorrt doctor --model best.onnx ${flag} ${values[lone]}`;
    throw refuse(lone, `${flag} is for a model, and none is given`, hint);
  }
  return flags;
}

const INSTALL = {
  acceptLicence: {
    ...toggle,
    help: "accept the licences; without this flag they are shown",
    aliases: ["acceptLicense"],
  },
  cuda: {
    schema: z.union([z.literal(12), z.literal(13)], "12 or 13"),
    fromText: numberFrom,
    value: "MAJOR",
    help: "12 or 13",
    otherwise: "what the driver has, 12 without one",
  },
  list: { ...toggle, help: "list what there is for this machine, and what is installed" },
  remove: { ...toggle, help: "delete these components" },
  json: { ...toggle, help: "as JSON" },
} satisfies OptionTable;

/** Of `install`, in the order of the help. */
export const INSTALL_FLAGS: readonly Flag[] = flagsOf(INSTALL);

/** The flags of `install`, checked. */
export interface InstallFlags {
  readonly acceptLicence: boolean;
  readonly cuda: CudaMajor | undefined;
  readonly list: boolean;
  readonly remove: boolean;
  readonly json: boolean;
}

/** Check the flags of `install`. @throws {OptionError} If a value is refused */
export function parseInstallFlags(parsed: ParsedArguments): InstallFlags {
  return valuesFrom(parsed, INSTALL);
}
