/** @module DetectAll: many files through one detector, in order, where a bad picture does not stop the others. */

import { ImageError } from "../core/errors.ts";
import type { DetectionResult } from "../detector/detection.ts";
import { readSource } from "../image/source.ts";
import { isReadOnce } from "./pictures.ts";
import type { WritablePicture } from "./write-pictures.ts";

/** What is asked of a detector here. */
export interface PictureStream {
  stream(
    files: Iterable<string> | AsyncIterable<string | File>,
    options: { readonly onError: (error: unknown, index: number) => void },
  ): AsyncIterable<DetectionResult>;
}

/** How the files are gone through. */
export interface DetectAllOptions {
  /** Aborted: no further picture is begun; those that are running are finished. */
  readonly signal: AbortSignal;
  /** True if the pictures are needed once more with their results, to be drawn on. */
  readonly isSaved: boolean;
  /** Called for each picture that cannot be read or decoded, in its turn. */
  readonly onBadPicture: (file: string, error: ImageError) => void;
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
 * @returns the good pictures' results, in the order of `files`, with the pictures that cannot be read again to be saved
 * @throws whatever is not the fault of a picture
 */
export async function* detectAll(
  detector: PictureStream,
  files: readonly string[],
  options: DetectAllOptions,
): AsyncGenerator<WritablePicture, void, undefined> {
  const { signal, isSaved, onBadPicture } = options;
  const kept = new Map<number, File>();
  const bad = new Set<number>();
  const onError = (error: unknown, index: number): void => {
    if (!(error instanceof ImageError)) throw error;
    bad.add(index);
    kept.delete(index);
    onBadPicture(files[index]!, error);
  };
  const sources = isSaved && files.some(isReadOnce) ? readAhead(files, signal, kept) : untilAborted(files, signal);
  let index = 0;
  for await (const result of detector.stream(sources, { onError })) {
    // Bad pictures are told of before the good one that follows them.
    while (bad.has(index)) index += 1;
    const source = kept.get(index);
    kept.delete(index);
    yield { file: files[index]!, result, ...(source === undefined ? {} : { source }) };
    index += 1;
  }
}
