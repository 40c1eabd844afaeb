/** @module Report: one HTML file with everything in it, which opens without a network. */

import type { BenchResult, Block, EnvironmentFacts, Measurement, StudyResult } from "../result.ts";
import type { ComparedRuns } from "../support/compare.ts";
import { headlines } from "../support/headlines.ts";
import { comparison } from "./comparison.ts";
import { distributions } from "./distribution.ts";
import { lineChart } from "./line-chart.ts";
import { drawing, drawingWithLegend, element, escapeText, textElement } from "./markup.ts";
import { stageBars } from "./stage-bars.ts";
import { STYLE } from "./style.ts";
import { checkTable, lineTable, percentileTable, plainTable, stageTable, table } from "./tables.ts";
import { TIMELINE_SCRIPT, timeline } from "./timeline.ts";

function drawBlock(block: Block, measurements: ReadonlyMap<string, Measurement>): string {
  switch (block.kind) {
    case "distribution": {
      const shown = block.measurements.map((id) => measurements.get(id)).filter((one) => one !== undefined);
      return shown.length === 0 ? "" : beside(drawing(distributions(shown, block.title)), percentileTable(shown));
    }
    case "stages":
      return block.bars.length > 2
        ? below(drawingWithLegend(stageBars(block)), stageTable(block))
        : beside(drawingWithLegend(stageBars(block)), stageTable(block));
    case "lines":
      return block.lines.length > 2
        ? below(drawingWithLegend(lineChart(block)), lineTable(block))
        : beside(drawingWithLegend(lineChart(block)), lineTable(block));
    case "timeline":
      return block.spans.length === 0 ? "" : timeline(block);
    case "table":
      return plainTable(block);
  }
}

function below(chart: string, numbers: string): string {
  return element("div", { class: "below" }, chart, numbers);
}

function beside(chart: string, numbers: string): string {
  return element("div", { class: "beside" }, element("div", {}, chart), numbers);
}

function leftOutList(leftOut: readonly string[]): string {
  if (leftOut.length === 0) return "";
  if (leftOut.length === 1) return textElement("p", { class: "left-out" }, `Left out: ${leftOut[0]}.`);
  const items = leftOut.map((what) => textElement("li", {}, what));
  return `<p class="left-out">Left out:</p>${element("ul", { class: "left-out" }, ...items)}`;
}

function studySection(study: StudyResult): string {
  const measurements = new Map(study.measurements.map((one) => [one.id, one]));
  const { name, title, question, status, reason } = study;
  const word = status === "skipped" ? "Left out" : "Failed";
  return element(
    "section",
    { id: name },
    textElement("h2", {}, title),
    textElement("p", { class: "question" }, question),
    reason === undefined ? "" : textElement("p", { class: `reason ${status}` }, `${word}: ${reason}`),
    study.findings.length === 0
      ? ""
      : element("ul", { class: "findings" }, ...study.findings.map((text) => textElement("li", {}, text))),
    study.checks.length === 0 ? "" : element("div", { class: "block" }, checkTable(study.checks)),
    ...study.blocks.map((block) =>
      element(
        "div",
        { class: "block" },
        textElement("h3", {}, block.title),
        textElement("p", {}, block.note),
        drawBlock(block, measurements),
      ),
    ),
    leftOutList(study.leftOut),
  );
}

function states(facts: EnvironmentFacts): string[][] {
  const { gpu } = facts;
  if (gpu === null) return [];
  const text = (state: Readonly<Record<string, string>>): string =>
    Object.entries(state)
      .map(([name, value]) => `${name} ${value}`)
      .join(", ") || "nvidia-smi is not there";
  return [
    ["GPU", `${gpu.name}, ${gpu.memory}, driver ${gpu.driver}, CUDA runtime ${facts.cuda}`],
    ["its state before", text(gpu.before)],
    ["and after", text(gpu.after)],
  ];
}

function factTable(facts: EnvironmentFacts): string {
  const { model, engine, image } = facts;
  const file = (one: { name: string; bytes: number; sha256: string } | null): string =>
    one === null ? "none" : `${one.name}, ${one.bytes} bytes, sha256 ${one.sha256}`;
  const rows = [
    ...states(facts),
    ["runtime", facts.runtime],
    ["CPU", `${facts.cpu}, ${facts.cores} cores, load ${facts.load.toFixed(2)} at the start`],
    ["system", `${facts.system}, Bun ${facts.bun}`],
    ["model", file(model)],
    ...(engine === null ? [] : [["engine", file(engine)]]),
    ["image", `${image.width}x${image.height}, ${file(image)}`],
    ["commit", facts.commit],
    ["command", facts.command],
  ];
  return table(
    [],
    rows.map((row) => row.map(escapeText)),
    "facts",
  );
}

function figures(result: BenchResult): string {
  const cards = headlines(result).map(({ value, unit, text }) =>
    element(
      "div",
      { class: "figure" },
      element("b", {}, `${escapeText(value)} `, textElement("small", {}, unit)),
      textElement("span", {}, text),
    ),
  );
  return cards.length === 0 ? "" : element("div", { class: "figures" }, ...cards);
}

/** Studies that say nothing, by name, so that nobody takes the promises below for all there are. */
function without({ studies }: BenchResult, status: StudyResult["status"], word: string): string {
  const names = studies.filter((study) => study.status === status).map(({ title }) => shortTitle(title));
  const style = status === "failed" ? "partial" : "lead";
  return names.length === 0 ? "" : textElement("p", { class: style }, `${word}: ${names.join(", ")}.`);
}

function shortTitle(title: string): string {
  return title.split(":", 1)[0] ?? title;
}

function head(result: BenchResult): string {
  const { environment: facts, isComplete } = result;
  const where = facts.gpu?.name ?? `${facts.cpu}, ${facts.cores} cores`;
  const what = (facts.engine ?? facts.model)?.name ?? "no model";
  return element(
    "header",
    {},
    element(
      "div",
      {},
      textElement("h1", {}, `Where the time goes: ${what} on ${where}`),
      textElement(
        "p",
        { class: "lead" },
        `bun run bench, ${facts.date.slice(0, 16).replace("T", " ")} UTC; ${facts.runtime}; image ${facts.image.width}x${facts.image.height}${facts.isQuick ? "; quick, with few samples" : ""}.`,
      ),
      isComplete ? "" : textElement("p", { class: "partial" }, "The run was cut off: studies are missing."),
      without(result, "failed", "Failed"),
      without(result, "skipped", "Left out"),
      figures(result),
    ),
  );
}

/** The report of a run, and beside an earlier one where it was compared. */
export function buildReport(result: BenchResult, compared?: ComparedRuns): string {
  const { studies } = result;
  const checks = studies.flatMap((study) => study.checks);
  const links = [
    ...(compared === undefined ? [] : [textElement("a", { href: "#compare" }, "Beside the earlier run")]),
    ...studies.map(({ name, title, status }) =>
      textElement("a", { href: `#${name}`, class: status }, shortTitle(title)),
    ),
  ];
  const body = [
    head(result),
    element("nav", {}, element("div", {}, ...links)),
    "<main>",
    checks.length === 0
      ? ""
      : element(
          "section",
          { id: "promises" },
          "<h2>What was promised</h2>",
          '<p class="question">Each promise of the project that this run could put to the test.</p>',
          element("div", { class: "block" }, checkTable(checks)),
        ),
    compared === undefined ? "" : comparison(compared),
    ...studies.map(studySection),
    element(
      "section",
      { id: "facts" },
      "<h2>Measured on</h2>",
      element("div", { class: "block" }, factTable(result.environment)),
    ),
    "<footer>Percentiles are nearest ranks of all samples. What is compared was measured in turns. Charts are drawn by bun-tensorrt; this file needs no network.</footer>",
    "</main>",
  ];
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>bun-tensorrt bench</title><style>${STYLE}</style></head>
<body>${body.join("\n")}<script>${TIMELINE_SCRIPT}</script></body></html>
`;
}
