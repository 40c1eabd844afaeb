import { expect, test } from "bun:test";
import { ClosedError, CudaError, ImageError } from "../../src/core/errors.ts";
import { setLogSink } from "../../src/core/log.ts";
import type { Image } from "../../src/image/image.ts";
import type { DetectionBlock } from "../../src/model/rows.ts";
import { MicroBatcher } from "../../src/runtime/batcher.ts";
import { Pipeline } from "../../src/runtime/pipeline.ts";
import type { NmsOptions } from "../../src/tasks/detect/nms.ts";
import type { DetectPipeline } from "../support/backends.ts";
import { flatImage } from "../support/flat-image.ts";
import { paint, sharpOf } from "../support/images.ts";
import { toyDetector } from "../support/toy-detector.ts";
import { WatchedBackend } from "../support/watched-backend.ts";

const all: NmsOptions = { threshold: 0, iou: 0.7, maxDetections: 10, classAgnostic: false, classIds: undefined };
const white = flatImage(64, 64, 255);
const notAImage = new TextEncoder().encode("this is no image at all");

interface Rig extends AsyncDisposable {
  readonly backends: readonly WatchedBackend[];
  readonly pipeline: DetectPipeline;
  /** Gives the best score: the brightness of the image times 0.9. */
  readonly batcher: MicroBatcher<NmsOptions, DetectionBlock, number>;
}

async function rig(
  options: { batch?: number; wait?: number; inFlight?: number; devices?: number; model?: Uint8Array } = {},
): Promise<Rig> {
  const { batch = 4, wait = 0, inFlight = 1, devices = 1, model = toyDetector() } = options;
  const backends: WatchedBackend[] = [];
  for (let device = 0; device < devices; device++) backends.push(await WatchedBackend.load(model));
  const pipeline = new Pipeline(backends, { inFlight, batch });
  const batcher = new MicroBatcher(pipeline, { wait, read: ({ output }) => output.scores[0]! });
  return {
    backends,
    pipeline,
    batcher,
    [Symbol.asyncDispose]: () => {
      batcher.flush();
      return pipeline.close();
    },
  };
}

const levels = [255, 204, 153, 102, 51, 0, 230];
const grey = (level: number): Image => flatImage(33 + level, 64, level);

test("MicroBatcher joins frames of one moment to full runs, results in their places", async () => {
  await using it = await rig({ batch: 3, inFlight: 2 });
  const promises = levels.map((level) => it.batcher.submit(flatImage(64, 64, level), all).promise);
  const scores = await Promise.all(promises);
  expect(scores.map((score) => Math.round((score / 0.9) * 255))).toEqual(levels);
  expect(it.backends[0]!.runs).toEqual([3, 3, 1]);
});

test("MicroBatcher takes images of any size into one run, those that came while no slot was free", async () => {
  await using it = await rig({ batch: 4 });
  const [backend] = it.backends;
  backend!.hold();
  const first = it.batcher.submit(white, all).promise;
  await Bun.sleep(1);
  const later = [grey(1), grey(2), flatImage(1, 1, 255), grey(4), grey(5)].map((picture, at) =>
    Bun.sleep(at).then(() => it.batcher.submit(picture, all).promise),
  );
  await Bun.sleep(20);
  backend!.letGo();
  await Promise.all([first, ...later]);
  expect(backend!.runs).toEqual([1, 4, 1]);
});

test("MicroBatcher with a wait joins frames of different moments, and runs a full batch at once", async () => {
  await using it = await rig({ batch: 2, wait: 10_000, inFlight: 2 });
  const [backend] = it.backends;
  const first = it.batcher.submit(white, all).promise;
  await Bun.sleep(5);
  expect(backend!.runs).toEqual([]);
  const second = it.batcher.submit(white, all).promise;
  await Promise.all([first, second]);
  expect(backend!.runs).toEqual([2]);
});

test("MicroBatcher lets a frame wait no longer than was said, counted from the first", async () => {
  await using it = await rig({ batch: 8, wait: 30 });
  const startedAt = performance.now();
  const first = it.batcher.submit(white, all).promise;
  await Bun.sleep(15);
  const second = it.batcher.submit(white, all).promise;
  await Promise.all([first, second]);
  expect(performance.now() - startedAt).toBeGreaterThanOrEqual(28);
  expect(performance.now() - startedAt).toBeLessThan(2000);
  expect(it.backends[0]!.runs).toEqual([2]);
});

test("MicroBatcher never mixes selections, and joins those that are equal but not the same", async () => {
  await using it = await rig({ batch: 4, inFlight: 4 });
  const kinds: NmsOptions[] = [
    all,
    { ...all, threshold: 0.5 },
    { ...all, classIds: new Set([1]) },
    { ...all, maxDetections: 1 },
  ];
  const promises = Array.from({ length: 16 }, (_, at) => {
    const kind = kinds[at % 4]!;
    const copy = { ...kind, classIds: kind.classIds && new Set(kind.classIds) };
    return it.batcher.submit(white, copy).promise;
  });
  const scores = await Promise.all(promises);
  expect(it.backends[0]!.runs).toEqual([4, 4, 4, 4]);
  expect(scores.map((score) => Number(score.toFixed(3)))).toEqual(
    Array.from({ length: 16 }, (_, at) => (at % 4 === 2 ? 0.7 : 0.9)),
  );
});

test("MicroBatcher: one bad image fails alone", async () => {
  await using it = await rig({ batch: 4 });
  const promises = [white, notAImage, white, "no-such-file.png"].map(
    (source) => it.batcher.submit(source, all).promise,
  );
  const settled = await Promise.allSettled(promises);
  expect(settled.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled", "rejected"]);
  for (const outcome of settled) if (outcome.status === "rejected") expect(outcome.reason).toBeInstanceOf(ImageError);
  expect(it.backends[0]!.runs).toEqual([2]);
});

test("MicroBatcher: a run that fails is told to each of its frames, and the next one goes on", async () => {
  await using it = await rig({ batch: 2 });
  it.backends[0]!.fault = new Error("no memory");
  const failed = await Promise.allSettled([white, white].map((source) => it.batcher.submit(source, all).promise));
  expect(failed.map((outcome) => outcome.status === "rejected" && outcome.reason.message)).toEqual([
    "no memory",
    "no memory",
  ]);
  it.backends[0]!.fault = undefined;
  expect(await it.batcher.submit(white, all).promise).toBeCloseTo(0.9, 5);
});

test("MicroBatcher.submit() with a signal: aborted before a slot is free, the frame never runs", async () => {
  await using it = await rig({ batch: 1 });
  const [backend] = it.backends;
  const abort = new AbortController();
  backend!.hold();
  const running = it.batcher.submit(white, all).promise;
  const waiting = it.batcher.submit(white, all, abort.signal);
  const last = it.batcher.submit(white, all).promise;
  const reason = new Error("changed my mind");
  abort.abort(reason);
  expect(waiting.isSettled).toBe(true);
  await expect(waiting.promise).rejects.toBe(reason);
  backend!.letGo();
  await Promise.all([running, last]);
  expect(backend!.runs).toEqual([1, 1]);
  expect(() => it.batcher.submit(white, all, abort.signal)).toThrow(reason);
});

test("MicroBatcher.submit() with a signal: aborted while running, it rejects at once, its neighbours do not", async () => {
  await using it = await rig({ batch: 3 });
  const [backend] = it.backends;
  const abort = new AbortController();
  backend!.hold();
  const frames = [undefined, abort.signal, undefined].map((signal) => it.batcher.submit(white, all, signal).promise);
  await Bun.sleep(1);
  expect(backend!.running).toBe(1);
  abort.abort();
  await expect(frames[1]!).rejects.toThrow("abort");
  expect(backend!.running).toBe(1);
  backend!.letGo();
  expect(await frames[0]!).toBeCloseTo(0.9, 5);
  expect(await frames[2]!).toBeCloseTo(0.9, 5);
  expect(await it.batcher.submit(white, all).promise).toBeCloseTo(0.9, 5);
});

/** Hands the pixels to somebody else, as a `postMessage` does; what is left has none. */
const giveAway = ({ data }: Image): unknown => structuredClone(data.buffer, { transfer: [data.buffer as ArrayBuffer] });
const own = (level: number): Image => {
  const picture = flatImage(64, 64, level);
  return { ...picture, data: Uint8Array.from(picture.data) };
};

test("MicroBatcher: pixels that are given away while files are decoded, or a shape is made ready, harm no neighbour", async () => {
  const png = await sharpOf(paint(64, 64)).png().toBuffer();
  for (const when of ["decoding", "preparing"] as const) {
    await using it = await rig({ batch: 4 });
    const [backend] = it.backends;
    const abort = new AbortController();
    const [aborted, stolen, kept] = [own(255), own(255), own(204)];
    const change = (): void => {
      abort.abort();
      giveAway(aborted);
      giveAway(stolen);
    };
    const prepared: number[] = [];
    backend!.preparing = (images) => {
      prepared.push(images);
      if (when === "decoding" || prepared.length > 1) return undefined;
      return Bun.sleep(1).then(change);
    };
    const settled = Promise.allSettled([
      it.batcher.submit(aborted, all, abort.signal).promise,
      it.batcher.submit(stolen, all).promise,
      it.batcher.submit(kept, all).promise,
      it.batcher.submit(png, all).promise,
    ]);
    if (when === "decoding") queueMicrotask(change);
    const [first, second, third, fourth] = await settled;
    expect(first).toMatchObject({ status: "rejected", reason: { name: "AbortError" } });
    expect(second).toMatchObject({ status: "rejected", reason: { name: "ShapeError" } });
    expect((second as PromiseRejectedResult).reason.message).toContain("its pixels are gone, 0 of 12288 bytes");
    expect(third).toMatchObject({ status: "fulfilled", value: expect.closeTo(0.9 * 0.8, 4) });
    expect(fourth!.status).toBe("fulfilled");
    expect(backend!.runs).toEqual([2]);
    expect(prepared).toEqual(when === "decoding" ? [2] : [4, 2]);
  }
});

test("MicroBatcher.submit() leaves no listener on a signal that outlives its frames", async () => {
  await using it = await rig({ batch: 4, inFlight: 2 });
  const { signal } = new AbortController();
  let listeners = 0;
  const add = signal.addEventListener.bind(signal);
  const remove = signal.removeEventListener.bind(signal);
  signal.addEventListener = (...args: Parameters<typeof add>) => {
    listeners += 1;
    add(...args);
  };
  signal.removeEventListener = (...args: Parameters<typeof remove>) => {
    listeners -= 1;
    remove(...args);
  };
  const sources = [white, notAImage, white];
  await Promise.allSettled(sources.map((source) => it.batcher.submit(source, all, signal).promise));
  expect(listeners).toBe(0);
});

test("MicroBatcher: ten thousand waiting frames that are aborted give their slots back", async () => {
  await using it = await rig({ batch: 1 });
  const [backend] = it.backends;
  const abort = new AbortController();
  backend!.hold();
  const running = it.batcher.submit(white, all).promise;
  const waiting = Array.from({ length: 10_000 }, () => it.batcher.submit(white, all, abort.signal).promise);
  const settled = Promise.allSettled(waiting);
  abort.abort();
  await settled;
  backend!.letGo();
  await running;
  expect(await it.batcher.submit(white, all).promise).toBeCloseTo(0.9, 5);
  expect(backend!.runs).toEqual([1, 1]);
});

test("MicroBatcher: what waits when the pipeline closes is run, what comes after is refused", async () => {
  const it = await rig({ batch: 4, wait: 10_000 });
  const first = it.batcher.submit(white, all).promise;
  it.batcher.flush();
  const closing = it.pipeline.close();
  expect(await first).toBeCloseTo(0.9, 5);
  await closing;
  const late = it.batcher.submit(white, all).promise;
  it.batcher.flush();
  await expect(late).rejects.toThrow(ClosedError);
});

test("Frame.replace() puts a newer image in the place of one that has no slot", async () => {
  await using it = await rig({ batch: 1 });
  const [backend] = it.backends;
  backend!.hold();
  const running = it.batcher.submit(white, all);
  const waiting = it.batcher.submit(white, all);
  expect(running.replace(flatImage(64, 64, 0))).toBe(false);
  expect(waiting.replace(flatImage(64, 64, 51))).toBe(true);
  backend!.letGo();
  expect(await running.promise).toBeCloseTo(0.9, 5);
  expect(await waiting.promise).toBeCloseTo(0.18, 5);
  expect(waiting.replace(white)).toBe(false);
});

test("Pipeline over several devices sends frames to the least loaded, by turns", async () => {
  await using it = await rig({ batch: 1, inFlight: 2, devices: 3 });
  expect(it.pipeline.inFlight).toBe(6);
  const runs = (): number[] => it.backends.map((backend) => backend.runs.length);
  for (const backend of it.backends) backend.hold();
  const promises = Array.from({ length: 6 }, () => it.batcher.submit(white, all).promise);
  expect(runs()).toEqual([2, 2, 2]);
  const waiting = Array.from({ length: 3 }, () => it.batcher.submit(white, all).promise);
  it.backends[1]!.letGo();
  await Promise.all(waiting);
  expect(runs()).toEqual([2, 5, 2]);
  for (const backend of it.backends) backend.letGo();
  await Promise.all(promises);
});

function lostDevice(): CudaError {
  return new CudaError("Cannot complete cudaEventQuery: it returned cudaErrorIllegalAddress (700)", {
    status: 700,
    code: "cudaErrorIllegalAddress",
    call: "cudaEventQuery",
  });
}

test("Pipeline over several devices: frames of a lost one fail by name, new ones go to the others, with a line", async () => {
  const lines: string[] = [];
  const former = setLogSink((level, text) => lines.push(`${level}: ${text}`));
  try {
    await using it = await rig({ batch: 1, inFlight: 2, devices: 2 });
    const [broken, good] = it.backends;
    broken!.fault = lostDevice();
    const settled = await Promise.allSettled(Array.from({ length: 12 }, () => it.batcher.submit(white, all).promise));
    const failed = settled.filter(({ status }) => status === "rejected");
    expect(failed.length).toBe(2);
    for (const outcome of failed) expect((outcome as PromiseRejectedResult).reason).toBe(broken!.fault);
    expect(broken!.runs.length).toBe(2);
    expect(good!.runs.length).toBe(10);
    expect(lines).toEqual([
      expect.stringMatching(
        /^error: Frames go to the other devices: ONNX .*, number 1 of 2, is lost with cudaErrorIllegalAddress$/,
      ),
    ]);
    // The last device is kept: it says itself what is wrong with it.
    good!.fault = lostDevice();
    for (let step = 0; step < 2; step++) {
      await expect(it.batcher.submit(white, all).promise).rejects.toBe(good!.fault);
    }
    expect(lines.length).toBe(1);
  } finally {
    setLogSink(former);
  }
});

test("Pipeline over several devices: an error that is no fault of the device retires none", async () => {
  await using it = await rig({ batch: 1, devices: 2 });
  const [first] = it.backends;
  first!.fault = new Error("bad shape");
  await Promise.allSettled([white, white].map((source) => it.batcher.submit(source, all).promise));
  first!.fault = undefined;
  await Promise.all([white, white].map((source) => it.batcher.submit(source, all).promise));
  expect(it.backends.map(({ runs }) => runs.length)).toEqual([2, 2]);
});

test("MicroBatcher fills a model of fixed batch with the frames there are", async () => {
  await using it = await rig({ batch: 3, model: toyDetector({ batch: 3 }) });
  const scores = await Promise.all(levels.map((level) => it.batcher.submit(flatImage(64, 64, level), all).promise));
  expect(scores.map((score) => Math.round((score / 0.9) * 255))).toEqual(levels);
  expect(it.backends[0]!.runs).toEqual([3, 3, 1]);
});

test("MicroBatcher fails the frames whose result cannot be read, and gives the slot back", async () => {
  await using it = await rig();
  const batcher = new MicroBatcher(it.pipeline, {
    wait: 0,
    read: () => {
      throw new RangeError("unreadable");
    },
  });
  await expect(batcher.submit(white, all).promise).rejects.toThrow("unreadable");
  expect(await it.batcher.submit(white, all).promise).toBeGreaterThan(0);
});
