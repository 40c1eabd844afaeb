/** @module CompareFlags: the flags of `compare`, and what they stand for. */

import { acceleratorNames, refuseStrays } from "../accelerators/accelerator.ts";
import { ONNXRUNTIME_OPTIONS, TENSORRT_OPTIONS } from "../accelerators/accelerator-options.ts";
import { LOAD_OPTIONS, machineOf } from "../api/machine-options.ts";
import type { ModelOptions } from "../api/model.ts";
import type { OptionTable } from "../core/options.ts";
import { COMPARE_OPTIONS, type CompareOptions } from "../precision/precision-config.ts";
import { type Flag, type ParsedArguments, refuse } from "./args.ts";
import { imagesFrom } from "./convert-flags.ts";
import { flagsOf, optionsFrom, spellingIn, valuesFrom } from "./option-flags.ts";
import { path, QUIET, toggle } from "./values.ts";

const OWN = {
  images: { ...COMPARE_OPTIONS.images, schema: path, short: "i" },
  samples: COMPARE_OPTIONS.samples,
  threshold: COMPARE_OPTIONS.threshold,
  tolerance: COMPARE_OPTIONS.tolerance,
  maxLoss: COMPARE_OPTIONS.maxLoss,
  layers: COMPARE_OPTIONS.layers,
  backend: {
    schema: path,
    value: "NAME[,NAME]",
    help: "where to run both, or each of them: cpu, gpu",
    otherwise: "auto: the GPU where there is one",
  },
  isJson: {
    ...toggle,
    flag: "json",
    help: "as JSON: {models, images, skipped, outputs, unmatched, layers, agreement, isWithin}",
  },
  isQuiet: QUIET,
} satisfies OptionTable;

const { precision } = TENSORRT_OPTIONS;
const { threads, providers } = ONNXRUNTIME_OPTIONS;
const GPU_FLAGS = flagsOf({ device: LOAD_OPTIONS.device, precision });
const CPU_FLAGS = flagsOf({ threads, providers });
const MACHINE_FLAGS = [...GPU_FLAGS, ...CPU_FLAGS];

/** In the order of the help. */
export const COMPARE_FLAGS: readonly Flag[] = [...flagsOf(OWN), ...MACHINE_FLAGS];

/** The flags of `compare`, checked. */
interface CompareArguments {
  /** What the two models are called. */
  readonly models: readonly [first: string, second: string];
  readonly options: Omit<CompareOptions, "first" | "second">;
  readonly first: ModelOptions;
  readonly second: ModelOptions;
  readonly isJson: boolean;
  readonly isQuiet: boolean;
}

/** Names of what takes no options of a GPU. */
const CPU_NAMES: readonly string[] = ["cpu", "onnxruntime"];

const EXAMPLE = "bunx bun-tensorrt compare yolo11n.onnx yolo11n.int8.onnx --images photos";

/** One name for both models, or one for each. @throws {OptionError} If it is none */
function backendsFrom(said: string | undefined): readonly [string, string] {
  const names = (said ?? "auto").split(",").map((name) => name.trim());
  const known = ["auto", ...acceleratorNames()];
  const [first = "", second = first] = names;
  if (names.length <= 2 && [first, second].every((name) => known.includes(name))) return [first, second];
  const rule = `one or two of ${known.join(", ")}`;
  throw refuse("backend", `--backend must be ${rule}, got ${JSON.stringify(said)}`, "write --backend cpu,gpu");
}

/** Check the flags of `compare`. @throws {OptionError} If a value is refused, or the models or the images are missing */
export function parseCompareFlags(parsed: ParsedArguments): CompareArguments {
  const { isJson, isQuiet, backend, images, ...options } = valuesFrom(parsed, OWN);
  const backends = backendsFrom(backend);
  const [first, second = first, ...others] = parsed.operands;
  if (first === undefined || others.length > 0) {
    throw refuse("model", `Expected two models, got ${parsed.operands.length}`, EXAMPLE);
  }
  if (parsed.operands.length === 1 && backends[0] === backends[1]) {
    const hint = `${EXAMPLE}; of one model, --backend cpu,gpu compares two backends`;
    throw refuse("model", "Expected two models, got 1", hint);
  }
  if (images === undefined) throw refuse("images", "Missing --images", EXAMPLE);
  const optionsOf = (name: string): ModelOptions => {
    // Of two backends each takes what is its own.
    const own = backends[0] === backends[1] ? MACHINE_FLAGS : CPU_NAMES.includes(name) ? CPU_FLAGS : GPU_FLAGS;
    const options = optionsFrom<ModelOptions>(parsed, own);
    refuseStrays(machineOf({ ...options, backend: name }), [options.device ?? 0], spellingIn(own));
    return { ...options, backend: name };
  };
  return {
    models: [first, second as string],
    options: { ...(options as Omit<CompareOptions, "images">), images: imagesFrom("images", images) },
    first: optionsOf(backends[0]),
    second: optionsOf(backends[1]),
    isJson: isJson === true,
    isQuiet: isQuiet === true,
  };
}
