/** @module TileLaunches: the launches around the model: a batch of tiles into the input, and out of the output. */

import { message, ShapeError } from "../../core/errors.ts";
import { formatShape, sameShape } from "../../core/shape.ts";
import type { DeviceMemory, TypedDeviceMemory } from "../../cuda/buffer-view.ts";
import type { Size } from "../../image/geometry.ts";
import { lumaLine } from "../../image/preprocess-values.ts";
import type { LaunchSpec } from "../../pipeline/gpu/kernel-launch.ts";
import { FRAME_BYTES, TILE_BYTES } from "./frame-table.ts";
import type { ImageRecognition } from "./image-recognition.ts";
import { levelLine, type PixelChannels, type PixelTensor, pixelShape } from "./pixel-tensor.ts";
import type { Padding } from "./tile-grid.ts";

/** Pixels of a tensor that one block works on. */
const BLOCK_WIDTH = 32;
const BLOCK_HEIGHT = 8;

const CHANNEL_CODES: Readonly<Record<PixelChannels, number>> = { RGB: 0, BGR: 1, luma: 2, grey: 3 };

/** The memory the launches read and write; addresses are fixed from then on, contents are not. */
export interface TileMemory {
  /** One frame: {@linkcode FRAME_BYTES}. */
  readonly frame: DeviceMemory;
  /** A tile for each row of the batch: {@linkcode TILE_BYTES} each. */
  readonly tiles: DeviceMemory;
  /** f32 [3, 256], what `levelTable` gave for the input. */
  readonly levels: DeviceMemory;
  /** i32 [scale, 5], what `cubicPhases` gave. */
  readonly phases: DeviceMemory;
  /** The model's input and output. */
  readonly input: TypedDeviceMemory;
  readonly output: TypedDeviceMemory;
}

function check(tensor: TypedDeviceMemory, form: PixelTensor, batch: number, size: Size): void {
  const shape = pixelShape(form, batch, size);
  if (tensor.dtype === form.dtype && sameShape(tensor.shape, shape)) return;
  const expected = `${form.dtype} ${formatShape(shape)}`;
  const actual = `${tensor.dtype} ${formatShape(tensor.shape)}`;
  const found = `tensor ${JSON.stringify(form.name)} must be ${expected}, got ${actual}`;
  const hint = "say what the sides of an input are multiples of: `multiple: 8`, 16 or 32";
  throw new ShapeError(message("make a picture", found, hint), { tensor: form.name, expected, actual });
}

function checkTable(name: string, table: DeviceMemory, bytes: number): void {
  if (table.byteLength >= bytes) return;
  const expected = `at least ${bytes} bytes`;
  const found = `the table of ${name} must be ${expected}, got ${table.byteLength}`;
  throw new ShapeError(message("make a picture", found), { tensor: name, expected, actual: String(table.byteLength) });
}

function grid([width, height]: Size, batch: number): LaunchSpec["config"] {
  return {
    grid: [Math.ceil(width / BLOCK_WIDTH), Math.ceil(height / BLOCK_HEIGHT), batch],
    block: [BLOCK_WIDTH, BLOCK_HEIGHT, 1],
  };
}

/**
 * Fill the input: every element of every row of the batch is written.
 *
 * @param size of a tile in source pixels
 * @throws {ShapeError} If the tensor is not what was recognised, or a table is too small
 */
export function pickLaunch(
  recognition: ImageRecognition,
  padding: Padding,
  size: Size,
  memory: TileMemory,
): LaunchSpec {
  const { input: form } = recognition;
  const { input, frame, tiles, levels } = memory;
  const [width, height] = size;
  const batch = input.shape[0] ?? 0;
  check(input, form, batch, size);
  checkTable("frames", frame, FRAME_BYTES);
  checkTable("tiles", tiles, batch * TILE_BYTES);
  checkTable("levels", levels, 3 * 256 * 4);
  const line = lumaLine(form);
  return {
    module: "transform",
    kernel: `transform_pick_${form.dtype}`,
    config: grid(size, batch),
    values: {
      tensor: input.pointer,
      frame: frame.pointer,
      tiles: tiles.pointer,
      levels: levels.pointer,
      width,
      height,
      channels: CHANNEL_CODES[form.channels],
      planar: form.layout === "NCHW" ? 1 : 0,
      reflect: padding === "reflect" ? 1 : 0,
      slope: line.slope,
      offset: line.offset,
    },
  };
}

/**
 * Write what is kept of every tile of the batch into the picture that is made.
 *
 * @param size of a tile in source pixels
 * @throws {ShapeError} If the tensor is not what was recognised, or a table is too small
 */
export function placeLaunch(recognition: ImageRecognition, size: Size, memory: TileMemory): LaunchSpec {
  const { output: form, scale } = recognition;
  const { input, output, frame, tiles, phases } = memory;
  const [width, height] = size;
  const batch = input.shape[0] ?? 0;
  const large: Size = [width * scale, height * scale];
  check(output, form, batch, large);
  checkTable("frames", frame, FRAME_BYTES);
  checkTable("tiles", tiles, batch * TILE_BYTES);
  checkTable("phases", phases, scale * 5 * 4);
  const [first, second, third] = [0, 1, 2].map((channel) => levelLine(form, channel));
  return {
    module: "transform",
    kernel: `transform_place_${form.dtype}`,
    config: grid(large, batch),
    values: {
      frame: frame.pointer,
      tiles: tiles.pointer,
      tensor: output.pointer,
      phases: phases.pointer,
      width,
      height,
      scale,
      channels: CHANNEL_CODES[form.channels],
      planar: form.layout === "NCHW" ? 1 : 0,
      slope0: first!.slope,
      offset0: first!.offset,
      slope1: second!.slope,
      offset1: second!.offset,
      slope2: third!.slope,
      offset2: third!.offset,
    },
  };
}
