import { expect, test } from "bun:test";
import { type Concealment, canvasOf, conceal } from "../../src/image/canvas.ts";
import { type Image, imageOf, type PixelFormat } from "../../src/image/image.ts";
import { paintDetections } from "../../src/tasks/detect/draw.ts";

/** Noise that is the same in each run; gaps between rows are 7. */
function noise(width: number, height: number, format: PixelFormat): Image {
  const step = format === "NV12" ? 1 : format === "RGBA" ? 4 : 3;
  const pitchBytes = width * step + 6 + ((width * step) & 1);
  const rows = format === "NV12" ? height + ((height + 1) >> 1) : height;
  let state = 12345;
  const data = Uint8Array.from({ length: pitchBytes * rows }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state >>> 24;
  });
  return imageOf(data, { width, height, format, pitchBytes });
}

type Samples = { readonly get: (x: number, y: number) => number; readonly pixels: number };

/** Each kind of sample, looked up from the layout's description. */
function samplesOf({ data, pitchBytes, format, height }: Image): Samples[] {
  if (format !== "NV12") {
    const step = format === "RGBA" ? 4 : 3;
    return [0, 1, 2].map((channel) => ({ get: (x, y) => data[y * pitchBytes + x * step + channel]!, pixels: 1 }));
  }
  const chroma = (part: number): Samples => ({
    get: (x, y) => data[(height + y) * pitchBytes + 2 * x + part]!,
    pixels: 2,
  });
  return [{ get: (x, y) => data[y * pitchBytes + x]!, pixels: 1 }, chroma(0), chroma(1)];
}

type Rect = readonly [x1: number, y1: number, x2: number, y2: number];

/** What the samples below an area become, by the words of the docstring and nothing clever. */
function expected(get: Samples["get"], [x1, y1, x2, y2]: Rect, size: number, by: Concealment): number[][] {
  let now = Array.from({ length: y2 - y1 }, (_, y) => Array.from({ length: x2 - x1 }, (_, x) => get(x1 + x, y1 + y)));
  const mean = (values: readonly number[]): number =>
    Math.floor((values.reduce((a, b) => a + b, 0) + Math.floor(values.length / 2)) / values.length);
  const square = (at: number): readonly [number, number] => [at - (at % size), at - (at % size) + size];
  if (by === "pixelate") {
    return now.map((row, y) =>
      row.map((_, x) => mean(now.slice(...square(y)).flatMap((one) => one.slice(...square(x))))),
    );
  }
  const near = (values: readonly number[]): number[] =>
    values.map((_, at) => mean(values.slice(Math.max(0, at - size), at + size + 1)));
  const turned = (rows: number[][]): number[][] => rows[0]!.map((_, x) => rows.map((row) => row[x]!));
  for (let pass = 0; pass < 2; pass++) now = turned(turned(now.map(near)).map(near));
  return now;
}

for (const format of ["RGB", "BGR", "RGBA", "NV12"] as const) {
  for (const by of ["blur", "pixelate"] as const) {
    test(`conceal(): ${by} of ${format}: every sample of the area is what it should be, and no other has changed`, () => {
      for (const [area, extent] of [
        [[3, 4, 18, 15], 11],
        [[0, 0, 21, 17], 17],
        [[20, 16, 21, 17], 30],
        [[5, 0, 6, 17], 1],
      ] as const) {
        const image = noise(21, 17, format);
        const before = noise(21, 17, format);
        const [x1, y1, x2, y2] = area;
        conceal(canvasOf(image).planes, { x1, y1, x2, y2 }, extent, by);
        const was = samplesOf(before);
        for (const [plane, { get, pixels }] of samplesOf(image).entries()) {
          const [left, top] = [Math.floor(x1 / pixels), Math.floor(y1 / pixels)];
          const [right, foot] = [Math.ceil(x2 / pixels), Math.ceil(y2 / pixels)];
          const size =
            by === "blur"
              ? Math.max(1, Math.ceil(extent / (6 * pixels)))
              : Math.max(2, Math.ceil(extent / (8 * pixels)));
          const wanted = expected(was[plane]!.get, [left, top, right, foot], size, by);
          for (let y = 0; y < Math.ceil(17 / pixels); y++) {
            for (let x = 0; x < Math.ceil(21 / pixels); x++) {
              const value = wanted[y - top]?.[x - left] ?? was[plane]!.get(x, y);
              if (get(x, y) !== value) expect([plane, x, y, get(x, y)]).toEqual([plane, x, y, value]);
            }
          }
        }
        const changed = image.data.filter((byte, at) => byte !== before.data[at]).length;
        expect(changed).toBeLessThanOrEqual((right(area) + 2) * (foot(area) + 2) * 3);
      }
    });
  }
}

const right = ([x1, , x2]: Rect): number => x2 - x1;
const foot = ([, y1, , y2]: Rect): number => y2 - y1;

/** Nothing is drawn but what is hidden. */
const BARE = { boxes: false, labels: false, scores: false } as const;

test("privacy hides boxes in place, of the classes that it is for, and what is partly outside as far as it is seen", () => {
  const rows = [
    { label: "face", score: 0.9, box: [-20, -20, 12.5, 10.2] as const },
    { label: "car", score: 0.8, box: [30, 20, 60, 40] as const },
    { label: "face", score: 0.7, box: [Number.NaN, 0, 10, 10] as const },
    { label: "face", score: 0.7, box: [-9, -9, -1, -1] as const },
  ];
  for (const format of ["RGB", "NV12"] as const) {
    const [plain, all, faces] = [0, 1, 2].map(() => noise(63, 47, format)) as [Image, Image, Image];
    paintDetections(all, rows, { ...BARE, privacy: "pixelate" });
    paintDetections(faces, rows, { ...BARE, privacy: "blur", privacyClasses: ["face"] });
    const step = format === "NV12" ? 1 : 3;
    const differs = (image: Image, x: number, y: number): boolean => {
      const from = y * image.pitchBytes + x * step;
      return Buffer.compare(image.data.subarray(from, from + 8), plain.data.subarray(from, from + 8)) !== 0;
    };
    expect([differs(all, 2, 2), differs(all, 40, 30), differs(all, 15, 30)]).toEqual([true, true, false]);
    expect([differs(faces, 2, 2), differs(faces, 40, 30), differs(faces, 15, 30)]).toEqual([true, false, false]);
  }
});

test("ids and traces are drawn, unless they are not wanted", () => {
  const rows = [
    {
      label: "dog",
      score: 0.5,
      box: [150, 100, 190, 140] as const,
      trackId: 7,
      trace: [
        [20, 60],
        [90, 60],
        [170, 120],
      ] as const,
    },
  ];
  const paint = (options: object): Image => {
    const image = imageOf(new Uint8Array(300 * 200 * 3), { width: 300, height: 200 });
    paintDetections(image, rows, { scores: false, ...options });
    return image;
  };
  const at = ({ data }: Image, x: number, y: number): number =>
    Math.max(...data.subarray((y * 300 + x) * 3).subarray(0, 3));
  const [usual, bare] = [paint({}), paint({ traces: false })];
  expect([at(usual, 55, 60) > 0, at(usual, 130, 90) > 0, at(bare, 55, 60)]).toEqual([true, true, 0]);
  const inked = ({ data }: Image): number => data.filter((byte) => byte > 0).length;
  expect(inked(paint({ ids: false }))).toBeLessThan(inked(usual));
  expect(() => paint({ privacy: "mosaic" })).toThrow('Option "privacy" must be none, blur or pixelate, got "mosaic"');
});
