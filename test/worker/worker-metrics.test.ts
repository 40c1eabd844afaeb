import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { setLogSink } from "../../src/core/log.ts";
import type { StreamLag } from "../../src/worker/broker.ts";
import { WorkerMetrics } from "../../src/worker/health.ts";
import { MemoryBroker } from "../support/memory-broker.ts";

setDefaultTimeout(120_000);

const ROOT = join(import.meta.dir, "../..");
const LAG = [{ stream: "a", unread: 3, pending: 2 }] as const;

/** A server that tells of the queues when it is let. */
async function brokerTelling(lag: () => Promise<readonly StreamLag[]>): Promise<MemoryBroker> {
  const broker = new MemoryBroker();
  await broker.open();
  broker.lag = lag;
  return broker;
}

test("WorkerMetrics.text() leaves no timer behind that keeps the process", async () => {
  const script = `import { WorkerMetrics } from "${ROOT}/src/worker/health.ts";
    import { MemoryBroker } from "${ROOT}/test/support/memory-broker.ts";
    const broker = new MemoryBroker();
    await broker.open();
    await new WorkerMetrics(broker, undefined).text();
    const ended = performance.now();
    process.on("exit", () => console.log(performance.now() - ended));`;
  const child = Bun.spawn([process.execPath, "-e", script], { stdout: "pipe", stderr: "inherit" });
  expect(Number(await child.stdout.text())).toBeLessThan(1000);
});

test("WorkerMetrics.text() leaves out what a server does not tell in time, with a line that says so", async () => {
  const lines: string[] = [];
  setLogSink((level, text) => lines.push(`${level} ${text}`));
  try {
    const answers = [Promise.resolve(LAG), new Promise<readonly StreamLag[]>(() => {})];
    const metrics = new WorkerMetrics(await brokerTelling(() => answers.shift()!), undefined);
    expect(await metrics.text()).toContain("queue_unread{");
    expect(await metrics.text()).not.toContain("queue_unread{");
    expect(lines).toEqual(["warn Skipped the lag of the streams. The server did not report it within 2 s"]);
  } finally {
    setLogSink(undefined);
  }
});
