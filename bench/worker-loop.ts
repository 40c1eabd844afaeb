/**
 * @module The loop of a worker by stage, with a 1920x1080 JPEG a frame: receive, decode, preprocess, infer, postprocess,
 * serialise, send; and how two workers share the frames of one stream.
 *
 * Usage: `bun bench/worker-loop.ts [IMAGE] [--model FILE] [--backend cpu|gpu] [--memory] [--python PATH] [--rounds 200]
 * [--scale 120] [--json FILE]`. Image and model are those of `bun run bench` where none are named.
 *
 * One frame is on its way at a time, so every stage is measured by itself. Without `--memory` a real redis-server is read
 * and written (Debian's package, or `$REDIS_URL`), and `receive` and `send` are whole round trips, the server's own work
 * included; with it, a stream in memory stands for the server, for machines that have none. OpenCV's imdecode takes
 * turns with ours on the same bytes. `--scale` frames are then shared by one worker process, and by two.
 */

import { cpus, loadavg } from "node:os";
import { join, relative } from "node:path";
import { parseArgs } from "node:util";
import { create, toBinary } from "@bufbuild/protobuf";
import { RedisClient } from "bun";
import { Detector } from "../src/api/detector.ts";
import { parseDetectorOptions } from "../src/api/detector-config.ts";
import { Encoding, FrameSchema } from "../src/tasks/messages.js";
import { DETECT_MESSAGES } from "../src/tasks/result-messages.ts";
import type { Broker, StreamEntry } from "../src/worker/broker.ts";
import { SourceBook } from "../src/worker/held-frame.ts";
import { answerFields, imageFrom, readFrame } from "../src/worker/messages.ts";
import { RedisBroker } from "../src/worker/redis/redis-broker.ts";
import { redisAddress } from "../src/worker/redis/redis-connection.ts";
import { parseWorkerOptions } from "../src/worker/worker-config.ts";
import { MemoryBroker } from "../test/support/memory-broker.ts";
import { anyRedis, isRedisUnreachable } from "../test/support/redis-server.ts";
import { ScriptPeer } from "./peers/python-peer.ts";
import { findImage, findSubject } from "./subject.ts";
import { Samples } from "./support/samples.ts";

const WARM_UP = 20;
const STAGES = ["receive", "decode", "preprocess", "infer", "postprocess", "serialise", "send", "other"] as const;
/** What the issue lets take its time. */
const EXEMPT = "decode and infer";
/** What is left must stay below. */
const LIMIT_MS = 3;
const DESTINATION = { stream: "bench:detections", maxLength: 1000, deletesEntry: true, isOurs: false };
const STREAM = "bench:frames";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    model: { type: "string" },
    backend: { type: "string", default: "cpu" },
    memory: { type: "boolean", default: false },
    python: { type: "string", default: "python3" },
    rounds: { type: "string", default: "200" },
    scale: { type: "string", default: "120" },
    json: { type: "string" },
  },
});

const rounds = Number(values.rounds);
if (!(Number.isInteger(rounds) && rounds >= 1))
  throw new Error(`--rounds must be a whole number from 1 on: ${values.rounds}`);
const { path: image, bytes: data } = await findImage({ image: positionals[0] });
const subject = await findSubject({ model: values.model, engine: undefined });
if (subject.model === undefined) throw new Error(subject.fault);
const model: string = subject.model;
const frame = toBinary(
  FrameSchema,
  create(FrameSchema, { sourceId: "camera", frameId: "1", timestamp: "1", encoding: Encoding.JPEG, data }),
);

if (!values.memory && isRedisUnreachable) throw new Error("Cannot run without redis-server\nHint: add --memory");
await using redis = values.memory ? undefined : await anyRedis();
const client = redis === undefined ? undefined : new RedisClient(redis.url);
await client?.send("DEL", [STREAM, DESTINATION.stream]);

function redisBroker(url: string): RedisBroker {
  const options = {
    group: "bench",
    consumer: "bench",
    start: "first",
    claimIdleMs: 60_000,
    timeoutMs: 10_000,
  } as const;
  return new RedisBroker({ ...options, address: redisAddress(url), streams: [STREAM] });
}

const memory = new MemoryBroker();
const broker: Broker = redis === undefined ? memory : redisBroker(redis.url);
await broker.open();
await broker.read({ count: 1, blockMs: 0 });

async function putFrame(): Promise<void> {
  if (client === undefined) memory.add({ frame });
  else await client.send("XADD", [STREAM, "*", "frame", frame as unknown as string]);
}

const { detect } = parseDetectorOptions({});
const config = parseWorkerOptions({ redis: "redis://unused", edgeMargin: 2 });
await using detector = await Detector.load(model, { backend: values.backend as "cpu" | "gpu", firstEngine: "full" });
const book = new SourceBook(config, detect, detector.labels);
const format = {
  format: "protobuf",
  isNormalized: false,
  messages: DETECT_MESSAGES,
  model: "bench",
  worker: "bench",
} as const;
const stages = Object.fromEntries(STAGES.map((name) => [name, new Samples()]));
const whole = new Samples();
const rest = new Samples();

/** What is kept of a measurement. */
function figuresOf(samples: Samples): Readonly<Record<string, number>> {
  const at = (share: number): number => samples.quantile(share);
  return { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: at(1), samples: samples.all.length };
}

/** One frame from the stream to its written answer, by stage. */
async function round(isCounted: boolean): Promise<void> {
  await putFrame();
  const started = performance.now();
  const [entry] = (await broker.read({ count: 1, blockMs: 1000 })) as [StreamEntry];
  const message = readFrame(entry.fields, "frame");
  const received = performance.now();
  const result = await detector.detect(imageFrom(message, "frame"), book.of(message.sourceId).detectOptions);
  const detected = performance.now();
  const { decode, preprocess, infer, postprocess } = result.timing;
  const receive = received - started;
  const timings = { receive, wait: 0, decode, preprocess, infer, postprocess, total: detected - started };
  const filtered = DETECT_MESSAGES.filtered(result, book.of(message.sourceId));
  const answer = { frame: message, stream: STREAM, entryId: entry.id, result: filtered, timings, error: "" };
  const fields = answerFields(answer, format);
  const serialised = performance.now();
  await broker.answer(entry, fields, DESTINATION);
  const total = performance.now() - started;
  memory.written.length = 0;
  if (!isCounted) return;
  const serialise = serialised - detected;
  const send = total - (serialised - started);
  const known = { receive, decode, preprocess, infer, postprocess, serialise, send };
  const sum = Object.values(known).reduce((left, right) => left + right, 0);
  for (const [name, ms] of Object.entries({ ...known, other: total - sum })) stages[name]!.all.push(ms);
  whole.all.push(total);
  rest.all.push(total - decode - infer);
}

const settings = { image, size: 640, output: "", masks: "", threshold: 0, iou: 0 };
const peer = await ScriptPeer.start(values.python, "opencv_stages.py", settings);
const [load] = loadavg();
const { description } = detector.backend;
const server = redis === undefined ? "a stream in memory" : "redis-server";
const lines = [
  `${relative(process.cwd(), image)}, ${data.length} bytes, ${relative(process.cwd(), model)} on ${description}, ${server}`,
  `${cpus()[0]!.model}, ${navigator.hardwareConcurrency} cores, load ${load!.toFixed(2)}, Bun ${Bun.version}, ${rounds} rounds`,
  typeof peer === "string" ? `Left out OpenCV: ${peer}` : `Peer: ${peer.versions}`,
];
console.log(lines.join("\n"));

const theirs = new Samples();
const resident: number[] = [];
for (let at = -WARM_UP; at < rounds; at++) {
  await round(at >= 0);
  if (typeof peer !== "string") {
    const { ms } = await peer.run(1, "decode");
    if (at >= 0) theirs.all.push(...ms);
  }
  if (at >= 0) resident.push(process.memoryUsage.rss());
}
if (typeof peer !== "string") await peer[Symbol.asyncDispose]();

console.log("\nmilliseconds          p50      p90      p99      max");
for (const name of STAGES) console.log(`${name.padEnd(16)}${stages[name]!.row()}`);
console.log(`${"whole frame".padEnd(16)}${whole.row()}`);
console.log(`${"all the rest".padEnd(16)}${rest.row()}`);
if (theirs.all.length > 0) {
  const ratio = stages.decode!.quantile(0.5) / theirs.quantile(0.5);
  console.log(`${"cv2.imdecode".padEnd(16)}${theirs.row()}   ours / theirs ${ratio.toFixed(2)}`);
}
const mib = (at: number): string => `${(resident[at]! / 2 ** 20).toFixed(0)} MiB`;
console.log(`resident memory after the first tenth ${mib(Math.floor(rounds / 10))}, at the end ${mib(rounds - 1)}`);
const isQuick = rest.quantile(0.5) < LIMIT_MS;
console.log(`all but ${EXEMPT}, at the median: ${isQuick ? "under" : "NOT under"} ${LIMIT_MS} ms a frame`);

/** Seconds that workers take for all frames of a stream, from the first answer to the last. */
async function timeShared(url: string, redisClient: RedisClient, workers: number, frames: number): Promise<number> {
  await redisClient.send("DEL", [STREAM, DESTINATION.stream]);
  await redisClient.send("XGROUP", ["CREATE", STREAM, "bun-tensorrt", "0", "MKSTREAM"]);
  const main = join(import.meta.dir, "../src/cli/main.ts");
  const streams = ["--input", STREAM, "--output", DESTINATION.stream, "--redis", url];
  const threads = values.backend === "cpu" ? ["--threads", "1"] : [];
  const machine = ["--backend", values.backend, ...threads, "--model", model, "--quiet"];
  const children = Array.from({ length: workers }, () => {
    return Bun.spawn([process.execPath, main, "worker", ...streams, ...machine], {
      stdio: ["ignore", "ignore", "inherit"],
    });
  });
  const count = async (): Promise<number> => Number(await redisClient.send("XLEN", [DESTINATION.stream]));
  const readers = async (): Promise<number> =>
    (await redisClient.send("XINFO", ["CONSUMERS", STREAM, "bun-tensorrt"])).length;
  while ((await readers()) < workers) await Bun.sleep(20);
  for (let at = 0; at < frames; at++) await putFrame();
  // The first frames of each worker warm it up.
  const warm = workers * 4;
  while ((await count()) < warm) await Bun.sleep(2);
  const started = performance.now();
  const first = await count();
  while ((await count()) < frames) await Bun.sleep(5);
  const seconds = (performance.now() - started) / 1000;
  for (const child of children) child.kill("SIGTERM");
  await Promise.all(children.map((child) => child.exited));
  return (frames - first) / seconds;
}

const shared: Record<string, number> = {};
const scale = Number(values.scale);
if (client !== undefined && redis !== undefined && scale > 0) {
  await broker.close();
  for (const workers of [1, 2, 1, 2]) {
    const rate = await timeShared(redis.url, client, workers, scale);
    shared[workers] = Math.max(shared[workers] ?? 0, rate);
  }
  const gain = shared[2]! / shared[1]!;
  console.log(`\n${scale} frames, one CPU thread a worker, better of two runs:`);
  for (const [workers, rate] of Object.entries(shared))
    console.log(`${workers} worker(s)  ${rate.toFixed(1)} frames/s`);
  console.log(`two against one: ${gain.toFixed(2)} times`);
  await client.send("DEL", [STREAM, DESTINATION.stream]);
} else await broker.close();
client?.close();

if (values.json !== undefined) {
  const byStage = Object.fromEntries(Object.entries(stages).map(([name, samples]) => [name, figuresOf(samples)]));
  const others = { whole: figuresOf(whole), rest: figuresOf(rest), imdecode: figuresOf(theirs) };
  const report = { about: lines, stages: byStage, ...others, shared };
  await Bun.write(values.json, `${JSON.stringify(report, undefined, 2)}\n`);
}
