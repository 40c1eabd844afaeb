import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FileLock } from "../../src/tensorrt/engine-cache.ts";

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "file-lock-"));
});
afterEach(() => {
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
    import { FileLock } from ${JSON.stringify(join(import.meta.dir, "../../src/tensorrt/engine-cache.ts"))};
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

test("FileLock.acquire() stands a folder that is deleted while it waits", async () => {
  const path = join(folder, "deep/d.lock");
  using _held = await FileLock.acquire(path);
  const waiting = FileLock.acquire(path);
  await Bun.sleep(20);
  rmSync(join(folder, "deep"), { recursive: true });
  using lock = await waiting;
  expect(lock.closed).toBe(false);
});
