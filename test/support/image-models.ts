/** @module Image models small enough to be made by a test: images in, images out. */

import type { DType } from "../../src/core/tensor.ts";
import { imageOf, type PackedFormat, type PackedImage } from "../../src/image/image.ts";
import { chance } from "./chance.ts";
import { onnxModel, type ValueSpec } from "./onnx-writer.ts";

type Dims = NonNullable<ValueSpec["shape"]>;

/** What comes out is what went in, under the names `pixels` and `image`. */
export function identityImageModel(shape: Dims, dtype: DType = "f32"): Uint8Array<ArrayBuffer> {
  return onnxModel({
    nodes: [{ op: "Identity", inputs: ["pixels"], outputs: ["image"] }],
    inputs: [{ name: "pixels", dtype, shape }],
    outputs: [{ name: "image", dtype, shape }],
  });
}

/**
 * Every pixel twice in each direction, or as often as asked for.
 *
 * @param shape    of the input
 * @param declared of the output
 */
export function nearestModel(
  shape: Dims,
  declared: Dims,
  layout: "NCHW" | "NHWC" = "NCHW",
  factor = 2,
): Uint8Array<ArrayBuffer> {
  const scales = layout === "NCHW" ? [1, 1, factor, factor] : [1, factor, factor, 1];
  return onnxModel({
    nodes: [
      {
        op: "Resize",
        inputs: ["pixels", "", "scales"],
        outputs: ["image"],
        attributes: { mode: "nearest", coordinate_transformation_mode: "asymmetric", nearest_mode: "floor" },
      },
    ],
    inputs: [{ name: "pixels", dtype: "f32", shape }],
    outputs: [{ name: "image", dtype: "f32", shape: declared }],
    initializers: [{ name: "scales", dtype: "f32", shape: [4], data: Float32Array.from(scales) }],
  });
}

/** Two convolutions of 3 × 3: each pixel sees 2 pixels around it. [N, 3, height, width] in 0–1. */
export function blurModel(shape: Dims): Uint8Array<ArrayBuffer> {
  const random = chance(5);
  const weights = Float32Array.from({ length: 81 }, () => (random() - 0.3) / 9);
  const attributes = { pads: [1, 1, 1, 1] };
  return onnxModel({
    nodes: [
      { op: "Conv", inputs: ["pixels", "weights"], outputs: ["once"], attributes },
      { op: "Conv", inputs: ["once", "weights"], outputs: ["image"], attributes },
    ],
    inputs: [{ name: "pixels", dtype: "f32", shape }],
    outputs: [{ name: "image", dtype: "f32", shape }],
    initializers: [{ name: "weights", dtype: "f32", shape: [3, 3, 3, 3], data: weights }],
  });
}

/** The mean of R, G and B: three channels in, one out. */
export function meanModel(height: number, width: number): Uint8Array<ArrayBuffer> {
  return onnxModel({
    nodes: [{ op: "ReduceMean", inputs: ["pixels"], outputs: ["image"], attributes: { axes: [1], keepdims: 1 } }],
    inputs: [{ name: "pixels", dtype: "f32", shape: [1, 3, height, width] }],
    outputs: [{ name: "image", dtype: "f32", shape: [1, 1, height, width] }],
  });
}

/** The mean of all images of a batch: [n, 3, h, w] in, [1, 3, h, w] out. */
export function batchMeanModel(): Uint8Array<ArrayBuffer> {
  return onnxModel({
    nodes: [{ op: "ReduceMean", inputs: ["pixels"], outputs: ["image"], attributes: { axes: [0], keepdims: 1 } }],
    inputs: [{ name: "pixels", dtype: "f32", shape: ["n", 3, "h", "w"] }],
    outputs: [{ name: "image", dtype: "f32", shape: [1, 3, "h", "w"] }],
  });
}

/** Noise, with random bytes between the rows where `pitchBytes` leaves room. */
export function noiseImage(width: number, height: number, format: PackedFormat = "RGB", padBytes = 0): PackedImage {
  const random = chance(width * 1000 + height);
  const pitchBytes = width * (format === "RGBA" ? 4 : 3) + padBytes;
  const data = new Uint8Array(new ArrayBuffer(pitchBytes * height));
  for (let at = 0; at < data.length; at++) data[at] = Math.floor(random() * 256);
  return imageOf(data, { width, height, format, pitchBytes });
}

/** The bytes of the pixels alone, row by row. */
export function tightPixels({ data, width, height, pitchBytes, format }: PackedImage): Uint8Array {
  const rowBytes = width * (format === "RGBA" ? 4 : 3);
  const tight = new Uint8Array(rowBytes * height);
  for (let y = 0; y < height; y++) tight.set(data.subarray(y * pitchBytes, y * pitchBytes + rowBytes), y * rowBytes);
  return tight;
}
