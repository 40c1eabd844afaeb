/** @module CpuTransformSlot: one picture in flight on the CPU. */

import { Resource } from "../../core/resource.ts";
import type { PackedImage } from "../../image/image.ts";
import { type DecodedImage, type PictureDecodeOptions, PictureDecoder } from "../../image/picture-decoder.ts";
import type { Session } from "../../onnxruntime/session.ts";
import type { Size } from "../../pipeline/backend.ts";
import { BindingCache } from "../../pipeline/binding-cache.ts";
import { createStageTimings, type StageTimings } from "../../pipeline/stage-timings.ts";
import type { ImageRecognition } from "../image-recognition.ts";
import type { Padding, TileGrid } from "../tile-grid.ts";
import { TilePicker } from "../tile-picker.ts";
import { TilePlacer } from "../tile-placer.ts";
import type { TransformSlot } from "../transform-backend.ts";
import { TileBinding } from "./tile-binding.ts";

/** What all slots of a backend share. */
export interface CpuImageModel {
  readonly session: Session;
  readonly recognition: ImageRecognition;
  readonly padding: Padding;
  /** Tiles of a run, at most; exactly, where the model fixes it. */
  readonly batch: number;
}

/** Buffers of one picture in flight on the CPU: decoded pixels, input and output tensors of a batch of tiles. */
export class CpuTransformSlot extends Resource implements TransformSlot {
  readonly timings: StageTimings = createStageTimings();
  readonly #model: CpuImageModel;
  readonly #picker: TilePicker;
  readonly #placer: TilePlacer;
  readonly #bindings = new BindingCache<TileBinding>();
  #decoder: PictureDecoder | undefined;

  constructor(model: CpuImageModel, backend: Resource) {
    super("CpuTransformSlot", backend);
    this.#model = model;
    this.#picker = new TilePicker(model.recognition.input, model.padding);
    this.#placer = new TilePlacer(model.recognition.output, model.recognition.scale);
  }

  async decode(bytes: Uint8Array, source: string, options: PictureDecodeOptions): Promise<DecodedImage> {
    const started = performance.now();
    this.#decoder ??= PictureDecoder.create();
    const image = await this.#decoder.decode(bytes, source, options);
    this.timings.decode = performance.now() - started;
    return image;
  }

  async transform(
    image: PackedImage,
    grid: TileGrid,
    result: PackedImage,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const { timings } = this;
    const { size, tiles } = grid;
    const { batch } = this.#model;
    timings.preprocess = 0;
    timings.infer = 0;
    timings.postprocess = 0;
    for (let first = 0; first < tiles.length; first += batch) {
      signal?.throwIfAborted();
      const count = Math.min(batch, tiles.length - first);
      const started = performance.now();
      const binding = this.#bindingFor(count, size);
      for (let at = 0; at < count; at++) {
        const { x, y } = tiles[first + at]!;
        this.#picker.pick(image, size, x, y, binding.tiles, at);
      }
      const picked = performance.now();
      const tensor = await binding.run(signal);
      const inferred = performance.now();
      for (let at = 0; at < count; at++) this.#placer.place(tensor, at, size, tiles[first + at]!, image, result);
      timings.preprocess += picked - started;
      timings.infer += inferred - picked;
      timings.postprocess += performance.now() - inferred;
    }
  }

  /** Rows that a fixed batch has beyond the tiles keep what they held: nothing is made of them. */
  #bindingFor(count: number, size: Size): TileBinding {
    const { session, recognition } = this.#model;
    const batch = recognition.fixedBatch ?? count;
    return this.#bindings.find(batch, size) ?? this.#bindings.add(new TileBinding(session, recognition, batch, size));
  }

  protected release(): void {
    this.#decoder?.close();
    this.#bindings.close();
  }
}
