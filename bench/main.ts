/** @module Bench: `bun run bench`, where the time of a detection goes; a table, a report, JSON and a trace. See HELP in args.ts. */

import { join, relative } from "node:path";
import { gpuUnavailable } from "../src/accelerators/tensorrt/gpu-backend.ts";
import { Detector } from "../src/api/detector.ts";
import { formatBar, hasColour, paintOf, Terminal } from "../src/cli/terminal.ts";
import { message, OptionError } from "../src/core/errors.ts";
import { setLogSink } from "../src/core/log.ts";
import { type BenchOptions, HELP, parseBenchArgs } from "./args.ts";
import type { BenchResult } from "./result.ts";
import { readResult } from "./result-config.ts";
import { drawRun, endLine, type Ground, gpuName, type RunObserver, runStudies, writeRun } from "./runner.ts";
import { STUDIES } from "./studies/catalogue.ts";
import { findImage, findSubject } from "./subject.ts";
import { type ComparedRuns, compareRuns } from "./support/compare.ts";
import { cudaVersion, environmentFacts, fileFacts, gpuFacts } from "./support/environment.ts";
import { comparisonText, resultText } from "./support/result-text.ts";

const terminal = new Terminal(process.stderr, paintOf(hasColour(process.stderr, process.env)), process.env);

function observer(): RunObserver {
  let place = "";
  return {
    onStart(study, number, count) {
      place = `${number}/${count} ${study.name}`;
      terminal.status(place);
    },
    onProgress(_, fraction, text) {
      terminal.status(`${place.padEnd(22)} ${formatBar(fraction)} ${text}`.slice(0, terminal.columns - 1));
    },
    onEnd(result) {
      const style = result.status === "failed" ? "red" : result.status === "skipped" ? "dim" : "green";
      terminal.line(terminal.paint(style, endLine(result)));
    },
  };
}

async function survey(options: BenchOptions, words: readonly string[]): Promise<Ground> {
  const fault = options.backend === "cpu" ? "--backend cpu was asked for" : gpuUnavailable();
  if (options.backend === "gpu" && fault !== undefined) {
    const hint = "bun src/cli/main.ts doctor says what is missing; --backend cpu runs anywhere";
    throw new OptionError(message("run the bench on the GPU", `it cannot be used: ${fault}`, hint), "backend");
  }
  const kind = fault === undefined ? "gpu" : "cpu";
  const subject = await findSubject(options);
  const image = await findImage(options);
  const source = kind === "gpu" ? (subject.engine ?? subject.model) : subject.model;
  const { width, height } = image.image;
  const onBuildProgress = ({ fraction, phase }: { fraction: number; phase: string }): void =>
    terminal.status(`building the engine ${formatBar(fraction)} ${phase}`.slice(0, terminal.columns - 1));
  let runtime = "none, as there is no model";
  if (source !== undefined) {
    await using detector = await Detector.load(source, { backend: kind, firstEngine: "full", onBuildProgress });
    runtime = detector.backend.description;
  }
  const environment = environmentFacts(
    {
      runtime,
      cuda: kind === "gpu" ? cudaVersion() : "none",
      gpu: kind === "gpu" ? gpuFacts(gpuName()) : null,
      model: subject.model === undefined ? null : await fileFacts(subject.model),
      engine: kind === "gpu" && subject.engine !== undefined ? await fileFacts(subject.engine) : null,
      image: { ...(await fileFacts(image.path)), width, height },
      isQuick: options.isQuick,
    },
    { commit: options.commit, words },
  );
  const faults = { gpu: fault ?? "", model: subject.fault ?? "none was given" };
  return {
    options,
    kind,
    image,
    source,
    model: subject.model,
    durationMs: options.durationSeconds * 1000,
    environment,
    faults,
  };
}

/** Print the tables, and where the files are. */
function show({ out, report }: BenchOptions, result: BenchResult, compared: ComparedRuns | undefined): void {
  console.log(resultText(result));
  if (compared !== undefined) console.log(`\n${comparisonText(compared)}`);
  const at = (path: string): string => {
    const near = relative(process.cwd(), path);
    return near.startsWith("..") ? path : near;
  };
  const [html, json, trace] = [join(out, "report.html"), report ?? join(out, "result.json"), join(out, "trace.json")];
  console.log(`\nreport ${at(html)}   JSON ${at(json)}   trace ${at(trace)}`);
}

async function main(words: readonly string[]): Promise<number> {
  const options = parseBenchArgs(
    words,
    STUDIES.map(({ name }) => name),
  );
  if (options.isHelp) {
    console.log(HELP);
    return 0;
  }
  if (options.isList) {
    const width = Math.max(...STUDIES.map(({ name }) => name.length));
    for (const { name, question } of STUDIES) console.log(`${name.padEnd(width)}  ${question}`);
    return 0;
  }
  // Read first: a wrong file is not worth an hour of measuring.
  const before = options.compare === undefined ? undefined : await readResult(options.compare);
  const compare = (result: BenchResult): ComparedRuns | undefined =>
    before === undefined ? undefined : compareRuns(before, result);
  if (options.report !== undefined) {
    const result = await readResult(options.report, "report");
    await drawRun(options.out, result, compare(result));
    show(options, result, compare(result));
    return 0;
  }
  const ground = await survey(options, words);
  const studies = STUDIES.filter(({ name }) => options.studies.length === 0 || options.studies.includes(name));
  const result = await runStudies(studies, ground, {
    observer: observer(),
    onPartial: (partial) => writeRun(options.out, partial, compare(partial)),
  });
  show(options, result, compare(result));
  return result.studies.some(({ status }) => status === "failed") ? 1 : 0;
}

setLogSink((level, text) => {
  if (level === "warn" || level === "error") terminal.line(`${level}: ${text}`);
});
try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  terminal.line(`${terminal.paint("red", "error:")} ${error instanceof Error ? error.message : String(error)}`);
  if (process.env.BUN_TENSORRT_DEBUG) terminal.line(Bun.inspect(error));
  process.exitCode = error instanceof OptionError ? 2 : 1;
}
