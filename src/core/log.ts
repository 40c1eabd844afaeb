/** @module Logger: the only way the library speaks, silent unless a sink is set. */

import { shown } from "./shown.ts";

/** Severity of a line, least important first. */
export type LogLevel = "debug" | "info" | "warn" | "error";

/** Where the lines go, which are safe to look at as {@linkcode shown} says. Called on the JS thread. */
export type LogSink = (level: LogLevel, text: string) => void;

/** The library's voice: lines go to the sink that {@linkcode setLogSink} installed, and nowhere without one. */
class Logger {
  #sink: LogSink | undefined;

  /** Replace the sink; returns the former one. */
  setSink(sink: LogSink | undefined): LogSink | undefined {
    const former = this.#sink;
    this.#sink = sink;
    return former;
  }

  debug(text: string): void {
    this.#sink?.("debug", shown(text));
  }
  info(text: string): void {
    this.#sink?.("info", shown(text));
  }
  warn(text: string): void {
    this.#sink?.("warn", shown(text));
  }
  error(text: string): void {
    this.#sink?.("error", shown(text));
  }
}

/** The logger of the process. */
export const logger: Logger = new Logger();

/**
 * Choose where the library's log lines go; by default nowhere.
 *
 * @param sink called for every line, or `undefined` for silence
 * @returns the sink that was installed before
 */
export function setLogSink(sink: LogSink | undefined): LogSink | undefined {
  return logger.setSink(sink);
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
