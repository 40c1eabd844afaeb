/** @module Job: an image of a run and who is told of it, and how the images of a batch become pixels, each failing alone. */

import { message, NativeError, ShapeError } from "../core/errors.ts";
import { byteLengthOf, checked, type Image, isImage } from "../image/image.ts";
import { type ImageSource, isReadOnce, readSource, type SourceBytes } from "../image/source.ts";
import type { Slot, SlotImage, StageTimings } from "./backend.ts";

/** One image's result while its slot is held. Everything in it is overwritten once `succeed` has returned. */
export interface FrameResult<Output> {
  readonly output: Output;
  /** Size of the image in pixels. */
  readonly width: number;
  readonly height: number;
  /** Of the whole batch. */
  readonly timings: StageTimings;
  /** Why some of the image's pixels are not those of its file; `undefined` where all are. */
  readonly damage: string | undefined;
}

/** An image of a run, and who is told what came of it: `succeed` or `fail`, once. */
export interface Job<Output> {
  readonly source: ImageSource;
  /** Nobody waits for it any more: it is left out if it has not been decoded yet. */
  readonly isSettled: boolean;
  /** Ends the reading of its source. */
  readonly signal?: AbortSignal | undefined;
  /** Its source could be read but once, and has been: these bytes stand for it from now on. */
  keep?(bytes: Uint8Array): void;
  /** Copies the result out. */
  succeed(result: FrameResult<Output>): void;
  fail(error: unknown): void;
}

/**
 * Leave out of a batch, after a wait, the images that nobody waits for any more, as their pixels may be somebody else's by
 * now, and those whose pixels are gone: these are told.
 */
export function keepUsable<Output>(images: SlotImage[], jobs: Job<Output>[]): void {
  let kept = 0;
  for (let index = 0; index < jobs.length; index++) {
    const job = jobs[index]!;
    const image = images[index]!;
    if (job.isSettled) continue;
    if ("data" in image && image.resident === undefined && image.data.length < byteLengthOf(image)) {
      job.fail(goneError(image));
      continue;
    }
    images[kept] = image;
    jobs[kept] = job;
    kept += 1;
  }
  images.length = kept;
  jobs.length = kept;
}

function goneError(image: Image): ShapeError {
  const [needed, found] = [byteLengthOf(image), image.data.length];
  const hint = "neither transfer nor resize the buffer before the result is there";
  const text = message("read an image", `its pixels are gone, ${found} of ${needed} bytes are left`, hint);
  return new ShapeError(text, { tensor: "image", expected: `${needed} bytes`, actual: `${found} bytes` });
}

/** Read and decode files as one batch; whose file is none is told. @throws {CudaError} If the device has failed for good */
export async function decodeFiles<Params, Output>(
  slot: Slot<Params, Output>,
  jobs: readonly Job<Output>[],
  images: SlotImage[],
  decoded: Job<Output>[],
): Promise<void> {
  const read: SourceBytes[] = [];
  const waiting: Job<Output>[] = [];
  const settled = await Promise.allSettled(
    jobs.map(({ source, signal }) => readSource(source as Exclude<ImageSource, Image>, { signal })),
  );
  for (const [index, result] of settled.entries()) {
    const job = jobs[index]!;
    if (result.status === "rejected") job.fail(result.reason);
    else if (!job.isSettled) {
      if (isReadOnce(job.source)) job.keep?.(result.value.bytes);
      read.push(result.value);
      waiting.push(job);
    }
  }
  if (read.length === 0) return;
  const outcomes = await slot.decode(read);
  for (const outcome of outcomes) {
    if ("error" in outcome && outcome.error instanceof NativeError && outcome.error.isDeviceLost) throw outcome.error;
  }
  for (const [index, outcome] of outcomes.entries()) {
    if ("error" in outcome) waiting[index]!.fail(outcome.error);
    else {
      images.push(outcome.image);
      decoded.push(waiting[index]!);
    }
  }
}

/**
 * Pixels of some sources on the host, in memory of the slot unless they were decoded already.
 *
 * @throws {ImageError} The first source's that is missing, or no image
 */
export async function hostImages<Params, Output>(
  slot: Slot<Params, Output>,
  sources: readonly ImageSource[],
): Promise<Image[]> {
  const files: SourceBytes[] = [];
  for (const source of sources) if (!isImage(source)) files.push(await readSource(source));
  const decoded = await slot.decodeToHost(files);
  let next = 0;
  return sources.map((source) => {
    if (isImage(source)) return checked(source);
    const outcome = decoded[next++]!;
    if ("error" in outcome) throw outcome.error;
    return outcome.image;
  });
}
