/**
 * @module Swap: a model that is new to this machine: when its first boxes are there, by the quick engine, and what frames notice as the full
 * engine takes over.
 *
 * Usage: `bun bench/swap.ts MODEL.onnx [--image FILE] [--decoded] [--in-flight 4] [--after 5] [--limit 600] [--json FILE]`.
 * Engines go into a cache of its own that is removed. A JPEG file is given without a pause, or with `--decoded` its pixels, until `--after`
 * seconds behind the full engine's first result, or until `--limit` seconds from the start. The exit code is 1 where frames are lost or out of order.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Detector } from "../src/api/detector.ts";
import { setLogSink } from "../src/core/log.ts";
import { findImage } from "./subject.ts";
import { type FrameTime, type Hold, swapFigures } from "./support/swap-figures.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    image: { type: "string" },
    decoded: { type: "boolean", default: false },
    "in-flight": { type: "string", default: "4" },
    after: { type: "string", default: "5" },
    limit: { type: "string", default: "600" },
    json: { type: "string" },
  },
});
const [model] = positionals;
if (model === undefined || positionals.length > 1) throw new Error("Usage: bun bench/swap.ts MODEL.onnx");

const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-swap-"));
process.env.BUN_TENSORRT_CACHE = folder;
const log: string[] = [];
const started = performance.now();
setLogSink((_, text) => log.push(`${((performance.now() - started) / 1000).toFixed(2)} s: ${text.split("\n", 1)[0]}`));

const image = await findImage({ image: values.image });
/** Below this a turn of the event loop is as long as others. */
const LEAST_HOLD_MS = 20;
const holds: Hold[] = [];
let turned = performance.now();
const watch = setInterval(() => {
  const now = performance.now();
  if (now - turned > LEAST_HOLD_MS) holds.push([turned - started, now - started]);
  turned = now;
}, 5);

const frames: FrameTime[] = [];
let given = 0;
let hasOrder = true;
try {
  await using detector = await Detector.load(model, { inFlight: Number(values["in-flight"]) });
  const loadedMs = performance.now() - started;
  const first = detector.backend.engine;
  const source = values.decoded ? image.image : image.bytes;
  const limit = started + Number(values.limit) * 1000;
  const after = Number(values.after) * 1000;
  let end = Number.POSITIVE_INFINITY;
  const endless = async function* () {
    while (performance.now() < Math.min(end, limit)) {
      given += 1;
      yield source;
    }
  };
  for await (const { index } of detector.stream(endless())) {
    const now = performance.now();
    const isFull = detector.backend.engine === "full";
    if (isFull && end === Number.POSITIVE_INFINITY) end = now + after;
    hasOrder &&= index === frames.length;
    frames.push({ ms: now - started, isFull });
  }
  const figures = swapFigures(frames, holds);
  const lost = given - frames.length;
  const result = { model, first, last: detector.backend.engine, loadedMs, given, lost, hasOrder, ...figures, log };
  const seconds = (ms: number): string => `${(ms / 1000).toFixed(2)} s`;
  console.log(
    `loaded after ${seconds(loadedMs)} with the engine "${first}", first boxes after ${seconds(figures.firstMs)}`,
  );
  console.log(`"${result.last}" at the end; frames ${given}, lost ${lost}, in order: ${hasOrder ? "yes" : "no"}`);
  for (const { name, frames: count, perSecond, p50Ms, longestMs, longestAtMs, heldMs } of figures.spans) {
    const rate = `${count} frames, ${perSecond.toFixed(0)}/s`;
    const longest = `longest ${longestMs.toFixed(1)} ms from ${seconds(longestAtMs)} on`;
    const held = `the JS thread held for ${heldMs.toFixed(1)} ms of it`;
    console.log(`${name}: ${rate}, between two results p50 ${p50Ms.toFixed(3)} ms, ${longest}, ${held}`);
  }
  if (values.json !== undefined) await Bun.write(values.json, `${JSON.stringify(result, undefined, 1)}\n`);
  process.exitCode = lost === 0 && hasOrder ? 0 : 1;
} finally {
  clearInterval(watch);
  rmSync(folder, { recursive: true });
}
