import { expect, test } from "bun:test";
import { decodeImage, encodeImage } from "../../src/image/image-file.ts";
import { noiseImage, tightPixels } from "../support/image-models.ts";

test("encodeImage() and decodeImage() keep the alpha of PNG to the bit where they are asked to, of any pitch", async () => {
  for (const [width, height] of [
    [1, 1],
    [37, 5],
  ] as const) {
    const source = noiseImage(width, height, "RGBA", 9);
    const png = await encodeImage(source, { format: "png", alpha: "keep" });
    const kept = await decodeImage(png, { alpha: "keep" });
    expect(kept).toMatchObject({ width, height, format: "RGBA", pitchBytes: width * 4 });
    expect(Buffer.compare(kept.data, tightPixels(source))).toBe(0);
    const dropped = await decodeImage(png);
    expect(dropped.format).toBe("RGB");
    for (let at = 0; at < width * height; at++) {
      expect([...dropped.data.subarray(at * 3, at * 3 + 3)]).toEqual([...kept.data.subarray(at * 4, at * 4 + 3)]);
    }
  }
});

test("alpha is left out by default, of JPEG always, and files without it stay RGB", async () => {
  const source = noiseImage(8, 8, "RGBA");
  const [byDefault, jpeg] = [
    await encodeImage(source, { format: "png" }),
    await encodeImage(source, { format: "jpeg", alpha: "keep" }),
  ];
  for (const bytes of [byDefault, jpeg]) expect((await decodeImage(bytes, { alpha: "keep" })).format).toBe("RGB");
});
