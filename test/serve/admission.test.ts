import { expect, test } from "bun:test";
import { RequestError } from "../../src/core/errors.ts";
import { setLogSink } from "../../src/core/log.ts";
import { Admission } from "../../src/serve/detect-desk.ts";

const NEVER = new AbortController().signal;

/** Work that ends when it is told to. */
function task(): { readonly work: () => Promise<string>; readonly end: () => void; isBegun: boolean } {
  const { promise, resolve } = Promise.withResolvers<string>();
  const one = {
    work: () => {
      one.isBegun = true;
      return promise;
    },
    end: () => resolve("done"),
    isBegun: false,
  };
  return one;
}

test("Admission lets so many in, and the others in their order", async () => {
  const admission = new Admission({ concurrency: 2, queue: 3, graceMs: 10_000 });
  const tasks = Array.from({ length: 5 }, task);
  const runs = tasks.map(({ work }) => admission.run(NEVER, work));
  await Promise.resolve();
  expect(tasks.map(({ isBegun }) => isBegun)).toEqual([true, true, false, false, false]);
  expect([admission.running, admission.waiting]).toEqual([2, 3]);
  tasks[1]!.end();
  await runs[1];
  expect(tasks.map(({ isBegun }) => isBegun)).toEqual([true, true, true, false, false]);
  for (const { end } of tasks) end();
  expect(await Promise.all(runs)).toEqual(["done", "done", "done", "done", "done"]);
  expect([admission.running, admission.waiting]).toEqual([0, 0]);
});

test("Admission refuses with 429 and a time when too many wait", async () => {
  const admission = new Admission({ concurrency: 1, queue: 0, graceMs: 10_000 });
  const first = task();
  const run = admission.run(NEVER, first.work);
  const error = await admission.run(NEVER, first.work).catch((one: unknown) => one);
  expect(error).toBeInstanceOf(RequestError);
  expect((error as RequestError).status).toBe(429);
  expect((error as RequestError).headers["Retry-After"]).toBe("1");
  first.end();
  expect(await run).toBe("done");
});

test("Admission gives up a wait at once, and the place of what runs only when that has ended", async () => {
  const admission = new Admission({ concurrency: 1, queue: 5, graceMs: 10_000 });
  const abort = new AbortController();
  const [first, second, third] = [task(), task(), task()];
  const running = admission.run(abort.signal, first.work);
  const waiting = admission.run(abort.signal, second.work);
  const patient = admission.run(NEVER, third.work);
  abort.abort(new Error("no time"));
  const reasons = await Promise.allSettled([running, waiting]);
  expect(reasons.map((one) => one.status === "rejected" && one.reason.message)).toEqual(["no time", "no time"]);
  expect([admission.running, admission.waiting, third.isBegun]).toEqual([1, 1, false]);
  await expect(admission.run(abort.signal, first.work)).rejects.toThrow("no time");
  first.end();
  third.end();
  expect(await patient).toBe("done");
  expect([second.isBegun, admission.running]).toEqual([false, 0]);
});

test("Admission hands on what the work throws, and goes on", async () => {
  const admission = new Admission({ concurrency: 1, queue: 1, graceMs: 10_000 });
  const fail = (): Promise<never> => Promise.reject(new Error("broken"));
  await expect(admission.run(NEVER, fail)).rejects.toThrow("broken");
  await expect(admission.run(NEVER, fail)).rejects.toThrow("broken");
  expect(admission.running).toBe(0);
});

test("Admission gives the place of work that never ends to others, but not without end", async () => {
  const admission = new Admission({ concurrency: 1, queue: 5, graceMs: 20 });
  const abort = new AbortController();
  const [first, second, third, fourth] = [task(), task(), task(), task()];
  const hung = admission.run(abort.signal, first.work);
  const next = admission.run(abort.signal, second.work);
  const late = admission.run(NEVER, third.work);
  const log: string[] = [];
  setLogSink((level, text) => log.push(`${level}: ${text}`));
  try {
    abort.abort(new Error("no time"));
    await Promise.allSettled([hung, next]);
    expect([admission.running, admission.stray, third.isBegun]).toEqual([1, 0, false]);
    while (!third.isBegun) await Bun.sleep(2);
    expect([admission.running, admission.stray]).toEqual([1, 1]);
    // The third hangs as well: no further place is given up, and the stall shows.
    await Bun.sleep(30);
    const last = admission.run(NEVER, fourth.work);
    expect([admission.stray, admission.waiting, admission.stalledMs > 20]).toEqual([1, 1, true]);
    const endedAt = performance.now();
    third.end();
    expect(await late).toBe("done");
    expect(admission.stalledMs).toBeLessThanOrEqual(performance.now() - endedAt);
    first.end();
    fourth.end();
    expect(await last).toBe("done");
    expect([admission.running, admission.stray, admission.stalledMs]).toEqual([0, 0, 0]);
  } finally {
    setLogSink(undefined);
  }
  expect(log).toEqual([
    "error: A request was still running 0 s after its time was up, and its place is given to others",
  ]);
});
