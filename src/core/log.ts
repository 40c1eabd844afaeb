/** @module Logger: the only way the library speaks, silent unless a sink is set. */

import { shown } from "./shown.ts";

/** Severity of a line, least important first. */
export type LogLevel = "debug" | "info" | "warn" | "error";

/** Where the lines go. Control characters in them are escaped. Called on the JS thread. */
export type LogSink = (level: LogLevel, text: string) => void;

/** Where lines go, and what has been said without being asked. */
interface Voice {
  sink: LogSink | undefined;
  /** Somebody has said where lines go, or that they go nowhere. */
  isChosen: boolean;
  /** Warnings that standard error has had. */
  readonly told: Set<string>;
}

/**
 * Of the process rather than of this file, which `bun --hot` evaluates anew: a former evaluation that held a sink would hold what
 * the program had around it, and so its detectors, which nobody could collect.
 */
const VOICE = Symbol.for("bun-tensorrt.log");
const voices = globalThis as { [VOICE]?: Voice };
voices[VOICE] ??= { sink: undefined, isChosen: false, told: new Set() };
const common: Voice = voices[VOICE];

function voice(level: LogLevel): (text: string) => void {
  return (text) => common.sink?.(level, shown(text));
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
  if (common.isChosen) logger.warn(text);
  if (common.isChosen || common.told.has(text)) return;
  common.told.add(text);
  process.stderr.write(`bun-tensorrt: ${shown(text)}\n`);
}

/**
 * Choose where the library's log lines go; by default nowhere, but for warnings that nobody must miss on standard error: a GPU
 * that stays unused, a model from an address that nothing pins.
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
  const former = common.sink;
  common.sink = sink;
  common.isChosen = true;
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
