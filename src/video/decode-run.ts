/** @module DecodeRun: one ffmpeg process that reads a video, from its start to its end, and one that decodes it. */

import { message, VideoError } from "../core/errors.ts";
import { Resource } from "../core/resource.ts";
import { formatDuration } from "../core/units.ts";
import { type ImageForm, usualStandard } from "../image/image.ts";
import { inputWords, type VideoAddress } from "./address.ts";
import { isCutAvi } from "./containers.ts";
import {
  BYTES_FD,
  type ByteReader,
  endWithUs,
  type FfmpegDialect,
  ffmpegDialect,
  findFfmpeg,
  LINES_FD,
  LOG_LEVEL,
  linesOf,
  MessageLog,
  type ReadingChild,
  startReading,
} from "./ffmpeg.ts";
import { type SelectionRules, selectionFilters, type VideoInfo } from "./probe.ts";
import type { FrameMemory } from "./video-frame.ts";
import type { VideoConfig } from "./video-options.ts";

/** A live source gets this long to take its leave of the server. */
const GRACE_MS = 1000;

/** How a run ended. */
export interface RunEnd {
  /** Exit code; above 128 for a signal. */
  readonly code: number;
  /** The last thing ffmpeg complained of, if it did. */
  readonly error: string | undefined;
  /** True if the input stopped before its end. */
  readonly isTruncated: boolean;
}

/** The frames of a video from one place on, up to its end or the loss of its source. Await `finish` before it is closed. */
export interface FrameRun {
  /** Where its times begin, in milliseconds from the beginning of the file. */
  readonly zeroMs: number;
  /**
   * Time of the next frame, once it is on its way.
   *
   * @returns microseconds, NaN for a frame without a time, `undefined` after the last frame
   */
  nextTime(): Promise<number | undefined>;
  /** The frame whose time was told; `undefined` if the stream ended within it, or nobody wants it any more. */
  take(): Promise<FrameMemory | undefined>;
  /** How the frame lies that was taken last, and what its colours are. */
  readonly form: ImageForm;
  /** Have it end, and what waits for it with it. */
  stop(isGentle: boolean): void;
  /** Wait for its end. */
  finish(): Promise<RunEnd>;
  close(): void;
}

/** @throws {VideoError} If a video ended before its end, or gave no frame at all */
export function assertEnded(
  { code, error, isTruncated }: RunEnd,
  video: {
    readonly name: string;
    readonly read: number;
    readonly expected: number | undefined;
    readonly info: Pick<VideoInfo, "isLive" | "durationMs">;
  },
  startMs: number,
): void {
  const refuse = (found: string, hint: string): never => {
    throw new VideoError(message(`read the video ${JSON.stringify(video.name)} to its end`, found, hint), video.name);
  };
  const { durationMs = Number.POSITIVE_INFINITY } = video.info;
  if (video.read === 0 && startMs >= durationMs) {
    const found = `it is ${formatDuration(durationMs)} long and was to be read from ${formatDuration(startMs)} on`;
    refuse(found, "lower `startMs` (--start)");
  }
  if (video.read === 0) {
    const why = error ?? `ffmpeg ended with code ${code}`;
    refuse(`no frame of it could be decoded (${why})`, "check that the file is complete, and the start within it");
  }
  const after = `after ${video.read} of about ${video.expected ?? "?"} frames`;
  // A stream without an end of its own ends wherever its sender stops.
  if (isTruncated && !video.info.isLive) refuse(`the file stops before its end, ${after}`, "copy or record it again");
  if (code !== 0) refuse(`ffmpeg ended with code ${code} ${after} (${error ?? "it did not say why"})`, "see the log");
}

/** A process, the lines that it says, and the pipe it writes bytes into. Await `finish` before it is closed. */
export class FfmpegRun extends Resource {
  /** Where its times begin, in milliseconds from the beginning of the file. */
  readonly zeroMs: number;
  readonly #child: ReadingChild["child"];
  readonly #bytes: ByteReader;
  readonly #lines: AsyncGenerator<string, void, undefined>;
  readonly #log: MessageLog;
  /** The path of an AVI; `undefined` for any other source. */
  readonly #avi: string | undefined;
  #killTimer: Timer | undefined;

  private constructor(
    { child, bytes, lines, messages }: ReadingChild,
    { address: { name, input, kind }, info, seekSeconds }: DecodeJob,
    zeroMs: number,
  ) {
    super(`FfmpegRun ${JSON.stringify(name)}`);
    this.zeroMs = zeroMs;
    this.#avi = kind === "file" && info.container === "avi" ? input.replace(/^file:/, "") : undefined;
    this.#child = child;
    this.#bytes = bytes;
    this.#lines = linesOf(lines);
    this.#log = new MessageLog(messages, name, input);
    // Entered in the middle of a group of images, a decoder complains until the next key frame.
    this.#log.isQuiet = seekSeconds > 0;
  }

  /** Start reading. @param wordsOf arguments after the program's path @throws {LibraryLoadError} If ffmpeg is not installed */
  static async start(
    job: DecodeJob,
    wordsOf: (job: DecodeJob, dialect: FfmpegDialect) => readonly string[],
  ): Promise<FfmpegRun> {
    const program = findFfmpeg("ffmpeg");
    const dialect = await ffmpegDialect(program);
    const started = startReading([program, ...wordsOf(job, dialect)]);
    endWithUs(started.child);
    return new FfmpegRun(started, job, zeroSeconds(job, dialect) * 1000);
  }

  /** The next line that matches; `undefined` after the last. */
  async nextLine(pattern: RegExp): Promise<RegExpExecArray | undefined> {
    while (true) {
      const { value } = await this.#lines.next();
      if (typeof value !== "string") return undefined;
      const match = pattern.exec(value);
      if (match !== null) return match;
    }
  }

  /** From now on what ffmpeg complains of is worth a warning. */
  beLoud(): void {
    this.#log.isQuiet = false;
  }

  /** Read the bytes that a line was about. @returns false if the stream ended within them */
  async read(buffer: Uint8Array): Promise<boolean> {
    return (await this.#bytes.read(buffer)) === buffer.length;
  }

  /** Have the process end, and what waits for it with it. */
  stop(isGentle: boolean): void {
    if (this.#killTimer !== undefined && isGentle) return;
    this.#child.kill(isGentle ? "SIGTERM" : "SIGKILL");
    if (isGentle) this.#killTimer = setTimeout(() => this.#child.kill("SIGKILL"), GRACE_MS);
  }

  /** Wait for the process to end. */
  async finish(): Promise<RunEnd> {
    const code = await this.#child.exited;
    clearTimeout(this.#killTimer);
    await this.#log.ended;
    const isTruncated = this.#log.isTruncated || (this.#avi !== undefined && isCutAvi(this.#avi));
    return { code, error: this.#log.errors.at(-1), isTruncated };
  }

  protected override release(): void {
    this.#child.kill("SIGKILL");
    this.#bytes.close();
  }
}

/** Lines such as `frame:3 pts:100000 pts_time:0.1`; among messages it may stand behind the beginning of one. */
const FRAME_LINE = /\bframe:\d+\s+pts:(\S+)/;

/** Frames that ffmpeg decodes, in memory of the host. */
export class DecodeRun implements FrameRun {
  readonly form: ImageForm;
  readonly #run: FfmpegRun;
  readonly #room: () => Promise<FrameMemory | undefined>;

  private constructor(form: ImageForm, run: FfmpegRun, room: () => Promise<FrameMemory | undefined>) {
    this.form = form;
    this.#run = run;
    this.#room = room;
  }

  /**
   * Start decoding.
   *
   * @param room memory for a frame, once there is some; `undefined` where nobody wants more
   * @throws {LibraryLoadError} If ffmpeg is not installed
   */
  static async start(job: DecodeJob, room: () => Promise<FrameMemory | undefined>): Promise<DecodeRun> {
    return new DecodeRun(job.form, await FfmpegRun.start(job, decodeArguments), room);
  }

  get zeroMs(): number {
    return this.#run.zeroMs;
  }

  async nextTime(): Promise<number | undefined> {
    const line = await this.#run.nextLine(FRAME_LINE);
    this.#run.beLoud();
    return line && Number(line[1]);
  }

  async take(): Promise<FrameMemory | undefined> {
    const memory = await this.#room();
    if (memory === undefined || (await this.#run.read(memory.data))) return memory;
    memory.give();
    return undefined;
  }

  stop(isGentle: boolean): void {
    this.#run.stop(isGentle);
  }

  finish(): Promise<RunEnd> {
    return this.#run.finish();
  }

  close(): void {
    this.#run.close();
  }
}

/** What a command line is made from. */
export interface DecodeJob {
  readonly address: VideoAddress;
  readonly info: VideoInfo;
  readonly config: VideoConfig;
  /** How the pixels of a frame lie: without gaps, and what their colours are. */
  readonly form: ImageForm;
  /** Where the file is sought, in whole seconds, so that no time is rounded; 0 begins with its first packet. */
  readonly seekSeconds: number;
}

/** NV12 or RGB of the size that is wanted; NV12 in the stream's own colours where it can say so. */
export function frameForm({ yuvMatrix, yuvRange, ...info }: VideoInfo, { size, pixels }: VideoConfig): ImageForm {
  const [width, height] = size ?? [info.width, info.height];
  if (pixels === "rgb") return { width, height, pitchBytes: width * 3, format: "RGB" };
  const chroma = { chromaOffset: width * height, chromaPitchBytes: width + (width & 1) };
  const planes = { width, height, pitchBytes: width, format: "NV12", ...chroma } as const;
  if (yuvMatrix === undefined) return { ...planes, yuvStandard: usualStandard(height), yuvRange: "limited" };
  return { ...planes, yuvStandard: STANDARDS[yuvMatrix], yuvRange };
}

const STANDARDS = { bt601: "BT.601", bt709: "BT.709", bt2020: "BT.2020" } as const;
const MATRICES = { "BT.601": "bt601", "BT.709": "bt709", "BT.2020": "bt2020" } as const;

/** True where the time of a frame is that of its arrival, as there is no other. */
export function arrives({ info }: DecodeJob): boolean {
  return info.isLive && !info.hasTimes;
}

/** Formats whose times ffmpeg lets begin with the first image, though the sound come first. */
const MOVES_ZERO = /\b(mpegts|mpeg|hls|concat|ogg)\b/;

/** Where ffmpeg's clock begins, in seconds from the beginning of the file: where it is sought, or with the first image. */
function zeroSeconds({ info, seekSeconds }: DecodeJob, { hasLateZero }: FfmpegDialect): number {
  return hasLateZero && MOVES_ZERO.test(info.container) ? Math.max(seekSeconds, info.startMs / 1000) : seekSeconds;
}

/** Tries to find the start go back further by this factor each time, in seconds. */
const STEP_SECONDS = 4;

/**
 * Where to seek for a start, the first time where it ought to be. Files without an index, such as MPEG-TS, are entered in
 * the middle of a group of images, of which no length is known: each try begins further in front.
 *
 * @returns whole seconds; 0 is the beginning of the file, where nothing can be missed
 */
export function seekSecondsOf(startMs: number, attempt: number): number {
  const back = attempt === 0 ? 0 : STEP_SECONDS ** attempt;
  return Math.max(0, Math.floor(startMs / 1000) - back);
}

/** Which frames of a run are wanted. */
export function selectionRules({ config, info, seekSeconds }: DecodeJob, zeroMs: number): SelectionRules {
  return { config, isLive: info.isLive, zeroSeconds: zeroMs / 1000, isSought: seekSeconds > 0 };
}

/** What makes pixels as a frame is to have them. */
function scaleFilter({ info, form }: DecodeJob): string {
  const { width, height, format, yuvStandard, yuvRange } = form;
  // A stream that tells its matrix may tell another one later.
  const matrix = info.yuvMatrix === undefined || info.tellsMatrix ? "" : `:in_color_matrix=${info.yuvMatrix}`;
  const scale = `scale=w=${width}:h=${height}:flags=bilinear${matrix}`;
  if (format !== "NV12") return scale;
  const colours = `${scale}:out_color_matrix=${MATRICES[yuvStandard!]}`;
  // Before ffmpeg 7 a scaler that is to make full range of full range never looks at the range again. Set to the other one
  // at first, it prepares to convert, and does so with the first frame that differs; others come out the same to the bit.
  return yuvRange === "full" ? `${colours}:out_range=pc:dst_range=0` : `${colours}:out_range=tv`;
}

/** Where the input begins. An offset, too small to be seen, keeps an older ffmpeg from moving the zero point. */
export function seekWords({ config, info, seekSeconds }: DecodeJob): string[] {
  if (info.isLive) return config.startMs > 0 ? ["-ss", (config.startMs / 1000).toFixed(6)] : [];
  if (seekSeconds > 0) return ["-noaccurate_seek", "-ss", String(seekSeconds)];
  return MOVES_ZERO.test(info.container) ? ["-itsoffset", "0.000001"] : [];
}

/** Arguments after the program's path: raw frames on one descriptor, their times in microseconds on another. */
function decodeArguments(job: DecodeJob, dialect: FfmpegDialect): string[] {
  const { address, config, form } = job;
  const pixels = form.format === "NV12" ? "nv12" : "rgb24";
  // Every frame in one size and format, however the stream changes, and a line with its time.
  const filters = [
    "settb=expr=1/1000000",
    ...(arrives(job) ? ["setpts=time(0)/TB", "setpts=PTS-STARTPTS"] : []),
    ...selectionFilters(selectionRules(job, zeroSeconds(job, dialect) * 1000)),
    scaleFilter(job),
    `format=pix_fmts=${pixels}`,
    // Frames without metadata are not printed.
    "metadata=mode=add:key=t:value=1",
    `metadata=mode=print:file='pipe\\:${LINES_FD}':direct=1`,
  ];
  return [
    ...["-hide_banner", "-nostdin", "-loglevel", LOG_LEVEL],
    ...inputWords(address, config.inputArguments),
    ...config.decoderArguments,
    // Frames that are gathered to guess a rate would arrive all at once.
    ...(arrives(job) ? ["-fpsprobesize", "0"] : []),
    // Filters that are made anew where the stream changes would count from 0 again.
    ...["-reinit_filter:v", "0"],
    ...seekWords(job),
    // Capital V: the cover of a piece of music is no video.
    ...["-i", address.input, "-map", "0:V:0", "-an", "-sn", "-dn"],
    ...["-vf", filters.join(","), ...dialect.passthrough],
    // Counted in average frames, two of a variable rate would fall on one time, which ffmpeg takes for an error.
    ...["-enc_time_base", "1:1000000"],
    ...["-f", "rawvideo", "-pix_fmt", pixels, `pipe:${BYTES_FD}`],
  ];
}
