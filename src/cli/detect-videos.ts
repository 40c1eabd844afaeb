/** @module DetectVideos: videos and live sources through one detector, with annotated copies and what zones and lines counted. */

import { LibraryLoadError, UnsupportedVideoError, VideoError } from "../core/errors.ts";
import { logger, printable, printableJson } from "../core/log.ts";
import { overwritten } from "../core/paths.ts";
import { pause } from "../core/resource.ts";
import { formatDuration, plural } from "../core/units.ts";
import { openOutput } from "../core/whole-file.ts";
import { Device } from "../cuda/device.ts";
import { formsFor } from "../tasks/objects/object-forms.ts";
import type { TaskResult } from "../tasks/task-result.ts";
import { hiderOf, objectsOf, trackResult } from "../track/tracked-stream.ts";
import { Tracker } from "../track/tracker.ts";
import { readZones } from "../track/zone-options.ts";
import type { ZoneEvent } from "../track/zone-shapes.ts";
import { Zones } from "../track/zones.ts";
import { isNetworkAddress } from "../video/address.ts";
import { detectInLine, FrameLine, merged } from "../video/detect-video.ts";
import { PinnedFrames } from "../video/video-frame.ts";
import type { VideoOptions } from "../video/video-options.ts";
import { VideoSink } from "../video/video-sink.ts";
import { VideoSource } from "../video/video-source.ts";
import { refuse } from "./args.ts";
import type { CommandContext } from "./command.ts";
import type { DetectArguments } from "./detect-flags.ts";
import { type DetectSource, type Finder, untilClosed } from "./detect-images.ts";
import { type Complaints, type Inputs, videoNames } from "./operands.ts";
import type { WritableImage } from "./result-target.ts";
import { annotatedOptions, annotatedPaths, localPath } from "./save.ts";
import { alignRows } from "./terminal.ts";

/** Takes events. */
interface ZoneFile extends Disposable {
  /** @param index of the frame; none for those of the end of a video */
  write(source: string, event: ZoneEvent, index?: number): Promise<void>;
  finish(): Promise<void>;
}

/**
 * Open a file for events, a JSON line each.
 *
 * @throws {OptionError} If it is a file that is read
 * @throws {BunTensorRtError} If it cannot be written
 */
function openZoneFile(
  path: string,
  { model, zones, output }: Pick<DetectArguments, "model" | "zones" | "output">,
  files: readonly string[],
): ZoneFile {
  const others = [...files.map(localPath), ...[model, zones, output].filter((one) => one !== undefined)];
  if (overwritten([path], others) !== undefined) {
    const found = `--events would overwrite a file of this run: ${JSON.stringify(path)}`;
    throw refuse("events", found, "give another file");
  }
  const file = openOutput(path);
  return {
    async write(source, event, index) {
      await file.write(`${printableJson({ source, ...(index === undefined ? {} : { index }), ...event })}\n`);
    },
    async finish() {
      // Where nothing has happened the file is empty, rather than what it was before.
      await file.write("");
      await file.finish();
    },
    [Symbol.dispose]: () => file.close(),
  };
}

/** What was counted, in tables below each other, with a line break before each; of several videos, with their names. */
function formatZones(videos: readonly { readonly name: string; readonly zones: Zones | undefined }[]): string {
  return videos
    .map(({ name, zones }) => (zones === undefined ? "" : tableOf(zones, videos.length > 1 ? name : "")))
    .join("");
}

function tableOf({ counts: { zones, lines } }: Zones, name: string): string {
  const head = ["", "in", "out", "inside", "most", "mean stay", "longest"];
  const rows: string[][] = [];
  const add = (title: string, byClass: object, cells: readonly string[]): void => {
    rows.push([printable(title), ...cells]);
    const classes = Object.entries(byClass) as [string, { in: number; out: number; occupancy?: number }][];
    if (classes.length < 2) return;
    for (const [label, one] of classes) {
      rows.push([`  ${printable(label)}`, `${one.in}`, `${one.out}`, `${one.occupancy ?? ""}`, "", "", ""]);
    }
  };
  for (const { name: zone, byClass, occupancy, peak, meanDwellMs, maxDwellMs, ...count } of zones) {
    const stays = [meanDwellMs, maxDwellMs].map((stay) => (stay === 0 ? "" : formatDuration(stay)));
    add(zone, byClass, [`${count.in}`, `${count.out}`, `${occupancy}`, `${peak}`, ...stays]);
  }
  for (const { name: line, byClass, ...count } of lines) {
    add(line, byClass, [`${count.in}`, `${count.out}`, "", "", "", ""]);
  }
  const alignments = head.map((_, at) => (at === 0 ? "left" : "right") as "left" | "right");
  return `${name === "" ? "" : `\n${printable(name)}`}\n${alignRows([head, ...rows], alignments).join("\n")}`;
}

/** More than any number of frames in flight needs; only as many are made as are. */
const MOST_BUFFERS = 256;
/** A camera that answers no sooner after the first one joins the run when it does. */
const LATE_MS = 2000;

interface OpenVideo {
  readonly video: VideoSource;
  /** What lines of JSON call it: that of no other. */
  readonly name: string;
  /** Where the annotated copy goes. */
  readonly copy: string | undefined;
  /** Counts its objects. */
  readonly zones: Zones | undefined;
}

/** @param line that of all videos which are read at once */
async function* detectFrames(
  detector: Finder,
  { video, name, copy, zones }: OpenVideo,
  line: FrameLine,
  events: ZoneFile | undefined,
  { videoOptions: options, draw, track }: Pick<DetectArguments, "videoOptions" | "draw" | "track">,
  signal: AbortSignal,
): AsyncGenerator<WritableImage, void, undefined> {
  await using sink = copy === undefined ? undefined : await VideoSink.open(copy, annotatedOptions(video, options));
  // Frames that are on their way are finished, and the copy is ended as it should be.
  const stop = (): void => void video.close();
  signal.addEventListener("abort", stop);
  const forms = formsFor(detector.task);
  const tracker = track && new Tracker(track);
  // What nobody may see is hidden from the first frame on, and where it is.
  const hiding = tracker && sink && draw !== undefined && (draw.privacy ?? "none") !== "none" ? draw : undefined;
  let isWritten = false;
  try {
    // While the copy was opened nobody listened.
    if (signal.aborted) return;
    for await (const { frame, ...result } of untilClosed(detectInLine<TaskResult>(detector, video, {}, line), signal)) {
      const hide = hiding && hiderOf(result, hiding);
      if (tracker !== undefined) trackResult(tracker, result, frame);
      const happened = zones?.update(objectsOf(result), frame);
      const counted = happened && { zones: { occupancy: zones!.occupancy, events: happened } };
      for (const event of happened ?? []) await events?.write(name, event, frame.index);
      yield { file: video.name, name, result, frame, source: frame, ...counted };
      if (sink === undefined) continue;
      hide?.(frame);
      forms.paint(frame, result, draw);
      zones?.paint(frame, draw);
      await sink.write(frame, frame.timestampMs);
      isWritten = true;
    }
    for (const event of zones?.finish() ?? []) await events?.write(name, event);
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

/** Wait for cameras: for all, or as long as a run that has one of them is to wait for others. */
async function untilAnswered(cameras: readonly Promise<VideoSource>[], signal: AbortSignal): Promise<void> {
  const all = Promise.allSettled(cameras);
  const late = Promise.any(cameras).then(
    () => pause(LATE_MS, signal),
    () => all,
  );
  await Promise.race([all, late]);
}

/** True for what one video fails by, and others do not. */
function isOfVideo(error: unknown): error is VideoError | UnsupportedVideoError {
  return error instanceof VideoError || error instanceof UnsupportedVideoError;
}

/** `, 12 frames dropped, opened again 2 times`: what happened on the way, where something did; of several, by name. */
function formatLosses(videos: readonly OpenVideo[]): string {
  const counts = (count: (video: VideoSource) => number): { readonly sum: number; readonly shares: string } => {
    const lossy = videos.map(({ video, name }) => ({ name, count: count(video) })).filter((one) => one.count > 0);
    const shares = lossy.map((one) => `${printable(one.name)} ${one.count}`).join(", ");
    return {
      sum: lossy.reduce((sum, one) => sum + one.count, 0),
      shares: videos.length > 1 ? ` (${shares})` : "",
    };
  };
  const dropped = counts((video) => video.dropped);
  const again = counts((video) => video.reconnects);
  return [
    dropped.sum === 0 ? "" : `, ${plural(dropped.sum, "frame")} dropped${dropped.shares}`,
    again.sum === 0 ? "" : `, opened again ${plural(again.sum, "time")}${again.shares}`,
  ].join("");
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
  const zones = args.zones === undefined ? undefined : await readZones(args.zones);
  if (zones !== undefined && args.track === undefined) {
    logger.warn("Counting only who is inside: entries, exits and crossings need --track");
  }
  let pinned: PinnedFrames | undefined;
  const allocate = (byteLength: number): Uint8Array => pinned?.allocate(byteLength) ?? new Uint8Array(byteLength);
  const { device: devices = 0 } = args.detector;
  const deviceIndex = typeof devices === "number" ? devices : devices[0];
  const options = { ...args.videoOptions, allocate, buffers: MOST_BUFFERS, device: deviceIndex };
  const names = videoNames(files);
  const videos: OpenVideo[] = [];
  const ending = new AbortController();
  const opening = AbortSignal.any([signal, ending.signal]);
  const open = (file: string): Promise<VideoSource> => openVideo(file, options, opening);
  const add = async (at: number, opened: Promise<VideoSource>): Promise<OpenVideo> => {
    const copy = copies?.[at];
    const one = { video: await opened, name: names[at]!, copy, zones: zones && new Zones(zones) };
    videos.push(one);
    return one;
  };
  // Cameras that do not answer would be waited for one after the other.
  const waiting = new Map<number, Promise<VideoSource>>();
  const cameras = files.map((file, at) => {
    if (!isNetworkAddress(file)) return undefined;
    const opened = open(file).finally(() => waiting.delete(at));
    waiting.set(at, opened);
    return opened;
  });
  const close = async (): Promise<void> => {
    ending.abort();
    // One that has answered may not be among the videos yet.
    const answered = (await Promise.allSettled(cameras)).map((one) =>
      one.status === "fulfilled" ? one.value : undefined,
    );
    await Promise.all([...answered, ...videos.map(({ video }) => video)].map((video) => video?.close()));
  };
  await untilAnswered([...waiting.values()], signal);
  const late = new Map(waiting);
  for (const [at, file] of files.entries()) {
    if (late.has(at)) continue;
    try {
      await add(at, cameras[at] ?? open(file));
    } catch (error) {
      const isFfmpegMissing = error instanceof LibraryLoadError && images.length > 0;
      const isOneOfMany = isOfVideo(error) && images.length + files.length > 1;
      if (!isFfmpegMissing && !isOneOfMany) {
        await close();
        throw error;
      }
      complaints.tell(error);
      if (isFfmpegMissing) break;
    }
  }
  const stack = new AsyncDisposableStack();
  const events = args.events === undefined ? undefined : stack.use(openZoneFile(args.events, args, files));
  return {
    noun: "frame",
    isNumbered: true,
    images: [],
    videos: videos.map(({ video }) => video.name),
    total: () =>
      videos.reduce<number | undefined>((sum, { video: { expected } }) => sum && expected && sum + expected, 0),
    async *results(detector) {
      if (detector.backend.kind === "gpu") {
        const device = stack.adopt(Device.open(deviceIndex), (one) => one.close());
        pinned = stack.adopt(new PinnedFrames(device), (one) => one.close());
      }
      async function* framesOf(one: OpenVideo, line: FrameLine): AsyncGenerator<WritableImage, void, undefined> {
        // A camera may have answered just as the run ended.
        if (opening.aborted) return;
        try {
          yield* detectFrames(detector, one, line, events, args, signal);
        } catch (error) {
          if (!isOfVideo(error)) throw error;
          complaints.tell(error);
        }
      }
      async function* framesOfLate(at: number, opened: Promise<VideoSource>, line: FrameLine) {
        try {
          yield* framesOf(await add(at, opened), line);
        } catch (error) {
          if (opening.aborted) return;
          if (!isOfVideo(error)) throw error;
          complaints.tell(error);
        }
      }
      // A live source has no end that another could wait for.
      const { live = [], recorded = [] } = Object.groupBy(videos, ({ video: { info } }) =>
        info.isLive ? "live" : "recorded",
      );
      for (const one of recorded) yield* framesOf(one, new FrameLine());
      const line = new FrameLine(detector.streamAhead);
      const stop = (): void => {
        ending.abort();
        for (const { video } of videos) void video.close();
      };
      const joining = Array.from(late, ([at, opened]) => framesOfLate(at, opened, line));
      yield* merged([...live.map((one) => framesOf(one, line)), ...joining], stop);
      await events?.finish();
    },
    remarks: () => formatLosses(videos) + formatZones(videos),
    // What reads a video may still write into a frame after an error: the memory goes last.
    async [Symbol.asyncDispose]() {
      await close();
      await stack.disposeAsync();
    },
  };
}
