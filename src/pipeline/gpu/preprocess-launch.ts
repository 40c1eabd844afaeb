/** @module PreprocessLaunch: the pre-processing of a whole batch as one launch. */

import { message, ShapeError } from "../../core/errors.ts";
import { formatShape } from "../../core/shape.ts";
import type { DeviceMemory, TypedDeviceMemory } from "../../cuda/buffer-view.ts";
import { channelsOf, type Preprocessing } from "../../image/preprocessing.ts";
import type { LaunchSpec } from "./kernel-launch.ts";
import { PICTURE_BYTES } from "./picture-table.ts";
import { valueTableLength } from "./value-table.ts";

/** Pixels of the input that one block writes. */
const TILE_WIDTH = 32;
const TILE_HEIGHT = 16;

/** The memory a launch reads and writes; addresses are fixed from then on, contents are not. */
export interface PreprocessMemory {
  /** The input: [N, channels, height, width] or [N, height, width, channels] of the pre-processing's dtype. */
  readonly output: TypedDeviceMemory;
  /** N regions, what {@linkcode PictureTable} packed. */
  readonly pictures: DeviceMemory;
  /** What `valueTable` gave. */
  readonly table: DeviceMemory;
}

function refuse(tensor: string, expected: string, actual: string): never {
  throw new ShapeError(message("pre-process pictures", `the ${tensor} must be ${expected}, got ${actual}`), {
    tensor,
    expected,
    actual,
  });
}

/**
 * Resize, pad and normalise every region of a batch: each element of the input is written, padding included.
 *
 * @throws {ShapeError} If the tensor is not what the pre-processing writes, or a table is too small
 */
export function preprocessLaunch(preprocessing: Preprocessing, memory: PreprocessMemory): LaunchSpec {
  const { output, pictures, table } = memory;
  const { resize, dtype, layout, colour } = preprocessing;
  const isPlanar = layout === "NCHW";
  const channels = channelsOf(preprocessing);
  const [batch = 0, second = 0, third = 0, fourth = 0] = output.shape;
  if (output.dtype !== dtype || output.shape.length !== 4 || (isPlanar ? second : fourth) !== channels) {
    const expected = `${dtype} ${formatShape(isPlanar ? [-1, channels, -1, -1] : [-1, -1, -1, channels])}`;
    refuse("input", expected, `${output.dtype} ${formatShape(output.shape)}`);
  }
  if (pictures.byteLength < batch * PICTURE_BYTES) {
    refuse("picture table", `at least ${batch * PICTURE_BYTES} bytes`, String(pictures.byteLength));
  }
  if (table.byteLength < valueTableLength(preprocessing) * 4) {
    refuse("value table", `at least ${valueTableLength(preprocessing) * 4} bytes`, String(table.byteLength));
  }
  const [height, width] = isPlanar ? [third, fourth] : [second, third];
  const module = resize === "antialias" ? "preprocess_antialias" : "preprocess";
  return {
    module,
    kernel: `${module}_${dtype}_${colour === "luma" ? "luma" : layout.toLowerCase()}`,
    config: { grid: [Math.ceil(width / TILE_WIDTH), Math.ceil(height / TILE_HEIGHT), batch], block: [32, 8, 1] },
    values: { output: output.pointer, pictures: pictures.pointer, table: table.pointer, width, height },
  };
}
