/**
 * @module Frames in flight: throughput, latency and the JS thread's share of work, by stream layout, number in flight and
 * kind of wait, beside trtexec with as many streams.
 *
 * Usage: `bun bench/gpu/in-flight.ts PLAN [--seconds 1] [--rounds 2] [--in-flight 1,2,4,8] [--trtexec PATH] [--json FILE]`.
 *
 * Frames of 1920x1080 lie in page-locked memory. Layouts are interleaved. `busy` is the CPU time of the JS thread, `cores`
 * that of the whole process.
 */

import { parseArgs } from "node:util";
import { Detector } from "../../src/api/detector.ts";
import { Device } from "../../src/cuda/device.ts";
import { PinnedBuffer } from "../../src/cuda/pinned-buffer.ts";
import { type Image, imageOf } from "../../src/image/image.ts";
import { Samples } from "../support/samples.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seconds: { type: "string", default: "1" },
    rounds: { type: "string", default: "2" },
    "in-flight": { type: "string", default: "1,2,4,8" },
    layouts: { type: "string", default: "one,split,parallel" },
    waits: { type: "string", default: "auto,poll" },
    trtexec: { type: "string" },
    json: { type: "string" },
  },
});
const [plan] = positionals;
if (plan === undefined) throw new Error("Usage: bun bench/gpu/in-flight.ts PLAN [--trtexec PATH]");
const windowMs = Number(values.seconds) * 1000;

/** One way to run. */
interface Case {
  readonly streams: "one" | "split" | "parallel";
  readonly wait: "auto" | "poll" | "off-thread";
  readonly inFlight: number;
  readonly latency: Samples;
  /** Of each round. */
  readonly fps: number[];
  readonly busy: number[];
  readonly cores: number[];
}

/** Inferences a second that trtexec reports. */
function trtexecRate(path: string, ...flags: readonly string[]): number {
  const args = [path, `--loadEngine=${plan}`, "--useCudaGraph", "--duration=3", ...flags];
  const child = Bun.spawnSync(args, { stdout: "pipe", stderr: "pipe" });
  const text = child.stdout.toString() + child.stderr.toString();
  const rate = /Throughput: ([\d.]+) qps/.exec(text)?.[1];
  if (rate === undefined) throw new Error(`trtexec failed with ${child.exitCode}:\n${text.slice(-2000)}`);
  return Number(rate);
}

async function measure(test: Case, frame: Image): Promise<void> {
  const { streams, wait, inFlight } = test;
  await using detector = await Detector.load(plan!, { backend: "gpu", streams, wait, inFlight });
  const loop = async (untilMs: number, samples: Samples | undefined): Promise<void> => {
    for (let now = performance.now(); now < untilMs; ) {
      const started = now;
      await detector.detect(frame);
      now = performance.now();
      samples?.all.push(now - started);
    }
  };
  const loops = (ms: number, samples: Samples | undefined): Promise<unknown> =>
    Promise.all(Array.from({ length: inFlight }, () => loop(performance.now() + ms, samples)));
  await loops(windowMs / 4, undefined);
  const before = test.latency.all.length;
  const thread = process.threadCpuUsage();
  const all = process.cpuUsage();
  const started = performance.now();
  await loops(windowMs, test.latency);
  const elapsed = performance.now() - started;
  const threadUsed = process.threadCpuUsage(thread);
  const allUsed = process.cpuUsage(all);
  test.fps.push((test.latency.all.length - before) / (elapsed / 1000));
  test.busy.push((threadUsed.user + threadUsed.system) / 1000 / elapsed);
  test.cores.push((allUsed.user + allUsed.system) / 1000 / elapsed);
}

function mean(numbers: readonly number[]): number {
  return numbers.reduce((sum, value) => sum + value, 0) / numbers.length;
}

using device = Device.open(0);
const [width, height] = [1920, 1080];
using pinned = PinnedBuffer.create("u8", [height, width, 3], device);
for (let at = 0; at < pinned.length; at++) pinned.data[at] = (at * 2654435761) >>> 24;
const frame = imageOf(pinned.data, { width, height });

const cases: Case[] = [];
for (const inFlight of values["in-flight"].split(",").map(Number)) {
  for (const wait of values.waits.split(",") as Case["wait"][]) {
    for (const streams of values.layouts.split(",") as Case["streams"][]) {
      cases.push({ streams, wait, inFlight, latency: new Samples(), fps: [], busy: [], cores: [] });
    }
  }
}
for (let round = 0; round < Number(values.rounds); round++) for (const test of cases) await measure(test, frame);

const trtexec: Record<string, number> = {};
if (values.trtexec !== undefined) {
  for (const streams of [1, 4]) {
    trtexec[`${streams} streams, no transfers`] = trtexecRate(
      values.trtexec,
      `--streams=${streams}`,
      "--noDataTransfers",
    );
    trtexec[`${streams} streams`] = trtexecRate(values.trtexec, `--streams=${streams}`);
  }
}
console.log(`${plan}, frames of ${width}x${height}, ${device.name}, Bun ${Bun.version}`);
console.log("layout    wait        in flight      fps   busy  cores   us/frame      p50      p90      p99      max");
for (const { streams, wait, inFlight, latency, fps, busy, cores } of cases) {
  const rate = mean(fps);
  const share = mean(busy);
  const cost = ((share / rate) * 1e6).toFixed(1);
  console.log(
    `${streams.padEnd(9)} ${wait.padEnd(11)} ${String(inFlight).padStart(9)} ${rate.toFixed(0).padStart(8)} ${(share * 100).toFixed(0).padStart(5)}% ${mean(cores).toFixed(2).padStart(6)} ${cost.padStart(10)}${latency.row()}`,
  );
}
for (const [name, rate] of Object.entries(trtexec)) console.log(`trtexec, ${name}: ${rate.toFixed(0)} inferences/s`);
if (values.json !== undefined)
  await Bun.write(values.json, `${JSON.stringify({ device: device.name, plan, cases, trtexec }, null, 2)}\n`);
