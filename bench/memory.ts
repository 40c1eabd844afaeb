/**
 * @module Memory over many detections: the ledger must end empty, and the resident memory flat.
 *
 * Usage: `bun bench/memory.ts [--model FILE|NAME] [--picture FILE|NAME] [--count N] [--size N] [--json FILE]`.
 */

import { parseArgs } from "node:util";
import { findEntry } from "../src/catalogue/catalogue.ts";
import { pull } from "../src/catalogue/pull.ts";
import { ledger } from "../src/core/resource.ts";
import { formatBytes, formatDuration } from "../src/core/units.ts";
import { Detector } from "../src/detector/detector.ts";

const { values } = parseArgs({
  options: {
    model: { type: "string", default: "yolo11n" },
    picture: { type: "string", default: "sample1" },
    count: { type: "string", default: "10000" },
    size: { type: "string", default: "320" },
    json: { type: "string" },
  },
});

/** Growth between the first and the last tenth that still counts as flat. */
const FLAT_BYTES = 16 * 1024 * 1024;

const count = Number(values.count);
const entry = findEntry(values.picture);
const picture = entry === undefined ? values.picture : await pull(entry);
const bytes = await Bun.file(picture).bytes();
const resident: number[] = [];
const started = performance.now();
{
  await using detector = await Detector.load(values.model, { size: Number(values.size) });
  console.log(`${count} detections of ${picture} at ${values.size}, ${detector.backend.description}`);
  console.log("detections   resident memory    open resources");
  const step = Math.max(1, Math.floor(count / 20));
  for (let done = 1; done <= count; done++) {
    await detector.detect(bytes);
    if (done % step !== 0) continue;
    Bun.gc(true);
    resident.push(process.memoryUsage.rss());
    console.log(
      `${String(done).padStart(10)} ${formatBytes(resident.at(-1)!).padStart(17)} ${String(ledger.size).padStart(17)}`,
    );
  }
}
const elapsed = performance.now() - started;
// The first samples hold one-time costs: compiled code, arenas that grow to their size.
const early = resident[Math.floor(resident.length / 10)]!;
const growth = resident.at(-1)! - early;
const isFlat = growth <= FLAT_BYTES && ledger.size === 0;
console.log(`growth after the first tenth: ${formatBytes(growth)}; open resources at the end: ${ledger.size}`);
console.log(`${formatDuration(elapsed / count)} a detection; ${isFlat ? "flat" : "NOT flat"}`);
for (const label of ledger.labels()) console.log(`  open: ${label}`);
if (values.json !== undefined) {
  await Bun.write(
    values.json,
    `${JSON.stringify({ count, size: Number(values.size), resident, growth, elapsed }, null, 2)}\n`,
  );
}
process.exit(isFlat ? 0 : 1);
