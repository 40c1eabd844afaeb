/** @module DetectArriving: pictures that come one by one, from a folder or from standard input, through one detector. */

import { existsSync } from "node:fs";
import { ImageError, message, VideoError } from "../core/errors.ts";
import { fileIdentity } from "../core/stats-of.ts";
import type { ImageSource } from "../image/source.ts";
import type { DetectionResult } from "../tasks/detect/detection.ts";
import { readPictures } from "../video/picture-stream.ts";
import { watchFolder } from "../video/watch-folder.ts";
import { refuse } from "./args.ts";
import { type CommandContext, EXIT_FAILED, EXIT_OK } from "./command.ts";
import { closeAfter, untilClosed } from "./detect-all.ts";
import type { DetectArguments } from "./detect-flags.ts";
import { type FramePlace, type PictureResult, plural } from "./formats.ts";
import { findModel, loadDetector } from "./load-detector.ts";
import { asPath, Complaints, formatTally, PICTURE_EXTENSIONS } from "./pictures.ts";
import { openTarget, writePictures } from "./result-target.ts";
import { openSaver } from "./save.ts";

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

/** What pictures of standard input are called in results. */
const STDIN = "-";
const STDIN_HINT = "send pictures: camera | bun-tensorrt detect -";

/** @throws the error itself, if it is neither that of a picture nor the system's */
function brokenStdin(cause: unknown): VideoError {
  if (cause instanceof VideoError) return cause;
  const { code, message: text } = cause as NodeJS.ErrnoException;
  if (code === undefined) throw cause;
  const found = `it gives no bytes: ${text}`;
  return new VideoError(message("read standard input", found, STDIN_HINT), "standard input", { cause });
}

async function* fromStdin(
  args: DetectArguments,
  signal: AbortSignal,
  onBroken: (error: VideoError) => void,
): AsyncGenerator<ArrivingPicture, void, undefined> {
  const pictures = readPictures(Bun.stdin.stream(), { framing: args.stdin ?? "jpeg" });
  let index = 0;
  try {
    for await (const bytes of untilAborted(pictures, signal)) {
      // A file has a name, for messages.
      const source = new File([bytes], `picture ${index} from standard input`);
      yield { file: STDIN, source, frame: { index: index++, timestampMs: undefined } };
    }
  } catch (error) {
    // What came before the break is answered.
    onBroken(brokenStdin(error));
  }
}

async function* fromFolder(files: AsyncIterable<string>): AsyncGenerator<ArrivingPicture, void, undefined> {
  for await (const path of files) {
    const file = asPath(path);
    yield { file, source: file };
  }
}

/**
 * Detect in pictures as they come, until standard input ends or Ctrl-C is pressed.
 *
 * @returns the exit code
 */
export async function runArriving(args: DetectArguments, context: CommandContext): Promise<number> {
  const { terminal, output, signal } = context;
  const { watch } = args;
  if (watch !== undefined && !existsSync(watch)) {
    throw refuse("detect", "watch", `--watch must be a folder, got ${JSON.stringify(watch)}`, "make it first");
  }
  const { save } = args;
  if (watch !== undefined && save !== undefined && fileIdentity(save) === fileIdentity(watch)) {
    const found = "--save must not be the folder that is watched: each copy would be a new image";
    throw refuse("detect", "save", found, "give another folder");
  }
  if (watch === undefined && process.stdin.isTTY) {
    throw refuse("detect", "stdin", "Standard input is a terminal", STDIN_HINT);
  }
  using target = openTarget(args, [], output, watch === undefined ? "videos" : "pictures");
  const saver = save === undefined ? undefined : openSaver(save, []);
  // What comes while the model is loaded is answered as well.
  const files = watch === undefined ? undefined : watchFolder(watch, { extensions: PICTURE_EXTENSIONS, signal });
  const model = await findModel(args.model, context);
  await using detector = await loadDetector(model, args.detector, context, {
    command: "detect",
    isQuiet: args.isQuiet,
  });
  closeAfter(signal, detector);
  let isBroken = false;
  const onBroken = (error: VideoError): void => {
    isBroken = true;
    new Complaints(terminal).tell(error);
  };
  const started = performance.now();
  const pictures = files === undefined ? fromStdin(args, signal, onBroken) : fromFolder(files);
  if (!args.isQuiet && watch !== undefined) terminal.line(terminal.paint("dim", `Watching ${watch}; Ctrl-C ends it`));
  const tally = await writePictures((onBad) => untilClosed(detectArriving(detector, pictures, onBad), signal), {
    sink: target.sink(detector.labels),
    saver,
    terminal,
    progress: args.isQuiet ? undefined : { total: undefined },
  });
  if (tally.bad > 0) terminal.line(`${tally.bad} of ${plural(tally.good + tally.bad, "picture")} could not be read`);
  if (!args.isQuiet) {
    terminal.line(terminal.paint("dim", formatTally(tally.good, tally.objects, performance.now() - started)));
  }
  return tally.bad > 0 || isBroken ? EXIT_FAILED : EXIT_OK;
}
