/** @module Logger: the only way the library speaks, silent unless a sink is set. */

import { shown } from "./shown.ts";

/** Severity of a line, least important first. */
export type LogLevel = "debug" | "info" | "warn" | "error";

/** Where the lines go. Control characters in them are escaped. Called on the JS thread. */
export type LogSink = (level: LogLevel, text: string) => void;

let installed: LogSink | undefined;
/** Somebody has said where lines go, or that they go nowhere. */
let isChosen = false;
/** Warnings that standard error has had. */
const told = new Set<string>();

function voice(level: LogLevel): (text: string) => void {
  return (text) => installed?.(level, shown(text));
}

/** The library's voice: lines go to the sink that {@linkcode setLogSink} installed, and nowhere without one. */
export const logger: Readonly<Record<LogLevel, (text: string) => void>> = {
  debug: voice("debug"),
  info: voice("info"),
  warn: voice("warn"),
  error: voice("error"),
};

/**
 * A warning that nobody must miss: where no sink was ever chosen it goes to standard error, each text once.
 */
export function warnAloud(text: string): void {
  if (isChosen) logger.warn(text);
  if (isChosen || told.has(text)) return;
  told.add(text);
  process.stderr.write(`bun-tensorrt: ${shown(text)}\n`);
}

/**
 * Choose where the library's log lines go; by default nowhere, but for a warning on standard error where a GPU stays unused.
 *
 * @param sink called for every line, or `undefined` for silence
 * @returns the sink that was installed before
 *
 * @example
 * ```ts
 * import { setLogSink } from "bun-tensorrt";
 *
 * setLogSink((level, text) => {
 *   if (level !== "debug") console.error(level, text);
 * });
 * ```
 */
export function setLogSink(sink: LogSink | undefined): LogSink | undefined {
  const former = installed;
  installed = sink;
  isChosen = true;
  return former;
}

/** So many lines in so many milliseconds. */
const MOST_LINES = 10;
const INTERVAL_MS = 5_000;

/** Tells the first lines of an interval; the first line of the next says how many were left out. */
export class RepeatedLine {
  readonly #tell: (text: string) => void;
  readonly #now: () => number;
  #since = Number.NEGATIVE_INFINITY;
  #count = 0;

  /**
   * @param tell writes a line
   * @param now milliseconds
   */
  constructor(tell: (text: string) => void, now: () => number = () => performance.now()) {
    this.#tell = tell;
    this.#now = now;
  }

  /** Tell, or count. */
  tell(text: string): void {
    const now = this.#now();
    const leftOut = this.#count - MOST_LINES;
    const isNext = now - this.#since >= INTERVAL_MS;
    if (isNext) {
      this.#since = now;
      this.#count = 0;
    }
    this.#count += 1;
    if (this.#count > MOST_LINES) return;
    this.#tell(isNext && leftOut > 0 ? `${text} (${leftOut} more like it before)` : text);
  }
}
