/** @module How many images a served detector answers, and how soon: `bun bench/serve.ts [image] [seconds]` */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { toyDetector } from "../test/support/toy-detector.ts";
import { findImage } from "./subject.ts";
import { Samples } from "./support/samples.ts";

const MAIN = join(import.meta.dir, "../src/cli/main.ts");
const [image, seconds = "8"] = process.argv.slice(2);
const { path: picture } = await findImage({ image });
const durationMs = Number(seconds) * 1000;

/** The command in a process of its own, and where it listens. */
async function start(words: readonly string[]): Promise<{ url: URL; stop: () => Promise<number> }> {
  const child = Bun.spawn([process.execPath, MAIN, "serve", "--port", "0", ...words], {
    stdin: "ignore",
    stdout: "ignore",
    stderr: "pipe",
  });
  let text = "";
  for await (const chunk of child.stderr) {
    text += Buffer.from(chunk).toString();
    const address = /http:\S+/.exec(text)?.[0];
    if (address === undefined) continue;
    const stop = (): Promise<number> => {
      child.kill("SIGTERM");
      return child.exited;
    };
    return { url: new URL("/detect", address), stop };
  }
  throw new Error(text);
}

/** Ask again and again with so many clients. */
async function ask(url: URL, body: Uint8Array<ArrayBuffer>, clients: number, forMs: number): Promise<Samples> {
  const samples = new Samples();
  const end = performance.now() + forMs;
  const client = async (): Promise<void> => {
    while (performance.now() < end) {
      const started = performance.now();
      const response = await fetch(url, { method: "POST", body });
      await response.bytes();
      if (response.status !== 200) throw new Error(`answered ${response.status}`);
      samples.all.push(performance.now() - started);
    }
  };
  await Promise.all(Array.from({ length: clients }, client));
  return samples;
}

const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-bench-"));
const toy = join(folder, "toy.onnx");
writeFileSync(toy, toyDetector());
const photo = Uint8Array.from(await Bun.file(picture).bytes());
const cases = [
  { name: "toy model, 290-byte JPEG: the server itself", words: ["--model", toy], body: await tiny() },
  { name: "yolo11n 640, 1920x1080 JPEG", words: [], body: photo },
] as const;

async function tiny(): Promise<Uint8Array<ArrayBuffer>> {
  const { default: sharp } = await import("sharp");
  const white = sharp({ create: { width: 64, height: 64, channels: 3, background: "white" } });
  return Uint8Array.from(await white.jpeg().toBuffer());
}

console.log(`${cpus().length} CPUs, ${cpus()[0]?.model}, load ${loadavg()[0]?.toFixed(2)}, Bun ${Bun.version}`);
try {
  for (const { name, words, body } of cases) {
    console.log(`\n${name}, ${body.length} bytes\nclients  requests/s       p50      p90      p99      max  (ms)`);
    for (const clients of [1, 8, 50]) {
      const { url, stop } = await start(words);
      await ask(url, body, clients, 1000);
      const samples = await ask(url, body, clients, durationMs);
      const rate = samples.all.length / (durationMs / 1000);
      console.log(`${String(clients).padStart(7)}${rate.toFixed(1).padStart(12)}  ${samples.row()}`);
      await stop();
    }
  }
} finally {
  rmSync(folder, { recursive: true });
}
