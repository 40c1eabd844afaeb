import { expect, test } from "bun:test";
import { setLogSink } from "../../src/core/log.ts";
import { type HealthSource, startHealthServer } from "../../src/worker/health.ts";

const SOURCE: HealthSource = {
  fault: undefined,
  state: "running",
  metricsType: "text/plain",
  metrics: () => Promise.resolve("frames 1\n"),
};

/** A server, asked once for each request. @returns status and body */
async function asked(source: HealthSource, requests: readonly (readonly [string, string])[]): Promise<unknown[]> {
  const server = startHealthServer({ port: 0, host: "127.0.0.1", allowHost: [] }, source);
  try {
    const ask = async ([method, path]: readonly [string, string]): Promise<[number, string]> => {
      const response = await fetch(new URL(path, server.url), { method });
      return [response.status, await response.text()];
    };
    return await Promise.all(requests.map(ask));
  } finally {
    await server.stop(true);
  }
}

test("startHealthServer() answers reads, and names the methods it takes", async () => {
  const requests = [
    ["GET", "/healthz"],
    ["HEAD", "/readyz"],
    ["GET", "/metrics"],
    ["POST", "/healthz"],
    ["GET", "/"],
  ] as const;
  expect(await asked(SOURCE, requests)).toEqual([
    [200, '{"status":"ok"}'],
    [200, ""],
    [200, "frames 1\n"],
    [405, '{"status":"POST is not answered here"}'],
    [404, '{"status":"not found"}'],
  ]);
  expect(await asked({ ...SOURCE, engines: ["quick"] }, requests.slice(0, 1))).toEqual([
    [200, '{"status":"ok","engines":["quick"]}'],
  ]);
  const sick = { ...SOURCE, fault: "the detector hangs", state: "disconnected" };
  expect(await asked(sick, requests.slice(0, 2))).toEqual([
    [503, '{"status":"the detector hangs"}'],
    [503, ""],
  ]);
});

test("startHealthServer() answers what fails in JSON, and tells the log alone why", async () => {
  const log: string[] = [];
  setLogSink((level, text) => log.push(`${level}: ${text}`));
  try {
    const metrics = (): Promise<string> => Promise.reject(new Error("secret"));
    const [[status, text]] = (await asked({ ...SOURCE, metrics }, [["GET", "/metrics"]])) as [[number, string]];
    expect([status, text]).toEqual([500, '{"status":"something failed inside the worker: see its log"}']);
  } finally {
    setLogSink(undefined);
  }
  expect(log.join()).toContain("secret");
});

test("startHealthServer() says that its port is taken", async () => {
  const server = startHealthServer({ port: 0, host: "127.0.0.1", allowHost: [] }, SOURCE);
  const port = Number(server.url.port);
  expect(() => startHealthServer({ port, host: "127.0.0.1", allowHost: [] }, SOURCE)).toThrow(
    `Cannot serve health and metrics: it cannot listen on 127.0.0.1, port ${port} (the port is in use)`,
  );
  await server.stop(true);
});
