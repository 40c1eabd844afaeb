/** @module DecodeRun: one ffmpeg process that decodes, from its start to its end. */

import { closeSync } from "node:fs";
import { Resource } from "../core/resource.ts";
import { openPipe } from "../ffi/os-pipe.ts";
import type { VideoAddress } from "./address.ts";
import { endWithUs } from "./child-watch.ts";
import { type DecodeJob, decodeArguments, zeroSeconds } from "./decode-arguments.ts";
import { ffmpegDialect, findFfmpeg } from "./ffmpeg.ts";
import { FrameTimes } from "./frame-times.ts";
import { MessageLog } from "./message-log.ts";
import { readFully } from "./pipe-transfer.ts";

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
