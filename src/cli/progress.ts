/** @module Progress: a bar with rate and time left, on the status line of standard error. */

import { formatBytes } from "../core/units.ts";
import type { Terminal } from "./terminal.ts";

/** How far a piece of work is. */
export interface ProgressState {
  /** Left of the bar: `yolo11n`. */
  readonly title: string;
  readonly done: number;
  /** `undefined` where nobody knows. */
  readonly total: number | undefined;
  readonly elapsedMs: number;
  /** What `done` counts. */
  readonly unit: "bytes" | "pictures" | "frames";
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
export function wholeSeconds(milliseconds: number): string {
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
