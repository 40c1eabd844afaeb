/** @module FrameTrace: when each batch was copied in, computed and copied out, for benches and profilers. */

/** Begin and end in milliseconds of `performance.now()`. */
export type Span = readonly [startMs: number, endMs: number];

/**
 * One batch, from the call to its rows. GPU times are measured by events and put on the clock of `performance.now()`, to
 * some 10 µs: spans of one record may be compared with each other to about 1 µs, and with host times to about 20 µs.
 */
export interface FrameRecord {
  /** Number of the slot it ran in, from 0 on in the order the slots were made. */
  readonly slot: number;
  /** Pictures in it. */
  readonly batch: number;
  /** When `detect` was called: pixels decoded, nothing enqueued. */
  readonly submittedMs: number;
  /** When everything was enqueued. */
  readonly enqueuedMs: number;
  /** When the JS thread learnt that the GPU had finished. */
  readonly settledMs: number;
  /** Pixels to the device; about empty where kernels read them in place. */
  readonly copyInMs: Span;
  /** Tables, pre-processing, engine, decoding and selection. */
  readonly computeMs: Span;
  /** Kept rows to the host. */
  readonly copyOutMs: Span;
  /** True if it ran as a graph; the first batch of a shape does not. */
  readonly isGraph: boolean;
}

/**
 * Told of every batch that ran through `Slot.detect`, before its call settles. Costs nothing where there is none. With one,
 * the copy of the rows leaves the graph and each batch records six events: some 10 µs more. Machines without a GPU do not call it.
 */
export interface FrameTrace {
  /** Must not throw, and do little: the frame waits for it. The record is new for each batch and may be kept. */
  frame(record: FrameRecord): void;
}
