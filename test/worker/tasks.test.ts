import { expect, test } from "bun:test";
import { type DescMessage, fromBinary, toBinary } from "@bufbuild/protobuf";
import { fileDesc, messageDesc } from "@bufbuild/protobuf/codegenv2";
import { servedModel } from "../../src/api/model.ts";
import { ask, servedMessages } from "../../src/service/served-model.ts";
import type { DepthResult } from "../../src/tasks/depth/depth-task.ts";
import { type Detections, DetectionsSchema } from "../../src/tasks/messages.js";
import type { ObjectResult } from "../../src/tasks/objects/objects.ts";
import { Mask } from "../../src/tasks/segment/mask.ts";
import type { SemanticResult } from "../../src/tasks/semantic/semantic-task.ts";
import type { TaskResult } from "../../src/tasks/task-result.ts";
import { answerFields, NO_TIMINGS, UNREADABLE_FRAME } from "../../src/worker/messages.ts";
import { Worker } from "../../src/worker/worker.ts";
import type { WorkerOptions } from "../../src/worker/worker-config.ts";
import { MemoryBroker } from "../support/memory-broker.ts";
import { WHITE_JPEG } from "../support/serving.ts";
import { toyMap } from "../support/toy-map.ts";
import { TOY_POINTS, toyColours, toyObb, toyPose, toySegmenter } from "../support/toy-objects.ts";

/** proto/bun-tensorrt.proto of version 0.1.0, before there were masks, key points, corners and classes, as protoc describes it. */
const FORMER_PROTO =
  "ChJidW4tdGVuc29ycnQucHJvdG8SDmJ1bnRlbnNvcnJ0LnYxIqsBCgVGcmFtZRIRCglzb3VyY2VfaWQYASABKAkSEAoIZnJhbWVf" +
  "aWQYAiABKAkSFQoJdGltZXN0YW1wGAMgASgDQgIwARINCgV3aWR0aBgEIAEoDRIOCgZoZWlnaHQYBSABKA0SDQoFcGl0Y2gYBiAB" +
  "KA0SKgoIZW5jb2RpbmcYByABKA4yGC5idW50ZW5zb3JydC52MS5FbmNvZGluZxIMCgRkYXRhGAggASgMImsKCURldGVjdGlvbhIN" +
  "CgVsYWJlbBgBIAEoCRIQCghjbGFzc19pZBgCIAEoDRINCgVzY29yZRgDIAEoAhIKCgJ4MRgEIAEoAhIKCgJ5MRgFIAEoAhIKCgJ4" +
  "MhgGIAEoAhIKCgJ5MhgHIAEoAiJ/CgdUaW1pbmdzEg8KB3JlY2VpdmUYASABKAISDAoEd2FpdBgCIAEoAhIOCgZkZWNvZGUYAyAB" +
  "KAISEgoKcHJlcHJvY2VzcxgEIAEoAhINCgVpbmZlchgFIAEoAhITCgtwb3N0cHJvY2VzcxgGIAEoAhINCgV0b3RhbBgHIAEoAiKw" +
  "AgoKRGV0ZWN0aW9ucxIKCgJpZBgBIAEoCRIRCglzb3VyY2VfaWQYAiABKAkSEAoIZnJhbWVfaWQYAyABKAkSFQoJdGltZXN0YW1w" +
  "GAQgASgDQgIwARIOCgZzdHJlYW0YBSABKAkSEAoIZW50cnlfaWQYBiABKAkSDQoFd2lkdGgYByABKA0SDgoGaGVpZ2h0GAggASgN" +
  "Eg0KBW1vZGVsGAkgASgJEhIKCm5vcm1hbGl6ZWQYCiABKAgSLQoKZGV0ZWN0aW9ucxgLIAMoCzIZLmJ1bnRlbnNvcnJ0LnYxLkRl" +
  "dGVjdGlvbhIoCgd0aW1pbmdzGAwgASgLMhcuYnVudGVuc29ycnQudjEuVGltaW5ncxINCgVlcnJvchgNIAEoCRIOCgZ3b3JrZXIY" +
  "DiABKAkqkwEKCEVuY29kaW5nEhgKFEVOQ09ESU5HX1VOU1BFQ0lGSUVEEAASEQoNRU5DT0RJTkdfSlBFRxABEhAKDEVOQ09ESU5H" +
  "X1BORxACEhAKDEVOQ09ESU5HX1JHQhADEhAKDEVOQ09ESU5HX0JHUhAEEhEKDUVOQ09ESU5HX1JHQkEQBRIRCg1FTkNPRElOR19O" +
  "VjEyEAZiBnByb3RvMw";
/** `Detections` of it. */
const FormerSchema: DescMessage = messageDesc(fileDesc(FORMER_PROTO), 3);

interface FormerDetections {
  readonly width: number;
  readonly model: string;
  readonly worker: string;
  readonly detections: readonly Record<"label" | "classId" | "score" | "x1" | "y1" | "x2" | "y2", never>[];
}

/** What a model finds in a white image of 64x64, and the message with it. */
async function sent(
  model: Uint8Array,
  isNormalized = false,
  hasMap = false,
): Promise<{ readonly result: TaskResult; readonly bytes: Uint8Array; readonly read: Detections }> {
  await using loaded = await servedModel.load(model, { backend: "cpu", threads: 1 });
  const result = await ask(loaded, WHITE_JPEG);
  const answer = { frame: UNREADABLE_FRAME, stream: "s", entryId: "1-0", result, timings: NO_TIMINGS, error: "" };
  const names = { model: "toy", worker: "w1" };
  const format = { format: "protobuf", isNormalized, hasMap, messages: servedMessages(loaded), ...names } as const;
  const bytes = answerFields(answer, format)[1]![1] as Uint8Array;
  return { result, bytes, read: fromBinary(DetectionsSchema, bytes) };
}

for (const [task, model] of [
  ["segment", toySegmenter],
  ["pose", toyPose],
  ["obb", toyObb],
] as const) {
  test(`a reader of the former proto finds the boxes of ${task} where they were, and hands the rest on`, async () => {
    const { result, bytes, read } = await sent(model);
    const former = fromBinary(FormerSchema, bytes) as unknown as FormerDetections;
    expect([former.width, former.model, former.worker]).toEqual([64, "toy", "w1"] as never);
    const { objects } = result as unknown as ObjectResult;
    expect(former.detections.length).toBeGreaterThan(0);
    expect(
      former.detections.map(({ x1, y1, x2, y2, ...rest }) => [rest.label, rest.classId, rest.score, x1, y1, x2, y2]),
    ).toEqual(
      objects.map(({ label, classId, score, box }) => [label, classId, ...[score, ...box].map(Math.fround)]) as never,
    );
    // What it does not know it keeps.
    expect(fromBinary(DetectionsSchema, toBinary(FormerSchema, former as never))).toEqual(read);
  });
}

const toySemantic = toyMap({ classes: 3, size: [64, 32], metadata: { task: "semantic", names: "['a', 'b', 'c']" } });
const toyDepth = toyMap({ form: "depth-channel", size: [64, 32], metadata: { task: "depth" } });

test("a reader of the former proto finds nothing in the answers of a classifier or of maps", async () => {
  for (const model of [toyColours, toySemantic, toyDepth]) {
    const { bytes } = await sent(model);
    expect(fromBinary(FormerSchema, bytes)).toMatchObject({ model: "toy", detections: [], error: "" });
  }
});

test("a message has the pixels of each class, and their size once", async () => {
  const { result, read } = await sent(toySemantic);
  const { areas } = result as SemanticResult;
  expect([areas.length, read.classes.length, read.maskSize]).toEqual([1, 1, [64, 64]]);
  const [{ label, classId, share }, found] = [areas[0]!, read.classes[0]!];
  expect([found.label, found.classId, found.score]).toEqual([label, classId, share]);
  expect(Mask.fromRle({ size: [64, 64], counts: found.mask! }).area).toBe(64 * 64);
});

test("a message has the range of depth, and every number where maps are wanted", async () => {
  const { result, read } = await sent(toyDepth, false, true);
  const { kind, min, max, depthMap } = result as DepthResult;
  expect(read.depth).toMatchObject({ kind, min: Math.fround(min), max: Math.fround(max) });
  const bytes = Buffer.from(read.depth!.map);
  expect(Float32Array.from({ length: bytes.length / 4 }, (_, at) => bytes.readFloatLE(at * 4))).toEqual(depthMap);
  expect((await sent(toyDepth)).read.depth!.map).toHaveLength(0);
});

test("a message has the mask of each object, and their size once", async () => {
  const { result, read } = await sent(toySegmenter, true);
  const { objects } = result as unknown as Extract<ObjectResult, { task: "segment" }>;
  expect([read.maskSize, read.normalized]).toEqual([[64, 64], true]);
  expect(read.detections).toHaveLength(2);
  for (const [at, { mask, x1 }] of read.detections.entries()) {
    const { area } = Mask.fromRle({ size: read.maskSize as [number, number], counts: mask! });
    expect([area, x1]).toEqual([objects[at]!.mask.area, Math.fround(objects[at]!.box[0] / 64)]);
  }
});

test("a message has the points of each object in the units of its box, and their names once", async () => {
  const { read } = await sent(toyPose);
  expect([read.keypointNames.length, read.keypointNames[0], read.keypointNames[16]]).toEqual([
    17,
    "nose",
    "right_ankle",
  ]);
  const near = (points: readonly number[]): number[] => points.map((value) => expect.closeTo(value, 3));
  expect(read.detections[0]!.keypoints).toEqual(near(TOY_POINTS.flat()));
  const { read: shares } = await sent(toyPose, true);
  expect(shares.detections[0]!.keypoints).toEqual(near(TOY_POINTS.flatMap(([x, y, score]) => [x / 64, y / 64, score])));
});

test("a message has corners and angle of each object, an angle of 0 as well", async () => {
  const { result, read } = await sent(toyObb);
  const { objects } = result as unknown as Extract<ObjectResult, { task: "obb" }>;
  for (const [at, { corners, angle }] of read.detections.entries()) {
    expect(corners).toEqual(objects[at]!.corners.flat().map(Math.fround));
    expect(angle).toBe(Math.fround(objects[at]!.angle));
  }
  expect(read.detections.map(({ angle }) => angle)).toEqual([Math.fround(Math.PI / 2), 0]);
});

/** Answers to two frames, the second of which is no image. */
async function answers(model: Uint8Array, options: WorkerOptions): Promise<ReadonlyMap<string, string | Uint8Array>[]> {
  const broker = new MemoryBroker();
  const detector = await servedModel.load(model, { backend: "cpu", threads: 1 });
  const all = { redis: "redis://unused", ...options };
  await using worker = await Worker.create(all, { broker, detector });
  const running = worker.run();
  broker.add({ source_id: "gate", data: WHITE_JPEG });
  await broker.untilWritten(1);
  broker.add({ source_id: "gate", data: "no image" });
  await broker.untilWritten(2);
  await worker.stop();
  await running;
  return broker.written.map(({ fields }) => fields);
}

test("a worker with a segmentation model answers with masks, and leaves out what a source does not want", async () => {
  const [good, bad] = await answers(toySegmenter, { sources: { gate: { classes: ["dog"], threshold: 0.5 } } });
  const { detections, maskSize } = fromBinary(DetectionsSchema, good!.get("detections") as Uint8Array);
  expect(detections.map(({ label, mask }) => [label, typeof mask])).toEqual([["dog", "string"]]);
  expect(maskSize).toEqual([64, 64]);
  const refused = fromBinary(DetectionsSchema, bad!.get("detections") as Uint8Array);
  expect([refused.detections, refused.error]).toEqual([[], expect.stringContaining("it is not an image")]);
});

test("a worker with a classifier answers with classes, in plain fields as well", async () => {
  const options: WorkerOptions = { output: { format: "fields" }, sources: { gate: { threshold: 0.3 } } };
  const [good, bad] = await answers(toyColours, options);
  const classes = JSON.parse(String(good!.get("classes"))) as object[];
  expect(classes).toHaveLength(3);
  expect(classes[0]).toEqual({ label: "red", classId: 0, score: expect.closeTo(1 / 3, 3) });
  expect([bad!.get("classes"), good!.get("error")]).toEqual(["[]", ""]);
  const [all] = await answers(toyColours, {});
  const read = fromBinary(DetectionsSchema, all!.get("detections") as Uint8Array);
  expect(read.classes.map(({ label, score }) => [label, Number(score.toFixed(2))])).toEqual([
    ["red", 0.33],
    ["green", 0.33],
    ["blue", 0.33],
  ]);
});

test("a worker with a model of maps answers with areas or depth, in both forms, and says what is no image", async () => {
  const [semantic, bad] = await answers(toySemantic, {
    sources: { gate: { threshold: 0.5, classes: ["a", "b", "c"] } },
  });
  expect(fromBinary(DetectionsSchema, semantic!.get("detections") as Uint8Array).classes).toHaveLength(1);
  const refused = fromBinary(DetectionsSchema, bad!.get("detections") as Uint8Array);
  expect([refused.classes, refused.error]).toEqual([[], expect.stringContaining("it is not an image")]);
  const [areas, none] = await answers(toySemantic, { output: { format: "fields" } });
  expect(JSON.parse(String(areas!.get("areas")))).toMatchObject([
    { pixels: 64 * 64, share: 1, mask: { size: [64, 64] } },
  ]);
  expect(none!.get("areas")).toBe("[]");
  const [depth, nothing] = await answers(toyDepth, { output: { format: "fields", maps: true } });
  const { kind, depthMap } = JSON.parse(String(depth!.get("depth")));
  expect([kind, depthMap.shape, nothing!.get("depth")]).toEqual(["metric", [64, 64], ""]);
  const [range] = await answers(toyDepth, { output: { format: "fields" } });
  expect(Object.keys(JSON.parse(String(range!.get("depth"))))).toEqual(["kind", "min", "max"]);
});

test("a worker writes points, corners and masks in plain fields, as the server's JSON has them", async () => {
  const keys = async (model: Uint8Array): Promise<string[]> => {
    const [good] = await answers(model, { output: { format: "fields", boxes: "normalized" } });
    const [first] = JSON.parse(String(good!.get("detections"))) as [object];
    return Object.keys(first).slice(4);
  };
  expect(await keys(toySegmenter)).toEqual(["mask"]);
  expect(await keys(toyPose)).toEqual(["keypoints"]);
  expect(await keys(toyObb)).toEqual(["corners", "angle"]);
});
