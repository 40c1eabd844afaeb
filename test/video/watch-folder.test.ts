import { expect, setDefaultTimeout, spyOn, test } from "bun:test";
import { appendFileSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import { setLogSink } from "../../src/core/log.ts";
import { type WatchFolderOptions, watchFolder } from "../../src/video/watch-folder.ts";
import { testFolder } from "../support/folder.ts";

setDefaultTimeout(120_000);

const path = testFolder("watch");

/** How many files have come so far. */
type UntilFound = (count: number) => Promise<void>;

/** Watch while `act` runs and a little longer; the names that came, with the sizes they had then. */
async function watched(
  act: (untilFound: UntilFound) => Promise<void>,
  options: Partial<WatchFolderOptions> = {},
): Promise<string[]> {
  const abort = new AbortController();
  const found: string[] = [];
  const watching = (async () => {
    const wanted = { extensions: [".jpg"], settleMs: 150, signal: abort.signal, ...options };
    for await (const file of watchFolder(path(), wanted)) found.push(`${basename(file)} ${readFileSync(file).length}`);
  })();
  await Bun.sleep(20);
  await act(async (count) => {
    while (found.length < count) await Bun.sleep(10);
  });
  await Bun.sleep(300);
  abort.abort();
  await watching;
  return found;
}

test("watchFolder() gives new images alone, each once it has stopped growing", async () => {
  writeFileSync(path("old.jpg"), "old");
  const found = await watched(async (untilFound) => {
    writeFileSync(path("slow.jpg"), "a");
    writeFileSync(path("note.txt"), "text");
    writeFileSync(path("empty.jpg"), "");
    mkdirSync(path("folder.jpg"));
    for (let at = 0; at < 6; at++) {
      await Bun.sleep(30);
      appendFileSync(path("slow.jpg"), "more");
    }
    await untilFound(1);
  });
  expect(found).toEqual(["slow.jpg 25"]);
});

test("watchFolder() takes files that are renamed when they are whole, and those that are written again", async () => {
  const found = await watched(async (untilFound) => {
    writeFileSync(path(".a.jpg"), "half");
    writeFileSync(path("b.part"), "whole");
    await Bun.sleep(150);
    renameSync(path(".a.jpg"), path("a.jpg"));
    renameSync(path("b.part"), path("b.JPG"));
    await untilFound(2);
    writeFileSync(path("a.jpg"), "another");
    await untilFound(3);
  });
  expect(found).toEqual(["a.jpg 4", "b.JPG 5", "a.jpg 7"]);
});

test("watchFolder() begins with what is there where it is asked to", async () => {
  writeFileSync(path("old.jpg"), "old");
  expect(await watched((untilFound) => untilFound(1), { existing: true })).toEqual(["old.jpg 3"]);
});

test("watchFolder() goes on where a link leads nowhere or to itself", async () => {
  const found = await watched(async (untilFound) => {
    symlinkSync("loop.jpg", path("loop.jpg"));
    symlinkSync("nowhere.jpg", path("dangling.jpg"));
    await Bun.sleep(100);
    writeFileSync(path("a.jpg"), "abc");
    symlinkSync("a.jpg", path("b.jpg"));
    await untilFound(2);
  });
  expect(found).toEqual(["a.jpg 3", "b.jpg 3"]);
});

test("watchFolder() is not kept busy by a file that stays empty", async () => {
  const timer = spyOn(globalThis, "setTimeout");
  const waits = (): number => timer.mock.calls.filter(([, delay]) => delay === 20).length;
  try {
    await watched(async () => {
      writeFileSync(path("empty.jpg"), "");
      await Bun.sleep(600);
    });
    expect(waits()).toBeLessThan(5);
  } finally {
    timer.mockRestore();
  }
});

test("watchFolder() ends with a VideoError when the folder goes", async () => {
  const watching = Array.fromAsync(watchFolder(path(), { extensions: [".jpg"] }));
  await Bun.sleep(20);
  rmSync(path(), { recursive: true });
  await expect(watching).rejects.toThrow("ENOENT");
  for (const existing of [false, true])
    expect(() => watchFolder(path("none"), { extensions: [], existing })).toThrow("Cannot watch the folder");
});

test("watchFolder() says of an image whose name is not UTF-8 that it is left out", async () => {
  const warnings: string[] = [];
  setLogSink((level, text) => level === "warn" && warnings.push(text));
  try {
    const found = await watched(async () => {
      Bun.spawnSync(["sh", "-c", "printf x > \"$(printf 'caf\\351.jpg')\""], { cwd: path() });
    });
    expect(found).toEqual([]);
    expect(warnings.length).toBe(1);
    expect(warnings[0]).toEndWith(" is not UTF-8");
  } finally {
    setLogSink(undefined);
  }
});
