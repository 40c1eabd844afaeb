/** @module TransformBackend: the contract of the machine an image model runs on. `cpu/` and `gpu/` implement it. */

import type { PackedImage } from "../image/image.ts";
import type { DecodedImage, PictureDecodeOptions } from "../image/picture-decoder.ts";
import type { ModelInfo } from "../model/model-info.ts";
import type { Size } from "../pipeline/backend.ts";
import type { StageTimings } from "../pipeline/stage-timings.ts";
import type { ImageModelConfig } from "./image-model-config.ts";
import type { ImageInput, ImageRecognition } from "./image-recognition.ts";
import type { TileGrid, TileRules } from "./tile-grid.ts";

/**
 * Everything one picture in flight owns: buffers that only grow. One call at a time.
 */
export interface TransformSlot {
  /**
   * Turn the bytes of a picture file into pixels, in memory the slot owns until its next `decode`.
   *
   * @throws {ImageError} If the bytes are not a picture, truncated, or over the size limit
   */
  decode(bytes: Uint8Array, source: string, options: PictureDecodeOptions): Promise<DecodedImage>;
  /**
   * Run a picture's tiles and put them together.
   *
   * @param grid   the tiles the picture is cut into
   * @param result what is made: of the picture's format, as many times as large as the model says; all of it is written
   * @param signal ends the work before it begins, and on the CPU between two runs of the model
   * @throws {ShapeError} If the model makes another shape than it was recognised by
   * @throws the signal's reason, if it was aborted
   */
  transform(image: PackedImage, grid: TileGrid, result: PackedImage, signal: AbortSignal | undefined): Promise<void>;
  /** Milliseconds of each stage of the last picture; overwritten by the next. */
  readonly timings: StageTimings;
  /** Free the buffers. No call may be running. */
  close(): void;
}

/** An image model loaded on a machine. Closing it while slots are open is refused. */
export interface TransformBackend {
  readonly kind: "cpu" | "gpu";
  /** For people: `ONNX Runtime 1.30.0, CPU, 2 threads`. */
  readonly description: string;
  readonly model: ModelInfo;
  readonly recognition: ImageRecognition;
  /** How pictures are cut for the model. */
  readonly rules: TileRules;
  /** Make the buffers of one picture in flight; a child of the backend. */
  createSlot(): TransformSlot;
  close(): void;
}

/** Least side that a model of any size is given: smaller pictures are padded, as few models work on a handful of pixels. */
const SMALLEST_SIDE = 32;

/** What sides of a model are where the caller does not say: its own, if it is fixed, and they can be halved three times. */
const USUAL_MULTIPLE = 8;

/**
 * How pictures are cut for a model.
 *
 * @param limits least and largest size that the engine was built for, where there is one
 */
export function tileRules(
  { fixedWidth, fixedHeight }: Omit<ImageInput, "form">,
  config: Pick<ImageModelConfig, "tile" | "overlap" | "multiple">,
  limits?: { readonly smallest: Size; readonly largest: Size },
): TileRules {
  const isFixed = fixedWidth !== undefined && fixedHeight !== undefined;
  const isUsual = isFixed && fixedWidth % USUAL_MULTIPLE === 0 && fixedHeight % USUAL_MULTIPLE === 0;
  const multiple = config.multiple ?? (isUsual ? USUAL_MULTIPLE : 1);
  const least = Math.ceil(SMALLEST_SIDE / multiple) * multiple;
  const [width, height] = config.tile;
  const largest: Size = [Math.max(width, least), Math.max(height, least)];
  const { overlap } = config;
  if (limits === undefined) {
    return { fixedWidth, fixedHeight, smallest: [least, least], largest, multiple, overlap };
  }
  // An engine's least size wins over the tile that was asked for: it takes no smaller one.
  const bounded = ([0, 1] as const).map((axis) =>
    Math.max(limits.smallest[axis], Math.min(largest[axis], limits.largest[axis])),
  ) as [number, number];
  return { fixedWidth, fixedHeight, smallest: limits.smallest, largest: bounded, multiple, overlap };
}

/** The size of input that a model of open size is asked for its outputs' shapes with. */
export function probeSize(rules: TileRules): Size {
  const side = (fixed: number | undefined, axis: 0 | 1): number =>
    fixed ??
    Math.max(rules.smallest[axis], Math.min(rules.largest[axis], Math.ceil(64 / rules.multiple) * rules.multiple));
  return [side(rules.fixedWidth, 0), side(rules.fixedHeight, 1)];
}
