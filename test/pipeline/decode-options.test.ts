import { expect, test } from "bun:test";
import { Detector } from "../../src/api/detector.ts";
import type { DecodedImage } from "../../src/image/image-decoder.ts";
import { encodeImage } from "../../src/image/image-file.ts";
import { flatImage } from "../support/flat-image.ts";
import { hasTurboJpeg } from "../support/images.ts";
import { toyDetector } from "../support/toy-detector.ts";

test.skipIf(!hasTurboJpeg)("scaledDecoding shrinks a large JPEG, and boxes still count in its own pixels", async () => {
  const jpeg = await encodeImage(flatImage(1024, 512, 255), { format: "jpeg" });
  const boxes: (readonly number[])[] = [];
  for (const scaledDecoding of [false, true]) {
    await using detector = await Detector.load(toyDetector(), { scaledDecoding });
    using batch = await detector.staged([jpeg]);
    // Fitted inside 64x64 it is 64x32: at an eighth it is 128x64, still enough.
    expect(batch.images[0]).toMatchObject(scaledDecoding ? { width: 128, height: 64 } : { width: 1024, height: 512 });
    expect((batch.images[0] as DecodedImage).sourceWidth).toBe(1024);
    await batch.preprocess();
    await batch.infer();
    const [detections] = await batch.postprocess({ threshold: 0.1 });
    boxes.push(detections![0]!.box);
    const { width, height } = await (async () => {
      await using other = await Detector.load(toyDetector(), { scaledDecoding });
      return other.detect(jpeg);
    })();
    expect([width, height]).toEqual([1024, 512]);
  }
  expect(boxes[0]).toEqual([128, 0, 640, 384]);
  expect(boxes[1]).toEqual(boxes[0]!);
});

test.skipIf(!hasTurboJpeg)("scaledDecoding leaves enough for a rectangular input whose sides differ", async () => {
  await using detector = await Detector.load(toyDetector({ side: "height" }), {
    scaledDecoding: true,
    rectangular: true,
    size: [64, 32],
    backend: "cpu",
  });
  for (const [width, height, scale] of [
    [512, 256, 8],
    [256, 512, 8],
    [384, 192, 4],
    [192, 384, 4],
  ] as const) {
    const jpeg = await encodeImage(flatImage(width, height, 255), { format: "jpeg" });
    using batch = await detector.staged([jpeg]);
    await batch.preprocess();
    expect(batch.placements[0]).toMatchObject(
      width > height ? { contentWidth: 64, contentHeight: 32 } : { contentWidth: 32, contentHeight: 64 },
    );
    expect(batch.images[0]).toMatchObject({ width: width / scale, height: height / scale });
  }
});
