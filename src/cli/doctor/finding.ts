/** @module Finding: what `doctor` found of one thing, and the report made of all of them: where detection runs, and which gaps are worth closing. */

import { LibraryLoadError } from "../../core/errors.ts";
import { printable } from "../../core/shown.ts";
import { alignRows, type Paint, type Style } from "../terminal.ts";

/** `ok`: there and working. `absent`: not there, and detection works without. `broken`: detection fails because of it. */
export type FindingState = "ok" | "absent" | "broken";

/** One thing that was looked for. */
export interface Finding {
  readonly name: string;
  readonly state: FindingState;
  /** What was found: a version and a path, or what is wrong. */
  readonly found: string;
  /** Of a library or a program that was found. */
  readonly version?: string;
  readonly path?: string;
  /** Of a library that cannot be used: each path that was tried, in order, with its reason. */
  readonly tried?: readonly string[];
  /** A command or sentence that fixes it; `undefined` where nothing needs to be done or nothing can. */
  readonly fix?: string;
}

const STYLES: Readonly<Record<FindingState, Style>> = { ok: "green", absent: "yellow", broken: "red" };

/** What was found of a library that works. */
export function located(version: string, path: string): Omit<Finding, "name"> {
  return { state: "ok", found: `${version} at ${path}`, version, path };
}

/** A finding of what opens; `absent` says what is wrong, and what fixes it, where a library cannot be opened. */
export function search(
  name: string,
  find: () => string | Omit<Finding, "name">,
  absent: (error: LibraryLoadError) => Omit<Finding, "name" | "state"> & Partial<Finding>,
): Finding {
  try {
    const found = find();
    return typeof found === "string" ? { name, state: "ok", found } : { name, ...found };
  } catch (error) {
    if (!(error instanceof LibraryLoadError)) throw error;
    return { name, state: "absent", tried: error.tried, ...absent(error) };
  }
}

/** True if nothing that is needed is broken. */
export function isHealthy(findings: readonly Finding[]): boolean {
  return findings.every(({ state }) => state !== "broken");
}

/** A line for each finding, with its fix below it. */
export function formatFindings(findings: readonly Finding[], paint: Paint): string {
  const rows = alignRows(
    findings.map(({ name, state, found }) => [paint(STYLES[state], state), paint("bold", name), printable(found)]),
  );
  const lines = findings.flatMap(({ fix }, at) =>
    fix === undefined ? [rows[at]!] : [rows[at]!, `        ${paint("dim", "fix:")} ${printable(fix)}`],
  );
  return `${lines.join("\n")}\n`;
}

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
  readonly videoEngines: Finding;
}

function withoutFix({ fix: _, ...rest }: Finding): Finding {
  return rest;
}

function isOk({ state }: Finding): boolean {
  return state === "ok";
}

/** Says where models run, for want of an option. */
export const BACKEND_VARIABLE = "BUN_TENSORRT_BACKEND";
const ON_CPU: readonly string[] = ["cpu", "onnxruntime"];

/** Where `--backend auto` runs, and what keeps it from the GPU; or what keeps it from running at all. */
function verdict(
  { gpus, driver, runtime, shim, tensorRt }: GpuFindings,
  hasCard: boolean,
  host: readonly Finding[],
  wanted: string,
): Finding {
  const name = "detection";
  const broken = host.filter(({ state }) => state === "broken").map((one) => one.name);
  if (broken.length > 0) return { name, state: "broken", found: `not ok, because of: ${broken.join(", ")}` };
  const usable = gpus.find(isOk) ?? gpus[0]!;
  const library = tensorRt.find(isOk) ?? tensorRt[0]!;
  // The first gap is the one to close first: what comes later needs what comes before.
  const needed = hasCard ? [driver, runtime, usable, shim, library] : [usable];
  const missing = needed.find((one) => !isOk(one));
  const backend = `${BACKEND_VARIABLE} is ${wanted}`;
  if (ON_CPU.includes(wanted)) return { name, state: "ok", found: `runs on the CPU, as ${backend}` };
  if (missing !== undefined && wanted !== "" && wanted !== "auto") {
    const fix = `unset ${BACKEND_VARIABLE}: detection then runs on the CPU`;
    return { name, state: "broken", found: `not ok: ${backend}, and there is no: ${missing.name}`, fix };
  }
  if (missing !== undefined) return { name, state: "ok", found: `runs on the CPU, for want of: ${missing.name}` };
  const what = library.fix === undefined ? "" : ": plans alone";
  return { name, state: "ok", found: `runs on the GPU, with ${library.name}${what}` };
}

/**
 * The findings in the order of the report, ended by where detection runs.
 *
 * @param hasCard without a card nothing would be won by installing its libraries: they get no fix then
 * @param host    what detection needs wherever it runs
 * @param wanted  value of {@linkcode BACKEND_VARIABLE}
 */
export function choiceOf(
  findings: GpuFindings,
  hasCard: boolean,
  host: readonly Finding[] = [],
  wanted = "",
): readonly Finding[] {
  const { gpus, driver, runtime, shim, tensorRt, nvJpeg, videoEngines } = findings;
  const isOne = tensorRt.some(isOk);
  // One TensorRT is enough; a shortcoming of the one that is there stays.
  const libraries = tensorRt.map((one) => (isOne && !isOk(one) ? withoutFix(one) : one));
  const all = [driver, runtime, shim, ...libraries, nvJpeg, videoEngines];
  return [...gpus, ...(hasCard ? all : all.map(withoutFix)), verdict(findings, hasCard, host, wanted)];
}
