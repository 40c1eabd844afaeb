/** @module Pipeline: pictures from anywhere in, kept boxes out, over one backend and its slots. */

import { type Image, imageOf } from "../image/image.ts";
import { type ImageSource, isImage, readSource } from "../image/source.ts";
import type { DetectionBlock } from "../model/detection-block.ts";
import type { Selection } from "../model/selection.ts";
import type { Backend, Size, Slot } from "./backend.ts";
import { inputSizeFor } from "./input-size.ts";
import { Ring } from "./ring.ts";
import type { StageTimings } from "./stage-timings.ts";

/** What a pipeline is made with. */
export interface PipelineOptions {
  /** Batches in flight: each owns its buffers. */
  readonly inFlight: number;
  /** Input size of a model with dynamic height and width. */
  readonly size: Size;
  /** Give such a model the pictures' own ratio. */
  readonly rectangular: boolean;
  /** Most pictures a run is given, at most the backend's `maxBatch`. */
  readonly batch: number;
}

/** One picture's result while its slot is held. Everything in it is overwritten once `read` has returned. */
export interface FrameResult {
  readonly block: DetectionBlock;
  /** Size of the picture in pixels. */
  readonly width: number;
  readonly height: number;
  /** Of the whole batch. */
  readonly timings: StageTimings;
}

/** A picture's result, or why there is none. */
export type Outcome<T> = { readonly value: T } | { readonly error: unknown };

/** A backend with slots in flight. Owns both; `close` waits for the frames that are running. */
export class Pipeline {
  readonly backend: Backend;
  /** Most pictures a run is given. */
  readonly batch: number;
  /** Batches in flight. */
  readonly inFlight: number;
  readonly #ring: Ring<Slot>;
  readonly #options: PipelineOptions;

  /** Makes the slots, and owns the backend once that has gone well. */
  constructor(backend: Backend, options: PipelineOptions) {
    this.backend = backend;
    this.batch = options.batch;
    this.inFlight = options.inFlight;
    this.#options = options;
    using stack = new DisposableStack();
    const slots = Array.from({ length: options.inFlight }, () => {
      const slot = backend.createSlot();
      stack.defer(() => slot.close());
      return slot;
    });
    this.#ring = new Ring(slots);
    stack.move();
  }

  /** Size of the model's input for these pictures, in pixels. */
  sizeFor(images: readonly Image[]): Size {
    const { fixedSize, stride } = this.backend.recognition;
    return inputSizeFor(images, { fixedSize, stride, ...this.#options });
  }

  /**
   * Hold a slot for a piece of work; waits while all are busy.
   *
   * @param work what is done with the slot; nothing of the slot may be used after it
   * @throws {ClosedError} If the pipeline is closing
   */
  async withSlot<T>(work: (slot: Slot) => Promise<T>): Promise<T> {
    const slot = await this.#ring.acquire();
    try {
      return await work(slot);
    } finally {
      this.#ring.release(slot);
    }
  }

  /**
   * Run a batch. A picture that cannot be read or decoded fails alone: the others are detected.
   *
   * @param sources   1 to `batch` pictures
   * @param selection which rows are kept
   * @param read      copies a result out; called once a picture, before the slot is used again
   * @returns one outcome a source, in order
   * @throws {OnnxRuntimeError} If the model itself fails
   */
  run<T>(
    sources: readonly ImageSource[],
    selection: Selection,
    read: (result: FrameResult) => T,
  ): Promise<Outcome<T>[]> {
    return this.withSlot(async (slot) => {
      const outcomes: (Outcome<T> | undefined)[] = sources.map(() => undefined);
      const images: Image[] = [];
      const rows: number[] = [];
      slot.timings.decode = 0;
      for (const [row, source] of sources.entries()) {
        try {
          images.push(await imageFrom(slot, source, images.length));
          rows.push(row);
        } catch (error) {
          outcomes[row] = { error };
        }
      }
      if (images.length > 0) {
        const blocks = await slot.detect(images, this.sizeFor(images), selection);
        for (const [index, row] of rows.entries()) {
          const { sourceWidth: width, sourceHeight: height } = slot.placements[index]!;
          outcomes[row] = { value: read({ block: blocks[index]!, width, height, timings: slot.timings }) };
        }
      }
      return outcomes as Outcome<T>[];
    });
  }

  /** Refuse new frames, wait for those that are running, then free everything. */
  async close(): Promise<void> {
    await this.#ring.close();
    this.backend.close();
  }
}

/**
 * Pixels of a source, in memory of the slot unless they were decoded already.
 *
 * @param index which picture of the batch
 * @throws {ImageError} If it is missing, or no picture
 */
export async function imageFrom(slot: Slot, source: ImageSource, index: number): Promise<Image> {
  if (isImage(source)) {
    imageOf(source.data, source);
    return source;
  }
  const { bytes, name } = await readSource(source);
  return slot.decode(bytes, index, name);
}
