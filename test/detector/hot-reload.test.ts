import { expect, setDefaultTimeout, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { encodeImage } from "../../src/image/image-file.ts";
import { flatImage } from "../support/flat-image.ts";
import { fileFolder } from "../support/folder.ts";
import { toyDetector } from "../support/toy-detector.ts";

setDefaultTimeout(120_000);

const inFolder = fileFolder("hot");

const RELOADS = 10;
const WAIT_MS = 20_000;

/** What the server says of its process. */
interface Stats {
  readonly loads: number;
  /** Detectors that have not been collected. */
  readonly alive: number;
  readonly threads: number;
  /** Of memory: an addon that is opened anew maps stacks and heaps of its own. */
  readonly mappings: number;
  readonly rssMib: number;
}

/** A server as one writes it: nothing is closed, and a sink holds what is around it. */
function serverOf(port: number, version: number): string {
  return `// version ${version}
import { readFileSync } from "node:fs";
import { Detector, setLogSink } from ${JSON.stringify(join(import.meta.dir, "../../src/index.ts"))};
setLogSink((level, text) => level !== "debug" && console.error(text.split("\\n")[0]));
const detector = await Detector.load(${JSON.stringify(inFolder("toy.onnx"))}, { backend: "cpu", size: 640 });
await detector.warmUp();
globalThis.loads = (globalThis.loads ?? 0) + 1;
(globalThis.detectors ??= []).push(new WeakRef(detector));
Bun.serve({
  port: ${port},
  async fetch(request) {
    if (request.method === "POST") return Response.json((await detector.detect(request)).detections);
    return Response.json({
      loads: globalThis.loads,
      alive: globalThis.detectors.filter((one) => one.deref() !== undefined).length,
      threads: Number(/Threads:\\s+(\\d+)/.exec(readFileSync("/proc/self/status", "utf8"))?.[1]),
      mappings: readFileSync("/proc/self/maps", "utf8").split("\\n").length,
      rssMib: process.memoryUsage.rss() / 2 ** 20,
    });
  },
});
`;
}

test.skipIf(process.platform !== "linux")(
  "a server with a detector that is reloaded by bun --hot does not grow (on Linux)",
  async () => {
    using free = Bun.serve({ port: 0, fetch: () => new Response() });
    const port = free.port!;
    await free.stop(true);
    writeFileSync(inFolder("toy.onnx"), toyDetector({ side: "height" }));
    const path = inFolder("server.ts");
    writeFileSync(path, serverOf(port, 0));
    const child = Bun.spawn([process.execPath, "--hot", path], { cwd: inFolder(), stdout: "ignore", stderr: "pipe" });
    const errors = child.stderr.text();
    try {
      const after = async (loads: number): Promise<Stats> => {
        for (const end = performance.now() + WAIT_MS; performance.now() < end; await Bun.sleep(20)) {
          const answer = await fetch(`http://127.0.0.1:${port}/`).catch(() => undefined);
          const stats = answer === undefined ? undefined : ((await answer.json()) as Stats);
          if (stats !== undefined && stats.loads >= loads) return stats;
        }
        throw new Error(`no reload ${loads}, exit code ${child.exitCode}`);
      };
      const stats = [await after(1)];
      for (let reload = 1; reload <= RELOADS; reload++) {
        writeFileSync(path, serverOf(port, reload));
        stats.push(await after(stats.at(-1)!.loads + 1));
      }
      const body = await encodeImage(flatImage(64, 64, 255));
      const answer = await fetch(`http://127.0.0.1:${port}/`, { method: "POST", body });
      expect(await answer.json()).toHaveLength(3);
      const [settled, last] = [stats[3]!, stats.at(-1)!];
      // The former one is held until its server is replaced, and the collector may take one more for held.
      expect(Math.max(...stats.map(({ alive }) => alive))).toBeLessThanOrEqual(4);
      expect(last.threads).toBeLessThanOrEqual(settled.threads + 3);
      expect(last.mappings).toBeLessThanOrEqual(settled.mappings + 20);
      expect(last.rssMib - settled.rssMib).toBeLessThan(60);
    } finally {
      child.kill();
      await child.exited;
    }
    expect(await errors).toContain(`dropped without close(): it was loaded at ${path}:5:`);
  },
  120_000,
);
