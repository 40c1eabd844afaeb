import { beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { pulled } from "../support/catalogue.ts";
import { fileFolder } from "../support/folder.ts";
import { WHITE_JPEG } from "../support/serving.ts";
import { toyDetector } from "../support/toy-detector.ts";
import { runCli, spawnCli } from "./run-cli.ts";

setDefaultTimeout(120_000);

const path = fileFolder("serve");

beforeAll(() => {
  writeFileSync(path("toy.onnx"), toyDetector());
});

/** A serving process, and where it says it listens. */
async function start(words: string, env: Readonly<Record<string, string>> = {}) {
  const child = spawnCli(["serve", "--backend", "cpu", ...words.split(" ")], { cwd: path(), env });
  let errors = "";
  const reader = child.stderr.getReader();
  while (!errors.includes(")\n")) {
    const { done, value } = await reader.read();
    if (done) throw new Error(`serve ended: ${errors}`);
    errors += Buffer.from(value).toString();
  }
  return { child, line: errors.trim(), url: new URL(/(https?|unix):\S+/.exec(errors)![0]) };
}

test("serve says what it serves and where, takes its flags, and ends on SIGTERM with what was running answered", async () => {
  const words = "--model toy.onnx --port 0 --threshold 0.65 --iou 0.8 --max-body 1KiB --max-pixels 5000 --name small";
  const { child, line, url } = await start(words, { BUN_TENSORRT_TOKEN: "open-sesame" });
  expect(line).toMatch(/^Serving small at http:\/\/127\.0\.0\.1:\d+\/ \(ONNX Runtime .*\)$/);
  const headers = { authorization: "Bearer open-sesame" };
  const post = (body: NonNullable<RequestInit["body"]>): Promise<Response> =>
    fetch(new URL("/detect", url), { method: "POST", body, headers });
  expect((await fetch(new URL("/model", url))).status).toBe(401);
  const { detections } = (await (await post(WHITE_JPEG)).json()) as { detections: { label: string }[] };
  expect(detections.map(({ label }) => label)).toEqual(["cat", "cat", "dog"]);
  expect((await post(Buffer.alloc(1025))).status).toBe(413);
  expect((await fetch(new URL("/v2/models/small", url), { headers })).status).toBe(200);

  // Half of a request, which the server has read once it has answered others that came after it.
  const { promise: answer, resolve } = Promise.withResolvers<string>();
  const socket = await Bun.connect({
    hostname: url.hostname,
    port: Number(url.port),
    socket: { data: (_, bytes) => resolve(bytes.toString()), close: () => resolve("closed without an answer") },
  });
  const fields = `Host: ${url.host}\r\nAuthorization: Bearer open-sesame\r\nContent-Length: ${WHITE_JPEG.length}`;
  socket.write(`POST /detect HTTP/1.1\r\n${fields}\r\n\r\n`);
  socket.write(WHITE_JPEG.subarray(0, 10));
  for (let turn = 0; turn < 2; turn++) expect((await fetch(new URL("/healthz", url))).status).toBe(200);
  child.kill("SIGTERM");
  socket.write(WHITE_JPEG.subarray(10));
  expect(await answer).toMatch(/^HTTP\/1\.1 (200|503) /);
  expect(await child.exited).toBe(143);
  expect(await child.stdout.text()).toBe("");
});

test("serve on other addresses than this machine's own warns where no token is set", async () => {
  const warning = "warn: Serving on 0.0.0.0 without a token: everyone who reaches this machine can use it";
  for (const [words, env, isWarned] of [
    ["--host 0.0.0.0", {}, true],
    ["--host 0.0.0.0 --token open-sesame", {}, false],
    ["--host 0.0.0.0", { BUN_TENSORRT_TOKEN: "open-sesame" }, false],
    ["--host localhost", {}, false],
  ] as const) {
    const { child, line } = await start(`--model toy.onnx --port 0 ${words}`, env);
    child.kill("SIGTERM");
    await child.exited;
    expect([words, line.includes(warning)]).toEqual([words, isWarned]);
  }
});

test("serve refuses wrong flags with 2 before it loads anything, and a taken port with 1", async () => {
  const cases: readonly (readonly [words: string, text: string])[] = [
    ["street.jpg", 'Unexpected argument "street.jpg": serve takes no files'],
    ["--port 70000", "--port must be a port from 0 to 65535, got"],
    ["--cert a.pem", "--cert and --key must be given together"],
    ["--unix a.sock --port 80", 'Option "unix" excludes "host" and "port"'],
    ["--cors example.org", "must be an origin such as https://example.org, without a path, or *"],
    ["--max-body lots", "--max-body-bytes must be a number of bytes, such as 64MiB"],
    ["--timeout-ms 0", '--timeout-ms must be a whole number of milliseconds, 1 to 86400000, got "0"'],
    ["--timeout soon", "--timeout-ms must be a whole number of milliseconds"],
  ];
  const runs = cases.map(([words]) => runCli(["serve", "--model", "nothing.onnx", ...words.split(" ")]));
  for (const [at, { code, output, errors }] of (await Promise.all(runs)).entries()) {
    expect(errors).toContain(cases[at]![1]);
    expect([code, output]).toEqual([2, ""]);
  }
  using taken = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response() });
  const words = ["serve", "--model", "toy.onnx", "--backend", "cpu", "--port", String(taken.port)];
  const { code, errors } = await runCli(words, { cwd: path() });
  expect(code).toBe(1);
  expect(errors).toContain(`cannot listen on 127.0.0.1, port ${taken.port} (the port is in use)`);
});

test("serve listens on a Unix socket", async () => {
  const { child, line } = await start("--model toy.onnx --unix a.sock");
  expect(line).toStartWith("Serving toy at unix:");
  const response = await fetch("http://localhost/healthz", { unix: path("a.sock") });
  expect(await response.json()).toEqual({ status: "ok" });
  child.kill("SIGINT");
  expect(await child.exited).toBe(130);
});

test("serve ends with the reason where the model fails at its warm-up, as it would at every image", async () => {
  // Adds a row of 63 to one of the image's own width, which fits none.
  const before = {
    nodes: [{ op: "Add", inputs: ["images", "row"], outputs: ["scaled"] }],
    initializers: [{ name: "row", dtype: "f32" as const, shape: [63], data: new Float32Array(63) }],
  };
  writeFileSync(path("unfit.onnx"), toyDetector({ side: "side", before }));
  const { code, errors } = await runCli(["serve", "--backend", "cpu", "--model", "unfit.onnx", "--port", "0"], {
    cwd: path(),
  });
  expect(errors).toMatch(/error: Cannot run "unfit\.onnx": /);
  expect(errors).not.toContain("Serving");
  expect(code).toBe(1);
});

const model = await pulled("yolo11n");
const image = await pulled("sample1");

test.skipIf(model === undefined || image === undefined)(
  "serve finds persons in a photograph",
  async () => {
    const { child, url } = await start("--port 0");
    try {
      const response = await fetch(new URL("/detect?classes=person", url), { method: "POST", body: Bun.file(image!) });
      const { detections } = (await response.json()) as { detections: { label: string; score: number }[] };
      expect(detections.length).toBeGreaterThanOrEqual(3);
      expect(detections[0]).toMatchObject({ label: "person", score: expect.any(Number) });
    } finally {
      child.kill("SIGTERM");
      await child.exited;
    }
  },
  120_000,
);
