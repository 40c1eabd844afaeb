/** @module DecodeRun: one ffmpeg process that decodes, from its start to its end. */

import { closeSync, read } from "node:fs";
import { Resource } from "../core/resource.ts";
import { openPipe } from "../ffi/libc.ts";
import type { ImageForm } from "../image/image.ts";
import { usualStandard } from "../image/yuv.ts";
import { inputWords, type VideoAddress } from "./address.ts";
import { endWithUs, type FfmpegDialect, ffmpegDialect, findFfmpeg, LOG_LEVEL, linesOf, MessageLog } from "./ffmpeg.ts";
import { transferAll } from "./frame-queue.ts";
import type { VideoInfo } from "./probe.ts";
import type { VideoConfig } from "./video-options.ts";

/** The largest pipe that users may make by default. */
const PIPE_BYTES = 2 ** 20;
/** A live source gets this long to take its leave of the server. */
const GRACE_MS = 1000;
/** Where the process writes frames, and their times. */
const FRAMES_FD = 3;
const TIMES_FD = 1;

type Child = Bun.Subprocess<"ignore", "pipe", "pipe">;

/** How a run ended. */
export interface RunEnd {
  /** Exit code; above 128 for a signal. */
  readonly code: number;
  /** The last thing ffmpeg complained of, if it did. */
  readonly error: string | undefined;
  /** True if the input stopped before its end. */
  readonly isTruncated: boolean;
}

/** A process and the pipe it writes frames into. Await `finish` before it is closed. */
export class DecodeRun extends Resource {
  /** Where its times begin, in milliseconds from the beginning of the file. */
  readonly zeroMs: number;
  readonly #child: Child;
  readonly #frames: number;
  readonly #times: AsyncGenerator<number, void, undefined>;
  readonly #log: MessageLog;
  #killTimer: Timer | undefined;

  private constructor(
    child: Child,
    frames: number,
    { address: { name, input }, seekSeconds }: DecodeJob,
    zeroMs: number,
  ) {
    super(`DecodeRun ${JSON.stringify(name)}`);
    this.zeroMs = zeroMs;
    this.#child = child;
    this.#frames = frames;
    this.#times = frameTimes(child.stdout);
    this.#log = new MessageLog(child.stderr, name, input);
    // Entered in the middle of a group of images, a decoder complains until the next key frame.
    this.#log.isQuiet = seekSeconds > 0;
  }

  /** Start decoding. @throws {LibraryLoadError} If ffmpeg is not installed */
  static async start(job: DecodeJob): Promise<DecodeRun> {
    const program = findFfmpeg("ffmpeg");
    const dialect = await ffmpegDialect(program);
    const { readEnd, writeEnd } = openPipe(PIPE_BYTES);
    try {
      // In a group of its own: Ctrl-C is ours to handle.
      const child = Bun.spawn([program, ...decodeArguments(job, dialect)], {
        stdio: ["ignore", "pipe", "pipe", writeEnd],
        detached: true,
      }) as Child;
      endWithUs(child);
      return new DecodeRun(child, readEnd, job, zeroSeconds(job, dialect) * 1000);
    } catch (error) {
      closeSync(readEnd);
      throw error;
    } finally {
      closeSync(writeEnd);
    }
  }

  /**
   * Time of the next frame, once it is on its way.
   *
   * @returns microseconds, NaN for a frame without a time, `undefined` after the last frame
   */
  async nextTime(): Promise<number | undefined> {
    const { value } = await this.#times.next();
    this.#log.isQuiet = false;
    return typeof value === "number" ? value : undefined;
  }

  /** Read the frame whose time was told. @returns false if the stream ended within it */
  async read(buffer: Uint8Array): Promise<boolean> {
    return (await transferAll(read, this.#frames, buffer)) === buffer.length;
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
    return { code, error: this.#log.errors.at(-1), isTruncated: this.#log.isTruncated };
  }

  protected override release(): void {
    this.#child.kill("SIGKILL");
    closeSync(this.#frames);
  }
}

/** From lines such as `frame:3 pts:100000 pts_time:0.1`. */
async function* frameTimes(stream: ReadableStream<Uint8Array>): AsyncGenerator<number, void, undefined> {
  for await (const line of linesOf(stream)) {
    const match = /^frame:\d+\s+pts:(\S+)/.exec(line);
    if (match !== null) yield Number(match[1]);
  }
}

/** What a command line is made from. */
interface DecodeJob {
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
function arrives({ info }: DecodeJob): boolean {
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

/** Seconds by which a time may be rounded. */
const ROUNDED = 1e-6;
/** This much of a slot of 1 / fps seconds: far below a frame, far above the rounding of a sum of times. */
const SLACK = 1e-4;

/**
 * Frames that are kept, by their number or their time: the first one of each slot of 1 / fps seconds. Where the file is
 * sought, nothing comes before a key frame, and the first one comes even in front of the start, to tell that nothing is
 * missed.
 */
function selection(job: DecodeJob, dialect: FfmpegDialect): string[] {
  const { every, fps, startMs, durationMs = Number.POSITIVE_INFINITY } = job.config;
  // The clock of a live source begins anew with each connection: the reader watches for its end.
  const { isLive } = job.info;
  const start = isLive ? 0 : startMs / 1000 - zeroSeconds(job, dialect);
  const end = isLive ? Number.POSITIVE_INFINITY : start + durationMs / 1000;
  const parts: string[] = [];
  // Variables of the expression live as long as the filter.
  if (every > 1) parts.push(`not(mod(st(0,ld(0)+1)-1,${every}))`);
  if (fps !== undefined) {
    const slot = (time: string): string => `floor((${time}-${start.toFixed(6)})*${fps}+${SLACK})`;
    parts.push(`(isnan(prev_selected_t)+gt(${slot("t")},${slot("prev_selected_t")}))`);
  }
  const kept = parts.length === 0 ? "1" : parts.join("*");
  const isEarly = `lt(t,${(start - ROUNDED).toFixed(6)})`;
  let wanted = kept;
  if (job.seekSeconds > 0) {
    wanted = `if(key*not(ld(1)),st(1,1)*if(${isEarly},1,${kept}),ld(1)*if(${isEarly},0,${kept}))`;
  } else if (start > 0) wanted = `if(${isEarly},0,${kept})`;
  return [
    ...(end === Number.POSITIVE_INFINITY ? [] : [`trim=end=${Math.max(0, end - ROUNDED).toFixed(6)}`]),
    ...(wanted === "1" ? [] : [`select='${wanted}'`]),
  ];
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
function seekWords({ config, info, seekSeconds }: DecodeJob): string[] {
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
    ...selection(job, dialect),
    scaleFilter(job),
    `format=pix_fmts=${pixels}`,
    // Frames without metadata are not printed.
    "metadata=mode=add:key=t:value=1",
    `metadata=mode=print:file='pipe\\:${TIMES_FD}':direct=1`,
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
    ...["-f", "rawvideo", "-pix_fmt", pixels, `pipe:${FRAMES_FD}`],
  ];
}
