/**
 * @module Video decoding on the GPU: frames per second of one decoder and of many, and how long a frame takes where each stream has
 * the rate of a camera.
 *
 * Usage: `bun bench/gpu/nvdec.bench.ts [--streams h264-1080p,hevc-1080p] [--decoders 1,2,4,7,14,28] [--seconds 4]
 * [--cameras 64] [--rate 30] [--camera-seconds 10] [--json FILE]`; the streams are those of `scripts/video-streams.ts`.
 */

import { parseArgs } from "node:util";
import { Device } from "../../src/cuda/device.ts";
import { Nvdec } from "../../src/nvdec/nvdec.ts";
import { NvdecDecoder } from "../../src/nvdec/nvdec-decoder.ts";
import { type ReadStream, readStream, streamNames } from "../../test/support/video-streams.ts";
import { Samples, summarise } from "../support/samples.ts";
import { startLoad } from "../support/thread-time.ts";

const { values } = parseArgs({
  options: {
    streams: { type: "string", default: "h264-1080p,hevc-1080p,hevc10-1080p,vp9-1080p" },
    decoders: { type: "string", default: "1,2,4,7,14,28" },
    seconds: { type: "string", default: "4" },
    cameras: { type: "string", default: "64" },
    rate: { type: "string", default: "30" },
    "camera-seconds": { type: "string", default: "10" },
    json: { type: "string" },
  },
});
if (streamNames().length === 0) throw new Error("No streams: run `bun scripts/video-streams.ts` where ffmpeg is");
const seconds = Number(values.seconds);
const cameras = Number(values.cameras);
const frameMs = 1000 / Number(values.rate);
const results: Record<string, unknown>[] = [];

function tell(label: string, result: Record<string, unknown>): void {
  results.push({ label, ...result });
  const words = Object.entries(result).map(([name, value]) => `${name} ${value}`);
  console.log(`${label}  ${words.join("  ")}`);
}

/** How busy the processor was, for people. */
function loadOf({ busy, cores }: ReturnType<ReturnType<typeof startLoad>>): Record<string, string> {
  return { "JS thread": `${Math.round(busy * 100)} %`, cores: cores.toFixed(2) };
}

/** Feed a stream again and again until the time is up. */
async function loop(decoder: NvdecDecoder, stream: ReadStream, untilMs: number): Promise<void> {
  for (let at = 0; performance.now() < untilMs; at++) await decoder.decode(stream.data[at % stream.data.length]!, at);
  await decoder.flush();
}

/** Frames that one decoder gives from the start of the window to its end. */
async function run(nvdec: Nvdec, stream: ReadStream, startMs: number, untilMs: number): Promise<number> {
  using decoder = NvdecDecoder.open(nvdec, { codec: stream.codec, delay: 2 });
  const fed = loop(decoder, stream, untilMs);
  let frames = 0;
  for (let frame = await decoder.next(); frame !== undefined; frame = await decoder.next()) {
    const now = performance.now();
    if (now >= startMs && now < untilMs) frames += 1;
    frame.release();
  }
  await fed;
  return frames;
}

/** A stream at a constant rate; milliseconds from each packet to its frame. */
async function camera(
  nvdec: Nvdec,
  stream: ReadStream,
  startMs: number,
  count: number,
  delays: Samples,
): Promise<number> {
  using decoder = NvdecDecoder.open(nvdec, { codec: stream.codec, delay: 0 });
  const given = new Float64Array(count);
  const fed = (async () => {
    for (let at = 0; at < count; at++) {
      const due = startMs + at * frameMs;
      if (performance.now() < due) await Bun.sleep(due - performance.now());
      given[at] = performance.now();
      await decoder.decode(stream.data[at % stream.data.length]!, at);
    }
    await decoder.flush();
  })();
  let frames = 0;
  for (let frame = await decoder.next(); frame !== undefined; frame = await decoder.next()) {
    // The first frames wait for the decoder to be made.
    if (frame.timestampUs > 30) delays.all.push(performance.now() - given[frame.timestampUs]!);
    frames += 1;
    frame.release();
  }
  await fed;
  return frames;
}

using device = Device.open();
using nvdec = Nvdec.open(device, { idle: 64 });
for (const name of values.streams.split(",")) {
  const stream = readStream(name);
  const refusal = nvdec.refusal({ codec: stream.codec, bits: stream.bits });
  if (refusal !== undefined) {
    console.log(`${name}: ${refusal}`);
    continue;
  }
  for (const decoders of values.decoders.split(",").map(Number)) {
    const startMs = performance.now() + 1000;
    const untilMs = startMs + seconds * 1000;
    const readLoad = startLoad();
    const frames = await Promise.all(Array.from({ length: decoders }, () => run(nvdec, stream, startMs, untilMs)));
    const total = frames.reduce((sum, count) => sum + count, 0);
    tell(`${name} × ${decoders}`, {
      "frames/s": Math.round(total / seconds),
      least: Math.round(Math.min(...frames) / seconds),
      most: Math.round(Math.max(...frames) / seconds),
      ...loadOf(readLoad()),
    });
  }
  for (const count of [1, cameras]) {
    const delays = new Samples();
    const packets = Math.round((Number(values["camera-seconds"]) * 1000) / frameMs);
    const startMs = performance.now() + 500;
    const before = device.memory().freeBytes;
    const readLoad = startLoad();
    const runs = Array.from({ length: count }, (_, at) => {
      return camera(nvdec, stream, startMs + (at * frameMs) / count, packets, delays);
    });
    const frames = (await Promise.all(runs)).reduce((sum, one) => sum + one, 0);
    const { p50, p99, max } = summarise(delays.all);
    tell(`${name}, ${count} cameras of ${values.rate} frames/s`, {
      frames: `${frames} of ${packets * count}`,
      ...{ p50: p50.toFixed(2), p99: p99.toFixed(2), max: max.toFixed(2) },
      taken: `${Math.round((before - device.memory().freeBytes) / 2 ** 20)} MiB`,
      ...loadOf(readLoad()),
    });
  }
}
if (values.json !== undefined) await Bun.write(values.json, JSON.stringify(results, undefined, 2));
