/** @module DetectVideos: videos and live sources through one detector, with annotated copies. */

import type { Detector } from "../api/detector.ts";
import { VideoError } from "../core/errors.ts";
import { plural } from "../core/units.ts";
import { Device } from "../cuda/device.ts";
import { DETECT_FORMS } from "../tasks/detect/detect-forms.ts";
import { detectVideo } from "../video/detect-video.ts";
import { PinnedFrames } from "../video/video-frame.ts";
import type { VideoOptions } from "../video/video-options.ts";
import { VideoSink } from "../video/video-sink.ts";
import { VideoSource } from "../video/video-source.ts";
import { refuse } from "./args.ts";
import { type CommandContext, EXIT_FAILED, EXIT_OK } from "./command.ts";
import { closeAfter, untilClosed } from "./detect-all.ts";
import type { DetectArguments } from "./detect-flags.ts";
import { Complaints, formatTally, type Tally } from "./images.ts";
import { findModel, loadDetector } from "./load-detector.ts";
import { Progress } from "./progress.ts";
import { openTarget, type ResultSink } from "./result-target.ts";
import { annotatedOptions, annotatedPaths } from "./save.ts";

/** More than any number of frames in flight needs; only as many are made as are. */
const MOST_BUFFERS = 256;

/** One video to be done. */
interface VideoJob {
  readonly video: VideoSource;
  /** As the user named it. */
  readonly file: string;
  /** Where the annotated copy goes. */
  readonly copy: string | undefined;
}

/** What all videos of a run share. */
interface VideoRun {
  readonly detector: Detector;
  readonly args: DetectArguments;
  readonly results: ResultSink;
  readonly tally: Tally;
}

async function detectFrames(job: VideoJob, run: VideoRun, { terminal, signal }: CommandContext): Promise<void> {
  const { video, file, copy } = job;
  const { detector, args, results, tally } = run;
  const sinkOptions = annotatedOptions(video, args.videoOptions);
  await using sink = copy === undefined ? undefined : await VideoSink.open(copy, sinkOptions);
  const progress = args.isQuiet ? undefined : new Progress(terminal, "detect", "frames");
  // Frames that are on their way are finished, and the copy is ended as it should be.
  const stop = (): void => void video.close();
  signal.addEventListener("abort", stop);
  let done = 0;
  try {
    // While the copy was opened nobody listened.
    if (signal.aborted) return;
    for await (const { frame, ...result } of untilClosed(detectVideo(detector, video), signal)) {
      await results.write({ file, result, frame });
      if (sink !== undefined) {
        DETECT_FORMS.paint(frame, result);
        await sink.write(frame, frame.timestampMs);
      }
      done += 1;
      tally.good += 1;
      tally.objects += DETECT_FORMS.count(result);
      progress?.update(done, video.expected);
    }
  } finally {
    progress?.close();
    signal.removeEventListener("abort", stop);
    if (done > 0) await sink?.finish();
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

/** `, 12 frames dropped, opened again 2 times`: what happened on the way, where something did. */
function formatLosses(videos: readonly VideoSource[]): string {
  const dropped = videos.reduce((sum, video) => sum + video.dropped, 0);
  const reconnects = videos.reduce((sum, video) => sum + video.reconnects, 0);
  const again = reconnects === 0 ? "" : `, opened again ${plural(reconnects, "time")}`;
  return `${dropped === 0 ? "" : `, ${plural(dropped, "frame")} dropped`}${again}`;
}

/**
 * Detect in every frame of every video, one video after the other. One that cannot be read does not stop the others.
 *
 * @param files paths, addresses and cameras
 * @returns the exit code
 */
export async function detectVideos(
  args: DetectArguments,
  files: readonly string[],
  context: CommandContext,
): Promise<number> {
  const { terminal, output, signal } = context;
  if (args.format === "coco" && files.length > 1) {
    const found = "--format coco numbers the frames of one video by their place";
    throw refuse("detect", "format", found, "run it once for each video, or choose jsonl");
  }
  const copies = args.save === undefined ? undefined : annotatedPaths(args.save, files, args.output);
  const tally: Tally = { good: 0, bad: 0, objects: 0 };
  const complaints = new Complaints(terminal);
  const report = (error: VideoError): void => {
    tally.bad += 1;
    complaints.tell(error);
  };
  let pinned: PinnedFrames | undefined;
  await using stack = new AsyncDisposableStack();
  const allocate = (byteLength: number): Uint8Array => pinned?.allocate(byteLength) ?? new Uint8Array(byteLength);
  const options = { ...args.videoOptions, allocate, buffers: MOST_BUFFERS };
  const jobs: VideoJob[] = [];
  for (const [at, file] of files.entries()) {
    try {
      const video = await openVideo(file, options, signal);
      jobs.push({ video, file: video.name, copy: copies?.[at] });
    } catch (error) {
      if (!(error instanceof VideoError) || files.length === 1) throw error;
      report(error);
    }
  }
  const target = openTarget(
    args,
    jobs.map(({ file }) => file),
    output,
    "videos",
  );
  stack.defer(() => target[Symbol.dispose]());
  const model = await findModel(args.model, context);
  const detector = await loadDetector(model, args.detector, context, { command: "detect", isQuiet: args.isQuiet });
  closeAfter(signal, detector);
  if (detector.backend.kind === "gpu") {
    const { device: devices = 0 } = args.detector;
    const device = Device.open(typeof devices === "number" ? devices : devices[0]);
    stack.defer(() => device.close());
    pinned = new PinnedFrames(device);
    stack.defer(() => pinned?.close());
  }
  stack.use(detector);
  const results = target.sink(DETECT_FORMS, detector.labels);
  const started = performance.now();
  for (const job of jobs) {
    if (signal.aborted) break;
    try {
      await detectFrames(job, { detector, args, results, tally }, context);
    } catch (error) {
      if (!(error instanceof VideoError)) throw error;
      report(error);
    }
  }
  await results.finish();
  if (!args.isQuiet) {
    const summary = formatTally(tally.good, tally.objects, performance.now() - started, "frame");
    terminal.line(terminal.paint("dim", `${summary}${formatLosses(jobs.map(({ video }) => video))}`));
  }
  return tally.bad > 0 || signal.aborted ? EXIT_FAILED : EXIT_OK;
}
