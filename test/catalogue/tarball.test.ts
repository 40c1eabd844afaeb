import { expect, test } from "bun:test";
import { gzipSync } from "node:zlib";
import { readTarball } from "../../src/catalogue/pull.ts";

/** One file of an archive, as POSIX tar has it: a header and the bytes, filled up. */
function member(name: string, bytes: Uint8Array, type = "0", byteLength = bytes.length): Buffer {
  const header = Buffer.alloc(512);
  const cut = name.length > 100 ? name.indexOf("/", name.length - 101) : -1;
  header.write(name.slice(cut + 1), 0);
  header.write(`${byteLength.toString(8).padStart(11, "0")}\0`, 124);
  header.write(type, 156);
  header.write("ustar\x0000", 257);
  if (cut > 0) header.write(name.slice(0, cut), 345);
  return Buffer.concat([header, bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512)]);
}

function tgz(...members: readonly Uint8Array[]): Uint8Array {
  return gzipSync(Buffer.concat([...members, Buffer.alloc(1024)]));
}

const text = (value: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(value);

test("readTarball() reads files by name, of odd lengths, among others of every kind", async () => {
  const long = `package/${"deep/".repeat(30)}model.onnx`;
  const even = new Uint8Array(1024).fill(7);
  const archive = tgz(
    member("package/", text(""), "5"),
    member("PaxHeader", text("30 mtime=1700000000.000000000\n"), "x"),
    member("package/a", text("first")),
    member("package/link", text(""), "2", 5),
    member("package/even", even),
    member("package/empty", text("")),
    member(long, text("deep")),
  );
  const wanted = new Map([
    ["package/even", 1024],
    ["package/a", 5],
    ["package/empty", 0],
    ["package/missing", 9],
    [long, 4],
  ]);
  expect(await readTarball(archive, wanted, 1 << 20)).toEqual(
    new Map<string, Uint8Array<ArrayBuffer>>([
      ["package/a", text("first")],
      ["package/even", even],
      ["package/empty", text("")],
      [long, text("deep")],
    ]),
  );
});

test("readTarball() gives the length of a file that has another, and holds none of it", async () => {
  const archive = tgz(member("package/a", new Uint8Array(100_000)));
  expect(await readTarball(archive, new Map([["package/a", 5]]), 1 << 20)).toEqual(new Map([["package/a", 100_000]]));
});

test("readTarball() ends with the last file that is wanted, and gives up what unpacks to too much", async () => {
  const bomb = member("package/zeros", new Uint8Array(20_000_000));
  const wanted = new Map([["package/a", 5]]);
  expect((await readTarball(tgz(member("package/a", text("first")), bomb), wanted, 1 << 20)).size).toBe(1);
  await expect(readTarball(tgz(bomb, member("package/a", text("first"))), wanted, 1 << 20)).rejects.toThrow(
    "it unpacks to more than 1048576 bytes",
  );
  // A few bytes that stand for terabytes, as GNU tar writes files with holes.
  const sparse = member("package/a", text("x"), "S");
  sparse.write("77777777777\0", 483);
  expect(await readTarball(tgz(sparse), wanted, 1 << 20)).toEqual(new Map([["package/a", 1]]));
});

test("readTarball() names damage", async () => {
  const archive = tgz(member("package/a", text("first")));
  const wanted = new Map([["package/a", 5]]);
  await expect(readTarball(archive.subarray(0, 30), wanted, 1 << 20)).rejects.toThrow("unexpected end of file");
  await expect(readTarball(new Uint8Array(100), wanted, 1 << 20)).rejects.toThrow();
  const cut = gzipSync(member("package/a", text("first")).subarray(0, 515));
  await expect(readTarball(cut, wanted, 1 << 20)).rejects.toThrow("it is cut short after 515 bytes");
  const odd = member("package/a", text("first"));
  odd.write("no number", 124);
  await expect(readTarball(tgz(odd), wanted, 1 << 20)).rejects.toThrow("has no length");
});
