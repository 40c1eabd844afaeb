/** @module BuildFlags: the flags of `build`, and what they stand for. */

import { z } from "zod";
import {
  type BuildOptions,
  type InputShapes,
  MEMORY_POOLS,
  type MemoryPool,
  PROFILING_VERBOSITIES,
} from "../tensorrt/build-options.ts";
import { type Flag, type ParsedArguments, parseFlags, refuse } from "./args.ts";
import { byteCount, capabilityList, count, countRange, type Range, sizeRange, toggle, wholeNumber } from "./values.ts";

/** `tactic-dram` of `tacticDram`. */
function kebab(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

const POOLS: ReadonlyMap<string, MemoryPool> = new Map(MEMORY_POOLS.map((pool) => [kebab(pool), pool]));
const POOL_RULE = `NAME=SIZE, separated by commas; the names are ${[...POOLS.keys()].join(", ")}`;
const SHAPES_RULE =
  "NAME=SHAPE or NAME=LEAST,TYPICAL,LARGEST, inputs separated by semicolons: images=1x3x640x640,4x3x640x640,8x3x640x640";

/** In the order of the help. */
export const BUILD_FLAGS: readonly Flag[] = [
  {
    name: "precision",
    value: "fp32|fp16|model",
    summary: "lowest precision allowed (default fp16); model: as exported",
  },
  { name: "no-tf32", summary: "keep full FP32 precision on tensor cores" },
  { name: "batch", value: "N|MIN,OPT,MAX", summary: "batch size, for models with a dynamic batch (default 1)" },
  { name: "size", value: "SIZE|MIN,OPT,MAX", summary: "input size, N or WxH, for models with a dynamic input" },
  { name: "rectangular", summary: "sizes up to a square of that side, for `detect --rectangular`" },
  { name: "shapes", value: "LIST", summary: "shapes by input name, for models with other dynamic axes" },
  { name: "workspace", value: "SIZE", summary: "memory limit for layers, besides activations: 64MiB, 2GiB" },
  { name: "pools", value: "LIST", summary: "limits of other memory pools: tactic-dram=4GiB,dla-local-dram=1GiB" },
  { name: "optimization-level", value: "0-5", summary: "0 builds fastest, 5 runs fastest (default 3)" },
  { name: "timing-cache", value: "FILE", summary: "measured timings, read and written (default the engine cache's)" },
  { name: "version-compatible", summary: "the plan loads under later releases of the same major version" },
  { name: "hardware-compatible", summary: "the plan runs on every GPU from Ampere on, more slowly" },
  { name: "same-compute-capability", summary: "the plan runs on every GPU of this one's compute capability" },
  { name: "compute-capability", value: "LIST", summary: "GPUs to build for with TensorRT-RTX, here or not: 8.6,8.9" },
  { name: "device", value: "N", summary: "number of the GPU to build on (default 0)" },
  { name: "dla", value: "CORE", summary: "run on a deep-learning accelerator (Jetson)" },
  { name: "no-gpu-fallback", summary: "with --dla: fail where a layer cannot run there" },
  { name: "profiling-verbosity", value: "LEVEL", summary: `what layers tell: ${PROFILING_VERBOSITIES.join(", ")}` },
  { name: "aux-streams", value: "N", summary: "most streams beside the main one (default TensorRT chooses)" },
  { name: "plugins", summary: "register NVIDIA's plugins first, for models that use them" },
  { name: "threads", value: "N", summary: "CPU threads of the builder (default TensorRT chooses)" },
  { name: "output", short: "o", value: "FILE", summary: "write a copy of the plan here" },
  { name: "force", summary: "build even where the plan is in the engine cache" },
  { name: "json", summary: "as JSON: {path, byteLength, isHit, elapsedMs, metadata, origin}" },
  { name: "quiet", short: "q", summary: "no progress and no summary" },
];

/** The flags of `build`, checked. */
export interface BuildArguments {
  /** What was said; ranges of what is left open are filled in from the model. */
  readonly options: Omit<BuildOptions, "batch" | "size" | "precision">;
  readonly precision: "fp32" | "fp16" | "model" | undefined;
  readonly batch: number | Range<number>;
  readonly size: readonly [width: number, height: number] | Range<readonly [number, number]> | undefined;
  readonly isRectangular: boolean;
  readonly device: number;
  readonly timingCache: string | undefined;
  readonly output: string | undefined;
  readonly isForced: boolean;
  readonly isJson: boolean;
  readonly isQuiet: boolean;
}

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

const pools: z.ZodType<Partial<Record<MemoryPool, number>>, string> = named(",", POOL_RULE, (text) => {
  return byteCount.safeParse(text).data;
}).transform((entries, context) => {
  if (entries.every(([name]) => POOLS.has(name))) {
    return Object.fromEntries(entries.map(([name, bytes]) => [POOLS.get(name)!, bytes]));
  }
  context.addIssue({ code: "custom", message: POOL_RULE });
  return z.NEVER;
});

const path = z.string().min(1, "a path");

const schema = z.object({
  precision: z.enum(["fp32", "fp16", "model"], "fp32, fp16 or model").optional(),
  "no-tf32": toggle,
  batch: countRange(65_536).default(1),
  size: sizeRange.optional(),
  rectangular: toggle,
  shapes: named(";", SHAPES_RULE, parseShapes).optional(),
  workspace: byteCount.optional(),
  pools: pools.optional(),
  "optimization-level": wholeNumber(0, 5).optional(),
  "timing-cache": path.optional(),
  "version-compatible": toggle,
  "hardware-compatible": toggle,
  "same-compute-capability": toggle,
  "compute-capability": capabilityList.default([]),
  device: wholeNumber(0, 1023).default(0),
  dla: wholeNumber(0, 15).optional(),
  "no-gpu-fallback": toggle,
  "profiling-verbosity": z.enum(PROFILING_VERBOSITIES, PROFILING_VERBOSITIES.join(", ")).optional(),
  "aux-streams": wholeNumber(0, 64).optional(),
  plugins: toggle,
  threads: count(1024).optional(),
  output: path.optional(),
  force: toggle,
  json: toggle,
  quiet: toggle,
});

type Flags = z.infer<typeof schema>;

/** Flags that do not go together. */
function checkFlags(flags: Flags): void {
  if (flags["no-gpu-fallback"] && flags.dla === undefined) {
    throw refuse("build", "no-gpu-fallback", "--no-gpu-fallback needs --dla", "add --dla 0");
  }
  if (flags["hardware-compatible"] && flags["same-compute-capability"]) {
    const found = "--hardware-compatible and --same-compute-capability exclude each other";
    throw refuse("build", "hardware-compatible", found, "leave one out");
  }
  if (flags.rectangular && flags.size !== undefined && "min" in flags.size) {
    const found = "--rectangular makes its own range of sizes";
    throw refuse("build", "rectangular", found, "leave it out, or give --size one value");
  }
}

function poolLimits({ workspace, pools: others }: Flags): Partial<Record<MemoryPool, number>> {
  return { ...others, ...(workspace === undefined ? {} : { workspace }) };
}

/** What was given alone, so that the library's own defaults hold. */
function buildOptions(flags: Flags): BuildArguments["options"] {
  const { dla, plugins, shapes, threads } = flags;
  const optional = {
    optimizationLevel: flags["optimization-level"],
    profilingVerbosity: flags["profiling-verbosity"],
    maxAuxStreams: flags["aux-streams"],
    maxThreads: threads,
    dla: dla === undefined ? undefined : { core: dla, gpuFallback: !flags["no-gpu-fallback"] },
    profiles: shapes === undefined ? undefined : [Object.fromEntries(shapes)],
  };
  const compatibility = flags["hardware-compatible"] ? "ampere-plus" : "same-compute-capability";
  const isCompatible = flags["hardware-compatible"] || flags["same-compute-capability"];
  return {
    ...Object.fromEntries(Object.entries(optional).filter(([, value]) => value !== undefined)),
    tf32: !flags["no-tf32"],
    memoryPools: poolLimits(flags),
    versionCompatible: flags["version-compatible"],
    hardwareCompatibility: isCompatible ? compatibility : "none",
    computeCapabilities: flags["compute-capability"],
    plugins,
  };
}

/**
 * Check the flags of `build`.
 *
 * @throws {OptionError} If a value is refused, or flags do not go together
 */
export function parseBuildFlags(parsed: ParsedArguments): BuildArguments {
  const flags = parseFlags(parsed, schema);
  checkFlags(flags);
  return {
    options: buildOptions(flags),
    precision: flags.precision,
    batch: flags.batch,
    size: flags.size,
    isRectangular: flags.rectangular,
    device: flags.device,
    timingCache: flags["timing-cache"],
    output: flags.output,
    isForced: flags.force,
    isJson: flags.json,
    isQuiet: flags.quiet,
  };
}
