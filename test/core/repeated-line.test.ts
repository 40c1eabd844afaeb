import { expect, test } from "bun:test";
import { RepeatedLine } from "../../src/core/log.ts";

test("RepeatedLine tells ten lines in five seconds, and then the number of the others", () => {
  const told: string[] = [];
  let now = 0;
  const line = new RepeatedLine(
    (text) => told.push(text),
    () => now,
  );
  for (let at = 0; at < 102; at++) {
    now = at * 100;
    line.tell(`frame ${at}`);
  }
  const first = Array.from({ length: 10 }, (_, at) => `frame ${at}`);
  const next = Array.from({ length: 9 }, (_, at) => `frame ${51 + at}`);
  const more = "(40 more like it before)";
  expect(told).toEqual([...first, `frame 50 ${more}`, ...next, `frame 100 ${more}`, "frame 101"]);
  now += 60_000;
  line.tell("late");
  expect(told.at(-1)).toBe("late");
});
