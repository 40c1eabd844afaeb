import { expect, test } from "bun:test";
import { ArgumentError } from "../../src/core/errors.ts";
import { copyHost, copyHostRectangle } from "../../src/cuda/copy.ts";
import { addressOf } from "../../src/ffi/memory.ts";
import { SHIM_STATUS, shim } from "../../src/ffi/shim.ts";
import { chance } from "../support/chance.ts";

const MIB = 1 << 20;

function noise(length: number): Uint8Array<ArrayBuffer> {
  const random = chance(length);
  const words = new Uint32Array(Math.ceil(length / 4));
  for (let at = 0; at < words.length; at++) words[at] = random() * 2 ** 32;
  return new Uint8Array(words.buffer, 0, length);
}

test("copyHost() copies any size, from and to any offset, and nothing beyond", () => {
  for (const length of [0, 1, 63, MIB - 1, MIB, MIB + 1, 1920 * 1080 * 3, 5 * MIB + 12_345]) {
    const source = noise(length + 3);
    const target = new Uint8Array(new ArrayBuffer(length + 8)).fill(7);
    copyHost(target.subarray(5), source.subarray(3), length);
    expect(Buffer.compare(target.subarray(5, 5 + length), source.subarray(3, 3 + length))).toBe(0);
    expect([...target.subarray(0, 5), ...target.subarray(5 + length)]).toEqual([7, 7, 7, 7, 7, 7, 7, 7]);
  }
});

test("copyHost() is whole each time, 3,000 times over, with pauses that let its threads fall asleep", async () => {
  const source = noise(2 * MIB + 77);
  const words = new Uint32Array(source.buffer, 0, 1);
  const target = new Uint8Array(new ArrayBuffer(source.length));
  for (let round = 0; round < 3000; round++) {
    words[0] = round;
    source[source.length - 1] = round;
    source[MIB + (round % MIB)] = round >> 3;
    copyHost(target, source, source.length);
    if (Buffer.compare(target, source) !== 0) throw new Error(`round ${round} differs`);
    if (round % 500 === 0) await Bun.sleep(2);
  }
});

test("copyHostRectangle() copies rows of any number and length, and nothing between them", () => {
  for (const [widthBytes, height, gap] of [
    [1, 1, 0],
    [7, 50, 3],
    [MIB, 1, 0],
    [5760, 360, 2 * 5760],
    [2 * 11_520, 360, 4 * 11_520 + 1],
    [300_000, 9, 5],
    [MIB + 5, 3, 77],
  ] as const) {
    const rectangle = {
      ...{ widthBytes, height, targetPitchBytes: widthBytes + gap, sourcePitchBytes: widthBytes + 2 * gap },
      ...{ targetOffsetBytes: 5, sourceOffsetBytes: 3 },
    };
    const source = noise(3 + rectangle.sourcePitchBytes * (height - 1) + widthBytes);
    const target = new Uint8Array(5 + rectangle.targetPitchBytes * (height - 1) + widthBytes).fill(7);
    const wanted = target.slice();
    for (let row = 0; row < height; row++) {
      const start = 3 + row * rectangle.sourcePitchBytes;
      wanted.set(source.subarray(start, start + widthBytes), 5 + row * rectangle.targetPitchBytes);
    }
    copyHostRectangle(target, source, rectangle);
    expect(Buffer.compare(target, wanted)).toBe(0);
    expect(() => copyHostRectangle(target.subarray(1), source, rectangle)).toThrow(ArgumentError);
    expect(() => copyHostRectangle(target, source.subarray(1), rectangle)).toThrow(ArgumentError);
  }
});

test("copyHost() may be called by several JS threads at once", async () => {
  const url = new URL("../../src/cuda/copy.ts", import.meta.url).href;
  const program = `
    import { copyHost, copyHostRectangle } from ${JSON.stringify(url)};
    const source = new Uint8Array(3_000_000), target = new Uint8Array(3_000_000);
    for (let round = 1; round <= 100; round++) {
      source.fill(round);
      copyHost(target, source, source.length);
      if (Buffer.compare(target, source) !== 0) throw new Error("differs");
    }
    postMessage("whole");`;
  const workers = Array.from(
    { length: 3 },
    () => new Worker(URL.createObjectURL(new Blob([program], { type: "text/javascript" }))),
  );
  const answers = workers.map(
    (worker) =>
      new Promise((resolve) => {
        worker.onmessage = ({ data }) => resolve(data);
        worker.onerror = ({ message }) => resolve(message);
      }),
  );
  expect(await Promise.all(answers)).toEqual(["whole", "whole", "whole"]);
  for (const worker of workers) worker.terminate();
});

test("copyHost() refuses what is too short by name, and bt_copy what is no memory", () => {
  const [short, long] = [new Uint8Array(10), new Uint8Array(20)];
  expect(() => copyHost(short, long, 20)).toThrow("both must have room for 20 bytes, got 10 and 20");
  expect(() => copyHost(long, short, 20)).toThrow(ArgumentError);
  expect(shim().bt_copy(null, addressOf(long), 4)).toBe(SHIM_STATUS.badCall);
  expect(shim().bt_copy(addressOf(long), addressOf(short), -1)).toBe(SHIM_STATUS.badCall);
  expect(shim().bt_copy_rows(addressOf(long), 4, addressOf(short), 3, 4, 2)).toBe(SHIM_STATUS.badCall);
});
