import { describe, expect, test } from "bun:test";
import { ShapeError } from "../../src/core/errors.ts";
import { classColour, hexColour, readableOn } from "../../src/image/class-colour.ts";
import { drawDetections } from "../../src/image/draw.ts";
import { type Image, imageOf } from "../../src/image/image.ts";
import { escapeXml, type LabelledBox, overlaySvg } from "../../src/image/overlay.ts";
import { drawableText, textPath, textUnits } from "../../src/image/stroke-font.ts";
import { paint } from "../support/pictures.ts";

const LABELS =
  "person bicycle car motorcycle airplane bus train truck boat bench bird cat dog horse sheep cow elephant bear zebra " +
  "giraffe backpack umbrella handbag tie suitcase frisbee skis snowboard kite skateboard surfboard bottle cup fork " +
  "knife spoon bowl banana apple sandwich orange broccoli carrot pizza donut cake chair couch bed toilet tv laptop " +
  "mouse remote keyboard microwave oven toaster sink refrigerator book clock vase scissors toothbrush";

function pixel(image: Image, x: number, y: number): number[] {
  return [...image.data.subarray(y * image.pitchBytes + x * 3, y * image.pitchBytes + x * 3 + 3)];
}

/** Every number of an attribute in the document. */
function attribute(svg: string, name: string): number[] {
  return [...svg.matchAll(new RegExp(` ${name}="([-0-9.]+)"`, "g"))].map((match) => Number(match[1]));
}

describe("class-colour", () => {
  test("classColour() differs from class to class and depends on the name alone", () => {
    const labels = LABELS.split(" ");
    expect(new Set(labels.map((label) => hexColour(classColour(label)))).size).toBe(labels.length);
    expect(hexColour(classColour("person"))).toBe("#d921ed");
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

  test("textPath() keeps within the width and height it is said to have", () => {
    const text = "Quick |gjpqy@ 0.97";
    const numbers = [...textPath(text, 10, 20, 2).matchAll(/[ML]([-0-9.]+) ([-0-9.]+)/g)];
    const xs = numbers.map((match) => Number(match[1]));
    const ys = numbers.map((match) => Number(match[2]));
    expect(Math.min(...xs)).toBeGreaterThanOrEqual(10);
    expect(Math.max(...xs)).toBeCloseTo(10 + textUnits(text) * 2, 1);
    expect(Math.min(...ys)).toBe(20);
    expect(Math.max(...ys)).toBe(36);
  });
});

describe("overlay", () => {
  test("escapeXml() leaves nothing that XML would read as markup or refuse", () => {
    expect(escapeXml(`<a b="c">&'`)).toBe("&#60;a b=&#34;c&#34;&#62;&#38;&#39;");
    expect(escapeXml("\0\u{b}\ud800x")).toBe("\ufffd\ufffd\ufffdx");
  });

  test("overlaySvg() keeps boxes and label backgrounds inside the picture", () => {
    const boxes: LabelledBox["box"][] = [
      [-50, -50, 20, 20],
      [90, 70, 400, 300],
      [30, 30, 10, 10],
      [0, 0, 100, 80],
    ];
    for (const [width, height] of [
      [100, 80],
      [1920, 1080],
      [1, 1],
      [3, 500],
    ] as const) {
      const rows = boxes.map((box) => ({ label: "a rather long label of a class", score: 0.5, box }));
      const svg = overlaySvg(width, height, rows);
      const rects = [...svg.matchAll(/<rect [^>]*>/g)].map(([rect]) => rect);
      expect(rects.length % 2).toBe(0);
      expect(rects.length).toBeGreaterThanOrEqual(4);
      for (const rect of rects) {
        const [x = -1, y = -1, boxWidth = -1, boxHeight = -1] = ["x", "y", "width", "height"].flatMap((name) =>
          attribute(rect, name),
        );
        const [line = 0] = attribute(rect, "stroke-width");
        expect(Math.min(boxWidth, boxHeight, x - line / 2 + 0.01, y - line / 2 + 0.01)).toBeGreaterThanOrEqual(0);
        expect(x + boxWidth + line / 2).toBeLessThanOrEqual(width + 0.02);
        expect(y + boxHeight + line / 2).toBeLessThanOrEqual(height + 0.02);
      }
    }
  });

  test("overlaySvg() draws thicker lines on larger pictures and better scores on top", () => {
    const rows: LabelledBox[] = [
      { label: "cat", score: 0.9, box: [0, 0, 50, 50] },
      { label: "dog", score: 0.4, box: [0, 0, 60, 60] },
    ];
    expect(attribute(overlaySvg(3840, 2160, rows), "stroke-width")[0]).toBe(9);
    expect(attribute(overlaySvg(640, 480, rows), "stroke-width")[0]).toBe(2);
    const svg = overlaySvg(640, 480, rows);
    expect(svg.lastIndexOf(hexColour(classColour("cat")))).toBeGreaterThan(
      svg.lastIndexOf(hexColour(classColour("dog"))),
    );
  });

  test("overlaySvg() leaves out a box with NaN or outside the picture, and escapes labels of other scripts", () => {
    expect(overlaySvg(10, 10, [{ label: "x", score: 1, box: [0, Number.NaN, 5, 5] }])).not.toContain("<rect");
    expect(overlaySvg(10, 10, [{ label: "x", score: 1, box: [20, 0, 25, 5] }])).not.toContain("<rect");
    expect(overlaySvg(100, 100, [{ label: "人<script>", score: 1, box: [0, 0, 5, 5] }])).toContain(
      "人&#60;script&#62; 1.00</text>",
    );
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

  test("takes BGR and padded rows, tiny pictures and no rows at all", async () => {
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
});
