/** @module DetectVideos: videos and live sources through one detector, with annotated copies. */

import { LibraryLoadError, VideoError } from "../core/errors.ts";
import { plural } from "../core/units.ts";
import { Device } from "../cuda/device.ts";
import { formsFor } from "../tasks/objects/object-forms.ts";
import type { TaskResult } from "../tasks/task-result.ts";
import { trackResult } from "../track/tracked-stream.ts";
import { Tracker } from "../track/tracker.ts";
import { detectVideo } from "../video/detect-video.ts";
import { PinnedFrames } from "../video/video-frame.ts";
import type { VideoOptions } from "../video/video-options.ts";
import { VideoSink } from "../video/video-sink.ts";
import { VideoSource } from "../video/video-source.ts";
import { refuse } from "./args.ts";
import type { CommandContext } from "./command.ts";
import type { DetectArguments } from "./detect-flags.ts";
import { type DetectSource, type Finder, untilClosed } from "./detect-images.ts";
import type { Complaints } from "./images.ts";
import type { Inputs } from "./operands.ts";
import type { WritableImage } from "./result-target.ts";
import { annotatedOptions, annotatedPaths } from "./save.ts";

/** More than any number of frames in flight needs; only as many are made as are. */
const MOST_BUFFERS = 256;

/** @param copy where the annotated copy goes */
async function* detectFrames(
  detector: Finder,
  video: VideoSource,
  copy: string | undefined,
  { videoOptions: options, draw, track }: Pick<DetectArguments, "videoOptions" | "draw" | "track">,
  signal: AbortSignal,
): AsyncGenerator<WritableImage, void, undefined> {
  await using sink = copy === undefined ? undefined : await VideoSink.open(copy, annotatedOptions(video, options));
  // Frames that are on their way are finished, and the copy is ended as it should be.
  const stop = (): void => void video.close();
  signal.addEventListener("abort", stop);
  const forms = formsFor(detector.task);
  const tracker = track && new Tracker(track);
  let isWritten = false;
  try {
    // While the copy was opened nobody listened.
    if (signal.aborted) return;
    for await (const { frame, ...result } of untilClosed(detectVideo<TaskResult>(detector, video), signal)) {
      if (tracker !== undefined) trackResult(tracker, result, frame);
      yield { file: video.name, result, frame, source: frame };
      if (sink === undefined) continue;
      forms.paint(frame, result, draw);
      await sink.write(frame, frame.timestampMs);
      isWritten = true;
    }
  } finally {
    signal.removeEventListener("abort", stop);
    // A copy without a frame is none, and ending it would hide why.
    if (isWritten) await sink?.finish();
  }
}

/** Open a source, unless the signal gives up on one that does not answer. It does not cut short one that is open. */
async function openVideo(file: string, options: VideoOptions, signal: AbortSignal): Promise<VideoSource> {
  const opening = new AbortController();
  const giveUp = (): void => opening.abort(signal.reason);
  signal.addEventListener("abort", giveUp);
  if (signal.aborted) giveUp();
  try {
    return await VideoSource.open(file, { ...options, signal: opening.signal });
  } finally {
    signal.removeEventListener("abort", giveUp);
  }
}

/**
 * The items of several sources as they come. A source is asked for its next one when its last has been dealt with.
 *
 * @param stop ends what the sources wait for, where nobody wants more of them
 */
export async function* merged<T>(
  sources: readonly AsyncGenerator<T, void, undefined>[],
  stop: () => void,
): AsyncGenerator<T, void, undefined> {
  type Source = (typeof sources)[number];
  const open = new Set(sources);
  const ready: { readonly source: Source; readonly result: Promise<IteratorResult<T, void>> }[] = [];
  let wake = (): void => {};
  // No race of promises: that of a silent source would keep whatever it was raced against.
  const ask = (source: Source): void => {
    const result = source.next();
    const onSettled = (): void => {
      ready.push({ source, result });
      wake();
    };
    result.then(onSettled, onSettled);
  };
  sources.forEach(ask);
  try {
    while (open.size > 0) {
      for (let one = ready.shift(); one !== undefined; one = ready.shift()) {
        const { done, value } = await one.result;
        if (done === true) open.delete(one.source);
        else {
          yield value;
          ask(one.source);
        }
      }
      if (open.size > 0 && ready.length === 0) await new Promise<void>((resolve) => (wake = resolve));
    }
  } finally {
    if (open.size > 0) stop();
    await Promise.allSettled([...open].map((source) => source.return()));
  }
}

/** `, 12 frames dropped, opened again 2 times`: what happened on the way, where something did. */
function formatLosses(videos: readonly VideoSource[]): string {
  const dropped = videos.reduce((sum, video) => sum + video.dropped, 0);
  const reconnects = videos.reduce((sum, video) => sum + video.reconnects, 0);
  const again = reconnects === 0 ? "" : `, opened again ${plural(reconnects, "time")}`;
  return `${dropped === 0 ? "" : `, ${plural(dropped, "frame")} dropped`}${again}`;
}

/**
 * Videos, whose frames are run one video after the other, and then those of all live sources at once. One that cannot be read
 * does not stop the others.
 *
 * @param inputs the images beside them are not run here
 * @throws {VideoError} If a video is the only input, and cannot be opened
 * @throws {LibraryLoadError} If ffmpeg is not installed, and there are no images
 */
export async function openVideos(
  args: DetectArguments,
  { images, videos: files }: Inputs,
  { signal }: CommandContext,
  complaints: Complaints,
): Promise<DetectSource> {
  if (args.format === "coco" && files.length > 1) {
    const found = "--format coco numbers the frames of one video by their place";
    throw refuse("format", found, "run it once for each video, or choose jsonl");
  }
  const copies = args.save === undefined ? undefined : annotatedPaths(args.save, files, args.output);
  let pinned: PinnedFrames | undefined;
  const allocate = (byteLength: number): Uint8Array => pinned?.allocate(byteLength) ?? new Uint8Array(byteLength);
  const options = { ...args.videoOptions, allocate, buffers: MOST_BUFFERS };
  const copyOf = new Map<VideoSource, string | undefined>();
  for (const [at, file] of files.entries()) {
    try {
      copyOf.set(await openVideo(file, options, signal), copies?.[at]);
    } catch (error) {
      const isFfmpegMissing = error instanceof LibraryLoadError && images.length > 0;
      const isOneOfMany = error instanceof VideoError && images.length + files.length > 1;
      if (!isFfmpegMissing && !isOneOfMany) throw error;
      complaints.tell(error);
      if (isFfmpegMissing) break;
    }
  }
  const videos = [...copyOf.keys()];
  const stack = new AsyncDisposableStack();
  return {
    noun: "frame",
    isNumbered: true,
    images: [],
    videos: videos.map(({ name }) => name),
    total: () => videos.reduce<number | undefined>((sum, { expected }) => sum && expected && sum + expected, 0),
    async *results(detector) {
      if (detector.backend.kind === "gpu") {
        const { device: devices = 0 } = args.detector;
        const device = stack.adopt(Device.open(typeof devices === "number" ? devices : devices[0]), (one) =>
          one.close(),
        );
        pinned = stack.adopt(new PinnedFrames(device), (one) => one.close());
      }
      async function* framesOf(video: VideoSource): AsyncGenerator<WritableImage, void, undefined> {
        if (signal.aborted) return;
        try {
          yield* detectFrames(detector, video, copyOf.get(video), args, signal);
        } catch (error) {
          if (!(error instanceof VideoError)) throw error;
          complaints.tell(error);
        }
      }
      // A live source has no end that another could wait for.
      const [live, recorded] = [videos.filter(({ info }) => info.isLive), videos.filter(({ info }) => !info.isLive)];
      for (const video of recorded) yield* framesOf(video);
      const stop = (): void => live.forEach((video) => void video.close());
      yield* merged(live.map(framesOf), stop);
    },
    remarks: () => formatLosses(videos),
    // What reads a video may still write into a frame after an error: the memory goes last.
    async [Symbol.asyncDispose]() {
      await Promise.all(videos.map((video) => video.close()));
      await stack.disposeAsync();
    },
  };
}
