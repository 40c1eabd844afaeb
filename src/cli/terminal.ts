/**
 * @module Terminal: what standard output and standard error can show, colours where they can, and on the status line a bar with rate
 * and time left.
 */

import { printable, shown, shownInColour } from "../core/log.ts";
import { formatBytes } from "../core/units.ts";
import { isClosedPipe, type Output, writeError } from "../core/whole-file.ts";
import type { BuildProgress } from "../runtime/backend.ts";

/** A look of text. */
export type Style = "bold" | "dim" | "red" | "green" | "yellow" | "cyan";

const CODES: Readonly<Record<Style, readonly [on: number, off: number]>> = {
  bold: [1, 22],
  dim: [2, 22],
  red: [31, 39],
  green: [32, 39],
  yellow: [33, 39],
  cyan: [36, 39],
};

/** Give text a look, or leave it as it is. */
export type Paint = (style: Style, text: string) => string;

/** The paint of a stream with or without colours. */
export function paintOf(hasColour: boolean): Paint {
  if (!hasColour) return (_, text) => text;
  return (style, text) => `\x1b[${CODES[style][0]}m${text}\x1b[${CODES[style][1]}m`;
}

/** What makes text safe for a terminal; the looks of a {@linkcode Paint} stay where it has colours. */
function safeText(hasColour: boolean): (text: string) => string {
  return hasColour ? shownInColour : shown;
}

/** A stream people may be looking at. */
interface TerminalStream {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

/** Whether a stream gets colours: only a terminal does, and not where `NO_COLOR` is set or the terminal is dumb. */
export function hasColour(stream: TerminalStream, environment: Readonly<Record<string, string | undefined>>): boolean {
  return stream.isTTY === true && !environment.NO_COLOR && environment.TERM !== "dumb";
}

/**
 * The process's standard output.
 *
 * @param beforeWrite called before text goes to a terminal, to take a status line out of its way
 */
export function standardOutput(stream: NodeJS.WriteStream, beforeWrite: () => void): Output {
  // Without a listener a closed pipe would end the process; the write's own callback reports it.
  stream.on("error", () => {});
  const isColoured = hasColour(stream, process.env);
  const safe = safeText(isColoured);
  return {
    hasColour: isColoured,
    write: (text) =>
      new Promise((resolve, reject) => {
        if (stream.isTTY) beforeWrite();
        // What is piped is data: each format makes its own texts safe.
        stream.write(stream.isTTY ? safe(text) : text, (error) => {
          if (error) reject(isClosedPipe(error) ? error : writeError("standard output", error));
          else resolve();
        });
      }),
    finish: async () => {},
    close: () => {},
  };
}

/** Standard error: lines for people, and one line at the bottom that is drawn over and over. */
export class Terminal {
  /** True where somebody looks, and a line can be wiped: a dumb terminal is a file that is read at once. */
  readonly isTerminal: boolean;
  readonly paint: Paint;
  readonly #stream: TerminalStream;
  readonly #safe: (text: string) => string;
  #hasStatus = false;

  constructor(stream: TerminalStream, paint: Paint, environment: Readonly<Record<string, string | undefined>> = {}) {
    this.#stream = stream;
    this.isTerminal = stream.isTTY === true && environment.TERM !== "dumb";
    this.paint = paint;
    this.#safe = safeText(paint("bold", " ") !== " ");
  }

  /** Width in characters; 80 where the terminal does not tell. */
  get columns(): number {
    return this.#stream.columns || 80;
  }

  /** True while a status line is shown. */
  get hasStatus(): boolean {
    return this.#hasStatus;
  }

  /** Write a line, or several; it goes above the status line. Nothing in it but {@linkcode Paint} reaches the terminal. */
  line(text: string): void {
    this.clearStatus();
    this.#stream.write(`${this.#safe(text)}\n`);
  }

  /** Draw the status line anew. Nothing is drawn where nobody looks. */
  status(text: string): void {
    if (!this.isTerminal) return;
    this.#stream.write(`\r\x1b[K${this.#safe(text)}`);
    this.#hasStatus = true;
  }

  /** Wipe the status line. */
  clearStatus(): void {
    if (!this.#hasStatus) return;
    this.#stream.write("\r\x1b[K");
    this.#hasStatus = false;
  }
}

/** Which side of its column a cell's text lies on. */
export type Alignment = "left" | "right";

/**
 * Align cells by the widest of each column, two blanks between columns, none at the end of a line. Colours do not count.
 *
 * @param rows       all of the same length
 * @param alignments one a column; left where there is none
 */
export function alignRows(
  rows: readonly (readonly string[])[],
  alignments: readonly (Alignment | undefined)[] = [],
): string[] {
  const columns = Math.max(0, ...rows.map((row) => row.length));
  const widths = Array.from({ length: columns }, (_, at) =>
    Math.max(...rows.map((row) => Bun.stringWidth(row[at] ?? ""))),
  );
  return rows.map((row) => {
    const cells = row.map((cell, at) => {
      const blanks = " ".repeat(widths[at]! - Bun.stringWidth(cell));
      return alignments[at] === "right" ? blanks + cell : cell + blanks;
    });
    return cells.join("  ").trimEnd();
  });
}

/** Lines, two blanks in, below a title; nothing where there are none. */
export function section(title: string, lines: readonly string[]): string[] {
  return lines.length === 0 ? [] : [title, ...lines.map((line) => `  ${line}`)];
}

/** How far a piece of work is. */
interface ProgressState {
  /** Left of the bar: `yolo11n`. */
  readonly title: string;
  readonly done: number;
  /** `undefined` where nobody knows. */
  readonly total: number | undefined;
  readonly elapsedMs: number;
  /** What `done` counts. */
  readonly unit: "bytes" | "images" | "frames" | "images and frames";
}

const BAR_CELLS = 24;
const REDRAW_MS = 80;

function amount(value: number, unit: ProgressState["unit"]): string {
  return unit === "bytes" ? formatBytes(value) : String(value);
}

function rate(state: ProgressState): string {
  const perSecond = state.done / (state.elapsedMs / 1000);
  return state.unit === "bytes" ? `${formatBytes(Math.round(perSecond))}/s` : `${perSecond.toFixed(1)} ${state.unit}/s`;
}

/** `[######------------------]`: a share from 0 to 1 as a bar. */
export function formatBar(fraction: number): string {
  const filled = Math.min(BAR_CELLS, Math.floor(fraction * BAR_CELLS));
  return `[${"#".repeat(filled)}${"-".repeat(BAR_CELLS - filled)}]`;
}

/** In whole seconds: more would only flicker. */
function wholeSeconds(milliseconds: number): string {
  const seconds = Math.floor(milliseconds / 1000);
  return seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

/**
 * One line: `yolo11n  [######------]  4.10 MiB of 8.20 MiB  2.05 MiB/s  2 s left`. Rate and time left come once there
 * is something to go by.
 *
 * @param columns width that the line stays below
 */
export function formatProgress(state: ProgressState, columns: number): string {
  const { title, done, total, unit, elapsedMs } = state;
  const parts = [title];
  if (total !== undefined && total > 0) {
    parts.push(formatBar(done / total));
    parts.push(`${amount(done, unit)} of ${amount(total, unit)}`);
  } else {
    parts.push(amount(done, unit));
  }
  if (done > 0 && elapsedMs > 0) {
    parts.push(rate(state));
    if (total !== undefined && total > done) {
      parts.push(`${wholeSeconds(Math.ceil(((total - done) * elapsedMs) / done / 1000) * 1000)} left`);
    }
  }
  return parts.join("  ").slice(0, Math.max(0, columns - 1));
}

/** Draws a piece of work's progress, not more often than eyes can follow. Silent where nobody looks. */
export class Progress {
  readonly #terminal: Terminal;
  readonly #title: string;
  readonly #unit: ProgressState["unit"];
  readonly #startedAt = performance.now();
  #drawnAt = 0;

  constructor(terminal: Terminal, title: string, unit: ProgressState["unit"]) {
    this.#terminal = terminal;
    this.#title = title;
    this.#unit = unit;
  }

  /** Say how far it is. */
  update(done: number, total: number | undefined): void {
    const now = performance.now();
    if (this.#terminal.hasStatus && now - this.#drawnAt < REDRAW_MS) return;
    this.#drawnAt = now;
    const state = { title: this.#title, done, total, unit: this.#unit, elapsedMs: now - this.#startedAt };
    this.#terminal.status(formatProgress(state, this.#terminal.columns));
  }

  /** Wipe the bar. */
  close(): void {
    this.#terminal.clearStatus();
  }
}

/** How far a build is, and for how long it has been going on. */
interface BuildState {
  /** Left of the bar: `yolo11n`. */
  readonly title: string;
  /** `undefined` before TensorRT has said anything. */
  readonly progress: BuildProgress | undefined;
  readonly elapsedMs: number;
  readonly isCancelled: boolean;
}

/** The clock ticks on the screen, however long a step of TensorRT takes. */
const BUILD_REDRAW_MS = 250;
/** Where nobody looks, a line is written when it is this much further and this much later. */
const LINE_FRACTION = 0.1;
const LINE_MS = 5000;

/**
 * One line: `yolo11n  [#########---------------]  38 %  1 min 12 s  Timing graph nodes`.
 *
 * @param columns width that the line stays below
 */
export function formatBuild(state: BuildState, columns: number): string {
  const { title, progress, elapsedMs, isCancelled } = state;
  const parts = [title];
  if (progress?.waitsFor !== undefined) parts.push(`waiting for ${printable(progress.waitsFor)}`);
  if (progress !== undefined) parts.push(formatBar(progress.fraction), `${Math.floor(progress.fraction * 100)} %`);
  parts.push(wholeSeconds(elapsedMs));
  const phase = progress === undefined ? "starting TensorRT" : printable(progress.phase);
  parts.push(isCancelled ? "cancelling: TensorRT ends with its step; Ctrl-C again ends now" : phase);
  return parts.join("  ").slice(0, Math.max(0, columns - 1));
}

/** Shows a build. Close it, or bind it with `using`. */
export class BuildProgressView implements Disposable {
  readonly #terminal: Terminal;
  readonly #title: string;
  readonly #signal: AbortSignal;
  readonly #timer: ReturnType<typeof setInterval> | undefined;
  /** Of the build that is shown: its own, or the one it waits for. */
  #startedAt = performance.now();
  #progress: BuildProgress | undefined;
  #lineAt = Number.NEGATIVE_INFINITY;
  #lineFraction = Number.NEGATIVE_INFINITY;

  /** @param signal the one that cancels the build: what is shown says so */
  constructor(terminal: Terminal, title: string, signal: AbortSignal) {
    this.#terminal = terminal;
    this.#title = printable(title);
    this.#signal = signal;
    // The first tick comes late enough for what is in the cache to need no bar.
    this.#timer = terminal.isTerminal ? setInterval(() => this.#draw(), BUILD_REDRAW_MS) : undefined;
  }

  /** Say how far it is. */
  update(progress: BuildProgress): void {
    if (progress.waitsFor !== this.#progress?.waitsFor) {
      this.#startedAt = performance.now();
      this.#lineAt = Number.NEGATIVE_INFINITY;
      this.#lineFraction = Number.NEGATIVE_INFINITY;
    }
    this.#progress = progress;
    if (!this.#terminal.isTerminal) this.#writeLine(progress);
  }

  /** Wipe the bar. */
  close(): void {
    clearInterval(this.#timer);
    this.#terminal.clearStatus();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #draw(): void {
    this.#terminal.status(formatBuild(this.#state(), this.#terminal.columns));
  }

  #state(): BuildState {
    const elapsedMs = performance.now() - this.#startedAt;
    return { title: this.#title, progress: this.#progress, elapsedMs, isCancelled: this.#signal.aborted };
  }

  #writeLine({ fraction, phase, waitsFor }: BuildProgress): void {
    const now = performance.now();
    if (now - this.#lineAt < LINE_MS || fraction - this.#lineFraction < LINE_FRACTION) return;
    this.#lineAt = now;
    this.#lineFraction = fraction;
    const elapsed = wholeSeconds(now - this.#startedAt);
    const what = waitsFor === undefined ? "Building" : `Waiting for ${printable(waitsFor)}, to build`;
    this.#terminal.line(`${what} ${this.#title}: ${Math.floor(fraction * 100)} %, ${elapsed}, ${printable(phase)}`);
  }
}
