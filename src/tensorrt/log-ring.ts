/** @module LogRing: TensorRT's log lines and errors, brought to the library's logger on the JS thread. */

import { type LogLevel, logger } from "../core/log.ts";
import { oneLine } from "../core/shown.ts";
import { RECORD_KINDS, Ring, type RingRecord } from "./ring.ts";

const CAPACITY_BYTES = 256 * 1024;
/** How often the ring is drained while a call runs off the JS thread. */
const DRAIN_MS = 50;
/** Error lines kept for the next failure. */
const KEPT_ERRORS = 32;

/** TensorRT's severities by number. */
const LEVELS: readonly LogLevel[] = ["error", "error", "warn", "info", "debug"];

/** nvinfer1::ErrorCode by number. */
const ERROR_CODES: readonly string[] = [
  "SUCCESS",
  "UNSPECIFIED_ERROR",
  "INTERNAL_ERROR",
  "INVALID_ARGUMENT",
  "INVALID_CONFIG",
  "FAILED_ALLOCATION",
  "FAILED_INITIALIZATION",
  "FAILED_EXECUTION",
  "FAILED_COMPUTATION",
  "INVALID_STATE",
  "UNSUPPORTED_STATE",
];

/** What was logged as an error since the last failure. */
export interface LoggedErrors {
  /** Oldest first. */
  readonly lines: readonly string[];
  /** Name of the last error's code, where an error recorder told one. */
  readonly code: string | undefined;
}

/** The number TensorRT's logger takes for a level: lines above it are not queued. */
export function severityOf(level: LogLevel): number {
  return LEVELS.lastIndexOf(level);
}

/** The one log of a library, for the life of the process. */
export class LogRing {
  readonly ring: Ring = new Ring(CAPACITY_BYTES);
  readonly #prefix: string;
  #lines: string[] = [];
  #code: string | undefined;
  #watchers = 0;
  #timer: Timer | undefined;

  /** @param prefix put before every line: `TensorRT 10.6.0` */
  constructor(prefix: string) {
    this.#prefix = prefix;
  }

  /** Pass on what has been queued. */
  drain(): void {
    this.ring.drain((record) => this.#pass(record));
    const dropped = this.ring.takeDropped();
    if (dropped > 0) logger.warn(`${this.#prefix}: ${dropped} log lines were dropped as the ring was full`);
  }

  #pass(record: RingRecord): void {
    const isError = record.kind === RECORD_KINDS.error;
    const text = oneLine(record.text);
    const level = isError ? "error" : (LEVELS[record.severity] ?? "debug");
    if (isError) this.#code = ERROR_CODES[record.number] ?? `ERROR_${record.number}`;
    if (level === "error") this.#lines = [...this.#lines, text].slice(-KEPT_ERRORS);
    logger[level](`${this.#prefix}: ${text}`);
  }

  /** Take the errors since the last call; drains first. */
  takeErrors(): LoggedErrors {
    this.drain();
    const taken = { lines: this.#lines, code: this.#code };
    this.#lines = [];
    this.#code = undefined;
    return taken;
  }

  /** Drain by a timer until the result is disposed of: for calls that run off the JS thread. */
  watch(): Disposable {
    this.#watchers += 1;
    this.#timer ??= setInterval(() => this.drain(), DRAIN_MS);
    return {
      [Symbol.dispose]: () => {
        this.drain();
        this.#watchers -= 1;
        if (this.#watchers > 0) return;
        clearInterval(this.#timer);
        this.#timer = undefined;
      },
    };
  }
}
