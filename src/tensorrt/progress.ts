/** @module BuildProgress: the phases a build goes through, as TensorRT's progress monitor reports them. */

import { Resource } from "../core/resource.ts";
import { shim } from "../ffi/shim.ts";
import { SHIM_CONSTANTS } from "../ffi/shim-symbols.ts";
import { Ring, type RingRecord } from "./log-ring.ts";

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

const CAPACITY_BYTES = 64 * 1024;

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
  readonly #ring = new Ring(CAPACITY_BYTES);
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
