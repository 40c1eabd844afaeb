/** @module Build options: what callers may set of a build, checked once. */

import { z } from "zod";
import { type Filled, parseOptions } from "../core/options.ts";

/** Memory a build or its engine may use, by nvinfer1::MemoryPoolType. */
export const MEMORY_POOLS = [
  "workspace",
  "dlaManagedSram",
  "dlaLocalDram",
  "dlaGlobalDram",
  "tacticDram",
  "tacticSharedMemory",
] as const;

/** A memory pool. */
export type MemoryPool = (typeof MEMORY_POOLS)[number];

/** What the engine can tell of its layers, in the order of nvinfer1::ProfilingVerbosity. */
export const PROFILING_VERBOSITIES = ["layer-names", "none", "detailed"] as const;

/** What the engine can tell of its layers. */
export type ProfilingVerbosity = (typeof PROFILING_VERBOSITIES)[number];

/** Which other GPUs the engine runs on, in the order of nvinfer1::HardwareCompatibilityLevel. */
export const HARDWARE_COMPATIBILITIES = ["none", "ampere-plus", "same-compute-capability"] as const;

/** Which other GPUs the engine runs on. */
export type HardwareCompatibility = (typeof HARDWARE_COMPATIBILITIES)[number];

/**
 * Which element types the engine may compute in: FP32; FP32 and FP16, as the builder finds faster; or exactly what the
 * model says. INT8 is used where the model brings Q/DQ nodes, whatever is chosen. TensorRT 11 and TensorRT-RTX compute in what a
 * model says: for FP16 a model of FP32 is converted first.
 */
export type Precision = "fp32" | "fp16" | "model";

/** What an engine's images and raw maps may be, beside what the model says. */
export const IO_FORMATS: readonly IoFormat[] = ["model", "fp16", "hwc8"];

/**
 * Element type and memory layout of an engine's images and raw maps: as the model was exported; FP16 and row-major; or FP16 with
 * the channels last, filled up to a multiple of 8, which tensor cores read as it is.
 */
export type IoFormat = "model" | "fp16" | "hwc8";

/** Smallest, typical and largest number of images. The typical one is what the kernels are chosen for. */
export interface CountRange {
  readonly min: number;
  readonly opt: number;
  readonly max: number;
}

/** Width and height in pixels. */
export type BuildSize = readonly [width: number, height: number];

/** Smallest, typical and largest size. */
export interface SizeRange {
  readonly min: BuildSize;
  readonly opt: BuildSize;
  readonly max: BuildSize;
}

/** Shapes of one input, or the one shape it always has. */
export type InputShapes =
  | readonly number[]
  | { readonly min: readonly number[]; readonly opt: readonly number[]; readonly max: readonly number[] };

/** A deep-learning accelerator (Jetson). */
export interface DlaOptions {
  /** Number of the core, from 0 on. */
  readonly core: number;
  /** Layers it cannot run go to the GPU instead of failing the build. Default true. */
  readonly gpuFallback?: boolean | undefined;
}

/**
 * Options of {@linkcode buildPlan}.
 *
 * @see https://docs.nvidia.com/deeplearning/tensorrt/latest/ (IBuilderConfig)
 */
export interface BuildOptions {
  /** Default "fp16"; of a model that was converted, `"model"`. */
  readonly precision?: Precision | undefined;
  /**
   * With FP16, compute in FP32 what FP16 would lose: normalisations, softmax over long axes, exponentials of boxes, and box
   * arithmetic of images of over 1024 pixels, with TensorRT 11 and TensorRT-RTX of all. Default true.
   */
  readonly fp32Layers?: boolean | undefined;
  /**
   * Element type and memory layout of images and of raw maps. Default `"auto"`: of a model that was cut at the maps of its head and
   * is built with FP16, the fastest in a measurement of seconds on the GPU, once all are built; of others as the model was exported.
   */
  readonly ioFormat?: "auto" | IoFormat | undefined;
  /** Let FP32 use TF32's shorter mantissa on tensor cores. Default true. */
  readonly tf32?: boolean | undefined;
  /** Images in a batch, where the model leaves it open. */
  readonly batch?: number | CountRange | undefined;
  /** Size of the input, where the model leaves it open. */
  readonly size?: BuildSize | SizeRange | undefined;
  /** One entry a profile: shapes by input name. Wins over `batch` and `size`. */
  readonly profiles?: readonly Readonly<Record<string, InputShapes>>[] | undefined;
  /** Limits in bytes; `workspace` is what layers may use beside activations. Default: TensorRT's. */
  readonly memoryPools?: Readonly<Partial<Record<MemoryPool, number>>> | undefined;
  /** 0 builds fastest, 5 runs fastest. Default: TensorRT's, 3. */
  readonly optimizationLevel?: number | undefined;
  /**
   * Runs of a kernel that are averaged where the builder compares kernels: more choose better, and take longer. Default 8, as that of
   * trtexec. TensorRT-RTX compares none.
   */
  readonly timingIterations?: number | undefined;
  /** The plan loads under later versions of the same major version as well, and is larger. Default false. */
  readonly versionCompatible?: boolean | undefined;
  /** Which other GPUs the plan runs on, at some loss of speed. Default "none". */
  readonly hardwareCompatibility?: HardwareCompatibility | undefined;
  /** Run on a deep-learning accelerator. */
  readonly dla?: DlaOptions | undefined;
  /** What the engine can tell of its layers. Default "layer-names". */
  readonly profilingVerbosity?: ProfilingVerbosity | undefined;
  /** Most streams beside the main one. Default: TensorRT chooses. */
  readonly maxAuxStreams?: number | undefined;
  /** GPUs that a TensorRT-RTX plan is built for, as `8.6`; needed where the machine has none. */
  readonly computeCapabilities?: readonly string[] | undefined;
  /** Register NVIDIA's plugins first, for models that use them. Default false. */
  readonly plugins?: boolean | undefined;
  /** Threads of the builder. Default: TensorRT's. */
  readonly maxThreads?: number | undefined;
}

/** Options that are left to TensorRT where nobody says. */
type Open = "batch" | "size" | "optimizationLevel" | "dla" | "maxAuxStreams" | "maxThreads";

/** Complete options of a build; what is `undefined` is left to TensorRT. */
export interface BuildConfig extends Filled<Omit<BuildOptions, Open>> {
  /** True if the caller chose it. */
  readonly isPrecisionChosen: boolean;
  readonly batch?: CountRange | undefined;
  readonly size?: SizeRange | undefined;
  readonly optimizationLevel?: number | undefined;
  readonly dla?: Filled<DlaOptions> | undefined;
  readonly maxAuxStreams?: number | undefined;
  readonly maxThreads?: number | undefined;
}

const count = z.int().min(1, "at least 1 image").max(65_536, "at most 65536 images");
const side = z.int().min(1, "at least 1 pixel").max(65_536, "at most 65536 pixels");
const size = z.tuple([side, side], "[width, height] in pixels");
const shape = z.array(z.int().min(0, "at least 0")).max(8, "at most 8 dimensions");

type Range<T> = { readonly [Selector in "min" | "opt" | "max"]: T };

function isOrdered({ min, opt, max }: Range<readonly number[]>): boolean {
  return min.length === opt.length && opt.length === max.length && opt.every((n, at) => min[at]! <= n && n <= max[at]!);
}

function rangeOf<T>(one: T): Range<T> {
  return { min: one, opt: one, max: one };
}

const batchRange = z
  .strictObject({ min: count, opt: count, max: count })
  .refine((range) => range.min <= range.opt && range.opt <= range.max, "a range with min ≤ opt ≤ max");
const sizeRange = z
  .strictObject({ min: size, opt: size, max: size })
  .refine(isOrdered, "a range with min ≤ opt ≤ max on both sides");
const shapeRange = z
  .strictObject({ min: shape, opt: shape, max: shape })
  .refine(isOrdered, "shapes of the same rank, with min ≤ opt ≤ max on every axis");

const schema = z.strictObject({
  precision: z.enum(["fp32", "fp16", "model"], "fp32, fp16 or model").optional(),
  fp32Layers: z.boolean("true or false").default(true),
  ioFormat: z.enum(["auto", ...IO_FORMATS], `auto, ${IO_FORMATS.join(", ")}`).default("auto"),
  tf32: z.boolean("true or false").default(true),
  batch: z.union([count, batchRange], "a number of images, or { min, opt, max }").optional(),
  size: z.union([size, sizeRange], "[width, height], or { min, opt, max } of them").optional(),
  profiles: z.array(z.record(z.string(), z.union([shape, shapeRange], "a shape, or { min, opt, max }"))).default([]),
  memoryPools: z.partialRecord(z.enum(MEMORY_POOLS), z.int().min(0, "0 or more bytes")).default({}),
  optimizationLevel: z.int().min(0, "a whole number from 0 to 5").max(5, "a whole number from 0 to 5").optional(),
  timingIterations: z.int().min(1, "at least 1 run").max(1024, "at most 1024 runs").default(8),
  versionCompatible: z.boolean("true or false").default(false),
  hardwareCompatibility: z.enum(HARDWARE_COMPATIBILITIES, HARDWARE_COMPATIBILITIES.join(", ")).default("none"),
  dla: z
    .strictObject({ core: z.int().min(0, "0 or more"), gpuFallback: z.boolean("true or false").default(true) })
    .optional(),
  profilingVerbosity: z.enum(PROFILING_VERBOSITIES, PROFILING_VERBOSITIES.join(", ")).default("layer-names"),
  maxAuxStreams: z.int().min(0, "0 or more").max(64, "at most 64").optional(),
  computeCapabilities: z.array(z.string().regex(/^\d{1,2}\.\d$/, 'a compute capability such as "8.6"')).default([]),
  plugins: z.boolean("true or false").default(false),
  maxThreads: z.int().min(1, "at least 1 thread").max(1024, "at most 1024 threads").optional(),
});

/** Check options and fill in the defaults. @throws {OptionError} If one is unknown or out of range */
export function parseBuildOptions(options: BuildOptions): BuildConfig {
  const parsed = parseOptions(schema, options, "build an engine");
  const { batch, size, precision } = parsed;
  return {
    ...parsed,
    precision: precision ?? "fp16",
    isPrecisionChosen: precision !== undefined,
    batch: typeof batch === "number" ? rangeOf(batch) : batch,
    size: Array.isArray(size) ? rangeOf(size as BuildSize) : (size as SizeRange | undefined),
    memoryPools: parsed.memoryPools as Partial<Record<MemoryPool, number>>,
  };
}
