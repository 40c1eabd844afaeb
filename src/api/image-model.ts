/** @module ImageModel: a model that makes images of images, on a machine: super-resolution, enhancement, style. */

import { type Image, imageOf, isImage } from "../image/image.ts";
import { packedImage } from "../image/nv12.ts";
import type { ImageSource } from "../image/source.ts";
import type { FrameResult } from "../runtime/backend.ts";
import type { QueuedFrame } from "../runtime/batcher.ts";
import type { MadeImage, TiledImageSpec } from "../tasks/image/image-recognition.ts";
import { ImageTask } from "../tasks/image/image-task.ts";
import { type TileGrid, tileGrid } from "../tasks/image-grid.ts";
import type { Timing } from "../tasks/task-result.ts";
import { CallParser, type StreamRules } from "./call-options.ts";
import { type ImageModelConfig, type ImageModelOptions, parseImageModelOptions } from "./image-model-config.ts";
import { LoadedModel, type Opened, openModel, owned, tellFixedSize } from "./loaded-model.ts";
import type { ModelSource } from "./model-source.ts";
import type { StreamSummary } from "./stream.ts";

type OpenedImages = Opened<TiledImageSpec, undefined, MadeImage, Pick<ImageModelConfig, "inFlight" | "maxPixels">>;

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
  readonly signal?: AbortSignal | undefined;
}

/** Options of `ImageModel.stream`. */
export interface TransformStreamOptions extends StreamRules {}

/**
 * Makes images of images. Loading is the expensive step: keep the model, and close it when done.
 *
 * An image larger than the model's input is cut into overlapping tiles; a smaller one is padded. A model for luma gets
 * only the luma, and the colours are enlarged bicubically.
 *
 * @example Larger, as a super-resolution model makes it
 * ```ts
 * import { encodeImage, ImageModel } from "bun-tensorrt";
 *
 * await using model = await ImageModel.load("super-resolution.onnx");
 * const { image } = await model.transform("street.jpg");
 * await Bun.write("large.png", await encodeImage(image, { format: "png" }));
 * ```
 */
export class ImageModel extends LoadedModel<TiledImageSpec, undefined, MadeImage, TransformResult> {
  /** What the model is for. */
  readonly task = "image";

  /** @internal */
  constructor(opened: OpenedImages) {
    super(
      { ...opened, config: { ...opened.config, batch: 1, batchWaitMs: 0 } },
      {
        facade: "ImageModel",
        params: undefined,
        calls: new CallParser("transform an image"),
        paramsOf: () => undefined,
        read: resultOf,
      },
    );
  }

  /**
   * Load a model and make it ready to run.
   *
   * @param model path or address of an ONNX file or a plan, or its bytes
   * @throws {OptionError} If an option is unknown or out of range
   * @throws {ModelError} If the file is missing, no model, or makes no images
   * @throws {UnavailableError} If the GPU was asked for and there is none, or no TensorRT
   * @throws {LibraryLoadError} If ONNX Runtime is not found, where the model runs on the CPU
   * @throws {TensorRtError} If TensorRT cannot build or load the engine; `PlanMismatchError` for another version's or GPU's
   * @throws {CudaError} If the GPU fails, or has not enough memory
   */
  static async load(model: ModelSource, options: ImageModelOptions = {}): Promise<ImageModel> {
    const config = parseImageModelOptions(options);
    const opened = await openModel(model, config, () => new ImageTask(config));
    const loaded = owned(ImageModel, opened);
    const { fixedWidth: width, fixedHeight: height } = loaded.recognition.tiling;
    const fixed = width === undefined || height === undefined ? undefined : ([width, height] as const);
    if (options.tile !== undefined) tellFixedSize(config.tile, fixed, opened.name, "tile");
    return loaded;
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
   * @param source path, URL, Blob, body (`Response`, `Request`, stream), bytes, or decoded pixels; pixels must not change until the promise settles
   * @throws {ImageError} If it is missing or not an image, or its result would be too large
   * @throws {ClosedError} If the model has been closed
   * @throws the signal's reason, if it was aborted
   */
  async transform(source: ImageSource, options: TransformOptions = {}): Promise<TransformResult> {
    return this.one(source, options);
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
    return this.sequence(sources, options);
  }

  /** @internal Tiles are cut from interleaved pixels. */
  protected override submit(
    source: ImageSource,
    params: undefined,
    signal: AbortSignal | undefined,
  ): QueuedFrame<TransformResult> {
    return super.submit(isImage(source) ? packedImage(imageOf(source.data, source)) : source, params, signal);
  }
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
