/**
 * @module Observers: what TensorRT reports while it works, brought to the JS thread through queues in native memory: log lines and errors,
 * for the library's logger, and the phases of a build.
 */

import { ArgumentError, message } from "../core/errors.ts";
import { type LogLevel, logger, oneLine } from "../core/log.ts";
import { Resource } from "../core/resource.ts";
import { shim } from "../ffi/shim.ts";
import { SHIM_CONSTANTS } from "../ffi/shim-symbols.ts";

const LOG_BYTES = 256 * 1024;
/** How often the ring is drained while a call runs off the JS thread. */
const DRAIN_MS = 50;
/** Error lines kept for the next failure. */
const KEPT_ERRORS = 32;

/** TensorRT's severities by number. */
const LEVELS: readonly LogLevel[] = ["error", "error", "warn", "info", "debug"];

/** nvinfer1::ErrorCode by number. */
const ERROR_CODES: readonly string[] = (
  "SUCCESS UNSPECIFIED_ERROR INTERNAL_ERROR INVALID_ARGUMENT INVALID_CONFIG FAILED_ALLOCATION FAILED_INITIALIZATION " +
  "FAILED_EXECUTION FAILED_COMPUTATION INVALID_STATE UNSUPPORTED_STATE"
).split(" ");

/** The number TensorRT's logger takes for a level: lines above it are not queued. */
export function severityOf(level: LogLevel): number {
  return LEVELS.lastIndexOf(level);
}

/** The one log of a library, for the life of the process. */
export class LogRing {
  /** @internal */
  readonly ring: Ring = new Ring(LOG_BYTES);
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
    const isError = record.kind === SHIM_CONSTANTS.BT_RECORD_ERROR;
    const text = oneLine(record.text);
    const level = isError ? "error" : (LEVELS[record.severity] ?? "debug");
    if (isError) this.#code = ERROR_CODES[record.number] ?? `ERROR_${record.number}`;
    if (level === "error") this.#lines = [...this.#lines, text].slice(-KEPT_ERRORS);
    logger[level](`${this.#prefix}: ${text}`);
  }

  /** Take the errors since the last call, oldest first, and the last one's code where a recorder told one; drains first. */
  takeErrors(): { readonly lines: readonly string[]; readonly code: string | undefined } {
    this.drain();
    const taken = { lines: this.#lines, code: this.#code };
    this.#lines = [];
    this.#code = undefined;
    return taken;
  }

  /** Drain by a timer until the result is disposed of: for calls that run off the JS thread. */
  watch(): Disposable {
    this.#watchers += 1;
    // What is watched keeps the process alive, where it is to.
    this.#timer ??= setInterval(() => this.drain(), DRAIN_MS).unref();
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

/** One record. */
export interface RingRecord {
  /** `BT_RECORD_…` */
  readonly kind: number;
  /** 0 internal error, 1 error, 2 warning, 3 info, 4 verbose. */
  readonly severity: number;
  /** Error code, number of steps, or step. */
  readonly number: number;
  /** Milliseconds of a layer. */
  readonly value: number;
  readonly text: string;
  /** Enclosing phase, or the empty string. */
  readonly parent: string;
}

const HEADER_BYTES = 24;
const SCRATCH_BYTES = 64 * 1024;

const scratch = new Uint8Array(new ArrayBuffer(SCRATCH_BYTES));
const fields = new DataView(scratch.buffer);
const decoder = new TextDecoder();

/** A bounded queue in native memory. Its owner destroys it after the last observer that writes into it. */
export class Ring {
  /** The `bt_ring *`. Borrowed. */
  readonly handle: number;
  #reported = 0;

  /** @param capacityBytes beyond it, records are dropped and counted */
  constructor(capacityBytes: number) {
    const handle = shim().bt_ring_create(capacityBytes);
    if (handle === null) throw new ArgumentError(message(`make a ring of ${capacityBytes} bytes`, "memory ran out"));
    this.handle = handle;
  }

  /** Take every record out, oldest first. */
  drain(visit: (record: RingRecord) => void): void {
    for (;;) {
      const bytes = shim().bt_ring_read(this.handle, scratch, SCRATCH_BYTES);
      if (bytes <= 0) return;
      // Decoded before the first is visited: a visitor may drain another ring through the same scratch.
      for (const record of decode(bytes)) visit(record);
    }
  }

  /** Number of records dropped since it was last asked. */
  takeDropped(): number {
    const dropped = shim().bt_ring_dropped(this.handle);
    const fresh = dropped - this.#reported;
    this.#reported = dropped;
    return fresh;
  }

  /** Free it. No observer may write into it any more. */
  destroy(): void {
    shim().bt_ring_destroy(this.handle);
  }
}

function decode(bytes: number): RingRecord[] {
  const records: RingRecord[] = [];
  for (let at = 0; at < bytes; at += fields.getUint32(at, true)) {
    const textEnd = at + HEADER_BYTES + fields.getUint32(at + 16, true);
    records.push({
      kind: fields.getUint16(at + 4, true),
      severity: fields.getUint16(at + 6, true),
      number: fields.getInt32(at + 8, true),
      value: fields.getFloat32(at + 12, true),
      text: decoder.decode(scratch.subarray(at + HEADER_BYTES, textEnd)),
      parent: decoder.decode(scratch.subarray(textEnd, textEnd + fields.getUint32(at + 20, true))),
    });
  }
  return records;
}

/** A phase that is under way. */
export interface BuildPhase {
  readonly name: string;
  /** The phase it is a part of; `undefined` for the outermost. */
  readonly parent: BuildPhase | undefined;
  /** Number of steps, as announced at its start. */
  readonly steps: number;
  /** Steps done. */
  readonly step: number;
}

/** What happened: a phase began, made a step, or ended. */
export interface BuildEvent {
  readonly kind: "start" | "step" | "end";
  readonly phase: BuildPhase;
  /** All phases under way, outermost first; without `phase` once it has ended. */
  readonly phases: readonly BuildPhase[];
  /** How far the outermost phase is, 0 to 1, counting the parts of the steps under way. TensorRT's steps differ in length. */
  readonly fraction: number;
}

interface OpenPhase extends BuildPhase {
  readonly parent: OpenPhase | undefined;
  step: number;
}

const PROGRESS_BYTES = 64 * 1024;

/** Turns the monitor's records into events. Tolerates records that were dropped. */
export class PhaseTree {
  readonly #open = new Map<string, OpenPhase>();
  #fraction = 0;

  /** @returns the event, or `undefined` for a record that tells nothing new */
  visit(record: RingRecord): BuildEvent | undefined {
    if (record.kind === SHIM_CONSTANTS.BT_RECORD_PHASE_START) return this.#start(record);
    const phase = this.#open.get(record.text);
    if (phase === undefined) return undefined;
    if (record.kind === SHIM_CONSTANTS.BT_RECORD_STEP) {
      phase.step = Math.max(phase.step, record.number + 1);
      return this.#event("step", phase);
    }
    this.#open.delete(record.text);
    phase.step = phase.steps;
    return this.#event("end", phase);
  }

  #start(record: RingRecord): BuildEvent {
    const parent = this.#open.get(record.parent);
    const phase: OpenPhase = { name: record.text, parent, steps: record.number, step: 0 };
    this.#open.set(record.text, phase);
    return this.#event("start", phase);
  }

  #event(kind: BuildEvent["kind"], phase: OpenPhase): BuildEvent {
    const phases = [...this.#open.values()].map((one) => ({ ...one }));
    const root = kind === "end" && phase.parent === undefined ? undefined : [...this.#open.values()][0];
    // Never backwards: a phase that ends before its parent's step is counted would make it so.
    this.#fraction = Math.max(this.#fraction, root === undefined ? 1 : this.#done(root));
    return { kind, phase: { ...phase }, phases, fraction: this.#fraction };
  }

  #done(phase: OpenPhase): number {
    if (phase.steps <= 0) return 0;
    const parts = [...this.#open.values()].filter((one) => one.parent === phase);
    const part = parts.length === 0 ? 0 : Math.max(...parts.map((one) => this.#done(one)));
    return Math.min(1, (phase.step + part) / phase.steps);
  }
}

/** TensorRT's progress monitor: an object it calls, and the queue it fills. */
export class ProgressMonitor extends Resource {
  readonly #handle: number;
  readonly #ring = new Ring(PROGRESS_BYTES);
  readonly #tree = new PhaseTree();

  /** Close it after every configuration that knows it. */
  constructor() {
    super("ProgressMonitor");
    this.#handle = shim().bt_monitor_create(this.#ring.handle)!;
  }

  /** Address of the IProgressMonitor. Borrowed: valid while it is open. @throws {ClosedError} If it is closed */
  get handle(): number {
    this.assertOpen("use a progress monitor");
    return this.#handle;
  }

  /** Pass on what has happened since the last call. @throws {ClosedError} If it is closed */
  drain(visit: (event: BuildEvent) => void): void {
    this.assertOpen("read the progress of a build");
    this.#ring.drain((record) => {
      const event = this.#tree.visit(record);
      if (event !== undefined) visit(event);
    });
  }

  /** Ask the build to end at its next step. */
  cancel(): void {
    this.assertOpen("cancel a build");
    shim().bt_monitor_cancel(this.#handle);
  }

  /** Let the build wait at its next step, or go on. */
  pause(isPaused: boolean): void {
    this.assertOpen("pause a build");
    shim().bt_monitor_pause(this.#handle, isPaused ? 1 : 0);
  }

  protected override release(): void {
    shim().bt_observer_destroy(this.#handle);
    this.#ring.destroy();
  }
}
