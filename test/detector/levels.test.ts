import { expect, test } from "bun:test";
import { Detector } from "../../src/api/detector.ts";
import { Model } from "../../src/api/model.ts";
import { Classifier, DepthEstimator, SemanticSegmenter } from "../../src/api/whole-image-models.ts";
import { besideOf, inputsOfLevels, isBeside } from "../../src/onnx/beside.ts";
import { createNode, OnnxTensor } from "../../src/onnx/messages.ts";
import { OnnxModel } from "../../src/onnx/model.ts";
import { flatImage } from "../support/flat-image.ts";
import { fileFolder } from "../support/folder.ts";
import type { InitializerSpec, NodeSpec } from "../support/onnx-writer.ts";
import { toyClassifier } from "../support/toy-classifier.ts";
import { toyDetector } from "../support/toy-detector.ts";
import { toyMap } from "../support/toy-map.ts";

const inFolder = fileFolder("levels");
const WHITE = flatImage(64, 64, 255);

/** A constant of one number, or of one for each channel. */
function constant(name: string, ...values: number[]): InitializerSpec {
  const shape = values.length === 1 ? [] : [1, values.length, 1, 1];
  return { name, dtype: "f32", shape, data: Float32Array.from(values) };
}

const node = (op: string, inputs: readonly string[], output: string): NodeSpec => ({ op, inputs, outputs: [output] });
const RANGE = constant("range", 255);

/** What models do to the levels of an image first, and the score that the first box has in a white one. */
const SCALING = {
  "a division by 255": { nodes: [node("Div", ["images", "range"], "scaled")], initializers: [RANGE] },
  "a product with 1/255, the constant first": {
    nodes: [node("Mul", ["share", "images"], "scaled")],
    initializers: [constant("share", 1 / 255)],
  },
  "a turn to NHWC and back, and a division": {
    nodes: [
      { ...node("Transpose", ["images"], "last"), attributes: { perm: [0, 2, 3, 1] } },
      node("Div", ["last", "range"], "shares"),
      { ...node("Transpose", ["shares"], "scaled"), attributes: { perm: [0, 3, 1, 2] } },
    ],
    initializers: [RANGE],
  },
  "a mean and a deviation of each channel": {
    nodes: [node("Sub", ["images", "means"], "centred"), node("Div", ["centred", "deviations"], "scaled")],
    initializers: [constant("means", 55, 65, 75), constant("deviations", 200, 190, 180)],
  },
} satisfies Record<string, NonNullable<Parameters<typeof toyDetector>[0]>["before"]>;

for (const [what, before] of Object.entries(SCALING)) {
  test(`a model that begins with ${what} gets the levels as they are`, async () => {
    const bytes = toyDetector({ before });
    expect(inputsOfLevels(bytes)).toEqual(["images"]);
    const path = inFolder(`${what.replaceAll(/\W/g, "-")}.onnx`);
    await Bun.write(path, bytes);
    for (const source of [bytes, path]) {
      await using detector = await Detector.load(source, { backend: "cpu" });
      expect(detector.recognition.preprocessing).toMatchObject({ scale: 1, mean: [0, 0, 0], std: [1, 1, 1] });
      const { detections } = await detector.detect(WHITE);
      expect(detections[0]!.score).toBeCloseTo(0.9, 5);
    }
    // What the caller says comes first.
    await using said = await Detector.load(bytes, { backend: "cpu", preprocessing: { scale: 1 / 255 } });
    expect(said.recognition.preprocessing.scale).toBe(1 / 255);
  });
}

test("a model that does something else to its levels, or the same to others, gets what its family wants", async () => {
  const others: readonly NonNullable<Parameters<typeof toyDetector>[0]>["before"][] = [
    // Of values in 0–1.
    { nodes: [node("Div", ["images", "deviation"], "scaled")], initializers: [constant("deviation", 1.5)] },
    // To levels, as the weights want them.
    {
      nodes: [node("Mul", ["images", "range"], "levels"), node("Div", ["levels", "range"], "scaled")],
      initializers: [RANGE],
    },
    // Not on the way of the image.
    {
      nodes: [node("Identity", ["images"], "scaled"), node("Div", ["offset", "range"], "shares")],
      initializers: [RANGE],
    },
  ];
  for (const before of others) {
    const bytes = toyDetector({ before });
    expect(inputsOfLevels(bytes)).not.toContain("images");
    await using detector = await Detector.load(bytes, { backend: "cpu" });
    expect(detector.recognition.preprocessing.scale).toBe(1 / 255);
  }
});

test("a plan carries which levels its model scales itself, and what is behind the bytes that were read is said to be open", async () => {
  const bytes = toyDetector({ before: SCALING["a division by 255"] });
  const beside = await besideOf(bytes, undefined);
  expect(beside).toEqual({ levelsIn: ["images"] });
  expect([isBeside(beside), isBeside({ levelsIn: [1] }), isBeside({ levelsIn: "images" })]).toEqual([
    true,
    false,
    false,
  ]);
  expect(await besideOf(toyDetector(), undefined)).toBeUndefined();
  const behind = Buffer.from(bytes).indexOf("range", Buffer.from(bytes).indexOf("range") + 5);
  expect(inputsOfLevels(bytes.subarray(0, behind), false)).toBeUndefined();
  expect(inputsOfLevels(bytes.subarray(0, behind), true)).toEqual([]);
});

/** The same model, which divides its input by 255 first. */
function dividing(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const model = OnnxModel.read(bytes);
  const { graph } = model;
  for (const { inputs } of graph.nodes)
    for (const [at, name] of inputs.entries()) if (name === "images") inputs[at] = "shares";
  graph.initializers.set("range", OnnxTensor.of("range", "f32", [], Float32Array.of(255)));
  graph.nodes = [createNode("Div", ["images", "range"], ["shares"]), ...graph.nodes];
  return model.write();
}

test("classifiers and models of maps that divide by 255 themselves get the levels as they are, without what their family assumes", async () => {
  const map = { size: [32, 32], classes: 3 } as const;
  const cases = [
    [Classifier, dividing(toyClassifier({ scores: "means", repeats: 4, side: 8 }))],
    // As Keras has it.
    [Classifier, dividing(toyClassifier({ scores: "means", repeats: 4, side: 8, layout: "NHWC" }))],
    [SemanticSegmenter, dividing(toyMap(map))],
    [DepthEstimator, dividing(toyMap({ size: [32, 32], form: "depth" }))],
  ] as const;
  for (const [facade, bytes] of cases) {
    for (const { load } of [facade, Model]) {
      await using model = await load(bytes, { backend: "cpu" });
      const { preprocessing, reason, assumptions } = model.recognition as Classifier["recognition"];
      expect([facade.name, preprocessing]).toMatchObject([facade.name, { scale: 1, mean: [0, 0, 0], std: [1, 1, 1] }]);
      expect(reason).toContain("levels as they are, which the model scales itself");
      expect(assumptions.join()).not.toMatch(/deviation|from -1 to 1/);
    }
    await using said = await facade.load(bytes, { backend: "cpu", preprocessing: { scale: 1 / 255 } });
    expect(said.recognition.preprocessing.scale).toBe(1 / 255);
  }
});
