import { expect, test } from "bun:test";
import { parseLiteral } from "../../src/model/model-info.ts";

test("parseLiteral() reads Python's dicts, lists, tuples, numbers and words", () => {
  expect(parseLiteral("{'batch': 1, 'half': False, 'nms': True, 'data': None, 'fraction': 1.0, 'x': -2.5e3}")).toEqual(
    new Map<string, unknown>([
      ["batch", 1],
      ["half", false],
      ["nms", true],
      ["data", null],
      ["fraction", 1],
      ["x", -2500],
    ]) as never,
  );
  expect(parseLiteral(" [640, (384, 672,), [],] ")).toEqual([640, [384, 672], []]);
  expect(parseLiteral("{}")).toEqual(new Map());
  expect(parseLiteral("32")).toBe(32);
});

test("parseLiteral() reads both quotes and every escape of repr() and of JSON", () => {
  expect(
    parseLiteral(`["it's", 'say "hi"', 'it\\'s', 'a\\\\b', 'tab\\tend', 'caf\\xe9', '\\u4eba', '\\U0001F600']`),
  ).toEqual(["it's", 'say "hi"', "it's", "a\\b", "tab\tend", "café", "人", "😀"]);
  expect(parseLiteral('["\\ud83d\\ude00", "a\\/b", "人"]')).toEqual(["😀", "a/b", "人"]);
});

test("parseLiteral() reads JSON", () => {
  expect(parseLiteral('{"0": "person", "1": true, "2": null, "3": {"a": [1, 2]}}')).toEqual(
    new Map<string, unknown>([
      ["0", "person"],
      ["1", true],
      ["2", null],
      ["3", new Map([["a", [1, 2]]])],
    ]) as never,
  );
});

test("parseLiteral() refuses what is no literal", () => {
  const bad = ["", "{", "[1 2]", "{1: 'a' 2: 'b'}", "{1 'a'}", "{[1]: 2}", "'open", "'\\x4'", "'\\U00ffffff'"];
  for (const text of [...bad, "os.system('x')", "1 2", "[1]]", "nonsense"]) expect(parseLiteral(text)).toBeUndefined();
  // A hostile file does not exhaust the stack.
  expect(parseLiteral("[".repeat(100_000))).toBeUndefined();
});
