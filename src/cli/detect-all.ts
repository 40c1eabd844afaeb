/** @module DetectAll: many files through one detector, in order, where a bad image does not stop the others. */

import type { Detector } from "../api/detector.ts";
import { ClosedError, ImageError } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { readSource } from "../image/source.ts";
import type { TaskResult } from "../tasks/task-result.ts";
import { isReadOnce } from "./images.ts";
import type { WritableImage } from "./result-target.ts";

/** How long images that are running may go on after Ctrl-C: a model with a loop may never end. */
const FINISH_MS = 3000;

/** Close a detector a while after the signal, whatever still runs then: {@linkcode untilClosed} ends its results. */
export function closeAfter(signal: AbortSignal, detector: Pick<Detector, "close">, waitMs: number = FINISH_MS): void {
  const close = (): void => {
    detector.close({ force: true }).catch((error: Error) => logger.warn(error.message));
  };
  signal.addEventListener("abort", () => setTimeout(close, waitMs).unref(), { once: true });
}

/** Results up to where the detector was closed because of the signal: those that are there are still written. */
export async function* untilClosed<T>(
  results: AsyncIterable<T>,
  signal: AbortSignal,
): AsyncGenerator<T, void, undefined> {
  try {
    yield* results;
  } catch (error) {
    if (!signal.aborted || !(error instanceof ClosedError)) throw error;
    logger.warn("Stopped a run of the model that had not ended");
  }
}

/** What is asked of a detector here. */
export interface ImageStream {
  stream(
    files: Iterable<string> | AsyncIterable<string | File>,
    options: { readonly onError: (error: unknown, index: number) => void },
  ): AsyncIterable<TaskResult>;
}

/** How the files are gone through. */
export interface DetectAllOptions {
  /** Aborted: no further image is begun; those that are running are finished. */
  readonly signal: AbortSignal;
  /** True if the images are needed once more with their results, to be drawn on. */
  readonly isSaved: boolean;
  /** Called for each image that cannot be read or decoded, in its turn. */
  readonly onBadImage: (file: string, error: ImageError) => void;
}

function* untilAborted(files: readonly string[], signal: AbortSignal): Generator<string, void, undefined> {
  for (const file of files) {
    if (signal.aborted) return;
    yield file;
  }
}

/** The bytes under the file's own name; the file itself, which then fails in its turn, where they cannot be read. */
async function readOnce(file: string): Promise<string | File> {
  try {
    const { bytes, name } = await readSource(file);
    return new File([Uint8Array.from(bytes)], name);
  } catch (error) {
    if (!(error instanceof ImageError)) throw error;
    return file;
  }
}

/** @param kept gets what was read here, by index: it cannot be read again */
async function* readAhead(
  files: readonly string[],
  signal: AbortSignal,
  kept: Map<number, File>,
): AsyncGenerator<string | File, void, undefined> {
  let index = 0;
  for (const file of untilAborted(files, signal)) {
    const source = isReadOnce(file) ? await readOnce(file) : file;
    if (typeof source !== "string") kept.set(index, source);
    yield source;
    index += 1;
  }
}

/**
 * Run every file.
 *
 * @returns the good images' results, in the order of `files`, with the images that cannot be read again to be saved
 * @throws whatever is not the fault of an image
 */
export async function* detectAll(
  detector: ImageStream,
  files: readonly string[],
  options: DetectAllOptions,
): AsyncGenerator<WritableImage, void, undefined> {
  const { signal, isSaved, onBadImage } = options;
  const kept = new Map<number, File>();
  const bad = new Set<number>();
  const onError = (error: unknown, index: number): void => {
    if (!(error instanceof ImageError)) throw error;
    bad.add(index);
    kept.delete(index);
    onBadImage(files[index]!, error);
  };
  const sources = isSaved && files.some(isReadOnce) ? readAhead(files, signal, kept) : untilAborted(files, signal);
  let index = 0;
  for await (const result of untilClosed(detector.stream(sources, { onError }), signal)) {
    // Bad images are told of before the good one that follows them.
    while (bad.has(index)) index += 1;
    const source = kept.get(index);
    kept.delete(index);
    yield { file: files[index]!, result, ...(source === undefined ? {} : { source }) };
    index += 1;
  }
}
