/** @module Accelerator options: what may be said of each accelerator, under its name; here, so that none is loaded for it. */

import { z } from "zod";
import type { GivenOptions } from "../core/options.ts";
import { listFrom, switchFrom } from "../core/value-options.ts";
import type { WaitMode } from "../cuda/event.ts";
import type { ProviderChoice } from "../onnxruntime/session-options.ts";
import type { IoFormat } from "../tensorrt/build-options.ts";

/**
 * How frames in flight share a GPU. `one`: one stream for all; `split`: a stream each for copy-in (of what comes while others
 * compute), compute and copy-out, joined by events; `parallel`: frames side by side on streams of their own, or from 16 in
 * flight on by two on up to 16; `auto`: the fastest of them in a short measurement, kept with the engine's cache entry.
 */
export type StreamLayout = "auto" | "one" | "split" | "parallel";

/** Where JPEG files are decoded. `auto`: by nvJPEG where the model runs on a GPU with engines made for JPEG. */
export type JpegDecoding = "auto" | "gpu" | "cpu";

/**
 * Whether a GPU's kernels read frames in mapped host memory instead of a copy. `auto`: on GPUs that share the host's memory, and on others
 * NV12 in a mapped `PinnedBuffer` where rows are skipped and nothing else is under way.
 */
export type ZeroCopy = "auto" | boolean;

/**
 * What an ONNX model without a cached engine runs with first. `quick`: an engine that is built in a fraction of the time, until the full
 * one, built in the background, takes its place between two images; `full`: nothing runs until the full one is built.
 */
export type FirstEngine = "quick" | "full";

/** What holds for models on TensorRT. */
export interface TensorRtOptions {
  /**
   * How frames in flight share the GPU. `"one"`: one stream for all; `"split"`: a stream each for copy-in, compute and
   * copy-out; `"parallel"`: frames side by side on streams of their own, or from 16 in flight on by two on up to 16: 32 in
   * flight give the most frames a second. Default `"auto"`: the fastest in a short measurement, kept with the engine's cache
   * entry.
   */
  readonly streams?: StreamLayout | undefined;
  /**
   * How the JS thread waits for the GPU: `"poll"` answers soonest, `"off-thread"` leaves the thread to others. Default
   * `"auto"`: by the measured duration.
   */
  readonly wait?: WaitMode | undefined;
  /**
   * Where JPEG files are decoded. Default `"auto"`: by nvJPEG where the model runs on a GPU that has engines for JPEG, and
   * the library is there.
   */
  readonly jpeg?: JpegDecoding | undefined;
  /**
   * False: faster, for files that are known to be whole. nvJPEG does not tell where a file's data is damaged, and leaves
   * in its place what an earlier image had there: boxes may then be those of another image. What is cut short, or
   * damaged in its header, is still found. Default true: the GPU looks at the data of every file that nvJPEG decodes.
   */
  readonly jpegCheck?: boolean | undefined;
  /**
   * True: the GPU reads frames in mapped host memory, without a copy. Default `"auto"`: on GPUs that share the host's memory, and NV12
   * in a mapped `PinnedBuffer` where that is quicker.
   */
  readonly zeroCopy?: ZeroCopy | undefined;
  /** False: each piece of a frame is enqueued by itself on a GPU, for experiments. Default true: one CUDA graph a frame. */
  readonly graph?: boolean | undefined;
  /** What an engine built from an ONNX model may compute in. Default `"fp16"`; TensorRT 11 and RTX build what the model says. */
  readonly precision?: "fp32" | "fp16" | undefined;
  /**
   * What an ONNX model without a cached engine runs with first. Default `"quick"`: an engine of optimisation level 0, until the full
   * one, which is built in the background at low priority, takes its place between two images, with a line in the log. `"full"`
   * waits for the full one. TensorRT-RTX builds in seconds, and always the full one.
   */
  readonly firstEngine?: FirstEngine | undefined;
  /**
   * Element type and memory layout of images and raw maps of an engine built from an ONNX model: `"model"`, as it was exported;
   * `"fp16"`, FP16 and row-major; `"hwc8"`, FP16 and channels last. Default `"auto"`: of a model that was cut at the maps of
   * its head the fastest in a short measurement; of others as exported.
   */
  readonly ioFormat?: "auto" | IoFormat | undefined;
}

/** What holds for models on ONNX Runtime. */
export interface OnnxRuntimeOptions {
  /** CPU threads of one inference. Default: the physical cores. */
  readonly threads?: number | undefined;
  /**
   * ONNX Runtime's own execution providers, the first one first: `["cuda"]`, `[{ name: "coreml", MLComputeUnits: "ALL" }]`;
   * what none of them runs, the CPU does. They must be in the library: see `BUN_TENSORRT_ONNXRUNTIME`. Default: the CPU's.
   */
  readonly providers?: readonly ProviderChoice[] | undefined;
}

const toggle = z.boolean("true or false").optional();

/** Of {@linkcode TensorRtOptions}. */
export const TENSORRT_OPTIONS: GivenOptions<TensorRtOptions> = {
  precision: {
    schema: z.enum(["fp32", "fp16"], "fp32 or fp16 (`convert` makes models of int8 and fp8)").optional(),
    help: "lowest precision an engine is built with",
    otherwise: "fp16",
    aliases: [
      ["half", "fp16"],
      ["fp16", "fp16"],
    ],
  },
  ioFormat: {
    schema: z.enum(["auto", "model", "fp16", "hwc8"], "auto, model, fp16 or hwc8").optional(),
    help: "how an engine takes images and gives raw maps",
    otherwise: "auto: measured",
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
  firstEngine: {
    schema: z.enum(["quick", "full"], "quick or full").optional(),
    help: "engine to begin with; the full one takes over later",
    otherwise: "quick",
  },
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

/** Values that say what every accelerator does anyway, by option: whoever gives them asks nothing of this one. */
const HELD_ANYWHERE: Readonly<Record<string, readonly unknown[]>> = {
  precision: ["fp32"],
  ioFormat: ["auto", "model"],
  streams: ["auto"],
  wait: ["auto"],
  jpeg: ["auto", "cpu"],
  jpegCheck: [true],
  zeroCopy: ["auto", false],
  graph: [true],
  firstEngine: ["full"],
};

/** Names of the options in a group that ask for something of its accelerator. */
export function askedOf(group: object): string[] {
  const given = Object.entries(group).filter(([name, value]) => !HELD_ANYWHERE[name]?.includes(value));
  return given.map(([name]) => name);
}
