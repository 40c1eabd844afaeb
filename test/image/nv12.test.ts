import { expect, test } from "bun:test";
import { ShapeError } from "../../src/core/errors.ts";
import { createTensor } from "../../src/core/tensor.ts";
import { classColour } from "../../src/image/canvas.ts";
import { FITS } from "../../src/image/geometry.ts";
import { byteLengthOf, type ImageLayout, imageOf, yuvOf, yuvStandardOf } from "../../src/image/image.ts";
import { decodeImage, encodeImage } from "../../src/image/image-file.ts";
import { packedImage, tightNv12, tightRgb } from "../../src/image/nv12.ts";
import { type Preprocessing, RESIZES, YOLO_PREPROCESSING } from "../../src/image/preprocessing.ts";
import { Preprocessor } from "../../src/image/preprocessor.ts";
import { drawDetections, paintDetections } from "../../src/tasks/detect/draw.ts";
import { largestDifference } from "../support/images.ts";
import { nv12Pair } from "../support/nv12-images.ts";

const SIZES = [
  [1, 1],
  [2, 3],
  [3, 2],
  [33, 17],
  [64, 48],
  [101, 77],
  [192, 20],
] as const;

const FORMS = [
  {},
  { gap: 5, chromaGap: 3, between: 7, yuvStandard: "BT.709", yuvRange: "full" },
  { gap: 1, chromaGap: 0, yuvStandard: "BT.709", yuvRange: "limited" },
  { gap: 0, chromaGap: 9, yuvStandard: "BT.601", yuvRange: "full" },
] as const;

test("tightRgb() of NV12 is the reference of the kernels to the bit, whatever the size, pitches and colours", () => {
  for (const [width, height] of SIZES) {
    for (const form of FORMS) {
      const { nv12, rgb } = nv12Pair(width, height, form);
      expect(largestDifference(tightRgb(nv12), rgb.data)).toBe(0);
      expect(packedImage(nv12)).toMatchObject({ width, height, format: "RGB", pitchBytes: width * 3 });
    }
  }
  const { rgb } = nv12Pair(3, 3);
  expect(packedImage(rgb)).toBe(rgb as ReturnType<typeof packedImage>);
});

test("Preprocessor.run() gives NV12 the values of the same image in RGB, to the bit", () => {
  const variants: Preprocessing[] = [];
  for (const fit of FITS) {
    for (const resize of [...RESIZES, "lanczos4"] as const) {
      variants.push({ ...YOLO_PREPROCESSING, fit, resize });
    }
    variants.push({ ...YOLO_PREPROCESSING, fit, colour: "BGR", layout: "NHWC", dtype: "u8", scale: 1 });
    variants.push({ ...YOLO_PREPROCESSING, fit, layout: "NHWC", dtype: "f16" });
  }
  const pairs = SIZES.flatMap(([width, height]) => FORMS.map((form) => nv12Pair(width, height, form)));
  for (const preprocessing of variants) {
    const preprocessor = new Preprocessor(preprocessing);
    for (const { nv12, rgb } of pairs) {
      for (const [width, height] of [
        [64, 64],
        [37, 19],
      ] as const) {
        const shape = preprocessing.layout === "NCHW" ? [1, 3, height, width] : [1, height, width, 3];
        const [found, wanted] = [createTensor(preprocessing.dtype, shape), createTensor(preprocessing.dtype, shape)];
        preprocessor.run(rgb, wanted, 0, preprocessor.place(rgb, width, height));
        preprocessor.run(nv12, found, 0, preprocessor.place(nv12, width, height));
        if (!Buffer.from(found.data.buffer).equals(Buffer.from(wanted.data.buffer))) {
          throw new Error(`${rgb.width}x${rgb.height} into ${width}x${height} ${JSON.stringify(preprocessing)}`);
        }
      }
    }
  }
});

test("imageOf() fills in where NV12's U, V lie and what their colours are, as ffmpeg writes them", () => {
  const odd = imageOf(new Uint8Array(5 * 3 + 6 * 2), { width: 5, height: 3, format: "NV12" });
  expect(odd).toMatchObject({ pitchBytes: 5, chromaOffset: 15, chromaPitchBytes: 6 });
  expect(odd).toMatchObject({ yuvStandard: "BT.601", yuvRange: "limited" });
  expect(byteLengthOf(odd)).toBe(27);
  const pitched = imageOf(new Uint8Array(8 * 3 + 8 + 6), { width: 5, height: 3, format: "NV12", pitchBytes: 8 });
  expect(pitched).toMatchObject({ chromaOffset: 24, chromaPitchBytes: 8 });
  expect(imageOf(pitched.data, pitched)).toEqual(pitched);
  const hd = { width: 1, format: "NV12", pitchBytes: 1, data: new Uint8Array(0) } as const;
  expect([576, 577].map((height) => yuvStandardOf({ ...hd, height }))).toEqual(["BT.601", "BT.709"]);
});

test("imageOf() refuses a format that is none, though every object has a property of that name", () => {
  for (const format of ["constructor", "__proto__", "RGBX"]) {
    expect(() => imageOf(new Uint8Array(12), { width: 2, height: 2, format: format as "RGB" })).toThrow(
      `format must be RGB, BGR, RGBA, GREY, GREY16, RGBA16 or NV12, got ${format}`,
    );
  }
});

test("imageOf() refuses pixels that are as many as another format has, or whose rows were told by another name", () => {
  const attempt = (bytes: number, layout: object = {}) => {
    return () => imageOf(new Uint8Array(bytes), { width: 4, height: 3, ...layout });
  };
  const other = (name: string) => `say format: "${name}", or pitchBytes if rows lie further apart`;
  expect(attempt(48)).toThrow(
    `Cannot use the pixels as an image: 4x3 RGB needs 36 bytes, got 48, as RGBA has\nHint: ${other("RGBA")}`,
  );
  expect(attempt(36, { format: "GREY" })).toThrow(other("RGB"));
  expect(attempt(36, { format: "NV12" })).toThrow(other("RGB"));
  expect(attempt(24, { format: "GREY" })).toThrow(other("GREY16"));
  expect(attempt(96, { format: "RGBA" })).toThrow(other("RGBA16"));
  expect(attempt(60, { stride: 20 })).toThrow("must be pitchBytes, got stride");
  expect(attempt(60, { pitch: 20 })).toThrow("must be pitchBytes, got pitch");
  // The plane of Y of NV12, a longer buffer, and rows that lie further apart, as is said.
  expect(attempt(18, { format: "GREY" })).not.toThrow();
  expect(attempt(40)).not.toThrow();
  expect(attempt(48, { pitchBytes: 16 })).not.toThrow();
  expect(attempt(36, { format: "NV12", chromaOffset: 24 })).not.toThrow();
  expect(() => imageOf(new Uint8ClampedArray(48) as never, { width: 4, height: 4 })).toThrow(
    "needs 48 bytes, got Uint8ClampedArray",
  );
});

test("imageOf() refuses NV12 whose planes overlap, are too short or of unknown colours", () => {
  const data = new Uint8Array(27);
  const attempt = (layout: Partial<ImageLayout>, bytes = data) => {
    return () => imageOf(bytes, { width: 5, height: 3, format: "NV12", ...layout });
  };
  expect(attempt({})).not.toThrow();
  expect(attempt({}, data.subarray(1))).toThrow("5x3 NV12 needs 27 bytes, got 26 bytes");
  expect(attempt({ pitchBytes: 4 })).toThrow("pitchBytes must be at least 5");
  expect(attempt({ chromaOffset: 14 })).toThrow("chromaOffset must be at least 15");
  expect(attempt({ chromaPitchBytes: 5 })).toThrow("chromaPitchBytes must be at least 6");
  expect(attempt({ yuvStandard: "BT.470" as "BT.709" })).toThrow("yuvStandard must be BT.601, BT.709 or BT.2020");
  expect(attempt({ yuvRange: "tv" as "full" })).toThrow(ShapeError);
});

test("tightNv12() is the memory itself where it has no gaps, else a copy without them", () => {
  const { nv12: tight } = nv12Pair(33, 17);
  expect(tightNv12(tight).buffer).toBe(tight.data.buffer);
  const { nv12, rgb } = nv12Pair(33, 17, { gap: 4, chromaGap: 2, between: 9 });
  const copy = imageOf(tightNv12(nv12), { width: 33, height: 17, format: "NV12" });
  expect(largestDifference(tightRgb(copy), rgb.data)).toBe(0);
});

test("encodeImage() and drawDetections() take NV12", async () => {
  const { nv12, rgb } = nv12Pair(37, 21, FORMS[1]);
  const png = await encodeImage(nv12, { format: "png" });
  expect(largestDifference((await decodeImage(png)).data, rgb.data)).toBe(0);
  const rows = [{ label: "dog", score: 0.5, box: [3, 4, 30, 20] as const }];
  const drawn = await Promise.all([nv12, rgb].map((image) => drawDetections(image, rows)));
  expect(largestDifference(drawn[0]!.data, drawn[1]!.data)).toBe(0);
});

test("yuvOf() gives colours that become themselves again", () => {
  for (const yuvStandard of ["BT.601", "BT.709", "BT.2020"] as const) {
    for (const yuvRange of ["limited", "full"] as const) {
      for (const [red, green, blue] of [
        [0, 0, 0],
        [255, 255, 255],
        [255, 0, 0],
        [0, 0, 255],
        [20, 200, 77],
      ] as const) {
        const [y, u, v] = yuvOf({ red, green, blue }, yuvStandard, yuvRange);
        const image = imageOf(Uint8Array.of(y, u, v), { width: 1, height: 1, format: "NV12", yuvStandard, yuvRange });
        expect(largestDifference(tightRgb(image), Uint8Array.of(red, green, blue))).toBeLessThanOrEqual(3);
      }
    }
  }
});

for (const form of FORMS) {
  test(`paintDetections() paints NV12 as it paints RGB, inside its planes: ${JSON.stringify(form)}`, () => {
    const rows = [
      { label: "person", score: 0.91, box: [10, 30, 120, 160] as const },
      { label: "dog", score: 0.7, box: [61, 41, 180, 139] as const },
      { label: "cat", score: 0.2, box: [-50, -50, 500, 500] as const },
    ];
    const { nv12 } = nv12Pair(203, 171, form);
    nv12.data.fill(128);
    const packed = { ...packedImage(nv12), data: tightRgb(nv12) };
    paintDetections(packed, rows);
    paintDetections(nv12, rows);
    const painted = tightRgb(nv12);
    let different = 0;
    for (let at = 0; at < painted.length; at += 3) {
      if (largestDifference(painted.subarray(at, at + 3), packed.data.subarray(at, at + 3)) > 24) different += 1;
    }
    // Colours reach a pixel further than their light.
    expect(different / (203 * 171)).toBeLessThan(0.06);
    const { red, green, blue } = classColour("dog");
    const edge = painted.subarray((120 * 203 + 61) * 3, (120 * 203 + 61) * 3 + 3);
    expect(largestDifference(edge, Uint8Array.of(red, green, blue))).toBeLessThanOrEqual(3);
    const inside = new Uint8Array(nv12.data.length);
    const { pitchBytes, chromaOffset = 0, chromaPitchBytes = 0 } = nv12;
    for (let y = 0; y < 171; y++) inside.fill(1, y * pitchBytes, y * pitchBytes + 203);
    for (let y = 0; y < 86; y++) {
      inside.fill(1, chromaOffset + y * chromaPitchBytes, chromaOffset + y * chromaPitchBytes + 204);
    }
    expect(nv12.data.every((byte, at) => inside[at] === 1 || byte === 128)).toBe(true);
  });
}

test("paintDetections() stays inside NV12 images of any size", () => {
  for (const [width, height] of SIZES) {
    const { nv12 } = nv12Pair(width, height);
    const guarded = { ...nv12, data: nv12.data.subarray() };
    paintDetections(guarded, [{ label: "a rather long label", score: 1, box: [-9, -9, 999, 999] }]);
    paintDetections(guarded, [{ label: "x", score: 1, box: [width - 1, height - 1, width + 9, height + 9] }]);
  }
});
