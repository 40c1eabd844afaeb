/**
 * @module Frames onto a Redis stream, a worker that detects, and a reader of its answers:
 * `bun examples/07-redis-worker.ts street.jpg`, with $REDIS_URL, or with redis-server installed.
 */

import { create, toBinary } from "@bufbuild/protobuf";
import { RedisClient } from "bun";
import { Encoding, FrameSchema, Worker } from "bun-tensorrt/worker";

const [path] = process.argv.slice(2);
if (path === undefined) throw new Error("Usage: bun examples/07-redis-worker.ts IMAGE");

// A server of our own where none is named: nothing it holds outlives this program.
const port = 20_000 + (process.pid % 20_000);
const url = process.env.REDIS_URL || `redis://127.0.0.1:${port}`;
const settings = ["--port", String(port), "--bind", "127.0.0.1", "--save", ""];
const server = process.env.REDIS_URL ? undefined : Bun.spawn(["redis-server", ...settings], { stdout: "ignore" });
const redis = new RedisClient(url);
const [frames, results] = [`example-frames-${process.pid}`, `example-detections-${process.pid}`];

// The worker: usually a process of its own, or several that share the frames: `bunx bun-tensorrt worker`.
const output = { stream: results, format: "fields" } as const;
await using worker = await Worker.create({ redis: url, input: frames, output, threshold: 0.4 });
const running = worker.run();

// A producer, in any language: one protobuf message a frame, of proto/bun-tensorrt.proto.
const data = await Bun.file(path).bytes();
for (let index = 0; index < 3; index++) {
  const timestamp = String(Date.now() * 1000);
  const frame = create(FrameSchema, {
    sourceId: "gate",
    frameId: `${index}`,
    timestamp,
    encoding: Encoding.JPEG,
    data,
  });
  // Bun's client takes bytes as they are, though its types say strings.
  await redis.send("XADD", [frames, "*", "frame", toBinary(FrameSchema, frame) as unknown as string]);
}

// A reader. Bun's client gives replies as text, so the worker was told to write plain fields and no protobuf.
let last = "0-0";
for (let seen = 0; seen < 3; ) {
  const reply = await redis.send("XREAD", ["BLOCK", "1000", "STREAMS", results, last]);
  for (const [entryId, flat] of (reply?.[results] ?? []) as [string, string[]][]) {
    const fields = Object.fromEntries(flat.map((name, at) => [name, flat[at + 1]!]).filter((_, at) => at % 2 === 0));
    const detections: { label: string }[] = JSON.parse(fields.detections!);
    const { total } = JSON.parse(fields.timings!);
    console.log(`${fields.id}: ${detections.length} objects by ${fields.model}, ${total.toFixed(1)} ms in the worker`);
    last = entryId;
    seen += 1;
  }
}

await worker.stop();
await running;
await redis.send("DEL", [frames, results]);
redis.close();
server?.kill();
