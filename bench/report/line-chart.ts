/** @module Line chart: a figure over batch size, streams or time, with the knee of each line marked. */

import type { Block } from "../result.ts";
import { formatWithUnit, UNIT_TEXT } from "../support/units.ts";
import { type Chart, element, seriesClass, textElement } from "./markup.ts";
import { linearScale, log2Scale, pointScale, type Scale, type Span } from "./scale.ts";

type Lines = Extract<Block, { kind: "lines" }>;

const WIDTH = 760;
const HEIGHT = 330;
const LEFT = 72;
const RIGHT = 24;
const TOP = 18;
const BOTTOM = 46;

/** Most parts of the axis of `x`. */
const X_PARTS = 8;
/** Where more lines than this have a knee, its ring alone tells: the words would cover each other. */
const MOST_NAMED_KNEES = 3;

/** Bytes on an axis are counted in MiB. */
const MIB = 1024 * 1024;

function isLogX({ x, lines }: Lines): boolean {
  return x.scale === "log2" && lines.every(({ points }) => points.every((point) => point.x > 0));
}

/** Straight lines through points; with `low` and `high`, the band between them. */
export function lineChart(block: Lines): Chart {
  const factor = block.y.unit === "bytes" ? 1 / MIB : block.y.unit === "share" ? 100 : 1;
  const points = block.lines.flatMap((line) => line.points);
  const xs = points.map(({ x }) => x);
  const ys = points.flatMap(({ y, low = y, high = y }) => [y * factor, low * factor, high * factor]);
  const range = { from: LEFT, to: WIDTH - RIGHT };
  const xScale = xScaleOf(block, xs, range);
  const [low, high] = [Math.min(...ys), Math.max(...ys)];
  // An axis that does not begin at 0 would make noise look like a cliff; memory, which is far from 0, is the exception.
  const from = block.y.unit === "bytes" ? Math.max(0, low - Math.max((high - low) * 2, low * 0.1)) : 0;
  const to = block.y.unit === "bytes" ? high + Math.max((high - low) * 0.25, high * 0.1) : high * 1.08 || 1;
  const yScale = linearScale({ from, to }, { from: HEIGHT - BOTTOM, to: TOP }, 5);
  const unit = block.y.unit === "bytes" ? "MiB" : UNIT_TEXT[block.y.unit];
  const content = [
    ...grid(xScale, yScale),
    textElement(
      "text",
      { x: LEFT - 8, y: 11, class: "axis", "text-anchor": "start" },
      `${block.y.label}${unit === "" ? "" : `, ${unit}`}`,
    ),
    textElement("text", { x: WIDTH - RIGHT, y: HEIGHT - 6, class: "axis", "text-anchor": "end" }, block.x.label),
    ...block.lines.map((line, at) => drawLine(block, line, at, { xScale, yScale, factor })),
  ];
  return { width: WIDTH, height: HEIGHT, title: block.title, names: block.lines.map(({ name }) => name), content };
}

/** Counts get no marks between them; a single value stands in the middle. */
function xScaleOf(block: Lines, xs: readonly number[], range: Span): Scale {
  if (isLogX(block)) return log2Scale(xs, range);
  const [first, last] = [Math.min(...xs), Math.max(...xs)];
  if (first === last) return pointScale(first, range);
  const parts = xs.every(Number.isInteger) ? Math.min(X_PARTS, last - first) : X_PARTS;
  return linearScale({ from: first, to: last }, range, parts);
}

function grid(xScale: Scale, yScale: Scale): string[] {
  const floor = HEIGHT - BOTTOM;
  return [
    ...yScale.ticks.map((tick) => {
      const y = yScale.at(tick);
      return (
        element("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y, y2: y, class: "grid" }) +
        textElement("text", { x: LEFT - 8, y: y + 4, class: "tick", "text-anchor": "end" }, yScale.format(tick))
      );
    }),
    ...xScale.ticks.map((tick) => {
      const x = xScale.at(tick);
      return (
        element("line", { x1: x, x2: x, y1: floor, y2: floor + 5, class: "base" }) +
        textElement("text", { x, y: floor + 19, class: "tick", "text-anchor": "middle" }, xScale.format(tick))
      );
    }),
    element("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: floor, y2: floor, class: "base" }),
  ];
}

function drawLine(
  block: Lines,
  { name, points, knee }: Lines["lines"][number],
  at: number,
  axes: { readonly xScale: Scale; readonly yScale: Scale; readonly factor: number },
): string {
  const place = (x: number, y: number): string =>
    `${axes.xScale.at(x).toFixed(1)} ${axes.yScale.at(y * axes.factor).toFixed(1)}`;
  const parts: string[] = [];
  if (points.some(({ low, high }) => low !== undefined && high !== undefined)) {
    const upper = points.map(({ x, y, high = y }) => place(x, high));
    const lower = points.toReversed().map(({ x, y, low = y }) => place(x, low));
    parts.push(element("path", { d: `M${[...upper, ...lower].join("L")}Z`, class: seriesClass("band", "f", at) }));
  }
  parts.push(
    element("path", { d: `M${points.map(({ x, y }) => place(x, y)).join("L")}`, class: seriesClass("line", "s", at) }),
  );
  const isDense = points.length > 40;
  const isKneeNamed = block.lines.filter((line) => line.knee !== undefined).length <= MOST_NAMED_KNEES;
  for (const { x, y } of points) {
    const [cx, cy] = place(x, y).split(" ").map(Number) as [number, number];
    const tip = textElement("title", {}, `${name}, ${block.x.label} ${x}: ${formatWithUnit(y, block.y.unit)}`);
    if (!isDense) parts.push(element("circle", { cx, cy, r: 3.5, class: seriesClass("dot", "f", at) }, tip));
    if (x !== knee) continue;
    parts.push(
      element(
        "circle",
        { cx, cy, r: 9, class: seriesClass("knee", "s", at) },
        textElement("title", {}, `${name}: more than ${x} hardly pays`),
      ),
    );
    if (isKneeNamed)
      parts.push(textElement("text", { x: cx + 13, y: cy + 18, class: "knee-text", "text-anchor": "start" }, "knee"));
  }
  return parts.join("");
}
