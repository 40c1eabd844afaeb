/** @module Stage bars: what a frame's time is made of, one stacked bar a way. */

import type { Block } from "../result.ts";
import { stageNames } from "../support/stage-names.ts";
import { formatValue, formatWithUnit, UNIT_TEXT } from "../support/units.ts";
import { type Chart, COLOURS, element, label, textElement } from "./markup.ts";
import { linearScale } from "./scale.ts";

type Stages = Extract<Block, { kind: "stages" }>;

const WIDTH = 760;
const LEFT = 190;
const RIGHT = 86;
const ROW = 46;
const BAR = 26;
const AXIS = 34;
/** Narrower parts have no room for their number. */
const LABEL_WIDTH = 38;

/** The stacked bars. */
export function stageBars(block: Stages): Chart {
  const { bars, unit } = block;
  const names = stageNames(block);
  const totals = bars.map(({ parts }) => parts.reduce((sum, { value }) => sum + value, 0));
  const height = bars.length * ROW + AXIS;
  const scale = linearScale({ from: 0, to: Math.max(...totals, 1e-9) }, { from: LEFT, to: WIDTH - RIGHT });
  const content = scale.ticks.map((tick) => {
    const x = scale.at(tick);
    return (
      element("line", { x1: x, x2: x, y1: 0, y2: height - AXIS, class: "grid" }) +
      textElement("text", { x, y: height - AXIS + 16, class: "tick", "text-anchor": "middle" }, scale.format(tick))
    );
  });
  content.push(
    textElement("text", { x: WIDTH - RIGHT, y: height - 5, class: "axis", "text-anchor": "end" }, UNIT_TEXT[unit]),
  );
  for (const [row, { name, parts }] of bars.entries()) {
    const y = row * ROW + (ROW - BAR) / 2;
    const total = totals[row]!;
    content.push(label(name, { x: LEFT - 12, y: y + BAR / 2 + 4 }));
    let from = 0;
    for (const { stage, value } of parts) {
      const x = scale.at(from);
      const width = scale.at(from + value) - x;
      from += value;
      const share = total === 0 ? 0 : value / total;
      const tip = `${name}, ${stage}: ${formatWithUnit(value, unit)}, ${formatWithUnit(share, "share")} of it`;
      const colour = names.indexOf(stage) % COLOURS;
      content.push(
        element(
          "rect",
          { x, y, width: Math.max(0, width - 1), height: BAR, rx: 2, class: `f${colour}` },
          textElement("title", {}, tip),
        ),
      );
      if (width < LABEL_WIDTH) continue;
      const attributes = { x: x + width / 2, y: y + BAR / 2 + 4, class: "inside", "text-anchor": "middle" };
      content.push(textElement("text", attributes, formatValue(value, unit)));
    }
    const text = formatWithUnit(total, unit);
    content.push(textElement("text", { x: scale.at(total) + 8, y: y + BAR / 2 + 4, class: "value" }, text));
  }
  return { width: WIDTH, height, title: block.title, names, content };
}
