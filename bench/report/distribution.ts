/** @module Distribution: how a measurement's samples lie, one row each, with p50 and p99 marked. */

import type { Measurement } from "../result.ts";
import { summarise } from "../support/samples.ts";
import { formatValue, formatWithUnit, UNIT_TEXT } from "../support/units.ts";
import { COLOURS, drawing, element, textElement } from "./markup.ts";
import { linearScale, logScale, type Scale, type Span } from "./scale.ts";

const WIDTH = 760;
const LEFT = 210;
const RIGHT = 16;
const ROW = 62;
const CURVE = 40;
const AXIS = 36;
const BINS = 110;

/** Beyond this ratio of the largest p99 to the smallest value the axis counts in factors. */
const LOG_FROM = 12;

/** How many samples fall into each of even parts of the drawing; what lies beyond counts for the last. */
export function histogram(samples: ArrayLike<number>, scale: Scale, range: Span, bins: number): number[] {
  const counts = new Array<number>(bins).fill(0);
  const width = (range.to - range.from) / bins;
  for (let at = 0; at < samples.length; at++) {
    const bin = Math.floor((scale.at(samples[at]!) - range.from) / width);
    counts[Math.max(0, Math.min(bins - 1, bin))]! += 1;
  }
  return counts;
}

function domainOf(measurements: readonly Measurement[]): { readonly domain: Span; readonly isLog: boolean } {
  const all = measurements.map(({ samples }) => summarise(samples));
  const low = Math.min(...all.map(({ min }) => min));
  const p99 = Math.max(...all.map((summary) => summary.p99));
  const max = Math.max(...all.map((summary) => summary.max));
  const isLog = low > 0 && p99 / low > LOG_FROM;
  // A single outlier must not press everything else into the first pixel: the axis ends a little beyond the last p99.
  const to = Math.min(max, low + (p99 - low) * 1.35);
  const margin = (to - low || Math.abs(low) || 1) * 0.04;
  return {
    domain: isLog ? { from: low * 0.93, to: Math.min(max, p99 * 1.3) * 1.07 } : { from: low - margin, to: to + margin },
    isLog,
  };
}

function row(
  measurement: Measurement,
  at: number,
  axis: { readonly scale: Scale; readonly range: Span; readonly end: number },
): string {
  const { name, unit, samples } = measurement;
  const { scale, range } = axis;
  const { p50, p99, max, count } = summarise(samples);
  const base = at * ROW + CURVE + 14;
  const counts = histogram(samples, scale, range, BINS);
  const most = Math.max(...counts, 1);
  const width = (range.to - range.from) / BINS;
  // The root keeps a tail of a few samples visible beside the bulk.
  const top = (value: number): number => base - Math.sqrt(value / most) * CURVE;
  const steps = counts.map(
    (value, bin) => `L${(range.from + bin * width).toFixed(1)} ${top(value).toFixed(1)}h${width.toFixed(2)}`,
  );
  const shape = `M${range.from} ${base}${steps.join("")}L${range.to} ${base}Z`;
  const mark = (value: number, kind: string, text: string): string => {
    const x = Math.min(range.to, scale.at(value));
    const isRight = x > range.to - 70;
    return (
      element("line", { x1: x, x2: x, y1: base - CURVE - 6, y2: base, class: `mark ${kind}` }) +
      textElement(
        "text",
        {
          x: x + (isRight ? -4 : 4),
          y: base - CURVE + 2,
          class: `mark-text ${kind}`,
          "text-anchor": isRight ? "end" : "start",
        },
        text,
      )
    );
  };
  const beyond =
    max > axis.end
      ? textElement(
          "text",
          { x: range.to, y: base - 5, class: "tick", "text-anchor": "end" },
          `max ${formatValue(max, unit)} →`,
        )
      : "";
  const isNarrow = scale.at(Math.min(p99, axis.end)) - scale.at(p50) < 74;
  return (
    textElement("text", { x: LEFT - 14, y: base - 18, class: "label", "text-anchor": "end" }, name) +
    textElement(
      "text",
      { x: LEFT - 14, y: base - 3, class: "tick", "text-anchor": "end" },
      `${count.toLocaleString("en-US").replaceAll(",", "\u202f")} samples`,
    ) +
    element(
      "path",
      { d: shape, class: `area f${at % COLOURS} s${at % COLOURS}` },
      textElement(
        "title",
        {},
        `${name}: p50 ${formatWithUnit(p50, unit)}, p99 ${formatWithUnit(p99, unit)}, max ${formatWithUnit(max, unit)}`,
      ),
    ) +
    element("line", { x1: range.from, x2: range.to, y1: base, y2: base, class: "base" }) +
    mark(p50, "p50", isNarrow ? "" : `p50 ${formatValue(p50, unit)}`) +
    mark(
      p99,
      "p99",
      isNarrow ? `p50 ${formatValue(p50, unit)}, p99 ${formatValue(p99, unit)}` : `p99 ${formatValue(p99, unit)}`,
    ) +
    beyond
  );
}

/** Histograms under one another on one axis. @param measurements of one unit, at least one */
export function distributions(measurements: readonly Measurement[], title: string): string {
  const { domain, isLog } = domainOf(measurements);
  const range = { from: LEFT, to: WIDTH - RIGHT };
  const scale = isLog ? logScale(domain, range) : linearScale(domain, range);
  const height = measurements.length * ROW + AXIS;
  const floor = height - AXIS + 8;
  const grid = scale.ticks.map((tick) => {
    const x = scale.at(tick);
    return (
      element("line", { x1: x, x2: x, y1: 6, y2: floor, class: "grid" }) +
      textElement("text", { x, y: floor + 14, class: "tick", "text-anchor": "middle" }, scale.format(tick))
    );
  });
  const unit = measurements[0]!.unit;
  const caption = `${unit === "bytes" ? "bytes" : UNIT_TEXT[unit]}${isLog ? ", in factors" : ""}`;
  const label = textElement("text", { x: LEFT - 14, y: floor + 14, class: "axis", "text-anchor": "end" }, caption);
  const rows = measurements.map((measurement, at) => row(measurement, at, { scale, range, end: domain.to }));
  return drawing({ width: WIDTH, height }, title, ...grid, label, ...rows);
}
