/** @module Host detect: pictures in, kept boxes out, around a model in host memory. The reference for every device. */

import { boxesToSource, type Region, type Size, sourceRegion } from "../../image/geometry.ts";
import type { Image } from "../../image/image.ts";
import { Preprocessor } from "../../image/preprocessor.ts";
import { PixelCheck } from "../../model/box-units.ts";
import { Candidates } from "../../model/candidates.ts";
import { blockAt, type DetectionBlock } from "../../model/detection-block.ts";
import { gatherExtras } from "../../model/gather.ts";
import type { DecodeInput, Layout, Recognition } from "../../model/layout.ts";
import type { PlausibilityGuard } from "../../model/plausibility.ts";
import { layoutNamed } from "../../model/registry.ts";
import type { Selection } from "../../model/selection.ts";
import { Selector } from "../../model/selector.ts";
import type { HostTensors, HostWork } from "../../pipeline/cpu/host-work.ts";

/** What one slot needs to detect: a region a picture, tables and candidates that only grow. */
export class HostDetect implements HostWork<Selection, DetectionBlock> {
  readonly placements: Region[] = [];
  readonly #recognition: Recognition;
  readonly #guard: PlausibilityGuard;
  readonly #layout: Layout;
  readonly #preprocessor: Preprocessor;
  readonly #candidates = new Candidates();
  readonly #selector = new Selector();
  readonly #pixels = new PixelCheck();
  readonly #blocks: DetectionBlock[] = [];
  readonly #decodeInput: { -readonly [Key in keyof DecodeInput]: DecodeInput[Key] } = {
    outputs: new Map(),
    index: 0,
    inputWidth: 0,
    inputHeight: 0,
    threshold: 0,
  };
  #pictures: readonly Image[] = [];

  constructor(recognition: Recognition, guard: PlausibilityGuard) {
    this.#recognition = recognition;
    this.#guard = guard;
    this.#layout = layoutNamed(recognition.layout);
    this.#preprocessor = new Preprocessor(recognition.preprocessing);
  }

  begin(pictures: readonly Image[], [width, height]: Size): number {
    this.#pictures = pictures;
    this.placements.length = pictures.length;
    this.#decodeInput.inputWidth = width;
    this.#decodeInput.inputHeight = height;
    return pictures.length;
  }

  fill(tensors: HostTensors, region: number, row: number): void {
    const image = this.#pictures[region]!;
    const { inputWidth, inputHeight } = this.#decodeInput;
    const placement = this.#preprocessor.place(image, inputWidth, inputHeight);
    tensors.fill(this.#preprocessor, image, row, placement);
    this.placements[region] = sourceRegion(image, placement);
  }

  finish(tensors: HostTensors, region: number, row: number, selection: Selection): void {
    const recognition = this.#recognition;
    const { extras, layout } = recognition;
    const input = this.#decodeInput;
    const placement = this.placements[region]!;
    const block = blockAt(this.#blocks, region, selection.maxDetections, extras);
    input.outputs = tensors.outputs;
    input.threshold = selection.threshold;
    input.index = row;
    this.#candidates.clear();
    this.#layout.decode(recognition.plan, input, this.#candidates);
    this.#selector.select(this.#candidates, selection, recognition, block);
    if (extras !== undefined) gatherExtras(extras, input, block);
    boxesToSource(block.boxes, block.count, placement);
    this.#pixels.check(block, placement, layout);
    this.#guard.check(block, placement);
  }

  end(): readonly DetectionBlock[] {
    this.#pictures = [];
    return this.#blocks;
  }
}
