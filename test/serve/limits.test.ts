import { expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Detector } from "../../src/api/detector.ts";
import { serve } from "../../src/serve/detection-server.ts";
import type { ServeOptions } from "../../src/serve/serve-config.ts";
import { blurredSvg, flatWebp, manyScans, tiledTiff } from "../support/hostile.ts";
import {
  failureOf,
  type HeldDetector,
  heldDetector,
  RawConnection,
  ToyServer,
  until,
  WHITE_JPEG,
  white,
} from "../support/serving.ts";
import { toyDetector } from "../support/toy-detector.ts";

setDefaultTimeout(120_000);

/** A server whose frames wait until they are let through. */
async function openHeld(options: ServeOptions): Promise<{ toy: ToyServer; held: HeldDetector }> {
  let held: HeldDetector | undefined;
  const toy = await ToyServer.open(options, (detector) => {
    held = heldDetector(detector);
    return held.detector;
  });
  return { toy, held: held! };
}

async function metric(toy: ToyServer, line: string): Promise<number> {
  const text = await (await toy.get("/metrics")).text();
  return Number(
    text
      .split("\n")
      .find((one) => one.startsWith(`${line} `))
      ?.slice(line.length) ?? 0,
  );
}

test("a body that is too long is 413, whether its head says so or not", async () => {
  await using toy = await ToyServer.open({ maxBodyBytes: 1000 });
  const long = Buffer.alloc(1001);
  expect(await failureOf(toy.post("/detect", long))).toBe("413 body-too-large");
  const stream = new Response(long).body!;
  expect(await failureOf(toy.post("/detect", stream))).toBe("413 body-too-large");
  expect((await toy.post("/detect", WHITE_JPEG)).status).toBe(200);
  // It is refused by its head alone, and the connection is as good as before for the next request.
  const connection = await RawConnection.open(toy.server.url);
  connection.post("/detect", { "Content-Length": 5_000_000_000 });
  expect(await connection.status()).toBe(413);
  connection.cut();
});

test("a chunked body is taken piece by piece", async () => {
  await using toy = await ToyServer.open();
  const connection = await RawConnection.open(toy.server.url);
  connection.post("/detect", { "Transfer-Encoding": "chunked" });
  for (let at = 0; at < WHITE_JPEG.length; at += 100) {
    const part = WHITE_JPEG.subarray(at, at + 100);
    connection.send(`${part.length.toString(16)}\r\n`);
    connection.send(part);
    connection.send("\r\n");
    await Bun.sleep(2);
  }
  connection.send("0\r\n\r\n");
  expect(await connection.status()).toBe(200);
  connection.cut();
});

test("an image with more pixels than the detector takes is 413, in the form of its format", async () => {
  await using toy = await ToyServer.open();
  const large = (await white(1001, 1000).png().toBuffer()) as Buffer<ArrayBuffer>;
  for (const path of ["/detect", "/detect?format=image"]) {
    const response = await toy.post(path, large);
    expect(response.status).toBe(413);
    const { error } = (await response.json()) as { error: { code: string; message: string } };
    expect(error.code).toBe("too-many-pixels");
    expect(error.message).toContain("at most 1000000 pixels, got 1001000 (1001x1000)");
  }
  const jpeg = (await white(1001, 1000).jpeg().toBuffer()) as Buffer<ArrayBuffer>;
  expect(await failureOf(toy.post("/detect", jpeg))).toBe("413 too-many-pixels");
});

test("small files that cost a lot to decode are refused at once, and good ones are answered meanwhile", async () => {
  await using toy = await ToyServer.open();
  const hostile = [blurredSvg(), blurredSvg("<!-- -->"), manyScans(1000, 700), tiledTiff(32_768)];
  const started = performance.now();
  for (const file of hostile) {
    const [refused, good] = await Promise.all([failureOf(toy.post("/detect", file)), toy.post("/detect", WHITE_JPEG)]);
    expect([refused, good.status]).toEqual(["422 not-an-image", 200]);
  }
  expect(await failureOf(toy.post("/detect", flatWebp(16_383, 16_383)))).toBe("413 too-many-pixels");
  expect(performance.now() - started).toBeLessThan(2000);
});

test("format=image takes fewer pixels than detection, and large images one after the other", async () => {
  await using toy = await ToyServer.open({ maxDrawnPixels: 4097 });
  const path = "/detect?format=image";
  expect((await toy.post(path, WHITE_JPEG)).headers.get("content-type")).toBe("image/jpeg");
  const larger = await white(64, 65).jpeg().toBuffer();
  expect((await toy.post("/detect", larger)).status).toBe(200);
  expect(await failureOf(toy.post(path, larger))).toBe("413 too-many-pixels");
});

test("a model that never ends keeps no place, and neither the server nor its detector from closing", async () => {
  await using detector = await Detector.load(toyDetector({ isEndless: true }), { backend: "cpu", threads: 1 });
  await using server = await serve(detector, { port: 0, timeoutMs: 100, drainTimeoutMs: 100 });
  const ask = (): Promise<Response> => fetch(new URL("/detect", server.url), { method: "POST", body: WHITE_JPEG });
  for (let round = 0; round < 2; round++) {
    for (const answer of await Promise.all([ask(), ask(), ask()]))
      expect(await failureOf(answer)).toBe("503 timed-out");
  }
  await until(() => detector.stalledMs === 0);
});

test("a form with too many files is 413", async () => {
  await using toy = await ToyServer.open({ maxFiles: 2 });
  const form = new FormData();
  for (const name of ["a", "b", "c"]) form.append("image", new File([WHITE_JPEG], name));
  expect(await failureOf(toy.post("/detect", form))).toBe("413 too-many-files");
});

test("a body that stops on its way is 408, and its connection is closed", async () => {
  await using toy = await ToyServer.open({ bodyTimeoutMs: 100 });
  const connections = await Promise.all([RawConnection.open(toy.server.url), RawConnection.open(toy.server.url)]);
  connections[0]!.post("/detect", { "Content-Length": 1000 });
  connections[1]!.post("/v2/models/toy/infer", { "Transfer-Encoding": "chunked" });
  for (const connection of connections) connection.send("5\r\n");
  for (const connection of connections) {
    expect(await connection.status()).toBe(408);
    expect(connection.received).toMatch(/connection: close/i);
    await connection.closed();
  }
  expect(connections[0]!.received).toContain('"code":"body-too-slow"');
  expect(connections[1]!.received).toContain('{"error":"The body must arrive within 100 ms. Hint:');
});

test("a silent connection is closed after an answer", async () => {
  await using toy = await ToyServer.open({ idleTimeoutMs: 1000 });
  const connection = await RawConnection.open(toy.server.url);
  connection.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
  expect(await connection.status()).toBe(200);
  await connection.closed();
});

test("more requests than may wait are 429 with Retry-After, and those that wait are answered", async () => {
  const { toy, held } = await openHeld({ concurrency: 2, queue: 3 });
  await using _ = toy;
  const running = Array.from({ length: 5 }, () => toy.post("/detect", WHITE_JPEG));
  await until(() => held.held() === 2);
  await until(() => toy.server.metrics !== undefined);
  while ((await metric(toy, "bun_tensorrt_requests_waiting")) < 3) await Bun.sleep(5);
  const refused = await toy.post("/detect", WHITE_JPEG);
  expect(Number(refused.headers.get("retry-after"))).toBeGreaterThanOrEqual(1);
  expect(await failureOf(refused)).toBe("429 busy");
  const protocol = await toy.post("/v2/models/toy/infer", WHITE_JPEG, { "Inference-Header-Content-Length": "0" });
  expect([protocol.status, Object.keys((await protocol.json()) as object)]).toEqual([429, ["error"]]);
  held.release();
  expect((await Promise.all(running)).map(({ status }) => status)).toEqual([200, 200, 200, 200, 200]);
  expect(await metric(toy, 'bun_tensorrt_drops_total{reason="busy"}')).toBe(2);
});

test("more bodies on their way than may be are 429", async () => {
  await using toy = await ToyServer.open({ maxReceiving: 2 });
  const connections = await Promise.all([RawConnection.open(toy.server.url), RawConnection.open(toy.server.url)]);
  for (const connection of connections) connection.post("/detect", { "Content-Length": 100 });
  let answer = "";
  for (const end = performance.now() + 5000; answer !== "429 busy" && performance.now() < end; await Bun.sleep(5)) {
    const response = await toy.post("/detect", WHITE_JPEG);
    answer = response.status === 200 ? "" : await failureOf(response);
  }
  expect(answer).toBe("429 busy");
  for (const connection of connections) connection.cut();
  for (const end = performance.now() + 5000; answer !== "200" && performance.now() < end; await Bun.sleep(5)) {
    answer = String((await toy.post("/detect", WHITE_JPEG)).status);
  }
  expect(answer).toBe("200");
});

test("an answer that takes too long is 503, running or waiting, and the place is free again", async () => {
  const { toy, held } = await openHeld({ concurrency: 1, queue: 3, timeoutMs: 150 });
  await using _ = toy;
  const answers = await Promise.all([toy.post("/detect", WHITE_JPEG), toy.post("/detect", WHITE_JPEG)]);
  for (const answer of answers) expect(await failureOf(answer)).toBe("503 timed-out");
  expect(held.held()).toBe(0);
  expect(await metric(toy, 'bun_tensorrt_drops_total{reason="expired"}')).toBe(2);
  held.release();
  expect((await toy.post("/detect", WHITE_JPEG)).status).toBe(200);
});

test("a client that goes while it waits is not worked for", async () => {
  const { toy, held } = await openHeld({ concurrency: 1, queue: 3 });
  await using _ = toy;
  const first = toy.post("/detect", WHITE_JPEG);
  await until(() => held.held() === 1);
  const abort = new AbortController();
  const second = toy.get("/detect", { method: "POST", body: WHITE_JPEG, signal: abort.signal });
  while ((await metric(toy, "bun_tensorrt_requests_waiting")) < 1) await Bun.sleep(5);
  abort.abort();
  await expect(second).rejects.toThrow("abort");
  while ((await metric(toy, "bun_tensorrt_requests_waiting")) > 0) await Bun.sleep(5);
  held.release();
  expect((await first).status).toBe(200);
  expect(await metric(toy, 'bun_tensorrt_drops_total{reason="gone"}')).toBe(1);
  expect(await metric(toy, 'bun_tensorrt_frames_total{outcome="ok"}')).toBe(1);
});

test("probes see a detector that has finished nothing for too long, and see it recover", async () => {
  let stalledMs = 0;
  await using toy = await ToyServer.open({ timeoutMs: 1000 }, ({ labels, model, recognition, backend, backends }) => ({
    ...{ labels, model, recognition, backend, backends },
    detect: () => Promise.reject(new Error("not asked")),
    get stalledMs() {
      return stalledMs;
    },
  }));
  const probes = ["/readyz", "/v2/health/ready", "/v2/models/toy/ready", "/healthz", "/v2/health/live"];
  const statuses = (): Promise<number[]> => Promise.all(probes.map(async (path) => (await toy.get(path)).status));
  expect(await statuses()).toEqual([200, 200, 200, 200, 200]);
  stalledMs = 1001;
  expect(await statuses()).toEqual([503, 503, 503, 200, 200]);
  expect(await failureOf(toy.get("/readyz"))).toBe("503 stalled");
  stalledMs = 120_001;
  expect(await statuses()).toEqual([503, 503, 503, 503, 503]);
  stalledMs = 0;
  expect(await statuses()).toEqual([200, 200, 200, 200, 200]);
});

test("close() finishes what is running, answers newcomers with 503, and then listens no more", async () => {
  const { toy, held } = await openHeld({});
  await using _ = toy;
  const url = toy.server.url;
  const running = toy.post("/detect", WHITE_JPEG);
  await until(() => held.held() === 1);
  const closed = toy.server.close();
  expect(toy.server.close()).toBe(closed);
  const refused = await toy.post("/detect", WHITE_JPEG);
  expect(refused.headers.get("retry-after")).toBe("5");
  expect(await failureOf(refused)).toBe("503 draining");
  expect(await failureOf(toy.get("/readyz"))).toBe("503 draining");
  expect((await toy.get("/v2/health/ready")).status).toBe(503);
  expect((await toy.get("/v2/models/toy/ready")).status).toBe(503);
  expect((await toy.get("/healthz")).status).toBe(200);
  held.release();
  expect((await running).status).toBe(200);
  await closed;
  await expect(fetch(url)).rejects.toThrow();
});

test("close() gives up after its time, and answers with 503 even then", async () => {
  const { toy, held } = await openHeld({ concurrency: 1, drainTimeoutMs: 100 });
  await using _ = toy;
  const running = [toy.post("/detect", WHITE_JPEG), toy.post("/detect", WHITE_JPEG)];
  await until(() => held.held() === 1);
  const slow = await RawConnection.open(toy.server.url);
  slow.post("/detect", { "Content-Length": 1000 });
  await Bun.sleep(150);
  await toy.server.close();
  for (const answer of running) expect(await failureOf(answer)).toBe("503 draining");
  expect(await slow.status()).toBe(503);
  expect(held.held()).toBe(0);
});

test.skipIf(Bun.which("openssl") === null)("a server with a certificate speaks TLS alone", async () => {
  const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-tls-"));
  const tls = { cert: join(folder, "cert.pem"), key: join(folder, "key.pem") };
  const words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "1"];
  try {
    Bun.spawnSync(["openssl", ...words, "-out", tls.cert, "-keyout", tls.key]);
    await using toy = await ToyServer.open({ tls });
    expect(toy.server.url.protocol).toBe("https:");
    const init = { method: "POST", body: WHITE_JPEG, tls: { rejectUnauthorized: false } };
    expect((await fetch(new URL("/detect", toy.server.url), init)).status).toBe(200);
    const plain = await RawConnection.open(toy.server.url);
    plain.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    await plain.closed();
    expect(plain.received).not.toContain("HTTP/1.1 200");
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("what no client should send is answered or closed, and harms nobody", async () => {
  await using toy = await ToyServer.open();
  const texts = [
    "GARBAGE\r\n\r\n",
    "GET / HTTP/9.9\r\n\r\n",
    "POST /detect HTTP/1.1\r\nHost: a b c\r\nContent-Length: 0\r\n\r\n",
    "GET //evil/detect HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "GET /%ff%00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    `GET /${"a".repeat(100_000)} HTTP/1.1\r\nHost: localhost\r\n\r\n`,
    "POST /detect HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
    "POST /detect HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST /detect HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "GET http://[bad/model HTTP/1.1\r\nHost: localhost\r\n\r\n",
  ];
  for (const text of texts) {
    const connection = await RawConnection.open(toy.server.url);
    connection.send(text);
    await Promise.race([connection.closed(), connection.status()]);
    const status = connection.received.slice(9, 12);
    expect(`${text.slice(0, 40)} ${status}`).toMatch(text.includes("/model") ? / 200$/ : / (4\d\d|505|)$/);
    connection.cut();
  }
  expect((await toy.post("/detect", WHITE_JPEG)).status).toBe(200);
});

test("a probe of HTTP/1.0, which names no host, is answered by the address it asks for", async () => {
  await using toy = await ToyServer.open();
  for (const [path, answer] of [
    ["/healthz", '{"status":"ok"}'],
    ["/v2/health/ready?a=://b/c", '{"ready":true}'],
    ["/nothing", "no-such-route"],
  ] as const) {
    for (const head of [`GET ${path} HTTP/1.0\r\n\r\n`, `GET ${path} HTTP/1.0\r\nHost:\r\n\r\n`]) {
      const connection = await RawConnection.open(toy.server.url);
      connection.send(head);
      await connection.closed();
      expect(connection.received).toContain(answer);
    }
  }
});

test("serve refuses options that make no sense, addresses in use and certificates that are not there", async () => {
  const cases: readonly (readonly [ServeOptions & Record<string, unknown>, string])[] = [
    [{ prot: 80 }, 'Did you mean "port"?'],
    [{ port: -1 }, 'Option "port" must be a port from 0 to 65535, got -1'],
    [{ cors: "example.org" }, "an origin such as https://example.org"],
    [{ token: "two words" }, "printable ASCII without spaces"],
    [{ name: "a/b" }, "letters, digits"],
    [{ unix: "/tmp/x.sock", port: 1 }, 'Option "unix" excludes'],
    [{ tls: { cert: "/nowhere/cert.pem", key: "/nowhere/key.pem" } }, '"/nowhere/cert.pem" cannot be read (ENOENT)'],
    [{ tls: { cert: import.meta.path, key: import.meta.path } }, "certificate and key are refused"],
    [{ host: "192.0.2.1" }, "cannot listen on 192.0.2.1"],
  ];
  for (const [options, text] of cases) await expect(ToyServer.open(options)).rejects.toThrow(text);
  await using toy = await ToyServer.open();
  await expect(ToyServer.open({ port: Number(toy.server.url.port) })).rejects.toThrow("the port is in use");
});
