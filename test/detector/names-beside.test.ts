import { expect, test } from "bun:test";
import { mkdtempSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { Detector } from "../../src/api/detector.ts";
import { anyDetector, Model } from "../../src/api/model.ts";
import { PoseEstimator } from "../../src/api/object-model.ts";
import { besideOf } from "../../src/onnx/beside.ts";
import { detectorFiles, modelFiles } from "../../src/tasks/model-files.ts";
import { writePlan } from "../../src/tensorrt/plan-file.ts";
import { fixedModel, rawGrid } from "../support/fixed-model.ts";
import { fileFolder } from "../support/folder.ts";

const inFolder = fileFolder("names-beside");

const CUSTOM_VISION = fixedModel([
  { name: "detected_boxes", shape: [1, 1, 4], values: [0.125, 0.25, 0.5, 0.75] },
  { name: "detected_classes", shape: [1, 1], values: [1], dtype: "i64" },
  { name: "detected_scores", shape: [1, 1], values: [0.9] },
]);

/** A folder with these files; a model's path is that of `model.onnx`. */
function folder(files: Readonly<Record<string, string | Uint8Array>>): string {
  const path = mkdtempSync(inFolder("m"));
  for (const [name, content] of Object.entries(files)) writeFileSync(join(path, name), content);
  return join(path, "model.onnx");
}

async function labelsOf(files: Readonly<Record<string, string | Uint8Array>>): Promise<readonly string[]> {
  await using detector = await Detector.load(folder({ "model.onnx": CUSTOM_VISION, ...files }), { backend: "cpu" });
  return detector.labels;
}

test("class names come from the files that exporters write beside a model", async () => {
  const texts: readonly [string, string][] = [
    ["labels.txt", "bolt\r\nnut\r\n"],
    ["classes.txt", "0 bolt\n1  nut"],
    ["labels.txt", "0: bolt\n1: nut\n"],
    ["labels.txt", "['bolt', 'nut']"],
    ["model.names", "bolt\nnut\n"],
    ["metadata.yaml", "description: a model\nnames:\n  0: bolt\n  1: nut\n"],
    ["data.yaml", "nc: 2\nnames: [bolt, nut]\n"],
  ];
  for (const [name, text] of texts) expect(await labelsOf({ [name]: text })).toEqual(["bolt", "nut"]);
  // One of the model's own name comes first; without any there are no names.
  expect(await labelsOf({ "model.names": "a\nb", "labels.txt": "c\nd" })).toEqual(["a", "b"]);
  expect(await labelsOf({ "data.yaml": "names: [" })).toEqual([]);
  expect(await labelsOf({})).toEqual([]);
});

test("config.json is of transformers' models, whose number of classes it settles, or of the only one in its folder", async () => {
  const config = '{"id2label": {"0": "bolt", "1": "nut"}}';
  expect(await labelsOf({ "config.json": config })).toEqual(["bolt", "nut"]);
  expect(await labelsOf({ "config.json": config, "other.onnx": CUSTOM_VISION })).toEqual([]);
  const detr = fixedModel([
    { name: "logits", shape: [1, 2, 2], values: [3, -9, -9, -9] },
    { name: "pred_boxes", shape: [1, 2, 4], values: [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5] },
  ]);
  const other = { "other.onnx": CUSTOM_VISION };
  expect(await labelsOf({ ...other, "model.onnx": detr, "config.json": config })).toEqual(["bolt", "nut"]);
});

test("of several models in a folder a file must have the name of one", async () => {
  const other = { "other.onnx": CUSTOM_VISION };
  expect(await labelsOf({ ...other, "labels.txt": "bolt\nnut" })).toEqual([]);
  expect(await labelsOf({ ...other, "model_labels.txt": "bolt\nnut" })).toEqual(["bolt", "nut"]);
  // What was built from it is no other model.
  expect(await labelsOf({ "model.plan": "plan", "labels.txt": "bolt\nnut" })).toEqual(["bolt", "nut"]);
});

test("names that do not fit are not the model's: it is read as without them, and what the caller says counts", async () => {
  const grid = fixedModel([rawGrid(4 + 3, [[1, [12, 8, 16, 12, 0, 0.9, 0]]])]);
  const read = async (names: string, labels?: readonly string[]) => {
    const path = folder({ "model.onnx": grid, "labels.txt": names });
    await using model = await anyDetector.load(path, { backend: "cpu", ...(labels && { labels }) });
    if (model.task !== "detect") throw new Error(`it was loaded as ${model.task}`);
    return [model.recognition.head, model.recognition.reason.split("; ")[1], model.labels.join()];
  };
  expect(await read("a\nb\nc")).toEqual(["yolo", '3 class names, of "labels.txt" beside it', "a,b,c"]);
  expect(await read("a\nb")).toEqual(["yolo", "no class names", "class 0,class 1,class 2"]);
  expect(await read("a\nb", ["x", "y", "z"])).toEqual(["yolo", "3 class names", "x,y,z"]);
});

test("metadata.yaml and data.yaml tell the task and the points of a model that does not", async () => {
  const cells = 64 + 16 + 4;
  const raw = (channels: number): Uint8Array =>
    fixedModel([{ name: "output0", shape: [1, channels, cells], values: new Array(channels * cells).fill(0) }], {
      side: 64,
    });
  const pose = folder({
    "model.onnx": raw(56),
    "metadata.yaml": "task: pose\nkpt_shape: [17, 3]\nnames:\n  0: person\n",
  });
  await using found = await Model.load(pose, { backend: "cpu" });
  expect(found).toMatchObject({ task: "pose", labels: ["person"] });
  expect(found).toBeInstanceOf(PoseEstimator);
  const points = folder({ "model.onnx": raw(4 + 1 + 2 * 5), "data.yaml": "names: [fish]\nkpt_shape: [5, 2]\n" });
  await using fish = await PoseEstimator.load(points, { backend: "cpu" });
  expect(fish.recognition.keypoints).toMatchObject({ count: 5, numbers: 2 });
  const turned = folder({ "model.onnx": raw(7), "metadata.yaml": "task: obb\nnames: [ship, plane]\n" });
  await using obb = await Model.load(turned, { backend: "cpu" });
  expect(obb).toMatchObject({ task: "obb", labels: ["ship", "plane"] });
  await expect(Detector.load(turned, { backend: "cpu" })).rejects.toThrow('its task is "obb"');
});

test("a plan carries every file that is read beside its model, whatever its own name and folder", async () => {
  const pipeline = { module: "Transform", transforms: [{ type: "Normalize", mean: [1, 2, 3], std: [4, 5, 6] }] };
  const files: readonly (readonly [
    name: string,
    text: string,
    known: keyof Awaited<ReturnType<typeof detectorFiles>>,
  ])[] = [
    ["model.names", "bolt\nnut", "namesBeside"],
    ["model_labels.txt", "bolt\nnut", "namesBeside"],
    ["labels.txt", "bolt\nnut", "namesBeside"],
    ["metadata.yaml", "names: [bolt, nut]\ntask: pose\nkpt_shape: [17, 3]", "namesBeside"],
    ["config.json", '{"id2label": {"0": "bolt", "1": "nut"}}', "namesBeside"],
    ["model.yaml", "anchors:\n  - [10,13, 16,30, 33,23]\n  - [30,61, 62,45, 59,119]\n", "anchorsBeside"],
    ["model_anchors.txt", "10,13, 16,30, 33,23, 30,61, 62,45, 59,119", "anchorsBeside"],
    ["pipeline.json", JSON.stringify({ pipeline: { tasks: [pipeline] } }), "exporterBeside"],
    ["infer_cfg.yml", "Preprocess: [{type: Resize, keep_ratio: false}]", "exporterBeside"],
    ["preprocessor_config.json", '{"image_mean": [0.25, 0.5, 0.75]}', "exporterBeside"],
  ];
  for (const [name, text, known] of files) {
    const model = folder({ "model.onnx": CUSTOM_VISION, [name]: text });
    const beside = (await besideOf(CUSTOM_VISION, model))!;
    const plan = writePlan(new Uint8Array(64), {}, { tensorRt: "TensorRT 10.6.0", beside });
    const moved = join(dirname(folder({ "other.plan": plan, "third.plan": plan })), "other.plan");
    const said = await detectorFiles(model);
    expect([name, said[known]]).toEqual([name, expect.anything()]);
    for (const source of [plan, moved]) {
      expect([name, await detectorFiles(source)]).toEqual([name, said]);
      expect([name, await modelFiles(source)]).toEqual([name, await modelFiles(model)]);
    }
  }
});
