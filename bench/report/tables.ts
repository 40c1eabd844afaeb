/** @module Tables: the numbers beside the charts. */

import type { Block, Check, Measurement } from "../result.ts";
import { tailFigures } from "../support/samples.ts";
import { stageNames } from "../support/stage-names.ts";
import { digits, formatValue, formatWithUnit, UNIT_TEXT } from "../support/units.ts";
import { element, escapeText, textElement } from "./markup.ts";

/** Points of a line that a table shows all of. */
const MOST_POINTS = 12;
/** Lines that stand side by side in a table. */
const MOST_COLUMNS = 4;
/** A table with more rows is folded. */
const MOST_ROWS = 20;

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

/** The points of each line and its knee: a line a column, or a row where there are many lines. */
export function lineTable(block: Extract<Block, { kind: "lines" }>): string {
  const xs = [...new Set(block.lines.flatMap(({ points }) => points.map(({ x }) => x)))].sort((a, b) => a - b);
  const isLong = xs.length > MOST_POINTS;
  const shown = isLong ? xs.filter((_, at) => at % Math.ceil(xs.length / 10) === 0 || at === xs.length - 1) : xs;
  const names = block.lines.map(({ name }) => name);
  const places = shown.map((x) => digits(x).replace(/\.0+$/, ""));
  const columns = block.lines.map(({ points, knee }) => [
    ...shown.map((x) => {
      const y = points.find((point) => point.x === x)?.y;
      return y === undefined ? "–" : formatValue(y, block.y.unit);
    }),
    String(knee ?? "–"),
  ]);
  const hasKnees = block.lines.some(({ knee }) => knee !== undefined);
  const last = hasKnees ? ["knee"] : [];
  const unit = UNIT_TEXT[block.y.unit];
  const corner = unit === "" || block.y.unit === "bytes" ? block.x.label : `${block.x.label} (${unit})`;
  if (names.length > MOST_COLUMNS && !isLong) {
    const rows = columns.map((cells, at) => [names[at]!, ...(hasKnees ? cells : cells.slice(0, -1))]);
    return table(
      [corner, ...places, ...last],
      rows.map((row) => row.map(escapeText)),
    );
  }
  const rows = [...places, ...last].map((place, at) => [place, ...columns.map((cells) => cells[at]!)]);
  return table(
    [corner, ...names],
    rows.map((row) => row.map(escapeText)),
  );
}

/** A table as the study made it; a long one opens at a click. */
export function plainTable({ columns, rows }: Extract<Block, { kind: "table" }>): string {
  const cells = rows.map((row) =>
    row.map((cell) => escapeText(typeof cell === "number" ? digits(cell) : (cell ?? "–"))),
  );
  const whole = table(columns, cells);
  return rows.length > MOST_ROWS
    ? element("details", {}, textElement("summary", {}, `all ${rows.length} rows`), whole)
    : whole;
}

/** What is promised, and whether it was kept. */
export function checkTable(checks: readonly (Check & { readonly study?: string })[]): string {
  const rows = checks.map(({ claim, found, wanted, isMet }) => [
    textElement("span", { class: `state ${isMet ? "good" : "bad"}` }, isMet ? "✓ kept" : "✕ missed"),
    ...[claim, found, wanted].map(escapeText),
  ]);
  return table(["", "promise", "found", "wanted"], rows, "checks");
}
