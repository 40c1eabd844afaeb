/** @module Verdict: where detection runs, by what was found of the GPU, and which gaps are worth closing. Pure. */

import type { Finding } from "./finding.ts";

/** What was found of everything that a GPU takes. */
export interface GpuFindings {
  /** One a GPU, or one that says why there is none. */
  readonly gpus: readonly Finding[];
  readonly driver: Finding;
  readonly runtime: Finding;
  readonly shim: Finding;
  /** TensorRT and TensorRT-RTX: one of them is enough. */
  readonly tensorRt: readonly Finding[];
  readonly nvJpeg: Finding;
}

function withoutFix({ fix: _, ...rest }: Finding): Finding {
  return rest;
}

function isOk({ state }: Finding): boolean {
  return state === "ok";
}

/** Where `--backend auto` runs, and what keeps it from the GPU. */
function verdict({ gpus, driver, runtime, shim, tensorRt }: GpuFindings, hasCard: boolean): Finding {
  const name = "detection";
  const usable = gpus.find(isOk) ?? gpus[0]!;
  const library = tensorRt.find(isOk) ?? tensorRt[0]!;
  // The first gap is the one to close first: what comes later needs what comes before.
  const needed = hasCard ? [driver, runtime, usable, shim, library] : [usable];
  const missing = needed.find((one) => !isOk(one));
  if (missing !== undefined) return { name, state: "ok", found: `runs on the CPU, for want of: ${missing.name}` };
  const what = library.fix === undefined ? "" : ": plans alone";
  return { name, state: "ok", found: `runs on the GPU, with ${library.name}${what}` };
}

/**
 * The findings in the order of the report, ended by where detection runs.
 *
 * @param hasCard without a card nothing would be won by installing its libraries: they get no fix then
 */
export function choiceOf(findings: GpuFindings, hasCard: boolean): readonly Finding[] {
  const { gpus, driver, runtime, shim, tensorRt, nvJpeg } = findings;
  const isOne = tensorRt.some(isOk);
  // One TensorRT is enough; a shortcoming of the one that is there stays.
  const libraries = tensorRt.map((one) => (isOne && !isOk(one) ? withoutFix(one) : one));
  const all = [driver, runtime, shim, ...libraries, nvJpeg];
  return [...gpus, ...(hasCard ? all : all.map(withoutFix)), verdict(findings, hasCard)];
}
