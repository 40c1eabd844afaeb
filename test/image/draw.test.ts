import { describe, expect, test } from "bun:test";
import { ShapeError } from "../../src/core/errors.ts";
import { classColour, readableOn } from "../../src/image/canvas.ts";
import { drawableText, GlyphMasks } from "../../src/image/glyphs.ts";
import { type Image, imageOf } from "../../src/image/image.ts";
import { drawDetections, type LabelledBox, paintDetections } from "../../src/tasks/detect/draw.ts";
import { paint } from "../support/images.ts";

const LABELS =
  "person bicycle car motorcycle airplane bus train truck boat bench bird cat dog horse sheep cow elephant bear zebra " +
  "giraffe backpack umbrella handbag tie suitcase frisbee skis snowboard kite skateboard surfboard bottle cup fork " +
  "knife spoon bowl banana apple sandwich orange broccoli carrot pizza donut cake chair couch bed toilet tv laptop " +
  "mouse remote keyboard microwave oven toaster sink refrigerator book clock vase scissors toothbrush";

function pixel(image: Image, x: number, y: number): number[] {
  return [...image.data.subarray(y * image.pitchBytes + x * 3, y * image.pitchBytes + x * 3 + 3)];
}

describe("class-colour", () => {
  test("classColour() differs from class to class and depends on the name alone", () => {
    const labels = LABELS.split(" ");
    expect(new Set(labels.map((label) => JSON.stringify(classColour(label)))).size).toBe(labels.length);
    expect(classColour("person")).toEqual({ red: 0xd9, green: 0x21, blue: 0xed });
  });

  test("readableOn() gives text a contrast of at least 4.5 on every class colour", () => {
    const luminance = ({ red, green, blue }: ReturnType<typeof classColour>): number => {
      const linear = (level: number): number =>
        level / 255 <= 0.04045 ? level / 255 / 12.92 : ((level / 255 + 0.055) / 1.055) ** 2.4;
      return 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
    };
    for (const label of LABELS.split(" ")) {
      const fill = luminance(classColour(label));
      const ink = luminance(readableOn(classColour(label)));
      expect((Math.max(fill, ink) + 0.05) / (Math.min(fill, ink) + 0.05)).toBeGreaterThanOrEqual(4.5);
    }
  });
});

describe("stroke-font", () => {
  test("drawableText() holds for printable ASCII, and takes accents off", () => {
    const ascii = Array.from({ length: 95 }, (_, index) => String.fromCharCode(32 + index)).join("");
    expect(drawableText(ascii)).toBe(ascii);
    expect(drawableText("Grüße, façade – Łódź")).toBe("Grusse, facade - Lodz");
    for (const text of ["人", "человек", "🚗"]) expect(drawableText(text)).toBeUndefined();
  });

  test("a character's mask is blank beyond its height and beyond half a stroke to its sides", () => {
    const font = new GlyphMasks(2);
    for (const character of "Quick|gjpqy@0.97") {
      const { width, height, coverage } = font.of(character);
      expect(height).toBe(16 + 2 * font.margin);
      const inkAt = [...coverage.keys()].filter((at) => coverage[at] !== 0);
      expect(inkAt.length).toBeGreaterThan(0);
      expect(Math.max(...inkAt.map((at) => at % width))).toBeLessThan(width - 1);
    }
  });
});

describe("drawDetections()", () => {
  const colour = classColour("person");
  const level = [colour.red, colour.green, colour.blue];

  test("draws the box in the colour of the class, and leaves the other pixels and the input alone", async () => {
    const image = imageOf(new Uint8Array(300 * 200 * 3).fill(90), { width: 300, height: 200 });
    const drawn = await drawDetections(image, [{ label: "person", score: 0.9, box: [50, 60, 250, 180] }]);
    expect(drawn).toMatchObject({ width: 300, height: 200, pitchBytes: 900, format: "RGB" });
    expect(pixel(drawn, 50, 120)).toEqual(level);
    expect(pixel(drawn, 150, 179)).toEqual(level);
    expect(pixel(drawn, 150, 120)).toEqual([90, 90, 90]);
    expect(pixel(drawn, 10, 10)).toEqual([90, 90, 90]);
    expect(image.data.every((byte) => byte === 90)).toBe(true);
  });

  test("draws text that is there without any font: dark or light strokes on the label's background", async () => {
    const image = imageOf(new Uint8Array(300 * 200 * 3).fill(90), { width: 300, height: 200 });
    const drawn = await drawDetections(image, [{ label: "person", score: 0.9, box: [50, 60, 250, 180] }]);
    const ink = readableOn(colour);
    let strokes = 0;
    let background = 0;
    for (let y = 40; y < 60; y++) {
      for (let x = 50; x < 150; x++) {
        const [red, green, blue] = pixel(drawn, x, y);
        if (red === ink.red && green === ink.green && blue === ink.blue) strokes += 1;
        if (red === level[0] && green === level[1] && blue === level[2]) background += 1;
      }
    }
    expect(strokes).toBeGreaterThan(20);
    expect(background).toBeGreaterThan(200);
  });

  test("takes BGR and padded rows, tiny images and no rows at all", async () => {
    const bgr = imageOf(Uint8Array.from([1, 2, 3, 0, 4, 5, 6, 0]), {
      width: 1,
      height: 2,
      pitchBytes: 4,
      format: "BGR",
    });
    expect([...(await drawDetections(bgr, [])).data]).toEqual([3, 2, 1, 6, 5, 4]);
    const tiny = await drawDetections(paint(1, 1), [{ label: "person", score: 0.5, box: [0, 0, 1, 1] }]);
    expect(tiny.data.length).toBe(3);
  });

  test("refuses an image that does not hold together, and takes a very wide one", async () => {
    await expect(drawDetections({ ...paint(4, 4), data: new Uint8Array(3) }, [])).rejects.toThrow(ShapeError);
    const wide = imageOf(new Uint8Array(40000 * 3), { width: 40000, height: 1 });
    const drawn = await drawDetections(wide, [{ label: "person", score: 0.5, box: [39990, 0, 40000, 1] }]);
    expect(pixel(drawn, 39995, 0)).not.toEqual([0, 0, 0]);
  });

  test("draws thicker lines on larger images, and better scores on top", async () => {
    const rows: LabelledBox[] = [
      { label: "cat", score: 0.9, box: [0, 60, 50, 110] },
      { label: "dog", score: 0.4, box: [0, 60, 60, 120] },
    ];
    const { red, green, blue } = classColour("cat");
    for (const [width, height, line] of [
      [3840, 2160, 9],
      [640, 480, 2],
    ] as const) {
      const drawn = await drawDetections(imageOf(new Uint8Array(width * height * 3), { width, height }), rows);
      const isCat = (x: number): boolean => String(pixel(drawn, x, 90)) === String([red, green, blue]);
      expect([isCat(0), isCat(line - 1), isCat(line)]).toEqual([true, true, false]);
    }
  });

  test("draws letters that the stroke font has not by the system's fonts, markup in them as text", async () => {
    const image = imageOf(new Uint8Array(300 * 100 * 3), { width: 300, height: 100 });
    const box = [10, 40, 290, 90] as const;
    const drawn = await drawDetections(image, [{ label: "человек <b>&", score: 0.5, box }]);
    expect(image.data.every((byte) => byte === 0)).toBe(true);
    const marks = imageOf(image.data.slice(), image);
    paintDetections(marks, [{ label: "человек <b>&", score: 0.5, box }]);
    const again = await drawDetections(image, [{ label: "человек <b>&", score: 0.5, box }]);
    expect(Buffer.compare(drawn.data, again.data)).toBe(0);
    expect(Buffer.compare(drawn.data, marks.data)).not.toBe(0);
    // What is below the label is the same: a box in the colour of the class.
    const below = 60 * 900;
    expect(Buffer.compare(drawn.data.subarray(below), marks.data.subarray(below))).toBe(0);
    const ink = readableOn(classColour("человек <b>&"));
    let strokes = 0;
    for (let y = 15; y < 40; y++) {
      for (let x = 10; x < 110; x++) {
        if (String(pixel(drawn, x, y)) === String([ink.red, ink.green, ink.blue])) strokes += 1;
      }
    }
    expect(strokes).toBeGreaterThan(20);
  });

  test("makes letters smaller where a label is wider than the image", async () => {
    const image = imageOf(new Uint8Array(80 * 60 * 3), { width: 80, height: 60 });
    const label = "a rather long label of a class";
    const drawn = await drawDetections(image, [{ label, score: 0.97, box: [0, 30, 80, 60] }]);
    const { red, green, blue } = classColour(label);
    const columns = Array.from({ length: 80 }, (_, x) => String(pixel(drawn, x, 29)) === String([red, green, blue]));
    expect(columns.lastIndexOf(true)).toBeGreaterThan(50);
    expect(columns.lastIndexOf(true)).toBeLessThan(79);
    expect(pixel(drawn, 0, 5)).toEqual([0, 0, 0]);
  });
});
