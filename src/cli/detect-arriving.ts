/** @module DetectArriving: pictures that come one by one, from a folder or from standard input, through one detector. */

import { ImageError } from "../core/errors.ts";
import type { DetectionResult } from "../detector/detection.ts";
import type { ImageSource } from "../image/source.ts";
import type { FramePlace, PictureResult } from "./result-format.ts";

/** A picture that has come. */
export interface ArrivingPicture {
  readonly file: string;
  readonly source: ImageSource;
  readonly frame?: FramePlace;
}

/** What is asked of a detector here. */
export interface ArrivingStream {
  stream(
    pictures: AsyncIterable<ImageSource>,
    options: { readonly onError: (error: unknown, index: number) => void },
  ): AsyncIterable<DetectionResult>;
}

/** A result and the picture it is of. */
export type ArrivedResult = PictureResult & Pick<ArrivingPicture, "source">;

/**
 * The items of a source until the signal is aborted, even while the source waits for its next.
 *
 * @param items closed without being waited for: a read of standard input ends with the process alone
 */
export async function* untilAborted<T>(
  items: AsyncIterable<T>,
  signal: AbortSignal,
): AsyncGenerator<T, void, undefined> {
  const iterator = items[Symbol.asyncIterator]();
  let end: (() => void) | undefined;
  const onAbort = (): void => end?.();
  signal.addEventListener("abort", onAbort);
  try {
    while (!signal.aborted) {
      // A race against one promise for all items would keep every one of them until that is settled.
      const next = await new Promise<IteratorResult<T> | undefined>((resolve, reject) => {
        end = () => resolve(undefined);
        iterator.next().then(resolve, reject);
      });
      if (next === undefined || next.done) return;
      yield next.value;
    }
  } finally {
    signal.removeEventListener("abort", onAbort);
    iterator.return?.()?.then(undefined, () => {});
  }
}

/**
 * Run each picture as it comes.
 *
 * @param onBadPicture called for each that cannot be read or decoded, in its turn
 * @returns the good pictures' results, in order
 * @throws whatever is not the fault of a picture
 */
export async function* detectArriving(
  detector: ArrivingStream,
  pictures: AsyncIterable<ArrivingPicture>,
  onBadPicture: (file: string, error: ImageError) => void,
): AsyncGenerator<ArrivedResult, void, undefined> {
  const waiting: ArrivingPicture[] = [];
  async function* feed(): AsyncGenerator<ImageSource, void, undefined> {
    for await (const picture of pictures) {
      waiting.push(picture);
      yield picture.source;
    }
  }
  const onError = (error: unknown): void => {
    const picture = waiting.shift()!;
    if (!(error instanceof ImageError)) throw error;
    onBadPicture(picture.file, error);
  };
  for await (const result of detector.stream(feed(), { onError })) yield { ...waiting.shift()!, result };
}
