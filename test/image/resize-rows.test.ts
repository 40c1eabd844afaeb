import { expect, test } from "bun:test";
import { copyBytes, type RowTarget, resizeRow, storeBlend, storeMeans } from "../../src/image/resize-rows.ts";
import { bilinearTaps, HALF_WEIGHT, isHalfSampling } from "../../src/image/resize-taps.ts";
import { chance } from "../support/chance.ts";

test("storeMeans() equals resizing and blending to the bit, at even ratios", () => {
  const random = chance(20261121);
  const table = Float32Array.from({ length: 768 }, (_, at) => at * 0.37);
  for (const [ratio, width, pixelBytes, step] of [
    [2, 33, 3, 1],
    [2, 1, 4, 3],
    [4, 17, 4, 1],
    [6, 5, 3, 3],
  ] as const) {
    const sourceWidth = width * ratio;
    const pitchBytes = sourceWidth * pixelBytes + 5;
    const source = Uint8Array.from({ length: 7 + pitchBytes * 2 }, () => random() * 256);
    const columns = bilinearTaps(sourceWidth, width, "columns", pixelBytes);
    expect(isHalfSampling(columns)).toBe(true);
    const outputs = [0, 1].map(() => new Float32Array(width * 3 + 2));
    const [target, wanted] = outputs.map(
      (output): RowTarget =>
        step === 1
          ? { output, first: 1, second: 1 + width, third: 1 + 2 * width, step, table }
          : { output, first: 3, second: 2, third: 1, step, table },
    );
    const [near, far] = [new Int32Array(width * 3), new Int32Array(width * 3)];
    resizeRow(source, 7, columns, near);
    resizeRow(source, 7 + pitchBytes, columns, far);
    storeBlend(near, far, HALF_WEIGHT, wanted!);
    storeMeans(source, 7, 7 + pitchBytes, columns, target!);
    expect(outputs[0]).toEqual(outputs[1]!);
  }
});

test("isHalfSampling() is true for even whole ratios alone", () => {
  const isHalf = (source: number, target: number): boolean =>
    isHalfSampling(bilinearTaps(source, target, "columns", 1));
  for (const [source, target] of [
    [1280, 640],
    [3840, 640],
    [2560, 640],
    [2, 1],
  ] as const) {
    expect(isHalf(source, target)).toBe(true);
  }
  for (const [source, target] of [
    [640, 640],
    [1920, 640],
    [1279, 640],
    [640, 1280],
    [1, 1],
  ] as const) {
    expect(isHalf(source, target)).toBe(false);
  }
});

test("copyBytes() writes the values and nothing beside them", () => {
  const output = new Uint8Array(6).fill(9);
  copyBytes(Float32Array.of(0, 255, 114), output, 2);
  expect([...output]).toEqual([9, 9, 0, 255, 114, 9]);
});
