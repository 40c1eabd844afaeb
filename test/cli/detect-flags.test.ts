import { expect, test } from "bun:test";
import { parseWords } from "../../src/cli/args.ts";
import { DETECT_FLAGS, type DetectArguments, parseDetectFlags } from "../../src/cli/detect-flags.ts";
import { parseServeFlags, parseWorkerFlags } from "../../src/cli/service-flags.ts";
import { parseTransformFlags } from "../../src/cli/whole-image-flags.ts";

function parse(words: string): DetectArguments {
  return parseDetectFlags(parseWords("detect", ["a.jpg", ...words.split(" ").filter(Boolean)], DETECT_FLAGS));
}

test("parseDetectFlags() hands the options for frames in flight to the library, and none that was not given", () => {
  const words =
    "--in-flight 3 --batch 4 --batch-wait 2.5 --streams split --device 0,2 --wait off-thread --jpeg cpu --zero-copy off";
  expect(parse(words).detector).toMatchObject({
    inFlight: 3,
    batch: 4,
    batchWaitMs: 2.5,
    device: [0, 2],
    tensorrt: { streams: "split", wait: "off-thread", jpeg: "cpu", zeroCopy: false },
  });
  expect(parse("--no-jpeg-check").detector.tensorrt).toEqual({ jpegCheck: false });
  expect(parse("--device 1 --zero-copy on").detector).toEqual({ device: 1, tensorrt: { zeroCopy: true } });
  expect(parse("--zero-copy auto").detector.tensorrt).toEqual({ zeroCopy: "auto" });
  expect(parse("").detector).toEqual({});
});

test("parseDetectFlags() gives a model of points what holds of both models, and its own flags", () => {
  const words = "--pose-model a.onnx --device 2,0 --batch 4 --size 320 --fit stretch --jpeg cpu --damaged take";
  const { detector, pose } = parse(`${words} --simcc-score mean --refinement dark`);
  const both = { damaged: "take", tensorrt: { jpeg: "cpu" } } as const;
  expect(pose).toEqual({ ...both, device: 2, simccScore: "mean", refinement: "dark" });
  expect(detector).toMatchObject({ ...both, device: [2, 0], batch: 4, size: 320, classes: ["person"] });
  expect(parse("--pose-model a.onnx --classes cat").detector.classes).toEqual(["cat"]);
  expect(() => parse("--refinement dark")).toThrow("--refinement is for --pose-model");
});

test("flags bound what decoding costs; serve and worker have tighter defaults", () => {
  const flags = { "max-pixels": "100", "decode-timeout-ms": "3000", damaged: "take", vectors: true } as const;
  const limits = { maxPixels: 100, decodeTimeoutMs: 3000, damaged: "take", vectors: true } as const;
  expect(parseDetectFlags({ flags, operands: ["a.jpg"] }).detector).toMatchObject(limits);
  expect(parseDetectFlags({ flags: {}, operands: ["a.jpg"] }).detector).not.toHaveProperty("maxPixels");
  expect(parseServeFlags({ flags, operands: [] }).detector).toMatchObject(limits);
  const served = { maxPixels: 2 ** 26, decodeTimeoutMs: 10_000 };
  expect(parseServeFlags({ flags: {}, operands: [] }).detector).toMatchObject(served);
  expect(parseWorkerFlags({ flags, operands: [] }).over({}).detector).toMatchObject(limits);
  const transform = { ...flags, model: "a.onnx", output: "b.png" };
  expect(parseTransformFlags({ flags: transform, operands: ["a.jpg"] }).options).toMatchObject(limits);
});

test("parseDetectFlags() hands over what is said of the pre-processing, and nothing else of it", () => {
  expect(parse("").detector).not.toHaveProperty("preprocessing");
  expect(parse("--fit stretch --resize antialias").detector.preprocessing).toEqual({
    fit: "stretch",
    resize: "antialias",
  });
  expect(
    parse("--colour BGR --scale 1 --mean 103.53,116.28,123.675 --std 57.4 --pad 0 --fit letterbox-top-left").detector
      .preprocessing,
  ).toEqual({
    fit: "letterbox-top-left",
    colour: "BGR",
    scale: 1,
    mean: [103.53, 116.28, 123.675],
    std: 57.4,
    pad: 0,
  });
  expect(() => parse("--fit crop")).toThrow('--fit must be one of letterbox, letterbox-top-left, stretch, got "crop"');
});

test("parseDetectFlags() takes both names of standard output for it", () => {
  expect(["", "--output -", "--output /dev/stdout"].map((words) => parse(words).output)).toEqual([
    undefined,
    undefined,
    undefined,
  ]);
  expect(parse("--output ./-").output).toBe("./-");
  expect(() => parse("--format yolo --output /dev/stdout")).toThrow("--format yolo needs a folder");
});

test("parseDetectFlags() hands slices to the library, by SAHI's names as well", () => {
  const slicesOf = (words: string): unknown => parse(words).detector.slices;
  expect(slicesOf("")).toBeUndefined();
  expect(slicesOf("--slice 640 --overlap 0.25 --no-whole")).toEqual({ size: 640, overlap: 0.25, whole: false });
  expect(
    slicesOf("--slice 640x480 --slice-merge nmm --slice-metric iou --slice-threshold 0.4 --slice-edges drop"),
  ).toEqual({
    size: [640, 480],
    merge: "nmm",
    metric: "iou",
    threshold: 0.4,
    edges: "drop",
  });
  const sahi =
    "--slice-size 512 --postprocess-type GREEDYNMM --postprocess-match-metric IOS --postprocess-match-threshold 0.5";
  expect(slicesOf(sahi)).toEqual({ size: 512, merge: "greedy-nmm", metric: "ios", threshold: 0.5 });
  expect(() => parse("--slice 640 --overlap 1")).toThrow('--overlap must be a number from 0 to 0.9, got "1"');
});
