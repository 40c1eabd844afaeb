import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { type ByteSource, FileSource, readWhole, readZip, unpack, type ZipEntry } from "../../src/catalogue/archive.ts";
import { fileFolder } from "../support/folder.ts";
import { makeZip } from "./make-zip.ts";

const inFolder = fileFolder("zip");

/** Bytes that neither repeat nor compress to nothing. */
function noise(byteLength: number): Uint8Array {
  return new Uint8Array(byteLength).map((_, at) => ((at * at) >> 3) ^ at);
}

/** An archive in memory that gives its bytes in pieces of a few, and counts what is asked for. */
class Pieces implements ByteSource {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly byteLength: number;
  receivedBytes = 0;
  requests = 0;
  readonly #pieceBytes: number;

  constructor(bytes: Uint8Array<ArrayBuffer>, pieceBytes = 7) {
    this.bytes = bytes;
    this.byteLength = bytes.length;
    this.#pieceBytes = pieceBytes;
  }

  async *read(start: number, end: number): AsyncIterable<Uint8Array<ArrayBuffer>> {
    expect(start).toBeGreaterThanOrEqual(0);
    expect(end).toBeLessThanOrEqual(this.byteLength);
    this.requests += 1;
    for (let at = start; at < end; at += this.#pieceBytes) {
      const piece = this.bytes.slice(at, Math.min(end, at + this.#pieceBytes));
      this.receivedBytes += piece.length;
      yield piece;
    }
  }
}

async function contentOf(
  source: ByteSource,
  entry: ZipEntry,
  onPacked: (bytes: number) => void = () => {},
): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  for await (const piece of unpack(source, entry, onPacked)) pieces.push(new Uint8Array(piece));
  return new Uint8Array(Buffer.concat(pieces));
}

async function problem(promise: Promise<unknown>): Promise<string> {
  return await promise.then(
    () => "nothing",
    (error: Error) => error.message,
  );
}

test("readZip() and unpack() give every file back: deflated, stored, empty, odd names, with comment", async () => {
  const files = [
    { name: "a/deflated.so.1", content: noise(10_007), localExtra: 13 },
    { name: "stored", content: noise(101), isStored: true },
    { name: "empty", content: new Uint8Array(0) },
    { name: "mit Umlaut ä", content: noise(1), flags: 8 },
    { name: "last", content: noise(33), flags: 8 },
  ];
  for (const comment of ["", "a comment", "x".repeat(300), "y".repeat(0xffff)]) {
    const source = new Pieces(makeZip(files, { comment }), 1000);
    const entries = await readZip(source);
    expect([...entries.keys()]).toEqual(files.map(({ name }) => name));
    for (const { name, content } of files) {
      const entry = entries.get(name)!;
      expect(entry.byteLength).toBe(content.length);
      expect(await contentOf(source, entry)).toEqual(content);
    }
  }
});

test("unpack() takes a local header that comes in pieces, and counts packed bytes", async () => {
  const content = noise(997);
  const source = new Pieces(makeZip([{ name: "one", content, localExtra: 40 }]), 1);
  const entry = (await readZip(source)).get("one")!;
  const seen: number[] = [];
  expect(await contentOf(source, entry, (bytes) => seen.push(bytes))).toEqual(content);
  expect(seen.at(-1)).toBe(entry.compressedBytes);
});

test("readZip() reads 64-bit records and sizes, and an empty archive", async () => {
  const content = noise(5003);
  const files = [
    { name: "big", content, isZip64: true },
    { name: "small", content: noise(3) },
  ];
  for (const isZip64 of [true, false]) {
    const source = new Pieces(makeZip(files, { isZip64 }), 500);
    const entries = await readZip(source);
    expect(await contentOf(source, entries.get("big")!)).toEqual(content);
    expect(await contentOf(source, entries.get("small")!)).toEqual(noise(3));
  }
  expect((await readZip(new Pieces(makeZip([])))).size).toBe(0);
});

test("readZip() asks for the archive's end alone, unpack() for one range", async () => {
  const files = [
    { name: "large", content: noise(300_000), isStored: true },
    { name: "wanted", content: noise(2000), isStored: true },
  ];
  const source = new Pieces(makeZip(files), 1000);
  const entries = await readZip(source);
  expect(source.requests).toBe(2);
  expect(source.receivedBytes).toBeLessThan(1000);
  await contentOf(source, entries.get("wanted")!);
  expect(source.requests).toBe(3);
  expect(source.receivedBytes).toBeLessThan(4000);
});

test("readZip() names what is wrong with an archive cut off at any place", async () => {
  const whole = makeZip([{ name: "one", content: noise(500) }]);
  for (let length = 0; length < whole.length; length += 11) {
    const text = await problem(readZip(new Pieces(whole.slice(0, length))));
    expect(text).toStartWith("the archive is damaged: ");
  }
});

test("readZip() and unpack() refuse directories that lie", async () => {
  const good = makeZip([{ name: "one", content: noise(500), isStored: true }]);
  const end = good.length - 22;
  const start = new DataView(good.buffer).getUint32(end + 16, true);
  const cases: readonly (readonly [what: string, patch: (view: DataView) => void])[] = [
    ["its directory reaches beyond its end", (view) => view.setUint32(end + 16, good.length, true)],
    ["its directory reaches beyond its end", (view) => view.setUint32(end + 12, 0x7fffffff, true)],
    ["its directory has an entry that is none", (view) => view.setUint32(start, 1, true)],
    ["its directory is cut off", (view) => view.setUint16(start + 28, 60_000, true)],
    ["its directory has 1 of 2 entries", (view) => view.setUint16(end + 10, 2, true)],
    ["one has no room", (view) => view.setUint32(start + 20, 0x7fffffff, true)],
    ["one has no room", (view) => view.setUint32(start + 42, good.length * 2, true)],
    ["one has no room", (view) => view.setUint32(start + 20, 0xffffffff, true)],
    ["one is not where it should be", (view) => view.setUint32(0, 1, true)],
    ["one is cut off", (view) => view.setUint16(28, 100, true)],
  ];
  for (const [what, patch] of cases) {
    const bytes = good.slice();
    patch(new DataView(bytes.buffer));
    const source = new Pieces(bytes);
    const read = async (): Promise<unknown> => await contentOf(source, (await readZip(source)).get("one")!);
    expect([what, await problem(read())]).toEqual([what, expect.stringContaining(what)]);
  }
});

test("readZip() refuses 64-bit sizes and end records that are cut off", async () => {
  const bytes = makeZip([{ name: "one", content: noise(500), isZip64: true }], { isZip64: true });
  const view = new DataView(bytes.buffer);
  const record = bytes.length - 22 - 20 - 56;
  const start = Number(view.getBigUint64(record + 48, true));
  view.setUint16(start + 46 + 3 + 2, 8, true);
  expect(await problem(readZip(new Pieces(bytes)))).toContain("a 64-bit size is cut off");
  view.setBigUint64(record + 56 + 8, 0n, true);
  expect(await problem(readZip(new Pieces(bytes)))).toContain("its 64-bit end record is not where it should be");
  view.setBigUint64(record + 56 + 8, 0x7fffffffffffffffn, true);
  expect(await problem(readZip(new Pieces(bytes)))).toContain("its 64-bit end record lies beyond its end");
});

test("unpack() refuses what it cannot unpack: encrypted, another method, damaged data", async () => {
  const content = noise(900);
  const unpacked = async (bytes: Uint8Array<ArrayBuffer>): Promise<unknown> => {
    const source = new Pieces(bytes, 100);
    return await contentOf(source, (await readZip(source)).get("one")!);
  };
  expect(await problem(unpacked(makeZip([{ name: "one", content, flags: 1 }])))).toBe("one is encrypted");
  expect(await problem(unpacked(makeZip([{ name: "one", content, method: 93 }])))).toContain("method 93");
  const damaged = makeZip([{ name: "one", content }]);
  damaged.fill(0xff, 33, 60);
  expect(await problem(unpacked(damaged))).not.toBe("nothing");
});

test("unpack() that is left early leaves its source", async () => {
  let isLeft = false;
  const whole = makeZip([{ name: "one", content: noise(100_000) }]);
  class Watched extends Pieces {
    override async *read(start: number, end: number): AsyncIterable<Uint8Array<ArrayBuffer>> {
      try {
        yield* super.read(start, end);
      } finally {
        isLeft = true;
      }
    }
  }
  const source = new Watched(whole, 1000);
  const entry = (await readZip(source)).get("one")!;
  isLeft = false;
  for await (const _ of unpack(source, entry, () => {})) break;
  await Bun.sleep(1);
  expect(isLeft).toBe(true);
});

test("FileSource reads ranges of a file", async () => {
  const path = inFolder("file");
  writeFileSync(path, noise(1001));
  const source = new FileSource(path);
  expect(source.byteLength).toBe(1001);
  expect(source.receivedBytes).toBe(0);
  expect(await readWhole(source, 0, 1001)).toEqual(new Uint8Array(noise(1001)));
  expect(await readWhole(source, 999, 1001)).toEqual(new Uint8Array(noise(1001).slice(999)));
  expect(await readWhole(source, 5, 5)).toHaveLength(0);
});
