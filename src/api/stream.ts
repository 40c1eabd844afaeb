/** @module Stream: a sequence of images through a detector, several in flight, results in order. */

import { setImmediate } from "node:timers/promises";
import { Fifo } from "../core/fifo.ts";
import { logger } from "../core/log.ts";
import type { ImageSource } from "../image/source.ts";
import type { QueuedFrame } from "../runtime/batcher.ts";
import type { DetectionResult } from "../tasks/detect/detection.ts";
import type { Drawable } from "../tasks/task-result.ts";
import type { StreamConfig } from "./call-options.ts";

/** What was found in one image of a stream. */
export type StreamResult = DetectionResult &
  Drawable & {
    /** Place of the image in the sequence, from 0 on. Those that failed or were dropped leave gaps. */
    readonly index: number;
  };

/** What became of the images of a stream that has ended: the generator's return value. */
export interface StreamSummary {
  /** Images that were read. */
  readonly frames: number;
  /** Results that were yielded. */
  readonly results: number;
  /** Images that went to `onError`. */
  readonly failed: number;
  /** Images that were dropped for newer ones; 0 unless the policy is `"latest"`. */
  readonly dropped: number;
}

/** Frames that a GPU may decode into its own memory, such as those of a `VideoSource`. */
interface DeviceFrameSource<Frame> extends AsyncIterable<Frame> {
  /** Models on these GPUs read the frames; `undefined` stands for another machine. Before the first frame. */
  offerDevices(devices: readonly (number | undefined)[]): void;
  /** Nobody looks at a frame any more: its memory on the GPU goes back. Memory of the host is left to the garbage collector. */
  done(frame: Frame): void;
}

/** True for such. */
export function isDeviceFrameSource<Frame>(
  frames: Iterable<Frame> | AsyncIterable<Frame>,
): frames is DeviceFrameSource<Frame> {
  return typeof frames === "object" && "offerDevices" in frames;
}

/**
 * Results of a video whose frames nobody but the model sees: each may be looked at until the next result is asked for.
 *
 * @param open runs the frames
 */
export async function* ofVideo<Frame, T extends { readonly index: number }, Summary>(
  video: DeviceFrameSource<Frame>,
  open: (frames: AsyncIterable<Frame>) => AsyncGenerator<T, Summary, undefined>,
): AsyncGenerator<T, Summary, undefined> {
  const waiting = new Map<number, Frame>();
  const doneUpTo = (last: number): void => {
    for (const [index, frame] of waiting) {
      if (index > last) return;
      waiting.delete(index);
      video.done(frame);
    }
  };
  async function* feed(): AsyncGenerator<Frame, void, undefined> {
    let index = 0;
    for await (const frame of video) {
      waiting.set(index++, frame);
      yield frame;
    }
  }
  const results = open(feed());
  try {
    for (;;) {
      const step = await results.next();
      if (step.done === true) return step.value;
      yield step.value;
      doneUpTo(step.value.index);
    }
  } finally {
    await results.return(undefined as never);
    doneUpTo(Number.POSITIVE_INFINITY);
  }
}

/** How {@linkcode inOrder} works. */
interface InOrderOptions<T> extends Omit<StreamConfig<unknown>, "call"> {
  /** Most images between the sequence and the caller. */
  readonly limit: number;
  /** Put an image in line. Throws where no more are taken. */
  readonly submit: (source: ImageSource) => QueuedFrame<T>;
}

/**
 * Run a sequence, several images at a time, and yield the values in order, each with its place in the sequence.
 *
 * However it ends, with the sequence, an error, the signal, or the caller's `break`, the images that are running are
 * awaited first, those that are not never run, and the sequence is closed.
 */
export async function* inOrder<T extends object>(
  sources: Iterable<ImageSource> | AsyncIterable<ImageSource>,
  options: InOrderOptions<T>,
): AsyncGenerator<T & { readonly index: number }, StreamSummary, undefined> {
  const { onError, signal } = options;
  signal?.throwIfAborted();
  const feed = new Feed(sources, options);
  const onAbort = (): void => feed.abort(signal?.reason);
  signal?.addEventListener("abort", onAbort);
  let results = 0;
  let failed = 0;
  try {
    for (let next = await feed.next(); next !== undefined; next = await feed.next()) {
      const { outcome, index } = next;
      if (outcome.status === "fulfilled") {
        results += 1;
        yield Object.assign(outcome.value, { index });
      } else {
        if (onError === undefined) throw outcome.reason;
        failed += 1;
        onError(outcome.reason, index);
      }
    }
    return { frames: feed.frames, results, failed, dropped: feed.dropped };
  } finally {
    signal?.removeEventListener("abort", onAbort);
    await feed.close();
  }
}

/** An image on its way. */
interface Entry<T> {
  readonly frame: QueuedFrame<T>;
  index: number;
}

/** An image that has been read and for which there is no room. */
interface Held {
  readonly source: ImageSource;
  readonly index: number;
}

/** A failure is looked at in its turn; until then it must not count as unhandled. */
function later(): void {}

/** The reading end of a stream. It begins to read when it is asked for the first result, and goes on beside its caller. */
class Feed<T> {
  readonly #iterator: Iterator<ImageSource> | AsyncIterator<ImageSource>;
  readonly #isAsync: boolean;
  readonly #options: InOrderOptions<T>;
  /** Put in line and not asked for yet, oldest first. */
  readonly #running = new Fifo<Entry<T>>();
  /** The one whose result is waited for. */
  #current: Entry<T> | undefined;
  /** Only with `latest`. */
  #held: Held | undefined;
  /** Only with `latest`: the one that was put in line last. */
  #newest: Entry<T> | undefined;
  /** Images in line or running, or whose result has not been asked for. */
  #onTheirWay = 0;
  #isStarted = false;
  #isReading = false;
  /** The sequence ended, or threw: it needs no closing. */
  #isExhausted = false;
  /** No further image is put in line. */
  #isStopped = false;
  /** The reader has ended. */
  #isEnded = false;
  #failure: { readonly error: unknown } | undefined;
  #aborted: { readonly reason: unknown } | undefined;
  #wakeReader: (() => void) | undefined;
  #wakeCaller: (() => void) | undefined;
  /** Images that were read, and dropped for newer ones. */
  frames = 0;
  dropped = 0;

  constructor(sources: Iterable<ImageSource> | AsyncIterable<ImageSource>, options: InOrderOptions<T>) {
    this.#isAsync = Symbol.asyncIterator in sources;
    this.#iterator = Symbol.asyncIterator in sources ? sources[Symbol.asyncIterator]() : sources[Symbol.iterator]();
    this.#options = options;
  }

  /**
   * What came of the oldest image on its way; waits for it. One call at a time.
   *
   * @returns `undefined` at the end
   * @throws what the sequence or `submit` threw, after the results of the images before; the reason of `abort`, at once
   */
  async next(): Promise<{ readonly index: number; readonly outcome: PromiseSettledResult<T> } | undefined> {
    if (!this.#isStarted) {
      this.#isStarted = true;
      void this.#read();
    }
    let entry = this.#running.shift();
    while (entry === undefined) {
      if (this.#aborted !== undefined) throw this.#aborted.reason;
      if (this.#isEnded && this.#failure !== undefined) throw this.#failure.error;
      if (this.#isEnded) return undefined;
      await new Promise<void>((resolve) => (this.#wakeCaller = resolve));
      entry = this.#running.shift();
    }
    this.#current = entry;
    const [outcome] = await Promise.allSettled([entry.frame.promise]);
    this.#current = undefined;
    if (this.#aborted !== undefined) throw this.#aborted.reason;
    this.#makeRoom();
    return { index: entry.index, outcome };
  }

  /** Read no further, and begin no image that has no slot yet. */
  abort(reason: unknown): void {
    this.#aborted = { reason };
    this.#stop();
    this.#current?.frame.cancel(reason);
    for (let left = this.#running.length; left > 0; left--) {
      const entry = this.#running.shift()!;
      entry.frame.cancel(reason);
      this.#running.push(entry);
    }
    this.#wakeCaller?.();
  }

  /**
   * Begin no further image, wait for those that are running, and close the sequence. One that is in the middle of a read
   * is told, and not waited for: a live source may have nothing to say for long.
   */
  async close(): Promise<void> {
    this.#stop();
    for (let entry = this.#running.shift(); entry !== undefined; entry = this.#running.shift()) {
      entry.frame.cancel(undefined);
      await entry.frame.promise.catch(later);
    }
    if (this.#isExhausted) return;
    const closing = this.#iterator.return?.();
    if (!this.#isReading) {
      await closing;
      return;
    }
    Promise.resolve(closing).catch((error: unknown) => {
      logger.warn(`A source of images failed to close. ${error}`);
    });
  }

  #stop(): void {
    this.#isStopped = true;
    this.#held = undefined;
    this.#wakeReader?.();
  }

  async #read(): Promise<void> {
    const { policy, limit } = this.#options;
    try {
      while (!this.#isStopped) {
        if (policy === "all" && this.#onTheirWay >= limit)
          await new Promise<void>((resolve) => (this.#wakeReader = resolve));
        if (this.#isStopped) break;
        this.#isReading = true;
        const step = this.#isAsync ? await this.#iterator.next() : (this.#iterator as Iterator<ImageSource>).next();
        this.#isReading = false;
        this.#isExhausted = step.done === true;
        if (step.done || this.#isStopped) break;
        this.#offer(step.value);
        // Timers, files and the GPU have their turn: a sequence that never waits would keep them out.
        if (policy === "latest") await setImmediate();
      }
    } catch (error) {
      this.#isExhausted ||= this.#isReading;
      this.#isReading = false;
      this.#failure = { error };
    }
    this.#isEnded = true;
    this.#wakeCaller?.();
  }

  #offer(source: ImageSource): void {
    const index = this.frames++;
    if (this.#options.policy === "latest") {
      const newest = this.#newest;
      if (newest?.frame.replace(source)) {
        this.#drop(newest.index);
        newest.index = index;
        return;
      }
      if (this.#onTheirWay >= this.#options.limit) {
        if (this.#held !== undefined) this.#drop(this.#held.index);
        this.#held = { source, index };
        return;
      }
    }
    this.#submit(source, index);
  }

  #drop(index: number): void {
    this.dropped += 1;
    this.#options.onDrop?.(index);
  }

  /** @throws as `submit` does */
  #submit(source: ImageSource, index: number): void {
    const entry: Entry<T> = { frame: this.#options.submit(source), index };
    entry.frame.promise.catch(later);
    if (this.#options.policy === "latest") this.#newest = entry;
    this.#onTheirWay += 1;
    this.#running.push(entry);
    this.#wakeCaller?.();
  }

  #makeRoom(): void {
    this.#onTheirWay -= 1;
    const held = this.#held;
    this.#held = undefined;
    if (held !== undefined) {
      try {
        this.#submit(held.source, held.index);
      } catch (error) {
        this.#failure = { error };
        this.#stop();
      }
    }
    this.#wakeReader?.();
  }
}
