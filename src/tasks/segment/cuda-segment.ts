/** @module Cuda segment: the masks of the kept rows, made in the frame's graph and written as bits to where the host reads them. */

import {
  type DeviceOutputs,
  deviceOutput,
  KernelLaunch,
  type LaunchSpec,
} from "../../accelerators/tensorrt/kernels.ts";
import { ArgumentError, message } from "../../core/errors.ts";
import { Owner } from "../../core/resource.ts";
import { grownLength } from "../../core/units.ts";
import { DeviceBuffer, type DeviceMemory, PinnedBuffer } from "../../cuda/buffers.ts";
import { ChangingTable, deviceTable } from "../../cuda/kept-memory.ts";
import type { OnStream } from "../../cuda/stream.ts";
import type { ObjectSpec } from "../../heads/object-reading.ts";
import { FLOATS } from "../../heads/traits.ts";
import type { Region, Size } from "../../image/geometry.ts";
import { type DetectionBlock, moveRow } from "../../model/rows.ts";
import {
  type CudaObjects,
  DETECTION_HEADER_WORDS,
  detectionWords,
  extraValues,
  type GatheredRows,
  type ObjectStage,
} from "../detect/device-batch.ts";
import { extraTable, mapGathering } from "../detect/map-launches.ts";
import { giveMasks, type RowMasks } from "../objects/objects.ts";
import { Mask, wordsOf } from "./mask.ts";
import { type MaskSize, type Plan, planOf, type Rule, ruleOf } from "./mask-plan.ts";

/** Bytes of `struct MaskTable` and `struct MaskPlan` in kernels/mask.cu. */
const TABLE_BYTES = 16;
const PLAN_BYTES = 80;

/** Words before the rectangles, and of each, in the memory that the kernel writes. */
const HEADER_WORDS = 4;
const RECTANGLE_WORDS = 4;

/** Each mask begins at a multiple of so many words, so that a warp writes whole lines. */
const ALIGNMENT = 32;

/** Words of masks that there is room for until more are needed: 32 KiB. */
const FIRST_WORDS = 8192;

/** Most channels of prototypes. */
const MOST_CHANNELS = 256;

/** Blocks that walk over the tiles, a multiprocessor: as many as it has registers for. */
const BLOCKS = 3;

/** Writes where masks go, and what those of each image have in common, into memory that is copied to the device. */
export class MaskTable {
  readonly #words: Int32Array;
  readonly #floats: Float32Array;
  readonly #doubles: Float64Array;

  /** Bytes of a table for a batch. */
  static byteLength(batch: number): number {
    return TABLE_BYTES + batch * PLAN_BYTES;
  }

  /** @param buffer of {@linkcode byteLength}, page-locked where it is to be copied asynchronously */
  constructor(buffer: ArrayBuffer) {
    this.#words = new Int32Array(buffer);
    this.#floats = new Float32Array(buffer);
    this.#doubles = new Float64Array(buffer);
  }

  /** @param memory that the kernel writes @param capacity words of masks that it has room for */
  setMemory(memory: DeviceMemory, capacity: number): void {
    this.#words[0] = memory.pointer % 2 ** 32;
    this.#words[1] = memory.pointer / 2 ** 32;
    this.#words[2] = capacity;
  }

  /** How many images of the batch have masks. */
  setImages(images: number): void {
    this.#words[3] = images;
  }

  /** @param prototypes their size in cells */
  setPlan(index: number, plan: Plan, [width, height]: Size): void {
    const at = (TABLE_BYTES + index * PLAN_BYTES) / 4;
    const { cropX, cropY, cropWidth, cropHeight, gridWidth, gridHeight } = plan;
    this.#doubles.set([plan.boxScaleX, plan.boxScaleY, plan.x, plan.y], at / 2);
    const cells = [cropWidth / plan.spanX, cropHeight / plan.spanY];
    this.#floats.set([...cells, width / gridWidth, height / gridHeight], at + 8);
    this.#words.set([plan.width, plan.height, gridWidth, gridHeight, cropX, cropY, cropWidth, cropHeight], at + 12);
  }
}

/** What masks are made of, in device memory. */
interface MaskInputs extends Pick<GatheredRows, "outputs" | "rows" | "detections" | "kept"> {
  /** Images of the tensors. */
  readonly batch: number;
  /** What {@linkcode MaskTable} packed. */
  readonly table: DeviceMemory;
  /** Blocks of the launch: any number makes the same masks. */
  readonly blocks: number;
  /** f32 [batch, rows, channels]: coefficients that were gathered from maps; left out, they are read where the model leaves them. */
  readonly coefficients?: DeviceMemory | undefined;
}

/** Width and height of the prototypes in cells. @throws {ShapeError} If they are no such output */
function prototypesOf(spec: Pick<ObjectSpec, "masks" | "extras">, outputs: DeviceOutputs, batch: number) {
  return deviceOutput(outputs, spec.masks!.output, FLOATS, [batch, spec.extras[0]!.length, -1, -1], "any");
}

/** What a kernel reads gathered coefficients by: f32, one after the other. */
const GATHERED = { dtype: 0, channel_stride: 1, first: 0, by_row: 1 } as const;

/**
 * The launch that makes the masks of a batch.
 *
 * @throws {ShapeError} If an output has another shape or dtype than the model's reading says
 * @throws {ArgumentError} If there are more channels than the kernel keeps
 */
export function maskLaunch(
  spec: Pick<ObjectSpec, "masks" | "extras">,
  size: MaskSize,
  { outputs, batch, rows, detections, kept, table, blocks, coefficients }: MaskInputs,
): LaunchSpec {
  const extra = spec.extras[0]!;
  const channels = extra.length;
  if (channels > MOST_CHANNELS) {
    throw new ArgumentError(message("make masks on a GPU", `it takes ${MOST_CHANNELS} prototypes, got ${channels}`));
  }
  const prototypes = prototypesOf(spec, outputs, batch);
  const [, , height = 0, width = 0] = prototypes.shape;
  const words = detectionWords(rows);
  // Those of the image lie in the blocks, clipped to it; others as they were decoded.
  const isOfImage = size === "image";
  return {
    module: "mask",
    kernel: `write_masks_${prototypes.dtype}`,
    config: { grid: [blocks, 1, 1], block: [256, 1, 1] },
    values: {
      ...(coefficients === undefined
        ? { ...extraValues(extra, outputs, batch), first: extra.first, by_row: 0 }
        : { ...GATHERED, output: coefficients.pointer, source_stride: channels, image_stride: rows * channels }),
      table: table.pointer,
      detections: detections.pointer,
      boxes: isOfImage ? detections.pointer + DETECTION_HEADER_WORDS * 4 : kept.pointer,
      box_stride: isOfImage ? words / 4 : rows,
      prototypes: prototypes.pointer,
      vector: prototypes.vector ?? 1,
      batch,
      rows,
      words,
      channels,
      width,
      height,
    },
  };
}

/** Numbers of a row: its rectangle, and its first word. */
const PLACE_LENGTH = 5;

/**
 * The masks of an image where the kernel has written them. They are copied out once one is asked for, or the memory is needed for
 * the next image: while its pixels are on their way to the device, and not while somebody waits for this one.
 */
class MappedMasks implements RowMasks {
  /** Masks that there are. */
  length: number;
  readonly #size: Pick<Plan, "width" | "height">;
  readonly #places: Int32Array;
  #words: Uint32Array;
  #isCopied = false;

  /** @param words of all rows, in mapped memory @param places i32 [rows, {@linkcode PLACE_LENGTH}] */
  constructor(words: Uint32Array, places: Int32Array, size: Pick<Plan, "width" | "height">) {
    this.length = places.length / PLACE_LENGTH;
    this.#size = size;
    this.#places = places;
    this.#words = words;
  }

  /** All of them are views on one copy. */
  at(row: number): Mask | undefined {
    if (!(row >= 0 && row < this.length)) return undefined;
    this.copyOut();
    const places = this.#places;
    const at = row * PLACE_LENGTH;
    const bounds = { x: places[at]!, y: places[at + 1]!, width: places[at + 2]!, height: places[at + 3]! };
    const from = places[at + 4]!;
    const bits = this.#words.subarray(from, from + wordsOf(bounds.width) * bounds.height);
    return new Mask({ ...this.#size, bounds, bits });
  }

  /** True if a mask has no pixel. */
  isEmpty(row: number): boolean {
    const words = this.#words;
    const at = row * PLACE_LENGTH;
    const from = this.#places[at + 4]!;
    const end = from + wordsOf(this.#places[at + 2]!) * this.#places[at + 3]!;
    for (let word = from; word < end; word++) if (words[word] !== 0) return false;
    return true;
  }

  /** Put a mask in the place of one that is left out. */
  move(from: number, to: number): void {
    this.#places.copyWithin(to * PLACE_LENGTH, from * PLACE_LENGTH, (from + 1) * PLACE_LENGTH);
  }

  /** Before the memory is written again, or is closed. */
  copyOut(): void {
    if (this.#isCopied) return;
    this.#words = this.#words.slice();
    this.#isCopied = true;
  }
}

/** Reads the masks that the kernel has written. */
export class MaskReader {
  readonly #integers: Int32Array<ArrayBuffer>;
  readonly #words: Uint32Array<ArrayBuffer>;
  readonly #rows: number;
  /** Where the masks of the next image begin. */
  #next = 0;

  /** Bytes of the memory for so many words of masks. */
  static byteLength(batch: number, rows: number, capacity: number): number {
    return (HEADER_WORDS + batch * rows * RECTANGLE_WORDS + capacity) * 4;
  }

  /** @param rows of each image */
  constructor(buffer: ArrayBuffer, batch: number, rows: number) {
    const start = HEADER_WORDS + batch * rows * RECTANGLE_WORDS;
    this.#integers = new Int32Array(buffer, 0, start);
    this.#words = new Uint32Array(buffer, start * 4);
    this.#rows = rows;
  }

  /** Words that the masks of the batch need, and that there is room for. */
  get needed(): number {
    return this.#integers[0]! >>> 0;
  }

  get capacity(): number {
    return this.#words.length;
  }

  /** The masks of an image. Images are read in their order. */
  read(index: number, count: number, size: Pick<Plan, "width" | "height">): MappedMasks {
    const integers = this.#integers;
    const places = new Int32Array(count * PLACE_LENGTH);
    const start = index === 0 ? 0 : this.#next;
    let end = start;
    let at = HEADER_WORDS + index * this.#rows * RECTANGLE_WORDS;
    for (let row = 0, to = 0; row < count; row++, at += RECTANGLE_WORDS, to += PLACE_LENGTH) {
      for (let part = 0; part < RECTANGLE_WORDS; part++) places[to + part] = integers[at + part]!;
      places[to + RECTANGLE_WORDS] = end - start;
      end += Math.ceil((wordsOf(integers[at + 2]!) * integers[at + 3]!) / ALIGNMENT) * ALIGNMENT;
    }
    this.#next = end;
    return new MappedMasks(this.#words.subarray(start, end), places, size);
  }
}

/** The masks of one shape: the launch behind the selection, and the memory that it writes in. */
class MaskStage extends Owner implements ObjectStage {
  readonly #gathered: GatheredRows;
  readonly #size: MaskSize;
  readonly #rule: Rule;
  readonly #prototypes: Size;
  readonly #launches: readonly KernelLaunch[];
  readonly #table: MaskTable;
  readonly #changing: ChangingTable;
  /** Of each image: where it lay when its plan was written, and the plan. */
  readonly #regions: Region[] = [];
  readonly #plans: Plan[] = [];
  #images = 0;
  /** What was handed over of the last batch, image by image. */
  readonly #handed: MappedMasks[] = [];
  #memory: PinnedBuffer<"u8">;
  #reader: MaskReader;

  constructor(gathered: GatheredRows, spec: ObjectSpec, size: MaskSize) {
    const { model, outputs, shape, rows } = gathered;
    const { device } = model;
    const { batch } = shape;
    super(`MaskStage of ${batch}, ${rows} rows`, device);
    this.#gathered = gathered;
    this.#size = size;
    this.#rule = ruleOf(spec.masks!.rule, size);
    try {
      const [, , height = 0, width = 0] = prototypesOf(spec, outputs, batch).shape;
      this.#prototypes = [width, height];
      this.#changing = this.owned.use(new ChangingTable(MaskTable.byteLength(batch), device));
      this.#table = new MaskTable(this.#changing.buffer);
      this.owned.defer(() => this.#memory?.close());
      this.owned.defer(() => this.#copyOut());
      this.#memory = this.#allocate(FIRST_WORDS);
      this.#reader = new MaskReader(this.#memory.buffer, batch, rows);
      const blocks = device.multiprocessorCount * BLOCKS;
      const [coefficients, gathering] = this.#coefficients(spec);
      const inputs = { ...gathered, batch, table: this.#changing.device, blocks, coefficients };
      const launches = [...gathering, maskLaunch(spec, size, inputs)];
      this.#launches = launches.map((launch) => new KernelLaunch(model.kernels, launch));
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** The plans stay as they are for images of one size, and so does the table on the device. */
  select(regions: readonly Region[], on: OnStream): void {
    this.#copyOut();
    let isChanged = this.#images !== regions.length;
    for (let index = 0; index < regions.length; index++) {
      const region = regions[index]!;
      if (this.#regions[index] === region) continue;
      const [width, height] = this.#prototypes;
      const plan = planOf({ width, height }, region, this.#size, this.#rule);
      this.#regions[index] = region;
      this.#plans[index] = plan;
      this.#table.setPlan(index, plan, this.#prototypes);
      isChanged = true;
    }
    if (!isChanged) return;
    this.#images = regions.length;
    this.#table.setImages(regions.length);
    this.#changing.enqueueCopy(on);
  }

  enqueue(on: OnStream): void {
    this.#copyOut();
    for (const launch of this.#launches) launch.enqueue(on);
  }

  grow(): boolean {
    const { needed, capacity } = this.#reader;
    if (needed <= capacity) return false;
    const { shape, rows, setup } = this.#gathered;
    const larger = this.#allocate(grownLength(needed));
    this.#memory.close();
    this.#memory = larger;
    this.#reader = new MaskReader(larger.buffer, shape.batch, rows);
    this.#changing.enqueueCopy(setup);
    setup.stream.synchronize();
    return true;
  }

  read(index: number, block: DetectionBlock): void {
    const masks = this.#reader.read(index, block.count, this.#plans[index]!);
    // As on the host, an object whose mask has no pixel is none.
    let kept = 0;
    for (let row = 0; row < block.count; row++) {
      if (masks.isEmpty(row)) continue;
      if (kept < row) {
        moveRow(block, row, kept);
        masks.move(row, kept);
      }
      kept += 1;
    }
    masks.length = kept;
    block.count = kept;
    giveMasks(block, masks);
    this.#handed[index] = masks;
  }

  /** Memory of coefficients that lie in maps, and the launch that gathers them; none of those that need not be gathered. */
  #coefficients({ extras: [extra] }: ObjectSpec): readonly [DeviceMemory | undefined, readonly LaunchSpec[]] {
    const { model, outputs, shape, rows, detections } = this.#gathered;
    const { device } = model;
    if (extra?.maps === undefined) return [undefined, []];
    const levels = this.owned.use(deviceTable("u8", extraTable(extra, extra.maps, outputs, shape), device));
    const memory = this.owned.use(DeviceBuffer.create("f32", [shape.batch, rows, extra.length], { device }));
    const to = { levels: levels.pointer, detections: detections.pointer, gathered: memory.pointer, rows };
    return [memory, [mapGathering(extra, extra.maps, shape.batch, to)]];
  }

  #copyOut(): void {
    for (const masks of this.#handed) masks.copyOut();
    this.#handed.length = 0;
  }

  /** Mapped memory: only the words that masks have cross the bus, while others are made. */
  #allocate(capacity: number): PinnedBuffer<"u8"> {
    const { model, shape, rows } = this.#gathered;
    const byteLength = MaskReader.byteLength(shape.batch, rows, capacity);
    const memory = PinnedBuffer.create("u8", [byteLength], model.device, { use: "mapped" });
    memory.data.fill(0);
    this.#table.setMemory(memory.mapped, capacity);
    return memory;
  }
}

/** What segmentation adds to detection on the device. Coefficients are read where the model leaves them, or gathered from maps. */
export function cudaSegment(spec: ObjectSpec, size: MaskSize): CudaObjects {
  return { extras: [], createStage: (gathered) => new MaskStage(gathered, spec, size) };
}
