/** @module FrameQueue: frames that are read ahead, between one who reads and one who takes. */

import type { VideoFrame } from "./video-frame.ts";

/** A bounded queue for one writer and one reader. */
export class FrameQueue {
  readonly #capacity: number;
  readonly #frames: VideoFrame[] = [];
  #isEnded = false;
  #error: { readonly reason: unknown } | undefined;
  /** Has whoever waits look again: writer and reader never wait at the same time. */
  #wake: (() => void) | undefined;

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  /** Add a frame once there is room; one that comes after the end is released. */
  async push(frame: VideoFrame): Promise<void> {
    while (this.#frames.length >= this.#capacity && !this.#isEnded) await this.#changed();
    this.#add(frame);
  }

  /** Add a frame at once; those that nobody has taken make room for it. @returns how many did */
  replace(frame: VideoFrame): number {
    const dropped = this.#frames.length;
    this.#releaseAll();
    this.#add(frame);
    return dropped;
  }

  /** The oldest frame, once there is one; `undefined` after the last. @throws what {@linkcode fail} was given, after the last frame */
  async shift(): Promise<VideoFrame | undefined> {
    while (this.#frames.length === 0 && !this.#isEnded) await this.#changed();
    const frame = this.#frames.shift();
    this.#wake?.();
    if (frame === undefined && this.#error !== undefined) throw this.#error.reason;
    return frame;
  }

  /** No frame follows; those that are here can still be taken. */
  end(): void {
    this.#isEnded = true;
    this.#wake?.();
  }

  /** End, and have the reader told why. The first reason counts. */
  fail(reason: unknown): void {
    this.#error ??= { reason };
    this.end();
  }

  /** End at once: frames that nobody has taken are released. */
  clear(): void {
    this.#releaseAll();
    this.end();
  }

  #changed(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  #add(frame: VideoFrame): void {
    if (this.#isEnded) {
      frame.release();
      return;
    }
    this.#frames.push(frame);
    this.#wake?.();
  }

  #releaseAll(): void {
    for (const frame of this.#frames) frame.release();
    this.#frames.length = 0;
  }
}

/** `read` or `write` of node:fs. */
type Transfer = (
  fd: number,
  block: Uint8Array,
  offset: number,
  byteLength: number,
  position: null,
  done: (error: Error | null, byteLength: number) => void,
) => void;

/**
 * Fill a block from a pipe, or write it into one.
 *
 * @returns bytes that went through: fewer than the block has only where the writer has closed
 * @throws {Error} `code: "EPIPE"` if the reader has gone
 */
export function transferAll(transfer: Transfer, fd: number, block: Uint8Array): Promise<number> {
  return new Promise((resolve, reject) => {
    let at = 0;
    const next = (): void => {
      transfer(fd, block, at, block.length - at, null, (error, byteLength) => {
        if (error) return reject(error);
        at += byteLength;
        if (byteLength === 0 || at === block.length) resolve(at);
        else next();
      });
    };
    next();
  });
}
