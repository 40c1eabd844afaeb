/** @module BuildProgress: the building of an engine, as a bar on a terminal and as a line now and then elsewhere. */

import { printable } from "../core/shown.ts";
import type { BuildProgress } from "../pipeline/backend.ts";
import { formatBar, wholeSeconds } from "./progress.ts";
import type { Terminal } from "./terminal.ts";

/** How far a build is, and for how long it has been going on. */
export interface BuildState {
  /** Left of the bar: `yolo11n`. */
  readonly title: string;
  /** `undefined` before TensorRT has said anything. */
  readonly progress: BuildProgress | undefined;
  readonly elapsedMs: number;
  readonly isCancelled: boolean;
}

/** The clock ticks on the screen, however long a step of TensorRT takes. */
const REDRAW_MS = 250;
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
  readonly #startedAt = performance.now();
  readonly #timer: ReturnType<typeof setInterval> | undefined;
  #progress: BuildProgress | undefined;
  #lineAt = Number.NEGATIVE_INFINITY;
  #lineFraction = Number.NEGATIVE_INFINITY;

  /** @param signal the one that cancels the build: what is shown says so */
  constructor(terminal: Terminal, title: string, signal: AbortSignal) {
    this.#terminal = terminal;
    this.#title = printable(title);
    this.#signal = signal;
    // The first tick comes late enough for what is in the cache to need no bar.
    this.#timer = terminal.isTerminal ? setInterval(() => this.#draw(), REDRAW_MS) : undefined;
  }

  /** Say how far it is. */
  update(progress: BuildProgress): void {
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

  #writeLine({ fraction, phase }: BuildProgress): void {
    const now = performance.now();
    if (now - this.#lineAt < LINE_MS || fraction - this.#lineFraction < LINE_FRACTION) return;
    this.#lineAt = now;
    this.#lineFraction = fraction;
    const elapsed = wholeSeconds(now - this.#startedAt);
    this.#terminal.line(`Building ${this.#title}: ${Math.floor(fraction * 100)} %, ${elapsed}, ${printable(phase)}`);
  }
}
