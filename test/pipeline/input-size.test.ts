import { expect, test } from "bun:test";
import { type Image, imageOf } from "../../src/image/image.ts";
import { inputSizeFor } from "../../src/tasks/detect/detect-task.ts";

function image(width: number, height: number): Image {
  return imageOf(new Uint8Array(width * height * 3), { width, height });
}

const open = { fixedSize: undefined, size: [640, 640], rectangular: true, stride: 32 } as const;

test("inputSizeFor() keeps the model's own size", () => {
  expect(inputSizeFor([image(1920, 1080)], { ...open, fixedSize: [416, 320] })).toEqual([416, 320]);
});

test("inputSizeFor() takes the square unless rectangular", () => {
  expect(inputSizeFor([image(192, 108)], { ...open, rectangular: false })).toEqual([640, 640]);
});

test("inputSizeFor() takes the frame's ratio in multiples of the stride", () => {
  expect(inputSizeFor([image(1920, 1080)], open)).toEqual([640, 384]);
  expect(inputSizeFor([image(810, 1080)], open)).toEqual([480, 640]);
  expect(inputSizeFor([image(1, 1)], open)).toEqual([640, 640]);
  expect(inputSizeFor([image(1, 1000)], open)).toEqual([32, 640]);
});

test("inputSizeFor() of a mixed batch holds each image", () => {
  expect(inputSizeFor([image(1920, 1080), image(810, 1080)], open)).toEqual([640, 640]);
});
