/** @module Machine options: on what a model runs, and how; the same for every façade. */

import { z } from "zod";
import { acceleratorNames, acceleratorOptions, type OpenOptions } from "../accelerators/accelerator.ts";
import {
  ONNXRUNTIME_OPTIONS,
  type OnnxRuntimeOptions,
  TENSORRT_OPTIONS,
  type TensorRtOptions,
} from "../accelerators/accelerator-options.ts";
import { type Option, type OptionTable, shapeOf } from "../core/options.ts";
import type { BuildProgress } from "../runtime/backend.ts";

/** Names of accelerators; further ones are registered. */
export type BackendName = "auto" | "tensorrt" | "gpu" | "onnxruntime" | "cpu" | (string & {});

/** On what a model runs, and how. Options of an accelerator that stand here by their own names are taken as well. */
export interface MachineChoice extends TensorRtOptions, OnnxRuntimeOptions {
  /**
   * Where to run: `"tensorrt"` or `"gpu"`, `"onnxruntime"` or `"cpu"`, or another accelerator that is registered. Default
   * `"auto"`: what `$BUN_TENSORRT_BACKEND` says, else the GPU where there is one, else the CPU.
   */
  readonly backend?: BackendName;
  /** Options of TensorRT. */
  readonly tensorrt?: TensorRtOptions;
  /** Options of ONNX Runtime. */
  readonly onnxruntime?: OnnxRuntimeOptions;
  /** Told a few times a second while an engine is built, which takes minutes; the plan is then kept. */
  readonly onBuildProgress?: (progress: BuildProgress) => void;
  /** Ends the building of an engine; its reason is thrown. */
  readonly signal?: AbortSignal;
}

const backend = z.string("the name of an accelerator").superRefine((name, context) => {
  const known = ["auto", ...acceleratorNames()];
  if (known.includes(name)) return;
  context.addIssue({ code: "custom", message: `one of ${known.join(", ")}` });
});

/** The options of one accelerator, under its name. */
function group(options: OptionTable): Option<z.ZodOptional<z.ZodType<never>>> {
  return { schema: z.strictObject(shapeOf(options)).optional() as never, options };
}

/** Of {@linkcode MachineChoice}. */
export const MACHINE_OPTIONS: {
  readonly [Name in keyof Required<MachineChoice>]: Option<
    z.ZodOptional<z.ZodType<Exclude<MachineChoice[Name], undefined>>>
  >;
} = {
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
  onBuildProgress: {
    schema: z
      .custom<(progress: BuildProgress) => void>((value) => typeof value === "function", "a function")
      .optional(),
  },
  signal: { schema: z.custom<AbortSignal>((value) => value instanceof AbortSignal, "an AbortSignal").optional() },
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
      onProgress: options.onBuildProgress,
      signal: options.signal,
    },
  };
}
