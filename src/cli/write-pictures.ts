/** @module WritePictures: the results of pictures, written and drawn one after the other, with a bar. */

import { ImageError } from "../core/errors.ts";
import { isNameTooLong } from "../core/whole-file.ts";
import type { ImageSource } from "../image/source.ts";
import { Complaints } from "./complaints.ts";
import { Progress } from "./progress.ts";
import type { PictureResult } from "./result-format.ts";
import type { ResultSink } from "./result-sink.ts";
import type { PictureSaver } from "./save-pictures.ts";
import type { Tally } from "./tally.ts";
import type { Terminal } from "./terminal.ts";

/** A result, and the picture where it is no file that can be read again. */
export type WritablePicture = PictureResult & { readonly source?: ImageSource };

/** Where results go. */
export interface PictureWriter {
  readonly sink: ResultSink;
  readonly saver: PictureSaver | undefined;
  readonly terminal: Terminal;
  /** Whether to draw a bar, and what it counts to. */
  readonly progress: { readonly total: number | undefined } | undefined;
}

/** Called with a picture that could not be read, or whose copy cannot be written. */
export type OnBadPicture = (file: string, error: Error) => void;

/** @returns false if it cannot be drawn, which has been told then */
async function savePicture(
  saver: PictureSaver | undefined,
  picture: WritablePicture,
  onBadPicture: OnBadPicture,
): Promise<boolean> {
  try {
    await saver?.save(picture, picture.source);
    return true;
  } catch (error) {
    if (!(error instanceof ImageError || isNameTooLong(error))) throw error;
    onBadPicture(picture.file, error as Error);
    return false;
  }
}

/**
 * Write every result, and what ends the whole.
 *
 * @param results made by a function that is given what to call with a bad picture
 */
export async function writePictures(
  results: (onBadPicture: OnBadPicture) => AsyncIterable<WritablePicture>,
  { sink, saver, terminal, progress: bar }: PictureWriter,
): Promise<Tally> {
  const tally: Tally = { good: 0, bad: 0, objects: 0 };
  const progress = bar === undefined ? undefined : new Progress(terminal, "detect", "pictures");
  const complaints = new Complaints(terminal);
  const onBadPicture = (_: string, error: Error): void => {
    tally.bad += 1;
    complaints.tell(error);
  };
  try {
    for await (const picture of results(onBadPicture)) {
      await sink.write(picture);
      // One that has gone since is a bad one, and no further picture.
      if (await savePicture(saver, picture, onBadPicture)) tally.good += 1;
      tally.objects += picture.result.detections.length;
      progress?.update(tally.good + tally.bad, bar?.total);
    }
  } finally {
    progress?.close();
  }
  await sink.finish();
  return tally;
}
