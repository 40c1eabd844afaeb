import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Detector } from "../../src/api/detector.ts";
import { Model, servedModel } from "../../src/api/model.ts";
import { PoseEstimator } from "../../src/api/object-model.ts";
import { imageOf } from "../../src/image/image.ts";
import { COCO_80 } from "../../src/model/model-info.ts";
import { OnnxTensor } from "../../src/onnx/messages.ts";
import { OnnxModel } from "../../src/onnx/model.ts";
import { type FixedModelOptions, type FixedOutput, fixedModel } from "../support/fixed-model.ts";
import { toyClassifier } from "../support/toy-classifier.ts";

// Detectors as torchvision, MMDetection and PaddleDetection export them: finished rows, and images prepared their way.

const SIDE = 64;
/** Twice as wide as high: half as large in an input of 64 × 64. */
const WIDE = imageOf(new Uint8Array(128 * 64 * 3), { width: 128, height: 64 });

/** Outputs as torch.onnx numbers them, for an image that lies between 16 rows of black above and below. */
const TORCHVISION: readonly FixedOutput[] = [
  { name: "4208", shape: [2, 4], values: [10.5, 20.25, 40.75, 44, 0, 17, 63.5, 47.5] },
  { name: "4177", shape: [2], values: [0.9, 0.75] },
  { name: "4178", shape: [2], values: [1, 18], dtype: "i64" },
];

test("torchvision's detectors take one image without a batch, and number COCO's classes by category id", async () => {
  for (const model of [{ isSingle: true }, {}] satisfies FixedModelOptions[]) {
    await using detector = await Detector.load(fixedModel(TORCHVISION, { side: SIDE, ...model }), { backend: "cpu" });
    const { head, preprocessing, assumptions } = detector.recognition;
    expect(head).toBe("torchvision");
    expect(preprocessing).toMatchObject({ fit: "letterbox", scale: 1 / 255, mean: [0, 0, 0], pad: [0, 0, 0] });
    expect(assumptions).toEqual([
      expect.stringContaining("--mean 0.485,0.456,0.406"),
      expect.stringMatching(/COCO.*from 1 on.*`labels`/),
    ]);
    const { detections } = await detector.detect(WIDE);
    expect(detections).toEqual([
      { label: "person", classId: 1, score: expect.closeTo(0.9, 5) as number, box: [21, 8.5, 81.5, 56] },
      { label: "dog", classId: 18, score: 0.75, box: [0, 2, 127, 63] },
    ]);
  }
});

test("an input of torchvision's with open sides is as large as its image, to the pixel", async () => {
  const model = fixedModel(TORCHVISION, { side: "side", isSingle: true });
  await using detector = await Detector.load(model, { backend: "cpu", labels: ["", "cat"] });
  expect(detector.recognition).toMatchObject({ isImageSized: true, stride: 1, fixedSize: undefined });
  const { detections } = await detector.detect(imageOf(new Uint8Array(61 * 43 * 3), { width: 61, height: 43 }));
  // Neither resized nor padded; boxes end at the edges of the image.
  expect(detections.map(({ label, box }) => [label, box])).toEqual([
    ["cat", [10.5, 20.25, 40.75, 43]],
    ["class 18", [0, 17, 61, 43]],
  ]);
});

test("torchvision's Keypoint R-CNN gives people and their points", async () => {
  const points = Array.from({ length: 2 * 17 }, (_, at) => [at, 20 + at / 2, 1]).flat();
  const outputs: readonly FixedOutput[] = [
    ...TORCHVISION.slice(0, 2),
    { name: "4178", shape: [2], values: [1, 1], dtype: "i64" },
    { name: "3016", shape: [2, 17, 3], values: points },
    { name: "end_scores.7", shape: [2, 17], values: points.filter((_, at) => at % 3 === 0).map((at) => at / 4 - 4) },
  ];
  await using model = await Model.load(fixedModel(outputs, { side: SIDE, isSingle: true }), { backend: "cpu" });
  if (!(model instanceof PoseEstimator)) throw new Error(`it was loaded as ${model.task}`);
  expect(model.recognition.head).toBe("keypoint-rcnn");
  const { objects } = await model.detect(WIDE);
  expect(objects.map(({ label }) => label)).toEqual(["person", "person"]);
  expect(objects[1]!.keypoints[16]).toEqual({
    name: "right_ankle",
    x: 66,
    y: 41,
    // The sigmoid of its heatmap's peak.
    score: expect.closeTo(1 / (1 + Math.exp(-4.25)), 6) as number,
  });
});

/** Rows as mmdeploy fills them up: the score 0, and no class. */
const MMDET: readonly FixedOutput[] = [
  { name: "dets", shape: [1, 3, 5], values: [10.5, 2.25, 40.75, 26, 0.9, 0, 1, 63.5, 30.5, 0.75, 0, 0, 0, 0, 0] },
  { name: "labels", shape: [1, 3], values: [0, 16, -1], dtype: "i64" },
];

test("MMDetection's rows, by mmdeploy: padded right and below, and rows without a class are none", async () => {
  await using detector = await Detector.load(fixedModel(MMDET, { side: SIDE }), { backend: "cpu" });
  const { head, preprocessing, assumptions } = detector.recognition;
  expect(head).toBe("mmdet");
  expect(preprocessing).toMatchObject({ fit: "letterbox-top-left", colour: "RGB", mean: [123.675, 116.28, 103.53] });
  expect(assumptions).toEqual([
    expect.stringMatching(/RTMDet give .*--colour BGR --mean 103\.53,.*; for YOLOX /),
    expect.stringContaining("`--fit stretch`"),
    expect.stringContaining("COCO"),
  ]);
  const { detections } = await detector.detect(WIDE, { threshold: 0 });
  expect(detections).toEqual([
    { label: "person", classId: 0, score: expect.closeTo(0.9, 5) as number, box: [21, 4.5, 81.5, 52] },
    { label: "dog", classId: 16, score: 0.75, box: [0, 2, 127, 61] },
  ]);
});

/** A model in a folder of its own, with a file beside it. */
async function besideOf<T>(
  model: Uint8Array,
  file: string,
  content: string,
  run: (path: string) => Promise<T>,
): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-"));
  try {
    writeFileSync(join(folder, "end2end.onnx"), model);
    writeFileSync(join(folder, file), content);
    return await run(join(folder, "end2end.onnx"));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** As mmdeploy's `export2SDK` writes RTMDet's, without what is not read. */
const RTMDET = {
  pipeline: {
    input: ["img"],
    output: ["post_output"],
    tasks: [
      {
        type: "Task",
        module: "Transform",
        name: "Preprocess",
        transforms: [
          { type: "LoadImageFromFile", backend_args: null },
          { type: "Resize", keep_ratio: true, size: [640, 640] },
          { type: "Pad", size: [640, 640], pad_val: { img: [114, 114, 114] } },
          { type: "Normalize", to_rgb: false, mean: [103.53, 116.28, 123.675], std: [57.375, 57.12, 58.395] },
          { type: "Pad", size_divisor: 32 },
          { type: "DefaultFormatBundle" },
          { type: "Collect", keys: ["img"], meta_keys: ["scale_factor", "img_shape"] },
        ],
      },
      { name: "rtmdet", type: "Task", module: "Net", is_batched: true, input: ["prep_output"] },
    ],
  },
};

test("mmdeploy's pipeline.json beside a model says how an image is prepared; the caller's word counts more", async () => {
  const model = fixedModel(MMDET, { side: SIDE });
  await besideOf(model, "pipeline.json", JSON.stringify(RTMDET), async (path) => {
    await using detector = await Detector.load(path, { backend: "cpu" });
    const { preprocessing, assumptions, reason } = detector.recognition;
    expect(preprocessing).toMatchObject({
      ...{ fit: "letterbox-top-left", colour: "BGR", scale: 1, pad: [114, 114, 114] },
      ...{ mean: [103.53, 116.28, 123.675], std: [57.375, 57.12, 58.395] },
    });
    expect([assumptions, reason]).toEqual([
      [expect.stringContaining("COCO")],
      expect.stringContaining("pre-processing by pipeline.json"),
    ]);
    await using said = await Model.load(path, { backend: "cpu" });
    expect(said.recognition).toMatchObject({ preprocessing });
    await using own = await Detector.load(path, { backend: "cpu", preprocessing: { colour: "RGB" } });
    expect(own.recognition.preprocessing).toEqual({ ...preprocessing, colour: "RGB" });
  });
  // MMDetection's, and MMYOLO's of PP-YOLOE.
  for (const type of ["Resize", "FixShapeResize"]) {
    const stretched = structuredClone(RTMDET);
    stretched.pipeline.tasks[0]!.transforms!.splice(1, 2, { type, keep_ratio: false, size: [640, 640] });
    await besideOf(model, "pipeline.json", JSON.stringify(stretched), async (path) => {
      await using detector = await Detector.load(path, { backend: "cpu" });
      // What is padded after the levels are normalised is 0.
      expect(detector.recognition.preprocessing).toMatchObject({ fit: "stretch", pad: [103.53, 116.28, 123.675] });
    });
  }
});

/** PicoDet's maps in an input of 64 × 64: one box of 16 pixels around the centre of the cell (4, 4) of stride 8. */
function picodet(): FixedOutput[] {
  return [8, 16, 32, 64].flatMap((stride): FixedOutput[] => {
    const cells = (SIDE / stride) ** 2;
    const scores = new Array<number>(cells * 2).fill(0);
    const bins = new Array<number>(cells * 32).fill(0);
    if (stride === 8) {
      scores[36 * 2 + 1] = 0.75;
      for (let side = 0; side < 4; side++) bins[36 * 32 + side * 8 + 1] = 50;
    }
    return [
      { name: `transpose_${stride}.tmp_0`, shape: [1, cells, 2], values: scores },
      { name: `transpose_${stride}.tmp_1`, shape: [1, cells, 32], values: bins },
    ];
  });
}

/** As PaddleDetection's `export_model.py` writes it. */
const INFER_CFG = `mode: paddle
draw_threshold: 0.5
metric: COCO
use_dynamic_shape: false
arch: PicoDet
min_subgraph_size: 3
Preprocess:
- interp: 2
  keep_ratio: false
  target_size: [64, 64]
  type: Resize
- is_scale: true
  mean: [0.0, 0.0, 0.0]
  norm_type: none
  std: [1.0, 1.0, 1.0]
  type: NormalizeImage
- type: Permute
label_list:
- helmet
- vest
`;

test("PaddleDetection's infer_cfg.yml beside a model says how an image is prepared, and its classes", async () => {
  await besideOf(fixedModel(picodet(), { side: SIDE }), "infer_cfg.yml", INFER_CFG, async (path) => {
    await using detector = await Detector.load(path, { backend: "cpu" });
    const { head, preprocessing, assumptions } = detector.recognition;
    expect(head).toBe("picodet");
    expect(preprocessing).toMatchObject({ fit: "stretch", scale: 1 / 255, mean: [0, 0, 0], std: [1, 1, 1] });
    expect(assumptions).toEqual(["bilinear in place of OpenCV's filter 2, which infer_cfg.yml names"]);
    const { detections } = await detector.detect(WIDE);
    expect(detections).toEqual([{ label: "vest", classId: 1, score: 0.75, box: [56, 28, 88, 44] }]);
    await using own = await Detector.load(path, { backend: "cpu", labels: ["a", "b"] });
    expect(own.labels).toEqual(["a", "b"]);
  });
});

test("a file of another exporter beside a model changes nothing", async () => {
  for (const [file, content] of [
    ["infer_cfg.yml", INFER_CFG],
    ["pipeline.json", '{"pipeline": {"tasks": []}}'],
    ["pipeline.json", "no JSON"],
  ] as const) {
    await besideOf(fixedModel(MMDET, { side: SIDE }), file, content, async (path) => {
      await using detector = await Detector.load(path, { backend: "cpu" });
      expect(detector.recognition.preprocessing).toMatchObject({ mean: [123.675, 116.28, 103.53] });
      expect(detector.recognition.assumptions).toEqual(
        ["RTMDet", "stretch", "COCO"].map((what) => expect.stringContaining(what)),
      );
    });
  }
});

test("MMYOLO's four tensors are read, and what is assumed is said", async () => {
  const outputs: readonly FixedOutput[] = [
    { name: "num_dets", shape: [1, 1], values: [1], dtype: "i64" },
    { name: "boxes", shape: [1, 2, 4], values: [16, 20, 48, 40, 0, 0, 64, 64] },
    { name: "scores", shape: [1, 2], values: [0.75, 0.5] },
    { name: "labels", shape: [1, 2], values: [2, 0], dtype: "i64" },
  ];
  await using detector = await Detector.load(fixedModel(outputs, { side: SIDE }), { backend: "cpu" });
  expect(detector.recognition).toMatchObject({
    head: "efficient-nms",
    assumptions: [expect.any(String), expect.stringContaining("COCO")],
  });
  const { detections } = await detector.detect(WIDE);
  expect(detections).toEqual([{ label: "car", classId: 2, score: 0.75, box: [32, 8, 96, 48] }]);
});

/** A DETR of two classes, without metadata. */
const DETR: readonly FixedOutput[] = [
  { name: "logits", shape: [1, 2, 3], values: [3, 0, 0, 0, 0, 3] },
  { name: "pred_boxes", shape: [1, 2, 4], values: [0.5, 0.25, 0.5, 0.25, 0.5, 0.5, 0.5, 0.5] },
];

test("transformers' preprocessor_config.json says what is done to an image, and config.json what the classes are", async () => {
  const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-transformers-"));
  try {
    const path = join(folder, "model.onnx");
    writeFileSync(path, fixedModel(DETR, { side: SIDE }));
    writeFileSync(join(folder, "config.json"), JSON.stringify({ id2label: { 0: "cow", 1: "hen" } }));
    const read = async (file: object, options: object = {}): Promise<Detector["recognition"]> => {
      writeFileSync(join(folder, "preprocessor_config.json"), JSON.stringify(file));
      await using detector = await Detector.load(path, { backend: "cpu", ...options });
      return detector.recognition;
    };
    const plain = await read({ do_normalize: false, rescale_factor: 1 / 255, size: { height: 64, width: 64 } });
    expect(plain).toMatchObject({
      labels: ["cow", "hen"],
      preprocessing: { fit: "stretch", resize: "antialias", scale: 1 / 255, mean: [0, 0, 0], std: [1, 1, 1] },
    });
    expect(plain.reason).toContain("pre-processing by preprocessor_config.json");
    const edges = { size: { shortest_edge: 800, longest_edge: 1333 }, do_pad: true, resample: 3 };
    const kept = await read({ ...edges, image_mean: [0.5, 0.4, 0.2], image_std: [0.5, 0.5, 0.5] });
    const way = { fit: "letterbox-top-left", resize: "bicubic", mean: [0.5, 0.4, 0.2], std: [0.5, 0.5, 0.5] };
    expect(kept.preprocessing).toMatchObject({ ...way, pad: [127.5, 102, 51] });
    // Without a scale of its own levels stay as they are; a filter that is none of ours is told; the caller comes first.
    const raw = await read(
      { do_rescale: false, do_normalize: false, resample: 5 },
      { preprocessing: { resize: "bilinear", fit: "letterbox" } },
    );
    expect(raw.preprocessing).toMatchObject({ scale: 1, fit: "letterbox", resize: "bilinear" });
    expect((await read({ resample: 5 })).assumptions).toEqual(["bilinear in place of its own filter 5"]);
    await using detector = await Detector.load(path, { backend: "cpu", labels: ["a", "b"] });
    const { detections } = await detector.detect(WIDE);
    expect(detections.map(({ label }) => label)).toEqual(["a"]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

/** A model with weights of such names. */
function withWeights(outputs: readonly FixedOutput[], names: readonly string[]): Uint8Array<ArrayBuffer> {
  const model = OnnxModel.read(fixedModel(outputs, { side: SIDE }));
  for (const name of names) model.graph.initializers.set(name, OnnxTensor.of(name, "f32", [1], new Uint8Array(4)));
  return model.write();
}

test("the names of a model's weights tell what MMDetection's families and MMYOLO do to an image", async () => {
  const read = async (...names: string[]): Promise<Detector["recognition"]> => {
    await using detector = await Detector.load(withWeights(MMDET, names), { backend: "cpu", labels: COCO_80 });
    return detector.recognition;
  };
  const [imagenet, bgr, raw] = [
    [123.675, 116.28, 103.53],
    [103.53, 116.28, 123.675],
    [0, 0, 0],
  ];
  const cases = [
    ["bbox_head.rtm_cls.0.weight", { fit: "letterbox-top-left", colour: "BGR", mean: bgr, pad: [114, 114, 114] }],
    ["bbox_head.multi_level_conv_cls.0.weight", { colour: "BGR", scale: 1, mean: raw, pad: [114, 114, 114] }],
    ["/backbone/conv_res_block1/conv", { colour: "RGB", scale: 1 / 255, mean: raw, pad: [0, 0, 0] }],
    ["bbox_head.cls_convs.0.1.weight", { fit: "stretch", mean: imagenet, std: [58.395, 57.12, 57.375] }],
    ["backbone.features.0.weight", { fit: "stretch", mean: imagenet, std: [1, 1, 1] }],
    ["bbox_head.head_module.convs_pred.0.weight", { fit: "letterbox", scale: 1 / 255, pad: [114, 114, 114] }],
    ["bbox_head.head_module.rtm_cls.0.weight", { fit: "letterbox", colour: "BGR", mean: bgr }],
  ] as const;
  for (const [name, preprocessing] of cases) {
    const { head, preprocessing: found, assumptions } = await read(name);
    // An input of fixed size may be wanted stretched.
    const isPadded = found.fit === "letterbox-top-left";
    const assumed = isPadded ? [expect.stringContaining("`--fit stretch`")] : [];
    expect([name, head, found, assumptions]).toMatchObject([name, "mmdet", preprocessing, assumed]);
  }
  // Caffe's, which those of ResNeXt do not want; Darknet's, where no layer of the backbone is named; PP-YOLOE's by MMYOLO.
  const assumed = [
    [
      "bbox_head.conv_centerness.weight",
      { colour: "BGR", mean: [102.9801, 115.9465, 122.7717], std: [1, 1, 1] },
      "ResNeXt",
    ],
    ["bbox_head.convs_pred.0.weight", { fit: "letterbox-top-left", scale: 1 / 255, mean: raw }, "MobileNetV2"],
    ["bbox_head.head_module.cls_stems.0.fc.weight", { fit: "stretch", scale: 1 / 255, mean: raw }, "PP-YOLOE"],
  ] as const;
  for (const [name, preprocessing, of] of assumed) {
    const recognition = await read(name);
    expect([name, recognition]).toMatchObject([name, { preprocessing }]);
    expect(recognition.assumptions[0]).toContain(of);
  }
  // YOLOv3 with MobileNetV2; names of two families tell nothing.
  for (const names of [
    ["bbox_head.convs_pred.0.weight", "/backbone/layer1/conv/Conv"],
    ["bbox_head.rtm_cls.0.weight", "bbox_head.multi_level_conv_cls.0.weight"],
  ])
    expect(await read(...names)).toMatchObject({
      preprocessing: { mean: imagenet },
      assumptions: [expect.stringContaining("RTMDet"), expect.stringContaining("stretch")],
    });
});

test("ModelScope's DAMO-YOLO is read by its weights: corners and levels as they are, where YOLO's rows look alike", async () => {
  // Rows of the three grids of 64 pixels, of which one holds an object.
  const values = new Array<number>(84 * 7).fill(0);
  values.splice(7, 6, 4, 8, 40, 20, 0, 0.9);
  const rows: readonly FixedOutput[] = [{ name: "rows", shape: [1, 84, 7], values }];
  const options = { backend: "cpu", labels: ["cow", "hen", "cat"] } as const;
  await using detector = await Detector.load(withWeights(rows, ["head.gfl_reg.0.weight"]), options);
  expect(detector.recognition).toMatchObject({ head: "damo-yolo-rows", preprocessing: { fit: "stretch", scale: 1 } });
  const { detections } = await detector.detect(WIDE);
  expect(detections.map(({ label, box }) => [label, box])).toEqual([["hen", [8, 8, 80, 20]]]);
  await using other = await Detector.load(withWeights(rows, ["head.cls.0.weight"]), options);
  expect(other.recognition.head).toBe("yolo-transposed");
});

test("the names of a model's weights tell RT-DETR from Conditional and Deformable DETR, and no names leave an assumption", async () => {
  const named = (...names: string[]): Uint8Array => withWeights(DETR, names);
  const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-weights-"));
  const read = async (...names: string[]): Promise<Detector["recognition"]> => {
    const bytes = named(...names);
    const path = join(folder, "model.onnx");
    writeFileSync(path, bytes);
    const labels = ["a", "b", "c"];
    await using ofBytes = await Detector.load(bytes, { backend: "cpu", labels });
    await using ofFile = await Detector.load(path, { backend: "cpu", labels });
    expect(ofFile.recognition.assumptions).toEqual(ofBytes.recognition.assumptions);
    expect(ofFile.recognition.preprocessing).toEqual(ofBytes.recognition.preprocessing);
    return ofFile.recognition;
  };
  const [levels, normalised] = [{ mean: [0, 0, 0] }, { mean: [0.485, 0.456, 0.406] }];
  const ofRtdetr = "model.model.enc_score_head.bias";
  const ofConditional = "model.model.decoder.ref_point_head.layers.1.bias";
  const ofDeformable = "model.model.encoder.layers.0.self_attn.sampling_offsets.bias";
  try {
    expect(await read(ofRtdetr)).toMatchObject({ assumptions: [], preprocessing: levels });
    for (const name of [ofConditional, ofDeformable])
      expect(await read(name)).toMatchObject({ assumptions: [], preprocessing: normalised });
    const assumptions = [expect.stringContaining("or put preprocessor_config.json beside it")];
    expect(await read()).toMatchObject({ assumptions, preprocessing: levels });
    expect(await read(ofRtdetr, ofConditional)).toMatchObject({ assumptions, preprocessing: levels });
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("config.json names the classes of any head where the model is the only one in its folder", async () => {
  const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-names-"));
  const grid = { name: "output0", shape: [1, 6, 84], values: new Array<number>(504).fill(0) };
  try {
    const path = join(folder, "model.onnx");
    writeFileSync(path, fixedModel([grid], { side: SIDE }));
    writeFileSync(join(folder, "config.json"), JSON.stringify({ id2label: { 0: "cow", 1: "hen" } }));
    const labels = async (): Promise<readonly string[]> => {
      await using detector = await Detector.load(path, { backend: "cpu" });
      return detector.recognition.labels;
    };
    expect(await labels()).toEqual(["cow", "hen"]);
    writeFileSync(join(folder, "other.onnx"), fixedModel([grid], { side: SIDE }));
    expect(await labels()).toEqual(["class 0", "class 1"]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("anchors for a classifier that is served are an error, as for a detector that reads none", async () => {
  const anchors = "yolov5";
  await expect(servedModel.load(toyClassifier(), { backend: "cpu", anchors })).rejects.toThrow(
    /Cannot give anchors to the model: it is no detector\nHint: leave `anchors`/,
  );
});
