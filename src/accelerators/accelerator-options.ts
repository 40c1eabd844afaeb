/** @module Accelerator options: what may be said of each accelerator, under its name; here, so that none is loaded for it. */

import { z } from "zod";
import { listFrom, switchFrom } from "../core/from-text.ts";
import { type GivenOptions, type Option, type OptionsOf, shapeOf } from "../core/options.ts";
import type { WaitMode } from "../cuda/wait.ts";
import type { ProviderChoice } from "../onnxruntime/providers.ts";
import type { BuildProgress } from "../runtime/backend.ts";
import { acceleratorNames, type OpenOptions } from "./accelerator.ts";

/**
 * How frames in flight share a GPU. `one`: one stream for all; `split`: a stream each for copy-in (of what comes while others
 * compute), compute and copy-out, joined by events; `parallel`: frames side by side on streams of their own, or from 16 in
 * flight on by two on up to 16; `auto`: the fastest of them in a short measurement, kept with the engine's cache entry.
 */
export type StreamLayout = "auto" | "one" | "split" | "parallel";

/** Where JPEG files are decoded. `auto`: by nvJPEG where the model runs on a GPU with engines made for JPEG. */
export type JpegDecoding = "auto" | "gpu" | "cpu";

/** Whether a GPU's kernels read frames in mapped host memory instead of a copy. `auto`: on GPUs that share the host's memory. */
export type ZeroCopy = "auto" | boolean;

/** What holds for models on TensorRT. */
export interface TensorRtOptions {
  /**
   * How frames in flight share the GPU. `"one"`: one stream for all; `"split"`: a stream each for copy-in, compute and
   * copy-out; `"parallel"`: frames side by side on streams of their own, or from 16 in flight on by two on up to 16: 32 in
   * flight give the most frames a second. Default `"auto"`: the fastest in a short measurement, kept with the engine's cache
   * entry.
   */
  readonly streams?: StreamLayout;
  /**
   * How the JS thread waits for the GPU: `"poll"` answers soonest, `"off-thread"` leaves the thread to others. Default
   * `"auto"`: by the measured duration.
   */
  readonly wait?: WaitMode;
  /**
   * Where JPEG files are decoded. Default `"auto"`: by nvJPEG where the model runs on a GPU that has engines for JPEG, and
   * the library is there.
   */
  readonly jpeg?: JpegDecoding;
  /**
   * False: faster, for files that are known to be whole. nvJPEG does not tell where a file's data is damaged, and leaves
   * in its place what an earlier picture had there: boxes may then be those of another picture. What is cut short, or
   * damaged in its header, is still found. Default true: the GPU looks at the data of every file that nvJPEG decodes.
   */
  readonly jpegCheck?: boolean;
  /** True: the GPU reads frames in mapped host memory, without a copy. Default `"auto"`: on GPUs that share the host's memory. */
  readonly zeroCopy?: ZeroCopy;
  /** False: each piece of a frame is enqueued by itself on a GPU, for experiments. Default true: one CUDA graph a frame. */
  readonly graph?: boolean;
  /** What an engine built from an ONNX model may compute in. Default `"fp16"`; TensorRT 11 and RTX build what the model says. */
  readonly precision?: "fp32" | "fp16";
}

/** What holds for models on ONNX Runtime. */
export interface OnnxRuntimeOptions {
  /** CPU threads of one inference. Default: the physical cores. */
  readonly threads?: number;
  /**
   * ONNX Runtime's own execution providers, the first one first: `["cuda"]`, `[{ name: "coreml", MLComputeUnits: "ALL" }]`;
   * what none of them runs, the CPU does. They must be in the library: see `BUN_TENSORRT_ONNXRUNTIME`. Default: the CPU's.
   */
  readonly providers?: readonly ProviderChoice[];
}

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

const toggle = z.boolean("true or false").optional();

/** Of {@linkcode TensorRtOptions}. */
export const TENSORRT_OPTIONS: GivenOptions<TensorRtOptions> = {
  precision: {
    schema: z.enum(["fp32", "fp16"], "fp32 or fp16").optional(),
    help: "lowest precision an engine is built with",
    otherwise: "fp16",
    aliases: [["half", "fp16"]],
  },
  streams: {
    schema: z.enum(["auto", "one", "split", "parallel"], "auto, one, split or parallel").optional(),
    help: "how frames in flight share the GPU",
    otherwise: "auto: measured",
  },
  wait: {
    schema: z.enum(["auto", "poll", "off-thread"], "auto, poll or off-thread").optional(),
    help: "how the GPU is waited for",
    otherwise: "auto: by duration",
  },
  jpeg: {
    schema: z.enum(["auto", "gpu", "cpu"], "auto, gpu or cpu").optional(),
    help: "where JPEGs are decoded",
    otherwise: "auto: nvJPEG on a GPU",
  },
  jpegCheck: {
    schema: toggle,
    flag: "no-jpeg-check",
    help: "faster, for complete files: damaged data may show an earlier image",
  },
  zeroCopy: {
    schema: z.union([z.literal("auto"), z.boolean()], "auto, true or false").optional(),
    value: "auto|on|off",
    fromText: switchFrom,
    help: "the GPU reads frames in host memory",
    otherwise: "auto: integrated GPUs",
  },
  graph: { schema: toggle },
};

/** Of {@linkcode OnnxRuntimeOptions}. */
export const ONNXRUNTIME_OPTIONS: GivenOptions<OnnxRuntimeOptions> = {
  threads: {
    schema: z.int("a whole number").min(1, "at least 1").max(1024, "at most 1024").optional(),
    help: "CPU threads of ONNX Runtime",
    otherwise: "the physical cores",
  },
  providers: {
    // What is in one is checked by the session.
    schema: z
      .custom<readonly ProviderChoice[]>((value) => Array.isArray(value) && value.length > 0, 'a list such as ["cuda"]')
      .optional(),
    value: "LIST",
    isList: true,
    fromText: listFrom,
    help: "execution providers of ONNX Runtime: cuda, coreml, …",
    otherwise: "the CPU",
  },
};

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
