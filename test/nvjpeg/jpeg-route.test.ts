import { describe, expect, test } from "bun:test";
import { ImageDecoder } from "../../src/image/image-decoder.ts";
import { readJpegMarkers } from "../../src/image/jpeg-markers.ts";
import { routeJpeg } from "../../src/nvjpeg/jpeg-route.ts";
import { chance } from "../support/chance.ts";
import { paint, paintedJpeg, sharpOf, withExtraneousBytes, withOrientation, withSegment } from "../support/images.ts";
import { jpegFixture, withFrame, withoutSegment } from "../support/jpegs.ts";

const plain = await paintedJpeg(67, 45);

/** The file with one component in its first scan, as if the others had scans of their own. */
function withFirstScanOfOne(jpeg: Uint8Array): Buffer {
  const copy = Buffer.from(jpeg);
  copy[readJpegMarkers(jpeg).scanOffset + 4] = 1;
  return copy;
}

describe("routeJpeg() reads the frame of a real file", () => {
  test.each([
    ["420", "4:2:0"],
    ["422", "4:2:2"],
    ["440", "4:4:0"],
    ["444", "4:4:4"],
    ["grey", "grey"],
    ["restart", "4:2:0"],
  ] as const)("%s: %s is for nvJPEG", (name, sampling) => {
    const bytes = jpegFixture(name);
    const { frame } = readJpegMarkers(bytes);
    expect(frame).toMatchObject({ coding: "baseline", precision: 8, width: 67, height: 45, sampling, isRgb: false });
    expect(routeJpeg(bytes)).toMatchObject({ refusal: undefined, byteLength: bytes.length });
  });

  test.each([
    [5, 1],
    [17, 33],
    [640, 3],
  ] as const)("%ix%i, as sharp writes it", async (width, height) => {
    for (const chromaSubsampling of ["4:2:0", "4:4:4"] as const) {
      const bytes = await paintedJpeg(width, height, { chromaSubsampling });
      expect(routeJpeg(bytes).refusal).toBeUndefined();
      expect(readJpegMarkers(bytes).frame).toMatchObject({ width, height, components: 3, sampling: chromaSubsampling });
    }
  });

  test("EXIF orientations 1 to 8 are told", () => {
    for (let orientation = 1; orientation <= 8; orientation++) {
      const { refusal, markers } = routeJpeg(withOrientation(plain, orientation));
      expect([refusal, markers.orientation as number]).toEqual([undefined, orientation]);
    }
  });
});

/** The file with bytes in front of its first frame. */
function withBytesBeforeFrame(jpeg: Uint8Array, ...bytes: readonly number[]): Buffer {
  const at = Buffer.from(jpeg).indexOf("ffc0", 0, "hex");
  return Buffer.concat([jpeg.subarray(0, at), Buffer.from(bytes), jpeg.subarray(at)]);
}

/** The file with two frames: the first, or the second, of one pixel. */
function withTwoFrames(jpeg: Uint8Array, small: "first" | "second"): Buffer {
  const at = Buffer.from(jpeg).indexOf("ffc0", 0, "hex");
  const end = at + 2 + jpeg[at + 2]! * 256 + jpeg[at + 3]!;
  const frame = Buffer.from(jpeg.subarray(at, end));
  const tiny = Buffer.from(frame);
  tiny.set([0, 1, 0, 1], 5);
  return Buffer.concat([
    jpeg.subarray(0, at),
    ...(small === "first" ? [tiny, frame] : [frame, tiny]),
    jpeg.subarray(end),
  ]);
}

describe("routeJpeg() sends to the CPU what another decoder may read as an image of another size", () => {
  const cases: readonly (readonly [string, () => Uint8Array])[] = [
    ["two frames, a small one first", () => withTwoFrames(plain, "first")],
    ["two frames, a small one last", () => withTwoFrames(plain, "second")],
    ["bytes between two segments", () => withBytesBeforeFrame(plain, 7)],
    ["a segment shorter than its length", () => withBytesBeforeFrame(plain, 0xff, 0xe5, 0, 1)],
    ["a marker of data", () => withBytesBeforeFrame(plain, 0xff, 0xd3)],
    ["another beginning", () => withBytesBeforeFrame(plain, 0xff, 0xd8)],
  ];
  for (const [what, make] of cases) {
    test(what, () => {
      const { refusal, markers } = routeJpeg(make());
      expect([refusal as string, markers.isOrderly, markers.frame === undefined]).toEqual([
        "damaged header",
        false,
        false,
      ]);
    });
  }

  test("but not 0xff in front of a marker, which may stand there", () => {
    expect(routeJpeg(withBytesBeforeFrame(plain, 0xff, 0xff)).refusal).toBeUndefined();
  });
});

describe("routeJpeg() sends to the CPU, and says why", () => {
  const cases: readonly (readonly [string, () => Uint8Array | Promise<Uint8Array>])[] = [
    ["no JPEG", () => sharpOf(paint(9, 9)).png().toBuffer()],
    ["no JPEG", () => new Uint8Array()],
    ["no JPEG", () => new Uint8Array(1000).fill(3)],
    ["progressive", () => paintedJpeg(67, 45, { progressive: true })],
    ["extended", () => withFrame(plain, { marker: 0xc1 })],
    ["several scans", () => withFirstScanOfOne(plain)],
    ["sampling", () => jpegFixture("411")],
    ["CMYK", () => jpegFixture("cmyk")],
    ["arithmetic", () => jpegFixture("arithmetic")],
    ["12-bit", () => withFrame(plain, { precision: 12, marker: 0xc1 })],
    ["lossless", () => withFrame(plain, { marker: 0xc3 })],
    ["hierarchical", () => withFrame(plain, { marker: 0xc5 })],
    ["no height", () => withFrame(plain, { height: 0 })],
    ["RGB", () => withSegment(plain, 0xee, Buffer.from("Adobe\0\x64\0\0\0\0\0", "latin1"))],
    ["damaged header", () => withoutSegment(plain, 0xc0)],
    ["narrow", () => paintedJpeg(4, 90)],
    ["cut short", () => plain.subarray(0, -2)],
    ["cut short", () => plain.subarray(0, -1)],
  ];
  for (const [refusal, make] of cases) {
    test(refusal, async () => {
      expect(routeJpeg(await make()).refusal as string).toBe(refusal);
    });
  }
});

test("routeJpeg() leaves away what cameras put behind the end marker", () => {
  const thumbnail = Buffer.concat([plain, Buffer.from("trailing"), plain, Buffer.alloc(9)]);
  expect(routeJpeg(thumbnail)).toMatchObject({ refusal: undefined, byteLength: plain.length });
  expect(routeJpeg(withExtraneousBytes(plain)).refusal).toBeUndefined();
});

test("routeJpeg() never lets a file through that was cut anywhere, at every 7 percent", async () => {
  const whole = await paintedJpeg(640, 480);
  for (let share = 0; share < 1; share += 0.07) {
    expect(routeJpeg(whole.subarray(0, Math.floor(whole.length * share))).refusal).toBeDefined();
  }
});

test("routeJpeg() takes any bytes without an error, and what libjpeg reads it reads alike", async () => {
  const random = chance(7);
  using decoder = ImageDecoder.create();
  for (let round = 0; round < 300; round++) {
    const bytes = Buffer.from(plain);
    const flips = 1 + Math.floor(random() * 4);
    for (let flip = 0; flip < flips; flip++) bytes[2 + Math.floor(random() * 620)] = Math.floor(random() * 256);
    const { refusal, markers } = routeJpeg(bytes);
    if (refusal !== undefined) continue;
    const image = await decoder.decode(bytes, "fuzz").catch(() => undefined);
    if (image === undefined) continue;
    expect([markers.frame?.width, markers.frame?.height]).toEqual([image.sourceWidth, image.sourceHeight]);
  }
  for (let length = 0; length < 200; length++) {
    const bytes = Uint8Array.from({ length }, (_, at) =>
      at < 3 ? [0xff, 0xd8, 0xff][at]! : Math.floor(random() * 256),
    );
    expect(routeJpeg(bytes).refusal).toBeDefined();
  }
});
