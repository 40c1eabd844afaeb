/** @module Machine options: on what a model runs, and how; what several façades are told at `load`, declared and checked once. */

import { z } from "zod";
import { acceleratorNames, acceleratorOptions, type OpenOptions, refuseStrays } from "../accelerators/accelerator.ts";
import {
  ONNXRUNTIME_OPTIONS,
  type OnnxRuntimeOptions,
  TENSORRT_OPTIONS,
  type TensorRtOptions,
} from "../accelerators/accelerator-options.ts";
import {
  type GivenOptions,
  type Option,
  type OptionTable,
  parseOptions,
  shapeOf,
  type UsualOptions,
  type ValuesOf,
} from "../core/options.ts";
import { anchorsFrom, numbersFrom, numberWithin, sizeFrom, wholeWithin } from "../core/value-options.ts";
import { areAnchors } from "../heads/anchors.ts";
import { OBJECT_TASKS, type ObjectTaskName } from "../heads/traits.ts";
import type { DecodingLimits } from "../image/decode-limits.ts";
import { DECODING_OPTIONS, DEFAULT_MAX_PIXELS } from "../image/image-options.ts";
import type { BuildProgress, Size } from "../runtime/backend.ts";

/** Names of accelerators; further ones are registered. */
export type BackendName = "auto" | "tensorrt" | "gpu" | "onnxruntime" | "cpu" | (string & {});

/** On what a model runs, and how. Options of an accelerator that stand here by their own names are taken as well. */
export interface MachineChoice extends TensorRtOptions, OnnxRuntimeOptions {
  /**
   * Where to run: `"tensorrt"` or `"gpu"`, `"onnxruntime"` or `"cpu"`, or another accelerator that is registered. Default
   * `"auto"`: what `$BUN_TENSORRT_BACKEND` says, else the GPU where there is one, else the CPU.
   */
  readonly backend?: BackendName | undefined;
  /** Options of TensorRT. */
  readonly tensorrt?: TensorRtOptions | undefined;
  /** Options of ONNX Runtime. */
  readonly onnxruntime?: OnnxRuntimeOptions | undefined;
  /**
   * Whether a model whose head is known, and proves to be it, is cut at the last maps of its convolutions, from which boxes are worked
   * out only where there are some. What is found stays the same. Default: where a GPU runs it, as engines get faster. On the CPU it
   * takes some tenths of a second of `load` and saves a sixteenth of each run: `true` asks for it. `false`: as exported.
   */
  readonly shape?: boolean | undefined;
  /** Told a few times a second while an engine is built, which takes minutes; the plan is then kept. */
  readonly onBuildProgress?: ((progress: BuildProgress) => void) | undefined;
  /** Ends the building of an engine; its reason is thrown. */
  readonly signal?: AbortSignal | undefined;
}

/** What most façades are told at `load`, beside what is theirs alone. */
export interface LoadOptions extends DecodingLimits, MachineChoice {
  /** Most images the model gets at once. Default 1; at most the model's own batch. */
  readonly batch?: number | undefined;
  /** With `batch` above 1: most milliseconds that an image waits for others to fill a batch. Default 0. */
  readonly batchWaitMs?: number | undefined;
  /** Batches in flight: each owns its buffers. Default 1. */
  readonly inFlight?: number | undefined;
  /** Number of the GPU, from 0 on. Default 0. Where `backend` is open and the model runs on the CPU, a warning says so. */
  readonly device?: number | undefined;
}

const backend = z.string("the name of an accelerator").superRefine((name, context) => {
  const known = ["auto", ...acceleratorNames()];
  if (known.includes(name)) return;
  context.addIssue({ code: "custom", message: `one of ${known.join(", ")}` });
});

/** Options under one name: those of an accelerator, or of the pre-processing. */
export function group<Value>(options: OptionTable): Option<z.ZodOptional<z.ZodType<Value>>> {
  return { schema: z.strictObject(shapeOf(options)).optional() as never, options };
}

/** Of {@linkcode MachineChoice}. */
export const MACHINE_OPTIONS: GivenOptions<MachineChoice> = {
  backend: {
    schema: backend.optional(),
    value: "NAME",
    help: "where to run: cpu, gpu",
    otherwise: "auto: the GPU where there is one",
  },
  // The groups first: flags say what is in them, and win over what stands beside them.
  tensorrt: group(TENSORRT_OPTIONS),
  onnxruntime: group(ONNXRUNTIME_OPTIONS),
  ...TENSORRT_OPTIONS,
  ...ONNXRUNTIME_OPTIONS,
  shape: {
    schema: z.boolean("true or false").optional(),
    flag: "no-shape",
    help: "run the model as exported, the arithmetic of its head included",
  },
  onBuildProgress: {
    schema: z
      .custom<(progress: BuildProgress) => void>((value) => typeof value === "function", "a function")
      .optional(),
  },
  signal: { schema: z.custom<AbortSignal>((value) => value instanceof AbortSignal, "an AbortSignal").optional() },
};

const side = wholeWithin(1, 16_384);
/** How both are said on a command line. */
export const SIDES_TEXT = "a side from 1 to 16384 pixels, or width x height such as 640x480";
/** A side in pixels, or both. */
export const sides: z.ZodType<Size, number | readonly [number, number]> = z.union(
  [side.transform((value): Size => [value, value]), z.tuple([side, side])],
  "a side from 1 to 16384 pixels, or [width, height]",
);

/** Of the input of a model that leaves it open. */
export const SIZE_OPTION: Option<z.ZodOptional<typeof sides>> = {
  schema: sides.optional(),
  value: "N|WxH",
  fromText: sizeFrom,
  textRule: SIDES_TEXT,
  help: "input size for models with a dynamic input",
  aliases: ["imgsz", "img", "imgSize", "inputSize"],
};

/** Class names by id. */
export const LABELS_OPTION: Option<z.ZodOptional<z.ZodType<readonly string[]>>> = {
  schema: z.array(z.string(), "a list of names").optional(),
  value: "FILE",
  help: "class names, one per line or JSON, if the model has none or others",
  aliases: ["names", "classNames"],
};

/** Tasks that a caller may name. */
const TASKS: readonly ("detect" | ObjectTaskName)[] = ["detect", ...(Object.keys(OBJECT_TASKS) as ObjectTaskName[])];

/** The task of a model of objects that does not tell it. */
export const TASK_OPTION: Option<z.ZodOptional<z.ZodType<"detect" | ObjectTaskName>>> = {
  schema: z.enum(TASKS, `one of ${TASKS.join(", ")}`).optional(),
  help: "task of a model that does not tell it; detect: boxes only",
};

const KEYPOINT_RULE = "[points, numbers], 2 or 3 numbers a point";

/** The points of a pose model that does not tell them. */
export const KEYPOINT_SHAPE_OPTION: Option<z.ZodOptional<z.ZodType<readonly [count: number, numbers: 2 | 3]>>> = {
  schema: z
    .tuple([wholeWithin(1, 1000, KEYPOINT_RULE), z.union([z.literal(2), z.literal(3)], KEYPOINT_RULE)], KEYPOINT_RULE)
    .optional(),
  value: "N,N",
  fromText: numbersFrom,
  textRule: "points, and 2 or 3 numbers a point, such as 17,3",
  help: "points of a pose model that does not tell them: 17,3",
  aliases: ["kptShape"],
};

const ANCHORS_RULE = "a family, such as yolov5, or widths and heights in pixels";

/** Anchors of raw maps, for the options of every façade and command that has them. */
export const ANCHORS_OPTION: Option<z.ZodType<string | readonly number[]>> = {
  schema: z.union([z.string().min(1), z.array(z.number(ANCHORS_RULE)).refine(areAnchors, ANCHORS_RULE)], ANCHORS_RULE),
  value: "NAME|N,N,…",
  fromText: anchorsFrom,
  help: "anchors of raw maps: yolov5, yolov7, …, or numbers",
};

const { maxPixels, ...decoding } = DECODING_OPTIONS;

/** Of {@linkcode LoadOptions}. */
export const LOAD_OPTIONS: GivenOptions<MachineChoice & Omit<DecodingLimits, "maxPixels">> &
  UsualOptions<Pick<LoadOptions, "batch" | "batchWaitMs" | "inFlight" | "device" | "maxPixels">> = {
  batch: { schema: wholeWithin(1, 1024).default(1), help: "batch size", aliases: ["batchSize"] },
  batchWaitMs: {
    schema: numberWithin(0, 60_000, "0 to 60000 milliseconds").default(0),
    value: "MS",
    help: "how long an image waits for others to fill a batch",
    aliases: ["batchWait"],
  },
  inFlight: { schema: wholeWithin(1, 128).default(1), help: "batches in flight" },
  device: { schema: wholeWithin(0, 1023, "a number from 0 to 1023").default(0), help: "number of the GPU" },
  ...decoding,
  maxPixels: { ...maxPixels, schema: maxPixels.schema.unwrap().default(DEFAULT_MAX_PIXELS) },
  ...MACHINE_OPTIONS,
};

/** A schema that has {@linkcode MACHINE_OPTIONS}, with the groups of accelerators that were registered since. */
export function withAccelerators<Schema extends z.ZodObject>(schema: Schema): Schema {
  const further = Object.entries(acceleratorOptions()).filter(([name]) => !(name in schema.shape));
  if (further.length === 0) return schema;
  return schema.extend(
    Object.fromEntries(further.map(([name, options]) => [name, group(options).schema])),
  ) as unknown as Schema;
}

/** The options of a table that are given: in their group, or beside it where they may stand there. */
function given(table: OptionTable, beside: Record<string, unknown>, inGroup: Record<string, unknown> = {}): object {
  const taken = Object.entries(table).map(([name, option]) => {
    const isFlat = (MACHINE_OPTIONS as OptionTable)[name] === option;
    return [name, inGroup[name] ?? (isFlat ? beside[name] : undefined)] as const;
  });
  return Object.fromEntries(taken.filter(([, value]) => value !== undefined));
}

/** What a model is opened with, of options that have been checked. */
export function machineOf(
  options: { readonly [Name in keyof MachineChoice]: MachineChoice[Name] | undefined } & {
    readonly inFlight?: number | undefined;
  },
): OpenOptions {
  const all = options as Record<string, Record<string, unknown> | undefined>;
  const groups = Object.entries(acceleratorOptions()).map(([name, table]) => [name, given(table, all, all[name])]);
  const accelerators: { readonly tensorrt?: TensorRtOptions; readonly onnxruntime?: OnnxRuntimeOptions } =
    Object.fromEntries(groups);
  return {
    // Whoever asks for a provider of ONNX Runtime wants ONNX Runtime.
    backend: options.backend ?? (accelerators.onnxruntime?.providers === undefined ? "auto" : "onnxruntime"),
    inFlight: options.inFlight,
    accelerators: { ...accelerators },
    build: {
      precision: accelerators.tensorrt?.precision,
      shape: options.shape,
      ioFormat: accelerators.tensorrt?.ioFormat,
      onProgress: options.onBuildProgress,
      signal: options.signal,
    },
  };
}

/** How a model's images are run, complete. */
export interface LoadConfig extends OpenOptions {
  /** Most images of a run; at most what each backend takes. */
  readonly batch: number;
  /** Most milliseconds an image waits for others. */
  readonly batchWaitMs: number;
  /** Of an image. */
  readonly maxPixels: number;
  readonly device: number;
}

/** What a façade is told at `load`, checked: what a model is opened with, and the options of the façade itself. */
type Loading<Table extends OptionTable> = Omit<ValuesOf<Table>, keyof MachineChoice> & OpenOptions;

/**
 * What checks the options of a façade's `load`, and fills in the defaults.
 *
 * @param action for messages: `load a detector`
 * @param table  with {@linkcode MACHINE_OPTIONS} and `device`
 * @returns throws an {@linkcode OptionError} if an option is unknown, out of range, or for another machine than was asked for
 */
export function loadingOf<Table extends OptionTable>(
  action: string,
  table: Table,
): (options: object) => Loading<Table> {
  const schema = z.strictObject(shapeOf(table as OptionTable));
  return (options) => {
    const parsed = parseOptions(withAccelerators(schema), options, action, table);
    const machine = machineOf(parsed);
    refuseStrays(machine, [parsed.device as number | readonly number[]].flat());
    const own = Object.entries(parsed).filter(([name]) => !(name in MACHINE_OPTIONS));
    const isDeviceNamed = (options as { readonly device?: unknown }).device !== undefined;
    return { ...Object.fromEntries(own), ...machine, isDeviceNamed } as Loading<Table>;
  };
}
