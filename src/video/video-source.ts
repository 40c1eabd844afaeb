/** @module VideoSource: the frames of a video file, a stream or a camera, decoded by a GPU, or by ffmpeg in a process of its own. */

import { ClosedError, message, VideoError } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { pause } from "../core/resource.ts";
import { formatDuration } from "../core/units.ts";
import { byteLengthOf, type ImageForm } from "../image/image.ts";
import { type VideoAddress, videoAddress } from "./address.ts";
import type { ContainerFile } from "./container-packets.ts";
import {
  assertEnded,
  type DecodeJob,
  DecodeRun,
  type FrameRun,
  frameForm,
  type RunEnd,
  seekSecondsOf,
} from "./decode-run.ts";
import { PacketRun, type PacketSource, refusalBy } from "./device-run.ts";
import { missingFfmpeg } from "./ffmpeg.ts";
import type { GpuDecoding } from "./gpu-decoding.ts";
import { expectedFrames, probeVideo, SourceClock, type VideoInfo } from "./probe.ts";
import { type FrameMemory, FramePool, FrameQueue, rationalValue, VideoFrame } from "./video-frame.ts";
import { parseVideoOptions, type VideoConfig, type VideoOptions } from "./video-options.ts";

/** A file that is read without ffmpeg, as there is none, and a GPU may decode it. @throws {LibraryLoadError} If mediabunny is not there */
async function containerOf(address: VideoAddress, { decode }: VideoConfig): Promise<ContainerFile | undefined> {
  const missing = missingFfmpeg();
  if (missing === undefined || address.kind !== "file" || decode === "cpu") return undefined;
  const { nvdecUnavailable } = await import("../nvdec/nvdec.ts");
  if (decode === "auto" && nvdecUnavailable() !== undefined) return undefined;
  const { ContainerFile } = await import("./container-packets.ts");
  return ContainerFile.open(address, missing);
}

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
  readonly #clock: SourceClock;
  readonly #closing = new AbortController();
  #pumping: Promise<void> | undefined;
  #run: FrameRun | undefined;
  #gpu: GpuDecoding | undefined;
  #decoder: "gpu" | "cpu" | undefined;
  #startPackets: (job: DecodeJob) => Promise<PacketSource> = PacketRun.start;
  /** What reads the packets where there is no ffmpeg. */
  #container: ContainerFile | undefined;
  #offered: readonly (number | undefined)[] = [];
  #copied = 0;
  #read = 0;
  #dropped = 0;
  #reconnects = 0;
  /** Tries to enter the file in front of the start. */
  #seeks = 0;
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
    this.#clock = new SourceClock(info, config);
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
    const file = await containerOf(address, config);
    const info = file?.info ?? (await probeVideo(address, config));
    if (!info.hasTimes && !info.isLive && info.rate !== undefined) {
      const rate = Number(rationalValue(info.rate).toFixed(3));
      const hint = 'inputArguments: ["-framerate", "30"] says otherwise';
      logger.warn(`${address.name} holds no times: ${rate} frames per second are assumed; ${hint}`);
    }
    const video = new VideoSource(address, info, config);
    if (file !== undefined) video.#container = file;
    try {
      if (config.decode === "gpu") await video.#chooseGpu(config.device ?? 0);
    } catch (error) {
      file?.[Symbol.dispose]();
      throw error;
    }
    return video;
  }

  /**
   * @internal A video that others read than ffmpeg: a GPU decodes it.
   *
   * @param start reads its packets from one place on
   * @throws {UnsupportedVideoError} If the GPU does not decode it
   */
  static async ofPackets(
    name: string,
    info: VideoInfo,
    options: VideoOptions,
    start: (job: DecodeJob) => Promise<PacketSource>,
  ): Promise<VideoSource> {
    const config = parseVideoOptions({ ...options, decode: "gpu" });
    const video = new VideoSource({ name, input: name, words: [], kind: "file" }, info, config);
    video.#startPackets = start;
    await video.#chooseGpu(config.device ?? 0);
    return video;
  }

  /** Frames that a GPU decoded and whose pixels were copied to the host, as somebody asked for their `data`. */
  get copied(): number {
    return this.#copied;
  }

  /** What decodes the frames; `undefined` before the first. */
  get decoder(): "gpu" | "cpu" | undefined {
    return this.#decoder;
  }

  /** @internal Models on these GPUs read the frames: a single one decodes them, where it can and no option says otherwise. */
  offerDevices(devices: readonly (number | undefined)[]): void {
    if (this.#pumping === undefined) this.#offered = devices;
  }

  /** @internal Nobody looks at the frame any more. Memory of the host is left to the garbage collector. */
  done(frame: VideoFrame): void {
    if (this.#decoder === "gpu") frame.release();
  }

  /** Let the GPU of the model decode, where the choice is open. */
  async #chooseOffered(): Promise<void> {
    const devices = this.#offered.filter((device) => device !== undefined);
    if (this.#config.decode !== "auto" || devices.length === 0) return;
    if (devices.length === 1) await this.#chooseGpu(this.#config.device ?? devices[0]!);
    else logger.info(`${this.name} is decoded by ffmpeg: its frames go to ${devices.length} GPUs`);
  }

  /** Let a GPU decode, or say why ffmpeg does. @throws {UnsupportedVideoError} If the GPU was asked for, and does not */
  async #chooseGpu(device: number): Promise<void> {
    const { GpuDecoding } = await import("./gpu-decoding.ts");
    const chosen = await GpuDecoding.choose(this.info, this.#config, device);
    if (typeof chosen !== "string") this.#gpu = chosen;
    else if (this.#config.decode === "gpu") throw GpuDecoding.refusal(this.name, chosen);
    else logger.info(`${this.name} is decoded by ffmpeg: ${chosen}`);
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
    return expectedFrames(this.info, this.#config);
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
    await this.#gpu?.close();
    this.#container?.[Symbol.dispose]();
  }

  /** Closes it at the end of an `await using` block. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #end(): void {
    this.#closing.abort();
    this.#gpu?.stopPreparing();
    this.#run?.stop(this.info.isLive);
    this.#queue.clear();
    this.#pool.wake();
  }

  get #isClosing(): boolean {
    return this.#closing.signal.aborted;
  }

  /** Run after run, into the queue. It never rejects: what goes wrong is the reader's to hear. */
  async #pump(): Promise<void> {
    const { startMs, stallMs, reconnect } = this.#config;
    const { isLive } = this.info;
    const watch = isLive ? setInterval(() => this.#checkStall(stallMs), stallMs / 4) : undefined;
    try {
      await this.#chooseOffered();
      let tries = 0;
      while (!this.#isClosing) {
        const before = this.#read;
        const end = await this.#runOnce().catch((error: unknown) => this.#withoutGpu(error, before));
        if (end === undefined) continue;
        if (this.#isClosing || this.#clock.isPastEnd()) return;
        if (end === "late") {
          this.#seeks += 1;
          continue;
        }
        if (!isLive || reconnect === false) return assertEnded(end, this, startMs);
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

  /**
   * Go on with ffmpeg where the stream turns out to be one that the GPU does not decode.
   *
   * @param before frames that were read when the run began
   * @throws the error itself, where another decoder would not help, or its frames would be other ones
   */
  #withoutGpu(error: unknown, before: number): undefined {
    if (this.#isClosing && error instanceof ClosedError) return;
    const { decode } = this.#config;
    const reason = decode === "auto" && (this.#read === before || this.info.isLive) ? refusalBy(error) : undefined;
    if (reason === undefined) throw error;
    logger.info(`${this.name} is decoded by ffmpeg: ${reason}`);
    void this.#gpu?.close();
    this.#gpu = undefined;
  }

  /** @returns `"late"` if the file was entered behind the frame that is to be the first */
  async #runOnce(): Promise<RunEnd | "late"> {
    const { startMs } = this.#config;
    const { info } = this;
    // Without times of its own a file is counted from its beginning.
    const isCounted = this.#gpu !== undefined && !info.hasTimes;
    const seekSeconds = info.isLive || isCounted ? 0 : seekSecondsOf(startMs, this.#seeks);
    await this.#gpu?.prepare(info);
    const source = { address: this.#address, info, config: this.#config };
    const run = await this.#startRun({ ...source, form: this.#form, seekSeconds });
    this.#run = run;
    let isFirst = true;
    try {
      if (this.#isClosing) run.stop(false);
      while (true) {
        this.#waitingSince = performance.now();
        const time = await run.nextTime();
        if (time === undefined) break;
        const timestampMs = this.#clock.timeOf(time, isFirst ? run.zeroMs : undefined);
        if (isFirst && seekSeconds > 0 && timestampMs > startMs + SAME_TIME_MS) break;
        if (this.#clock.isPastEnd(timestampMs)) {
          this.#clock.shown(timestampMs);
          break;
        }
        // A key frame in front of the start, by which it is known that nothing is missed.
        const isUnwanted = seekSeconds > 0 && timestampMs < startMs - SAME_TIME_MS;
        isFirst = false;
        const memory = await run.take();
        this.#waitingSince = undefined;
        if (isUnwanted) {
          memory?.give();
          continue;
        }
        if (memory === undefined) break;
        this.#clock.shown(timestampMs);
        const shown = { index: this.#read++, timestampMs, durationMs: this.#clock.frameMs };
        const frame = new VideoFrame(memory, run.form, shown);
        if (this.#isLatest) this.#dropped += this.#queue.replace(frame);
        else await this.#queue.push(frame);
        if (this.#isClosing || this.#clock.isPastEnd()) break;
      }
      this.#waitingSince = undefined;
      const isLate = isFirst && seekSeconds > 0 && !this.#isClosing;
      if (this.#isClosing || this.#clock.isPastEnd() || isLate) run.stop(this.info.isLive);
      const end = await run.finish();
      return isLate ? "late" : end;
    } finally {
      this.#run = undefined;
      run.close();
    }
  }

  async #startRun(job: DecodeJob): Promise<FrameRun> {
    const gpu = this.#gpu;
    this.#decoder = gpu === undefined ? "cpu" : "gpu";
    if (gpu === undefined) return DecodeRun.start(job, () => this.#buffer());
    const packets = await (this.#container?.start(job) ?? this.#startPackets(job));
    try {
      return gpu.start(job, packets, () => {
        this.#copied += 1;
      });
    } catch (error) {
      packets.close();
      throw error;
    }
  }

  /** Memory for a frame, once there is some; `undefined` when the source is closing. */
  async #buffer(): Promise<FrameMemory | undefined> {
    this.#waitingSince = undefined;
    while (!this.#isClosing) {
      const memory = this.#pool.take();
      if (memory !== undefined) {
        this.#waitingSince = performance.now();
        return memory;
      }
      await this.#pool.freed();
    }
    return undefined;
  }

  #checkStall(stallMs: number): void {
    if (this.#waitingSince === undefined || performance.now() - this.#waitingSince < stallMs) return;
    logger.warn(`${this.name} gave nothing for ${formatDuration(stallMs)}`);
    this.#waitingSince = undefined;
    this.#run?.stop(true);
  }
}
