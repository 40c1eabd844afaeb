import { heapStats } from "bun:jsc";
import { expect, test } from "bun:test";
import { Detector } from "../../src/api/detector.ts";
import { ImageError } from "../../src/core/errors.ts";
import { encodeImage } from "../../src/image/image-file.ts";
import type { ImageSource } from "../../src/image/source.ts";
import { flatImage } from "../support/flat-image.ts";
import { toyDetector } from "../support/toy-detector.ts";

/** Frames of all sources together; `SOAK_FRAMES=200000 bun test test/detector/soak.test.ts` for a long run. */
const FRAMES = Number(process.env.SOAK_FRAMES ?? 2000);
const SOURCES = 8;

/** Numbers from 0 to 1, the same at each run. */
function* random(seed: number): Generator<number, never, undefined> {
  let state = seed;
  while (true) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    yield state / 2 ** 32;
  }
}

const png = await encodeImage(flatImage(33, 17, 255), { format: "png" });
const cut = png.slice(0, png.length >> 1);
const sizes = [1, 2, 31, 33, 64, 97] as const;

/** What each frame of a source is: its kind decides what must come of it. */
interface Plan {
  readonly kind: "good" | "bad" | "aborted";
  readonly source: ImageSource;
  readonly width: number;
  /** Milliseconds until the abort. */
  readonly abortAfter: number;
}

function planOf(seed: number, count: number, mayAbort: boolean): Plan[] {
  const numbers = random(seed);
  const next = (): number => numbers.next().value;
  return Array.from({ length: count }, () => {
    const dice = next();
    const width = sizes[Math.floor(next() * sizes.length)]!;
    const abortAfter = Math.floor(next() * 4) - 1;
    if (dice < 0.05) return { kind: "bad", source: cut, width, abortAfter };
    if (dice < 0.1) return { kind: "bad", source: "no-such-file.jpg", width, abortAfter };
    if (dice < 0.15) return { kind: "good", source: png, width: 33, abortAfter };
    const height = sizes[Math.floor(next() * sizes.length)]!;
    const kind = mayAbort && dice < 0.3 ? "aborted" : "good";
    return { kind, source: flatImage(width, height, 255, { padding: width % 3 }), width, abortAfter };
  });
}

/** A source that streams: good frames come in order, bad ones are told of in their turn. */
async function runStream(detector: Detector, seed: number, count: number): Promise<number> {
  const plan = planOf(seed, count, false);
  const answered: number[] = [];
  const onError = (error: unknown, index: number): void => {
    expect(error).toBeInstanceOf(ImageError);
    expect(plan[index]!.kind).toBe("bad");
    answered.push(index);
  };
  for await (const { index, width } of detector.stream(
    plan.map(({ source }) => source),
    { onError },
  )) {
    expect(plan[index]!.kind).toBe("good");
    expect(width).toBe(plan[index]!.width);
    answered.push(index);
  }
  expect(answered).toEqual(plan.map((_, index) => index));
  return answered.length;
}

/** A source of single calls, a few at a time, some aborted before, while or after they run. */
async function runCalls(detector: Detector, seed: number, count: number): Promise<number> {
  const plan = planOf(seed, count, true);
  let answered = 0;
  let at = 0;
  const one = async ({ kind, source, width, abortAfter }: Plan, threshold: number): Promise<void> => {
    const abort = new AbortController();
    const reason = new Error("aborted by its source");
    if (kind === "aborted") {
      if (abortAfter < 0) abort.abort(reason);
      else setTimeout(() => abort.abort(reason), abortAfter);
    }
    try {
      const result = await detector.detect(source, { threshold, signal: abort.signal });
      expect(kind).not.toBe("bad");
      expect(result.width).toBe(width);
    } catch (error) {
      if (kind === "aborted") expect(error).toBe(reason);
      else {
        expect(kind).toBe("bad");
        expect(error).toBeInstanceOf(ImageError);
      }
    }
    answered += 1;
  };
  const worker = async (): Promise<void> => {
    for (let index = at++; index < plan.length; index = at++) await one(plan[index]!, index % 3 === 0 ? 0.1 : 0.5);
  };
  await Promise.all([worker(), worker(), worker()]);
  return answered;
}

async function runAll(detector: Detector, frames: number, seed: number): Promise<number> {
  const each = Math.floor(frames / SOURCES);
  const runs = Array.from({ length: SOURCES }, (_, source) =>
    (source % 2 === 0 ? runStream : runCalls)(detector, seed + source, each),
  );
  const answered = await Promise.all(runs);
  expect(answered).toEqual(answered.map(() => each));
  return each * SOURCES;
}

/** After the timers of aborts that came too late, and a thorough collection. */
async function measureMemory(): Promise<{ readonly rss: number; readonly objects: number }> {
  for (let round = 0; round < 3; round++) {
    await Bun.sleep(5);
    Bun.gc(true);
  }
  return { rss: process.memoryUsage.rss(), objects: heapStats().objectCount };
}

for (const options of [{ inFlight: 2 }, { inFlight: 2, batch: 4, batchWaitMs: 1 }] as const) {
  test(
    `Detector answers every frame of ${SOURCES} sources once and in order, with flat memory: ${JSON.stringify(options)}`,
    async () => {
      await using detector = await Detector.load(toyDetector(), { ...options, threads: 1 });
      await runAll(detector, FRAMES / 4, 1);
      const before = await measureMemory();
      await runAll(detector, FRAMES, 1000);
      const after = await measureMemory();
      expect(after.objects - before.objects).toBeLessThan(5000);
      expect((after.rss - before.rss) / 2 ** 20).toBeLessThan(64);
    },
    60_000 + FRAMES * 10,
  );
}
