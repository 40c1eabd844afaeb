/** @module Figures: the charts of a run as SVG files that follow the reader's light or dark screen, for documents. */

import type { BenchResult, Block, Measurement, StudyResult, TimelineBlock } from "../result.ts";
import { distributions } from "./distribution.ts";
import { lineChart } from "./line-chart.ts";
import { type Chart, element, seriesClass, textElement } from "./markup.ts";
import { stageBars } from "./stage-bars.ts";
import { CHART_STYLE } from "./style.ts";
import { timelineChart } from "./timeline.ts";

const MARGIN = 20;
const TITLE_HEIGHT = 30;
const LEGEND_LINE = 22;
const SWATCH = 12;
/** Width of a character of a legend, on average, in the chart's units. */
const CHARACTER = 6.7;
/** What a page has room for of a timeline; those of one study are as long, so that they can be compared. */
const MOST_TIMELINE_MS = 8;

/** A chart as a file. */
export interface Figure {
  /** `streams-throughput.svg` */
  readonly name: string;
  readonly svg: string;
}

/** Every chart of a run. */
export function figuresOf(result: BenchResult): Figure[] {
  return result.studies.flatMap((study) => {
    const measurements = new Map(study.measurements.map((one) => [one.id, one]));
    const cut = shortestTimeline(study);
    return study.blocks.flatMap((block) => {
      const chart = chartOf(block, measurements, cut);
      if (chart === undefined) return [];
      return [{ name: `${study.name}-${slug(block.title)}.svg`, svg: figure(chart, sourceOf(result)) }];
    });
  });
}

function slug(title: string): string {
  return title
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-|-$/g, "");
}

/** Which run a figure is of. */
function sourceOf({ environment: { date, commit, runtime, gpu, cpu, cores } }: BenchResult): string {
  return `bun run bench, ${date.slice(0, 10)}, ${commit}: ${gpu === null ? `${cpu}, ${cores} cores, ${runtime}` : runtime}`;
}

function shortestTimeline({ blocks }: StudyResult): number {
  const ends = blocks.flatMap((block) =>
    block.kind === "timeline" && block.spans.length > 0 ? [Math.max(...block.spans.map(({ end }) => end))] : [],
  );
  return Math.min(MOST_TIMELINE_MS, ...ends);
}

function chartOf(block: Block, measurements: ReadonlyMap<string, Measurement>, cut: number): Chart | undefined {
  switch (block.kind) {
    case "distribution": {
      const shown = block.measurements.map((id) => measurements.get(id)).filter((one) => one !== undefined);
      return shown.length === 0 ? undefined : distributions(shown, block.title);
    }
    case "stages":
      return stageBars(block);
    case "lines":
      return lineChart(block);
    case "timeline":
      return block.spans.length === 0 ? undefined : timelineChart(beginning(block, cut));
    case "table":
      return undefined;
  }
}

/** The first milliseconds of a timeline. */
function beginning(block: TimelineBlock, cut: number): TimelineBlock {
  const spans = block.spans
    .filter(({ start }) => start < cut)
    .map((span) => ({ ...span, end: Math.min(cut, span.end) }));
  return { ...block, spans };
}

/** Places of the names of a legend, in as many lines as they need. */
function legendPlaces(names: readonly string[], width: number): { readonly x: number; readonly line: number }[] {
  let [x, line] = [0, 0];
  return names.map((name) => {
    const length = SWATCH + 6 + name.length * CHARACTER + 18;
    if (x > 0 && x + length > width) [x, line] = [0, line + 1];
    const place = { x, line };
    x += length;
    return place;
  });
}

function figure({ width, height, title, names, content }: Chart, source: string): string {
  const places = legendPlaces(names, width);
  const top = MARGIN + TITLE_HEIGHT + (names.length === 0 ? 0 : (places.at(-1)!.line + 1) * LEGEND_LINE);
  const size = { width: width + 2 * MARGIN, height: top + height + 26 + MARGIN / 2 };
  const legend = names.map((name, at) => {
    const { x, line } = places[at]!;
    const [left, middle] = [MARGIN + x, MARGIN + TITLE_HEIGHT + line * LEGEND_LINE];
    const swatch = { x: left, y: middle - SWATCH / 2, width: SWATCH, height: SWATCH, rx: 3 };
    return (
      element("rect", { ...swatch, class: seriesClass("swatch", "f", at) }) +
      textElement("text", { x: left + SWATCH + 6, y: middle + 4 }, name)
    );
  });
  const attributes = { xmlns: "http://www.w3.org/2000/svg", viewBox: `0 0 ${size.width} ${size.height}`, role: "img" };
  return `${element(
    "svg",
    { ...attributes, width: size.width, height: size.height },
    textElement("title", {}, title),
    `<style>${CHART_STYLE}</style>`,
    element("rect", { width: size.width, height: size.height, rx: 10, class: "ground" }),
    textElement("text", { x: MARGIN, y: MARGIN + 12, class: "title" }, title),
    ...legend,
    element("g", { transform: `translate(${MARGIN} ${top})` }, ...content),
    textElement("text", { x: size.width - MARGIN, y: size.height - 12, class: "axis", "text-anchor": "end" }, source),
  )}\n`;
}
