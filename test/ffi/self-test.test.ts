import { expect, test } from "bun:test";
import { selfTest } from "../../src/ffi/library.ts";

test("selfTest() passes vectors whose answer is the expected one", () => {
  expect(
    selfTest([
      { what: "one", expected: "1", run: () => "1" },
      { what: "a number", expected: /^\d+$/, run: () => "42" },
    ]),
  ).toBeUndefined();
});

test("selfTest() says what failed, and runs nothing after it", () => {
  const ran: string[] = [];
  const vector = (what: string, found: string) => ({
    what,
    expected: "1",
    run: () => {
      ran.push(what);
      return found;
    },
  });
  expect(selfTest([vector("one", "1"), vector("two", "2"), vector("three", "1")])).toBe(
    'self-test failed: two: expected 1, found "2"',
  );
  expect(ran).toEqual(["one", "two"]);
});
