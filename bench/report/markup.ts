/** @module Markup: pieces of HTML and SVG as text, escaped. */

const ENTITIES: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };

/** Text as it may stand in an element or an attribute. */
export function escapeText(text: string): string {
  return text.replace(/[&<>"]/g, (character) => ENTITIES[character] ?? "");
}

/** Attributes of an element; what is `undefined` is left out, numbers get at most two decimals. */
export type Attributes = Readonly<Record<string, string | number | undefined>>;

function attribute(name: string, value: string | number): string {
  return ` ${name}="${typeof value === "number" ? Number(value.toFixed(2)) : escapeText(value)}"`;
}

/** An element around markup that is finished already. */
export function element(name: string, attributes: Attributes = {}, ...content: readonly string[]): string {
  const list = Object.entries(attributes)
    .map(([key, value]) => (value === undefined ? "" : attribute(key, value)))
    .join("");
  return content.length === 0 && SELF_CLOSING.has(name)
    ? `<${name}${list}/>`
    : `<${name}${list}>${content.join("")}</${name}>`;
}

const SELF_CLOSING: ReadonlySet<string> = new Set(["rect", "line", "path", "circle", "polyline", "polygon"]);

/** An element around plain text. */
export function textElement(name: string, attributes: Attributes, text: string): string {
  return element(name, attributes, escapeText(text));
}

/** A chart, for a page or a file of its own. */
export interface Chart {
  /** In its own units. */
  readonly width: number;
  readonly height: number;
  /** What it shows, for who cannot see it. */
  readonly title: string;
  /** Names of its series, by colour; empty where the chart itself names them. */
  readonly names: readonly string[];
  readonly content: readonly string[];
}

/** A chart in a page, as wide as its column; a narrow window scrolls it. */
export function drawing({ width, height, title, content }: Chart): string {
  const attributes = { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title, class: "chart" };
  return element("div", { class: "drawing" }, element("svg", attributes, ...content));
}

/** A chart in a page under the names of its series. */
export function drawingWithLegend(chart: Chart): string {
  return (chart.names.length === 0 ? "" : legend(chart.names)) + drawing(chart);
}

/** Characters of a label's line. */
const LABEL_CHARACTERS = 25;

/** Words in lines of at most so many characters, as far as words allow. */
export function wrapWords(text: string, most: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= most) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}

/** The name of a row, which ends at a place; a long one on several lines, the middle of which is there. */
export function label(name: string, { x, y }: { readonly x: number; readonly y: number }): string {
  const lines = wrapWords(name, LABEL_CHARACTERS);
  const top = y - ((lines.length - 1) * LINE) / 2;
  return lines
    .map((line, at) => textElement("text", { x, y: top + at * LINE, class: "label", "text-anchor": "end" }, line))
    .join("");
}

const LINE = 14;

/** Names with their colours, over a chart. */
export function legend(names: readonly string[]): string {
  const items = names.map((name, at) =>
    element("li", {}, element("i", { class: seriesClass("swatch", "f", at) }), escapeText(name)),
  );
  return element("ul", { class: "legend" }, ...items);
}

/** The classes of the series at a place: its colour, and dashes where the colours come round again. */
export function seriesClass(kind: string, prefix: "f" | "s", at: number): string {
  return `${kind} ${prefix}${at % COLOURS}${at % (2 * COLOURS) < COLOURS ? "" : " dashed"}`;
}

/** Different colours there are; the classes `f0`, `f1`, … fill and `s0`, `s1`, … draw lines. */
export const COLOURS = 10;
