/** @module DetectImages: images by name, from standard input or from a watched folder, through one detector, in order. */

import { existsSync } from "node:fs";
import { dirname, resolve } from "node:path";
import type { AnyDetector, TopDownPoseEstimator } from "../api/object-model.ts";
import { ClosedError, ImageError, message, VideoError } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { fileIdentity } from "../core/paths.ts";
import { allEnded } from "../core/resource.ts";
import { type DecodingLimits, IMAGE_EXTENSIONS } from "../image/decode-limits.ts";
import { isImage } from "../image/image.ts";
import { decodeImage } from "../image/image-file.ts";
import { type ImageSource, readSource } from "../image/source.ts";
import { peopleIn, withFound } from "../tasks/pose/top-down.ts";
import type { TaskResult } from "../tasks/task-result.ts";
import { readImages } from "../video/image-stream.ts";
import { watchFolder } from "../video/watch-folder.ts";
import { refuse } from "./args.ts";
import { type CommandContext, EXIT_FAILED, EXIT_OK } from "./command.ts";
import type { DetectArguments } from "./detect-flags.ts";
import type { FramePlace } from "./formats.ts";
import {
  asPath,
  type Complaints,
  formatImages,
  formatTally,
  type Inputs,
  isReadOnce,
  STDIN,
  tellEnd,
} from "./operands.ts";
import {
  type ImageWriter,
  type OnBadImage,
  type ResultTarget,
  type WritableImage,
  writeImages,
} from "./result-target.ts";
import { Progress } from "./terminal.ts";

/** What a run of `detect` reads. Close it, or bind it with `await using`. */
export interface DetectSource<Model extends ImageStream = Finder> extends Inputs, AsyncDisposable {
  readonly noun: "image" | "frame";
  /** True where results carry their place in a video or a stream. */
  readonly isNumbered: boolean;
  /** How many images or frames there will be, where that is known. */
  total(): number | undefined;
  /** Run them, in order. @param onBadImage called for each that cannot be read or decoded, in its turn */
  results(detector: Model, onBadImage: OnBadImage): AsyncIterable<WritableImage>;
  /** What happened on the way, to be added to the summary. */
  remarks(): string;
}

/** An image to be run. */
interface NamedImage {
  readonly file: string;
  readonly source: ImageSource;
  readonly frame?: FramePlace;
}

/** How long images that are running may go on after Ctrl-C: a model with a loop may never end. */
const FINISH_MS = 3000;

/** Close a detector a while after the signal, whatever still runs then: {@linkcode untilClosed} ends its results. */
export function closeAfter(
  signal: AbortSignal,
  detector: Pick<AnyDetector, "close">,
  waitMs: number = FINISH_MS,
): void {
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

/** What is asked of a detector here. */
export interface ImageStream {
  stream(
    images: AsyncIterable<ImageSource>,
    options: { readonly onError: (error: unknown, index: number) => void },
  ): AsyncIterable<TaskResult>;
  readonly streamAhead?: number;
}

/** A detector, or one with a model of points behind it. */
export type Finder = ImageStream & Pick<AnyDetector, "task" | "labels" | "backend" | "backends" | "close">;

/** An image for two models: its pixels, and what decoding them took and lost. What cannot be decoded fails in its turn. */
async function decodedOnce(source: ImageSource, limits: DecodingLimits) {
  const started = performance.now();
  const image = isImage(source) ? source : await decodeImage(source, limits).catch(() => source);
  const damage = isImage(image) && "damage" in image ? image.damage : undefined;
  return { image, decode: performance.now() - started, ...(damage === undefined ? {} : { damage }) };
}

/**
 * A detector and the model that finds the points of what it finds, as one pose model. While points are looked for, the
 * detector goes on with the next images.
 *
 * @param limits by which images are decoded, once for both
 */
export function withPoints(detector: AnyDetector, estimator: TopDownPoseEstimator, limits: DecodingLimits): Finder {
  return {
    task: estimator.task,
    labels: detector.labels,
    backend: detector.backend,
    backends: detector.backends,
    streamAhead: detector.streamAhead,
    close: async (options) => void (await allEnded([detector.close(options), estimator.close(options)])),
    async *stream(images, { onError }) {
      const running: Awaited<ReturnType<typeof decodedOnce>>[] = [];
      async function* feed(): AsyncGenerator<ImageSource, void, undefined> {
        for await (const source of images) {
          const decoded = await decodedOnce(source, limits);
          running.push(decoded);
          yield decoded.image;
        }
      }
      const onBadImage = (error: unknown, index: number): void => {
        running.shift();
        onError(error, index);
      };
      for await (const found of detector.stream(feed(), { onError: onBadImage })) {
        const { image, decode, ...damage } = running[0]!;
        const posed = await estimator.estimate(image, peopleIn(found)).catch((error: unknown) => {
          onBadImage(error, found.index);
        });
        if (posed === undefined) continue;
        running.shift();
        const timing = { ...found.timing, decode: found.timing.decode + decode, total: found.timing.total + decode };
        yield withFound(posed, Object.assign(found, { timing, ...damage }));
      }
    },
  };
}

/**
 * Run each image as it comes, until the signal is aborted.
 *
 * @param onBadImage called for each that cannot be read or decoded, in its turn
 * @returns the good images' results, in order
 * @throws whatever is not the fault of an image
 */
export async function* detectAll(
  detector: ImageStream,
  images: AsyncIterable<NamedImage>,
  signal: AbortSignal,
  onBadImage: OnBadImage,
): AsyncGenerator<WritableImage, void, undefined> {
  const running: NamedImage[] = [];
  async function* feed(): AsyncGenerator<ImageSource, void, undefined> {
    for await (const image of untilAborted(images, signal)) {
      running.push(image);
      yield image.source;
    }
  }
  const onError = (error: unknown): void => {
    const { file } = running.shift()!;
    if (!(error instanceof ImageError)) throw error;
    onBadImage(file, error);
  };
  const results = untilClosed(detector.stream(feed(), { onError }), signal);
  for await (const result of results) yield { ...running.shift()!, result };
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

/** Images by name. @param isSaved they are needed once more with their results: what is gone then is read ahead */
export async function* imagesOf(
  files: Iterable<string> | AsyncIterable<string>,
  isSaved: boolean,
): AsyncGenerator<NamedImage, void, undefined> {
  for await (const file of files) yield { file, source: isSaved && isReadOnce(file) ? await readOnce(file) : file };
}

function sourceOf(
  images: AsyncGenerator<NamedImage>,
  signal: AbortSignal,
  { images: files, isNumbered }: Pick<DetectSource, "images" | "isNumbered">,
): DetectSource<ImageStream> {
  return {
    noun: "image",
    isNumbered,
    images: files,
    videos: [],
    total: () => files.length || undefined,
    results: (detector, onBadImage) => detectAll(detector, images, signal, onBadImage),
    remarks: () => "",
    [Symbol.asyncDispose]: async () => {},
  };
}

/** Images by name. */
export function openFiles(
  { save, crop, poseModel }: { readonly [Name in "save" | "crop" | "poseModel"]?: string | undefined },
  images: readonly string[],
  { signal }: CommandContext,
): DetectSource<ImageStream> {
  return sourceOf(imagesOf(images, (save ?? crop ?? poseModel) !== undefined), signal, { images, isNumbered: false });
}

/** Images, and then the frames of videos. */
export function joined(images: DetectSource, videos: DetectSource): DetectSource {
  return {
    noun: "image",
    isNumbered: true,
    images: images.images,
    videos: videos.videos,
    total() {
      const [count, frames] = [images.total(), videos.total()];
      return count === undefined || frames === undefined ? undefined : count + frames;
    },
    async *results(detector, onBadImage) {
      yield* images.results(detector, onBadImage);
      yield* videos.results(detector, onBadImage);
    },
    remarks: () => videos.remarks(),
    [Symbol.asyncDispose]: () => videos[Symbol.asyncDispose](),
  };
}

const STDIN_HINT = "send images: camera | bunx bun-tensorrt detect -";

/** @throws the error itself, if it is neither that of an image nor the system's */
function brokenStdin(cause: unknown): VideoError {
  if (cause instanceof VideoError) return cause;
  const { code, message: text } = cause as NodeJS.ErrnoException;
  if (code === undefined) throw cause;
  return new VideoError(message("read standard input", text, STDIN_HINT), "standard input", { cause });
}

async function* fromStdin(
  { stdin: framing = "jpeg" }: DetectArguments,
  signal: AbortSignal,
  complaints: Complaints,
): AsyncGenerator<NamedImage, void, undefined> {
  let index = 0;
  try {
    for await (const bytes of untilAborted(readImages(Bun.stdin.stream(), { framing }), signal)) {
      // A file has a name, for messages.
      const source = new File([bytes], `image ${index} from standard input`);
      yield { file: STDIN, source, frame: { index: index++, timestampMs: undefined } };
    }
  } catch (error) {
    // What came before the break is answered.
    complaints.tell(brokenStdin(error));
  }
}

/** Images of standard input. @throws {OptionError} If that is a terminal */
export function openStdin(args: DetectArguments, { signal }: CommandContext, complaints: Complaints): DetectSource {
  if (process.stdin.isTTY) throw refuse("stdin", "Standard input is a terminal", STDIN_HINT);
  return sourceOf(fromStdin(args, signal, complaints), signal, { images: [], isNumbered: true });
}

async function* fromFolder(paths: AsyncIterable<string>): AsyncGenerator<NamedImage, void, undefined> {
  for await (const path of paths) yield { file: asPath(path), source: asPath(path) };
}

/** New images in a folder, from now on. @throws {OptionError} If there is none, or copies would go into it */
export function openFolder(
  folder: string,
  { save, crop, isQuiet }: DetectArguments,
  { signal, terminal }: CommandContext,
): DetectSource {
  if (!existsSync(folder)) {
    throw refuse("watch", `--watch must be a folder, got ${JSON.stringify(folder)}`, "make it first");
  }
  if (save !== undefined && fileIdentity(save) === fileIdentity(folder)) {
    const found = "--save must not be the folder that is watched: each copy would be a new image";
    throw refuse("save", found, "give another folder");
  }
  // What is cut out goes into folders within that one.
  if (
    crop !== undefined &&
    [folder, dirname(resolve(folder))].some((one) => fileIdentity(one) === fileIdentity(crop))
  ) {
    const found =
      "--crop must not be the folder that is watched, nor the one above it: each cut-out would be a new image";
    throw refuse("crop", found, "give another folder");
  }
  const paths = watchFolder(folder, { extensions: IMAGE_EXTENSIONS, signal });
  const source = sourceOf(fromFolder(paths), signal, { images: [], isNumbered: false });
  return {
    ...source,
    results(detector, onBadImage) {
      if (!isQuiet) terminal.line(terminal.paint("dim", `Watching ${folder}; Ctrl-C ends it`));
      return source.results(detector, onBadImage);
    },
  };
}

/** A model that a command runs. */
export type RunModel = ImageStream & Pick<AnyDetector, "close"> & { readonly labels?: readonly string[] };

/** What a command does with the results of a model. */
type ModelRun = Pick<ImageWriter, "forms" | "savers" | "complaints"> &
  Pick<DetectArguments, "isQuiet"> & { readonly name: string; readonly target: ResultTarget };

/** Run a model over a source, write what comes of it, and say how it went. @param run.name of the command @returns the exit code */
export async function runModel<Model extends RunModel>(
  model: Model,
  source: DetectSource<Model>,
  { name, target, isQuiet, ...writer }: ModelRun,
  { terminal, signal }: CommandContext,
): Promise<number> {
  closeAfter(signal, model);
  const { images, videos, noun } = source;
  const unit = noun === "image" && videos.length > 0 ? "images and frames" : (`${noun}s` as const);
  const { forms, complaints } = writer;
  const unopened = complaints.count;
  const isListed = images.length > 0 && !source.isNumbered;
  const isShown = !isQuiet && (!isListed || images.length > 1);
  const started = performance.now();
  const tally = await writeImages((onBadImage) => source.results(model, onBadImage), {
    ...writer,
    sink: target.sink(forms, model.labels ?? []),
    progress: isShown ? new Progress(terminal, name, unit) : undefined,
    total: source.total,
    videos,
  });
  // Of classes and maps each image has some: how many there are says nothing.
  const counts =
    forms.noun === "object"
      ? formatTally(tally, performance.now() - started, noun)
      : formatImages(tally.images.good, started);
  const summary = isShown && (terminal.isTerminal || !isListed) ? `${counts}${source.remarks()}` : undefined;
  tellEnd(terminal, "read", tally, {
    unopened,
    ...(isListed ? { files: images.length } : {}),
    ...(summary === undefined ? {} : { summary }),
  });
  return complaints.count > 0 ? EXIT_FAILED : EXIT_OK;
}
