/** @module ImageModel: a model that makes pictures of pictures, on a machine: super-resolution, enhancement, style. */

import { ClosedError, ImageError, message } from "../core/errors.ts";
import { formatBytes } from "../core/units.ts";
import type { Timing } from "../detector/detection.ts";
import { modelSource } from "../detector/model-source.ts";
import { bytesPerPixel, type Image, imageOf, type PackedImage } from "../image/image.ts";
import { packedImage } from "../image/rgb.ts";
import { type ImageSource, isImage, readSource } from "../image/source.ts";
import type { ModelInfo } from "../model/model-info.ts";
import { decodeLimits } from "../pipeline/decode-options.ts";
import { Ring } from "../pipeline/ring.ts";
import { type ImageModelConfig, type ImageModelOptions, parseImageModelOptions } from "./image-model-config.ts";
import type { ImageRecognition } from "./image-recognition.ts";
import { inOrder } from "./in-order.ts";
import { openTransform } from "./open-transform.ts";
import { type TileGrid, tileGrid } from "./tile-grid.ts";
import type { TransformBackend, TransformSlot } from "./transform-backend.ts";

/** What is made of one picture. */
export interface TransformResult {
  /** Tight rows over memory of its own, in the format of the source: files give RGB, or RGBA where they have alpha. */
  readonly image: Image;
  /** `decode` is 0 for pixels. On a GPU `infer` is everything from the first launch on. */
  readonly timing: Timing;
  /** How many tiles the picture was cut into. */
  readonly tiles: number;
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
  /** Ends the stream: no further picture is read, what is running ends as a call does, and the stream throws its reason. */
  readonly signal?: AbortSignal;
  /** Called with the error of one picture and its place in the sequence; the picture is left out of the results. */
  readonly onError?: (error: unknown, index: number) => void;
}

/** No larger picture is made: more bytes do not fit into what the encoders and most programs take. */
const MAX_BYTES = 2 ** 31 - 1;

/**
 * Makes pictures of pictures. Loading is the expensive step: keep the model, and close it when done.
 *
 * A picture larger than the model is cut into tiles that overlap; one smaller is filled up. A model for luma alone gets
 * the luma, and the colours are enlarged bicubically.
 *
 * @example Three times as large
 * ```ts
 * await using model = await ImageModel.load("super-resolution.onnx");
 * const { image } = await model.transform("street.jpg");
 * await Bun.write("large.png", await encodeImage(image, { format: "png" }));
 * ```
 */
export class ImageModel implements AsyncDisposable {
  readonly #backend: TransformBackend;
  readonly #config: ImageModelConfig;
  readonly #ring: Ring<TransformSlot>;
  readonly #name: string;
  #closed: Promise<void> | undefined;

  private constructor(backend: TransformBackend, config: ImageModelConfig, name: string) {
    this.#backend = backend;
    this.#config = config;
    this.#name = name;
    using stack = new DisposableStack();
    const slots = Array.from({ length: config.inFlight }, () => {
      const slot = backend.createSlot();
      stack.defer(() => slot.close());
      return slot;
    });
    this.#ring = new Ring(slots);
    stack.move();
  }

  /**
   * Load a model and make it ready to run.
   *
   * @param model path or `file:` URL of an ONNX file or a plan, or its bytes
   * @throws {OptionError} If an option is unknown or out of range
   * @throws {ModelError} If the file is missing, no model, or makes no pictures
   * @throws {UnavailableError} If the GPU was asked for and there is none, or no TensorRT
   * @throws {LibraryLoadError} If ONNX Runtime is nowhere, where the model runs on the CPU
   * @throws {TensorRtError} If TensorRT cannot build or load the engine; `PlanMismatchError` for another version's or GPU's
   * @throws {CudaError} If the GPU fails, or has not enough memory
   */
  static async load(model: string | URL | Uint8Array, options: ImageModelOptions = {}): Promise<ImageModel> {
    const config = parseImageModelOptions(options);
    const { source, name } = await modelSource(model);
    const backend = await openTransform(source, config);
    try {
      return new ImageModel(backend, config, name);
    } catch (error) {
      backend.close();
      throw error;
    }
  }

  /** What the model takes and makes. */
  get recognition(): ImageRecognition {
    return this.#backend.recognition;
  }

  /** How many times as large the pictures become. */
  get scale(): number {
    return this.#backend.recognition.scale;
  }

  /** Inputs, outputs and metadata of the model. */
  get model(): ModelInfo {
    return this.#backend.model;
  }

  /** The machine that runs it. */
  get backend(): Pick<TransformBackend, "kind" | "description"> {
    return this.#backend;
  }

  /**
   * The tiles that a picture of a size is cut into.
   *
   * @throws {ShapeError} If the overlap leaves nothing of a tile
   */
  tiles(width: number, height: number): TileGrid {
    return tileGrid(width, height, this.#backend.rules);
  }

  /**
   * Make a picture of one picture. Calls may overlap: those for which no slot is free wait in line.
   *
   * @param source path, URL, Blob, bytes, or decoded pixels; pixels must not change until the promise settles
   * @throws {ImageError} If it is missing or no picture, or what is made of it would be too large
   * @throws {ClosedError} If the model has been closed
   * @throws the signal's reason, if it was aborted
   */
  async transform(source: ImageSource, options: TransformOptions = {}): Promise<TransformResult> {
    this.#assertOpen();
    const { signal } = options;
    signal?.throwIfAborted();
    const started = performance.now();
    const slot = await this.#ring.acquire();
    try {
      signal?.throwIfAborted();
      return await this.#run(slot, source, started, signal);
    } finally {
      this.#ring.release(slot);
    }
  }

  /**
   * Make pictures of a sequence of pictures: several in flight, results in order, and no picture is read before a slot is
   * free for it.
   *
   * @param sources ends the stream when it ends
   * @param options `onError` is told what went wrong with one picture, which is then left out; without it the first such
   * error ends the stream
   * @throws the reason of `options.signal`
   */
  stream(
    sources: Iterable<ImageSource> | AsyncIterable<ImageSource>,
    options: TransformStreamOptions = {},
  ): AsyncGenerator<TransformStreamResult, void, undefined> {
    this.#assertOpen();
    const { onError, signal } = options;
    const call = signal === undefined ? {} : { signal };
    return inOrder(sources, {
      inFlight: this.#config.inFlight,
      run: (source) => this.transform(source, call),
      onError,
      signal,
    });
  }

  /** Refuse new calls, wait for those that are running, then free everything. Calling it again waits as well. */
  close(): Promise<void> {
    this.#closed ??= this.#release();
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #release(): Promise<void> {
    // Whatever happens to a slot.
    using stack = new DisposableStack();
    stack.defer(() => this.#backend.close());
    await this.#ring.close();
  }

  async #run(
    slot: TransformSlot,
    source: ImageSource,
    started: number,
    signal: AbortSignal | undefined,
  ): Promise<TransformResult> {
    const { image, name } = await this.#pixels(slot, source);
    const grid = this.tiles(image.width, image.height);
    const result = resultOf(image, this.scale, name);
    await slot.transform(image, grid, result, signal);
    const timing = { ...slot.timings, total: performance.now() - started };
    return { image: result, timing, tiles: grid.tiles.length };
  }

  async #pixels(
    slot: TransformSlot,
    source: ImageSource,
  ): Promise<{ readonly image: PackedImage; readonly name: string }> {
    slot.timings.decode = 0;
    if (isImage(source)) return { image: packedImage(imageOf(source.data, source)), name: "an image" };
    const { bytes, name } = await readSource(source);
    const { alpha } = this.#config;
    return { image: await slot.decode(bytes, name, { ...decodeLimits(this.#config), alpha }), name };
  }

  #assertOpen(): void {
    if (this.#closed !== undefined) throw new ClosedError("transform a picture", `ImageModel ${this.#name}`);
  }
}

/** Memory for what is made of a picture. */
function resultOf({ width, height, format }: PackedImage, scale: number, name: string): PackedImage {
  const pitchBytes = width * scale * bytesPerPixel(format);
  const byteLength = pitchBytes * height * scale;
  if (byteLength > MAX_BYTES) {
    const size = `${width * scale}x${height * scale} pixels, ${formatBytes(byteLength)}`;
    const found = `as what is made of it may have at most ${formatBytes(MAX_BYTES)}: it would have ${size}`;
    throw new ImageError(message(`transform ${JSON.stringify(name)}`, found, "transform parts of it"), name);
  }
  const data = new Uint8Array(new ArrayBuffer(byteLength));
  return { width: width * scale, height: height * scale, pitchBytes, format, data };
}
