/**
 * @module Several devices: throughput of decoded frames on one device, and over all there are.
 *
 * Usage: `bun bench/gpu/several-devices.ts PLAN [--seconds 1] [--rounds 3] [--in-flight 8]`. Frames of 1920x1080 lie in
 * page-locked memory; `--in-flight` counts for each device.
 */

import { parseArgs } from "node:util";
import { Detector } from "../../src/api/detector.ts";
import { Device } from "../../src/cuda/device.ts";
import { drive } from "../support/drive.ts";
import { noiseFrame } from "../support/page-locked.ts";
import { medianOf } from "../support/samples.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seconds: { type: "string", default: "1" },
    rounds: { type: "string", default: "3" },
    "in-flight": { type: "string", default: "8" },
  },
});
const [plan] = positionals;
if (plan === undefined) throw new Error("Usage: bun bench/gpu/several-devices.ts PLAN");
const inFlight = Number(values["in-flight"]);

using owned = new DisposableStack();
const frame = noiseFrame(owned);
await using stack = new AsyncDisposableStack();
const cases = await Promise.all(
  Array.from({ length: Device.count() }, async (_, last) => {
    const devices = Array.from({ length: last + 1 }, (_unused, number) => number);
    const detector = await Detector.load(plan, { backend: "gpu", streams: "parallel", inFlight, device: devices });
    stack.use(detector);
    return { devices, detector, rates: [] as number[] };
  }),
);
for (let round = 0; round < Number(values.rounds); round++) {
  for (const { devices, detector, rates } of cases) {
    const driven = await drive(detector, frame, {
      inFlight: inFlight * devices.length,
      durationMs: Number(values.seconds) * 1000,
      warmUp: 50,
    });
    rates.push(...driven.rates);
  }
}
const alone = medianOf(cases[0]!.rates);
for (const { devices, rates } of cases) {
  const rate = medianOf(rates);
  console.log(
    `${devices.length} devices, ${inFlight} in flight on each: ${rate.toFixed(0)} frames/s, ${(rate / alone).toFixed(2)} times one`,
  );
}
