/** @module ImageModel: a model that makes images of images, on a machine: super-resolution, enhancement, style. */

import { openBackends } from "../accelerators/accelerator.ts";
import { logger } from "../core/log.ts";
import { type Image, imageOf, isImage } from "../image/image.ts";
import { packedImage } from "../image/nv12.ts";
import type { ImageSource } from "../image/source.ts";
import type { Backend } from "../runtime/backend.ts";
import type { QueuedFrame } from "../runtime/batcher.ts";
import type { FrameResult } from "../runtime/pipeline.ts";
import type { MadeImage, TiledImageSpec } from "../tasks/image/image-recognition.ts";
import { ImageTask } from "../tasks/image/image-task.ts";
import { type TileGrid, tileGrid } from "../tasks/image/tile-grid.ts";
import type { Timing } from "../tasks/task-result.ts";
import { type ImageModelConfig, type ImageModelOptions, parseImageModelOptions } from "./image-model-config.ts";
import { LoadedModel, owning } from "./loaded-model.ts";
import { modelSource } from "./model-source.ts";
import type { StreamSummary } from "./stream.ts";

type ImageBackend = Backend<TiledImageSpec, undefined, MadeImage>;

/** What is made of one image. */
export interface TransformResult {
  /** Tight rows over memory of its own, in the format of the source: files give RGB, or RGBA where they have alpha. */
  readonly image: Image;
  /** `decode` is 0 for pixels. On a GPU `infer` is everything from the first launch on. */
  readonly timing: Timing;
  /** How many tiles the image was cut into. */
  readonly tiles: number;
  /** Why some of the image's pixels are not those of its file, where damaged ones are taken. */
  readonly damage?: string;
}

/** A result of a stream. */
export interface TransformStreamResult extends TransformResult {
  /** Place in the sequence, from 0 on. */
  readonly index: number;
}

/** Options of one call. */
export interface TransformOptions {
  /** Ends the work before it begins, and on the CPU between two runs of the model; the promise rejects with its reason. */
  readonly signal?: AbortSignal;
}

/** Options of `ImageModel.stream`. */
export interface TransformStreamOptions {
  /** Ends the stream: no further image is read, what is running ends as a call does, and the stream throws its reason. */
  readonly signal?: AbortSignal;
  /** Called with the error of one image and its place in the sequence; the image is skipped in the results. */
  readonly onError?: (error: unknown, index: number) => void;
}

/**
 * Makes images of images. Loading is the expensive step: keep the model, and close it when done.
 *
 * An image larger than the model's input is cut into overlapping tiles; a smaller one is padded. A model for luma gets
 * only the luma, and the colours are enlarged bicubically.
 *
 * @example Three times as large
 * ```ts
 * await using model = await ImageModel.load("super-resolution.onnx");
 * const { image } = await model.transform("street.jpg");
 * await Bun.write("large.png", await encodeImage(image, { format: "png" }));
 * ```
 */
export class ImageModel extends LoadedModel<TiledImageSpec, undefined, MadeImage, TransformResult> {
  /** What the model is for. */
  readonly task = "image";

  private constructor(
    backends: readonly ImageBackend[],
    { inFlight, maxPixels }: Pick<ImageModelConfig, "inFlight" | "maxPixels">,
    name: string,
  ) {
    const label = `ImageModel ${name}`;
    super(backends, { label, inFlight, batch: 1, batchWaitMs: 0, maxPixels, params: undefined, read: resultOf });
  }

  /**
   * Load a model and make it ready to run.
   *
   * @param model path or `file:` URL of an ONNX file or a plan, or its bytes
   * @throws {OptionError} If an option is unknown or out of range
   * @throws {ModelError} If the file is missing, no model, or makes no images
   * @throws {UnavailableError} If the GPU was asked for and there is none, or no TensorRT
   * @throws {LibraryLoadError} If ONNX Runtime is not found, where the model runs on the CPU
   * @throws {TensorRtError} If TensorRT cannot build or load the engine; `PlanMismatchError` for another version's or GPU's
   * @throws {CudaError} If the GPU fails, or has not enough memory
   */
  static async load(model: string | URL | Uint8Array, options: ImageModelOptions = {}): Promise<ImageModel> {
    const config = parseImageModelOptions(options);
    const { source, name } = await modelSource(model);
    const backends = await openBackends(source, new ImageTask(config), config, [config.device]);
    const loaded = ImageModel.over(backends, config, name);
    const { fixedWidth, fixedHeight } = loaded.recognition.tiling;
    const size = `${fixedWidth}x${fixedHeight}`;
    if (
      options.tile !== undefined &&
      fixedWidth !== undefined &&
      fixedHeight !== undefined &&
      config.tile.join("x") !== size
    )
      logger.warn(`Ignoring \`tile\`: the input of the model ${name} is fixed at ${size}`);
    return loaded;
  }

  /** @internal An image model over one that was loaded as one; the backends are closed if it cannot be made. */
  static over(
    backends: readonly ImageBackend[],
    config: Pick<ImageModelConfig, "inFlight" | "maxPixels">,
    name: string,
  ): ImageModel {
    return owning(backends, () => new ImageModel(backends, config, name));
  }

  /** How many times as large the images become. */
  get scale(): number {
    return this.recognition.scale;
  }

  /**
   * The tiles that an image of a size is cut into.
   *
   * @throws {ShapeError} If the overlap leaves nothing of a tile
   */
  tiles(width: number, height: number): TileGrid {
    return tileGrid(width, height, this.recognition.tiling);
  }

  /**
   * Make an image of one image. Calls may overlap: those for which no slot is free wait in line.
   *
   * @param source path, URL, Blob, bytes, or decoded pixels; pixels must not change until the promise settles
   * @throws {ImageError} If it is missing or not an image, or its result would be too large
   * @throws {ClosedError} If the model has been closed
   * @throws the signal's reason, if it was aborted
   */
  async transform(source: ImageSource, options: TransformOptions = {}): Promise<TransformResult> {
    return this.#lineUp(source, options.signal).promise;
  }

  /**
   * Make images of a sequence of images: several in flight, results in order, and no image is read before a slot is
   * free for it.
   *
   * @param sources ends the stream when it ends
   * @param options `onError` gets the error of one image, which is then skipped; without it the first such error
   * ends the stream
   * @throws the reason of `options.signal`
   */
  stream(
    sources: Iterable<ImageSource> | AsyncIterable<ImageSource>,
    options: TransformStreamOptions = {},
  ): AsyncGenerator<TransformStreamResult, StreamSummary, undefined> {
    this.assertOpen("transform an image");
    const { onError, signal } = options;
    return this.inOrder(sources, {
      policy: "all",
      submit: (source) => this.#lineUp(source),
      onError,
      onDrop: undefined,
      signal,
    });
  }

  #lineUp(source: ImageSource, signal?: AbortSignal): QueuedFrame<TransformResult> {
    const frame = isImage(source) ? packed(source) : source;
    return this.submit(frame, undefined, "transform an image", signal);
  }
}

/** Tiles are cut from interleaved pixels. */
function packed(image: Image): Image {
  return packedImage(imageOf(image.data, image));
}

function resultOf({ output, timings, damage }: FrameResult<MadeImage>, startedAt: number): TransformResult {
  const { image, tiles } = output;
  return {
    image,
    tiles,
    timing: { ...timings, total: performance.now() - startedAt },
    ...(damage === undefined ? {} : { damage }),
  };
}
