/** @module VideoSink: frames into a video file, encoded by ffmpeg in a process of its own. */

import { realpathSync, rmSync, type Stats } from "node:fs";
import { extname, resolve } from "node:path";
import { ClosedError, message, ShapeError, VideoError } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { statsOf } from "../core/paths.ts";
import { Resource } from "../core/resource.ts";
import { type Image, imageOf, usualStandard, yuvRangeOf, yuvStandardOf } from "../image/image.ts";
import { tightNv12, tightRgb } from "../image/nv12.ts";
import { FRAME_HEADER_BYTES, matroskaHeader, type RawPixels, writeFrameHeader } from "./containers.ts";
import { ffmpegDialect, findFfmpeg, LOG_LEVEL, MessageLog, startWriting, type WritingChild } from "./ffmpeg.ts";
import { VideoFrame } from "./video-frame.ts";
import { parseVideoSinkOptions, type VideoSinkConfig, type VideoSinkOptions } from "./video-options.ts";

/** A process that was told to stop in mid-work gets this long. */
const GRACE_MS = 2000;
/** Said of a file that could not be ended, for want of room above all; ffmpeg 5.1 exits with 0 nevertheless. */
const UNENDED = /^Error (?:writing trailer|closing file)/;

/** What a file is made of whose first frame this is. */
function rawPixelsOf(image: Image): RawPixels {
  if (image.format !== "NV12") return { format: "RGB" };
  return { format: "NV12", yuvStandard: yuvStandardOf(image), yuvRange: yuvRangeOf(image) };
}

function pixelText(pixels: RawPixels): string {
  return pixels.format === "RGB" ? "RGB" : `NV12 ${pixels.yuvStandard} ${pixels.yuvRange}`;
}

function statsIfAny(path: string): Stats | undefined {
  try {
    return statsOf(path);
  } catch {
    return undefined; // ffmpeg says what is wrong with the path
  }
}

/** The process, which has a group of its own: after Ctrl-C it still has to end the file. */
class EncodeRun extends Resource {
  readonly child: WritingChild["child"];
  readonly log: MessageLog;
  readonly write: WritingChild["write"];
  #end: WritingChild["end"] | undefined;

  constructor({ child, write, end }: WritingChild, name: string) {
    super(`VideoSink ${JSON.stringify(name)}`);
    this.child = child;
    this.write = write;
    this.#end = end;
    this.log = new MessageLog(child.stderr, name, `file:${resolve(name)}`);
  }

  /** No frame follows. */
  endInput(): void {
    this.#end?.();
    this.#end = undefined;
  }

  protected override release(): void {
    this.endInput();
    if (this.child.exitCode === null) this.child.kill("SIGKILL");
  }
}

/**
 * A video file that is being written: H.264 in an MP4, MOV or MKV, VP9 in a WebM, by the extension. `finish` it, and the
 * file is whole; `close` alone leaves what there is. Where it cannot be ended, as on a full disk, what plays stays (MKV,
 * TS, …) and what does not is deleted (MP4, MOV, and anything empty).
 *
 * @example
 * ```ts
 * import { decodeImage } from "bun-tensorrt";
 * import { VideoSink } from "bun-tensorrt/video";
 *
 * const image = await decodeImage("street.jpg");
 * await using sink = await VideoSink.open("still.mp4", { width: image.width, height: image.height, rate: 25 });
 * await sink.write(image, 0);
 * await sink.finish();
 * ```
 */
export class VideoSink implements AsyncDisposable {
  /** Of the file. */
  readonly path: string;
  readonly #config: VideoSinkConfig;
  readonly #run: EncodeRun;
  /** Of the file that was there before, if there was one. */
  readonly #former: Stats | undefined;
  readonly #header = new Uint8Array(new ArrayBuffer(FRAME_HEADER_BYTES));
  /** The write that is on its way. */
  #writing: Promise<unknown> | undefined;
  /** Settled when the last frame that was handed in is on its way, or refused. */
  #handedIn: Promise<void> = Promise.resolve();
  /** Of the write that failed. */
  #failure: { readonly reason: unknown } | undefined;
  #isEnding = false;
  #written = 0;
  /** Of the last frame that was written. */
  #lastMs: number | undefined;
  /** Those of the first frame. */
  #pixels: RawPixels | undefined;

  private constructor(path: string, config: VideoSinkConfig, run: EncodeRun, former: Stats | undefined) {
    this.path = path;
    this.#former = former;
    this.#config = config;
    this.#run = run;
  }

  /**
   * Start writing a file; one that is there is replaced.
   *
   * @throws {LibraryLoadError} If ffmpeg is not installed; the message has the command that installs it
   * @throws {OptionError} If an option is unknown or out of range
   */
  static async open(path: string, options: VideoSinkOptions): Promise<VideoSink> {
    const config = parseVideoSinkOptions(options);
    const program = findFfmpeg("ffmpeg");
    const words = encodeArguments(path, config, (await ffmpegDialect(program)).passthrough);
    const former = statsIfAny(path);
    const run = new EncodeRun(startWriting([program, ...words]), path);
    return new VideoSink(path, config, run, former);
  }

  /** Frames written so far. */
  get written(): number {
    return this.#written;
  }

  /**
   * Write a frame. Resolves when the one before it is out, so that encoding goes on beside the work on the next frame.
   *
   * @param image       of the sink's size; pixels must not change until the next `write` or `finish` resolves. A
   * {@linkcode VideoFrame} is held until then
   * @param timestampMs later than that of the frame before; without meaning where the sink has a rate
   * @param options.durationMs how long it is shown where it is the last one. Default: what a {@linkcode VideoFrame} says,
   * else as long as the one before
   * @throws {ShapeError} If it has another size, or the first frame was NV12 and this one is not, or in other colours
   * @throws {VideoError} If ffmpeg has ended, with what it said
   */
  async write(
    image: Image,
    timestampMs: number,
    options: { readonly durationMs?: number | undefined } = {},
  ): Promise<void> {
    const { width, height } = this.#config;
    this.#assertOpen();
    if (image.width !== width || image.height !== height) {
      throw this.#misfit(`${width}x${height}`, `${image.width}x${image.height}`);
    }
    const frame = image instanceof VideoFrame ? image.retain() : undefined;
    // Frames that are handed in at once go one after the other.
    const started = this.#handedIn.then(() => this.#writeInTurn(image, timestampMs, options.durationMs, frame));
    this.#handedIn = started.catch(() => frame?.release());
    await started;
  }

  async #writeInTurn(
    image: Image,
    wantedMs: number,
    shownMs: number | undefined,
    frame: VideoFrame | undefined,
  ): Promise<void> {
    await this.#settle();
    this.#assertOpen();
    const timestampMs = Math.max(0, wantedMs);
    const formerMs = this.#lastMs ?? timestampMs;
    const durationMs = shownMs ?? (frame?.durationMs || Math.max(0, timestampMs - formerMs));
    // What cannot be written is thrown at once.
    this.#writing = this.#writeFrame(imageOf(image.data, image), timestampMs, durationMs)
      .catch((reason: unknown) => {
        this.#failure = { reason };
      })
      .finally(() => frame?.release());
    this.#lastMs = timestampMs;
    this.#written += 1;
  }

  #assertOpen(): void {
    if (this.#isEnding || this.#run.closed) throw new ClosedError("write a frame", this.#run.label);
  }

  #writeFrame(image: Image, timestampMs: number, durationMs: number): Promise<unknown> {
    const run = this.#run;
    const bytes = this.#bytesOf(image);
    writeFrameHeader(this.#header, bytes.length, timestampMs, durationMs);
    const writeRest = (): Promise<unknown> => run.write(this.#header).then(() => run.write(bytes));
    if (this.#pixels !== undefined) return writeRest();
    const { width, height } = this.#config;
    this.#pixels = rawPixelsOf(image);
    return run.write(matroskaHeader(width, height, this.#pixels)).then(writeRest);
  }

  /** The pixels as the file takes them, which its first frame decides. */
  #bytesOf(image: Image): Uint8Array {
    const own = rawPixelsOf(image);
    const first = this.#pixels ?? own;
    if (first.format === "RGB") return tightRgb(image);
    const [expected, actual] = [pixelText(first), pixelText(own)];
    if (expected === actual) return tightNv12(image);
    throw this.#misfit(expected, actual, "the first frame decides; after an RGB one, all others are converted to RGB");
  }

  #misfit(expected: string, actual: string, hint?: string): ShapeError {
    const action = `write a frame to ${JSON.stringify(this.path)}`;
    const text = message(action, `it must be ${expected}, got ${actual}`, hint);
    return new ShapeError(text, { tensor: "frame", expected, actual });
  }

  /**
   * Write what ends the file, and wait for it.
   *
   * @throws {VideoError} If ffmpeg could not write it, with what it said
   */
  async finish(): Promise<void> {
    if (this.#isEnding) return;
    await this.#handedIn;
    await this.#settle();
    this.#isEnding = true;
    this.#run.endInput();
    const code = await this.#run.child.exited;
    await this.#run.log.ended;
    this.#run.close();
    if (code !== 0) throw this.#refusal(`ended with code ${code}`);
    if (this.#run.log.errors.some((line) => UNENDED.test(line))) throw this.#refusal("could not end the file");
  }

  /** Stop: a file that was not finished is left as far as it got, and ffmpeg gets a moment to end it. */
  async close(): Promise<void> {
    if (this.#run.closed) return;
    this.#isEnding = true;
    const { child } = this.#run;
    const kill = (): void => child.kill("SIGKILL");
    // ffmpeg reads no more where what it writes to takes no more.
    const stuck = setTimeout(kill, GRACE_MS);
    await this.#handedIn;
    await this.#writing;
    clearTimeout(stuck);
    // Without a frame there is no file to end, and ffmpeg would only complain.
    if (this.#pixels === undefined) kill();
    this.#run.endInput();
    const slow = setTimeout(kill, GRACE_MS);
    const code = await child.exited;
    clearTimeout(slow);
    await this.#run.log.ended;
    this.#run.close();
    if (code !== 0) this.#discard();
  }

  /** Closes it at the end of an `await using` block; call `finish` first where the file is to be complete. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Wait for the write on its way, and say what went wrong with it. */
  async #settle(): Promise<void> {
    await this.#writing;
    if (this.#failure === undefined) return;
    const { reason } = this.#failure;
    if ((reason as NodeJS.ErrnoException).code !== "EPIPE") throw reason;
    await this.#run.child.exited;
    await this.#run.log.ended;
    throw this.#refusal("ended early");
  }

  /** Delete what ffmpeg has left, where nobody could play it. */
  #discard(): void {
    const { path } = this;
    const left = statsIfAny(path);
    const isOurs = left?.ino !== this.#former?.ino || left?.mtimeMs !== this.#former?.mtimeMs;
    if (!left?.isFile() || !isOurs || (left.size > 0 && !needsEnd(path, this.#config))) return;
    try {
      rmSync(realpathSync(path));
    } catch (error) {
      logger.debug(`Left ${path}, which cannot be played: ${(error as Error).message}`);
    }
  }

  #refusal(what: string): VideoError {
    this.#discard();
    const found = `ffmpeg ${what} (${this.#run.log.last("it did not say why")})`;
    const hint = "check the folder, the free space, and that this ffmpeg has the encoder (ffmpeg -encoders)";
    return new VideoError(message(`write the video ${JSON.stringify(this.path)}`, found, hint), this.path);
  }
}

const H264: readonly string[] = [".mp4", ".m4v", ".mov", ".mkv", ".ts", ".flv"];

/** Extensions that are taken for a video to write. */
export const VIDEO_FILE_EXTENSIONS: readonly string[] = [...H264, ".webm", ".avi", ".gif"];

const MOVIES: readonly string[] = [".mp4", ".m4v", ".mov"];

/** True for a file that cannot be played before its end is written: its index comes last. */
function needsEnd(path: string, { outputArguments }: VideoSinkConfig): boolean {
  return MOVIES.includes(extname(path).toLowerCase()) && !outputArguments.some((word) => word.includes("frag"));
}

function codecWords(extension: string, quality: number | undefined): string[] {
  if (H264.includes(extension)) {
    const words = ["-c:v", "libx264", "-preset", "veryfast", "-crf", String(quality ?? 23), "-pix_fmt", "yuv420p"];
    return [
      ...words,
      ...(MOVIES.includes(extension) ? ["-video_track_timescale", "90000", "-movflags", "+faststart"] : []),
    ];
  }
  if (extension === ".webm") {
    const speed = ["-deadline", "realtime", "-cpu-used", "8", "-row-mt", "1"];
    return ["-c:v", "libvpx-vp9", ...speed, "-crf", String(quality ?? 33), "-b:v", "0", "-pix_fmt", "yuv420p"];
  }
  // ffmpeg knows what goes into the others.
  return quality === undefined ? [] : ["-q:v", String(quality)];
}

/**
 * Arguments after the program's path: raw frames in on standard input, a file out.
 *
 * @param passthrough words that make ffmpeg neither repeat nor drop frames
 */
function encodeArguments(path: string, config: VideoSinkConfig, passthrough: readonly string[]): string[] {
  const { rate, quality, outputArguments, height } = config;
  const extension = extname(path).toLowerCase();
  const isYuv = extension !== ".gif";
  const [matrix, colours] = usualStandard(height) === "BT.709" ? ["bt709", "bt709"] : ["bt601", "smpte170m"];
  // Chroma comes in squares of two by two: odd sizes get a row or a column of black.
  const filters = `pad=w=ceil(iw/2)*2:h=ceil(ih/2)*2,scale=out_color_matrix=${matrix}:out_range=tv`;
  const tags = ["-colorspace", colours, "-color_primaries", colours, "-color_trc", colours, "-color_range", "tv"];
  return [
    ...["-hide_banner", "-nostdin", "-loglevel", LOG_LEVEL],
    ...["-f", "matroska", "-probesize", "32", "-analyzeduration", "0"],
    ...(rate === undefined ? [] : ["-r", `${rate.numerator}/${rate.denominator}`]),
    ...["-i", "pipe:0"],
    ...(isYuv ? ["-vf", filters, ...tags] : []),
    ...(rate === undefined && isYuv ? ["-enc_time_base", "1:10000"] : []),
    ...passthrough,
    ...codecWords(extension, quality),
    ...outputArguments,
    ...["-y", `file:${resolve(path)}`],
  ];
}
