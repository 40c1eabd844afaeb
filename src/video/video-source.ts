/** @module VideoSource: the frames of a video file, a stream or a camera, decoded by ffmpeg in a process of its own. */

import { ClosedError, message, VideoError } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { pause } from "../core/settle.ts";
import { formatDuration } from "../core/units.ts";
import { byteLengthOf, type ImageForm } from "../image/image.ts";
import { type VideoAddress, videoAddress } from "./address.ts";
import { DecodeRun, frameForm, type RunEnd, seekSecondsOf } from "./decode-run.ts";
import { FrameQueue } from "./frame-queue.ts";
import { probeVideo, type VideoInfo } from "./probe.ts";
import { FramePool, rationalValue, VideoFrame } from "./video-frame.ts";
import { parseVideoOptions, type VideoConfig, type VideoOptions } from "./video-options.ts";

/** Times that differ by less are one. */
const SAME_TIME_MS = 0.5;

/**
 * The frames of a video, in order. They are decoded a little ahead, and no further than the reader follows.
 *
 * Each has the size of the first, even where the stream changes its own. Corrupt packets cost the frames in them: what
 * ffmpeg says of them goes to the log as a warning. A live source that stops is opened again.
 *
 * @example
 * ```ts
 * import { VideoSource } from "bun-tensorrt/video";
 *
 * await using video = await VideoSource.open("street.mp4", { fps: 5 });
 * for await (using frame of video) console.log(frame.index, frame.timestampMs);
 * ```
 */
export class VideoSource implements AsyncIterable<VideoFrame>, AsyncDisposable {
  /** Path or address, without a password. */
  readonly name: string;
  readonly info: VideoInfo;
  /** Size of the frames in pixels. */
  readonly width: number;
  readonly height: number;
  readonly #address: VideoAddress;
  readonly #config: VideoConfig;
  readonly #form: ImageForm;
  readonly #pool: FramePool;
  readonly #queue: FrameQueue;
  readonly #isLatest: boolean;
  readonly #durationMs: number;
  readonly #closing = new AbortController();
  #pumping: Promise<void> | undefined;
  #run: DecodeRun | undefined;
  #read = 0;
  #dropped = 0;
  #reconnects = 0;
  /** Added to the times of this connection, so that they go on where those of the last one ended. */
  #offsetMs = 0;
  /** Tries to enter the file in front of the start. */
  #seeks = 0;
  #firstAt: number | undefined;
  #lastMs = 0;
  /** Since when ffmpeg is waited for; `undefined` while it is not. */
  #waitingSince: number | undefined;

  private constructor(address: VideoAddress, info: VideoInfo, config: VideoConfig) {
    this.name = address.name;
    this.info = info;
    this.#form = frameForm(info, config);
    this.width = this.#form.width;
    this.height = this.#form.height;
    this.#address = address;
    this.#config = config;
    this.#pool = new FramePool(byteLengthOf(this.#form), config.allocate, config.buffers);
    this.#isLatest = (config.policy ?? (info.isLive ? "latest" : "all")) === "latest";
    this.#queue = new FrameQueue(config.readAhead);
    const rate = config.fps ?? (info.rate === undefined ? 0 : rationalValue(info.rate) / config.every);
    this.#durationMs = rate === 0 ? 0 : 1000 / rate;
  }

  /**
   * Look at a video and make it ready to be read; decoding begins with the iteration.
   *
   * @param source path, `file:` URL, address (`rtsp:`, `http:`, …) or camera (`/dev/video0`)
   * @throws {VideoError} If it is missing, empty, no video, or does not answer
   * @throws {LibraryLoadError} If ffmpeg or ffprobe is not installed; the message has the command that installs them
   * @throws {OptionError} If an option is unknown or out of range
   */
  static async open(source: string | URL, options: VideoOptions = {}): Promise<VideoSource> {
    const config = parseVideoOptions(options);
    const address = videoAddress(source);
    const info = await probeVideo(address, config);
    if (!info.hasTimes && !info.isLive && info.rate !== undefined) {
      const rate = Number(rationalValue(info.rate).toFixed(3));
      const hint = 'inputArguments: ["-framerate", "30"] says otherwise';
      logger.warn(`${address.name} holds no times: ${rate} frames per second are assumed; ${hint}`);
    }
    return new VideoSource(address, info, config);
  }

  /** Frames read so far, those that were dropped included. */
  get read(): number {
    return this.#read;
  }

  /** Frames that were replaced by newer ones before anybody took them. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Times the source was opened again. */
  get reconnects(): number {
    return this.#reconnects;
  }

  /** Frames to expect with this selection, for a progress bar; `undefined` where nobody knows. */
  get expected(): number | undefined {
    const { every, fps, startMs, durationMs } = this.#config;
    const { frames, durationMs: wholeMs } = this.info;
    if (frames === undefined) return undefined;
    if (wholeMs === undefined) return every === 1 && fps === undefined ? frames : undefined;
    const partMs = Math.max(0, Math.min(wholeMs - startMs, durationMs ?? Number.POSITIVE_INFINITY));
    const kept = Math.ceil(Math.round((frames * partMs) / wholeMs) / every);
    return fps === undefined ? kept : Math.min(kept, Math.ceil((partMs / 1000) * fps));
  }

  /**
   * Decode. A source is iterated once; leaving the loop closes it.
   *
   * @throws {VideoError} After the last frame, if the file stops before its end or no frame could be decoded
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<VideoFrame, void, undefined> {
    if (this.#closing.signal.aborted) throw new ClosedError("read frames", `VideoSource ${this.name}`);
    if (this.#pumping !== undefined) {
      const text = message(`read ${JSON.stringify(this.name)} again`, "its frames are read once", "open it anew");
      throw new VideoError(text, this.name);
    }
    const { signal } = this.#config;
    const onAbort = (): void => {
      this.#queue.fail(signal?.reason);
      this.#end();
    };
    if (signal?.aborted) throw signal.reason;
    signal?.addEventListener("abort", onAbort);
    this.#pumping = this.#pump();
    try {
      for (let frame = await this.#queue.shift(); frame !== undefined; frame = await this.#queue.shift()) yield frame;
    } finally {
      signal?.removeEventListener("abort", onAbort);
      await this.close();
    }
  }

  /** End decoding: the iteration ends, and the process is gone when this resolves. */
  async close(): Promise<void> {
    this.#end();
    await this.#pumping;
  }

  /** Closes it at the end of an `await using` block. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #end(): void {
    this.#closing.abort();
    this.#run?.stop(this.info.isLive);
    this.#queue.clear();
    this.#pool.wake();
  }

  get #isClosing(): boolean {
    return this.#closing.signal.aborted;
  }

  /** Run after run, into the queue. It never rejects: what goes wrong is the reader's to hear. */
  async #pump(): Promise<void> {
    const { stallMs, reconnect } = this.#config;
    const { isLive } = this.info;
    const watch = isLive ? setInterval(() => this.#checkStall(stallMs), stallMs / 4) : undefined;
    try {
      let tries = 0;
      while (!this.#isClosing) {
        const before = this.#read;
        const end = await this.#runOnce();
        if (this.#isClosing || this.#isPastEnd()) return;
        if (end === "late") {
          this.#seeks += 1;
          continue;
        }
        if (!isLive || reconnect === false) return this.#checkEnd(end);
        tries = this.#read > before ? 1 : tries + 1;
        const why = end.error ?? `ffmpeg ended with code ${end.code}`;
        if (tries > reconnect.attempts) {
          const found = `it stopped and did not come back in ${reconnect.attempts} tries (${why})`;
          throw new VideoError(message(`read ${JSON.stringify(this.name)}`, found, "check the source"), this.name);
        }
        const delayMs = Math.min(reconnect.firstDelayMs * 2 ** (tries - 1), reconnect.longestDelayMs);
        logger.warn(`${this.name} stopped (${why}); opening it again in ${formatDuration(delayMs)}`);
        await pause(delayMs, this.#closing.signal);
        this.#reconnects += 1;
      }
    } catch (error) {
      this.#queue.fail(error);
    } finally {
      clearInterval(watch);
      this.#queue.end();
    }
  }

  /** @returns `"late"` if the file was entered behind the frame that is to be the first */
  async #runOnce(): Promise<RunEnd | "late"> {
    const { startMs } = this.#config;
    const { info } = this;
    const seekSeconds = info.isLive ? 0 : seekSecondsOf(startMs, this.#seeks);
    const job = { address: this.#address, info, config: this.#config, form: this.#form, seekSeconds };
    const run = await DecodeRun.start(job);
    this.#run = run;
    let isFirst = true;
    try {
      if (this.#isClosing) run.stop(false);
      while (true) {
        this.#waitingSince = performance.now();
        const time = await run.nextTime();
        if (time === undefined) break;
        const timestampMs = this.#timeOf(time, isFirst, run.zeroMs);
        if (isFirst && seekSeconds > 0 && timestampMs > startMs + SAME_TIME_MS) break;
        if (this.#isPastEnd(timestampMs)) {
          this.#lastMs = timestampMs;
          break;
        }
        // A key frame in front of the start, by which it is known that nothing is missed.
        const isUnwanted = seekSeconds > 0 && timestampMs < startMs - SAME_TIME_MS;
        isFirst = false;
        const buffer = await this.#buffer();
        if (buffer === undefined) break;
        this.#waitingSince = performance.now();
        const isWhole = await run.read(buffer);
        this.#waitingSince = undefined;
        if (!isWhole || isUnwanted) this.#pool.give(buffer);
        if (isUnwanted) continue;
        if (!isWhole) break;
        this.#lastMs = timestampMs;
        const shown = { index: this.#read++, timestampMs, durationMs: this.#durationMs };
        const frame = new VideoFrame(buffer, this.#pool, this.#form, shown);
        if (this.#isLatest) this.#dropped += this.#queue.replace(frame);
        else await this.#queue.push(frame);
        if (this.#isClosing || this.#isPastEnd()) break;
      }
      this.#waitingSince = undefined;
      const isLate = isFirst && seekSeconds > 0 && !this.#isClosing;
      if (this.#isClosing || this.#isPastEnd() || isLate) run.stop(this.info.isLive);
      const end = await run.finish();
      return isLate ? "late" : end;
    } finally {
      this.#run = undefined;
      run.close();
    }
  }

  /** Memory for a frame, once there is some; `undefined` when the source is closing. */
  async #buffer(): Promise<Uint8Array | undefined> {
    this.#waitingSince = undefined;
    while (!this.#isClosing) {
      const buffer = this.#pool.take();
      if (buffer !== undefined) return buffer;
      await this.#pool.freed();
    }
    return undefined;
  }

  /** Milliseconds in the video. A live source's clock begins anew with each connection; ours goes on. */
  #timeOf(microseconds: number, isFirst: boolean, zeroMs: number): number {
    const now = performance.now();
    this.#firstAt ??= now;
    const { isLive } = this.info;
    const inRun = Number.isNaN(microseconds) ? undefined : microseconds / 1000;
    if (isFirst) {
      // A server may have sent more than its time: the next connection must not begin before what was seen.
      const soonestMs = this.#read === 0 ? 0 : this.#lastMs + this.#durationMs;
      this.#offsetMs = isLive ? Math.max(now - this.#firstAt, soonestMs) - (inRun ?? 0) : zeroMs;
    }
    return inRun === undefined ? this.#lastMs + this.#durationMs : inRun + this.#offsetMs;
  }

  /** @param nextMs when the next frame is due */
  #isPastEnd(nextMs: number = this.#lastMs + this.#durationMs): boolean {
    const { durationMs } = this.#config;
    return this.info.isLive && durationMs !== undefined && nextMs >= durationMs;
  }

  #checkStall(stallMs: number): void {
    if (this.#waitingSince === undefined || performance.now() - this.#waitingSince < stallMs) return;
    logger.warn(`${this.name} gave nothing for ${formatDuration(stallMs)}`);
    this.#waitingSince = undefined;
    this.#run?.stop(true);
  }

  #checkEnd({ code, error, isTruncated }: RunEnd): void {
    const refuse = (found: string, hint: string): never => {
      throw new VideoError(message(`read the video ${JSON.stringify(this.name)} to its end`, found, hint), this.name);
    };
    if (this.#read === 0) {
      const why = error ?? `ffmpeg ended with code ${code}`;
      refuse(`no frame of it could be decoded (${why})`, "check that the file is complete, and the start within it");
    }
    const after = `after ${this.#read} of about ${this.expected ?? "?"} frames`;
    // A stream without an end of its own ends wherever its sender stops.
    if (isTruncated && !this.info.isLive) refuse(`the file stops before its end, ${after}`, "copy or record it again");
    if (code !== 0) refuse(`ffmpeg ended with code ${code} ${after} (${error ?? "it did not say why"})`, "see the log");
  }
}
