import { expect, test } from "bun:test";
import { ShapeError } from "../../src/core/errors.ts";
import { createTensor, type Tensor, type TensorInfo } from "../../src/core/tensor.ts";
import { matchInputs, matchOutputs } from "../../src/onnxruntime/session.ts";

const IMAGES: TensorInfo = { name: "images", dtype: "f32", shape: [-1, 3, 32, 64] };
const SIZES: TensorInfo = { name: "orig_target_sizes", dtype: "i64", shape: [-1, 2] };
const images = createTensor("f32", [1, 3, 32, 64]);
const sizes = createTensor("i64", [1, 2]);

function refusal(tensors: Record<string, Tensor>): ShapeError {
  try {
    matchInputs([IMAGES, SIZES], tensors, '"a.onnx"');
  } catch (error) {
    expect(error).toBeInstanceOf(ShapeError);
    return error as ShapeError;
  }
  throw new Error("nothing was refused");
}

test("matchInputs() pairs by name, in the model's order", () => {
  const matched = matchInputs([IMAGES, SIZES], { orig_target_sizes: sizes, images }, '"a.onnx"');
  expect(matched).toEqual([
    { info: IMAGES, tensor: images },
    { info: SIZES, tensor: sizes },
  ]);
});

test("matchInputs() names an unknown input, and the nearest known one", () => {
  const error = refusal({ image: images, orig_target_sizes: sizes });
  expect(error.message).toBe('Cannot run "a.onnx": it has no input "image"\nHint: did you mean "images"?');
  expect(error.expected).toBe("inputs images, orig_target_sizes");
  expect(refusal({ pixel_values: images }).message).toEndWith("\nHint: its inputs images, orig_target_sizes");
});

test("matchInputs() names a missing input, with what was given", () => {
  expect(refusal({ images }).message).toBe(
    'Cannot run "a.onnx": input orig_target_sizes: i64 [?, 2] is missing, got images',
  );
  expect(refusal({}).message).toEndWith("input images: f32 [?, 3, 32, 64] is missing, got none");
  expect(refusal({ images, toString: sizes }).message).toContain('no input "toString"');
});

test("matchInputs() refuses another dtype or shape, and says when it looks like HWC", () => {
  const wrong = (tensor: Tensor) => refusal({ images: tensor, orig_target_sizes: sizes });
  expect(wrong(createTensor("f32", [1, 3, 33, 64])).message).toBe(
    'Cannot run "a.onnx": input "images" must be f32 [?, 3, 32, 64], got f32 [1, 3, 33, 64]',
  );
  expect(wrong(createTensor("f32", [1, 32, 64, 3])).message).toEndWith(
    "\nHint: the model wants CHW, this looks like HWC",
  );
  const error = wrong(createTensor("u8", [1, 3, 32, 64]));
  expect(error.message).toEndWith("got u8 [1, 3, 32, 64]\nHint: convert the elements to f32");
  expect([error.tensor, error.expected, error.actual]).toEqual(["images", "f32 [?, 3, 32, 64]", "u8 [1, 3, 32, 64]"]);
  expect(wrong(createTensor("f32", [3, 32, 64])).message).toContain("got f32 [3, 32, 64]");
});

test("matchInputs() takes every shape for an input declared without dimensions", () => {
  const info: TensorInfo = { name: "x", dtype: "f32", shape: [] };
  for (const shape of [[], [1], [2, 3]]) {
    const x = createTensor("f32", shape);
    expect(matchInputs([info], { x }, '"a.onnx"')).toEqual([{ info, tensor: x }]);
  }
});

test("matchOutputs() is all by default, else those asked for, once each", () => {
  expect(matchOutputs([IMAGES, SIZES], undefined, '"a.onnx"')).toEqual([IMAGES, SIZES]);
  expect(matchOutputs([IMAGES, SIZES], ["orig_target_sizes", "orig_target_sizes"], '"a.onnx"')).toEqual([SIZES]);
  expect(() => matchOutputs([IMAGES], ["boxes"], '"a.onnx"')).toThrow('Cannot run "a.onnx": it has no output "boxes"');
});
