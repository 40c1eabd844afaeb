/** @module Timeline: what the streams and the JS thread did when, as in a profiler; a few lines of script zoom and pan it. */

import type { Block } from "../result.ts";
import { digits } from "../support/units.ts";
import { type Chart, COLOURS, drawing, element, escapeText, legend, textElement } from "./markup.ts";
import { linearScale } from "./scale.ts";

type Timeline = Extract<Block, { kind: "timeline" }>;

const WIDTH = 1180;
const LEFT = 150;
const RIGHT = 30;
const LANE = 34;
const BAR = 22;
const AXIS = 30;

/** Spans on lanes. */
export function timelineChart(block: Timeline): Chart {
  const { lanes, spans } = block;
  const names = [...new Set(spans.map(({ name }) => name))];
  const { start, end } = reachOf(block);
  const height = lanes.length * LANE + AXIS;
  const inner = WIDTH - LEFT - RIGHT;
  const floor = lanes.length * LANE;
  const scale = linearScale({ from: start, to: end }, { from: LEFT, to: WIDTH - RIGHT }, 10);
  const marks = scale.ticks.map((tick) => {
    const x = scale.at(tick);
    return (
      element("line", { x1: x, x2: x, y1: 0, y2: floor, class: "grid" }) +
      textElement("text", { x, y: floor + 16, class: "tick", "text-anchor": "middle" }, `${scale.format(tick)} ms`)
    );
  });
  const rows = lanes.map(
    (name, lane) =>
      element("rect", { x: LEFT, y: lane * LANE + 2, width: inner, height: LANE - 4, class: "lane" }) +
      textElement("text", { x: LEFT - 10, y: lane * LANE + LANE / 2 + 4, class: "label", "text-anchor": "end" }, name),
  );
  const bars = spans.map(({ lane, name, frame, start: from, end: to }) => {
    const tip = textElement("title", {}, `frame ${frame}, ${name}: ${digits(to - from)} ms, from ${digits(from)} ms`);
    const place = `x="${from.toFixed(4)}" width="${Math.max(0, to - from).toFixed(4)}"`;
    const shade = frame % 2 === 0 ? "" : " odd";
    return `<rect ${place} y="${lane * LANE + (LANE - BAR) / 2}" height="${BAR}" class="span f${names.indexOf(name) % COLOURS}${shade}">${tip}</rect>`;
  });
  // The spans lie in a drawing of their own, in milliseconds, which can be stretched without stretching any text.
  const view = element(
    "svg",
    {
      x: LEFT,
      y: 0,
      width: inner,
      height: floor,
      viewBox: `${start.toFixed(4)} 0 ${(end - start).toFixed(4)} ${floor}`,
      preserveAspectRatio: "none",
      class: "view",
      "aria-label": block.title,
      role: "img",
    },
    ...bars,
  );
  return {
    width: WIDTH,
    height,
    title: block.title,
    names,
    content: [element("g", { class: "marks" }, ...marks), ...rows, view],
  };
}

function reachOf({ spans }: Timeline): { readonly start: number; readonly end: number } {
  return {
    start: Math.min(...spans.map((span) => span.start)),
    end: Math.max(...spans.map((span) => span.end)),
  };
}

/** A timeline in a page. Without script it shows the whole; with it, wheel and drag choose a part. */
export function timeline(block: Timeline): string {
  const { start, end } = reachOf(block);
  const inner = WIDTH - LEFT - RIGHT;
  const floor = block.lanes.length * LANE;
  const data = `data-start="${start.toFixed(4)}" data-end="${end.toFixed(4)}" data-left="${LEFT}" data-inner="${inner}" data-floor="${floor}"`;
  const buttons = [
    ["in", "+", "zoom in"],
    ["out", "−", "zoom out"],
    ["all", "all", "the whole"],
  ].map(([act, text, title]) => element("button", { type: "button", "data-act": act, title }, escapeText(text ?? "")));
  const hint = textElement(
    "span",
    { class: "hint" },
    "wheel with Ctrl or the buttons zoom, dragging moves, resting on a bar names it",
  );
  const chart = timelineChart(block);
  const controls = element("div", { class: "buttons" }, ...buttons, hint);
  return `${legend(chart.names)}<div class="timeline" ${data}>${controls}${drawing(chart)}</div>`;
}

/** Zooms and pans every timeline of the page. */
export const TIMELINE_SCRIPT = `
for (const box of document.querySelectorAll(".timeline")) {
  const { start, end, left, inner, floor } = Object.fromEntries(
    Object.entries(box.dataset).map(([key, value]) => [key, Number(value)]),
  );
  const view = box.querySelector(".view");
  const marks = box.querySelector(".marks");
  const chart = box.querySelector("svg.chart");
  let from = start;
  let to = end;
  const draw = () => {
    view.setAttribute("viewBox", from + " 0 " + (to - from) + " " + floor);
    const rough = (to - from) / 10;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].find((factor) => factor * power >= rough) * power;
    const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    let text = "";
    for (let at = Math.ceil(from / step); at * step <= to; at++) {
      const x = left + ((at * step - from) / (to - from)) * inner;
      text += '<line class="grid" x1="' + x + '" x2="' + x + '" y1="0" y2="' + floor + '"/>';
      text += '<text class="tick" text-anchor="middle" x="' + x + '" y="' + (floor + 16) + '">' + (at * step).toFixed(decimals) + " ms</text>";
    }
    marks.innerHTML = text;
  };
  const show = (low, high) => {
    const width = Math.min(end - start, Math.max((end - start) / 5000, high - low));
    from = Math.max(start, Math.min(low, end - width));
    to = from + width;
    draw();
  };
  const timeAt = (event) => {
    const frame = chart.getBoundingClientRect();
    const x = ((event.clientX - frame.left) / frame.width) * chart.viewBox.baseVal.width;
    return from + ((x - left) / inner) * (to - from);
  };
  const zoom = (factor, centre) => show(centre - (centre - from) * factor, centre + (to - centre) * factor);
  box.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    zoom(event.deltaY > 0 ? 1.25 : 0.8, timeAt(event));
  }, { passive: false });
  box.addEventListener("click", (event) => {
    const act = event.target.dataset.act;
    if (act === "all") show(start, end);
    if (act === "in" || act === "out") zoom(act === "in" ? 0.5 : 2, (from + to) / 2);
  });
  let held;
  chart.addEventListener("pointerdown", (event) => {
    // A finger scrolls; the buttons are its zoom.
    if (event.pointerType === "touch") return;
    held = timeAt(event);
    chart.setPointerCapture(event.pointerId);
  });
  chart.addEventListener("pointermove", (event) => {
    if (held === undefined) return;
    const moved = held - timeAt(event);
    show(from + moved, to + moved);
  });
  for (const end of ["pointerup", "pointercancel"]) chart.addEventListener(end, () => { held = undefined; });
}`;
