import { expect, test } from "bun:test";
import { type LogSink, setLogSink } from "../../src/core/log.ts";
import { COCO_80, COCO_91, COCO_CATEGORY_IDS, labelOf, labelsFor, parseNames } from "../../src/model/model-info.ts";

function logged(action: () => void): string[] {
  const lines: string[] = [];
  const sink: LogSink = (level, text) => lines.push(`${level}: ${text}`);
  const former = setLogSink(sink);
  action();
  setLogSink(former);
  return lines;
}

test("parseNames() reads a Python dict, a list, and JSON of either", () => {
  const names = ["person", "it's", 'the "other"'];
  expect(parseNames(`{0: 'person', 1: "it's", 2: 'the "other"'}`)).toEqual(names);
  expect(parseNames(`['person', "it's", 'the "other"']`)).toEqual(names);
  expect(parseNames(JSON.stringify(names))).toEqual(names);
  expect(parseNames(JSON.stringify({ ...names }))).toEqual(names);
});

test("parseNames() leaves ids without a name empty, in any order, and takes numbers as names", () => {
  expect(parseNames("{3: 'd', 1: 'b'}")).toEqual(["", "b", "", "d"]);
  expect(parseNames("{0: 7, 1: 'eight'}")).toEqual(["7", "eight"]);
});

test("parseNames() logs and ignores what are no names", () => {
  for (const text of [
    "",
    "{}",
    "[]",
    "7",
    "{0: ['a']}",
    "{-1: 'a'}",
    "{0.5: 'a'}",
    "{900000: 'a'}",
    "{'a': 'b'}",
    "{0: ",
  ]) {
    const lines = logged(() => expect(parseNames(text)).toBeUndefined());
    expect(lines).toEqual([`warn: Ignoring the model's metadata "names" as it is no list of class names: ${text}`]);
  }
});

test("labelsFor() takes the names, else COCO's for 80 and 91 classes, else numbers", () => {
  expect(labelsFor(3, ["a"])).toEqual(["a", "", ""]);
  expect(labelsFor(undefined, ["a", "b"])).toEqual(["a", "b"]);
  expect(labelsFor(80, undefined)).toEqual(COCO_80);
  expect(labelsFor(91, undefined)).toEqual(COCO_91);
  expect(labelsFor(2, undefined)).toEqual(["class 0", "class 1"]);
  expect(labelsFor(undefined, undefined)).toEqual(COCO_80);
});

test("labelOf() falls back on the number", () => {
  expect(labelOf(["cat", ""], 0)).toBe("cat");
  expect(labelOf(["cat", ""], 1)).toBe("class 1");
  expect(labelOf([], 7)).toBe("class 7");
});

test("COCO's tables agree: 80 names, 91 ids, eleven of them unused", () => {
  expect(new Set(COCO_80).size).toBe(80);
  expect(COCO_CATEGORY_IDS.length).toBe(80);
  expect([COCO_CATEGORY_IDS[0], COCO_CATEGORY_IDS[11], COCO_CATEGORY_IDS[79]]).toEqual([1, 13, 90]);
  expect(COCO_91.length).toBe(91);
  expect(COCO_91.filter((name) => name === "").length).toBe(11);
  expect([COCO_91[1], COCO_91[13], COCO_91[44], COCO_91[62], COCO_91[90]]).toEqual([
    "person",
    "stop sign",
    "bottle",
    "chair",
    "toothbrush",
  ]);
});
