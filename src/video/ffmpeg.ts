/**
 * @module Ffmpeg: where ffmpeg and ffprobe are on this machine, how old they are, what they say, and bytes to and from them, beside the
 * lines that they say of those. On Linux bytes have a wide pipe of their own; other systems hand no further pipes on, or not to every
 * program: there they take standard output and input, and the lines stand among the messages.
 */

import { closeSync, existsSync, read, write } from "node:fs";
import { delimiter } from "node:path";
import { LibraryLoadError, message, NativeError } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { openPipe } from "../ffi/libc.ts";

/** Where the two programs are, if not on the PATH. */
const VARIABLES = { ffmpeg: "BUN_TENSORRT_FFMPEG", ffprobe: "BUN_TENSORRT_FFPROBE" } as const;

const INSTALL: Readonly<Partial<Record<NodeJS.Platform, string>>> = {
  darwin: "brew install ffmpeg",
  win32: "winget install ffmpeg",
};
const HINT = `install it (${
  INSTALL[process.platform] ??
  "Debian and Ubuntu: sudo apt install ffmpeg, Fedora: sudo dnf install ffmpeg-free, Arch: sudo pacman -S ffmpeg, Alpine: apk add ffmpeg"
}), or set`;

/** What this version wants otherwise than others. */
export interface FfmpegDialect {
  /** The words that make ffmpeg hand on each frame once, whatever its time; `-vsync` before 5.1. */
  readonly passthrough: readonly string[];
  /** From 6.0 on: times begin no earlier than with the first image, wherever the input is sought. */
  readonly hasLateZero: boolean;
}

let known: { readonly path: string; readonly dialect: Promise<FfmpegDialect> } | undefined;

/**
 * The path of a program: what its environment variable says, else the first one on the PATH.
 *
 * @throws {LibraryLoadError} If it is not installed; the message has the command that installs it
 */
export function findFfmpeg(program: keyof typeof VARIABLES): string {
  const variable = VARIABLES[program];
  const named = process.env[variable];
  if (named) {
    if (existsSync(named)) return named;
    const text = message(
      `run ${program}`,
      `$${variable} is ${JSON.stringify(named)}, which does not exist`,
      "correct it",
    );
    throw new LibraryLoadError(text, program, [named]);
  }
  const { PATH = "" } = process.env;
  const found = Bun.which(program, { PATH });
  if (found !== null) return found;
  const text = message(`run ${program}`, "it is not on the PATH", `${HINT} ${variable} to its path`);
  throw new LibraryLoadError(text, program, PATH.split(delimiter));
}

/** Why videos are not read by ffmpeg and ffprobe; `undefined` where both are installed. */
export function missingFfmpeg(): LibraryLoadError | undefined {
  try {
    findFfmpeg("ffprobe");
    findFfmpeg("ffmpeg");
    return undefined;
  } catch (error) {
    if (error instanceof LibraryLoadError) return error;
    throw error;
  }
}

/** How to talk to the ffmpeg at this path. It is asked once, however many videos are opened meanwhile. */
export function ffmpegDialect(path: string): Promise<FfmpegDialect> {
  if (known?.path === path) return known.dialect;
  const dialect = askDialect(path);
  known = { path, dialect };
  // What cannot be started now may be later.
  dialect.catch(() => {
    known = undefined;
  });
  return dialect;
}

async function askDialect(path: string): Promise<FfmpegDialect> {
  const child = Bun.spawn([path, "-version"], { stdin: "ignore", stdout: "pipe", stderr: "ignore" });
  const found = /^ffmpeg version n?(\d+(?:\.\d+)?)/.exec(await child.stdout.text())?.[1];
  // A build from the development branch has no number, and is newer.
  const version = found === undefined ? Number.POSITIVE_INFINITY : Number(found);
  return { passthrough: [version < 5.1 ? "-vsync" : "-fps_mode", "passthrough"], hasLateZero: version >= 6 };
}

/** Keeps a list of processes, and kills them when its standard input ends, which it does with this process. */
const SCRIPT = `children=
while read -r what id; do
  rest=
  for one in $children; do [ "$one" = "$id" ] || rest="$rest $one"; done
  [ "$what" = - ] || rest="$rest $id"
  children=$rest
done
[ -z "$children" ] || kill -KILL $children`;

const running = new Set<number>();
/** It runs that; its standard input is ours alone, as Bun hands no pipe on to other programs. */
let shell: Bun.Subprocess<"pipe", "ignore", "ignore"> | undefined;

function tell(what: "+" | "-", id: number): void {
  try {
    let lines = `${what} ${id}\n`;
    // Somebody may have ended it.
    if (shell === undefined || shell.exitCode !== null || shell.signalCode !== null) {
      // In a group of its own: what ends our group must not end it first.
      shell = Bun.spawn(["/bin/sh", "-c", SCRIPT], { stdio: ["pipe", "ignore", "ignore"], detached: true });
      shell.unref();
      lines = [...running].map((one) => `+ ${one}\n`).join("");
    }
    shell.stdin.write(lines);
    // It takes a line at once; one that has ended takes none.
    void Promise.resolve(shell.stdin.flush()).catch(() => {});
  } catch (error) {
    logger.debug(`Programs are not watched: ${(error as Error).message}`);
  }
}

/**
 * Have a program killed when this process ends before it, in whatever way: a program that waits for a server that is silent
 * would wait for ever. Not for one that has a file to end, which it does by itself.
 */
export function endWithUs(child: Bun.Subprocess): void {
  // There what is not started apart ends with us by itself.
  if (process.platform === "win32") return;
  const { pid } = child;
  running.add(pid);
  tell("+", pid);
  void child.exited.then(() => {
    running.delete(pid);
    tell("-", pid);
  });
}

/** Words for `-loglevel` that this reads. */
export const LOG_LEVEL = "level+warning";

/** The lines of a stream, read no faster than they are asked for. */
export async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string, void, undefined> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split(/[\r\n]+/);
    rest = lines.pop() ?? "";
    yield* lines;
  }
  yield rest;
}

/** A broken stream complains of every packet: after this many lines the rest is only counted. */
const LOUD_LINES = 10;
const KEPT_ERRORS = 6;
/** What is said of a file that stops before its end: by the readers of MP4 and Matroska, by HTTP's, and of a read that failed. */
const TRUNCATED =
  /partial file|end(?:s|ed) prematurely|: (?:Input\/output error|Connection reset by peer|Connection timed out)$/i;

/** AVERROR_EXIT: what it leaves undone as we ended it. */
const ENDED_BY_US = /: Immediate exit requested$/;

const LINE = /^(?:\[[^\]]* @ 0x[0-9a-f]+\] )*\[(panic|fatal|error|warning)\] (.*)$/;

/** Reads the standard error of one process, line by line, until it closes. */
export class MessageLog {
  readonly #title: string;
  readonly #input: string;
  readonly #loudLines: number;
  #count = 0;
  /** The last lines of level error and above, oldest first. */
  readonly errors: string[] = [];
  /** True if the process said that its input stops before its end. */
  isTruncated = false;
  /** True while errors are expected: they go to the log as details. */
  isQuiet = false;
  /** Resolves when the process has closed its standard error. */
  readonly ended: Promise<void>;

  /**
   * @param title     what the lines are about: `clip.mp4`
   * @param input     what ffmpeg calls it, which may hold a password: replaced by the title wherever it is said
   * @param loudLines errors that go to the log as warnings; the others as details
   */
  constructor(stderr: ReadableStream<Uint8Array>, title: string, input: string, loudLines: number = LOUD_LINES) {
    this.#title = title;
    this.#input = input;
    this.#loudLines = loudLines;
    this.ended = this.#read(stderr);
  }

  /** The last error, as a clause; `otherwise` where there was none. */
  last(otherwise: string): string {
    return this.errors.at(-1) ?? otherwise;
  }

  async #read(stderr: ReadableStream<Uint8Array>): Promise<void> {
    for await (const line of linesOf(stderr)) this.#take(line.replaceAll(this.#input, this.#title));
    const hidden = this.#count - this.#loudLines;
    if (hidden > 0 && this.#loudLines > 0) logger.warn(`${this.#title}: ${hidden} further messages of ffmpeg`);
  }

  #take(line: string): void {
    const [, level, text] = LINE.exec(line) ?? [];
    if (text === undefined || level === "warning" || ENDED_BY_US.test(text)) {
      // Of a frame, where these lines share the stream.
      if (/^(?:frame:|t=1$)/.test(line)) return;
      if (line.trim() !== "") logger.debug(`${this.#title}: ${line}`);
      return;
    }
    if (!this.isQuiet) this.#count += 1;
    if (TRUNCATED.test(text)) this.isTruncated = true;
    if (this.errors.push(text) > KEPT_ERRORS) this.errors.shift();
    logger[this.isQuiet || this.#count > this.#loudLines ? "debug" : "warn"](`${this.#title}: ${text}`);
  }
}

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

/** `read` or `write` of node:fs. */
type Transfer = (
  fd: number,
  block: Uint8Array,
  offset: number,
  byteLength: number,
  position: null,
  done: (error: Error | null, byteLength: number) => void,
) => void;

/**
 * Fill a block from a pipe, or write it into one.
 *
 * @returns bytes that went through: fewer than the block has only where the writer has closed
 * @throws {Error} `code: "EPIPE"` if the reader has gone
 */
export function transferAll(transfer: Transfer, fd: number, block: Uint8Array): Promise<number> {
  return new Promise((resolve, reject) => {
    let at = 0;
    const next = (): void => {
      transfer(fd, block, at, block.length - at, null, (error, byteLength) => {
        if (error) return reject(error);
        at += byteLength;
        if (byteLength === 0 || at === block.length) resolve(at);
        else next();
      });
    };
    next();
  });
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
