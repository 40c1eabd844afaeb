import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { IMAGE_BYTES, ImageTable, valueTable } from "../../../src/accelerators/tensorrt/preprocess.ts";
import { ModelError } from "../../../src/core/errors.ts";
import type { DevicePtr } from "../../../src/core/units.ts";
import type { ModelSpec } from "../../../src/heads/head.ts";
import { place, placeRectangle, placeTile } from "../../../src/image/geometry.ts";
import { yuvCoefficients } from "../../../src/image/image.ts";
import { YOLO_PREPROCESSING } from "../../../src/image/preprocessing.ts";
import { createDetectionBlock } from "../../../src/model/rows.ts";
import {
  DetectionReader,
  detectionWords,
  extraStart,
  NmsOptionsTable,
  REGION_BYTES,
  SELECTION_BYTES,
} from "../../../src/tasks/detect/device-batch.ts";

/** What a message needs to know of a model. */
function readAs(head: string): Pick<ModelSpec, "head" | "plan"> {
  return { head, plan: { kind: "fastestdet", output: "output", classes: 1 } };
}

const kernels = join(import.meta.dir, "../../../kernels");

/** Names and offsets in bytes of the members of a struct of pointers and 4- or 8-byte numbers. */
function offsetsOf(file: string, struct: string): Map<string, number> {
  const text = readFileSync(join(kernels, file), "utf8").replaceAll(/\/\/.*/g, "");
  const body = new RegExp(`struct (?:__align__\\(16\\) )?${struct} \\{([^}]*)\\}`).exec(text)?.[1] ?? "";
  const offsets = new Map<string, number>();
  let end = 0;
  for (const declaration of body.split(";")) {
    const [, type = "", names = ""] = /^\s*((?:const )?\w+ ?\*?)\s*(.*)$/s.exec(declaration) ?? [];
    const bytes = type.includes("*") || type.startsWith("double") ? 8 : 4;
    for (const name of names.split(",").filter((one) => one.trim() !== "")) {
      const [, word = "", count = "1"] = /(\w+)(?:\[(\d+)\])?/.exec(name) ?? [];
      offsets.set(word, end);
      end += bytes * Number(count);
    }
  }
  return offsets.set("end", end);
}

test("ImageTable writes where the kernels of pre-processing read", () => {
  const offsets = offsetsOf("image.cuh", "Image");
  expect(offsets.get("end")).toBe(IMAGE_BYTES);
  const buffer = new ArrayBuffer(2 * IMAGE_BYTES);
  const table = new ImageTable(buffer, 0, 2);
  const coefficients = yuvCoefficients("BT.709", "limited");
  const placement = place(1919, 1079, 640, 384, "letterbox");
  const image = {
    format: "NV12",
    width: 1919,
    height: 1079,
    pixels: 0x7f12_3456_7890 as DevicePtr,
    pitchBytes: 2048,
    chroma: 0x7f12_9999_0000 as DevicePtr,
    chromaPitchBytes: 2056,
    coefficients,
  } as const;
  table.set(1, image, placement, { ...YOLO_PREPROCESSING, colour: "BGR" });
  const view = new DataView(buffer, IMAGE_BYTES);
  const i32 = (name: string): number => view.getInt32(offsets.get(name)!, true);
  expect(view.getBigUint64(offsets.get("pixels")!, true)).toBe(0x7f12_3456_7890n);
  expect(view.getBigUint64(offsets.get("chroma")!, true)).toBe(0x7f12_9999_0000n);
  expect([i32("pitch"), i32("chroma_pitch"), i32("width"), i32("height")]).toEqual([2048, 2056, 1919, 1079]);
  expect([i32("content_width"), i32("content_height"), i32("pad_x"), i32("pad_y")]).toEqual([
    placement.contentWidth,
    placement.contentHeight,
    placement.padX,
    placement.padY,
  ]);
  expect(["x", "y", "first_x", "first_y", "last_x", "last_y"].map(i32)).toEqual([0, 0, 0, 0, 1918, 1078]);
  const { left, top, right, bottom } = placement;
  expect(["left", "top", "right", "bottom"].map(i32)).toEqual([left, top, right, bottom]);
  expect([i32("format"), i32("swap"), i32("reflect")]).toEqual([2, 1, 0]);
  expect(view.getFloat64(offsets.get("scale_x")!, true)).toBe(1 / (640 / 1919));
  expect(["y_offset", "y_scale", "v_red", "u_green", "v_green", "u_blue"].map(i32)).toEqual(
    Object.values(coefficients),
  );
  table.set(0, { ...image, format: "RGBA" }, placement, YOLO_PREPROCESSING);
  const first = (name: string): number => new DataView(buffer).getInt32(offsets.get(name)!, true);
  expect(new Int32Array(buffer)[offsets.get("format")! / 4]).toBe(1);
  expect(new Int32Array(buffer)[offsets.get("swap")! / 4]).toBe(0);
  const crop = placeRectangle([1919, 1079], { x: -5, y: 900, width: 640, height: 640 }, [640, 384], "letterbox");
  table.set(0, image, crop, YOLO_PREPROCESSING);
  expect(["x", "y", "first_x", "first_y", "last_x", "last_y"].map(first)).toEqual([-5, 900, 0, 900, 634, 1078]);
  const samples = { format: "RGBA16", width: 1919, height: 1079, pixels: image.pixels, pitchBytes: 16_000 } as const;
  const four = { ...YOLO_PREPROCESSING, colour: "BGRA", levels: [100, 355] } as const;
  table.set(1, samples, placement, four);
  const counts = (): number[] => ["black", "per_level"].map((name) => view.getFloat64(offsets.get(name)!, true));
  expect([i32("format"), i32("swap"), ...counts()]).toEqual([6, 1, 100, 1]);
  table.set(1, { ...samples, levels: [0, 510] }, placement, four);
  expect(counts()).toEqual([0, 0.5]);
  table.set(1, { ...samples, format: "GREY16" }, placement, { ...YOLO_PREPROCESSING, colour: "luma" });
  expect([i32("format"), ...counts()]).toEqual([5, 0, 255 / 65_535]);
  expect(() => table.set(1, image, placement, four)).toThrow("its input has four channels, and the image is NV12");
  const tile = placeTile([1919, 1079], -5, 900, [640, 384], "reflect");
  table.set(0, image, tile, YOLO_PREPROCESSING);
  expect(["first_x", "first_y", "last_x", "last_y", "reflect"].map(first)).toEqual([0, 0, 1918, 1078, 1]);
  const antialias = { ...YOLO_PREPROCESSING, resize: "antialias" } as const;
  expect(() => table.set(0, image, tile, antialias)).toThrow('its edge must be "pad", got "reflect"');
});

test("NmsOptionsTable writes where kernels/decode.cuh and select.cu read", () => {
  const selection = offsetsOf("decode.cuh", "Selection");
  const placement = offsetsOf("select.cu", "Region");
  expect(placement.get("end")).toBe(REGION_BYTES);
  const buffer = new ArrayBuffer(NmsOptionsTable.byteLength(2));
  const table = new NmsOptionsTable(buffer, 0, 2);
  const view = new DataView(buffer);
  const i32 = (name: string): number => view.getInt32(selection.get(name)!, true);
  const asked = { threshold: 0.25, iou: 0.5, maxDetections: 100, classAgnostic: true };
  table.setSelection({ ...asked, classIds: new Set([0, 33, 8191, 8192, -1]) });
  expect(view.getFloat32(selection.get("threshold")!, true)).toBe(0.25);
  expect(view.getFloat32(selection.get("iou")!, true)).toBe(0.5);
  expect([i32("max_detections"), i32("class_agnostic"), i32("class_words")]).toEqual([100, 1, 256]);
  const words = new Uint32Array(buffer, selection.get("classes")!, 256);
  expect([words[0], words[1], words[255]]).toEqual([1, 2, 2 ** 31]);
  table.setSelection({ ...asked, classIds: undefined });
  expect(i32("class_words")).toBe(0);
  const rectangle = { x: 1500, y: -20, width: 500, height: 300 };
  const where = placeRectangle([1920, 1080], rectangle, [640, 640], "letterbox");
  table.setRegion(1, where);
  const at = SELECTION_BYTES + REGION_BYTES;
  expect(view.getFloat64(at + placement.get("pad_y")!, true)).toBe(where.padY);
  expect(view.getFloat64(at + placement.get("scale_x")!, true)).toBe(where.scaleX);
  expect(view.getFloat64(at + placement.get("y")!, true)).toBe(-20);
  const [left, top, right, bottom] = ["left", "top", "right", "bottom"].map((name) =>
    view.getFloat64(at + placement.get(name)!, true),
  );
  expect([left, top, right, bottom]).toEqual([1500, 0, 1920, 280]);
});

test("DetectionReader copies the rows of one image, and refuses what is no detection", () => {
  const rows = 3;
  const words = detectionWords(rows);
  expect(words % 4).toBe(0);
  const extras = [{ length: 1 }, { length: 2 }];
  const starts = [0, 1, 2].map((at) => extraStart(rows, 2, extras, at));
  expect(starts).toEqual([2 * words, 2 * words + 8, 2 * words + 8 + 12]);
  const buffer = new ArrayBuffer(starts[2]! * 4);
  new Float32Array(buffer).set([1, 2, 3, 4, 5, 6, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], starts[0]);
  const integers = new Int32Array(buffer, words * 4);
  const floats = new Float32Array(buffer, words * 4);
  integers.set([2, 7, 0, 0]);
  floats.set([1, 2, 3, 4, 5, 6, 7, 8], 4);
  floats.set([0.75, 0.5], 4 + rows * 4);
  integers.set([11, 12], 4 + rows * 5);
  integers.set([8399, 0], 4 + rows * 6);
  const reader = new DetectionReader(buffer, rows, 2, extras);
  const block = createDetectionBlock(rows, extras);
  reader.read(1, block, readAs("yolo"));
  expect([block.count, block.dropped]).toEqual([2, 7]);
  expect([...block.boxes]).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0]);
  expect([...block.scores, ...block.classIds]).toEqual([0.75, 0.5, 0, 11, 12, 0]);
  expect([...block.sources]).toEqual([8399, 0, 0]);
  expect(block.extras.map((extra) => [...extra])).toEqual([
    [4, 5, 0],
    [7, 8, 9, 10, 0, 0],
  ]);
  reader.read(0, block, readAs("yolo"));
  expect(block.count).toBe(0);
  floats[4 + rows * 4] = 1.5;
  expect(() => reader.read(1, block, readAs("yolo"))).toThrow(ModelError);
  integers[2] = 1;
  floats[3] = 0.5;
  expect(() => reader.read(1, block, readAs("yolo"))).toThrow("class ids are whole numbers from 0 on, got 0.5");
  integers[2] = 2;
  expect(() => reader.read(1, block, readAs("yolox"))).toThrow("logarithms of sizes, which are small, got 0.5");
  integers[2] = 4;
  const plan = { kind: "offset-maps", levels: [{ classMap: "scores" }], classes: 1, centre: 0 } as never;
  expect(() => reader.read(1, block, { head: "retinanet", plan })).toThrow(
    'Cannot decode output "scores" as RetinaNet\'s scores: its scores are no probabilities, got 0.5',
  );
  integers[2] = 5;
  expect(() => reader.read(1, block, readAs("yolo-end-to-end"))).toThrow(
    "more than 1048576 candidates reach the threshold\nHint: raise `threshold`",
  );
  floats[4 + rows * 4] = 0.75;
  // Some box was inside out: refused where there is no other, and else reported.
  const isInsideOut = (fault: number, count: number): boolean => {
    integers.set([count, 0, fault]);
    reader.read(1, block, readAs("yolo"));
    return block.hasInsideOut;
  };
  expect([isInsideOut(3, 2), isInsideOut(3, 0), isInsideOut(0, 0)]).toEqual([true, true, false]);
});

test("valueTable() holds every level and the padding", () => {
  const table = valueTable({ ...YOLO_PREPROCESSING, mean: [0, 0.5, 0], pad: [114, 0, 0.5] });
  expect(table[255]).toBe(1);
  expect(table[256]).toBe(-0.5);
  expect([...table.subarray(768)]).toEqual([114 / 255, -0.5, 0.5 / 255].map(Math.fround));
  const fourth = { mean: 0.25, std: 0.5, pad: 51 };
  const four = valueTable({ ...YOLO_PREPROCESSING, colour: "RGBA", fourth, pad: [0, 0, 255] });
  expect([four[768], four[1023]]).toEqual([-0.5, 1.5]);
  expect([...four.subarray(1024)]).toEqual(
    [0, 0, 1, (0.2 - 0.25) / 0.5, 1 / 255, 1 / 255, 1 / 255, 2 / 255, -0, -0, -0, -0.5].map(Math.fround),
  );
  const luma = valueTable({ ...YOLO_PREPROCESSING, colour: "luma", mean: [0.5, 0, 0], pad: [0, 0, 0] });
  expect([...luma]).toEqual([1 / 255 / 65_536, -0.5, -0.5, 1 / 255].map(Math.fround));
});

test("yuvCoefficients() turn grey into grey and the primaries into themselves", () => {
  for (const standard of ["BT.601", "BT.709"] as const) {
    const { offset, y, vRed, uGreen, vGreen, uBlue } = yuvCoefficients(standard, "limited");
    expect([offset, y]).toEqual([16, 76_309]);
    const red = (luma: number, v: number): number => ((luma - offset) * y + vRed * (v - 128) + 32_768) >> 16;
    expect([red(16, 128), red(235, 128)]).toEqual([0, 255]);
    const kr = standard === "BT.601" ? 0.299 : 0.2126;
    expect(red(Math.round(16 + 219 * kr), 240)).toBeWithin(253, 258);
    expect(Math.sign(uGreen) + Math.sign(vGreen) + Math.sign(uBlue)).toBe(-1);
  }
  expect(yuvCoefficients("BT.601", "full")).toMatchObject({ offset: 0, y: 65_536, vRed: 91_881, uBlue: 116_130 });
});
