import { beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import sharp from "sharp";
import { evaluate } from "../../src/api/evaluate.ts";
import { PoseEstimator, TopDownPoseEstimator } from "../../src/api/object-model.ts";
import { Classifier, SemanticSegmenter } from "../../src/api/whole-image-models.ts";
import { fixedModel, rawGrid } from "../support/fixed-model.ts";
import { fileFolder } from "../support/folder.ts";
import { toyClassifier } from "../support/toy-classifier.ts";
import { toyDetector } from "../support/toy-detector.ts";
import { toyMap } from "../support/toy-map.ts";
import { toyObb, toyPose, toySegmenter } from "../support/toy-objects.ts";
import { toyTopDown } from "../support/toy-top-down.ts";
import { type CliResult, runCli } from "./run-cli.ts";

setDefaultTimeout(120_000);

const path = fileFolder("val");

function write(name: string, content: string | object): void {
  mkdirSync(dirname(path(name)), { recursive: true });
  writeFileSync(path(name), typeof content === "string" ? content : JSON.stringify(content));
}

async function paint(name: string, background: string, width = 64): Promise<void> {
  mkdirSync(dirname(path(name)), { recursive: true });
  await sharp({ create: { width, height: 32, channels: 3, background } })
    .png()
    .toFile(path(name));
}

/** What the toy finds in each image, and what is there: in image 1 the same, in image 2 nothing. */
const PERSON = {
  id: 1,
  image_id: 1,
  category_id: 1,
  bbox: [8, 4, 32, 24],
  area: 700,
  keypoints: [20, 12, 2, 28, 20, 2],
};

beforeAll(async () => {
  const metadata = { task: "pose", names: "{0: 'person', 1: 'dog'}", kpt_shape: "[2, 3]" };
  const points = [10, 14, 0.9, 14, 18, 0.8];
  const found = rawGrid(12, [
    [1, [12, 16, 16, 12, 0.75, 0, ...points]],
    [2, [4, 12, 4, 4, 0, 0.5, ...points]],
  ]);
  writeFileSync(path("pose.onnx"), fixedModel([found], { metadata }));
  const names = "['red', 'green', 'blue']";
  writeFileSync(
    path("cls.onnx"),
    toyClassifier({ scores: "means", hasSoftmax: true, metadata: { task: "classify", names } }),
  );
  await paint("coco/1.png", "black");
  await paint("coco/2.png", "black");
  write("coco/persons.json", {
    images: [1, 2].map((id) => ({ id, file_name: `${id}.png`, width: 64, height: 32 })),
    categories: [
      { id: 1, name: "Person", keypoints: ["a", "b"] },
      { id: 2, name: "dog", keypoints: ["a", "b"] },
    ],
    annotations: [PERSON, { ...PERSON, id: 2, category_id: 2 }],
  });
  for (const [name, colour] of Object.entries({ "red/1": "#f00", "red/2": "#0f0", "blue/3": "#00f" })) {
    await paint(`classes/${name}.png`, colour);
  }
});

function val(...words: readonly string[]): Promise<CliResult> {
  return runCli(["val", ...words, "--backend", "cpu"], { cwd: path() });
}

test("val prints a table for each kind of figures, overall and by class", async () => {
  const { code, output, errors } = await val("pose.onnx", "--data", "coco/persons.json");
  expect([code, errors]).toEqual([0, ""]);
  const [box, points] = output.split("\n\n").map((table) =>
    table
      .trim()
      .split("\n")
      .map((line) => line.split(/ {2,}/)),
  );
  const head = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"];
  expect(box![0]).toEqual(["box", "objects", ...head]);
  // The person is found in image 1, and once too often in image 2; the dog has its points, and another box.
  expect(box![2]).toEqual(["Person", "1", ..."1.000 1.000 1.000 1.000 - - 1.000 1.000 1.000 1.000 - -".split(" ")]);
  expect(box!.slice(1).map((row) => row.slice(0, 3))).toEqual([
    ["all", "2", "0.500"],
    ["Person", "1", "1.000"],
    ["dog", "1", "0.000"],
  ]);
  expect([points![0]!.slice(0, 3), points![2]!.slice(0, 3)]).toEqual([
    ["keypoints", "objects", "AP"],
    ["Person", "1", "1.000"],
  ]);
});

test("val gives JSON, of the classes and scores that were asked for", async () => {
  const words = ["pose.onnx", "-d", "coco/persons.json", "--json"];
  const one = JSON.parse((await val(...words, "--classes", "person")).output);
  expect(one).toMatchObject({ model: "pose", data: "coco/persons.json", task: "pose", images: 2, objects: 1 });
  expect(one.metrics.box).toMatchObject({ AP: 1, APm: null, objects: 1, classes: [{ label: "Person", AP: 1 }] });
  const strict = JSON.parse((await val(...words, "--threshold", "0.8")).output);
  expect([strict.metrics.box.AP, strict.metrics.keypoints.AP]).toEqual([0, 0]);
  const boxes = JSON.parse((await val(...words, "--task", "detect")).output);
  expect([boxes.task, Object.keys(boxes.metrics)]).toEqual(["detect", ["box"]]);
});

test("val takes labels of Ultralytics", async () => {
  await paint("yolo/images/val/1.png", "black");
  write("yolo/labels/val/1.txt", "0 0.375 0.5 0.5 0.75 0.3125 0.375 2 0.4375 0.625 2\n");
  write("yolo/data.yaml", "val: images/val\nkpt_shape: [2, 3]\nnames: [person]\n");
  const { metrics } = JSON.parse((await val("pose.onnx", "--data", "yolo", "--json")).output);
  expect([metrics.box.AP, metrics.keypoints.AP]).toEqual([1, 1]);
});

test.each([
  ["detect", "box", toyDetector()],
  ["pose", "keypoints", toyPose],
  ["obb", "obb", toyObb],
  ["segment", "mask", toySegmenter],
])(
  "what detect --format yolo --no-scores writes of a model of %s is a dataset, and with scores it is none",
  async (task, figures, model) => {
    writeFileSync(path(`own-${task}.onnx`), model);
    await sharp({ create: { width: 64, height: 64, channels: 3, background: "white" } })
      .png()
      .toFile(path("square.png"));
    mkdirSync(path(task, "images"), { recursive: true });
    writeFileSync(path(task, "images/square.png"), await Bun.file(path("square.png")).bytes());
    const detect = (...words: string[]): Promise<CliResult> => {
      const given = ["--model", `own-${task}.onnx`, "--format", "yolo", "--output", `${task}/labels`, ...words];
      return runCli(["detect", `${task}/images/square.png`, "--backend", "cpu", "--quiet", ...given], { cwd: path() });
    };
    expect(await detect()).toMatchObject({ code: 0, errors: "" });
    const scored = await val(`own-${task}.onnx`, "--data", task);
    expect([scored.code, scored.errors]).toEqual([1, expect.stringContaining("detect --format yolo --no-scores")]);
    expect(await detect("--no-scores")).toMatchObject({ code: 0, errors: "" });
    const { code, output, errors } = await val(`own-${task}.onnx`, "--data", task, "--json");
    expect([code, errors, JSON.parse(output).metrics[figures].AP]).toEqual([0, "", 1]);
  },
);

test("val refuses a dataset with other key points than the model's", async () => {
  const keypoints = [20, 12, 2];
  write("coco/other.json", {
    images: [{ id: 1, file_name: "1.png" }],
    categories: [{ id: 1, name: "person", keypoints: ["a"] }],
    annotations: [{ ...PERSON, keypoints }],
  });
  const { code, errors } = await val("pose.onnx", "--data", "coco/other.json");
  expect([code, errors]).toEqual([1, expect.stringContaining("the model has 2 for an object, the dataset 1")]);
});

test("val says how often a classifier is right", async () => {
  const { code, output } = await val("cls.onnx", "--data", "classes");
  const rows = output
    .trim()
    .split("\n")
    .map((line) => line.split(/ {2,}/));
  expect([code, rows]).toEqual([
    0,
    [
      ["class", "images", "top1", "top5"],
      ["all", "3", "0.667", "1.000"],
      ["blue", "1", "1.000", "1.000"],
      ["red", "2", "0.500", "1.000"],
    ],
  ]);
  const other = await val("pose.onnx", "--data", "classes");
  expect([other.code, other.errors]).toEqual([
    1,
    'error: Cannot score "pose.onnx" on "classes": it finds objects, and the folders of the dataset are classes\n' +
      "Hint: give --data COCO annotations, or a data.yaml\n",
  ]);
  const classifier = await val("cls.onnx", "--data", "coco/persons.json");
  expect([classifier.code, classifier.errors]).toEqual([
    1,
    'error: Cannot score "cls.onnx" on "coco/persons.json": it is a classifier, and the dataset is of objects\n' +
      "Hint: give --data a folder with a folder of images for each class\n",
  ]);
});

test("evaluate refuses a model that has no figures", async () => {
  await using topDown = await TopDownPoseEstimator.load(toyTopDown("simcc"), { backend: "cpu" });
  await using map = await SemanticSegmenter.load(toyMap({ classes: 3 }), { backend: "cpu" });
  const data = path("coco/persons.json");
  await expect(evaluate(topDown as never, data)).rejects.toThrow(
    "Cannot evaluate a TopDownPoseEstimator: it finds the points of boxes that it is given\nHint: ",
  );
  await expect(evaluate(map as never, data)).rejects.toThrow(
    'a SemanticSegmenter: it is of the task "semantic"\nHint: ',
  );
});

test("an image that cannot be read, or is annotated at another size, is skipped and reported", async () => {
  await paint("mixed/1.png", "black");
  await paint("mixed/2.png", "black", 40);
  const images = [1, 2, 3].map((id) => ({ id, file_name: `${id}.png`, width: 64, height: 32 }));
  const categories = [{ id: 1, name: "person", keypoints: ["a", "b"] }];
  write("mixed/all.json", {
    images,
    categories,
    annotations: [1, 2, 3].map((id) => ({ ...PERSON, image_id: id, id })),
  });
  const { code, output, errors } = await val("pose.onnx", "--data", "mixed/all.json", "--json");
  expect([code, JSON.parse(output)]).toMatchObject([1, { images: 1, objects: 1, metrics: { box: { AP: 1 } } }]);
  expect(errors).toMatch(/"2\.png": its annotations are of 64x32 pixels, and it has 40x32\n.*3\.png/s);
  expect(errors).toContain("2 of 3 images could not be scored");
});

test("evaluate reports progress, refuses options of another task, and ends with the signal", async () => {
  await using estimator = await PoseEstimator.load(path("pose.onnx"), { backend: "cpu" });
  const seen: (readonly [number, number])[] = [];
  const onProgress = (done: number, total: number): number => seen.push([done, total]);
  const { task, metrics } = await evaluate(estimator, path("coco/persons.json"), { onProgress });
  expect([task, metrics.keypoints.classes.map(({ label, AP }) => [label, AP]), seen]).toEqual([
    "pose",
    [
      ["Person", 1],
      ["dog", 1],
    ],
    [
      [1, 2],
      [2, 2],
    ],
  ]);
  await expect(evaluate(estimator, path("coco/persons.json"), { iou: 2 })).rejects.toThrow(/Option "iou" must be/);
  await expect(evaluate(estimator, path("mixed/all.json"))).rejects.toThrow(/Cannot score the image "2.png"/);
  const signal = AbortSignal.abort(new Error("enough"));
  await expect(evaluate(estimator, path("coco/persons.json"), { signal })).rejects.toThrow("enough");
  await using classifier = await Classifier.load(path("cls.onnx"), { backend: "cpu" });
  const { top1, classes } = await evaluate(classifier, path("classes"));
  expect([top1, classes.length]).toEqual([2 / 3, 2]);
  await expect(evaluate(classifier, path("classes"), { iou: 0.5 })).rejects.toThrow(/Unknown option "iou"/);
});
