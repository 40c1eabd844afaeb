import { afterEach, beforeEach, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { hostname } from "node:os";
import { join } from "node:path";
import { Detector } from "../../src/api/detector.ts";
import { fetchModel } from "../../src/catalogue/model-download.ts";
import { sha256 } from "../../src/catalogue/store.ts";
import { CatalogueError, ModelError } from "../../src/core/errors.ts";
import { setLogSink } from "../../src/core/log.ts";
import { flatImage } from "../support/flat-image.ts";
import { testFolder } from "../support/folder.ts";
import { toyDetector } from "../support/toy-detector.ts";

setDefaultTimeout(120_000);

const model = toyDetector();
const hash = sha256(model);
const inFolder = testFolder("download");
let downloads = "";
const lines: string[] = [];

beforeEach(() => {
  downloads = inFolder("downloads");
  process.env.BUN_TENSORRT_CACHE = inFolder();
  setLogSink((level, text) => lines.push(`${level} ${text}`));
});

afterEach(() => {
  delete process.env.BUN_TENSORRT_CACHE;
  setLogSink(undefined);
  lines.length = 0;
});

/** A server with a model, which answers ranges; `answer` replaces an answer by its number, from 0 on. */
function serve(answer: (request: number, range: string | null) => Response | undefined = () => undefined) {
  const ranges: (string | null)[] = [];
  const server = Bun.serve({
    port: 0,
    fetch(request) {
      const range = request.headers.get("range");
      ranges.push(range);
      const other = answer(ranges.length - 1, range);
      if (other !== undefined) return other;
      const start = Number(/^bytes=(\d+)-$/.exec(range ?? "")?.[1] ?? 0);
      if (start === 0) return new Response(model);
      if (start >= model.length) return new Response(null, { status: 416 });
      const headers = { "content-range": `bytes ${start}-${model.length - 1}/${model.length}` };
      return new Response(model.slice(start), { status: 206, headers });
    },
  });
  const url = new URL("/models/toy.onnx", server.url);
  return {
    url,
    pinned: new URL(`#sha256=${hash}`, url),
    ranges,
    [Symbol.dispose]: () => void server.stop(true),
  };
}

/** The address of a server that answers with the first half of the model, loses the connection, and then has the rest. */
async function breakingServer(ranges: (string | undefined)[]): Promise<Disposable & { readonly url: URL }> {
  const server = createServer((request, answer) => {
    const { range } = request.headers;
    ranges.push(range);
    const start = Number(/^bytes=(\d+)-$/.exec(range ?? "")?.[1] ?? 0);
    const length = { "content-length": model.length - start };
    if (range === undefined) {
      answer.writeHead(200, length);
      answer.write(model.slice(0, model.length >> 1), () => setTimeout(() => request.socket.destroy(), 20));
    } else {
      answer.writeHead(206, { ...length, "content-range": `bytes ${start}-${model.length - 1}/${model.length}` });
      answer.end(model.slice(start));
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const url = new URL(`http://127.0.0.1:${port}/models/toy.onnx#sha256=${hash}`);
  return { url, [Symbol.dispose]: () => void server.close() };
}

async function failure(promise: Promise<unknown>): Promise<Error> {
  return promise.then(
    () => expect.unreachable(),
    (error) => error,
  );
}

test("fetchModel() keeps a pinned file by its hash, and needs no network the second time", async () => {
  using server = serve();
  const path = await fetchModel(server.pinned);
  expect(path).toBe(join(downloads, `toy-${hash}.onnx`));
  expect(Buffer.compare(readFileSync(path), model)).toBe(0);
  server[Symbol.dispose]();
  expect(await fetchModel(server.pinned)).toBe(path);
  expect(server.ranges).toEqual([null]);
  expect(readdirSync(downloads)).toEqual([`toy-${hash}.onnx`]);
  expect(lines).toEqual([`info Fetching ${server.url.href} to ${path}`]);
});

test("Detector.load() takes an address, and several calls at once fetch it once", async () => {
  using server = serve();
  const options = { backend: "cpu" } as const;
  const forms = [server.pinned, server.pinned.href, server.pinned.href.replace("=", "-")];
  for (const loading of forms.map((form) => Detector.load(form, options))) {
    await using detector = await loading;
    expect((await detector.detect(flatImage(64, 64, 255))).detections.length).toBe(3);
  }
  expect(server.ranges).toEqual([null]);
});

test("fetchModel() goes on where a download broke off, within a call and after a process that was killed", async () => {
  const ranges: (string | undefined)[] = [];
  using breaking = await breakingServer(ranges);
  const path = await fetchModel(breaking.url);
  expect(Buffer.compare(readFileSync(path), model)).toBe(0);
  expect(ranges).toEqual([undefined, `bytes=${model.length >> 1}-`]);
  rmSync(path);

  const dead = Bun.spawnSync([process.execPath, "-e", "0"]).pid;
  const host = hostname().replace(/[^\w.-]/g, "_");
  const parts = [`${host}-${dead}`, `${host}-1`, "elsewhere-7"].map((owner) => `${path}.${owner}.part`);
  for (const [at, part] of parts.entries()) writeFileSync(part, model.slice(0, 10 * (at + 1)));
  using server = serve();
  await fetchModel(server.pinned);
  expect(server.ranges).toEqual(["bytes=10-"]);
  expect(readdirSync(downloads)).toHaveLength(3);
  // Processes that run, and those of other machines, keep theirs until nobody has added to it for long.
  rmSync(path);
  const longAgo = Date.now() / 1000 - 100;
  utimesSync(parts[2]!, longAgo, longAgo);
  await fetchModel(server.pinned);
  expect(server.ranges).toEqual(["bytes=10-", "bytes=30-"]);
  expect(existsSync(parts[1]!)).toBe(true);
  // All of it was there.
  rmSync(path);
  writeFileSync(parts[0]!, model);
  expect(Buffer.compare(readFileSync(await fetchModel(server.pinned)), model)).toBe(0);
  expect(server.ranges.at(-1)).toBe(`bytes=${model.length}-`);
});

test("fetchModel() begins anew where the server sends no ranges, or what was there is not of this file", async () => {
  using server = serve((_, range) => (range === null ? undefined : new Response(model)));
  mkdirSync(downloads);
  const part = join(downloads, `toy-${hash}.onnx.${hostname().replace(/[^\w.-]/g, "_")}-${process.pid}.part`);
  writeFileSync(part, "old");
  expect(Buffer.compare(readFileSync(await fetchModel(server.pinned)), model)).toBe(0);
  expect(server.ranges).toEqual(["bytes=3-"]);
  rmSync(downloads, { recursive: true });
  mkdirSync(downloads);
  writeFileSync(part, "old");
  using ranged = serve();
  expect(Buffer.compare(readFileSync(await fetchModel(ranged.pinned)), model)).toBe(0);
  expect(ranged.ranges).toEqual(["bytes=3-", null]);
  expect(lines.filter((line) => line.startsWith("warn Trying again"))).toHaveLength(1);
});

test("fetchModel() without a hash asks each time whether the server has another file, and names the hash in a warning", async () => {
  const asked: (string | null)[][] = [];
  let etag: string | undefined = '"1"';
  let body = model;
  let fault: Response | undefined;
  const server = Bun.serve({
    port: 0,
    fetch({ headers }) {
      asked.push(["if-none-match", "if-modified-since", "range"].map((name) => headers.get(name)));
      if (fault !== undefined) return fault;
      const isKnown = headers.get("if-none-match") === etag || headers.get("if-modified-since") === DATE;
      if (isKnown && body === model) return new Response(null, { status: 304 });
      return new Response(body, { headers: etag === undefined ? { "last-modified": DATE } : { etag } });
    },
  });
  const DATE = "Mon, 30 Nov 2026 12:00:00 GMT";
  const url = new URL("/models/toy.onnx", server.url);
  const warned = (): string | undefined => lines.filter((line) => line.startsWith("warn ")).at(-1);
  try {
    const path = await fetchModel(url);
    expect(await fetchModel(url)).toBe(path);
    expect(asked.splice(0)).toEqual([
      [null, null, null],
      ['"1"', null, null],
    ]);
    expect(warned()).toStartWith(`warn Nothing pins ${url.href}: append #sha256=${hash} to load this file`);

    // Another file, of a server that knows dates only.
    [etag, body] = [undefined, new Uint8Array([...model, 0])];
    await fetchModel(url);
    expect(Buffer.compare(readFileSync(path), body)).toBe(0);
    expect(warned()).toContain(sha256(body));
    body = model;
    await fetchModel(url);
    expect(asked.splice(0)).toEqual([
      ['"1"', null, null],
      [null, DATE, null],
    ]);
    expect(lines.filter((line) => line.includes("which has changed"))).toHaveLength(1);

    // A file that was put there by hand is none that the server has named.
    writeFileSync(path, "other");
    await fetchModel(url);
    expect([asked.splice(0), readFileSync(path).equals(model)]).toEqual([[[null, null, null]], true]);

    const copy = `warn Using the copy of ${url.href}, which may be out of date: `;
    for (const [answer, found] of [
      [new Response("gone", { status: 404 }), `${url.host} answered 404 Not Found`],
      [new Response("<p>", { headers: { "content-type": "text/html" } }), `${url.host} sent an HTML page, not a file`],
    ] as const) {
      fault = answer;
      expect(await fetchModel(url)).toBe(path);
      expect(warned()).toStartWith(`${copy}${found}\nHint: append #sha256=${hash} to load`);
    }
    await server.stop(true);
    expect(await fetchModel(url)).toBe(path);
    expect(warned()).toStartWith(`${copy}the transfer failed: `);
    expect(readFileSync(path).equals(model)).toBe(true);
    expect(readdirSync(downloads).filter((name) => name.endsWith(".part"))).toEqual([]);
  } finally {
    await server.stop(true);
  }
});

test("a model without a hash is told of once on standard error, where no log sink is chosen", async () => {
  using server = serve();
  const script = `
    import { Detector } from "./src/index.ts";
    for (let times = 0; times < 2; times++) await (await Detector.load("${server.url.href}", { backend: "cpu" })).close();`;
  const child = Bun.spawn([process.execPath, "-e", script], { cwd: join(import.meta.dir, "../.."), stderr: "pipe" });
  const text = await child.stderr.text();
  expect(await child.exited, text).toBe(0);
  expect(text).toMatch(/^bun-tensorrt: Nothing pins http:\S+: append #sha256=[\da-f]{64} to load this file .*\n$/);
});

test("fetchModel() refuses another file than the hash says, keeps none of it, and notices one that changed on disk", async () => {
  using server = serve();
  const other = "0".repeat(64);
  const error = await failure(fetchModel(new URL(`#sha256=${other}`, server.url)));
  expect(error).toBeInstanceOf(CatalogueError);
  expect(error.message).toContain(
    `Cannot fetch "${server.url.href}": the file must have SHA-256 ${other}, got ${hash}\nHint: check the address`,
  );
  expect(readdirSync(downloads)).toEqual([]);
  expect(server.ranges).toEqual([null]);
  const path = await fetchModel(server.pinned);
  writeFileSync(path, "damaged");
  await fetchModel(server.pinned);
  expect(Buffer.compare(readFileSync(path), model)).toBe(0);
  expect(lines.join("\n")).toContain(`warn Checksum mismatch for ${path}`);
});

test("fetchModel() says what is wrong: offline, no such file, a page, no hash over http, a fragment that is none", async () => {
  using server = serve((request) =>
    request === 0
      ? new Response("gone", { status: 404, statusText: "Not Found" })
      : new Response("<html>", { headers: { "content-type": "text/html; charset=utf-8" } }),
  );
  const missing = await failure(fetchModel(server.pinned));
  expect(missing.message).toStartWith(`Cannot fetch "${server.url.href}": ${server.url.host} answered 404 Not Found\n`);
  expect((await failure(fetchModel(server.pinned))).message).toContain("sent an HTML page, not a file");
  expect(server.ranges).toHaveLength(2);
  const offline = await failure(fetchModel(new URL(`http://me:secret@127.0.0.1:1/a.onnx#sha256=${hash}`)));
  expect(offline).toBeInstanceOf(CatalogueError);
  expect(offline.message).toMatch(
    /^Cannot fetch "http:\/\/me:\*\*\*@127.0.0.1:1\/a.onnx": the transfer failed: .*\nHint: check the address and the network, or put the file at /,
  );
  expect(offline.message).toEndWith(` or put the file at ${join(downloads, `a-${hash}.onnx`)} by hand`);
  const open = await failure(fetchModel(new URL("http://models.example/a.onnx")));
  expect(open).toBeInstanceOf(ModelError);
  expect(open.message).toContain("http:// needs a hash, as anyone on the way can change the file");
  const fragment = await failure(fetchModel(new URL("#main", server.url)));
  expect(fragment.message).toContain("what follows # must be sha256= and 64 hexadecimal digits");
});

test("fetchModel() ends with its signal, and leaves what it has for the next call", async () => {
  const abort = new AbortController();
  const reason = new Error("enough");
  using server = serve((request) => {
    if (request > 0) return undefined;
    const endless = new ReadableStream({
      async pull(controller) {
        controller.enqueue(model.slice(0, 100));
        await new Promise(() => {});
      },
    });
    return new Response(endless, { headers: { "content-length": String(model.length) } });
  });
  const onProgress = (received: number): void => {
    if (received >= 100) abort.abort(reason);
  };
  const error = await failure(fetchModel(server.pinned, { signal: abort.signal, onProgress }));
  expect(error).toBe(reason);
  expect(Buffer.compare(readFileSync(await fetchModel(server.pinned)), model)).toBe(0);
  expect(server.ranges).toEqual([null, "bytes=100-"]);
});

test("fetchModel() says that the cache cannot be written", async () => {
  using server = serve();
  writeFileSync(downloads, "a file");
  const error = await failure(fetchModel(server.pinned));
  expect(error).toBeInstanceOf(CatalogueError);
  expect(error.message).toContain("or set BUN_TENSORRT_CACHE to another");
  expect(server.ranges).toEqual([]);
});
