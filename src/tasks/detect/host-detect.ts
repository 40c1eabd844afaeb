/** @module Host detect: images in, kept boxes out, around a model in host memory. The reference for every device. */

import type { DecodeInput, Head, ModelSpec, RecogniseOptions } from "../../heads/head.ts";
import { gatherExtras } from "../../heads/outputs.ts";
import { decoderOf } from "../../heads/registry.ts";
import { pointsToSource, type Region, type Size, sourceRegion } from "../../image/geometry.ts";
import type { Image } from "../../image/image.ts";
import { Preprocessor } from "../../image/preprocessor.ts";
import { blockAt, Candidates, type DetectionBlock, type RowExtra } from "../../model/rows.ts";
import type { HostTensors, HostWork, PixelSize } from "../../runtime/task.ts";
import { type SlicePlan, USUAL_SLICES } from "../image-grid.ts";
import { Slicer } from "../slices/slicer.ts";
import { type NmsOptions, Selector, USUAL_SELECTION } from "./nms.ts";
import { PixelCheck, type PlausibilityGuard } from "./plausibility.ts";

/** What the part of a slot may be told. */
type HostDetectOptions = Pick<RecogniseOptions, "heads"> & {
  readonly slices?: SlicePlan | undefined;
  readonly batch?: number | undefined;
};

/** What one slot needs to detect: a region an image, or several of one image, tables and candidates that only grow. */
export class HostDetect implements HostWork<NmsOptions, DetectionBlock> {
  readonly placements: Region[] = [];
  readonly #recognition: ModelSpec;
  readonly #extras: readonly Pick<RowExtra, "length">[] | undefined;
  readonly #guard: PlausibilityGuard;
  readonly #decode: Head["decode"];
  readonly #preprocessor: Preprocessor;
  readonly #candidates = new Candidates();
  readonly #selector = new Selector();
  readonly #pixels = new PixelCheck();
  readonly #blocks: DetectionBlock[] = [];
  readonly #ownSlicer: Slicer;
  /** Where the images of the batch are cut into slices. */
  #slicer: Slicer | undefined;
  /** What images are cut into where a call does not say. */
  readonly #slices: SlicePlan | undefined;
  readonly #mostSlices: number;
  readonly #decodeInput: { -readonly [Key in keyof DecodeInput]: DecodeInput[Key] } = {
    outputs: new Map(),
    index: 0,
    inputWidth: 0,
    inputHeight: 0,
    imageRight: 0,
    imageBottom: 0,
    threshold: 0,
    pushed: this.#candidates,
  };
  #images: readonly Image[] = [];
  /** Of the batch. */
  #selection = USUAL_SELECTION;

  /**
   * @param options heads of the caller's, the slices that an image is cut into where a call does not say, and most of them in a run
   * @param extras  what a row has beside box, score and class
   */
  constructor(
    recognition: ModelSpec,
    guard: PlausibilityGuard,
    { heads, slices, batch = 1 }: HostDetectOptions = {},
    extras: readonly Pick<RowExtra, "length">[] | undefined = recognition.extras,
  ) {
    this.#recognition = recognition;
    this.#extras = extras;
    this.#guard = guard;
    this.#decode = decoderOf(recognition, heads);
    this.#preprocessor = new Preprocessor(recognition.preprocessing);
    this.#ownSlicer = new Slicer({ ...recognition, ...(extras && { extras: extras as RowExtra[] }) });
    this.#slices = slices;
    this.#mostSlices = batch > 1 ? batch : USUAL_SLICES;
  }

  get rows(): number | undefined {
    return this.#slicer === undefined ? undefined : this.#mostSlices;
  }

  /** What {@linkcode begin} would return. */
  regions(images: readonly PixelSize[], params?: NmsOptions): number {
    this.#choose(params);
    return this.#slicer?.count(images[0]!) ?? images.length;
  }

  #choose(params: NmsOptions | undefined): void {
    const slices = params?.slices ?? this.#slices;
    this.#slicer = slices ? this.#ownSlicer.use(slices) : undefined;
  }

  begin(images: readonly Image[], [width, height]: Size, params?: NmsOptions): number {
    this.#choose(params);
    this.#images = images;
    this.#decodeInput.inputWidth = width;
    this.#decodeInput.inputHeight = height;
    this.placements.length = this.#slicer?.begin(images[0]!, [width, height]) ?? images.length;
    return this.placements.length;
  }

  fill(tensors: HostTensors, region: number, row: number): void {
    const image = this.#images[this.#slicer === undefined ? region : 0]!;
    const { inputWidth, inputHeight } = this.#decodeInput;
    const placement = this.#slicer?.regions[region] ?? this.#preprocessor.place(image, inputWidth, inputHeight);
    tensors.fill(this.#preprocessor, image, row, placement);
    this.placements[region] = sourceRegion(image, placement);
  }

  finish(tensors: HostTensors, region: number, row: number, selection: NmsOptions): void {
    const recognition = this.#recognition;
    const input = this.#decodeInput;
    const placement = this.placements[region]!;
    const block = blockAt(this.#blocks, region, selection.maxDetections, this.#extras);
    this.#selection = selection;
    input.outputs = tensors.outputs;
    input.threshold = selection.threshold;
    input.index = row;
    input.imageRight = Math.min(input.inputWidth, placement.padX + placement.contentWidth);
    input.imageBottom = Math.min(input.inputHeight, placement.padY + placement.contentHeight);
    this.#candidates.clear();
    this.#decode(recognition.plan, input, this.#candidates);
    this.select(this.#candidates, selection, input, block);
    this.#pixels.checkReach(block, input.inputWidth, input.inputHeight, recognition);
    this.gather(input, block);
    this.mapRows(block, input, placement);
    this.#pixels.check(block, placement, recognition, selection);
    this.#guard.check(block, placement, selection);
  }

  /** Fetch for the kept rows what they have beside box, score and class. */
  protected gather(input: DecodeInput, block: DetectionBlock): void {
    const { extras } = this.#recognition;
    if (extras !== undefined) gatherExtras(extras, input, block);
  }

  /** Fill the block with the kept rows, in input pixels. */
  protected select(candidates: Candidates, selection: NmsOptions, _: DecodeInput, block: DetectionBlock): void {
    this.#selector.select(candidates, selection, this.#recognition, block);
  }

  /** Map the kept rows, and what was fetched for them, to source pixels. */
  protected mapRows(block: DetectionBlock, _: DecodeInput, region: Region): void {
    boxesToSource(block.boxes, block.count, region);
  }

  end(): readonly DetectionBlock[] {
    this.#images = [];
    return this.#slicer === undefined ? this.#blocks : [this.#slicer.merge(this.#blocks, this.#selection)];
  }
}

/**
 * Map boxes from input pixels back to source pixels and clip them to what the region has of the image, in place.
 *
 * @param boxes  f32 [count, 4], xyxy in input pixels; afterwards in source pixels
 * @param count  number of boxes
 * @param region where they were found
 */
export function boxesToSource(boxes: Float32Array, count: number, region: Region): void {
  pointsToSource(boxes, count * 2, region, "clip");
}
