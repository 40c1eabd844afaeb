import { expect, test } from "bun:test";
import { ModelError } from "../../src/core/errors.ts";
import type { DType, TensorInfo } from "../../src/core/tensor.ts";
import {
  type ImageHints,
  type ImageModelSpec,
  needsProbe,
  recogniseInput,
  recogniseOutput,
} from "../../src/tasks/image/image-recognition.ts";

const NONE: ImageHints = {
  layout: undefined,
  outputLayout: undefined,
  colour: undefined,
  outputColour: undefined,
  range: undefined,
  outputRange: undefined,
  output: undefined,
};

function info(name: string, shape: readonly number[], dtype: DType = "f32"): TensorInfo {
  return { name, dtype, shape };
}

function recognise(inputs: TensorInfo[], outputs: TensorInfo[], hints: Partial<ImageHints> = {}): ImageModelSpec {
  const model = { inputs, outputs, metadata: {} };
  const all = { ...NONE, ...hints };
  const input = recogniseInput(model, '"m.onnx"', all);
  return recogniseOutput(model, '"m.onnx"', input, [input.fixedWidth ?? 64, input.fixedHeight ?? 64], outputs, all);
}

test("recogniseOutput() reads super-resolution of luma, and low light with channels last", () => {
  const large = recognise([info("input", [-1, 1, 224, 224])], [info("output", [-1, 1, 672, 672])]);
  expect(large).toMatchObject({ scale: 3, fixedWidth: 224, fixedHeight: 224, fixedBatch: undefined });
  expect(large.input).toMatchObject({ layout: "NCHW", channels: "luma", dtype: "f32", scale: 1 / 255 });
  expect(large.output).toMatchObject({ name: "output", layout: "NCHW", channels: "luma" });
  const light = recognise([info("x", [1, 3, 480, 640])], [info("y", [1, 480, 640, 3])]);
  expect(light).toMatchObject({ scale: 1, fixedWidth: 640, fixedHeight: 480, fixedBatch: 1 });
  expect(light.output).toMatchObject({ layout: "NHWC", channels: "RGB" });
});

test("recogniseInput() reads dynamic sizes, f16, u8 and channels last", () => {
  const open = recognise([info("x", [-1, -1, -1, 3], "u8")], [info("y", [-1, 3, 128, 128], "f16")]);
  expect(open).toMatchObject({ scale: 2, fixedWidth: undefined, fixedHeight: undefined });
  expect(open.input).toMatchObject({ layout: "NHWC", dtype: "u8", scale: 1 });
  expect(open.output).toMatchObject({ layout: "NCHW", dtype: "f16", scale: 1 / 255 });
});

test("recogniseOutput() refuses a model that says it enlarges beyond all measure, whose tables alone would take minutes", () => {
  const enlarging = (scale: number): ImageModelSpec =>
    recognise([info("x", [1, 3, 1, 2])], [info("y", [1, 3, scale, 2 * scale])]);
  expect(enlarging(16384).scale).toBe(16384);
  expect(() => enlarging(2 ** 27)).toThrow(ModelError);
  expect(() => enlarging(16385)).toThrow("it may enlarge 16384 times at most");
});

test("recogniseOutput() takes ranges and colours from the caller, and the input's for the output", () => {
  const [inputs, outputs] = [[info("x", [1, 3, 8, 8])], [info("y", [1, 3, 8, 8])]];
  const wide = recognise(inputs, outputs, { range: "0-255", colour: "BGR" });
  expect(wide.input).toMatchObject({ scale: 1, channels: "BGR" });
  expect(wide.output).toMatchObject({ scale: 1, channels: "BGR" });
  const mixed = recognise(inputs, outputs, { range: "-1-1", outputRange: "0-1", colour: "BGR", outputColour: "RGB" });
  expect(mixed.input).toMatchObject({ mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] });
  expect(mixed.output).toMatchObject({ mean: [0, 0, 0], std: [1, 1, 1], channels: "RGB" });
  const normalised = recognise(inputs, outputs, { range: { mean: [0.1, 0.2, 0.3], std: 0.5 } });
  expect(normalised.input).toMatchObject({ mean: [0.1, 0.2, 0.3], std: [0.5, 0.5, 0.5] });
  expect(normalised.output).toMatchObject({ mean: [0, 0, 0], std: [1, 1, 1] });
});

test("recogniseOutput() picks the one output that is an image, or the one that was named", () => {
  const inputs = [info("x", [1, 3, 8, 16])];
  const outputs = [
    info("features", [1, 64, 8, 16]),
    info("scores", [1, 10]),
    info("small", [1, 3, 8, 16]),
    info("large", [1, 3, 32, 64]),
  ];
  expect(() => recognise(inputs, outputs)).toThrow('Hint: name one: `output: "small"`');
  expect(recognise(inputs, outputs, { output: "large" }).scale).toBe(4);
  expect(recognise(inputs, outputs.slice(0, 3)).output.name).toBe("small");
  expect(recognise(inputs, [info("depth", [1, 1, 8, 16])]).output.channels).toBe("grey");
  expect(() => recognise(inputs, outputs, { output: "huge" })).toThrow('it has no output "huge"');
});

test("needsProbe() is true where a size is left open, not where the batch is", () => {
  const model = (shape: number[]) => ({ inputs: [], outputs: [info("y", shape)], metadata: {} });
  expect(needsProbe(model([-1, 3, 8, 8]))).toBe(false);
  expect(needsProbe(model([1, 3, -1, -1]))).toBe(true);
  expect(needsProbe(model([]))).toBe(true);
});

test("what makes no images is refused with its tensors and a hint", () => {
  const output = info("y", [1, 3, 8, 8]);
  const cases: readonly (readonly [
    inputs: TensorInfo[],
    outputs: TensorInfo[],
    hints: Partial<ImageHints>,
    text: string,
  ])[] = [
    [[], [output], {}, "it must have one input, the image: it has 0"],
    [[info("x", [1, 3, 8, 8]), info("t", [1])], [output], {}, "it must have one input, the image: it has 2"],
    [[info("x", [1, 3, 8])], [output], {}, "its input must be f32, f16 or u8 with 4 axes: x: f32 [1, 3, 8]"],
    [[info("x", [1, 3, 8, 8], "i32")], [output], {}, "with 4 axes: x: i32 [1, 3, 8, 8]"],
    [[info("x", [1, 4, 8, 8])], [output], {}, "1 or 3 channels must lie on one of its axes: x: f32 [1, 4, 8, 8]"],
    [[info("x", [1, 3, 8, 3])], [output], {}, 'Hint: say where: `layout: "NCHW"` or "NHWC"'],
    [[info("x", [1, 4, 8, 8])], [output], { layout: "NCHW" }, "an image has 1 or 3 channels: the input has 4"],
    [[info("x", [1, 3, 8, 8])], [output], { colour: "luma" }, "the input has 3, and luma was asked for"],
    [[info("x", [1, 3, 8, 8])], [info("y", [1, 3, 12, 12])], {}, "an input of [1, 3, 8, 8] gives y [1, 3, 12, 12]"],
    [[info("x", [1, 3, 8, 8])], [info("y", [1, 3, 8, 16])], {}, "a whole number of times as large as the input"],
    [[info("x", [1, 3, 8, 8])], [info("y", [1, 84, 8400])], {}, "detectors are for `Detector`"],
    [
      [info("x", [1, 3, 3, 3])],
      [info("y", [1, 3, 3, 3])],
      { layout: "NCHW" },
      "Hint: say where the channels lie: `outputLayout:",
    ],
  ];
  for (const [inputs, outputs, hints, text] of cases) {
    const call = (): unknown => recognise(inputs, outputs, hints);
    expect(call).toThrow(ModelError);
    expect(call).toThrow('Cannot use "m.onnx" to transform images');
    expect(call).toThrow(text);
    expect(call).toThrow("\ninputs:\n");
  }
});
