/** @module BuildFlags: the flags of `build`, and what they stand for. */

import { z } from "zod";
import { kebab, type OptionTable, type ValuesOf } from "../core/options.ts";
import { CONVERT_OPTIONS, type ConvertOptions } from "../precision/precision-config.ts";
import {
  type BuildOptions,
  type InputShapes,
  IO_FORMATS,
  MEMORY_POOLS,
  type MemoryPool,
  PROFILING_VERBOSITIES,
} from "../tensorrt/build-options.ts";
import { type Flag, type ParsedArguments, refuse } from "./args.ts";
import {
  byteCount,
  capabilityList,
  count,
  countRange,
  flagsOf,
  path,
  QUIET,
  type Range,
  sizeRange,
  toggle,
  valuesFrom,
  wholeNumber,
} from "./option-flags.ts";
import { imagesFrom, refuseUncalibrated } from "./precision-flags.ts";

const POOLS: ReadonlyMap<string, MemoryPool> = new Map(MEMORY_POOLS.map((pool) => [kebab(pool), pool]));
const POOL_RULE = `NAME=SIZE, separated by commas; the names are ${[...POOLS.keys()].join(", ")}`;
const SHAPES_RULE =
  "NAME=SHAPE or NAME=LEAST,TYPICAL,LARGEST, inputs separated by semicolons: images=1x3x640x640,4x3x640x640,8x3x640x640";

/** `images=1x3x8x8;ids=1x2`: parts with a name each. */
function named<T>(
  divider: string,
  rule: string,
  value: (text: string) => T | undefined,
): z.ZodType<[string, T][], string> {
  return z.string().transform((text, context) => {
    const entries = text.split(divider).map((part): [string, T] | undefined => {
      const at = part.lastIndexOf("=");
      const parsed = at < 1 ? undefined : value(part.slice(at + 1).trim());
      return parsed === undefined ? undefined : [part.slice(0, at).trim(), parsed];
    });
    if (entries.every((entry) => entry !== undefined)) return entries;
    context.addIssue({ code: "custom", message: rule });
    return z.NEVER;
  });
}

function parseShapes(text: string): InputShapes | undefined {
  if (!/^\d+(x\d+)*(,\d+(x\d+)*){0,2}$/i.test(text)) return undefined;
  const [min, opt, max] = text.split(",").map((shape) => shape.toLowerCase().split("x").map(Number));
  if (opt === undefined) return min;
  return max === undefined ? undefined : { min: min!, opt, max };
}

const memoryPools: z.ZodType<Partial<Record<MemoryPool, number>>, string> = named(",", POOL_RULE, (text) => {
  return byteCount.safeParse(text).data;
}).transform((entries, context) => {
  if (entries.every(([name]) => POOLS.has(name))) {
    return Object.fromEntries(entries.map(([name, bytes]) => [POOLS.get(name)!, bytes]));
  }
  context.addIssue({ code: "custom", message: POOL_RULE });
  return z.NEVER;
});

/** What is handed to the library as it is said, by its names. */
const LIBRARY = {
  fp32Layers: {
    schema: z.boolean(),
    flag: "no-fp32-layers",
    help: "with fp16: use it also where it loses, as in normalisations",
  },
  ioFormat: {
    schema: z.enum(["auto", ...IO_FORMATS], `auto, ${IO_FORMATS.join(", ")}`),
    help: "how images go in and raw maps come out (default auto: measured)",
  },
  tf32: { schema: z.boolean(), flag: "no-tf32", help: "keep full FP32 precision on tensor cores" },
  optimizationLevel: {
    schema: wholeNumber(0, 5),
    value: "0-5",
    help: "0 builds fastest, 5 runs fastest (default 3)",
  },
  timingIterations: {
    schema: count(1024),
    value: "N",
    help: "runs that are averaged where kernels are compared (default 8)",
  },
  versionCompatible: { schema: z.boolean(), help: "the plan loads under later releases of the same major version" },
  computeCapabilities: {
    schema: capabilityList,
    flag: "compute-capability",
    value: "LIST",
    help: "GPUs to build for with TensorRT-RTX, here or not: 8.6,8.9",
  },
  profilingVerbosity: {
    schema: z.enum(PROFILING_VERBOSITIES, PROFILING_VERBOSITIES.join(", ")),
    value: "LEVEL",
    help: `what the plan tells of its layers: ${PROFILING_VERBOSITIES.join(", ")}`,
  },
  maxAuxStreams: {
    schema: wholeNumber(0, 64),
    flag: "aux-streams",
    value: "N",
    help: "most streams beside the main one (default TensorRT chooses)",
  },
  plugins: { schema: z.boolean(), help: "register NVIDIA's plugins first, for models that use them" },
  maxThreads: {
    schema: count(1024),
    flag: "threads",
    value: "N",
    help: "CPU threads of the builder (default TensorRT chooses)",
  },
} satisfies OptionTable;

/** The flags of `build`, checked. */
export interface BuildArguments {
  /** What was said; ranges of what is left open are filled in from the model. */
  readonly options: Omit<BuildOptions, "batch" | "size" | "precision">;
  readonly precision: "fp32" | "fp16" | "model" | undefined;
  /** The model is converted first: to what, and how. */
  readonly conversion: ConvertOptions | undefined;
  readonly batch: number | Range<number> | undefined;
  readonly size: readonly [width: number, height: number] | Range<readonly [number, number]> | undefined;
  readonly isRectangular: boolean;
  readonly device: number;
  readonly timingCache: string | undefined;
  readonly output: string | undefined;
  /** False: the model as it was exported. */
  readonly shape: boolean;
  readonly isForced: boolean;
  readonly isJson: boolean;
  readonly isQuiet: boolean;
}

const OWN = {
  precision: {
    schema: z.enum(["fp32", "fp16", "int8", "fp8", "model"], "fp32, fp16, int8, fp8 or model"),
    help: "lowest precision allowed (default fp16); model: as exported",
  },
  calibration: {
    ...CONVERT_OPTIONS.calibration,
    help: "with int8 and fp8: images like those it will see, as of `convert`",
  },
  method: { ...CONVERT_OPTIONS.method, help: "with --calibration: how ranges are found", otherwise: "mse" },
  samples: { ...CONVERT_OPTIONS.samples, help: "with --calibration: most images", otherwise: "512" },
  batch: {
    schema: countRange(65_536),
    value: "N|MIN,OPT,MAX",
    help: "batch size, for models with a dynamic batch (default its task's)",
  },
  size: {
    schema: sizeRange,
    value: "SIZE|MIN,OPT,MAX",
    help: "input size, N or WxH, for models with a dynamic input (default its task's)",
  },
  isRectangular: {
    ...toggle,
    flag: "rectangular",
    help: "sizes up to a square of that side, for `detect --rectangular`",
  },
  shapes: {
    schema: named(";", SHAPES_RULE, parseShapes),
    value: "LIST",
    help: "shapes by input name, for models with other dynamic axes",
  },
  workspace: { schema: byteCount, value: "SIZE", help: "memory limit for layers, besides activations: 64MiB, 2GiB" },
  pools: {
    schema: memoryPools,
    value: "LIST",
    help: "limits of other memory pools: tactic-dram=4GiB,dla-local-dram=1GiB",
  },
  timingCache: {
    schema: path,
    value: "FILE",
    help: "measured timings, read and written (default the engine cache's)",
  },
  hardwareCompatible: { ...toggle, help: "the plan runs on every GPU from Ampere on, more slowly" },
  sameComputeCapability: { ...toggle, help: "the plan runs on every GPU of this one's compute capability" },
  device: { schema: wholeNumber(0, 1023).default(0), value: "N", help: "number of the GPU to build on" },
  dla: { schema: wholeNumber(0, 15), value: "CORE", help: "run on a deep-learning accelerator (Jetson)" },
  gpuFallback: {
    schema: z.boolean().default(true),
    flag: "no-gpu-fallback",
    help: "with --dla: fail where a layer cannot run there",
  },
  output: { schema: path, short: "o", value: "FILE", help: "write a copy of the plan here" },
  shape: {
    schema: z.boolean().default(true),
    flag: "no-shape",
    help: "build the model as exported, the arithmetic of its head included",
  },
  isForced: { ...toggle, flag: "force", help: "build even where the plan is in the engine cache" },
  isJson: { ...toggle, flag: "json", help: "as JSON: {path, byteLength, isHit, elapsedMs, metadata, origin}" },
  isQuiet: QUIET,
} satisfies OptionTable;

/** In the order of the help. */
export const BUILD_FLAGS: readonly Flag[] = [...flagsOf(OWN), ...flagsOf(LIBRARY)];

/** Flags that do not go together. */
function checkFlags(flags: ValuesOf<typeof OWN>): void {
  if (!flags.gpuFallback && flags.dla === undefined) {
    throw refuse("no-gpu-fallback", "--no-gpu-fallback needs --dla", "add --dla 0");
  }
  if (flags.hardwareCompatible && flags.sameComputeCapability) {
    const found = "--hardware-compatible and --same-compute-capability exclude each other";
    throw refuse("hardware-compatible", found, "leave one out");
  }
  if (flags.isRectangular && flags.size !== undefined && "min" in flags.size) {
    const found = "--rectangular makes its own range of sizes";
    throw refuse("rectangular", found, "leave it out, or give --size one value");
  }
}

/** How the model is converted before it is built; `undefined` where it is not. */
function conversionOf(
  { precision, calibration, method, samples }: ValuesOf<typeof OWN>,
  { flags: given }: ParsedArguments,
): ConvertOptions | undefined {
  if (calibration === undefined) {
    if (precision === "int8" || precision === "fp8") throw refuseUncalibrated(precision);
    const alone = ["method", "samples"].find((name) => given[name] !== undefined);
    if (alone !== undefined) throw refuse(alone, `--${alone} needs --calibration`, "add --calibration DIR");
    return undefined;
  }
  if (precision === "fp32" || precision === "model") {
    const found = `--calibration is for fp16, int8 and fp8, and --precision is ${precision}`;
    throw refuse("calibration", found, "leave it out");
  }
  const options = { precision: precision ?? "fp16", method, samples };
  return { ...options, calibration: imagesFrom("calibration", calibration as string) } as ConvertOptions;
}

/** Check the flags of `build`. @throws {OptionError} If a value is refused, or flags do not go together */
export function parseBuildFlags(parsed: ParsedArguments): BuildArguments {
  const flags = valuesFrom(parsed, OWN);
  checkFlags(flags);
  const conversion = conversionOf(flags, parsed);
  const { hardwareCompatible, sameComputeCapability, dla, gpuFallback, shapes, pools, workspace, ...rest } = flags;
  const { calibration: _, method: __, samples: ___, precision, ...others } = rest;
  const options: BuildArguments["options"] = {
    ...(valuesFrom(parsed, LIBRARY) as Partial<BuildOptions>),
    memoryPools: { ...pools, ...(workspace === undefined ? {} : { workspace }) },
    ...(hardwareCompatible ? { hardwareCompatibility: "ampere-plus" } : {}),
    ...(sameComputeCapability ? { hardwareCompatibility: "same-compute-capability" } : {}),
    ...(dla === undefined ? {} : { dla: { core: dla, gpuFallback } }),
    ...(shapes === undefined ? {} : { profiles: [Object.fromEntries(shapes)] }),
  };
  const built = precision === "int8" || precision === "fp8" || conversion !== undefined ? "model" : precision;
  return { ...others, precision: built, conversion, options };
}
