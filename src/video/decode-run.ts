/** @module DecodeRun: one ffmpeg process that decodes, from its start to its end. */

import { closeSync } from "node:fs";
import { Resource } from "../core/resource.ts";
import { openPipe } from "../ffi/libc.ts";
import type { ImageForm } from "../image/image.ts";
import { usualStandard } from "../image/yuv.ts";
import { inputWords, type VideoAddress } from "./address.ts";
import { endWithUs, ffmpegDialect, findFfmpeg, LOG_LEVEL, MessageLog } from "./ffmpeg.ts";
import { readFully } from "./frame-queue.ts";
import type { VideoInfo } from "./probe.ts";
import type { VideoConfig } from "./video-options.ts";

/** The largest pipe that users may make by default. */
const PIPE_BYTES = 2 ** 20;
/** A live source gets this long to take its leave of the server. */
const GRACE_MS = 1000;

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
  readonly #times: FrameTimes;
  readonly #log: MessageLog;
  #killTimer: Timer | undefined;

  private constructor(child: Child, frames: number, zeroMs: number, { name, input }: VideoAddress) {
    super(`DecodeRun ${JSON.stringify(name)}`);
    this.zeroMs = zeroMs;
    this.#child = child;
    this.#frames = frames;
    this.#times = new FrameTimes(child.stdout);
    this.#log = new MessageLog(child.stderr, name, input);
  }

  /** Start decoding. @throws {LibraryLoadError} If ffmpeg is not installed */
  static async start(job: DecodeJob): Promise<DecodeRun> {
    const program = findFfmpeg("ffmpeg");
    const dialect = await ffmpegDialect(program);
    const words = decodeArguments(job, { ...dialect, fds: { frames: 3, times: 1 } });
    const { readEnd, writeEnd } = openPipe(PIPE_BYTES);
    try {
      // In a group of its own: Ctrl-C is ours to handle.
      const child = Bun.spawn([program, ...words], {
        stdio: ["ignore", "pipe", "pipe", writeEnd],
        detached: true,
      }) as Child;
      endWithUs(child);
      return new DecodeRun(child, readEnd, zeroSeconds(job, dialect.hasLateZero) * 1000, job.address);
    } catch (error) {
      closeSync(readEnd);
      throw error;
    } finally {
      closeSync(writeEnd);
    }
  }

  /** Time of the next frame in microseconds, once it is on its way; `undefined` at the end. */
  nextTime(): Promise<number | undefined> {
    return this.#times.next();
  }

  /** Read the frame whose time was told. @returns false if the stream ended within it */
  async read(buffer: Uint8Array): Promise<boolean> {
    return (await readFully(this.#frames, buffer)) === buffer.length;
  }

  /** Have the process end, and what waits for it with it. */
  stop(isGentle: boolean): void {
    if (this.#killTimer !== undefined && isGentle) return;
    this.#child.kill(isGentle ? "SIGTERM" : "SIGKILL");
    if (!isGentle) return;
    this.#killTimer = setTimeout(() => this.#child.kill("SIGKILL"), GRACE_MS);
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

/** What a command line depends on beside the job. */
export interface DecodeSetting {
  /** Words that make ffmpeg neither repeat nor drop frames. */
  readonly passthrough: readonly string[];
  /** See {@linkcode zeroSeconds}. */
  readonly hasLateZero: boolean;
  /** Descriptors that are written. */
  readonly fds: { readonly frames: number; readonly times: number };
}

/** NV12 or RGB of the size that is wanted; NV12 in the stream's own colours where it can say so. */
export function frameForm({ yuvMatrix, yuvRange, ...info }: VideoInfo, { size, pixels }: VideoConfig): ImageForm {
  const [width, height] = size ?? [info.width, info.height];
  if (pixels === "rgb") return { width, height, pitchBytes: width * 3, format: "RGB" };
  const chroma = { chromaOffset: width * height, chromaPitchBytes: width + (width & 1) };
  const planes = { width, height, pitchBytes: width, format: "NV12", ...chroma } as const;
  if (yuvMatrix === undefined) return { ...planes, yuvStandard: usualStandard(height), yuvRange: "limited" };
  return { ...planes, yuvStandard: yuvMatrix === "bt601" ? "BT.601" : "BT.709", yuvRange };
}

/** Frames a second times this much of a second: far below a frame, far above the rounding of a sum of times. */
const SLACK = 1e-4;

/** True where the time of a frame is that of its arrival, as there is no other. */
function arrives({ info }: DecodeJob): boolean {
  return info.isLive && !info.hasTimes;
}

/** Seconds by which a time may be rounded. */
const ROUNDED = 1e-6;

/** Formats whose times ffmpeg lets begin with the first image, though the sound come first. */
const MOVES_ZERO = /\b(mpegts|mpeg|hls|concat|ogg)\b/;

/** Where ffmpeg's clock begins, in seconds from the beginning of the file: where it is sought, or with the first image. */
export function zeroSeconds({ info, seekSeconds }: DecodeJob, hasLateZero: boolean): number {
  return hasLateZero && MOVES_ZERO.test(info.container) ? Math.max(seekSeconds, info.startMs / 1000) : seekSeconds;
}

/** From where to where frames are wanted, in seconds on ffmpeg's clock. */
function wantedPart(job: DecodeJob, hasLateZero: boolean): { readonly start: number; readonly end: number } {
  const { config, info } = job;
  const { startMs, durationMs = Number.POSITIVE_INFINITY } = config;
  // The clock of a live source begins anew with each connection: its end is watched by the reader.
  if (info.isLive) return { start: 0, end: Number.POSITIVE_INFINITY };
  const start = startMs / 1000 - zeroSeconds(job, hasLateZero);
  return { start, end: start + durationMs / 1000 };
}

/** Tries to find the start, the first of them where it ought to be. */
const FIRST_STEP_SECONDS = 4;

/**
 * Where to seek for a start. Files without an index, such as MPEG-TS, are entered in the middle of a group of images, of
 * which no length is known: each try begins further in front.
 *
 * @returns whole seconds; 0 is the beginning of the file, where nothing can be missed
 */
export function seekSecondsOf(startMs: number, attempt: number): number {
  const back = attempt === 0 ? 0 : FIRST_STEP_SECONDS ** attempt;
  return Math.max(0, Math.floor(startMs / 1000) - back);
}

/**
 * Frames that are kept, by their number or their time: the first one of each slot of 1 / fps seconds. Where the file is
 * sought, nothing comes before a key frame, and the first one comes even in front of the start, to tell that nothing is
 * missed.
 */
function selection(job: DecodeJob, hasLateZero: boolean): string[] {
  const { every, fps } = job.config;
  const { start, end } = wantedPart(job, hasLateZero);
  const parts: string[] = [];
  // Variables of the expression live as long as the filter.
  if (every > 1) parts.push(`not(mod(st(0,ld(0)+1)-1,${every}))`);
  if (fps !== undefined) {
    const slot = (time: string): string => `floor((${time}-${start.toFixed(6)})*${fps}+${SLACK})`;
    parts.push(`(isnan(prev_selected_t)+gt(${slot("t")},${slot("prev_selected_t")}))`);
  }
  const kept = parts.length === 0 ? "1" : parts.join("*");
  const from = (start - ROUNDED).toFixed(6);
  const isFirstKey = "key*not(ld(1))";
  const wanted =
    job.seekSeconds > 0
      ? `if(${isFirstKey},st(1,1)*if(lt(t,${from}),1,${kept}),ld(1)*if(lt(t,${from}),0,${kept}))`
      : start > 0
        ? `if(lt(t,${from}),0,${kept})`
        : kept;
  return [
    ...(end === Number.POSITIVE_INFINITY ? [] : [`trim=end=${Math.max(0, end - ROUNDED).toFixed(6)}`]),
    ...(wanted === "1" ? [] : [`select='${wanted}'`]),
  ];
}

/** Pixels as a frame is to have them, and the words that make them. */
function pixelWords({ format, yuvStandard, yuvRange }: ImageForm): { readonly name: string; readonly scale: string } {
  if (format !== "NV12") return { name: "rgb24", scale: "" };
  const matrix = yuvStandard === "BT.601" ? "bt601" : "bt709";
  return { name: "nv12", scale: `:out_color_matrix=${matrix}:out_range=${yuvRange === "full" ? "pc" : "tv"}` };
}

/**
 * Before ffmpeg 7 a scaler that is to make full range of full range never looks at the range again. Set to the other one at
 * first, it prepares to convert, and does so with the first frame that differs; others come out the same to the bit.
 */
function heedRange({ yuvRange }: ImageForm): string {
  return yuvRange === "full" ? ":dst_range=0" : "";
}

/** The filters: every frame in one size and format, however the stream changes, and a line with its time. */
function filterChain(job: DecodeJob, { fds, hasLateZero }: DecodeSetting): string {
  const { info, form } = job;
  const { name, scale } = pixelWords(form);
  // A stream that tells its matrix may tell another one later.
  const matrix = info.yuvMatrix === undefined || info.tellsMatrix ? "" : `:in_color_matrix=${info.yuvMatrix}`;
  return [
    "settb=expr=1/1000000",
    ...(arrives(job) ? ["setpts=time(0)/TB", "setpts=PTS-STARTPTS"] : []),
    ...selection(job, hasLateZero),
    `scale=w=${form.width}:h=${form.height}:flags=bilinear${matrix}${scale}${heedRange(form)}`,
    `format=pix_fmts=${name}`,
    // Frames without metadata are not printed.
    "metadata=mode=add:key=t:value=1",
    `metadata=mode=print:file='pipe\\:${fds.times}':direct=1`,
  ].join(",");
}

/** Where the input begins. An offset, too small to be seen, keeps an older ffmpeg from moving the zero point. */
function seekWords({ config, info, seekSeconds }: DecodeJob): string[] {
  if (info.isLive) return config.startMs > 0 ? ["-ss", (config.startMs / 1000).toFixed(6)] : [];
  if (seekSeconds > 0) return ["-noaccurate_seek", "-ss", String(seekSeconds)];
  return MOVES_ZERO.test(info.container) ? ["-itsoffset", "0.000001"] : [];
}

/** Arguments after the program's path: raw frames on one descriptor, their times in microseconds on another. */
export function decodeArguments(job: DecodeJob, setting: DecodeSetting): string[] {
  const { address, config } = job;
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
    ...["-vf", filterChain(job, setting), ...setting.passthrough],
    // Counted in average frames, two of a variable rate would fall on one time, which ffmpeg takes for an error.
    ...["-enc_time_base", "1:1000000"],
    ...["-f", "rawvideo", "-pix_fmt", pixelWords(job.form).name, `pipe:${setting.fds.frames}`],
  ];
}

const LINE = /^frame:\d+\s+pts:(-?\d+|\S+)/;

/** Reads lines such as `frame:3 pts:100000 pts_time:0.1`, no faster than it is asked. */
export class FrameTimes {
  readonly #reader: { read(): Promise<{ readonly done: boolean; readonly value?: Uint8Array | undefined }> };
  readonly #decoder = new TextDecoder();
  readonly #times: number[] = [];
  #at = 0;
  #rest = "";

  constructor(stream: ReadableStream<Uint8Array>) {
    this.#reader = stream.getReader();
  }

  /**
   * The time of the next frame, which is then on its way.
   *
   * @returns microseconds, NaN for a frame without a time, `undefined` after the last frame
   */
  async next(): Promise<number | undefined> {
    while (this.#at === this.#times.length) {
      this.#times.length = 0;
      this.#at = 0;
      const { done, value } = await this.#reader.read();
      if (done || value === undefined) return undefined;
      this.#parse(this.#decoder.decode(value, { stream: true }));
    }
    return this.#times[this.#at++];
  }

  #parse(text: string): void {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) {
      const match = LINE.exec(line);
      if (match !== null) this.#times.push(Number(match[1]));
    }
  }
}
