import { afterEach, expect, spyOn, test } from "bun:test";
import { CudaError } from "../../src/core/errors.ts";
import { setLogSink } from "../../src/core/log.ts";
import { MicroBatcher } from "../../src/runtime/batcher.ts";
import { Pipeline } from "../../src/runtime/pipeline.ts";
import { SlotPool } from "../../src/runtime/slots.ts";
import type { DetectBackend, DetectPipeline, DetectSlot } from "../support/backends.ts";
import { flatImage } from "../support/flat-image.ts";
import { toyDetector } from "../support/toy-detector.ts";
import { WatchedBackend } from "../support/watched-backend.ts";

const SELECTION = { threshold: 0.25, iou: 0.7, maxDetections: 300, classAgnostic: false, classIds: undefined };
const IMAGE = flatImage(70, 33, 0);

afterEach(() => setLogSink(undefined));

/** A backend, and one that takes its place when it is told to. */
interface Pair {
  readonly quick: WatchedBackend;
  readonly full: WatchedBackend;
  readonly pipeline: DetectPipeline;
  readonly lines: string[];
  /** The better one is ready, or there will be none. */
  readonly ready: PromiseWithResolvers<DetectBackend | undefined>;
  readonly isAborted: () => boolean;
}

async function withPair(inFlight: number, batch: number, work: (pair: Pair) => Promise<void>): Promise<void> {
  const lines: string[] = [];
  setLogSink((_, text) => lines.push(text));
  const [quick, full] = [await WatchedBackend.load(toyDetector()), await WatchedBackend.load(toyDetector())];
  const ready = Promise.withResolvers<DetectBackend | undefined>();
  let signal: AbortSignal | undefined;
  const improving = Object.assign(quick, {
    engine: "quick" as const,
    improve: (given: AbortSignal) => {
      signal = given;
      return ready.promise;
    },
  });
  Object.assign(full, { engine: "full" });
  const pipeline: DetectPipeline = new Pipeline(improving, { inFlight, batch });
  try {
    await work({ quick, full, pipeline, lines, ready, isAborted: () => signal!.aborted });
  } finally {
    quick.letGo();
    full.letGo();
    await pipeline.close();
    // One that was never given to the pipeline.
    full.close();
  }
}

async function until(isTrue: () => boolean): Promise<void> {
  for (const end = performance.now() + 5000; !isTrue(); await Bun.sleep(1)) {
    if (performance.now() > end) throw new Error("It did not come to that in 5 s");
  }
}

test("a better backend takes over between frames: none is lost, all are in order, and the first is closed", () =>
  withPair(1, 1, async ({ quick, full, pipeline, lines, ready }) => {
    const closing = spyOn(quick, "close");
    const done: number[] = [];
    const batcher = new MicroBatcher(pipeline, { wait: 0, read: ({ width }) => width });
    const frames: Promise<unknown>[] = [];
    const submit = (count: number): void => {
      for (let at = 0; at < count; at++) {
        const place = frames.length;
        frames.push(batcher.submit(IMAGE, SELECTION).promise.then(() => done.push(place)));
      }
    };
    submit(10);
    await until(() => done.length === 10);
    ready.resolve(full);
    await until(() => {
      submit(1);
      return pipeline.backend === full;
    });
    submit(10);
    expect((await Promise.allSettled(frames)).every(({ status }) => status === "fulfilled")).toBe(true);
    expect(done).toEqual(frames.map((_, place) => place));
    await until(() => closing.mock.calls.length === 1);
    // One run to warm the slot up, and the frames since.
    expect(full.runs.length).toBeGreaterThanOrEqual(11);
    expect(quick.runs.length + full.runs.length).toBe(frames.length + 1);
    expect(lines.filter((line) => line.startsWith("Frames go to the full engine from now on: "))).toHaveLength(1);
    expect([pipeline.backend, pipeline.task, pipeline.inFlight]).toEqual([full, full.task, 1]);
  }));

test("frames that run go on in the slots they have, and those that wait get the better ones", () =>
  withPair(2, 2, async ({ quick, full, pipeline, ready }) => {
    const closing = spyOn(quick, "close");
    quick.hold();
    const batcher = new MicroBatcher(pipeline, { wait: 0, read: ({ width }) => width });
    const before = Array.from({ length: 4 }, () => batcher.submit(IMAGE, SELECTION).promise);
    await until(() => quick.running === 2);
    ready.resolve(full);
    await until(() => pipeline.backend === full);
    const warmed = full.runs.length;
    expect(warmed).toBe(4);
    const after = Array.from({ length: 2 }, () => batcher.submit(IMAGE, SELECTION).promise);
    await Bun.sleep(20);
    // No more at a time than there were slots.
    expect([full.runs.length, closing.mock.calls.length]).toEqual([warmed, 0]);
    quick.letGo();
    await Promise.all([...before, ...after]);
    expect(quick.runs).toEqual([2, 2]);
    expect(full.runs.slice(warmed)).toEqual([2]);
    await until(() => closing.mock.calls.length === 1);
  }));

test("frames stay where they are if a better backend cannot be made, or fails when it is tried", async () => {
  const stays = (work: (pair: Pair) => void, said: string): Promise<void> =>
    withPair(1, 1, async (pair) => {
      const { quick, full, pipeline, lines } = pair;
      const closing = spyOn(full, "close");
      work(pair);
      await until(() => lines.some((line) => line === `Frames stay with the quick engine: ${said}`));
      await pipeline.withSlot((slot) => slot.run([IMAGE], [64, 64], SELECTION));
      expect([pipeline.backend, quick.runs.length]).toEqual([quick, 1]);
      if (full.runs.length > 0) expect(closing).toHaveBeenCalledTimes(1);
    });
  await stays(({ ready }) => ready.reject(new Error("no memory\nHint: buy some")), "no memory");
  await stays(({ ready, full }) => {
    full.fault = new Error("out of memory");
    ready.resolve(full);
  }, "out of memory");
});

test("close() ends what makes a better backend, and does not wait for it", () =>
  withPair(1, 1, async ({ quick, full, pipeline, lines, ready, isAborted }) => {
    const [first, late] = [spyOn(quick, "close"), spyOn(full, "close")];
    expect(isAborted()).toBe(false);
    const started = performance.now();
    await pipeline.close();
    expect(performance.now() - started).toBeLessThan(3000);
    expect([isAborted(), first.mock.calls.length]).toEqual([true, 1]);
    ready.resolve(full);
    await until(() => late.mock.calls.length === 1);
    expect(lines).toEqual([]);
  }));

test("close() while slots are being replaced closes all of both", () =>
  withPair(2, 1, async ({ quick, full, pipeline, ready }) => {
    const closing = [spyOn(quick, "close"), spyOn(full, "close")];
    quick.hold();
    const running = pipeline.withSlot((slot) => slot.run([IMAGE], [64, 64], SELECTION));
    await until(() => quick.running === 1);
    ready.resolve(full);
    await until(() => pipeline.backend === full);
    const closed = pipeline.close();
    await Bun.sleep(5);
    quick.letGo();
    await running;
    await closed;
    await until(() => closing.every(({ mock }) => mock.calls.length === 1));
  }));

test("SlotPool.replace() exchanges free slots at once and busy ones when they come back, retired devices included", async () => {
  const closed: string[] = [];
  const item = (name: string) => ({ name, close: () => void closed.push(name) });
  const [a, b, c, d, e] = ["a", "b", "c", "d", "e"].map(item) as [Named, Named, Named, Named, Named];
  const pool = new SlotPool<Named>([a, b], [e]);
  const busy = await pool.acquire();
  const isReplaced = pool.replace([a, b], [c, d]).then(() => closed.push("all"));
  const [other, replaced] = busy === a ? ["b", "a"] : ["a", "b"];
  expect(closed).toEqual(busy === e ? ["a", "b"] : [other!]);
  pool.release(busy);
  await isReplaced;
  expect(closed).toEqual([other!, replaced!, "all"]);
  const got = await Promise.all([pool.acquire(), pool.acquire(), pool.acquire()]);
  expect(got.map(({ name }) => name).sort()).toEqual(["c", "d", "e"]);
  for (const one of got) pool.release(one);
  await pool.close();
  expect(closed.slice(3).sort()).toEqual(["c", "d", "e"]);
});

test("SlotPool.replace() of one device is not held up by that of another, and each is told when its own are closed", async () => {
  const item = (name: string): Named => ({ name, close: () => {} });
  const [a, b] = [item("a"), item("b")];
  const pool = new SlotPool<Named>([a], [b]);
  await Promise.all([pool.acquire(), pool.acquire()]);
  const done: string[] = [];
  const replaced = [a, b].map((one) => pool.replace([one], [item("other")]).then(() => done.push(one.name)));
  pool.release(b);
  await replaced[1];
  expect(done).toEqual(["b"]);
  pool.release(a);
  await replaced[0];
  expect(done).toEqual(["b", "a"]);
  await pool.close();
});

test("a device that is lost in a slot that was being replaced is told by its own number", async () => {
  const lines: string[] = [];
  setLogSink((_, text) => lines.push(text));
  const [first, second, full] = await Promise.all([1, 2, 3].map(() => WatchedBackend.load()));
  const improving = Object.assign(second!, { improve: () => Promise.resolve(full) });
  const pipeline: DetectPipeline = new Pipeline([first!, improving], { inFlight: 1, batch: 1 });
  const [other, slot] = await Promise.all(
    [1, 2].map(() => new Promise<DetectSlot>((take) => pipeline.request({ take, refuse: () => {} }))),
  );
  await until(() => pipeline.backends[1] === full);
  pipeline.release(
    slot!,
    new CudaError("lost", { status: 700, code: "cudaErrorIllegalAddress", call: "cudaEventQuery" }),
  );
  expect(lines.at(-1)).toMatch(
    /^Frames go to the other devices: ONNX .*, number 2 of 2, is lost with cudaErrorIllegal/,
  );
  pipeline.release(other!);
  await pipeline.close();
});

interface Named {
  readonly name: string;
  close(): void;
}
