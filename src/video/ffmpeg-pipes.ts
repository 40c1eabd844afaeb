/**
 * @module FfmpegPipes: bytes to and from ffmpeg, beside the lines that it says of them. On Linux they have a wide pipe of their
 * own; other systems hand no further pipes on, or not to every program: there they take standard output and input, and the lines
 * stand among the messages.
 */

import { closeSync, read, write } from "node:fs";
import { message, NativeError } from "../core/errors.ts";
import { openPipe } from "../ffi/libc.ts";
import { transferAll } from "./frame-queue.ts";

/** The largest pipe that users may make by default. */
const PIPE_BYTES = 2 ** 20;

const HAS_OWN_PIPES = process.platform === "linux";

/** Where ffmpeg writes bytes. */
export const BYTES_FD: number = HAS_OWN_PIPES ? 3 : 1;
/** Where it writes a line about each piece of them. */
export const LINES_FD: number = HAS_OWN_PIPES ? 1 : 2;

/** Bytes that ffmpeg writes, in order. */
export interface ByteReader {
  /** Fill a block. @returns bytes that came: fewer than it has only where ffmpeg has ended */
  read(block: Uint8Array): Promise<number>;
  close(): void;
}

/** An ffmpeg that reads a video. */
export interface ReadingChild {
  readonly child: Bun.Subprocess<"ignore", "pipe", "pipe">;
  readonly bytes: ByteReader;
  readonly lines: ReadableStream<Uint8Array>;
  readonly messages: ReadableStream<Uint8Array>;
}

/** In a group of its own: Ctrl-C is ours to handle. On Windows that would keep it from ending with us. */
export const APART: { readonly detached: boolean; readonly windowsHide: true } = {
  detached: process.platform !== "win32",
  windowsHide: true,
};

/** Bytes out of a stream whose chunks end anywhere. */
class StreamReader implements ByteReader {
  readonly #chunks: AsyncIterator<Uint8Array>;
  #rest: Uint8Array = new Uint8Array();

  constructor(stream: ReadableStream<Uint8Array>) {
    this.#chunks = stream[Symbol.asyncIterator]();
  }

  async read(block: Uint8Array): Promise<number> {
    let at = 0;
    while (at < block.length) {
      if (this.#rest.length === 0) {
        const { value, done } = await this.#chunks.next();
        if (done === true) return at;
        this.#rest = value;
      }
      const count = Math.min(this.#rest.length, block.length - at);
      block.set(this.#rest.subarray(0, count), at);
      this.#rest = this.#rest.subarray(count);
      at += count;
    }
    return at;
  }

  close(): void {
    // Whoever closes has ended the process, and nobody reads on.
    void this.#chunks.return?.();
  }
}

/** Start an ffmpeg that writes to {@linkcode BYTES_FD} and {@linkcode LINES_FD}. */
export function startReading(command: readonly string[]): ReadingChild {
  if (!HAS_OWN_PIPES) {
    const child = Bun.spawn([...command], { stdio: ["ignore", "pipe", "pipe"], ...APART });
    // What nobody has taken yet is little: ffmpeg waits for the bytes to be read.
    const [lines, messages] = child.stderr.tee();
    return { child, bytes: new StreamReader(child.stdout), lines, messages };
  }
  const { readEnd, writeEnd } = openPipe(PIPE_BYTES);
  try {
    const stdio = ["ignore", "pipe", "pipe", writeEnd] as const;
    const child = Bun.spawn([...command], { stdio: [...stdio], ...APART }) as ReadingChild["child"];
    const bytes = {
      read: (block: Uint8Array) => transferAll(read, readEnd, block),
      close: () => closeSync(readEnd),
    };
    return { child, bytes, lines: child.stdout, messages: child.stderr };
  } catch (error) {
    closeSync(readEnd);
    throw error;
  } finally {
    closeSync(writeEnd);
  }
}

/** An ffmpeg that writes a file. */
export interface WritingChild {
  readonly child: Bun.Subprocess<"ignore" | "pipe" | number, "ignore", "pipe">;
  /** Write a block. @throws {Error} `code: "EPIPE"` if ffmpeg has ended */
  readonly write: (block: Uint8Array) => Promise<number>;
  /** No bytes follow. */
  readonly end: () => void;
}

/** Start an ffmpeg that reads its standard input, to the end of which it goes on, whatever becomes of this process. */
export function startWriting(command: readonly string[]): WritingChild {
  const options = { detached: true, windowsHide: true } as const;
  if (!HAS_OWN_PIPES) {
    const child = Bun.spawn([...command], { stdio: ["pipe", "ignore", "pipe"], ...options });
    const gone = (): NativeError =>
      new NativeError(message("write to ffmpeg", "it has ended"), { code: "EPIPE", call: "write" });
    const writeBlock = async (block: Uint8Array): Promise<number> => {
      if (child.exitCode !== null) throw gone();
      child.stdin.write(block);
      // A process that ends takes nothing more, and may leave the flush unanswered.
      await Promise.race([child.stdin.flush(), child.exited]);
      if (child.exitCode !== null) throw gone();
      return block.length;
    };
    return { child, write: writeBlock, end: () => void child.stdin.end() };
  }
  const { readEnd, writeEnd } = openPipe(PIPE_BYTES);
  try {
    const child = Bun.spawn([...command], { stdio: [readEnd, "ignore", "pipe"], ...options }) as WritingChild["child"];
    return { child, write: (block) => transferAll(write, writeEnd, block), end: () => closeSync(writeEnd) };
  } catch (error) {
    closeSync(writeEnd);
    throw error;
  } finally {
    closeSync(readEnd);
  }
}
