import { expect, test } from "bun:test";
import { parseDetectorOptions } from "../../src/api/detector-config.ts";
import { OptionError } from "../../src/core/errors.ts";
import type { Detection } from "../../src/tasks/detect/detection.ts";
import { DETECT_MESSAGES } from "../../src/tasks/result-messages.ts";
import { SourceBook } from "../../src/worker/held-frame.ts";
import { parseWorkerOptions, type WorkerOptions } from "../../src/worker/worker-config.ts";

const LABELS = ["cat", "dog"];
const { detect } = parseDetectorOptions({});

function book(options: WorkerOptions): SourceBook {
  return new SourceBook(parseWorkerOptions(options), detect, LABELS);
}

test("SourceBook runs the detector with the lowest threshold of all sources", () => {
  const optionsOf = (options: WorkerOptions) => ["a", "b"].map((id) => book(options).of(id).detectOptions);
  expect(optionsOf({})).toEqual([undefined, undefined]);
  expect(optionsOf({ sources: { a: { threshold: 0.6 } } })).toEqual([undefined, undefined]);
  expect(optionsOf({ sources: { a: { threshold: 0.1 } } })).toEqual([{ threshold: 0.1 }, { threshold: 0.1 }]);
  const higher = { threshold: 0.5, sources: { a: { threshold: 0.6 } } };
  expect(optionsOf(higher)).toEqual([{ threshold: 0.5 }, { threshold: 0.5 }]);
});

test("SourceBook cuts the frames of a source into its slices, with a threshold of its own", () => {
  const sources = { a: { slices: { size: 320 }, threshold: 0.1 }, b: { slices: false, threshold: 0.6 } } as const;
  const told = (detector: WorkerOptions["detector"]) => {
    const made = book({ threshold: 0.5, sources, detector });
    return ["a", "b", "c"].map((id) => made.of(id).detectOptions);
  };
  const sliced = { threshold: 0.1, slices: { size: 320 } };
  expect(told({})).toEqual([sliced, { threshold: 0.5, slices: false }, { threshold: 0.5 }]);
  // Where all are cut, those of one threshold do not grow by what another wants.
  expect(told({ slices: {} })).toEqual([sliced, { threshold: 0.6, slices: false }, { threshold: 0.5 }]);
  expect(() => parseWorkerOptions({ sources: { a: { slices: { size: 0 } } } })).toThrow('"sources.a.slices.size"');
  const ofWhole = () => new SourceBook(parseWorkerOptions({ sources }), detect, LABELS, "classify");
  expect(ofWhole).toThrow("Cannot cut frames into slices: the model's task is classify");
});

test("SourceBook looks classes up, and refuses one that the model has not", () => {
  const rules = book({ classes: ["dog"], sources: { a: { classes: [0] } } });
  expect([...rules.of("b").classIds!]).toEqual([1]);
  expect([...rules.of("a").classIds!]).toEqual([0]);
  expect(() => book({ sources: { a: { classes: ["dgo"] } } })).toThrow(OptionError);
  expect([book({}).hasLatest, book({ sources: { a: { policy: "latest" } } }).hasLatest]).toEqual([false, true]);
});

test("a source's rule leaves out low scores, other classes and boxes at the edge", () => {
  const detection = (classId: number, score: number, box: Detection["box"]): Detection => ({
    label: "",
    classId,
    score,
    box,
  });
  const inside = detection(0, 0.5, [10, 10, 90, 40]);
  const touching = [
    detection(0, 0.5, [0, 10, 20, 20]),
    detection(0, 0.5, [10, 0, 20, 20]),
    detection(0, 0.5, [10, 10, 100, 20]),
    detection(0, 0.5, [10, 10, 20, 50]),
  ];
  const all = [inside, ...touching, detection(1, 0.9, [10, 10, 20, 20]), detection(0, 0.49, [10, 10, 20, 20])];
  const result = { ...DETECT_MESSAGES.nothing, width: 100, height: 50, detections: all };
  const left = (edgeMargin: number | undefined): readonly Detection[] =>
    DETECT_MESSAGES.filtered(result, { threshold: 0.5, classIds: new Set([0]), edgeMargin }).detections;
  expect(left(0)).toEqual([inside]);
  expect(left(undefined)).toEqual([inside, ...touching]);
  expect(left(10)).toEqual([]);
  expect(left(9.5)).toEqual([inside]);
});
