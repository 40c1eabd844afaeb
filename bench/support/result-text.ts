/** @module Result text: a run as plain text for a terminal. */

import { type Alignment, alignRows } from "../../src/cli/terminal.ts";
import type { BenchResult, Block, EnvironmentFacts, StudyResult, Unit } from "../result.ts";
import { type ComparedRuns, formatMissing, formatRatio } from "./compare.ts";
import { tailFigures } from "./samples.ts";
import { stageNames } from "./stage-names.ts";
import { digits, formatValue, formatWithUnit, UNIT_TEXT } from "./units.ts";

/** Points of a line that a terminal has room for; the report shows all. */
const MOST_COLUMNS = 9;

function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const alignments = head.map((_, column): Alignment => (column === 0 ? "left" : "right"));
  return alignRows([head, ...rows], alignments);
}

/** What the run was made on, a line each. */
export function environmentLines(facts: EnvironmentFacts): string[] {
  const { gpu, engine, model, image } = facts;
  return [
    `${facts.runtime}; Bun ${facts.bun}; commit ${facts.commit}; ${facts.date}`,
    `${facts.cpu}, ${facts.cores} cores, load ${facts.load.toFixed(2)}; ${facts.system}`,
    ...(gpu === null
      ? []
      : [`${gpu.name}, driver ${gpu.driver}, CUDA ${facts.cuda}, SM clock ${gpu.before["SM clock"] ?? "–"}`]),
    `model ${(engine ?? model)?.name ?? "none"}; image ${image.name}, ${image.width}x${image.height}, ${image.bytes} bytes`,
  ];
}

function measurementLines(study: StudyResult): string[] {
  const lines: string[] = [];
  for (const better of ["lower", "higher"] as const) {
    const group = study.measurements.filter((one) => one.better === better);
    if (group.length === 0) continue;
    const rows = group.map(({ name, unit, samples }) => [
      name,
      ...tailFigures(samples, better).map(([, value]) => formatValue(value, unit)),
      UNIT_TEXT[unit],
      String(samples.length),
    ]);
    lines.push(...table(["", ...tailFigures([], better).map(([name]) => name), "", "samples"], rows));
  }
  return lines;
}

/** At most `most` of the values, the first and the last among them. */
function evenly(values: readonly number[], most: number): readonly number[] {
  if (values.length <= most) return values;
  return Array.from({ length: most }, (_, at) => values[Math.round((at * (values.length - 1)) / (most - 1))]!);
}

function valueText(value: number | undefined, unit: Unit): string {
  return value === undefined ? "–" : formatValue(value, unit);
}

function blockLines(block: Block): string[] {
  if (block.kind === "table") {
    const rows = block.rows.map((row) => row.map((cell) => (typeof cell === "number" ? digits(cell) : (cell ?? "–"))));
    return [block.title, ...table(block.columns, rows)];
  }
  if (block.kind === "stages") {
    const stages = stageNames(block);
    const rows = block.bars.map(({ name, parts }) => [
      name,
      ...stages.map((stage) => valueText(parts.find((part) => part.stage === stage)?.value, block.unit)),
    ]);
    return [`${block.title}, ${UNIT_TEXT[block.unit]}`, ...table(["", ...stages], rows)];
  }
  if (block.kind !== "lines") return [];
  const xs = evenly(
    [...new Set(block.lines.flatMap(({ points }) => points.map(({ x }) => x)))].sort((a, b) => a - b),
    MOST_COLUMNS,
  );
  const hasKnees = block.lines.some(({ knee }) => knee !== undefined);
  const rows = block.lines.map(({ name, points, knee }) => [
    name,
    ...xs.map((x) => valueText(points.find((point) => point.x === x)?.y, block.y.unit)),
    ...(hasKnees ? [String(knee ?? "–")] : []),
  ]);
  const unit = block.y.unit === "bytes" ? "" : `, ${UNIT_TEXT[block.y.unit]}`;
  return [`${block.title}${unit}`, ...table([block.x.label, ...xs.map(String), ...(hasKnees ? ["knee"] : [])], rows)];
}

function studyLines(study: StudyResult): string[] {
  const lines = [`== ${study.title}${study.status === "done" ? "" : ` (${study.status}: ${study.reason ?? ""})`}`];
  for (const part of [measurementLines(study), ...study.blocks.map(blockLines)]) {
    if (part.length > 0) lines.push(...part, "");
  }
  for (const { claim, found, wanted, isMet } of study.checks) {
    lines.push(`${isMet ? "kept  " : "MISSED"}  ${claim}: ${found}, wanted ${wanted}`);
  }
  lines.push(...study.findings, ...study.leftOut.map((what) => `skipped: ${what}`));
  return lines;
}

/** The whole run. */
export function resultText(result: BenchResult): string {
  return [environmentLines(result.environment), ...result.studies.map(studyLines)]
    .map((lines) => lines.join("\n").trimEnd())
    .join("\n\n");
}

/** The comparison with an earlier run. */
export function comparisonText({ rows, differences, missing }: ComparedRuns): string {
  const body = rows.map(({ study, name, unit, before, now, ratio, noise, verdict }) => [
    `${study}: ${name}`,
    formatWithUnit(before, unit),
    formatWithUnit(now, unit),
    formatRatio(ratio),
    `±${(noise * 100).toFixed(1)} %`,
    verdict === "same" ? "within the noise" : verdict,
  ]);
  return [
    "== Compared with the earlier run (medians)",
    ...differences.map((text) => `not the same conditions: ${text}`),
    ...table(["", "then", "now", "now / then", "noise", ""], body),
    ...(missing.length === 0 ? [] : [`not measured this time: ${formatMissing(missing)}`]),
  ].join("\n");
}
