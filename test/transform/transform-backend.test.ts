import { expect, test } from "bun:test";
import { probeSize, tileRules } from "../../src/tasks/image/image-task.ts";
import { tileGrid } from "../../src/tasks/image/tile-grid.ts";

const OPEN = { fixedWidth: undefined, fixedHeight: undefined, fixedBatch: undefined } as const;

test("tileRules() gives an engine no tile below its least size, whatever tile was asked for", () => {
  const config = { tile: [512, 700], multiple: undefined, overlap: undefined } as const;
  const rules = tileRules(OPEN, config, { smallest: [600, 640], largest: [1024, 1024] });
  expect(rules.largest).toEqual([600, 700]);
  expect(probeSize(rules)).toEqual([600, 640]);
  expect(tileGrid(100, 100, rules).size).toEqual([600, 640]);
  expect(tileGrid(2000, 2000, rules).size).toEqual([600, 700]);
  expect(tileRules(OPEN, config, { smallest: [32, 32], largest: [256, 256] }).largest).toEqual([256, 256]);
});
