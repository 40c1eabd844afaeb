/** @module Comparison: this run beside an earlier one: a dot for each ratio, a band for what is noise. */

import { type ComparedRuns, type Comparison, formatMissing, formatRatio } from "../support/compare.ts";
import { formatWithUnit } from "../support/units.ts";
import { drawing, element, escapeText, textElement } from "./markup.ts";
import { logScale, type Scale } from "./scale.ts";
import { table } from "./tables.ts";

const WIDTH = 1180;
const LEFT = 420;
const RIGHT = 70;
const ROW = 22;
const AXIS = 30;
/** The axis reaches at least from 0.8 to 1.25. */
const LEAST_FACTOR = 1.25;
/** Ratios worth a line, the more important first. */
const MARKS = [1, 2, 0.5, 4, 0.25, 8, 0.125, 1.25, 0.8, 1.5, 0.667, 1.1, 0.9];
/** Marks nearer to each other would run into one another. */
const MARK_DISTANCE = 44;
/** Larger changes lie at the edge. */
const MOST_FACTOR = 8;

function marksOn(scale: Scale, factor: number): number[] {
  const marks: number[] = [];
  for (const tick of MARKS.filter((one) => one >= 1 / factor && one <= factor)) {
    if (marks.every((mark) => Math.abs(scale.at(mark) - scale.at(tick)) >= MARK_DISTANCE)) marks.push(tick);
  }
  return marks;
}

function isBeyondAxis({ ratio }: Comparison): boolean {
  return Math.max(ratio, 1 / ratio) > MOST_FACTOR;
}

function dots(rows: readonly Comparison[]): string {
  const widest = Math.max(...rows.map(({ ratio, noise }) => Math.max(ratio, 1 / ratio, 1 + noise)), LEAST_FACTOR);
  const factor = Math.min(MOST_FACTOR, widest);
  const range = { from: LEFT, to: WIDTH - RIGHT };
  const scale = logScale({ from: 1 / factor, to: factor }, range);
  const clamp = (value: number): number => scale.at(Math.min(factor, Math.max(1 / factor, value)));
  const height = rows.length * ROW + AXIS;
  const floor = height - AXIS;
  const content = marksOn(scale, factor).map(
    (tick) =>
      element("line", {
        x1: scale.at(tick),
        x2: scale.at(tick),
        y1: 0,
        y2: floor,
        class: tick === 1 ? "mark" : "grid",
      }) +
      textElement("text", { x: scale.at(tick), y: floor + 15, class: "tick", "text-anchor": "middle" }, `${tick}×`),
  );
  for (const [at, { study, name, ratio, noise, verdict }] of rows.entries()) {
    const y = at * ROW + ROW / 2;
    const from = clamp(1 / (1 + noise));
    const colour = verdict === "better" ? "var(--good)" : verdict === "worse" ? "var(--bad)" : "var(--faint)";
    content.push(
      element("rect", { x: from, y: y - 7, width: clamp(1 + noise) - from, height: 14, rx: 3, class: "noise" }),
      textElement(
        "text",
        { x: LEFT - 14, y: y + 4, class: "label", "text-anchor": "end" },
        `${study}: ${name}`.slice(0, 64),
      ),
      `<circle cx="${clamp(ratio).toFixed(1)}" cy="${y}" r="5" style="fill:${colour}"/>`,
      textElement("text", { x: WIDTH, y: y + 4, class: "value", "text-anchor": "end" }, `${formatRatio(ratio)}×`),
    );
  }
  return drawing({ width: WIDTH, height, title: "ratio of each median to the earlier run's", names: [], content });
}

/** The section of the report. */
export function comparison({ rows, differences, missing }: ComparedRuns): string {
  const body = rows.map(({ study, name, unit, before, now, ratio, noise, verdict }) => {
    const style = verdict === "better" ? "good" : verdict === "worse" ? "bad" : "";
    const text = verdict === "same" ? "within the noise" : verdict;
    return [
      ...[
        `${study}: ${name}`,
        formatWithUnit(before, unit),
        formatWithUnit(now, unit),
        formatRatio(ratio),
        `±${(noise * 100).toFixed(1)} %`,
      ].map(escapeText),
      textElement("span", { class: style }, text),
    ];
  });
  const warnings = differences.map((text) => textElement("li", {}, `not the same conditions: ${text}`));
  const gone =
    missing.length === 0
      ? ""
      : textElement("p", { class: "left-out" }, `Not measured this time: ${formatMissing(missing)}`);
  return element(
    "section",
    { id: "compare" },
    "<h2>Beside the earlier run</h2>",
    textElement(
      "p",
      { class: "question" },
      `Each dot is the ratio of the medians, now by then${rows.some(isBeyondAxis) ? `; beyond ${MOST_FACTOR} times it lies at the edge` : ""}. The band is what counts as noise: twice the scatter of the medians of ten consecutive parts of both runs, at least 1 %.`,
    ),
    warnings.length === 0 ? "" : element("ul", { class: "findings" }, ...warnings),
    rows.length === 0 ? "" : element("div", { class: "block" }, dots(rows)),
    element("div", { class: "block" }, table(["", "then", "now", "now / then", "noise", ""], body)),
    gone,
  );
}
