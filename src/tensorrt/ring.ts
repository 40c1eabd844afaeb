/** @module Ring: the queue that TensorRT's threads write into through the shim, read on the JS thread. */

import { ArgumentError, message } from "../core/errors.ts";
import { SHIM_STATUS, shim } from "../ffi/shim.ts";

/** What a record tells. The numbers are BT_RECORD_* of native/shim.h. */
export const RECORD_KINDS = { log: 1, error: 2, phaseStart: 3, step: 4, phaseEnd: 5, layer: 6 } as const;

/** One record. */
export interface RingRecord {
  /** One of {@linkcode RECORD_KINDS}. */
  readonly kind: number;
  /** 0 internal error, 1 error, 2 warning, 3 info, 4 verbose. */
  readonly severity: number;
  /** Error code, number of steps, or step. */
  readonly number: number;
  /** Milliseconds of a layer. */
  readonly value: number;
  readonly text: string;
  /** Enclosing phase, or the empty string. */
  readonly parent: string;
}

const HEADER_BYTES = 24;
const SCRATCH_BYTES = 64 * 1024;

const scratch = new Uint8Array(new ArrayBuffer(SCRATCH_BYTES));
const fields = new DataView(scratch.buffer);
const decoder = new TextDecoder();

/** A bounded queue in native memory. Its owner destroys it after the last observer that writes into it. */
export class Ring {
  /** The `bt_ring *`. Borrowed. */
  readonly handle: number;
  #reported = 0;

  /** @param capacityBytes beyond it, records are dropped and counted */
  constructor(capacityBytes: number) {
    const handle = shim().bt_ring_create(capacityBytes);
    if (handle === null) throw new ArgumentError(message(`make a ring of ${capacityBytes} bytes`, "memory ran out"));
    this.handle = handle;
  }

  /** Take every record out, oldest first. */
  drain(visit: (record: RingRecord) => void): void {
    for (;;) {
      const bytes = shim().bt_ring_read(this.handle, scratch, SCRATCH_BYTES);
      if (bytes <= 0) return;
      // Decoded before the first is visited: a visitor may drain another ring through the same scratch.
      for (const record of decode(bytes)) visit(record);
    }
  }

  /** Number of records dropped since it was last asked. */
  takeDropped(): number {
    const dropped = shim().bt_ring_dropped(this.handle);
    const fresh = dropped - this.#reported;
    this.#reported = dropped;
    return fresh;
  }

  /** Free it. No observer may write into it any more. */
  destroy(): void {
    shim().bt_ring_destroy(this.handle);
  }
}

function decode(bytes: number): RingRecord[] {
  const records: RingRecord[] = [];
  for (let at = 0; at < bytes; at += fields.getUint32(at, true)) {
    const textEnd = at + HEADER_BYTES + fields.getUint32(at + 16, true);
    records.push({
      kind: fields.getUint16(at + 4, true),
      severity: fields.getUint16(at + 6, true),
      number: fields.getInt32(at + 8, true),
      value: fields.getFloat32(at + 12, true),
      text: decoder.decode(scratch.subarray(at + HEADER_BYTES, textEnd)),
      parent: decoder.decode(scratch.subarray(textEnd, textEnd + fields.getUint32(at + 20, true))),
    });
  }
  return records;
}

/**
 * Free an observer of the shim.
 *
 * @returns false if TensorRT still refers to it; it is then kept
 */
export function destroyObserver(observer: number): boolean {
  return shim().bt_observer_destroy(observer) === SHIM_STATUS.ok;
}
