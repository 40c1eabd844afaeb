import { expect, test } from "bun:test";
import { ModelError } from "../../src/core/errors.ts";
import { recogniseModel } from "../../src/heads/recognition.ts";
import { Session } from "../../src/onnxruntime/session.ts";
import { sharedFile } from "../support/shared.ts";

const HEAD_OF = {
  "yolov8n_640.onnx": "yolo",
  "yolov8n_640_dynamic.onnx": "yolo",
  "yolo26n_640_e2e.onnx": "yolo-end-to-end",
  "yolox_nano.onnx": "yolox",
  "nanodet_m_416.onnx": "nanodet",
  "deimv2_hgnetv2_atto_coco.onnx": "rtdetr",
  "deimv2_hgnetv2_femto_coco.onnx": "rtdetr",
  "FastestDet.onnx": "fastestdet",
};

for (const [file, head] of Object.entries(HEAD_OF)) {
  const path = sharedFile("models", file);
  test.skipIf(path === undefined)(`${file} is recognised as ${head}`, async () => {
    await using session = await Session.load(path!);
    expect(recogniseModel(session.model, {}).head).toBe(head);
  });
}

for (const file of ["i2i_super_resolution_3x_y.onnx", "i2i_tbefn_lowlight_480x640.onnx"]) {
  const path = sharedFile("models", file);
  test.skipIf(path === undefined)(`${file} is no detector`, async () => {
    await using session = await Session.load(path!);
    expect(() => recogniseModel(session.model, {})).toThrow(ModelError);
  });
}
