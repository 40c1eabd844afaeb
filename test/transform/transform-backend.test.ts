import { expect, test } from "bun:test";
import { probeSize, tileRules } from "../../src/tasks/image/image-task.ts";
import { tileGrid } from "../../src/tasks/image-grid.ts";

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

test("tileRules() has one size for a model of fixed size, with and without an engine", () => {
  const config = { tile: [40, 40], overlap: 6, multiple: undefined } as const;
  const fixed = { ...OPEN, fixedWidth: 24, fixedHeight: 16 };
  const rules = tileRules(fixed, config);
  expect([rules.smallest, rules.largest]).toEqual([
    [24, 16],
    [24, 16],
  ]);
  expect(tileRules(fixed, config, { smallest: [24, 16], largest: [24, 16] })).toEqual(rules);
});
