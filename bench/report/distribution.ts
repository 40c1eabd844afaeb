/** @module Distribution: how a measurement's samples lie, one row each, with p50 and p99 marked. */

import type { Measurement } from "../result.ts";
import { summarise, tailFigures } from "../support/samples.ts";
import { formatValue, formatWithUnit, UNIT_TEXT } from "../support/units.ts";
import { type Chart, COLOURS, element, label, textElement } from "./markup.ts";
import { linearScale, logScale, type Scale, type Span } from "./scale.ts";

const WIDTH = 760;
const LEFT = 210;
const RIGHT = 16;
const ROW = 66;
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

/** Fewer samples than this are drawn one by one. */
const FEW = 40;

interface Axis {
  readonly scale: Scale;
  readonly range: Span;
  /** Where the axis ends, as a value. */
  readonly end: number;
}

function shapeOf(samples: readonly number[], colour: number, base: number, { scale, range }: Axis): string {
  if (samples.length < FEW) {
    const dots = samples.map((value) =>
      element("circle", { cx: Math.min(range.to, scale.at(value)), cy: base - 13, r: 4, class: `sample f${colour}` }),
    );
    return dots.join("");
  }
  const counts = histogram(samples, scale, range, BINS);
  const most = Math.max(...counts, 1);
  const width = (range.to - range.from) / BINS;
  // The root keeps a tail of a few samples visible beside the bulk.
  const top = (value: number): string => (base - Math.sqrt(value / most) * CURVE).toFixed(1);
  const steps = counts.map(
    (value, bin) => `L${(range.from + bin * width).toFixed(1)} ${top(value)}h${width.toFixed(2)}`,
  );
  return element("path", {
    d: `M${range.from} ${base}${steps.join("")}L${range.to} ${base}Z`,
    class: `area f${colour} s${colour}`,
  });
}

/** A line at a value, with its name. @param side where the text stands; none is written where it is empty */
function mark(
  x: number,
  base: number,
  text: { readonly kind: string; readonly text: string; readonly side: "left" | "right" },
): string {
  const isLeft = text.side === "left";
  const place = {
    x: x + (isLeft ? -5 : 5),
    y: base - CURVE + 2,
    class: "mark-text",
    "text-anchor": isLeft ? "end" : "start",
  };
  return (
    element("line", { x1: x, x2: x, y1: base - CURVE - 6, y2: base, class: `mark ${text.kind}` }) +
    (text.text === "" ? "" : textElement("text", place, text.text))
  );
}

/** Room that the text of a mark takes. */
const TEXT = 88;

interface MarkText {
  readonly text: string;
  readonly side: "left" | "right";
}

/**
 * Where the texts of the two marks stand so that they cover neither each other nor the row's name: outside of both marks
 * where there is room, else between them, else both at one mark.
 */
function textsOf(middle: number, tail: number, texts: readonly [string, string], range: Span): [MarkText, MarkText] {
  const [low, high] = [Math.min(middle, tail), Math.max(middle, tail)];
  if (low - TEXT >= range.from && high + TEXT <= range.to) {
    const isTailRight = tail >= middle;
    return [
      { text: texts[0], side: isTailRight ? "left" : "right" },
      { text: texts[1], side: isTailRight ? "right" : "left" },
    ];
  }
  if (high - low >= 2 * TEXT) {
    const isTailRight = tail >= middle;
    return [
      { text: texts[0], side: isTailRight ? "right" : "left" },
      { text: texts[1], side: isTailRight ? "left" : "right" },
    ];
  }
  const side = high + 2 * TEXT <= range.to || low - 2 * TEXT < range.from ? "right" : "left";
  if (high - low >= TEXT && (side === "right" || low - TEXT >= range.from)) {
    return [
      { text: texts[0], side },
      { text: texts[1], side },
    ];
  }
  const both = { text: texts.join(", "), side } as const;
  const isTailOuter = side === "right" ? tail >= middle : tail < middle;
  return isTailOuter ? [{ text: "", side }, both] : [both, { text: "", side }];
}

function row({ name, unit, better, samples }: Measurement, at: number, axis: Axis): string {
  const { scale, range, end } = axis;
  const figures = tailFigures(samples, better);
  const said = figures.map(([figure, value]) => `${figure} ${formatWithUnit(value, unit)}`).join(", ");
  const [middle, , tail, extreme] = figures.map(([, value]) => value) as [number, number, number, number];
  const base = at * ROW + CURVE + 14;
  const [p50, p99] = [middle, tail].map((value) => Math.max(range.from, Math.min(range.to, scale.at(value))));
  const short = (figure: number): string => `${figures[figure]![0]} ${formatValue(figures[figure]![1], unit)}`;
  const [p50Text, p99Text] = textsOf(p50!, p99!, [short(0), short(2)], range);
  const faint = (x: number, y: number, text: string): string =>
    textElement("text", { x, y, class: "tick", "text-anchor": "end" }, text);
  return [
    label(name, { x: LEFT - 14, y: base - 18 - (name.length > 25 ? 4 : 0) }),
    faint(LEFT - 14, base, `${count(samples.length)} samples`),
    element("g", {}, textElement("title", {}, `${name}: ${said}`), shapeOf(samples, at % COLOURS, base, axis)),
    element("line", { x1: range.from, x2: range.to, y1: base, y2: base, class: "base" }),
    mark(p99!, base, { kind: "p99", ...p99Text }),
    mark(p50!, base, { kind: "p50", ...p50Text }),
    better === "lower" && extreme > end ? faint(range.to, base + 11, `max ${formatValue(extreme, unit)} →`) : "",
  ].join("");
}

/** `10 000` */
function count(value: number): string {
  return value.toLocaleString("en-US").replaceAll(",", "\u202f");
}

/** Histograms under one another on one axis. @param measurements of one unit, at least one */
export function distributions(measurements: readonly Measurement[], title: string): Chart {
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
  const caption = `${unit === "bytes" ? "bytes" : UNIT_TEXT[unit]}${isLog ? ", log scale" : ""}`;
  const unitText = textElement("text", { x: LEFT - 40, y: floor + 14, class: "axis", "text-anchor": "end" }, caption);
  const rows = measurements.map((measurement, at) => row(measurement, at, { scale, range, end: domain.to }));
  return { width: WIDTH, height, title, names: [], content: [...grid, unitText, ...rows] };
}
