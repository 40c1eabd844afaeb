/** @module GpuTables: what changes from frame to frame beside the pixels, packed on the host as one table. */

import { IMAGE_BYTES, ImageTable } from "../../accelerators/tensorrt/preprocess.ts";
import type { Device } from "../../cuda/device.ts";
import type { BufferView } from "../../cuda/device-buffer.ts";
import { ChangingTable } from "../../cuda/kept-memory.ts";
import type { Region } from "../../image/geometry.ts";
import type { NmsOptions } from "./nms.ts";

/** Tables of a batch: where each image is and goes, and what is kept. */
export class GpuTables extends ChangingTable {
  readonly images: ImageTable;
  readonly selection: NmsOptionsTable;
  /** The same on the device. */
  readonly deviceImages: BufferView<"u8">;
  readonly deviceSelection: BufferView<"u8">;

  /** @param batch images */
  constructor(device: Device, batch: number) {
    const imageBytes = batch * IMAGE_BYTES;
    const selectionBytes = NmsOptionsTable.byteLength(batch);
    super(imageBytes + selectionBytes, device);
    this.images = new ImageTable(this.buffer, 0, batch);
    this.selection = new NmsOptionsTable(this.buffer, imageBytes, batch);
    this.deviceImages = this.device.view([imageBytes]);
    this.deviceSelection = this.device.view([selectionBytes], imageBytes);
  }
}

/** Bytes of `struct Region` in kernels/select.cu. */
export const REGION_BYTES = 80;

/** Bytes of `struct NmsOptions` in kernels/decode.cuh before the words of its class set. */
const HEADER_BYTES = 32;
const CLASS_WORD = HEADER_BYTES / 4;

/** Classes that can be asked for one by one: more than any detector has; 8,192 make the table 1 KiB. */
const MAX_CLASSES = 8192;

/** Bytes of the selection, with room for the class set; the regions follow. */
export const SELECTION_BYTES: number = HEADER_BYTES + MAX_CLASSES / 8;

/** Writes a selection and the regions of a batch into memory that is copied to the device. */
export class NmsOptionsTable {
  readonly #words: Uint32Array;
  readonly #integers: Int32Array;
  readonly #floats: Float32Array;
  readonly #regions: Float64Array;

  /** Bytes of a table for a batch. */
  static byteLength(batch: number): number {
    return SELECTION_BYTES + batch * REGION_BYTES;
  }

  /**
   * @param buffer     memory of the table, page-locked where it is to be copied asynchronously
   * @param byteOffset where the table begins, a multiple of 16
   * @param batch      images it has room for
   */
  constructor(buffer: ArrayBuffer, byteOffset: number, batch: number) {
    this.#words = new Uint32Array(buffer, byteOffset, SELECTION_BYTES / 4);
    this.#integers = new Int32Array(buffer, byteOffset, SELECTION_BYTES / 4);
    this.#floats = new Float32Array(buffer, byteOffset, SELECTION_BYTES / 4);
    this.#regions = new Float64Array(buffer, byteOffset + SELECTION_BYTES, (batch * REGION_BYTES) / 8);
  }

  /** Write what the caller asks for. Class ids from {@linkcode MAX_CLASSES} on cannot be asked for and are left out. */
  setSelection(selection: NmsOptions): void {
    const { classIds } = selection;
    this.#floats[0] = selection.threshold;
    this.#floats[1] = selection.iou;
    this.#integers[2] = selection.maxDetections;
    this.#integers[3] = selection.classAgnostic ? 1 : 0;
    this.#integers[4] = classIds === undefined ? 0 : MAX_CLASSES / 32;
    if (classIds === undefined) return;
    this.#words.fill(0, CLASS_WORD);
    for (const classId of classIds) {
      if (classId >= 0 && classId < MAX_CLASSES) this.#words[CLASS_WORD + (classId >>> 5)]! |= 1 << (classId & 31);
    }
  }

  /** Write where a region lies in the input and in its image. */
  setRegion(index: number, region: Region): void {
    const { x, y } = region;
    const cells = this.#regions;
    const at = index * (REGION_BYTES / 8);
    cells[at] = region.padX;
    cells[at + 1] = region.padY;
    cells[at + 2] = region.scaleX;
    cells[at + 3] = region.scaleY;
    cells[at + 4] = x;
    cells[at + 5] = y;
    cells[at + 6] = Math.max(x, 0);
    cells[at + 7] = Math.max(y, 0);
    cells[at + 8] = Math.min(x + region.width, region.sourceWidth);
    cells[at + 9] = Math.min(y + region.height, region.sourceHeight);
  }
}
