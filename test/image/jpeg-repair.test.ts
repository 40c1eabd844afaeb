import { afterEach, describe, expect, test } from "bun:test";
import { setLogSink } from "../../src/core/log.ts";
import type { DecodedImage } from "../../src/image/image-decoder.ts";
import { decodeImage } from "../../src/image/image-file.ts";
import { repairedJpegs } from "../../src/image/jpeg-decoder.ts";
import { readJpegMarkers, readJpegScans } from "../../src/image/jpeg-markers.ts";
import { chance } from "../support/chance.ts";
import { hasTurboJpeg, JPEG_PATHS, paintedJpeg, withExtraneousBytes, withSegment } from "../support/images.ts";
import { jpegFixture } from "../support/jpegs.ts";

const baseline = await paintedJpeg(320, 240, { quality: 95 });
const progressive = await paintedJpeg(320, 240, { quality: 95, progressive: true });
const FILES = [
  ["baseline", baseline],
  ["progressive", progressive],
] as const;
const END = Buffer.from([0xff, 0xd9]);

afterEach(() => setLogSink(undefined));

/** Where the last scan of a progressive file begins. */
function lastScanAt(jpeg: Buffer): number {
  return jpeg.lastIndexOf(Buffer.from([0xff, 0xda]));
}

/** Every pixel is there; what is wrong besides. */
function whole(jpeg: Buffer): Readonly<Record<string, Buffer>> {
  const data = jpeg.subarray(0, -2);
  return {
    "no end marker": data,
    "half an end marker": jpeg.subarray(0, -1),
    "a buffer filled up with zeros": Buffer.concat([data, Buffer.alloc(4096)]),
    "zeros in front of the end marker": Buffer.concat([data, Buffer.alloc(9), END]),
    "a single 0 in front of the end marker": Buffer.concat([data, Buffer.alloc(1), END]),
    "bytes of one value in front of the end marker": withExtraneousBytes(jpeg),
    "another file behind the end marker": Buffer.concat([jpeg, jpeg]),
    "an unknown version of JFIF": withSegment(jpeg, 0xe0, Buffer.from("JFIF\0\x09\x02\0\0\x01\0\x01\0\0", "latin1")),
    "bytes between two segments": Buffer.concat([
      jpeg.subarray(0, 2),
      withSegment(jpeg, 0xfe, Buffer.from("a comment")).subarray(2, 15),
      Buffer.from([1, 2, 3]),
      jpeg.subarray(2),
    ]),
  };
}

for (const [name, through] of JPEG_PATHS) {
  describe.skipIf(name === "libturbojpeg" && !hasTurboJpeg)(`JPEG through ${name}`, () => {
    test("decodeImage() takes what is whole, whatever its decoder says of other bytes", async () => {
      setLogSink(() => {});
      await through(async () => {
        for (const [kind, jpeg] of FILES) {
          const expected = (await decodeImage(jpeg)).data;
          for (const [fault, file] of Object.entries(whole(jpeg))) {
            const image = await decodeImage(file).catch((error: Error) => error.message);
            const isSame = typeof image !== "string" && Buffer.compare(image.data, expected) === 0;
            expect([kind, fault, isSame || image]).toEqual([kind, fault, true]);
          }
        }
      });
    });

    test("decodeImage() refuses damaged data; damaged: take gives the rest, marked", async () => {
      setLogSink(() => {});
      const random = chance(3);
      await through(async () => {
        for (const [kind, jpeg] of FILES) {
          const expected = (await decodeImage(jpeg)).data;
          let [refused, taken] = [0, 0];
          for (let round = 0; round < 20; round++) {
            const file = Buffer.from(jpeg);
            const at = Math.floor(jpeg.length * (0.3 + random() * 0.4));
            file.fill(0, at, at + [8, 40, 200][round % 3]!);
            const error = await decodeImage(file).then(
              () => undefined,
              (thrown: Error) => thrown,
            );
            if (error === undefined) continue;
            refused += 1;
            expect(error.message).toContain("the JPEG is damaged");
            // Where the header of a scan was hit, there is nothing to take.
            const image = await decodeImage(file, { damaged: "take" }).catch((thrown: Error) => thrown.message);
            if (typeof image === "string") continue;
            taken += 1;
            expect(image).toMatchObject({ width: 320, height: 240, damage: "its data does not fit its pixels" });
          }
          expect(taken).toBeGreaterThan(kind === "baseline" ? refused - 1 : 4);
          expect(refused).toBeGreaterThan(kind === "baseline" ? 12 : 15);
          expect((await decodeImage(jpeg)).data).toEqual(expected);
        }
      });
    });

    test("decodeImage() takes of a file that is cut short what is there, and grey for the rest", async () => {
      setLogSink(() => {});
      await through(async () => {
        const { data } = await decodeImage(baseline);
        const cut = baseline.subarray(0, Math.floor(baseline.length * 0.6));
        await expect(decodeImage(cut)).rejects.toThrow("the JPEG is cut short");
        await expect(decodeImage(cut)).rejects.toThrow('damaged: "take"');
        const image: DecodedImage = await decodeImage(cut, { damaged: "take" });
        expect(image.damage).toBe("it ends before its last pixel");
        expect(Buffer.compare(image.data.subarray(0, 320 * 3 * 32), data.subarray(0, 320 * 3 * 32))).toBe(0);
        expect((await decodeImage(baseline, { damaged: "take" })).damage).toBeUndefined();
      });
    });

    test("decodeImage() refuses a progressive file that ends between two scans", async () => {
      await through(async () => {
        await expect(decodeImage(progressive.subarray(0, lastScanAt(progressive)))).rejects.toThrow("cut short");
      });
    });
  });
}

test("readJpegScans() counts scans, finds the end, and knows whether all bits are there", () => {
  const scansOf = (jpeg: Buffer) => readJpegScans(jpeg, readJpegMarkers(jpeg));
  expect(scansOf(baseline)).toEqual({ count: 1, end: baseline.length, isComplete: true });
  const { count, end, isComplete } = scansOf(progressive);
  expect([end, isComplete]).toEqual([progressive.length, true]);
  expect(count).toBeGreaterThan(5);
  const cut = progressive.subarray(0, lastScanAt(progressive));
  expect(scansOf(cut)).toEqual({ count: count - 1, end: -1, isComplete: false });
  // The image behind the end is no scan of this one.
  expect(scansOf(Buffer.concat([progressive, progressive]))).toEqual({ count, end, isComplete });
  expect(scansOf(jpegFixture("restart"))).toMatchObject({ count: 1, isComplete: true });
});

test("repairedJpegs() takes any bytes", () => {
  const random = chance(9);
  for (let round = 0; round < 500; round++) {
    const file = Buffer.from(round % 2 === 0 ? baseline : progressive).subarray(0, 1 + Math.floor(random() * 2000));
    for (let flip = 0; flip < 4; flip++) file[Math.floor(random() * file.length)] = random() * 256;
    for (const copy of repairedJpegs(file, readJpegMarkers(file))) expect(copy.length).toBeLessThan(file.length + 3);
  }
});
