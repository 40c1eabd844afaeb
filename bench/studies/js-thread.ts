/** @module JS thread: how busy it is while frames are in flight, and whether a server beside them still answers. */

import type { DetectorOptions } from "../../src/api/detector-config.ts";
import type { Image } from "../../src/image/image.ts";
import type { Study, StudyContext } from "../study.ts";
import { drive } from "../support/drive.ts";
import { keep, promise } from "../support/keep.ts";
import { pageLocked } from "../support/page-locked.ts";
import { RequestProbe } from "../support/request-probe.ts";
import { summarise } from "../support/samples.ts";
import { threadMs } from "../support/thread-time.ts";

const LEAST_IDLE = 0.7;
const TIMER_MS = 5;
const LEAST_MS = 1000;

interface Load {
  readonly id: string;
  readonly name: string;
  /** `undefined` for no load at all. */
  readonly options: DetectorOptions | undefined;
}

function loadsFor({ kind }: StudyContext): Load[] {
  const inFlight = kind === "gpu" ? 8 : 1;
  const nothing: Load = { id: "none", name: "nothing else to do", options: undefined };
  if (kind === "cpu") {
    return [nothing, { id: "auto", name: "detecting", options: { inFlight } }];
  }
  return [
    nothing,
    ...(["poll", "off-thread", "auto"] as const).map(
      (wait): Load => ({ id: wait, name: `waiting: ${wait}`, options: { inFlight, wait } }),
    ),
  ];
}

/** Milliseconds by which a timer comes late, until it is stopped. */
function lateness(): { stop(): number[] } {
  const late: number[] = [];
  let due = performance.now() + TIMER_MS;
  const timer = setInterval(() => {
    const now = performance.now();
    late.push(Math.max(0, now - due));
    due = now + TIMER_MS;
  }, TIMER_MS);
  return {
    stop: () => {
      clearInterval(timer);
      return late;
    },
  };
}

interface Observed {
  readonly load: Load;
  readonly idle: number;
  readonly rate: number;
  readonly timer: number[];
  readonly requests: number[];
}

async function observe(context: StudyContext, load: Load, frame: Image): Promise<Observed> {
  await using detector = load.options === undefined ? undefined : await context.load(load.options);
  const durationMs = Math.max(LEAST_MS, context.durationMs);
  if (detector !== undefined) await detector.detect(frame);
  // Idleness without the probe, which costs the thread time itself.
  const before = threadMs();
  const started = performance.now();
  const inFlight = load.options?.inFlight ?? 1;
  const busy = async (): Promise<number> => {
    if (detector === undefined) {
      await Bun.sleep(durationMs);
      return 0;
    }
    return (await drive(detector, frame, { inFlight, durationMs, warmUp: 0 })).rate;
  };
  const rate = await busy();
  const wall = performance.now() - started;
  const after = threadMs();
  // The kernel counts in ticks, so a thread that never rests can seem to have run for longer than there was time.
  const idle = Math.max(0, 1 - (after - before) / wall);
  await using probe = new RequestProbe();
  const timers = lateness();
  await busy();
  return { load, idle, rate, timer: timers.stop(), requests: await probe.finish() };
}

/** The thread that everything else of an app runs on. */
export const jsThread: Study = {
  name: "js-thread",
  title: "JS thread: what is left for the app",
  question:
    "While detection runs at full rate, how idle is the JS thread, and how soon do timers and a Bun.serve in the same process answer?",
  needs: ["model"],
  async run(context, output) {
    const loads = loadsFor(context);
    const all: Observed[] = [];
    using owned = new DisposableStack();
    const { image } = context.image;
    const frame = context.kind === "gpu" ? pageLocked(image, owned) : image;
    for (const [at, load] of loads.entries()) {
      context.progress(at / loads.length, load.name);
      all.push(await observe(context, load, frame));
    }
    for (const { load, timer, requests } of all) {
      keep(output, `timer-${load.id}`, `timer, ${load.name}`, "ms", timer);
      keep(output, `request-${load.id}`, `request, ${load.name}`, "ms", requests);
    }
    output.blocks.push({
      kind: "table",
      title: "Idle while detecting",
      note: "Frames lie in page-locked memory on a GPU: from ordinary memory the thread copies them first. Idle is wall time less the processor time of the JS thread alone, as the kernel counts it. A thread that polls the GPU counts as busy, though it serves whatever comes.",
      columns: ["JS thread", "idle %", "frames/s", "timer late, p99 ms", "request, p50 ms", "request, p99 ms"],
      rows: all.map(({ load, idle, rate, timer, requests }) => {
        const [late, answers] = [summarise(timer), summarise(requests)];
        return [load.name, idle * 100, rate === 0 ? null : rate, late.p99, answers.p50, answers.p99];
      }),
    });
    for (const [kind, title] of [
      ["timer", "How late a 5 ms timer comes"],
      ["request", "How soon a request is answered"],
    ] as const) {
      output.blocks.push({
        kind: "distribution",
        title,
        note:
          kind === "timer"
            ? "Every tick, beside the same timer with nothing else to do."
            : "Asked by another process over HTTP on this machine, every 2 ms.",
        measurements: all.map(({ load }) => `${kind}-${load.id}`),
      });
    }
    const wanted = all.find(({ load }) => load.id === "off-thread") ?? all.find(({ load }) => load.id === "auto");
    if (wanted === undefined) return;
    promise(output, `JS thread idle, ${wanted.load.name}, at ${wanted.rate.toFixed(0)} frames/s`, wanted.idle, {
      least: LEAST_IDLE,
      unit: "share",
    });
  },
};
