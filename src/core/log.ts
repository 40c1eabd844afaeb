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
