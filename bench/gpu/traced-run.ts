/** @module TracedRun: frames in flight with the GPU's own record of each: when it was copied in, computed and copied out. */

import { openBackends } from "../../src/accelerators/accelerator.ts";
import type { DetectorOptions } from "../../src/api/detector-config.ts";
import type { Image } from "../../src/image/image.ts";
import { DEFAULT_MACHINE_OPTIONS, type FrameRecord, type Span } from "../../src/runtime/backend.ts";
import { DEFAULT_DETECT_TASK_OPTIONS, DetectTask } from "../../src/tasks/detect/detect-task.ts";
import type { TimelineSpan } from "../result.ts";

/** Slots whose copies and computing have lanes of their own in a timeline. */
const MOST_SLOTS_APART = 8;

/** Frames of each slot before records are kept: the first ones allocate and capture. */
const WARM_UP = 30;

/**
 * Keep `inFlight` slots busy for a while.
 *
 * @returns one record a frame
 */
export async function tracedRun(
  source: string,
  frame: Image,
  options: DetectorOptions & { readonly durationMs: number },
): Promise<FrameRecord[]> {
  const { inFlight = 1, streams = "auto", graph = true, durationMs } = options;
  const records: FrameRecord[] = [];
  let isWarm = false;
  const trace = {
    frame(record: FrameRecord): void {
      if (isWarm) records.push(record);
    },
  };
  const wish = {
    ...DEFAULT_MACHINE_OPTIONS,
    backend: "gpu",
    inFlight,
    accelerators: { tensorrt: { streams, graph } },
    trace,
  } as const;
  const task = new DetectTask(DEFAULT_DETECT_TASK_OPTIONS);
  const backend = (await openBackends(source, task, wish, [0]))[0]!;
  using owned = new DisposableStack();
  owned.defer(() => backend.close());
  const slots = Array.from({ length: inFlight }, () => {
    const slot = backend.createSlot();
    owned.defer(() => slot.close());
    return slot;
  });
  const { usualSize: size, idleParams } = backend.task;
  await Promise.all(
    slots.map(async (slot) => {
      for (let at = 0; at < WARM_UP; at++) await slot.run([frame], size, idleParams);
    }),
  );
  isWarm = true;
  const started = performance.now();
  await Promise.all(
    slots.map(async (slot) => {
      while (performance.now() - started < durationMs) await slot.run([frame], size, idleParams);
    }),
  );
  return records.sort((a, b) => a.submittedMs - b.submittedMs);
}

/** Length of the union of spans. */
export function coveredMs(spans: readonly Span[]): number {
  let covered = 0;
  let reached = Number.NEGATIVE_INFINITY;
  for (const [start, end] of spans.toSorted((a, b) => a[0] - b[0])) {
    covered += Math.max(0, end - Math.max(start, reached));
    reached = Math.max(reached, end);
  }
  return covered;
}

/** Share of the time from the first frame's to the last frame's computing in which nothing was computed. */
export function idleShareOf(records: readonly FrameRecord[]): number | undefined {
  if (records.length < 2) return undefined;
  const spans = records.map(({ computeMs }) => computeMs);
  const from = Math.min(...spans.map(([start]) => start));
  const to = Math.max(...spans.map(([, end]) => end));
  return 1 - coveredMs(spans) / (to - from);
}

/** Share of the time of all copies to the device in which another frame was computed. */
export function overlapOf(records: readonly FrameRecord[]): number | undefined {
  let copied = 0;
  let overlapped = 0;
  for (const record of records) {
    const [start, end] = record.copyInMs;
    copied += end - start;
    const others = records.filter(({ computeMs: [from, to] }) => from < end && to > start);
    const spans = others
      .filter((other) => other !== record)
      .map(({ computeMs: [from, to] }): Span => {
        return [Math.max(from, start), Math.min(to, end)];
      });
    overlapped += coveredMs(spans);
  }
  return copied > 0 ? overlapped / copied : undefined;
}

/**
 * Frames out of the middle of a run, one lane for JS and three a slot on the GPU; one where there are many slots, as the parts of
 * a frame follow each other.
 *
 * @param frames how many
 */
export function traceTimeline(
  records: readonly FrameRecord[],
  frames: number,
): { lanes: string[]; spans: TimelineSpan[] } {
  const first = Math.max(0, Math.floor(records.length / 2 - frames / 2));
  const shown = records.slice(first, first + frames);
  const slots = [...new Set(shown.map(({ slot }) => slot))].sort((a, b) => a - b);
  const origin = Math.min(...shown.map(({ submittedMs }) => submittedMs));
  const apart = slots.length <= MOST_SLOTS_APART;
  const lanes = [
    "JS thread",
    ...slots.flatMap((slot) =>
      apart ? [`${slot + 1}: copy in`, `${slot + 1}: compute`, `${slot + 1}: copy out`] : [`frame slot ${slot + 1}`],
    ),
  ];
  const spans = shown.flatMap((record, frame): TimelineSpan[] => {
    const lane = 1 + slots.indexOf(record.slot) * (apart ? 3 : 1);
    const step = apart ? 1 : 0;
    const span = (at: number, name: string, [start, end]: Span): TimelineSpan => ({
      lane: at,
      name,
      frame,
      start: start - origin,
      end: Math.max(start, end) - origin,
    });
    return [
      span(0, "enqueue", [record.submittedMs, record.enqueuedMs]),
      span(lane, "copy in", record.copyInMs),
      span(lane + step, "compute", record.computeMs),
      span(lane + 2 * step, "copy out", record.copyOutMs),
    ];
  });
  return { lanes, spans };
}
