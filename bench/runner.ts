/** @module Runner: the studies one after the other, each on its own feet; what is there so far is always written. */

import { mkdirSync, renameSync } from "node:fs";
import { join } from "node:path";
import { Detector } from "../src/api/detector.ts";
import { formatDuration } from "../src/core/units.ts";
import { Device } from "../src/cuda/device.ts";
import { figuresOf } from "./report/figures.ts";
import { buildReport } from "./report/report.ts";
import { traceOf } from "./report/trace-file.ts";
import { type BenchResult, type EnvironmentFacts, RESULT_SCHEMA, type StudyResult } from "./result.ts";
import { createOutput, type Study, type StudyContext } from "./study.ts";
import type { ComparedRuns } from "./support/compare.ts";
import { gpuState } from "./support/environment.ts";
import { resultText } from "./support/result-text.ts";

/** What a run has found on the machine. */
export interface Ground extends Pick<StudyContext, "options" | "kind" | "image" | "source" | "model" | "durationMs"> {
  readonly environment: EnvironmentFacts;
  /** Why there is no GPU or model, for what is skipped. */
  readonly faults: { readonly gpu: string; readonly model: string };
}

/** Who is told how a run goes. */
export interface RunObserver {
  onStart(study: Study, number: number, count: number): void;
  onProgress(study: Study, fraction: number, text: string): void;
  onEnd(result: StudyResult): void;
}

/** Write a file so that no reader, and no lease that ends, ever leaves half of it. */
async function writeWhole(path: string, text: string): Promise<void> {
  await Bun.write(`${path}.tmp`, text);
  renameSync(`${path}.tmp`, path);
}

/** Write the result, the report, the table, the trace and the figures into a folder. */
export async function writeRun(folder: string, result: BenchResult, compared: ComparedRuns | undefined): Promise<void> {
  mkdirSync(folder, { recursive: true });
  await writeWhole(join(folder, "result.json"), `${JSON.stringify(result)}\n`);
  await drawRun(folder, result, compared);
}

/** Write the report, the table, the trace and the figures of a result that is there already. */
export async function drawRun(folder: string, result: BenchResult, compared: ComparedRuns | undefined): Promise<void> {
  mkdirSync(folder, { recursive: true });
  await writeWhole(join(folder, "report.html"), buildReport(result, compared));
  await writeWhole(join(folder, "table.txt"), `${resultText(result)}\n`);
  await writeWhole(join(folder, "trace.json"), `${JSON.stringify(traceOf(result))}\n`);
  mkdirSync(join(folder, "figures"), { recursive: true });
  for (const { name, svg } of figuresOf(result)) await writeWhole(join(folder, "figures", name), svg);
}

/** Why a study, or a part of one, is left out. */
const OVER = "the minutes of --max-minutes were over";

function missing(study: Study, ground: Ground): string | undefined {
  if (study.needs.includes("gpu") && ground.kind !== "gpu") return `it needs a GPU: ${ground.faults.gpu}`;
  if (study.needs.includes("model") && ground.source === undefined) return `it needs a model: ${ground.faults.model}`;
  return undefined;
}

/** Samples with the digits that were measured: JSON of a long run stays small. */
function rounded(values: readonly number[]): number[] {
  return values.map((value) => Number(value.toPrecision(6)));
}

async function runOne(
  study: Study,
  ground: Ground,
  run: { readonly earlier: readonly StudyResult[]; readonly deadline: number; readonly observer: RunObserver },
): Promise<StudyResult> {
  const { observer, deadline, earlier } = run;
  const started = performance.now();
  const output = createOutput();
  const finish = (status: StudyResult["status"], reason?: string): StudyResult => ({
    name: study.name,
    title: study.title,
    question: study.question,
    status,
    ...(reason === undefined ? {} : { reason }),
    seconds: (performance.now() - started) / 1000,
    ...output,
    measurements: output.measurements.map((one) => ({ ...one, samples: rounded(one.samples) })),
  });
  const lack = missing(study, ground);
  if (lack !== undefined) return finish("skipped", lack);
  if (started > deadline && study.isMeasuring !== false) return finish("skipped", OVER);
  const { options, kind, image, source, model, durationMs } = ground;
  const progress = (fraction: number, text: string): void => observer.onProgress(study, fraction, text);
  let isCut = false;
  try {
    const context: StudyContext = {
      ...{ options, kind, image, source, model, durationMs, earlier, progress },
      load: (wish = {}) =>
        Detector.load(source!, {
          backend: kind,
          // Nothing is built while something is measured.
          firstEngine: "full",
          onBuildProgress: ({ fraction, phase }) =>
            progress(0, `building the engine, ${(fraction * 100).toFixed(0)} %: ${phase}`),
          ...wish,
        }),
      isOver: () => {
        isCut ||= performance.now() > deadline;
        return isCut;
      },
    };
    await study.run(context, output);
    if (isCut && !output.leftOut.some((what) => what.includes(OVER))) output.leftOut.push(`samples, as ${OVER}`);
    return finish("done");
  } catch (error) {
    return finish("failed", error instanceof Error ? error.message : String(error));
  }
}

/**
 * Run studies. After each one everything there is so far is written.
 *
 * @param onPartial called with the result after every study
 */
export async function runStudies(
  studies: readonly Study[],
  ground: Ground,
  run: { readonly observer: RunObserver; readonly onPartial: (result: BenchResult) => Promise<void> },
): Promise<BenchResult> {
  const deadline = performance.now() + ground.options.maxMinutes * 60_000;
  const done: StudyResult[] = [];
  const resultSoFar = (): BenchResult => {
    const { gpu } = ground.environment;
    return {
      schema: RESULT_SCHEMA,
      isComplete: done.length === studies.length,
      environment: { ...ground.environment, gpu: gpu === null ? null : { ...gpu, after: gpuState() } },
      studies: [...done],
    };
  };
  for (const [at, study] of studies.entries()) {
    run.observer.onStart(study, at + 1, studies.length);
    const result = await runOne(study, ground, { earlier: done, deadline, observer: run.observer });
    done.push(result);
    run.observer.onEnd(result);
    await run.onPartial(resultSoFar());
  }
  return resultSoFar();
}

/** One line a study: `latency done in 12.3 s`. */
export function endLine(result: StudyResult): string {
  const { name, status, reason, seconds, checks } = result;
  const kept = checks.filter(({ isMet }) => isMet).length;
  const promises = checks.length === 0 ? "" : `, ${kept} of ${checks.length} promises kept`;
  const why = reason === undefined ? "" : `: ${reason.split("\n", 1)[0]}`;
  return status === "skipped"
    ? `${name} skipped${why}`
    : `${name} ${status} in ${formatDuration(seconds * 1000)}${promises}${why}`;
}

/** Name of the GPU that is measured. */
export function gpuName(device = 0): string {
  using opened = Device.open(device);
  return opened.name;
}
