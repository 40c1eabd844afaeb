/** @module Tables: the numbers beside the charts. */

import type { Block, Check, Measurement } from "../result.ts";
import { tailFigures } from "../support/samples.ts";
import { digits, formatValue, formatWithUnit, UNIT_TEXT } from "../support/units.ts";
import { element, escapeText, textElement } from "./markup.ts";
import { stageNames } from "./stage-bars.ts";

/** A table of finished cells. */
export function table(head: readonly string[], rows: readonly (readonly string[])[], className?: string): string {
  const line = (tag: "th" | "td", cells: readonly string[]): string =>
    element("tr", {}, ...cells.map((cell) => element(tag, {}, cell)));
  const body = element("tbody", {}, ...rows.map((cells) => line("td", cells)));
  const top = head.length === 0 ? "" : element("thead", {}, line("th", head.map(escapeText)));
  return element("div", { class: "scroll" }, element("table", { class: className }, top, body));
}

/** Percentiles of measurements, from all samples. */
export function percentileTable(measurements: readonly Measurement[]): string {
  const rows = measurements.map(({ name, unit, better, samples }) => {
    return [name, ...tailFigures(samples, better).map(([, value]) => formatValue(value, unit))].map(escapeText);
  });
  const { unit = "ms", better = "lower", samples = [] } = measurements[0] ?? {};
  return table([UNIT_TEXT[unit], ...tailFigures(samples, better).map(([name]) => name)], rows);
}

/** The parts of each bar, with their share. */
export function stageTable(block: Extract<Block, { kind: "stages" }>): string {
  const rows = stageNames(block).map((stage) => [
    escapeText(stage),
    ...block.bars.map(({ parts }) => {
      const total = parts.reduce((sum, { value }) => sum + value, 0);
      const value = parts.find((part) => part.stage === stage)?.value;
      return value === undefined
        ? "–"
        : `${formatValue(value, block.unit)} <small>${formatWithUnit(value / (total || 1), "share")}</small>`;
    }),
  ]);
  return table([UNIT_TEXT[block.unit], ...block.bars.map(({ name }) => name)], rows);
}

/** The points of each line; the knee is the last row. */
export function lineTable(block: Extract<Block, { kind: "lines" }>): string {
  const xs = [...new Set(block.lines.flatMap(({ points }) => points.map(({ x }) => x)))].sort((a, b) => a - b);
  const isLong = xs.length > 12;
  const shown = isLong ? xs.filter((_, at) => at % Math.ceil(xs.length / 10) === 0 || at === xs.length - 1) : xs;
  const rows = shown.map((x) => [
    digits(x).replace(/\.0+$/, ""),
    ...block.lines.map(({ points }) => {
      const y = points.find((point) => point.x === x)?.y;
      return y === undefined ? "–" : formatValue(y, block.y.unit);
    }),
  ]);
  if (block.lines.some(({ knee }) => knee !== undefined)) {
    rows.push(["knee", ...block.lines.map(({ knee }) => (knee === undefined ? "–" : String(knee)))]);
  }
  const unit = UNIT_TEXT[block.y.unit];
  return table(
    [
      unit === "" || block.y.unit === "bytes" ? block.x.label : `${block.x.label} (${unit})`,
      ...block.lines.map(({ name }) => name),
    ],
    rows.map((row) => row.map(escapeText)),
  );
}

/** A table as the study made it. */
export function plainTable({ columns, rows }: Extract<Block, { kind: "table" }>): string {
  const cells = rows.map((row) =>
    row.map((cell) => escapeText(typeof cell === "number" ? digits(cell) : (cell ?? "–"))),
  );
  return table(columns, cells);
}

/** What is promised, and whether it was kept. */
export function checkTable(checks: readonly (Check & { readonly study?: string })[]): string {
  const rows = checks.map(({ claim, found, wanted, isMet }) => [
    textElement("span", { class: `state ${isMet ? "good" : "bad"}` }, isMet ? "✓ kept" : "✕ missed"),
    ...[claim, found, wanted].map(escapeText),
  ]);
  return table(["", "promise", "found", "wanted"], rows, "checks");
}
