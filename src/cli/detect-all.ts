/** @module DetectAll: many files through one detector, in order, where a bad picture does not stop the others. */

import { ImageError } from "../core/errors.ts";
import type { DetectionResult } from "../detector/detection.ts";
import type { PictureResult } from "./result-format.ts";

/** What is asked of a detector here. */
export interface PictureStream {
  stream(
    files: Iterable<string>,
    options: { readonly onError: (error: unknown, index: number) => void },
  ): AsyncIterable<DetectionResult>;
}

/** How the files are gone through. */
export interface DetectAllOptions {
  /** Aborted: no further picture is begun; those that are running are finished. */
  readonly signal: AbortSignal;
  /** Called for each picture that cannot be read or decoded, in its turn. */
  readonly onBadPicture: (file: string, error: ImageError) => void;
}

function* untilAborted(files: readonly string[], signal: AbortSignal): Generator<string, void, undefined> {
  for (const file of files) {
    if (signal.aborted) return;
    yield file;
  }
}

/**
 * Run every file.
 *
 * @returns the good pictures' results, in the order of `files`
 * @throws whatever is not the fault of a picture
 */
export async function* detectAll(
  detector: PictureStream,
  files: readonly string[],
  options: DetectAllOptions,
): AsyncGenerator<PictureResult, void, undefined> {
  const { signal, onBadPicture } = options;
  const bad = new Set<number>();
  const onError = (error: unknown, index: number): void => {
    if (!(error instanceof ImageError)) throw error;
    bad.add(index);
    onBadPicture(files[index]!, error);
  };
  let index = 0;
  for await (const result of detector.stream(untilAborted(files, signal), { onError })) {
    // Bad pictures are told of before the good one that follows them.
    while (bad.has(index)) index += 1;
    yield { file: files[index]!, result };
    index += 1;
  }
}
