import { expect, test } from "bun:test";
import { Detector } from "../../src/api/detector.ts";
import { inOrder, type StreamResult, type StreamSummary } from "../../src/api/stream.ts";
import { ClosedError, ImageError, OptionError } from "../../src/core/errors.ts";
import type { Image } from "../../src/image/image.ts";
import type { ImageSource } from "../../src/image/source.ts";
import { MicroBatcher } from "../../src/runtime/batcher.ts";
import { Pipeline } from "../../src/runtime/pipeline.ts";
import type { DetectionResult } from "../../src/tasks/detect/detection.ts";
import type { Drawable } from "../../src/tasks/task-result.ts";
import { flatImage } from "../support/flat-image.ts";
import { toyDetector } from "../support/toy-detector.ts";
import { WatchedBackend } from "../support/watched-backend.ts";

const white = flatImage(64, 64, 255);
const notAImage = new TextEncoder().encode("this is no image at all");

/** Everything a stream gave, and what it returned. */
async function drain(
  stream: AsyncGenerator<StreamResult, StreamSummary, undefined>,
): Promise<{ results: StreamResult[]; summary: StreamSummary }> {
  const results: StreamResult[] = [];
  while (true) {
    const step = await stream.next();
    if (step.done) return { results, summary: step.value };
    results.push(step.value);
  }
}

test("Detector.stream() yields each result's place in the sequence, and returns what became of all", async () => {
  await using detector = await Detector.load(toyDetector(), { inFlight: 2 });
  const onError = (): void => {};
  const { results, summary } = await drain(detector.stream([white, notAImage, white, "none.jpg", white], { onError }));
  expect(results.map(({ index }) => index)).toEqual([0, 2, 4]);
  expect(summary).toEqual({ frames: 5, results: 3, failed: 2, dropped: 0 });
  expect((await drain(detector.stream([]))).summary).toEqual({ frames: 0, results: 0, failed: 0, dropped: 0 });
});

test("Detector.stream() names a misspelt option and a wrong value", async () => {
  await using detector = await Detector.load(toyDetector());
  expect(() => detector.stream([], { polcy: "latest" } as object)).toThrow('Did you mean "policy"?');
  expect(() => detector.stream([], { policy: "newest" } as object)).toThrow("all or latest");
  expect(() => detector.stream([], { onDrop: 1 } as object)).toThrow(OptionError);
});

test("Detector.stream() hands a result over before the next image of a live source is there", async () => {
  await using detector = await Detector.load(toyDetector(), { inFlight: 2 });
  const more = Promise.withResolvers<void>();
  async function* camera(): AsyncGenerator<Image> {
    yield white;
    await more.promise;
    yield white;
  }
  const stream = detector.stream(camera());
  expect((await stream.next()).value).toMatchObject({ index: 0 });
  more.resolve();
  expect((await stream.next()).value).toMatchObject({ index: 1 });
  expect((await stream.next()).done).toBe(true);
});

test("Detector.stream() throws what its source threw, after the results before it", async () => {
  await using detector = await Detector.load(toyDetector(), { inFlight: 3 });
  async function* camera(): AsyncGenerator<Image> {
    yield white;
    yield white;
    throw new Error("cable pulled");
  }
  const seen: number[] = [];
  const run = async (): Promise<void> => {
    for await (const { index } of detector.stream(camera())) seen.push(index);
  };
  await expect(run()).rejects.toThrow("cable pulled");
  expect(seen).toEqual([0, 1]);
});

test("Detector.stream() without onError yields the results before the first error", async () => {
  await using detector = await Detector.load(toyDetector(), { inFlight: 4 });
  const seen: number[] = [];
  const run = async (): Promise<void> => {
    for await (const { index } of detector.stream([white, white, notAImage, white])) seen.push(index);
  };
  await expect(run()).rejects.toThrow(ImageError);
  expect(seen).toEqual([0, 1]);
});

test("Detector.stream() with a signal ends with its reason, once what is running has ended", async () => {
  await using detector = await Detector.load(toyDetector(), { inFlight: 2 });
  const abort = new AbortController();
  const reason = new Error("enough");
  let isClosed = false;
  async function* endless(): AsyncGenerator<Image> {
    try {
      while (true) yield white;
    } finally {
      isClosed = true;
    }
  }
  let seen = 0;
  const run = async (): Promise<void> => {
    for await (const _ of detector.stream(endless(), { signal: abort.signal })) {
      seen += 1;
      if (seen === 5) abort.abort(reason);
    }
  };
  await expect(run()).rejects.toBe(reason);
  expect(seen).toBe(5);
  expect(isClosed).toBe(true);
  await expect(detector.stream([white], { signal: abort.signal }).next()).rejects.toBe(reason);
  expect((await detector.detect(white)).detections.length).toBe(3);
});

test("Detector.stream() with a signal ends while its source has nothing to give", async () => {
  await using detector = await Detector.load(toyDetector());
  const abort = new AbortController();
  async function* silent(): AsyncGenerator<Image> {
    yield white;
    await new Promise(() => {});
  }
  const stream = detector.stream(silent(), { signal: abort.signal });
  expect((await stream.next()).value).toMatchObject({ index: 0 });
  const next = stream.next();
  setTimeout(() => abort.abort(new Error("no more")), 5);
  await expect(next).rejects.toThrow("no more");
});

test("Detector.close() while a stream runs: its running images are yielded, then it throws ClosedError", async () => {
  for (const policy of ["all", "latest"] as const) {
    const detector = await Detector.load(toyDetector(), { inFlight: 2 });
    async function* endless(): AsyncGenerator<Image> {
      while (true) {
        yield white;
        await Bun.sleep(1);
      }
    }
    let seen = 0;
    let closing: Promise<void> | undefined;
    const errors: unknown[] = [];
    const onError = (error: unknown): void => {
      errors.push(error);
    };
    const run = async (): Promise<void> => {
      for await (const { detections } of detector.stream(endless(), { policy, onError })) {
        expect(detections.length).toBe(3);
        if (++seen === 3) closing = detector.close();
      }
    };
    await expect(run()).rejects.toThrow(ClosedError);
    await closing;
    expect(seen).toBeGreaterThanOrEqual(3);
    expect(errors).toEqual([]);
  }
});

test("Detector.stream() in batches gives full runs from a list and from a generator, results in order", async () => {
  const levels = Array.from({ length: 42 }, (_, at) => 255 - at * 5);
  async function* generated(): AsyncGenerator<Image> {
    for (const level of levels) yield flatImage(33, 64, level);
  }
  for (const sources of [levels.map((level) => flatImage(64, 64, level)), generated()]) {
    const backend = await WatchedBackend.load();
    await using watched = watch(backend, { batch: 4, inFlight: 1 });
    const scores: number[] = [];
    for await (const { detections } of watched.stream(sources, "all")) scores.push(detections[0]!.score);
    expect(scores.length).toBe(42);
    expect(scores).toEqual([...scores].sort((a, b) => b - a));
    expect(backend.runs.length).toBeLessThanOrEqual(13);
  }
});

interface Watched extends AsyncDisposable {
  stream(
    sources: Iterable<ImageSource> | AsyncIterable<ImageSource>,
    policy: "all" | "latest",
    onDrop?: (index: number) => void,
  ): AsyncGenerator<StreamResult, StreamSummary, undefined>;
}

/** What a detector does, over a backend that can be held up. */
function watch(backend: WatchedBackend, { batch, inFlight }: { batch: number; inFlight: number }): Watched {
  const pipeline = new Pipeline(backend, { inFlight, batch });
  const batcher = new MicroBatcher(pipeline, {
    wait: 0,
    read: ({ output }) => ({ detections: [{ score: output.scores[0]! }] }) as unknown as DetectionResult & Drawable,
  });
  const selection = { threshold: 0, iou: 0.7, maxDetections: 10, classAgnostic: false, classIds: undefined };
  return {
    stream: (sources, policy, onDrop) =>
      inOrder(sources, {
        policy,
        onDrop,
        onError: undefined,
        signal: undefined,
        limit: (inFlight + (batch > 1 && policy === "all" ? 1 : 0)) * batch,
        submit: (source) => batcher.submit(source, selection),
      }),
    [Symbol.asyncDispose]: () => pipeline.close(),
  };
}

test('Detector.stream() with policy "latest" reads on, and drops what is overtaken while no slot is free', async () => {
  const backend = await WatchedBackend.load();
  await using watched = watch(backend, { batch: 1, inFlight: 2 });
  const seen: number[] = [];
  const dropped: number[] = [];
  let read = 0;
  async function* camera(): AsyncGenerator<Image> {
    for (; read < 10; read++) {
      // Two run, the others come while both slots are held.
      if (read === 0) backend.hold();
      yield flatImage(64, 64, 255 - read);
    }
    backend.letGo();
    while (seen.length < 3) await Bun.sleep(1);
    for (; read < 12; read++) {
      yield flatImage(64, 64, 255 - read);
      while (!seen.includes(read)) await Bun.sleep(1);
    }
  }
  const stream = watched.stream(camera(), "latest", (index) => dropped.push(index));
  let step = await stream.next();
  for (; !step.done; step = await stream.next()) {
    seen.push(step.value.index);
    expect(step.value.detections[0]!.score).toBeCloseTo((0.9 * (255 - step.value.index)) / 255, 3);
  }
  expect(seen).toEqual([0, 1, 9, 10, 11]);
  expect(dropped).toEqual([2, 3, 4, 5, 6, 7, 8]);
  expect(step.value).toEqual({ frames: 12, results: 5, failed: 0, dropped: 7 });
});

test('Detector.stream() with policy "latest": streams that share the slots replace what waits in line, in turn', async () => {
  const backend = await WatchedBackend.load();
  await using watched = watch(backend, { batch: 1, inFlight: 1 });
  backend.hold();
  const dropped: number[][] = [[], [], []];
  async function* camera(): AsyncGenerator<Image> {
    for (let read = 0; read < 5; read++) yield white;
  }
  const all = dropped.map((drops) => drain(watched.stream(camera(), "latest", (index) => drops.push(index))));
  while (dropped.flat().length < 11) await Bun.sleep(1);
  backend.letGo();
  const ends = await Promise.all(all);
  // The first one has the slot with its first image; the others' images in line are their newest.
  expect(ends.map(({ results }) => results.map(({ index }) => index))).toEqual([[0, 4], [4], [4]]);
  expect(dropped).toEqual([
    [1, 2, 3],
    [0, 1, 2, 3],
    [0, 1, 2, 3],
  ]);
});

test('Detector.stream() with policy "latest" does not keep others out, however fast its source is', async () => {
  await using detector = await Detector.load(toyDetector());
  function* endless(): Generator<Image> {
    while (true) yield white;
  }
  let seen = 0;
  let isOver = false;
  setTimeout(() => {
    isOver = true;
  }, 50);
  const stream = detector.stream(endless(), { policy: "latest" });
  for await (const { detections } of stream) {
    expect(detections.length).toBe(3);
    seen += 1;
    // Without an end of its own the loop goes on for ever where the timer never gets its turn.
    if (isOver && seen > 3) break;
  }
});

test("Detector.detect() with a signal rejects with its reason, before and while it runs", async () => {
  await using detector = await Detector.load(toyDetector());
  const abort = new AbortController();
  const running = detector.detect(white, { signal: abort.signal });
  const waiting = detector.detect(white, { signal: abort.signal });
  const batch = detector.detectBatch([white, white], { signal: abort.signal });
  const other = detector.detect(white);
  const settled = Promise.allSettled([running, waiting, batch]);
  const reason = new Error("gone");
  abort.abort(reason);
  for (const outcome of await settled) expect(outcome).toEqual({ status: "rejected", reason });
  await expect(detector.detect(white, { signal: abort.signal })).rejects.toThrow("gone");
  expect((await other).detections.length).toBe(3);
});

test("Detector.detectBatch() mixes image sizes, keeps the order, and overlaps its runs", async () => {
  await using detector = await Detector.load(toyDetector(), { batch: 4, inFlight: 3, threshold: 0 });
  const images = Array.from({ length: 30 }, (_, at) => flatImage(1 + 7 * at, 1 + 7 * at, 250 - at * 8));
  const results = await detector.detectBatch(images);
  expect(results.map(({ width, height }) => [width, height])).toEqual(
    images.map(({ width, height }) => [width, height]),
  );
  for (const [at, { detections }] of results.entries()) {
    expect(detections[0]!.score).toBeCloseTo((0.9 * (250 - at * 8)) / 255, 2);
  }
});

test("Detector joins overlapping calls of detect() to runs of the batch", async () => {
  await using detector = await Detector.load(toyDetector(), { batch: 8, batchWaitMs: 10_000, inFlight: 2 });
  // A wait this long would outlast the test: only full batches run.
  const results = await Promise.all(Array.from({ length: 16 }, () => detector.detect(white)));
  expect(results.every(({ detections }) => detections.length === 3)).toBe(true);
  const tail = detector.detect(white);
  await detector.close();
  expect((await tail).detections.length).toBe(3);
});

test("Detector.load() with several devices loads the model once where the CPU was chosen", async () => {
  const { BUN_TENSORRT_BACKEND: former } = process.env;
  process.env.BUN_TENSORRT_BACKEND = "cpu";
  const loading = Detector.load(toyDetector(), { device: [0, 1] });
  await loading.finally(() => {
    if (former === undefined) delete process.env.BUN_TENSORRT_BACKEND;
    else process.env.BUN_TENSORRT_BACKEND = former;
  });
  await using detector = await loading;
  expect(detector.backends.length).toBe(1);
  expect(detector.backends[0]).toBe(detector.backend);
  expect((await detector.detect(white)).detections.length).toBe(3);
});
