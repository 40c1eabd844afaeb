import { expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { spawnCli } from "../cli/run-cli.ts";
import { load, mixedCases } from "../support/http-load.ts";
import { WHITE_JPEG } from "../support/serving.ts";
import { toyDetector } from "../support/toy-detector.ts";

setDefaultTimeout(120_000);

const CLIENTS = 50;
const WARM_UP_MS = 1500;
const LOAD_MS = 2500;
const MOST_GROWTH = 48 * 2 ** 20;

test("50 clients, good and bad ones, are all answered rightly, by a server whose memory stays flat", async () => {
  const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-load-"));
  writeFileSync(join(folder, "toy.onnx"), toyDetector());
  const words = "serve --model toy.onnx --backend cpu --port 0 --max-body 1MiB --body-timeout 1 --queue 16";
  const child = spawnCli(words.split(" "), { cwd: folder });
  try {
    const reader = child.stderr.getReader();
    const line = Buffer.from((await reader.read()).value ?? []).toString();
    const url = new URL(/http:\S+/.exec(line)?.[0] ?? `none in ${line}`);
    const text = async (): Promise<string> => (await fetch(new URL("/metrics", url))).text();
    const memory = async (): Promise<number> => Number(/resident_memory_bytes (\d+)/.exec(await text())?.[1]);

    const cases = await mixedCases();
    const warm = await load(url, cases, CLIENTS, WARM_UP_MS);
    const before = await memory();
    const { answers, faults } = await load(url, cases, CLIENTS, LOAD_MS);
    expect([...warm.faults, ...faults]).toEqual([]);
    for (const { name, expected } of cases) expect([...answers.keys()]).toContain(`${name} ${expected[0] ?? "gone"}`);
    // What is in use when the last client has gone may be collected a little later.
    for (let turn = 0; turn < 50 && (await memory()) - before >= MOST_GROWTH; turn++) await Bun.sleep(100);
    expect((await memory()) - before).toBeLessThan(MOST_GROWTH);

    // Nothing is left of it: nobody waits, and the next request is answered.
    expect((await fetch(new URL("/detect", url), { method: "POST", body: WHITE_JPEG })).status).toBe(200);
    expect(await text()).toContain("bun_tensorrt_requests_waiting 0\n");
    expect(await text()).toContain("bun_tensorrt_frames_in_flight 0\n");
    child.kill("SIGTERM");
    expect(await child.exited).toBe(143);
  } finally {
    child.kill("SIGKILL");
    rmSync(folder, { recursive: true });
  }
});
