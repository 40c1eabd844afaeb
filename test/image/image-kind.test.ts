import { expect, test } from "bun:test";
import sharp from "sharp";
import { describeBytes, imageKind } from "../../src/image/decode-limits.ts";
import { paint, sharpOf } from "../support/images.ts";

test("imageKind() recognises every format that sharp writes", async () => {
  const names = { jpeg: "JPEG", png: "PNG", webp: "WebP", gif: "GIF", avif: "AVIF", tiff: "TIFF" } as const;
  for (const [format, name] of Object.entries(names)) {
    const file = await sharpOf(paint(5, 5))
      .toFormat(format as keyof typeof names)
      .toBuffer();
    expect(imageKind(file)).toEqual({ name, isDecodable: true });
  }
});

test("imageKind() recognises SVG with and without an XML head", async () => {
  const svg = '<svg xmlns="http://www.w3.org/2000/svg" width="4" height="3"/>';
  for (const head of ["", '<?xml version="1.0"?>\n<!-- a comment -->\n']) {
    expect(imageKind(Buffer.from(head + svg))?.name).toBe("SVG");
    expect((await sharp(Buffer.from(head + svg)).metadata()).format).toBe("svg");
  }
});

test("imageKind() names what cannot be decoded", () => {
  const kind = (latin1: string): string | undefined => {
    const found = imageKind(Buffer.from(latin1, "latin1"));
    return found?.isDecodable === false ? found.name : undefined;
  };
  expect(kind("BM\x36\x00")).toBe("BMP");
  expect(kind("\0\0\0\x18ftypheic\0\0\0\0mif1heic")).toBe("HEIC");
  expect(kind("\0\0\0\x18ftypisom\0\0\0\0isomiso2")).toBe("an MP4 or QuickTime video");
  expect(kind("RIFF\x98\x1f\0\0AVI LIST")).toBe("an AVI video");
  expect(kind("%PDF-1.7")).toBe("a PDF document");
  expect(kind("<!DOCTYPE html><html>")).toBe("an HTML page");
  expect(kind("PK\x03\x04")).toBe("a ZIP archive");
});

test("imageKind() takes an AVIF that also claims the general brand", () => {
  expect(imageKind(Buffer.from("\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "latin1"))?.name).toBe("AVIF");
});

test("imageKind() knows nothing of other bytes, and of none", () => {
  for (const text of ["", "a", "hello, world", '{"error":1}']) expect(imageKind(Buffer.from(text))).toBeUndefined();
});

test("describeBytes() gives size and first bytes, and the text where it is one", () => {
  expect(describeBytes(new Uint8Array(0))).toBe("0 bytes");
  expect(describeBytes(Uint8Array.of(0, 255))).toBe("2 bytes that start with 00 ff");
  expect(describeBytes(Buffer.from("hello, world"))).toBe(
    "12 bytes that start with 68 65 6c 6c 6f 2c 20 77 (hello, w)",
  );
});
