/** @module FramePool: the memory of frames, handed out again once it is released. */

import { imageError } from "../image/decode-errors.ts";

/** Buffers of one size. Only as many are made as are in use at a time. */
export class FramePool {
  readonly #byteLength: number;
  readonly #allocate: ((byteLength: number) => Uint8Array) | undefined;
  readonly #limit: number;
  readonly #free: Uint8Array[] = [];
  #made = 0;
  #onFree: (() => void) | undefined;

  /**
   * @param allocate makes a buffer; without it they come from the JS heap, and those that are never released are collected
   * @param limit    buffers that `allocate` is asked for, at most
   */
  constructor(byteLength: number, allocate: ((byteLength: number) => Uint8Array) | undefined, limit: number) {
    this.#byteLength = byteLength;
    this.#allocate = allocate;
    this.#limit = allocate === undefined ? Number.POSITIVE_INFINITY : limit;
  }

  /** Buffers made so far. */
  get made(): number {
    return this.#made;
  }

  /** A buffer; `undefined` if all are in use, see {@linkcode freed}. */
  take(): Uint8Array | undefined {
    const known = this.#free.pop();
    if (known !== undefined) return known;
    if (this.#made >= this.#limit) return undefined;
    const buffer = this.#allocate?.(this.#byteLength) ?? new Uint8Array(new ArrayBuffer(this.#byteLength));
    if (buffer.length < this.#byteLength) {
      const found = `\`allocate\` gave ${buffer.length} bytes: ${this.#byteLength} are needed`;
      throw imageError("frame", found, "return at least as many bytes as asked for");
    }
    this.#made += 1;
    return buffer.length === this.#byteLength ? buffer : buffer.subarray(0, this.#byteLength);
  }

  /** Resolves when a buffer has come back. One waits at a time. */
  freed(): Promise<void> {
    return new Promise((resolve) => {
      this.#onFree = resolve;
    });
  }

  /** Hand a buffer back; nobody may use it any more. */
  give(buffer: Uint8Array): void {
    this.#free.push(buffer);
    this.wake();
  }

  /** Let who waits for a buffer look again. */
  wake(): void {
    const onFree = this.#onFree;
    this.#onFree = undefined;
    onFree?.();
  }
}
