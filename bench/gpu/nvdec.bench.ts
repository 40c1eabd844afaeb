/**
 * @module Video decoding on the GPU: frames per second of one decoder and of many; and of streams that have the rate of a camera, how
 * long the first frame takes, how long each takes once all decoders are made, and their memory.
 *
 * Usage: `bun bench/gpu/nvdec.bench.ts [--streams h264-1080p,hevc-1080p] [--decoders 1,2,4,7,14,28] [--seconds 4]
 * [--camera-streams h264-camera,h264-1080p] [--cameras 1,64] [--delays 0,1] [--rate 30] [--camera-seconds 5] [--json FILE]`; the
 * streams are those of `scripts/video-streams.ts`, and `none` of them leaves a part out.
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
    "camera-streams": { type: "string", default: "h264-camera,h264-1080p,hevc-camera,hevc-1080p" },
    cameras: { type: "string", default: "1,64" },
    delays: { type: "string", default: "0,1" },
    rate: { type: "string", default: "30" },
    "camera-seconds": { type: "string", default: "5" },
    json: { type: "string" },
  },
});
if (streamNames().length === 0) throw new Error("No streams: run `bun scripts/video-streams.ts` where ffmpeg is");
const seconds = Number(values.seconds);
const cameraMs = Number(values["camera-seconds"]) * 1000;
/** Frames that wait while decoders are made are gone by then. */
const SETTLE_MS = 2000;
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

/** Streams that send as cameras do, all at once. */
class Cameras {
  readonly #nvdec: Nvdec;
  readonly #stream: ReadStream;
  readonly #delay: number;
  readonly #count: number;
  /** Milliseconds from when a packet is due to its frame, from when all decoders are made and have caught up. */
  readonly delays = new Samples();
  /** Milliseconds from the first packet of each to its first frame. */
  readonly starts = new Samples();
  readonly #freeBefore: number;
  takenBytes = 0;
  packets = 0;
  frames = 0;
  unordered = 0;
  #steadyMs = Number.POSITIVE_INFINITY;

  constructor(nvdec: Nvdec, stream: ReadStream, delay: number, count: number) {
    this.#nvdec = nvdec;
    this.#stream = stream;
    this.#delay = delay;
    this.#count = count;
    this.#freeBefore = nvdec.device.memory().freeBytes;
  }

  async run(): Promise<void> {
    const startMs = performance.now() + 100;
    const all = Array.from({ length: this.#count }, (_, at) => this.#camera(startMs + (at * frameMs) / this.#count));
    await Promise.all(all);
  }

  async #camera(startMs: number): Promise<void> {
    using decoder = NvdecDecoder.open(this.#nvdec, { codec: this.#stream.codec, delay: this.#delay });
    const fed = this.#send(decoder, startMs);
    let frames = 0;
    let last = -1;
    for (let frame = await decoder.next(); frame !== undefined; frame = await decoder.next()) {
      const { timestampUs } = frame;
      frame.release();
      const now = performance.now();
      const dueMs = startMs + this.#sentAt(timestampUs) * frameMs;
      if (frames === 0) this.#begin(now - startMs);
      if (dueMs >= this.#steadyMs) this.delays.all.push(now - dueMs);
      if (timestampUs < last) this.unordered += 1;
      last = timestampUs;
      frames += 1;
    }
    await fed;
    this.frames += frames;
  }

  async #send(decoder: NvdecDecoder, startMs: number): Promise<void> {
    for (let at = 0; performance.now() < this.#steadyMs + cameraMs; at++) {
      const due = startMs + at * frameMs;
      if (performance.now() < due) await Bun.sleep(due - performance.now());
      await decoder.decode(this.#stream.data[at % this.#stream.data.length]!, this.#shownAt(at));
      this.packets += 1;
    }
    await decoder.flush();
  }

  /** The time of a packet's frame: rounds of the stream one after the other. */
  #shownAt(at: number): number {
    const { packets } = this.#stream;
    return Math.floor(at / packets.length) * ROUND_US + packets[at % packets.length]![0];
  }

  /** The place of a frame's packet among all that are sent. */
  #sentAt(timestampUs: number): number {
    const { packets } = this.#stream;
    const round = Math.floor(timestampUs / ROUND_US);
    return round * packets.length + placesOf(this.#stream).get(timestampUs - round * ROUND_US)!;
  }

  #begin(afterMs: number): void {
    this.starts.all.push(afterMs);
    if (this.starts.all.length < this.#count) return;
    this.takenBytes = this.#freeBefore - this.#nvdec.device.memory().freeBytes;
    this.#steadyMs = performance.now() + SETTLE_MS;
  }
}

/** Longer than any stream. */
const ROUND_US = 1e9;
const places = new Map<ReadStream, ReadonlyMap<number, number>>();

/** The place of each packet by its frame's time. */
function placesOf(stream: ReadStream): ReadonlyMap<number, number> {
  let found = places.get(stream);
  if (found === undefined) {
    found = new Map(stream.packets.map(([timestampUs], at) => [timestampUs, at]));
    places.set(stream, found);
  }
  return found;
}

/** Streams by their names that the card decodes. */
function streamsOf(nvdec: Nvdec, names: string): ReadStream[] {
  return (names === "none" ? [] : names.split(",")).flatMap((name) => {
    const stream = readStream(name);
    const refusal = nvdec.refusal({ codec: stream.codec, bits: stream.bits });
    if (refusal !== undefined) console.log(`${name}: ${refusal}`);
    return refusal === undefined ? [stream] : [];
  });
}

using device = Device.open();
using nvdec = Nvdec.open(device, { idle: 32 });
for (const stream of streamsOf(nvdec, values.streams)) {
  for (const decoders of values.decoders.split(",").map(Number)) {
    const startMs = performance.now() + 1000;
    const untilMs = startMs + seconds * 1000;
    const readLoad = startLoad();
    const frames = await Promise.all(Array.from({ length: decoders }, () => run(nvdec, stream, startMs, untilMs)));
    const total = frames.reduce((sum, count) => sum + count, 0);
    tell(`${stream.name} × ${decoders}`, {
      "frames/s": Math.round(total / seconds),
      least: Math.round(Math.min(...frames) / seconds),
      most: Math.round(Math.max(...frames) / seconds),
      ...loadOf(readLoad()),
    });
  }
}
for (const stream of streamsOf(nvdec, values["camera-streams"])) {
  for (const delay of values.delays.split(",").map(Number)) {
    for (const count of values.cameras.split(",").map(Number)) {
      using fresh = Nvdec.open(device, { idle: 0 });
      const cameras = new Cameras(fresh, stream, delay, count);
      const readLoad = startLoad();
      await cameras.run();
      const load = loadOf(readLoad());
      const { p50, p99, max } = summarise(cameras.delays.all);
      const start = summarise(cameras.starts.all);
      tell(`${stream.name}, ${count} cameras of ${values.rate} frames/s, delay ${delay}`, {
        frames: `${cameras.frames} of ${cameras.packets}`,
        "out of order": cameras.unordered,
        ...{ p50: p50.toFixed(2), p99: p99.toFixed(2), max: max.toFixed(2) },
        ...{ "first frame p50": start.p50.toFixed(0), "first frame max": start.max.toFixed(0) },
        "MiB a decoder": (cameras.takenBytes / count / 2 ** 20).toFixed(1),
        ...load,
      });
    }
  }
}
if (values.json !== undefined) await Bun.write(values.json, JSON.stringify(results, undefined, 2));
