/**
 * @module SelectionTable: what a caller asks for and where the pictures lie, as the post-processing kernels read them,
 * packed in place. A captured graph copies it to the device with each launch, and so takes changes.
 */

import type { Placement } from "../../image/geometry.ts";
import type { Selection } from "../../model/selection.ts";

/** Bytes of `struct Placement` in kernels/select.cu. */
export const PLACEMENT_BYTES = 48;

/** Bytes of `struct Selection` in kernels/decode.cuh before the words of its class set. */
const HEADER_BYTES = 32;
const CLASS_WORD = HEADER_BYTES / 4;

/** Classes that can be asked for one by one: more than any detector has; 8,192 make the table 1 KiB. */
export const MAX_CLASSES = 8192;

/** Bytes of the selection, with room for the class set; the placements follow. */
export const SELECTION_BYTES: number = HEADER_BYTES + MAX_CLASSES / 8;

/** Writes a selection and the placements of a batch into memory that is copied to the device. */
export class SelectionTable {
  readonly #words: Uint32Array;
  readonly #integers: Int32Array;
  readonly #floats: Float32Array;
  readonly #placements: Float64Array;

  /** Bytes of a table for a batch. */
  static byteLength(batch: number): number {
    return SELECTION_BYTES + batch * PLACEMENT_BYTES;
  }

  /**
   * @param buffer     memory of the table, page-locked where it is to be copied asynchronously
   * @param byteOffset where the table begins, a multiple of 16
   * @param batch      pictures it has room for
   */
  constructor(buffer: ArrayBuffer, byteOffset: number, batch: number) {
    this.#words = new Uint32Array(buffer, byteOffset, SELECTION_BYTES / 4);
    this.#integers = new Int32Array(buffer, byteOffset, SELECTION_BYTES / 4);
    this.#floats = new Float32Array(buffer, byteOffset, SELECTION_BYTES / 4);
    this.#placements = new Float64Array(buffer, byteOffset + SELECTION_BYTES, (batch * PLACEMENT_BYTES) / 8);
  }

  /** Write what the caller asks for. Class ids from {@linkcode MAX_CLASSES} on cannot be asked for and are left out. */
  setSelection(selection: Selection): void {
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

  /** Write where a picture lies in the input. */
  setPlacement(index: number, placement: Placement): void {
    const cells = this.#placements;
    const at = index * (PLACEMENT_BYTES / 8);
    cells[at] = placement.padX;
    cells[at + 1] = placement.padY;
    cells[at + 2] = placement.scaleX;
    cells[at + 3] = placement.scaleY;
    cells[at + 4] = placement.sourceWidth;
    cells[at + 5] = placement.sourceHeight;
  }
}
