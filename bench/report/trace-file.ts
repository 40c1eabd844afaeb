/** @module Trace file: the timelines of a run in Chrome's trace format, for chrome://tracing, Perfetto and their like. */

import type { BenchResult } from "../result.ts";

/** One event: a name for a row, or a span in microseconds. */
export interface TraceEvent {
  readonly name: string;
  readonly ph: "M" | "X";
  readonly pid: number;
  readonly tid: number;
  readonly ts?: number;
  readonly dur?: number;
  readonly args?: Readonly<Record<string, string | number>>;
}

/** A trace file's contents. */
export interface TraceFile {
  readonly displayTimeUnit: "ms";
  readonly traceEvents: readonly TraceEvent[];
}

/** Every timeline as a process of its own, a lane as a thread. */
export function traceOf(result: BenchResult): TraceFile {
  const events: TraceEvent[] = [];
  let pid = 0;
  for (const study of result.studies) {
    for (const block of study.blocks) {
      if (block.kind !== "timeline") continue;
      pid += 1;
      events.push({ name: "process_name", ph: "M", pid, tid: 0, args: { name: `${study.name}: ${block.title}` } });
      for (const [lane, name] of block.lanes.entries()) {
        events.push({ name: "thread_name", ph: "M", pid, tid: lane, args: { name } });
        events.push({ name: "thread_sort_index", ph: "M", pid, tid: lane, args: { sort_index: lane } });
      }
      for (const { lane, name, frame, start, end } of block.spans) {
        events.push({ name, ph: "X", pid, tid: lane, ts: start * 1000, dur: (end - start) * 1000, args: { frame } });
      }
    }
  }
  return { displayTimeUnit: "ms", traceEvents: events };
}
