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
import type { Image } from "../../src/image/image.ts";
import { runTrtexec } from "../peers/trtexec.ts";
import { drive } from "../support/drive.ts";
import { noiseFrame } from "../support/page-locked.ts";
import { Samples } from "../support/samples.ts";
import { startLoad } from "../support/thread-time.ts";

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

async function measure(test: Case, frame: Image): Promise<void> {
  const { streams, wait, inFlight } = test;
  await using detector = await Detector.load(plan!, { backend: "gpu", streams, wait, inFlight });
  await drive(detector, frame, { inFlight, durationMs: windowMs / 4, warmUp: 0 });
  const readLoad = startLoad();
  const { latencies, rate } = await drive(detector, frame, { inFlight, durationMs: windowMs, warmUp: 0 });
  const { busy, cores } = readLoad();
  for (const latency of latencies) test.latency.all.push(latency);
  test.fps.push(rate);
  test.busy.push(busy);
  test.cores.push(cores);
}

function mean(numbers: readonly number[]): number {
  return numbers.reduce((sum, value) => sum + value, 0) / numbers.length;
}

using owned = new DisposableStack();
const frame = noiseFrame(owned);
using device = Device.open(0);

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
    for (const hasTransfers of [false, true]) {
      const options = { streams, hasTransfers, hasGraph: true, seconds: 3 };
      const name = `${streams} streams${hasTransfers ? "" : ", no transfers"}`;
      trtexec[name] = (await runTrtexec(values.trtexec, plan, options)).rate;
    }
  }
}
console.log(`${plan}, frames of ${frame.width}x${frame.height}, ${device.name}, Bun ${Bun.version}`);
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
