/** @module Calls: what a native call, a launch and a wait cost by themselves. */

import { dlopen } from "bun:ffi";
import koffi from "koffi";
import type { DevicePtr } from "../../src/core/units.ts";
import { Device } from "../../src/cuda/device.ts";
import { Event } from "../../src/cuda/event.ts";
import { layOut, Module } from "../../src/cuda/kernel.ts";
import { Graph, Stream } from "../../src/cuda/stream.ts";
import { SPIN_PTX } from "../gpu/spin.ts";
import type { Study, StudyContext, StudyOutput } from "../study.ts";
import { keep } from "../support/keep.ts";
import { inRounds } from "../support/rounds.ts";

const ROUNDS = 30;
/** Calls of one sample, so that the clock's own cost vanishes. */
const BATCH = 2000;
const SPIN_MS = 0.4;
const LIBC = process.platform === "darwin" ? "libSystem.B.dylib" : "libc.so.6";

/** Nanoseconds of one call, the mean of many in a row. */
function perCall(call: () => unknown, count: number): number {
  const started = Bun.nanoseconds();
  for (let at = 0; at < count; at++) call();
  return (Bun.nanoseconds() - started) / count;
}

async function hostCalls(context: StudyContext, output: StudyOutput): Promise<void> {
  const { abs } = dlopen(LIBC, { abs: { args: ["i32"], returns: "i32" } }).symbols;
  const byKoffi = koffi.load(LIBC).func("abs", "int", ["int"]);
  const samples = { bun: [] as number[], koffi: [] as number[], async: [] as number[], timer: [] as number[] };
  const batch = context.options.isQuick ? BATCH / 10 : BATCH;
  const asyncCall = (): Promise<void> =>
    new Promise((resolve, reject) => {
      byKoffi.async(-1, (error: Error | null) => (error === null ? resolve() : reject(error)));
    });
  perCall(() => abs(-1), 100_000);
  perCall(() => byKoffi(-1), 10_000);
  await inRounds(
    [
      { run: () => void samples.bun.push(perCall(() => abs(-1), batch * 10)) },
      { run: () => void samples.koffi.push(perCall(() => byKoffi(-1), batch)) },
      {
        run: async () => {
          const started = Bun.nanoseconds();
          for (let at = 0; at < 20; at++) await asyncCall();
          samples.async.push((Bun.nanoseconds() - started) / 20);
        },
      },
      {
        run: async () => {
          const started = Bun.nanoseconds();
          for (let at = 0; at < 20; at++) await new Promise((resolve) => setImmediate(resolve));
          samples.timer.push((Bun.nanoseconds() - started) / 20);
        },
      },
    ],
    ROUNDS,
    (round) => {
      context.progress((round / ROUNDS) * 0.4, "calls of C");
      return true;
    },
  );
  keep(output, "bun-ffi", "bun:ffi, abs(int)", "ns", samples.bun);
  keep(output, "koffi", "koffi, abs(int)", "ns", samples.koffi);
  keep(output, "set-immediate", "a turn of the event loop (setImmediate)", "ns", samples.timer);
  keep(output, "koffi-async", "koffi async, there and back", "ns", samples.async);
  output.blocks.push({
    kind: "distribution",
    title: "A native call",
    note: "The same C function each way. Means of many calls in a row, in turns; what returns at once goes through bun:ffi, what blocks goes through koffi's threads.",
    measurements: ["bun-ffi", "koffi", "set-immediate", "koffi-async"],
  });
}

async function gpuCalls(context: StudyContext, output: StudyOutput): Promise<void> {
  using device = Device.open(0);
  using stream = Stream.create(device);
  using module = Module.load(device, SPIN_PTX, { name: "spin.ptx" });
  const kernel = module.kernel("spin", layOut([["nanoseconds", "pointer"]]));
  const config = { grid: [1, 1, 1], block: [1, 1, 1] } as const;
  const nothing = kernel.createArguments();
  nothing.setPointer(0, 0 as DevicePtr);
  const longer = kernel.createArguments();
  longer.setPointer(0, (SPIN_MS * 1e6) as DevicePtr);
  const on = { stream };
  kernel.launch(config, nothing, on);
  stream.synchronize();
  using graph = Graph.capture("one kernel", () => kernel.launch(config, nothing, on), on);
  using exec = graph.instantiate();
  using mark = Event.create(device);
  mark.record(on);
  stream.synchronize();
  const calls: readonly [id: string, name: string, call: () => unknown, count: number][] = [
    ["query", "cudaEventQuery", () => mark.isDone, 500],
    ["record", "cudaEventRecord", () => mark.record(on), 200],
    ["launch", "cuLaunchKernel", () => kernel.launch(config, nothing, on), 200],
    ["graph-launch", "cudaGraphLaunch", () => exec.launch(on), 100],
  ];
  const costs = new Map(calls.map(([id]) => [id, [] as number[]]));
  await inRounds(
    calls.map(([id, , call, count]) => ({
      run: () => {
        costs.get(id)!.push(perCall(call, count) / 1000);
        stream.synchronize();
      },
    })),
    ROUNDS,
  );
  for (const [id, name] of calls) keep(output, id, name, "us", costs.get(id)!);
  output.blocks.push({
    kind: "distribution",
    title: "A call of CUDA",
    note: "What the JS thread pays to put work on the GPU, in microseconds.",
    measurements: calls.map(([id]) => id),
  });
  context.progress(0.6, "waits");
  await waits(context, output, { device, stream, run: () => kernel.launch(config, longer, on) });
}

async function waits(
  context: StudyContext,
  output: StudyOutput,
  gpu: { device: Device; stream: Stream; run: () => void },
): Promise<void> {
  using start = Event.create(gpu.device, { timing: true });
  using end = Event.create(gpu.device, { timing: true });
  const on = { stream: gpu.stream };
  const modes = [
    ["wait-synchronize", "cudaEventSynchronize, blocks the thread", () => end.synchronize()],
    ["wait-poll", "poll, once a turn of the event loop", () => end.wait({ mode: "poll" })],
    ["wait-off-thread", "off-thread", () => end.wait({ mode: "off-thread" })],
  ] as const;
  const over = new Map<string, number[]>(modes.map(([id]) => [id, []]));
  await inRounds(
    modes.map(([id, , wait]) => ({
      run: async () => {
        for (let at = 0; at < (context.options.isQuick ? 10 : 60); at++) {
          const started = performance.now();
          start.record(on);
          gpu.run();
          end.record(on);
          await wait();
          const wall = performance.now() - started;
          over.get(id)!.push((wall - end.elapsedMsSince(start)) * 1000);
        }
      },
    })),
    ROUNDS,
  );
  for (const [id, name] of modes) keep(output, id, name, "us", over.get(id)!);
  output.blocks.push({
    kind: "distribution",
    title: "Waiting for the GPU",
    note: `Wall time less the GPU's own of a kernel of ${SPIN_MS} ms: the launch, and how soon JS goes on after the GPU has finished, in microseconds.`,
    measurements: modes.map(([id]) => id),
  });
}

/** The price of leaving JS. */
export const calls: Study = {
  name: "calls",
  title: "Calls: the price of leaving JS",
  question: "What do a native call, a launch and a wait cost by themselves?",
  needs: [],
  async run(context, output) {
    await hostCalls(context, output);
    if (context.kind === "gpu") await gpuCalls(context, output);
    else output.leftOut.push("calls of CUDA, launches and waits: they need a GPU");
  },
};
