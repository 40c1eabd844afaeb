import { expect, test } from "bun:test";
import { classColour } from "../../src/image/canvas.ts";
import { imageOf, type PixelFormat } from "../../src/image/image.ts";
import { drawDetections, paintDetections } from "../../src/tasks/detect/draw.ts";

/** Black, with rows further apart than they are long; what lies between them is 7. */
function canvas(width: number, height: number, format: PixelFormat = "RGB") {
  const pixelBytes = format === "RGBA" ? 4 : 3;
  const pitchBytes = width * pixelBytes + 5;
  const data = new Uint8Array(pitchBytes * height).fill(7);
  for (let y = 0; y < height; y++) data.fill(0, y * pitchBytes, y * pitchBytes + width * pixelBytes);
  const image = imageOf(data, { width, height, format, pitchBytes });
  const at = (x: number, y: number): number[] => [...data.subarray(y * pitchBytes + x * pixelBytes).subarray(0, 3)];
  const isGapWhole = (): boolean =>
    Array.from({ length: height }, (_, y) => data.subarray((y + 1) * pitchBytes - 5, (y + 1) * pitchBytes)).every(
      (gap) => gap.every((byte) => byte === 7),
    );
  return { image, at, isGapWhole };
}

const { red, green, blue } = classColour("dog");

for (const format of ["RGB", "BGR", "RGBA"] as const) {
  test(`paintDetections() draws a box's edge inside it, in the class's colour: ${format}`, () => {
    const { image, at, isGapWhole } = canvas(101, 83, format);
    paintDetections(image, [{ label: "dog", score: 0.5, box: [20, 40, 60, 80] }]);
    const colour = format === "BGR" ? [blue, green, red] : [red, green, blue];
    for (const [x, y] of [
      [20, 60],
      [59, 60],
      [40, 79],
      [20, 79],
    ] as const)
      expect(at(x, y)).toEqual(colour);
    for (const [x, y] of [
      [40, 60],
      [60, 60],
      [40, 80],
      [19, 60],
    ] as const)
      expect(at(x, y)).toEqual([0, 0, 0]);
    expect(isGapWhole()).toBe(true);
  });
}

test("paintDetections() stays inside images of any size, and leaves out what lies outside or is NaN", () => {
  for (const [width, height] of [
    [1, 1],
    [3, 200],
    [200, 3],
    [33, 17],
  ] as const) {
    const { image, isGapWhole } = canvas(width, height);
    const boxes = [
      [-50, -50, 500, 500],
      [width - 1, height - 1, width + 9, height + 9],
      [0, 0, 1, 1],
      [5, 5, 2, 2],
    ] as const;
    paintDetections(
      image,
      boxes.map((box) => ({ label: "a rather long label", score: 1, box })),
    );
    expect(isGapWhole()).toBe(true);
  }
  const { image } = canvas(40, 40);
  const before = image.data.slice();
  paintDetections(image, [
    { label: "dog", score: 1, box: [50, 50, 60, 60] },
    { label: "dog", score: 1, box: [Number.NaN, 0, 10, 10] },
  ]);
  expect(image.data).toEqual(before);
});

test("paintDetections() draws what drawDetections() draws, to the bit", async () => {
  const [width, height] = [640, 480];
  const rows = [
    { label: "person", score: 0.91, box: [100, 100, 300, 400] as const },
    { label: "Ärger 日本", score: 0.5, box: [350, 60, 600, 300] as const },
    { label: "dog", score: 0.7, box: [0, 0, 80, 60] as const },
  ];
  const { image } = canvas(width, height);
  const latin = rows.filter(({ label }) => !label.startsWith("Ä"));
  const reference = await drawDetections(image, latin);
  paintDetections(image, latin);
  for (let y = 0; y < height; y++) {
    const at = y * image.pitchBytes;
    const there = y * reference.pitchBytes;
    const ours = image.data.subarray(at, at + width * 3);
    expect(Buffer.compare(ours, reference.data.subarray(there, there + width * 3))).toBe(0);
  }
  paintDetections(image, rows);
});
