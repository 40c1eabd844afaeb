/** @module DetectArriving: images that come one by one, from a folder or from standard input, through one detector. */

import { existsSync } from "node:fs";
import { ImageError, message, VideoError } from "../core/errors.ts";
import { fileIdentity } from "../core/stats-of.ts";
import { plural } from "../core/units.ts";
import type { ImageSource } from "../image/source.ts";
import { DETECT_FORMS } from "../tasks/detect/detect-forms.ts";
import type { TaskResult } from "../tasks/task-result.ts";
import { readImages } from "../video/image-stream.ts";
import { watchFolder } from "../video/watch-folder.ts";
import { refuse } from "./args.ts";
import { type CommandContext, EXIT_FAILED, EXIT_OK } from "./command.ts";
import { closeAfter, untilClosed } from "./detect-all.ts";
import type { DetectArguments } from "./detect-flags.ts";
import type { FramePlace, ImageResult } from "./formats.ts";
import { asPath, Complaints, formatTally, IMAGE_EXTENSIONS } from "./images.ts";
import { findModel, loadDetector } from "./load-detector.ts";
import { openTarget, writeImages } from "./result-target.ts";
import { openSaver } from "./save.ts";

/** An image that has come. */
export interface ArrivingImage {
  readonly file: string;
  readonly source: ImageSource;
  readonly frame?: FramePlace;
}

/** What is asked of a detector here. */
export interface ArrivingStream {
  stream(
    images: AsyncIterable<ImageSource>,
    options: { readonly onError: (error: unknown, index: number) => void },
  ): AsyncIterable<TaskResult>;
}

/** A result and the image it is of. */
export type ArrivedResult = ImageResult & Pick<ArrivingImage, "source">;

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
 * Run each image as it comes.
 *
 * @param onBadImage called for each that cannot be read or decoded, in its turn
 * @returns the good images' results, in order
 * @throws whatever is not the fault of an image
 */
export async function* detectArriving(
  detector: ArrivingStream,
  images: AsyncIterable<ArrivingImage>,
  onBadImage: (file: string, error: ImageError) => void,
): AsyncGenerator<ArrivedResult, void, undefined> {
  const waiting: ArrivingImage[] = [];
  async function* feed(): AsyncGenerator<ImageSource, void, undefined> {
    for await (const image of images) {
      waiting.push(image);
      yield image.source;
    }
  }
  const onError = (error: unknown): void => {
    const image = waiting.shift()!;
    if (!(error instanceof ImageError)) throw error;
    onBadImage(image.file, error);
  };
  for await (const result of detector.stream(feed(), { onError })) yield { ...waiting.shift()!, result };
}

/** What images of standard input are called in results. */
const STDIN = "-";
const STDIN_HINT = "send images: camera | bun-tensorrt detect -";

/** @throws the error itself, if it is neither that of an image nor the system's */
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
): AsyncGenerator<ArrivingImage, void, undefined> {
  const images = readImages(Bun.stdin.stream(), { framing: args.stdin ?? "jpeg" });
  let index = 0;
  try {
    for await (const bytes of untilAborted(images, signal)) {
      // A file has a name, for messages.
      const source = new File([bytes], `image ${index} from standard input`);
      yield { file: STDIN, source, frame: { index: index++, timestampMs: undefined } };
    }
  } catch (error) {
    // What came before the break is answered.
    onBroken(brokenStdin(error));
  }
}

async function* fromFolder(files: AsyncIterable<string>): AsyncGenerator<ArrivingImage, void, undefined> {
  for await (const path of files) {
    const file = asPath(path);
    yield { file, source: file };
  }
}

/**
 * Detect in images as they come, until standard input ends or Ctrl-C is pressed.
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
  using target = openTarget(args, [], output, watch === undefined ? "videos" : "images");
  const saver = save === undefined ? undefined : openSaver(save, []);
  // What comes while the model is loaded is answered as well.
  const files = watch === undefined ? undefined : watchFolder(watch, { extensions: IMAGE_EXTENSIONS, signal });
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
  const images = files === undefined ? fromStdin(args, signal, onBroken) : fromFolder(files);
  if (!args.isQuiet && watch !== undefined) terminal.line(terminal.paint("dim", `Watching ${watch}; Ctrl-C ends it`));
  const tally = await writeImages((onBad) => untilClosed(detectArriving(detector, images, onBad), signal), {
    forms: DETECT_FORMS,
    sink: target.sink(DETECT_FORMS, detector.labels),
    saver,
    terminal,
    progress: args.isQuiet ? undefined : { total: undefined },
  });
  if (tally.bad > 0) terminal.line(`${tally.bad} of ${plural(tally.good + tally.bad, "image")} could not be read`);
  if (!args.isQuiet) {
    terminal.line(terminal.paint("dim", formatTally(tally.good, tally.objects, performance.now() - started)));
  }
  return tally.bad > 0 || isBroken ? EXIT_FAILED : EXIT_OK;
}
