import { afterEach, expect, test } from "bun:test";
import { Detector } from "../../src/api/detector.ts";
import { Model } from "../../src/api/model.ts";
import { setLogSink } from "../../src/core/log.ts";
import { ledger } from "../../src/core/resource.ts";
import { flatImage } from "../support/flat-image.ts";
import { toyDetector } from "../support/toy-detector.ts";

const model = toyDetector();
const white = flatImage(64, 64, 255);
const options = { backend: "cpu" } as const;

const lines: string[] = [];
setLogSink((level, text) => lines.push(`${level} ${text}`));
afterEach(() => {
  lines.length = 0;
});

/** Detectors that were dropped, and may be collected: none is held but by what a test does with it. */
let held: WeakRef<Model>[] = [];

/** Writes over what former calls have left on the stack, which the collector reads by guess. */
function overwriteStack(depth: number): number {
  const values = [depth, depth + 1, depth + 2, depth + 3];
  return depth === 0 ? 0 : overwriteStack(depth - 1) + values.length;
}

const MOST_ROUNDS = 400;

/**
 * Let the collector run until it has found half of them and all that was theirs is closed; what it then takes for held is closed.
 *
 * @returns how many it has found
 */
async function collect(): Promise<number> {
  const { length } = held;
  const alive = (): Model[] => held.map((one) => one.deref()).filter((one) => one !== undefined);
  for (let round = 0; round < MOST_ROUNDS && alive().length > length / 2; round++) {
    await Bun.sleep(5);
    overwriteStack(500);
    Bun.gc(true);
  }
  const left = alive();
  for (const one of left) await one.close();
  held = [];
  for (let round = 0; round < MOST_ROUNDS && ledger.size > 0; round++) {
    await Bun.sleep(5);
    Bun.gc(true);
  }
  return length - left.length;
}

async function drop(count: number, use: (detector: Detector) => unknown = () => {}): Promise<void> {
  for (let index = 0; index < count; index++) {
    const detector = await Detector.load(model, options);
    await use(detector);
    held.push(new WeakRef<Model>(detector));
  }
}

test("detectors that are dropped without close() are freed, each with a line that says where it was loaded", async () => {
  await drop(5, (detector) => detector.detect(white));
  await (async () => void held.push(new WeakRef(await Model.load(model, options))))();
  const freed = await collect();
  expect(freed).toBeGreaterThanOrEqual(3);
  expect(ledger.size).toBe(0);
  expect(lines.filter((line) => line.includes("Leaked"))).toEqual([]);
  const told = lines.filter((line) => line.startsWith("warn Closing Detector from bytes, dropped without close(): "));
  expect(told).toHaveLength(freed);
  // The collector frees them in an order of its own: the last was loaded by a function without a name.
  expect(told[0]).toMatch(
    /it was loaded at (?:(?:drop|<anonymous>) \()?\S*dropped\.test\.ts:\d+:\d+\)?\nHint: bind it by `await using`, or close it$/,
  );
});

test("a detector that was closed is not told of", async () => {
  await drop(3, (detector) => detector.close());
  await collect();
  expect(lines).toEqual([]);
});

test("what is running or waits in line when a detector is dropped ends as ever", async () => {
  const running: Promise<unknown>[] = [];
  // The first has a slot, the others wait for it.
  await drop(4, (detector) => {
    for (let times = 0; times < 8; times++) running.push(detector.detect(white));
  });
  Bun.gc(true);
  const freed = await collect();
  const results = (await Promise.all(running)) as { detections: unknown[] }[];
  expect(results.map(({ detections }) => detections.length)).toEqual(Array(32).fill(3));
  expect(freed).toBeGreaterThanOrEqual(1);
  expect(ledger.size).toBe(0);
});

/** A detector of which only what is made of it is held. */
async function made<T>(make: (detector: Detector) => T): Promise<T> {
  const detector = await Detector.load(model, options);
  held.push(new WeakRef<Model>(detector));
  return make(detector);
}

test("a stream, and a batch that is staged, hold their detector", async () => {
  const use = async (): Promise<void> => {
    const stream = await made((detector) => detector.stream(Array(4).fill(white)));
    using batch = await made((detector) => detector.staged([white]));
    let count = 0;
    for await (const { detections } of stream) {
      Bun.gc(true);
      await Bun.sleep(1);
      count += detections.length;
    }
    expect(count).toBe(12);
    await batch.preprocess();
    Bun.gc(true);
    await Bun.sleep(1);
    await batch.infer();
    expect((await batch.postprocess())[0]).toHaveLength(3);
  };
  await use();
  await collect();
  expect(ledger.labels()).toEqual([]);
});
