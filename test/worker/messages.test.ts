import { expect, test } from "bun:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { ImageError } from "../../src/core/errors.ts";
import type { Image } from "../../src/image/image.ts";
import type { Detection, DetectionResult } from "../../src/tasks/detect/detection.ts";
import { DetectionSchema, DetectionsSchema, Encoding, FrameSchema, TimingsSchema } from "../../src/tasks/messages.js";
import { DETECT_MESSAGES } from "../../src/tasks/result-messages.ts";
import { type Answer, answerFields, imageFrom, readFrame, unreadableFrame } from "../../src/worker/messages.ts";
import { chance } from "../support/chance.ts";

function resultOf(width: number, height: number, detections: readonly Detection[]): DetectionResult {
  return { ...DETECT_MESSAGES.nothing, width, height, detections };
}

function plain(fields: Readonly<Record<string, string | Uint8Array>>): Map<string, Uint8Array> {
  return new Map(
    Object.entries(fields).map(([name, value]) => [name, typeof value === "string" ? Buffer.from(value) : value]),
  );
}

test("readFrame() reads a protobuf frame over its own bytes", () => {
  const data = Uint8Array.from({ length: 1000 }, (_, at) => at);
  const frame = create(FrameSchema, { sourceId: "a", frameId: "7", timestamp: "1700000000000001", width: 3, data });
  const bytes = toBinary(FrameSchema, frame);
  const read = readFrame(new Map([["frame", bytes]]), "frame 1-0");
  expect(read).toMatchObject({ sourceId: "a", frameId: "7", timestamp: "1700000000000001", width: 3 });
  expect(read.data).toEqual(data);
  expect(read.data.buffer).toBe(bytes.buffer);
  expect(imageFrom(read, "frame 1-0")).toBe(read.data);
});

test("readFrame() reads plain fields over their own bytes", () => {
  const data = new Uint8Array(4 * 2 * 3 + 2);
  const fields = {
    source_id: "a",
    frame_id: "7",
    timestamp: "-5",
    encoding: "BGR",
    width: "3",
    height: "2",
    pitch: "13",
    data,
  };
  const read = readFrame(plain(fields), "frame 1-0");
  expect(read).toMatchObject({ sourceId: "a", frameId: "7", timestamp: "-5", encoding: Encoding.BGR, pitch: 13 });
  expect(imageFrom(read, "frame 1-0")).toEqual({ width: 3, height: 2, format: "BGR", pitchBytes: 13, data });
  expect((imageFrom(read, "frame 1-0") as Image).data).toBe(data);
  expect(readFrame(plain({ data }), "frame 1-0")).toMatchObject({ sourceId: "", timestamp: "0", encoding: 0 });
});

test("readFrame() and imageOf() refuse what is no frame, for good", () => {
  const read = (fields: Readonly<Record<string, string | Uint8Array>>): unknown =>
    imageFrom(readFrame(plain(fields), "frame 1-0"), "frame 1-0");
  const data = new Uint8Array(11);
  for (const fields of [
    {},
    { fram: "x" },
    { frame: "no protobuf at all" },
    { frame: "" },
    { data: "" },
    { data, encoding: "tiff4" },
    { data, encoding: "constructor" },
    { data, encoding: "rgb" },
    { data, encoding: "rgb", width: "2", height: "2" },
    { data, encoding: "rgb", width: "2", height: "1", pitch: "5" },
    { data, encoding: "rgb", width: "two", height: "2" },
    { data, encoding: "nv12", width: "3", height: "3" },
    { data, encoding: "rgba", width: "999999999", height: "999999999" },
    { data, timestamp: "yesterday" },
    { data, timestamp: "9223372036854775808" },
    { frame: toBinary(FrameSchema, create(FrameSchema, { data, encoding: 99 as Encoding })) },
    { frame: toBinary(FrameSchema, create(FrameSchema, { data, encoding: -1 as Encoding })) },
  ] as const) {
    expect(() => read(fields as Record<string, string>), JSON.stringify(Object.keys(fields))).toThrow(ImageError);
  }
});

test("unreadableFrame() knows source, frame and time as far as they are whole", () => {
  const ids = { sourceId: "gate", frameId: "7", timestamp: "1700" };
  const whole = toBinary(FrameSchema, create(FrameSchema, { ...ids, width: 9, data: new Uint8Array(40) }));
  const known = (bytes: Uint8Array): unknown => unreadableFrame(new Map([["frame", bytes]]));
  expect(known(whole.subarray(0, whole.length - 10))).toMatchObject({ ...ids, width: 0, data: new Uint8Array(0) });
  expect(known(whole.subarray(0, 8))).toMatchObject({ sourceId: "gate", frameId: "", timestamp: "0" });
  expect(known(Buffer.concat([whole, Buffer.from("and then no protobuf")]))).toMatchObject(ids);
  expect(known(Buffer.from("no protobuf at all"))).toMatchObject({ sourceId: "", frameId: "", timestamp: "0" });
  const fields = { source_id: "gate", frame_id: "7", timestamp: "1700", encoding: "tiff4", data: "x" };
  expect(unreadableFrame(plain(fields))).toMatchObject(ids);
  expect(unreadableFrame(plain({ ...fields, timestamp: "yesterday" }))).toMatchObject({ ...ids, timestamp: "0" });
  expect(unreadableFrame(plain({ source_id: "gate" }))).toMatchObject({ sourceId: "gate", frameId: "" });
});

test("readFrame() repeats no more of a field than a line holds, as the words go into answers and the log", () => {
  const long = "9".repeat(1_000_000);
  const many = Object.fromEntries(Array.from({ length: 5000 }, (_, at) => [`${at}${long.slice(0, 200)}`, "x"]));
  for (const fields of [
    { data: "x", encoding: long },
    { data: "x", width: long },
    { data: "x", timestamp: long },
    many,
  ]) {
    let text = "";
    try {
      readFrame(plain(fields), "frame 1-0");
    } catch (error) {
      text = (error as Error).message;
    }
    expect(text).toContain("got ");
    expect(text.length).toBeLessThan(900);
  }
});

test("readFrame() stands any bytes", () => {
  const random = chance(7);
  const good = toBinary(
    FrameSchema,
    create(FrameSchema, { sourceId: "a", frameId: "7", width: 9, data: new Uint8Array(40) }),
  );
  for (let round = 0; round < 2000; round++) {
    const bytes = good.slice(0, Math.floor(random() * good.length));
    for (let flip = 0; flip < 3 && bytes.length > 0; flip++)
      bytes[Math.floor(random() * bytes.length)] = random() * 256;
    try {
      readFrame(new Map([["frame", bytes]]), "frame 1-0");
    } catch (error) {
      expect(error).toBeInstanceOf(ImageError);
    }
  }
});

for (const [width, height, pitch] of [
  [1, 1, 0],
  [7, 5, 0],
  [64, 48, 75],
  [33, 721, 36],
] as const) {
  test(`imageOf() takes NV12 over its own bytes, ${width}x${height}, pitch ${pitch}`, () => {
    const rowBytes = pitch === 0 ? width : pitch;
    const chromaRowBytes = rowBytes + (rowBytes & 1);
    const data = new Uint8Array(rowBytes * height + chromaRowBytes * ((height + 1) >> 1));
    const read = readFrame(
      plain({ data, encoding: "nv12", width: `${width}`, height: `${height}`, pitch: `${pitch}` }),
      "frame",
    );
    const image = imageFrom(read, "frame") as Image;
    expect(image.data).toBe(data);
    expect(image).toMatchObject({ width, height, format: "NV12", pitchBytes: rowBytes });
    expect(image).toMatchObject({ chromaOffset: rowBytes * height, chromaPitchBytes: chromaRowBytes });
    expect(image.yuvStandard).toBe(height > 576 ? "BT.709" : "BT.601");
    expect(() => imageFrom({ ...read, data: data.subarray(0, rowBytes * height) }, "frame")).toThrow(ImageError);
  });
}

const timings = { receive: 1, wait: 2, decode: 3, preprocess: 4, infer: 5, postprocess: 6, total: 21.00049 };
const answer: Answer = {
  frame: { ...readFrame(plain({ source_id: "gate", frame_id: "7", timestamp: "1700", data: "x" }), "frame") },
  stream: "frames",
  entryId: "12-3",
  result: resultOf(200, 100, [{ label: "cat", classId: 4, score: 0.75, box: [20, 10, 100.0004, 50] }]),
  timings,
  error: "",
};
const names = { model: "toy", worker: "w1" };
const format = { format: "protobuf", isNormalized: true, messages: DETECT_MESSAGES, ...names } as const;

test("answerFields() writes protobuf, boxes in pixels or as fractions", () => {
  const [id, message] = answerFields(answer, format);
  expect(id).toEqual(["id", "gate/7/12-3"]);
  const read = fromBinary(DetectionsSchema, message![1] as Uint8Array);
  expect(read).toMatchObject({ id: "gate/7/12-3", sourceId: "gate", frameId: "7", timestamp: "1700", entryId: "12-3" });
  expect(read).toMatchObject({
    width: 200,
    height: 100,
    normalized: true,
    model: "toy",
    worker: "w1",
    stream: "frames",
  });
  const [{ x1, y1, x2, y2, score, label, classId }] = read.detections as [(typeof read.detections)[0]];
  expect([label, classId, score]).toEqual(["cat", 4, 0.75]);
  for (const [got, want] of [
    [x1, 0.1],
    [y1, 0.1],
    [x2, 0.5],
    [y2, 0.5],
  ] as const)
    expect(got).toBeCloseTo(want, 5);
  expect(read.timings?.postprocess).toBe(6);
});

/** What the library itself makes of an answer. */
function byLibrary({ frame, result, ...rest }: Answer, isNormalized: boolean): Uint8Array {
  const { sourceId, frameId, timestamp } = frame;
  const { width, height, detections } = result as DetectionResult;
  const [scaleX, scaleY] = isNormalized && width > 0 ? [1 / width, 1 / height] : [1, 1];
  const message = create(DetectionsSchema, {
    ...rest,
    ...names,
    width,
    height,
    sourceId,
    frameId,
    timestamp,
    id: `${sourceId}/${frameId}/${rest.entryId}`,
    normalized: isNormalized,
    detections: detections.map(({ label, classId, score, box: [x1, y1, x2, y2] }) => {
      return { label, classId, score, x1: x1 * scaleX, y1: y1 * scaleY, x2: x2 * scaleX, y2: y2 * scaleY };
    }),
  });
  return toBinary(DetectionsSchema, message);
}

test("answerFields() writes the bytes that the library writes, whatever the answer", () => {
  const random = chance(20261122);
  const pick = <T>(choices: readonly T[]): T => choices[Math.floor(random() * choices.length)]!;
  const text = (): string => pick(["", "a", "Straße", "\u{1f415}", "\ud800", "x".repeat(200), "ß".repeat(100)]);
  const number = (): number => pick([0, -0, 1, random(), random() * 4096, -3.5, Number.NaN, Number.POSITIVE_INFINITY]);
  for (let round = 0; round < 500; round++) {
    const isNormalized = pick([false, true]);
    const detections = Array.from({ length: pick([0, 1, 3, 40]) }, () => {
      const classId = pick([0, 1, 79, 300, 2 ** 31 - 1]);
      return { label: text(), classId, score: number(), box: [number(), number(), number(), number()] as const };
    });
    const timed = Object.fromEntries(Object.keys(timings).map((name) => [name, number()])) as typeof timings;
    const timestamp = pick([
      "0",
      "00",
      "-0",
      "1",
      "-1",
      "1700000000000001",
      "9223372036854775807",
      "-9223372036854775808",
    ]);
    const [width, height] = pick([
      [0, 0],
      [1920, 1080],
      [1, 65536],
    ] as const);
    const frame = { ...answer.frame, sourceId: text(), frameId: text(), timestamp };
    const about = { stream: text(), entryId: text(), error: text() };
    const whole: Answer = { frame, result: resultOf(width, height, detections), timings: timed, ...about };
    const [, [, bytes]] = answerFields(whole, { ...format, isNormalized }) as [unknown, [string, Uint8Array]];
    expect(bytes).toEqual(byLibrary(whole, isNormalized));
  }
});

/** Fields that detectors have nothing for: test/worker/tasks.test.ts looks at them. */
const OF_TASKS = ["mask", "keypoints", "corners", "angle", "keypointNames", "classes", "maskSize", "depth"];

test("answerFields() leaves no field of the messages out", () => {
  const whole = { ...answer, error: "none" };
  const [, message] = answerFields(whole, format);
  const read = fromBinary(DetectionsSchema, message![1] as Uint8Array);
  for (const [schema, found] of [
    [DetectionsSchema, read],
    [DetectionSchema, read.detections[0]],
    [TimingsSchema, read.timings],
  ] as const) {
    for (const { localName } of schema.fields) {
      if (OF_TASKS.includes(localName)) continue;
      const value = (found as unknown as Record<string, unknown>)[localName];
      expect(Boolean(value), localName).toBe(true);
    }
  }
});

test("answerFields() writes plain fields", () => {
  const fields = Object.fromEntries(answerFields(answer, { ...format, format: "fields", isNormalized: false }));
  expect(fields).toMatchObject({ id: "gate/7/12-3", source_id: "gate", width: "200", normalized: "0", error: "" });
  expect(JSON.parse(String(fields.detections))).toEqual([
    { label: "cat", classId: 4, score: 0.75, box: [20, 10, 100, 50] },
  ]);
  expect(JSON.parse(String(fields.timings))).toEqual({ ...timings, total: 21 });
});
