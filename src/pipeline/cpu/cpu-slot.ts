/** @module CpuSlot: one batch in flight on the CPU. */

import { Resource } from "../../core/resource.ts";
import type { Tensor } from "../../core/tensor.ts";
import { type Placement, unplaceBoxes } from "../../image/geometry.ts";
import type { Image } from "../../image/image.ts";
import { type DecodedImage, type PictureDecodeOptions, PictureDecoder } from "../../image/picture-decoder.ts";
import { Preprocessor } from "../../image/preprocessor.ts";
import type { SourceBytes } from "../../image/source.ts";
import { PixelCheck } from "../../model/box-units.ts";
import { Candidates } from "../../model/candidates.ts";
import { blockAt, type DetectionBlock } from "../../model/detection-block.ts";
import { gatherExtras } from "../../model/gather.ts";
import type { DecodeInput, Layout, Recognition } from "../../model/layout.ts";
import type { PlausibilityGuard } from "../../model/plausibility.ts";
import type { Selection } from "../../model/selection.ts";
import { Selector } from "../../model/selector.ts";
import type { Session } from "../../onnxruntime/session.ts";
import type { DecodeOutcome, Size, Slot } from "../backend.ts";
import { BindingCache } from "../binding-cache.ts";
import { decodeAll } from "../decode-all.ts";
import { sourcePlacement } from "../source-placement.ts";
import { createStageTimings, type StageTimings } from "../stage-timings.ts";
import { InputBinding } from "./input-binding.ts";

/** What all slots of a backend share. */
export interface CpuModel {
  readonly session: Session;
  readonly recognition: Recognition;
  readonly layout: Layout;
  readonly guard: PlausibilityGuard;
  /** Rows of every batch where the model fixes them. */
  readonly fixedBatch: number | undefined;
  readonly decodeOptions: PictureDecodeOptions;
}

/** Buffers of one batch in flight on the CPU: decoded pixels, input tensors, candidates, blocks. */
export class CpuSlot extends Resource implements Slot {
  readonly timings: StageTimings = createStageTimings();
  readonly placements: Placement[] = [];
  readonly #model: CpuModel;
  readonly #preprocessor: Preprocessor;
  readonly #decoders: PictureDecoder[] = [];
  readonly #bindings = new BindingCache<InputBinding>();
  readonly #candidates = new Candidates();
  readonly #selector = new Selector();
  readonly #pixels = new PixelCheck();
  readonly #blocks: DetectionBlock[] = [];
  /** Where the model ran last, or runs. */
  #running: InputBinding | undefined;
  readonly #decodeInput: { -readonly [Key in keyof DecodeInput]: DecodeInput[Key] } = {
    outputs: new Map(),
    index: 0,
    inputWidth: 0,
    inputHeight: 0,
    threshold: 0,
  };

  constructor(model: CpuModel, backend: Resource) {
    super("CpuSlot", backend);
    this.#model = model;
    this.#preprocessor = new Preprocessor(model.recognition.preprocessing);
  }

  decode(files: readonly SourceBytes[]): Promise<DecodeOutcome<DecodedImage>[]> {
    return this.decodeToHost(files);
  }

  decodeToHost(files: readonly SourceBytes[]): Promise<DecodeOutcome<DecodedImage>[]> {
    const { decodeOptions } = this.#model;
    // Each picture has a decoder of its own, and one takes one core.
    const decode = ({ bytes, name }: SourceBytes, index: number): Promise<DecodedImage> =>
      this.#decoderFor(index).decode(bytes, name, decodeOptions);
    return decodeAll(files, decode, this.timings);
  }

  preprocess(images: readonly Image[], size: Size): Promise<void> {
    const started = performance.now();
    const [width, height] = size;
    const binding = this.#bindingFor(images.length, size);
    this.placements.length = images.length;
    for (let index = 0; index < images.length; index++) {
      const image = images[index]!;
      const placement = this.#preprocessor.place(image, width, height);
      binding.fill(this.#preprocessor, image, index, placement);
      this.placements[index] = sourcePlacement(image, placement);
    }
    this.timings.preprocess = performance.now() - started;
    return Promise.resolve();
  }

  async infer(): Promise<void> {
    const started = performance.now();
    const binding = this.#bindings.current("infer");
    this.#running = binding;
    await binding.run();
    this.timings.infer = performance.now() - started;
  }

  postprocess(selection: Selection): Promise<readonly DetectionBlock[]> {
    const started = performance.now();
    const { layout, recognition, guard } = this.#model;
    const binding = this.#bindings.current("post-process");
    const input = this.#decodeInput;
    input.outputs = binding.outputs;
    [input.inputWidth, input.inputHeight] = binding.size;
    input.threshold = selection.threshold;
    const { extras } = recognition;
    for (let index = 0; index < this.placements.length; index++) {
      const block = blockAt(this.#blocks, index, selection.maxDetections, extras);
      input.index = index;
      this.#candidates.clear();
      layout.decode(recognition.plan, input, this.#candidates);
      this.#selector.select(this.#candidates, selection, recognition, block);
      if (extras !== undefined) gatherExtras(extras, input, block);
      unplaceBoxes(block.boxes, block.count, this.placements[index]!);
      this.#pixels.check(block, this.placements[index]!, recognition.layout);
      guard.check(block, this.placements[index]!);
    }
    this.timings.postprocess = performance.now() - started;
    return Promise.resolve(this.#blocks);
  }

  /** What it needs `detect` makes at once. */
  prepare(): undefined {
    return undefined;
  }

  async detect(images: readonly Image[], size: Size, selection: Selection): Promise<readonly DetectionBlock[]> {
    await this.preprocess(images, size);
    await this.infer();
    return this.postprocess(selection);
  }

  interrupt(): void {
    if (this.#running?.closed === false) this.#running.interrupt();
  }

  readInput(): Promise<Tensor> {
    return Promise.resolve(this.#bindings.current("read the input").lend());
  }

  readOutputs(): Promise<ReadonlyMap<string, Tensor>> {
    return Promise.resolve(this.#bindings.current("read the outputs").outputs);
  }

  #bindingFor(images: number, size: Size): InputBinding {
    const { session, recognition, fixedBatch } = this.#model;
    const batch = fixedBatch ?? images;
    return this.#bindings.find(batch, size) ?? this.#bindings.add(new InputBinding(session, recognition, batch, size));
  }

  #decoderFor(index: number): PictureDecoder {
    const known = this.#decoders[index];
    if (known !== undefined) return known;
    const decoder = PictureDecoder.create();
    this.#decoders[index] = decoder;
    return decoder;
  }

  protected release(): void {
    for (const decoder of this.#decoders) decoder?.close();
    this.#bindings.close();
  }
}
