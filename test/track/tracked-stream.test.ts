import { expect, test } from "bun:test";
import { Detector } from "../../src/api/detector.ts";
import { OrientedDetector, PoseEstimator, Segmenter } from "../../src/api/object-model.ts";
import { imageOf } from "../../src/image/image.ts";
import type { ImageSource } from "../../src/image/source.ts";
import { DETECT_FORMS } from "../../src/tasks/detect/detection.ts";
import { motLine, parseMot } from "../../src/track/mot-measures.ts";
import { trackStream, withIds } from "../../src/track/tracked-stream.ts";
import { toyDetector } from "../support/toy-detector.ts";
import { toyObb, toyPose, toySegmenter } from "../support/toy-objects.ts";

function open(): Promise<Detector> {
  return Detector.load(toyDetector(), { backend: "cpu", batch: 4, batchWaitMs: 20, inFlight: 2 });
}

/** Images whose brightness, and so the score of what the toy finds, goes by the frame; each of its own size. */
function images(width: number, brightness: (frame: number) => number, frames = 24): ImageSource[] {
  return Array.from({ length: frames }, (_, frame) => {
    const data = new Uint8Array(width * width * 3).fill(Math.round(255 * brightness(frame)));
    return imageOf(data, { width, height: width });
  });
}

async function tracksOf(detector: Detector, sources: readonly ImageSource[]): Promise<unknown[]> {
  const rows: unknown[] = [];
  for await (const { index, detections } of detector.track(sources, { iou: 0.5 })) {
    rows.push([index, ...detections.map(({ trackId, classId, box }) => [trackId, classId, ...box])]);
  }
  return rows;
}

test("two streams in the same batches have the tracks that each has alone", async () => {
  // One goes dark for a while and loses its objects, the other begins dark.
  const first = images(64, (frame) => (frame > 8 && frame < 14 ? 0.05 : 1));
  const second = images(96, (frame) => (frame < 4 ? 0.05 : frame < 10 ? 0.5 : 0.9));
  await using detector = await open();
  const alone = [await tracksOf(detector, first), await tracksOf(detector, second)] as const;
  expect(alone.map((rows) => rows.some((row) => (row as unknown[]).length > 2))).toEqual([true, true]);
  expect(alone[0]).not.toEqual(alone[1]!);
  expect(await Promise.all([tracksOf(detector, first), tracksOf(detector, second)])).toEqual([...alone]);
});

test("a model's track gives every object its id, from 1 on, and the summary of the stream", async () => {
  await using detector = await open();
  const stream = detector.track(
    images(64, () => 1, 5),
    { tracker: "ocsort" },
  );
  for (;;) {
    const step = await stream.next();
    if (step.done === true) {
      expect(step.value).toEqual({ frames: 5, results: 5, failed: 0, dropped: 0 });
      break;
    }
    expect(step.value.detections.map(({ trackId }) => trackId).sort()).toEqual([1, 2, 3]);
    expect(step.value.detections.map(({ score }) => score)).toEqual(
      step.value.detections.map(({ score }) => score).sort((a, b) => b - a),
    );
  }
});

test("the threshold is the tracker's, unless it is given", async () => {
  await using detector = await open();
  const dim = images(64, (frame) => (frame < 3 ? 1 : 0.2), 6);
  const counts = async (options: object): Promise<number[]> => {
    const found: number[] = [];
    for await (const { detections } of detector.track(dim, options)) found.push(detections.length);
    return found;
  };
  // Scores of 0.18, 0.14 and 0.12 go on with tracks.
  expect(await counts({})).toEqual([3, 3, 3, 3, 3, 3]);
  expect(await counts({ threshold: 0.3 })).toEqual([3, 3, 3, 0, 0, 0]);
  expect(() => detector.track(dim, { tracker: { buffer: -1 } })).toThrow('Option "buffer" must be');
  expect(() => detector.track(dim, { treshold: 1 } as never)).toThrow('Did you mean "threshold"?');
});

test("an error of an image, and a caller that stops, end the stream", async () => {
  await using detector = await open();
  const broken = detector.track([images(64, () => 1, 1)[0]!, "missing.jpg"]);
  expect((await broken.next()).done).toBe(false);
  await expect(broken.next()).rejects.toThrow("missing.jpg");
  let isClosed = false;
  async function* endless(): AsyncGenerator<ImageSource, void, undefined> {
    try {
      for (;;) yield images(64, () => 1, 1)[0]!;
    } finally {
      isClosed = true;
    }
  }
  for await (const { index } of detector.track(endless())) if (index === 2) break;
  expect(isClosed).toBe(true);
});

test("cameraMotion: pixels of the images of a stream are looked at, after they have been run", async () => {
  const looked: number[] = [];
  const sources = [0, 1, 2].map((index) => ({
    width: 64,
    height: 64,
    format: "GREY" as const,
    pitchBytes: 64,
    get data() {
      looked.push(index);
      return new Uint8Array(64 * 64);
    },
  }));
  const options = { tracker: { tracker: "botsort", cameraMotion: "sparse-optical-flow" } } as const;
  const stream = trackStream(sources, options, async function* (given) {
    let index = 0;
    for await (const _ of given) {
      expect(looked.includes(index)).toBe(false);
      yield { index: index++, detections: [] };
    }
  });
  for await (const _ of stream);
  expect(new Set(looked)).toEqual(new Set([0, 1, 2]));
  const paths = trackStream(["a.jpg"], options, async function* (given) {
    for await (const _ of given) yield { index: 0, detections: [] };
  });
  expect(paths.next()).rejects.toThrow("the frame has no pixels in host memory");
});

test("images that were dropped count as time", async () => {
  // A square that goes 12 pixels an image; from the 20th on four of five are dropped.
  const isKept = (index: number): boolean => index < 20 || index % 5 === 0;
  const stream = trackStream(Array.from({ length: 60 }).keys(), {}, async function* (sources) {
    for await (const index of sources) {
      const x = 50 + 12 * index;
      const box = [x, 80, x + 40, 120] as const;
      if (isKept(index)) yield { index, detections: [{ label: "runner", classId: 0, score: 0.9, box }] };
    }
  });
  const ids: number[] = [];
  for await (const { detections } of stream) ids.push(...detections.map(({ trackId }) => trackId));
  expect(ids).toEqual(new Array(28).fill(1));
});

test("every form of a result has the ids", async () => {
  await using detector = await open();
  const stream = detector.track(images(64, () => 1, 1));
  const { value } = await stream.next();
  await stream.return(undefined as never);
  const result = value as never;
  const ids = (value as { readonly detections: readonly { readonly trackId: number }[] }).detections.map(
    ({ trackId }) => trackId,
  );
  expect([...ids].sort()).toEqual([1, 2, 3]);
  const forms = withIds(DETECT_FORMS);
  const { detections } = DETECT_FORMS.json(result) as { detections: { trackId: number }[] };
  expect(detections.map(({ trackId }) => trackId)).toEqual(ids);
  expect([forms.columns[1], ...forms.rows(result).map((row) => Number(row[1]))]).toEqual(["id", ...ids]);
  expect([forms.csvColumns[1], ...forms.csvRows(result).map((row) => Number(row[1]))]).toEqual(["trackId", ...ids]);
  const coco = DETECT_FORMS.coco(result, 0, (classId) => classId) as { track_id: number }[];
  expect(coco.map(({ track_id }) => track_id)).toEqual(ids);
  const lines = DETECT_FORMS.yolo(result).trimEnd().split("\n");
  expect(lines.map((line) => line.split(" ").length)).toEqual([7, 7, 7]);
  expect(lines.map((line) => Number(line.split(" ")[6]))).toEqual(ids);
});

test("a file of tracks is read as it was written; a broken line is named", () => {
  const object = { label: "cat", classId: 0, score: 0.5, trackId: 7, box: [10, 20, 40.5, 60] } as const;
  const text = motLine(3, object);
  expect(text).toBe("3,7,10,20,30.5,40,0.5,-1,-1,-1\n");
  const { frames, ids, boxes, scores } = parseMot(`${text}\r\n4 8 1 2 3 4\n`, "a.txt");
  expect([[...frames], [...ids], [...boxes], [...scores]]).toEqual([
    [3, 4],
    [7, 8],
    [10, 20, 30.5, 40, 1, 2, 3, 4],
    [0.5, 1],
  ]);
  for (const line of ["1,1,0,0,10", "1,1,0,0,x,10,1", "0,1,0,0,10,10", "1.5,1,0,0,10,10"]) {
    expect(() => parseMot(`${text}${line}\n`, "a.txt")).toThrow('Cannot read the tracks of "a.txt": line 2 is');
  }
});

test("masks, key points and oriented boxes carry the ids of their tracks", async () => {
  const models = [
    [PoseEstimator, toyPose, "keypoints"],
    [OrientedDetector, toyObb, "corners"],
    [Segmenter, toySegmenter, "mask"],
  ] as const;
  for (const [Model, model, has] of models) {
    await using loaded = await Model.load(model, { backend: "cpu" });
    const frames: number[][] = [];
    for await (const { objects } of loaded.track(images(64, () => 1, 3))) {
      for (const object of objects) expect(object).toHaveProperty(has);
      frames.push(objects.map(({ trackId }) => trackId).sort());
    }
    const [first] = frames;
    expect(first).toEqual(first!.map((_, at) => at + 1));
    expect([first!.length > 0, ...frames.map((ids) => ids.join())]).toEqual([true, ...frames.map(() => first!.join())]);
  }
});
