import { afterEach, beforeEach, expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setLogSink } from "../../src/core/log.ts";
import type { Device } from "../../src/cuda/device.ts";
import {
  BuildTurn,
  type BuildWait,
  FileLock,
  formatWait,
  GIVEN_WAY,
  type TurnRequest,
} from "../../src/tensorrt/build-turn.ts";
import { type TensorRtLibrary, Turns } from "../../src/tensorrt/library.ts";

setDefaultTimeout(120_000);

const formerCache = process.env.BUN_TENSORRT_CACHE;
/** It deletes no folder with a file in it that is open. */
const isWindows = process.platform === "win32";

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "file-lock-"));
});
afterEach(() => {
  setLogSink(undefined);
  if (formerCache === undefined) delete process.env.BUN_TENSORRT_CACHE;
  else process.env.BUN_TENSORRT_CACHE = formerCache;
  rmSync(folder, { recursive: true, force: true });
});

test("FileLock.tryAcquire() gives a lock to one holder at a time", () => {
  const path = join(folder, "a.lock");
  const first = FileLock.tryAcquire(path);
  expect(first).toBeDefined();
  expect(FileLock.tryAcquire(path)).toBeUndefined();
  expect(readFileSync(path, "utf8")).toBe(`${process.pid}\n`);
  first?.close();
  using second = FileLock.tryAcquire(path);
  expect(second).toBeDefined();
});

test("FileLock.tryAcquire() fails by name where no file can be made", () => {
  expect(() => FileLock.tryAcquire(join(folder, "no/such/folder.lock"))).toThrow("folder.lock: ENOENT");
});

test("FileLock.acquire() waits for another process, and is not held up by one that was killed", async () => {
  const path = join(folder, "b.lock");
  const script = `
    import { FileLock } from ${JSON.stringify(join(import.meta.dir, "../../src/tensorrt/build-turn.ts"))};
    globalThis.lock = FileLock.tryAcquire(${JSON.stringify(path)});
    console.log("held");
    setInterval(() => {}, 1000);`;
  const child = Bun.spawn([process.execPath, "-e", script], { stdout: "pipe" });
  await child.stdout.getReader().read();
  expect(FileLock.tryAcquire(path)).toBeUndefined();
  setTimeout(() => child.kill("SIGKILL"), 150);
  const started = performance.now();
  using lock = await FileLock.acquire(path);
  expect(performance.now() - started).toBeGreaterThan(100);
  expect(lock.closed).toBe(false);
});

test("FileLock.acquire() ends waiting by a signal", async () => {
  const path = join(folder, "c.lock");
  using _held = FileLock.tryAcquire(path);
  const waiting = FileLock.acquire(path, AbortSignal.timeout(120));
  await expect(waiting).rejects.toThrow("timed out");
  await waiting.catch(() => {});
});

test.skipIf(isWindows)("FileLock.acquire() stands a folder that is deleted while it waits", async () => {
  const path = join(folder, "deep/d.lock");
  using _held = await FileLock.acquire(path);
  const waiting = FileLock.acquire(path);
  await Bun.sleep(20);
  rmSync(join(folder, "deep"), { recursive: true });
  using lock = await waiting;
  expect(lock.closed).toBe(false);
});

/** What a turn looks at of a GPU. */
const CARD = { name: "Some GPU", uuid: () => "0123456789abcdef0123456789abcdef" } as unknown as Device;

function libraryOf(): TensorRtLibrary {
  return { builds: new Turns() } as unknown as TensorRtLibrary;
}

/** A turn on the card of a library of its own, as another process would take it. */
function take(source: string, rest: Partial<TurnRequest> = {}): Promise<BuildTurn> {
  return BuildTurn.take({ library: libraryOf(), device: CARD, source, ...rest });
}

function inFolder(): void {
  process.env.BUN_TENSORRT_CACHE = folder;
}

test("BuildTurn.take() waits for the build on the same GPU, and sees how far it is", async () => {
  inFolder();
  const lines: string[] = [];
  setLogSink((_, text) => lines.push(text));
  const first = await take("a.onnx");
  const waits: BuildWait[] = [];
  const second = take("b.onnx", { onWait: (wait) => waits.push(wait) });
  await Bun.sleep(550);
  first.report({ fraction: 0.385, phase: "Timing graph nodes" });
  await Bun.sleep(150);
  expect(lines).toContain(`Waiting for process ${process.pid}, which builds a.onnx; builds on Some GPU take turns`);
  expect(waits[0]).toEqual({ process: `${process.pid}`, source: "a.onnx", progress: undefined });
  const progress = { fraction: 0.385, phase: "Timing graph nodes" };
  expect(waits.at(-1)).toEqual({ process: `${process.pid}`, source: "a.onnx", progress });
  expect(formatWait(waits.at(-1)!)).toBe(`process ${process.pid}, which builds a.onnx: 38 %, Timing graph nodes`);
  first[Symbol.dispose]();
  (await second)[Symbol.dispose]();
  expect(readdirSync(join(folder, "engines"))).toEqual([`gpu-${CARD.uuid()}.lock`]);
});

test("FileLock.acquire() tells nobody of a lock that is held only to look whether it is", async () => {
  const path = join(folder, "e.lock");
  const probe = FileLock.tryAcquire(path)!;
  setTimeout(() => probe.close(), 0);
  let told = 0;
  using lock = await FileLock.acquire(path, undefined, () => void told++);
  expect([lock.closed, told]).toEqual([false, 0]);
});

test("BuildTurn.take() does not believe a note that is older than the lock, whatever process wrote it", async () => {
  inFolder();
  const note = join(folder, "engines", `gpu-${CARD.uuid()}.json`);
  mkdirSync(join(folder, "engines"));
  writeFileSync(note, JSON.stringify({ process: `${process.pid}`, source: "killed.onnx" }));
  utimesSync(note, 1e9, 1e9);
  const lock = FileLock.tryAcquire(note.replace(/json$/, "lock"))!;
  const waits: BuildWait[] = [];
  const onWait = (wait: BuildWait): void => {
    waits.push(wait);
    if (!lock.closed) lock.close();
  };
  using _turn = await take("b.onnx", { onWait });
  expect(waits).toEqual([{ process: `${process.pid}`, source: undefined, progress: undefined }]);
});

test.skipIf(isWindows)("a turn ends, and the next begins, where its note cannot be deleted", async () => {
  inFolder();
  const library = libraryOf();
  const first = await take("a.onnx", { library });
  rmSync(join(folder, "engines"), { recursive: true });
  writeFileSync(join(folder, "engines"), "");
  expect(() => first[Symbol.dispose]()).not.toThrow();
  // There is no lock any more, but the library takes turns as well.
  using _second = await take("b.onnx", { library });
});

test("BuildTurn.take() lets builds on other GPUs, and those without one, go on", async () => {
  inFolder();
  using _first = await take("a.onnx");
  const other = { name: "Other", uuid: () => "f".repeat(32) } as unknown as Device;
  using _second = await take("b.onnx", { device: other });
  using _third = await take("c.onnx", { device: undefined });
  const library = libraryOf();
  const fourth = await take("d.onnx", { library, device: undefined });
  let isFifth = false;
  const fifth = take("e.onnx", { library, device: undefined }).then((turn) => {
    isFifth = true;
    return turn;
  });
  await Bun.sleep(5);
  expect(isFifth).toBe(false);
  fourth[Symbol.dispose]();
  (await fifth)[Symbol.dispose]();
});

test("BuildTurn.take() ends waiting by a signal", async () => {
  inFolder();
  using _first = await take("a.onnx");
  const controller = new AbortController();
  const second = take("b.onnx", { signal: controller.signal });
  controller.abort(new Error("enough"));
  await expect(second).rejects.toThrow("enough");
});

test("BuildTurn.take() waits for another process, and is not held up by one that was killed", async () => {
  inFolder();
  const script = `
    import { BuildTurn } from ${JSON.stringify(join(import.meta.dir, "../../src/tensorrt/build-turn.ts"))};
    import { Turns } from ${JSON.stringify(join(import.meta.dir, "../../src/tensorrt/library.ts"))};
    const device = { name: "Some GPU", uuid: () => ${JSON.stringify(CARD.uuid())} };
    globalThis.turn = await BuildTurn.take({ library: { builds: new Turns() }, device, source: "far.onnx" });
    await Bun.sleep(600);
    turn.report({ fraction: 0.5, phase: "far away" });
    console.log("held");
    setInterval(() => {}, 1000);`;
  const child = Bun.spawn([process.execPath, "-e", script], { stdout: "pipe", env: { ...process.env } });
  await child.stdout.getReader().read();
  const waits: BuildWait[] = [];
  setTimeout(() => child.kill("SIGKILL"), 150);
  using _turn = await take("b.onnx", { onWait: (wait) => waits.push(wait) });
  const progress = { fraction: 0.5, phase: "far away" };
  expect(waits[0]).toEqual({ process: `${child.pid}`, source: "far.onnx", progress });
});

test("a turn in the background begins when nobody else builds, and waits while somebody does", async () => {
  inFolder();
  const front = await take("a.onnx");
  let isBegun = false;
  const pending = take("b.onnx", { isBackground: true }).then((turn) => {
    isBegun = true;
    return turn;
  });
  await Bun.sleep(100);
  expect(isBegun).toBe(false);
  front[Symbol.dispose]();
  using behind = await pending;
  expect(behind.mustWait).toBe(false);
  {
    using _again = await take("c.onnx");
    await Bun.sleep(520);
    expect(behind.mustWait).toBe(true);
  }
  await Bun.sleep(520);
  expect(behind.mustWait).toBe(false);
  expect(behind.signal.aborted).toBe(false);
});

test("a turn in the background is given up for a build of the same library", async () => {
  inFolder();
  const library = libraryOf();
  const behind = await take("a.onnx", { library, isBackground: true });
  const front = take("b.onnx", { library });
  await Bun.sleep(20);
  expect(behind.signal.reason).toBe(GIVEN_WAY);
  behind[Symbol.dispose]();
  (await front)[Symbol.dispose]();
});

test("turns in the background of one library wait for each other, and none is given up for another", async () => {
  inFolder();
  const library = libraryOf();
  const first = await take("a.onnx", { library, isBackground: true });
  const other = { name: "Other", uuid: () => "f".repeat(32) } as unknown as Device;
  let isSecond = false;
  const second = take("b.onnx", { library, device: other, isBackground: true }).then((turn) => {
    isSecond = true;
    return turn;
  });
  await Bun.sleep(30);
  expect([first.signal.aborted, isSecond]).toEqual([false, false]);
  first[Symbol.dispose]();
  using behind = await second;
  expect(behind.signal.aborted).toBe(false);
});
