/**
 * @module JPEG files to device memory, and to boxes: nvJPEG's own batched rate, our decoder by callers and images a
 * call, how far its pixels are from the CPU's, and with a plan the rate of the whole way beside that of decoded frames, and
 * of both at once.
 *
 * Usage: `bun bench/gpu/jpeg-decode.ts FILE [--plan PLAN] [--seconds 0.5] [--in-flight 1,4,8,16,32,64]
 * [--backends hardware,hybrid] [--json FILE]`.
 */

import { basename, dirname } from "node:path";
import { parseArgs } from "node:util";
import { Detector } from "../../src/api/detector.ts";
import { BufferView, DeviceBuffer } from "../../src/cuda/buffers.ts";
import { copyToHost } from "../../src/cuda/copy.ts";
import { Device } from "../../src/cuda/device.ts";
import { Event } from "../../src/cuda/event.ts";
import { Stream } from "../../src/cuda/stream.ts";
import { addressOf, OutCells } from "../../src/ffi/memory.ts";
import { NVJPEG_OUTPUT_RGBI } from "../../src/ffi/nvidia-libraries.ts";
import { shimOffThread } from "../../src/ffi/shim.ts";
import { decodeImage } from "../../src/image/image-file.ts";
import { BatchTable } from "../../src/nvjpeg/batch-check.ts";
import { JpegSurface, NvJpegDecoder } from "../../src/nvjpeg/nvjpeg-decoder.ts";
import { checkNvJpeg, NvJpegHandle } from "../../src/nvjpeg/nvjpeg-handle.ts";
import { pageLocked } from "../support/page-locked.ts";
import { Samples } from "../support/samples.ts";
import { startLoad } from "../support/thread-time.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    plan: { type: "string" },
    seconds: { type: "string", default: "0.5" },
    "in-flight": { type: "string", default: "1,4,8,16,32,64" },
    backends: { type: "string", default: "hardware,hybrid" },
    json: { type: "string" },
  },
});
const [path] = positionals;
if (path === undefined) throw new Error("Usage: bun bench/gpu/jpeg-decode.ts FILE [--plan PLAN]");
const WARM_UP_MS = 1500;
const WARM_TURNS = 2;
const windowMs = Number(values.seconds) * 1000;
const bytes = await Bun.file(path).bytes();
const reference = await decodeImage(bytes);
const { width, height } = reference;
const results: Record<string, unknown>[] = [];

/** Run turns side by side for the window, and tell images per second and milliseconds a turn. */
async function measure(label: string, images: number, turns: readonly (() => Promise<unknown>)[]): Promise<number> {
  for (let warm = 0; warm < WARM_TURNS; warm++) await Promise.all(turns.map((turn) => turn()));
  const latency = new Samples();
  const readLoad = startLoad();
  const started = performance.now();
  await Promise.all(
    turns.map(async (turn) => {
      for (let begun = performance.now(); begun - started < windowMs; begun = performance.now()) {
        await turn();
        latency.all.push(performance.now() - begun);
      }
    }),
  );
  const { elapsedMs, cores, busy } = readLoad();
  const rate = (latency.all.length * images * 1000) / elapsedMs;
  results.push({ label, images, callers: turns.length, rate, latency, cores, busy });
  const load = `${cores.toFixed(1).padStart(6)} cores, JS thread ${(busy * 100).toFixed(0)} %`;
  console.log(
    `${label.padEnd(44)} ${rate.toFixed(0).padStart(7)}/s ${latency.quantile(0.5).toFixed(3).padStart(9)}${latency.quantile(0.99).toFixed(3).padStart(9)} ${load}`,
  );
  return rate;
}

/** nvJPEG as NVIDIA's samples call it: batches of a fixed size, a state and a stream for each that is under way. */
async function nvJpegAlone(handle: NvJpegHandle, batch: number, states: number): Promise<number> {
  using owned = new DisposableStack();
  const turns = ownTurns(owned, handle, batch, states);
  return await measure(`nvJPEG, ${handle.backend}, batch ${batch}, ${states} under way`, batch, turns);
}

function ownTurns(
  owned: DisposableStack,
  handle: NvJpegHandle,
  batch: number,
  states: number,
): (() => Promise<void>)[] {
  const { device } = handle;
  const { calls } = handle.library;
  return Array.from({ length: states }, () => {
    const stream = owned.use(Stream.create(device));
    const event = owned.use(Event.create(device, { blocking: true }));
    const table = owned.use(new BatchTable(device, batch));
    const out = new OutCells(1);
    checkNvJpeg(calls.nvjpegJpegStateCreate(handle.handle, out.cells), "nvjpegJpegStateCreate");
    const state = out.pointer();
    owned.defer(() => checkNvJpeg(calls.nvjpegJpegStateDestroy(state), "nvjpegJpegStateDestroy"));
    checkNvJpeg(calls.nvjpegDecodeBatchedInitialize(handle.handle, state, batch, 1, NVJPEG_OUTPUT_RGBI), "initialise");
    for (let index = 0; index < batch; index++) {
      const pixels = owned.use(DeviceBuffer.create("u8", [height, width, 3], { device }));
      table.set(index, { bytes, width, height, pixels });
    }
    const decode = shimOffThread("bt_nvjpeg_decode_batched");
    return async (): Promise<void> => {
      const status = await decode(
        device.index,
        calls.nvjpegDecodeBatched.ptr,
        handle.handle,
        state,
        ...table.addresses,
        stream.handle,
      );
      checkNvJpeg(status, "nvjpegDecodeBatched");
      event.record({ stream });
      await event.wait();
      if (addressOf(bytes) === 0) throw new Error("unreachable: keeps the bytes referenced");
    };
  });
}

/** Our decoder: some callers, each with some images at a time. */
async function ours(decoder: NvJpegDecoder, callers: number, images: number, what: string): Promise<number> {
  using owned = new DisposableStack();
  const turns = callersOf(owned, decoder, callers, images);
  return await measure(`ours, ${decoder.backend}${what}, ${callers} callers of ${images}`, images, turns);
}

function callersOf(
  owned: DisposableStack,
  decoder: NvJpegDecoder,
  callers: number,
  images: number,
): (() => Promise<unknown>)[] {
  return Array.from({ length: callers }, () => {
    const surfaces = Array.from({ length: images }, () => owned.use(JpegSurface.create(decoder.device)));
    return () => Promise.all(surfaces.map((surface) => decoder.decode(bytes, surface)));
  });
}

/** Decoding and inference of other frames at the same time, neither waiting for the other: what the card can do of both. */
async function sideBySide(plan: string): Promise<void> {
  using device = Device.open();
  using handle = await NvJpegHandle.create(device, "hardware");
  using checked = await NvJpegDecoder.create(device, { backend: "hardware" });
  using trusting = await NvJpegDecoder.create(device, { backend: "hardware", check: false });
  using memory = new DisposableStack();
  const frame = pageLocked(reference, memory);
  await using detector = await Detector.load(plan, { backend: "gpu", inFlight: 16 });
  const infer = async (ms: number): Promise<number> => {
    const started = performance.now();
    const frames = function* (): Generator<typeof frame> {
      while (performance.now() - started < ms) yield frame;
    };
    let count = 0;
    for await (const _ of detector.stream(frames())) count += 1;
    return (count * 1000) / (performance.now() - started);
  };
  await infer(WARM_UP_MS);
  for (const [name, make] of [
    ["nvJPEG, batch 7, 2 under way", (owned: DisposableStack) => ownTurns(owned, handle, 7, 2)],
    ["ours, unchecked, 28 callers", (owned: DisposableStack) => callersOf(owned, trusting, 28, 1)],
    ["ours, 28 callers", (owned: DisposableStack) => callersOf(owned, checked, 28, 1)],
  ] as const) {
    using owned = new DisposableStack();
    const images = name.startsWith("nvJPEG") ? 7 : 1;
    const turns = make(owned);
    // Lanes are set up with the first images, and the memory of each with its own.
    await Promise.all(turns.map((turn) => turn()));
    const [decoded, inferred] = await Promise.all([
      measure(`beside inference: ${name}`, images, turns),
      infer(windowMs),
    ]);
    results.push({ label: `side by side, ${name}`, decoded, inferred });
    console.log(`${"".padEnd(44)} ${inferred.toFixed(0).padStart(7)}/s inferred meanwhile`);
  }
}

/** How far the pixels are from the CPU's, over all JPEG files of the folder. */
async function differences(decoder: NvJpegDecoder): Promise<void> {
  for (const file of new Bun.Glob("*.jpg").scanSync({ cwd: dirname(path!), absolute: true }))
    await difference(decoder, file);
}

async function difference(decoder: NvJpegDecoder, file: string): Promise<void> {
  const bytes = await Bun.file(file).bytes();
  const reference = await decodeImage(bytes);
  const { width, height } = reference;
  using surface = JpegSurface.create(decoder.device);
  using stream = Stream.create(decoder.device);
  const image = await decoder.decode(bytes, surface);
  const got = new Uint8Array(new ArrayBuffer(width * height * 3));
  copyToHost(got, BufferView.wrap(image.pixels, "u8", [height, width, 3]), { stream });
  let max = 0;
  let sum = 0;
  for (let at = 0; at < got.length; at++) {
    const difference = Math.abs(got[at]! - reference.data[at]!);
    max = Math.max(max, difference);
    sum += difference;
  }
  const mean = sum / got.length;
  results.push({ label: `pixels, ${decoder.backend}`, file: basename(file), max, mean });
  console.log(`pixels of ${decoder.backend} against the CPU's, ${basename(file)}: max ${max}, mean ${mean.toFixed(4)}`);
}

/** Greatest shift of a box in pixels and greatest change of a score, between two ways of decoding. */
async function boxes(plan: string): Promise<void> {
  const found = [];
  for (const jpeg of ["cpu", "gpu"] as const) {
    await using detector = await Detector.load(plan, { backend: "gpu", jpeg, inFlight: 1 });
    found.push((await detector.detect(bytes)).detections);
  }
  const [cpu = [], gpu = []] = found;
  let shift = cpu.length === gpu.length ? 0 : Number.POSITIVE_INFINITY;
  let score = 0;
  for (const [index, { box, score: want }] of cpu.entries()) {
    for (let side = 0; side < 4; side++) shift = Math.max(shift, Math.abs((gpu[index]?.box[side] ?? 0) - box[side]!));
    score = Math.max(score, Math.abs((gpu[index]?.score ?? 0) - want));
  }
  results.push({ label: "boxes", count: cpu.length, shift, score });
  console.log(`${cpu.length} boxes by GPU and CPU decoding: shift ${shift.toFixed(3)} px, score ${score.toFixed(5)}`);
}

/** The whole way through `Detector.stream`, of files and of decoded frames. */
async function toBoxes(plan: string, inFlight: number, way: "gpu" | "unchecked" | "cpu" | undefined): Promise<number> {
  const jpegCheck = way !== "unchecked";
  const jpeg = way === "unchecked" ? "gpu" : (way ?? "auto");
  await using detector = await Detector.load(plan, { backend: "gpu", inFlight, jpeg, jpegCheck });
  using memory = new DisposableStack();
  const source = way === undefined ? pageLocked(reference, memory) : bytes;
  const run = async (ms: number): Promise<number> => {
    const until = performance.now() + ms;
    const sources = function* (): Generator<typeof source> {
      while (performance.now() < until) yield source;
    };
    let count = 0;
    for await (const _ of detector.stream(sources())) count += 1;
    return count;
  };
  // nvJPEG is set up with the first file, and the memory of every slot with its first.
  await run(WARM_UP_MS);
  const readLoad = startLoad();
  const count = await run(windowMs * 2);
  const { elapsedMs, cores, busy } = readLoad();
  const rate = (count * 1000) / elapsedMs;
  const what = way === undefined ? "decoded frames" : `JPEG by ${jpeg}${jpegCheck ? "" : " unchecked"}`;
  results.push({ label: `to boxes, ${what}`, inFlight, rate, busy, cores, counts: detector.backend.jpeg });
  console.log(
    `${`${what} to boxes, ${inFlight} in flight`.padEnd(44)} ${rate.toFixed(0).padStart(7)}/s   ` +
      `${cores.toFixed(1)} cores, JS thread ${(busy * 100).toFixed(0)} %`,
  );
  return rate;
}

console.log(`${path}: ${width}x${height}, ${bytes.length} bytes; Bun ${Bun.version}`);
console.log(`${"".padEnd(44)}           ms a turn: p50      p99`);
let own = 0;
{
  using device = Device.open();
  console.log(device.name);
  for (const backend of ["hardware", "hybrid"] as const) {
    if (!values.backends.split(",").includes(backend)) continue;
    using decoder = await NvJpegDecoder.create(device, { backend });
    using trusting = await NvJpegDecoder.create(device, { backend, check: false });
    await differences(decoder);
    {
      using handle = await NvJpegHandle.create(device, backend);
      const sizes = backend === "hardware" ? ([1, 7, 8, 32] as const) : ([1] as const);
      const states = backend === "hardware" ? ([1, 2] as const) : ([1, 4, 8] as const);
      for (const batch of sizes) {
        for (const count of states) {
          const rate = await nvJpegAlone(handle, batch, count);
          if (backend === "hardware") own = Math.max(own, rate);
        }
      }
    }
    for (const [callers, images] of backend === "hardware"
      ? ([
          [1, 1],
          [4, 1],
          [16, 1],
          [1, 8],
          [2, 8],
          [4, 8],
          [1, 32],
          [2, 32],
        ] as const)
      : ([
          [1, 1],
          [4, 1],
          [8, 1],
        ] as const)) {
      await ours(decoder, callers, images, "");
      if (backend === "hardware") await ours(trusting, callers, images, " unchecked");
    }
    console.log(decoder.description, JSON.stringify(decoder.counts));
  }
}
if (values.plan !== undefined) {
  await boxes(values.plan);
  if (values.backends.includes("hardware")) await sideBySide(values.plan);
  const counts = values["in-flight"].split(",").map(Number);
  let inference = 0;
  let whole = 0;
  for (const inFlight of counts) inference = Math.max(inference, await toBoxes(values.plan, inFlight, undefined));
  for (const inFlight of counts) whole = Math.max(whole, await toBoxes(values.plan, inFlight, "gpu"));
  for (const inFlight of counts) await toBoxes(values.plan, inFlight, "unchecked");
  await toBoxes(values.plan, counts.at(-1)!, "cpu");
  const bar = Math.min(0.9 * own, 0.95 * inference);
  console.log(
    `JPEG to boxes ${whole.toFixed(0)}/s; the bar is ${bar.toFixed(0)}/s (decoding ${own.toFixed(0)}, frames ${inference.toFixed(0)})`,
  );
  results.push({ label: "bar", own, inference, whole, bar });
}
if (values.json !== undefined) await Bun.write(values.json, `${JSON.stringify(results, null, 2)}\n`);
