import { describe, expect, test } from "bun:test";
import { Detector } from "../../src/api/detector.ts";
import type { DetectorOptions } from "../../src/api/detector-config.ts";
import { pulled } from "../support/catalogue.ts";
import { sharedFile } from "../support/shared.ts";

/** How often each label was found. */
async function countLabels(
  model: string,
  image: string,
  options: DetectorOptions = {},
): Promise<Readonly<Record<string, number>>> {
  await using detector = await Detector.load(model, options);
  const { detections } = await detector.detect(image);
  const counts: Record<string, number> = {};
  for (const { label } of detections) counts[label] = (counts[label] ?? 0) + 1;
  return counts;
}

const yolo11n = await pulled("yolo11n");
const sample = await pulled("sample4");
const bus = sharedFile("images", "photos", "bus.jpg");

test.skipIf(yolo11n === undefined || bus === undefined)("yolo11n finds a bus and four persons in bus.jpg", async () => {
  expect(await countLabels(yolo11n!, bus!)).toEqual({ bus: 1, person: 4 });
});

test.skipIf(yolo11n === undefined || sample === undefined)("yolo11n finds the four people of sample4", async () => {
  expect((await countLabels(yolo11n!, sample!, { threshold: 0.5 })).person).toBe(4);
});

test.skipIf(yolo11n === undefined || sample === undefined)("the catalogue's name loads its model", async () => {
  expect((await countLabels("yolo11n", sample!, { rectangular: true, threshold: 0.5 })).person).toBe(4);
});

describe("each reference model on bus.jpg", () => {
  const models: readonly (readonly [file: string, head: string, persons: number])[] = [
    ["yolov8n_640.onnx", "yolo", 4],
    ["yolov8n_640_dynamic.onnx", "yolo", 4],
    ["yolo26n_640_e2e.onnx", "yolo-end-to-end", 4],
    ["yolox_nano.onnx", "yolox", 3],
    ["nanodet_m_416.onnx", "nanodet", 3],
    ["deimv2_hgnetv2_atto_coco.onnx", "rtdetr", 3],
    ["deimv2_hgnetv2_femto_coco.onnx", "rtdetr", 3],
    ["FastestDet.onnx", "fastestdet", 2],
  ];
  for (const [file, head, persons] of models) {
    const model = sharedFile("models", file);
    test.skipIf(model === undefined || bus === undefined)(`${file} is ${head} and finds the bus`, async () => {
      await using detector = await Detector.load(model!, { threshold: 0.35, iou: 0.45 });
      expect(detector.recognition.head).toBe(head);
      const { detections } = await detector.detect(bus!);
      const found = detections.map(({ label }) => label);
      expect(found.filter((label) => label === "bus").length).toBe(1);
      expect(found.filter((label) => label === "person").length).toBeGreaterThanOrEqual(persons);
      const { box } = detections.find(({ label }) => label === "bus")!;
      // The bus spans x 17 to 800 and y 230 to 735 of 810x1080, give or take what small models miss.
      for (const [side, expected] of [17, 230, 800, 735].entries()) {
        expect(Math.abs(box[side]! - expected)).toBeLessThan(80);
      }
    });
  }
});
