/** @module Machine options: on what a model runs, and how: what every façade is told of it. */

import { z } from "zod";
import { acceleratorNames, type OpenOptions } from "../accelerators/accelerator.ts";
import {
  ONNXRUNTIME_OPTIONS,
  type OnnxRuntimeOptions,
  TENSORRT_OPTIONS,
  type TensorRtOptions,
} from "../accelerators/accelerator-options.ts";
import { type Option, type OptionsOf, shapeOf } from "../core/options.ts";
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
  tensorrt: { schema: z.strictObject(shapeOf(TENSORRT_OPTIONS)).optional() as never, options: TENSORRT_OPTIONS },
  onnxruntime: {
    schema: z.strictObject(shapeOf(ONNXRUNTIME_OPTIONS)).optional() as never,
    options: ONNXRUNTIME_OPTIONS,
  },
  ...TENSORRT_OPTIONS,
  ...ONNXRUNTIME_OPTIONS,
  onBuildProgress: {
    schema: z
      .custom<(progress: BuildProgress) => void>((value) => typeof value === "function", "a function")
      .optional(),
  },
  signal: { schema: z.custom<AbortSignal>((value) => value instanceof AbortSignal, "an AbortSignal").optional() },
};

/** The options of a table that are given; those within a group win over those beside it. */
function groupOf<Options extends object>(
  table: OptionsOf<Options>,
  beside: Partial<Options>,
  group: Partial<Options> = {},
): Options {
  const all = Object.keys(table).map((name) => [name, group[name as keyof Options] ?? beside[name as keyof Options]]);
  return Object.fromEntries(all.filter(([, value]) => value !== undefined)) as Options;
}

/** What a model is opened with, of options that have been checked. */
export function machineOf(
  options: { readonly [Name in keyof MachineChoice]: MachineChoice[Name] | undefined } & {
    readonly inFlight?: number | undefined;
  },
): OpenOptions {
  const beside = options as MachineChoice;
  const tensorrt = groupOf<TensorRtOptions>(TENSORRT_OPTIONS, beside, options.tensorrt);
  const onnxruntime = groupOf<OnnxRuntimeOptions>(ONNXRUNTIME_OPTIONS, beside, options.onnxruntime);
  return {
    // Whoever asks for a provider of ONNX Runtime wants ONNX Runtime.
    backend: options.backend ?? (onnxruntime.providers === undefined ? "auto" : "onnxruntime"),
    inFlight: options.inFlight,
    accelerators: { tensorrt, onnxruntime },
    build: { precision: tensorrt.precision, onProgress: options.onBuildProgress, signal: options.signal },
  };
}
