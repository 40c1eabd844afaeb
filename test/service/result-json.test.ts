import { expect, test } from "bun:test";
import { imageJson } from "../../src/cli/formats.ts";
import { round } from "../../src/core/units.ts";
import { DETECT_FORMS } from "../../src/tasks/detect/detection.ts";

const RESULT = {
  detections: [{ label: "cat", classId: 0, score: 0.12345678, box: [1.23456, 2, 3, 4] as const }],
  width: 64,
  height: 33,
  dropped: 1,
  implausible: 2,
  timing: { decode: 1.23456, preprocess: 0, infer: 2, postprocess: 3, total: 7 },
};

test("DETECT_FORMS.json() rounds scores to six digits, boxes and times to three", () => {
  expect(JSON.stringify(DETECT_FORMS.json(RESULT))).toBe(
    '{"width":64,"height":33,"detections":[{"label":"cat","classId":0,"score":0.123457,"box":[1.235,2,3,4]}],' +
      '"dropped":1,"implausible":2,"timing":{"decode":1.235,"preprocess":0,"infer":2,"postprocess":3,"total":7}}',
  );
});

test("DETECT_FORMS.json() leaves out what a stream adds, and is what detect --format json gives beside the file", () => {
  const result = { ...RESULT, index: 3 };
  expect(imageJson(DETECT_FORMS, { file: "a.jpg", result })).toEqual({ file: "a.jpg", ...DETECT_FORMS.json(RESULT) });
});

test("round keeps whole numbers", () => {
  expect([round(3, 3), round(0.0005, 3), round(-1.23456, 2)]).toEqual([3, 0.001, -1.23]);
});
