import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { chmodSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { ArgumentError, ImageError } from "../../src/core/errors.ts";
import { freePixels, imageOf, isImage, isSamePixels } from "../../src/image/image.ts";
import { readSource } from "../../src/image/source.ts";
import { paint, paintedJpeg } from "../support/images.ts";

setDefaultTimeout(120_000);

const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-source-"));
const path = join(folder, "an image.jpg");
const jpeg = await paintedJpeg(9, 7);
await Bun.write(path, jpeg);

let server: ReturnType<typeof Bun.serve>;

beforeAll(() => {
  server = Bun.serve({
    port: 0,
    fetch: async (request) => {
      const { pathname } = new URL(request.url);
      if (pathname === "/image.jpg") return new Response(jpeg);
      if (pathname === "/slow") await Bun.sleep(1000);
      return new Response("nothing here", { status: 404, statusText: "Not Found" });
    },
  });
});

afterAll(async () => {
  await server.stop(true);
  rmSync(folder, { recursive: true });
});

test("readSource() reads paths, file URLs as text and as URL, and Bun.file()", async () => {
  for (const source of [path, pathToFileURL(path).href, pathToFileURL(path), Bun.file(path)]) {
    const { bytes, name } = await readSource(source);
    expect(name).toBe(path);
    expect(Buffer.compare(bytes, jpeg)).toBe(0);
  }
});

test("readSource() takes bytes as they are, without a copy", async () => {
  expect((await readSource(jpeg)).bytes).toBe(jpeg);
  const buffer = new Uint8Array(jpeg).buffer;
  const { bytes, name } = await readSource(buffer);
  expect(bytes.buffer).toBe(buffer);
  expect(name).toBe("bytes");
});

test("readSource() reads Blob and File, and names a File", async () => {
  expect((await readSource(new Blob([jpeg]))).name).toBe("a Blob");
  const { bytes, name } = await readSource(new File([jpeg], "upload.jpg"));
  expect(name).toBe("upload.jpg");
  expect(Buffer.compare(bytes, jpeg)).toBe(0);
});

test("readSource() downloads http URLs, and keeps the password out of the name", async () => {
  const url = new URL("/image.jpg", server.url);
  url.username = "me";
  url.password = "secret";
  const { bytes, name } = await readSource(url);
  expect(Buffer.compare(bytes, jpeg)).toBe(0);
  expect(name).toBe(`http://me:***@${server.url.host}/image.jpg`);
});

test("readSource() tells no password of an address that cannot be read, though it is cut short", async () => {
  const long = "s3cret".repeat(20);
  for (const address of [
    `http://me:${long}/@host/a.jpg`,
    `rtsp://me:${long}@camera/live`,
    `ftp://me:1/${long}@host/a`,
  ]) {
    const error = await readSource(address).catch((reason: Error) => reason);
    expect([Bun.inspect(error), String((error as ImageError).source)].join()).not.toContain("s3cret");
  }
});

test("readSource() says what is wrong with a path", async () => {
  await expect(readSource("nowhere.jpg")).rejects.toThrow(
    `Cannot decode "nowhere.jpg": there is no such file\nHint: paths are relative to ${process.cwd()}`,
  );
  await expect(readSource(Bun.file(join(folder, "gone.jpg")))).rejects.toThrow("there is no such file");
  await expect(readSource(folder)).rejects.toThrow("it is a folder");
  await expect(readSource(join(path, "below"))).rejects.toThrow("it cannot be read (ENOTDIR)");
});

test("readSource() takes a name with a colon for a path, and asks no server", async () => {
  let requests = 0;
  using stranger = Bun.serve({
    port: 0,
    fetch() {
      requests += 1;
      return new Response(jpeg);
    },
  });
  const former = process.cwd();
  process.chdir(folder);
  try {
    const name = `http:127.0.0.1:${stranger.port}?a.jpg`;
    await expect(readSource(name)).rejects.toThrow("there is no such file");
    await Bun.write(name, "local");
    expect(new TextDecoder().decode((await readSource(name)).bytes)).toBe("local");
  } finally {
    process.chdir(former);
  }
  expect(requests).toBe(0);
});

test("readSource() says of a name that is not UTF-8 that it is the name", async () => {
  Bun.spawnSync(["sh", "-c", "printf x > \"$(printf 'caf\\351.jpg')\""], { cwd: folder });
  const name = readdirSync(folder).find((one) => one.startsWith("caf"))!;
  await expect(readSource(join(folder, name))).rejects.toThrow(
    /^Cannot decode ".*": its name is not valid UTF-8\nHint: rename the file, or pass its content on standard input/,
  );
});

test.skipIf(process.getuid?.() === 0)("readSource() says that a file cannot be read (not as root)", async () => {
  const closed = join(folder, "closed.jpg");
  await Bun.write(closed, jpeg);
  chmodSync(closed, 0);
  await expect(readSource(closed)).rejects.toThrow("it cannot be read (EACCES)");
});

test("readSource() says what is wrong with a URL", async () => {
  const missing = readSource(new URL("/none.jpg", server.url).href);
  await expect(missing).rejects.toThrow("the server answered 404 Not Found");
  await expect(missing).rejects.toBeInstanceOf(ImageError);
  const slow = readSource(new URL("/slow", server.url), { timeoutMs: 50 });
  await expect(slow).rejects.toThrow("all of it must be there within timeoutMs, and is not after 50 ms");
  await expect(readSource("http://127.0.0.1:1/a.jpg")).rejects.toThrow("it cannot be fetched (");
  await expect(readSource("ftp://example.org/a.jpg")).rejects.toThrow(
    "its scheme must be file:, http:, https: or data:",
  );
  await expect(readSource("rtsp://camera.local/a")).rejects.toThrow(
    "Hint: read videos and live streams by VideoSource",
  );
});

/** A stream of these pieces, which goes on without end where it is told to; `cancelled` is why it was given up. */
function streamOf(pieces: readonly unknown[], isEndless = false): ReadableStream<Uint8Array> & { cancelled?: unknown } {
  const left = [...pieces];
  const stream: ReadableStream<Uint8Array> & { cancelled?: unknown } = new ReadableStream({
    pull(controller) {
      if (left.length > 0) controller.enqueue(left.shift() as Uint8Array);
      else if (isEndless) return new Promise(() => {});
      else controller.close();
      return undefined;
    },
    cancel(reason) {
      stream.cancelled = reason;
    },
  });
  return stream;
}

test("readSource() reads data: URLs, in base64 and escaped, as text and as URL", async () => {
  const base64 = `data:image/jpeg;base64,${jpeg.toBase64()}`;
  const escaped = `data:image/jpeg;charset=x,${[...jpeg].map((byte) => `%${byte.toString(16).padStart(2, "0")}`).join("")}`;
  const mixed = base64.replaceAll("+", "%2B").replaceAll("/", "%2f").replace("=", "%3D");
  for (const source of [base64, new URL(base64), escaped, mixed, base64.replace(";base64", ";BASE64")]) {
    const { bytes, name } = await readSource(source);
    expect(Buffer.compare(bytes, jpeg)).toBe(0);
    expect(name).toBe("a data URL");
  }
  expect(new TextDecoder().decode((await readSource("data:,a%20b+c%zz")).bytes)).toBe("a b+c%zz");
  await expect(readSource("data:image/png;base64,@@@@")).rejects.toThrow(
    "Cannot decode a data URL: its data is not base64\nHint: ",
  );
  await expect(readSource("data:image/png;base64")).rejects.toThrow("it has no comma before its data");
});

test("readSource() reads Response, Request and ReadableStream", async () => {
  const url = new URL("/image.jpg", server.url);
  const cases = [
    [await fetch(url), url.href],
    [new Response(jpeg), "a Response"],
    [await fetch(`data:image/jpeg;base64,${jpeg.toBase64()}`), "a data URL"],
    [new Request(url.href, { method: "POST", body: jpeg }), "a Request"],
    [new Blob([jpeg]).stream(), "a ReadableStream"],
    [streamOf([jpeg.subarray(0, 5), jpeg.subarray(5)]), "a ReadableStream"],
  ] as const;
  for (const [source, expected] of cases) {
    const { bytes, name } = await readSource(source);
    expect(Buffer.compare(bytes, jpeg)).toBe(0);
    expect(name).toBe(expected);
  }
});

test("readSource() says what is wrong with a Response, Request or ReadableStream", async () => {
  const used = new Response(jpeg);
  await used.bytes();
  const held = new Response(jpeg);
  held.body!.getReader();
  const locked = streamOf([jpeg]);
  locked.getReader();
  const form = new FormData();
  form.set("image", new File([jpeg], "a.jpg"));
  const post = { method: "POST", headers: { "content-length": String(2 ** 31) } };
  const cases = [
    [await fetch(new URL("/none.jpg", server.url)), "the server answered 404 Not Found"],
    [used, "Cannot decode a Response: its body has been read already\nHint: give it before anyone reads it"],
    [held, "its body has been read already"],
    [locked, "Cannot decode a ReadableStream: somebody else reads it\nHint: "],
    [new Request(server.url.href), "Cannot decode a Request: it has no body\nHint: send the image as the body"],
    [new Request(server.url.href, { method: "POST", body: form }), "it is a form\nHint: give the File in it"],
    [new Request(server.url.href, { ...post, body: jpeg }), "an image file must have at most 1.00 GiB, got 2.00 GiB"],
    [new ReadableStream({ pull: (to) => to.error(new Error("no signal")) }), "it cannot be read (no signal)"],
    [streamOf(["text"]), "its chunks must be Uint8Arrays, got string"],
  ] as const;
  for (const [source, text] of cases) {
    const error = await readSource(source).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(ImageError);
    expect((error as ImageError).message).toContain(text);
  }
});

test("readSource() gives up a stream that is too slow, too long, or not wanted any more, and cancels it", async () => {
  const slow = streamOf([jpeg], true);
  await expect(readSource(slow, { timeoutMs: 30 })).rejects.toThrow(
    "Cannot decode a ReadableStream: all of it must be there within timeoutMs, and is not after 30 ms",
  );
  expect(slow.cancelled).toMatchObject({ name: "TimeoutError" });
  const long = streamOf(Array(70).fill(new Uint8Array(2 ** 24)));
  await expect(readSource(long)).rejects.toThrow("an image file must have at most 1.00 GiB, got ");
  expect("cancelled" in long).toBe(true);
  const reason = new Error("enough");
  const unwanted = streamOf([jpeg], true);
  const abort = new AbortController();
  const reading = readSource(unwanted, { signal: abort.signal }).catch((error: unknown) => error);
  setTimeout(() => abort.abort(reason), 10);
  expect(await reading).toBe(reason);
  expect(unwanted.cancelled).toBe(reason);
  for (const source of [path, jpeg, new URL("/slow", server.url), new Response(jpeg)]) {
    expect(await readSource(source, { signal: abort.signal }).catch((error: unknown) => error)).toBe(reason);
  }
  const fetching = new AbortController();
  const download = readSource(new URL("/slow", server.url), { signal: fetching.signal }).catch((error) => error);
  setTimeout(() => fetching.abort(reason), 10);
  expect(await download).toBe(reason);
});

test("readSource() refuses what is no source", async () => {
  for (const wrong of [undefined, null, 7, {}]) {
    await expect(readSource(wrong as unknown as string)).rejects.toThrow(ArgumentError);
  }
});

test("isImage() tells pixels from files", () => {
  expect(isImage(paint(2, 2))).toBe(true);
  for (const other of ["a.jpg", jpeg, jpeg.buffer as ArrayBuffer, new Blob([jpeg]), new URL("file:///a")]) {
    expect(isImage(other)).toBe(false);
  }
});

test("readSource() says what is wrong with text that is neither a path nor a URL", async () => {
  const cases: readonly (readonly [source: string, text: string])[] = [
    ["http://", 'Cannot decode "http://": it is no valid URL\nHint: '],
    ["file://elsewhere/a.jpg", "it is no path ("],
    ["file:///tmp/a%2fb.jpg", "it is no path ("],
    ["a\0b", "it cannot be read (ERR_INVALID_ARG_VALUE)\nHint: "],
    ["a".repeat(5000), "it cannot be read (ENAMETOOLONG)\nHint: "],
  ];
  for (const [source, text] of cases) {
    const error = await readSource(source).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(ImageError);
    expect((error as ImageError).message).toContain(text);
  }
});

test("readSource() reads a pipe, which does not tell its size", async () => {
  const module = join(import.meta.dir, "../../src/image/source.ts");
  const script = `const { readSource } = await import(${JSON.stringify(module)});
    const { bytes, name } = await readSource(Bun.stdin);
    process.stdout.write(name + " " + Bun.hash(bytes));`;
  const child = Bun.spawn([process.execPath, "-e", script], { stdin: "pipe", stdout: "pipe" });
  child.stdin.write(jpeg);
  await child.stdin.end();
  expect(await child.stdout.text()).toBe(`a Blob ${Bun.hash(jpeg)}`);
});

test("freePixels() empties large memory of its own, and leaves what is small or shared", () => {
  const own = new Uint8Array(2 ** 21);
  freePixels(own);
  expect([own.length, own.buffer.detached]).toEqual([0, true]);
  const shared = new Uint8Array(2 ** 22);
  freePixels(shared.subarray(2 ** 21));
  const small = new Uint8Array(1000);
  freePixels(small);
  freePixels(new Uint8Array(new SharedArrayBuffer(2 ** 21)));
  expect([shared.length, small.length]).toEqual([2 ** 22, 1000]);
});

test("isSamePixels() tells images of one memory by how it is read", () => {
  const data = new Uint8Array(64 * 48 * 3);
  const image = imageOf(data, { width: 64, height: 48 });
  expect(isSamePixels(image, { ...image })).toBe(true);
  const nv12 = imageOf(data, { width: 64, height: 48, format: "NV12", pitchBytes: 64 });
  expect(isSamePixels(nv12, { ...nv12 })).toBe(true);
  const others = [
    imageOf(data.subarray(), { width: 64, height: 48 }),
    imageOf(data, { width: 48, height: 64 }),
    imageOf(data, { width: 64, height: 48, format: "BGR" }),
    imageOf(data, { width: 48, height: 48, pitchBytes: 192 }),
    nv12,
  ];
  for (const other of others) expect(isSamePixels(image, other)).toBe(false);
  for (const form of [
    { chromaOffset: 4000 },
    { chromaPitchBytes: 70 },
    { yuvStandard: "BT.709" },
    { yuvRange: "full" },
  ] as const) {
    expect(isSamePixels(nv12, { ...nv12, ...form })).toBe(false);
  }
});
