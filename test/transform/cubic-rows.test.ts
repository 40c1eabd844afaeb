import { expect, test } from "bun:test";
import { CubicRows, cubicPhases } from "../../src/tasks/image/tile-placer.ts";
import { noiseImage } from "../support/image-models.ts";

/** The same in doubles, with nothing rounded. */
function weight(distance: number): number {
  const x = Math.abs(distance);
  if (x < 1) return 1.5 * x ** 3 - 2.5 * x ** 2 + 1;
  return x < 2 ? -0.5 * x ** 3 + 2.5 * x ** 2 - 4 * x + 2 : 0;
}

test("cubicPhases() adds up to the whole for every scale, and is the pixel itself for 1", () => {
  expect([...cubicPhases(1)]).toEqual([-1, 0, 2048, 0, 0]);
  for (let scale = 1; scale <= 16; scale++) {
    const phases = cubicPhases(scale);
    for (let phase = 0; phase < scale; phase++) {
      const weights = phases.subarray(phase * 5 + 1, phase * 5 + 5);
      expect(weights.reduce((sum, value) => sum + value, 0)).toBe(2048);
    }
  }
});

for (const format of ["RGB", "RGBA"] as const) {
  test(`CubicRows is a bicubic enlargement of ${format} within 0.6 of a level, edges repeated, any pitch`, () => {
    for (const [width, height] of [
      [1, 1],
      [2, 3],
      [13, 7],
    ] as const) {
      const image = noiseImage(width, height, format, 5);
      const pixel = format === "RGBA" ? 4 : 3;
      for (const scale of [1, 2, 3, 4]) {
        const rows = new CubicRows(scale);
        for (let y = 0; y < height * scale; y++) {
          const got = rows.row(image, y, 0, width * scale).slice();
          for (let x = 0; x < width * scale; x++) {
            const [atX, atY] = [(x + 0.5) / scale - 0.5, (y + 0.5) / scale - 0.5];
            for (let channel = 0; channel < pixel; channel++) {
              let want = 0;
              for (let row = Math.floor(atY) - 1; row <= Math.floor(atY) + 2; row++) {
                for (let column = Math.floor(atX) - 1; column <= Math.floor(atX) + 2; column++) {
                  const line = Math.min(Math.max(row, 0), height - 1) * image.pitchBytes;
                  const level = image.data[line + Math.min(Math.max(column, 0), width - 1) * pixel + channel]!;
                  want += level * weight(atX - column) * weight(atY - row);
                }
              }
              expect(Math.abs(got[x * pixel + channel]! / 64 - want)).toBeLessThan(0.6);
            }
          }
          const part = rows.row(image, y, Math.floor(width / 2), width * scale);
          const length = (width * scale - Math.floor(width / 2)) * pixel;
          expect(part.subarray(0, length)).toEqual(got.subarray(Math.floor(width / 2) * pixel, width * scale * pixel));
        }
      }
    }
  });
}
