import { expect, setDefaultTimeout, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { parseWords } from "../../src/cli/args.ts";
import { parseWorkerFlags, WORKER_FLAGS } from "../../src/cli/service-flags.ts";
import type { WorkerOptions } from "../../src/worker/worker-config.ts";
import { fileFolder } from "../support/folder.ts";
import { paintedJpeg } from "../support/images.ts";
import { isRedisMissing, RedisServer } from "../support/redis-server.ts";
import { toyDetector } from "../support/toy-detector.ts";
import { runCli, spawnCli } from "./run-cli.ts";

setDefaultTimeout(120_000);

const inFolder = fileFolder("worker-cli");
const model = inFolder("toy.onnx");
writeFileSync(model, toyDetector());

function overlaid(words: string, file: WorkerOptions): WorkerOptions {
  return parseWorkerFlags(parseWords("worker", words.split(" ").filter(Boolean), WORKER_FLAGS)).over(file);
}

test("worker's flags win over the file, and leave alone what they do not say", () => {
  const file: WorkerOptions = {
    model: "a.onnx",
    threshold: 0.3,
    detector: { batch: 4, rectangular: true, backend: "cpu" },
    output: { maxLength: 7, format: "fields" },
    http: { port: 1, host: "0.0.0.0" },
  };
  expect(overlaid("", file)).toEqual(file);
  expect(overlaid("--threshold 0.5 --batch 1 --format protobuf --port 2 --claim-idle 3 -i a,b", file)).toEqual({
    ...file,
    threshold: 0.5,
    input: ["a", "b"],
    detector: { batch: 1, rectangular: true, backend: "cpu" },
    output: { maxLength: 7, format: "protobuf" },
    claim: { idleMs: 3000 },
    http: { port: 2, host: "0.0.0.0" },
  });
  const said: WorkerOptions = { detector: { preprocessing: { colour: "BGR", fit: "stretch" } } };
  expect(overlaid("--fit letterbox", said).detector?.preprocessing).toEqual({ colour: "BGR", fit: "letterbox" });
  expect(overlaid("--size 320", said).detector?.preprocessing).toEqual({ colour: "BGR", fit: "stretch" });
});

test("worker exits with 2 and names what is wrong, before it loads or connects to anything", async () => {
  const config = (name: string, text: string): string => {
    const path = inFolder(name);
    writeFileSync(path, text);
    return path;
  };
  const cases: readonly (readonly [words: readonly string[], text: string])[] = [
    [["a.jpg"], 'Unexpected argument "a.jpg": worker takes no files'],
    [["--inptu", "a"], 'Did you mean "--input"?'],
    [["--policy", "newest"], '--policy must be all or latest, got "newest"'],
    [["--redis", "localhost"], 'option "redis" must be the URL'],
    [["--config", inFolder("none.toml")], "it cannot be read (ENOENT)"],
    [["--config", config("a.toml", "[output]\nstrem = 1\n")], 'Unknown option "output.strem". Did you mean "stream"?'],
    [["--config", config("b.toml", "[detector]\nbatc = 1\n")], 'Did you mean "batch"?'],
    [["--config", config("c.toml", "= 1")], "it is not valid TOML"],
  ];
  const results = await Promise.all(cases.map(([words]) => runCli(["worker", "--model", model, ...words])));
  for (const [at, { code, output, errors }] of results.entries()) {
    expect(errors).toContain(cases[at]![1]);
    expect([code, output]).toEqual([2, ""]);
  }
});

test.skipIf(isRedisMissing)(
  "worker takes a new configuration with SIGHUP, keeps the former one where that is broken, and ends with SIGTERM, as redis-server is there",
  async () => {
    await using server = await RedisServer.start();
    using client = await server.client();
    const config = inFolder("live.toml");
    const base = `model = "${model}"\nredis = "${server.url}"\noutput = { format = "fields" }\nhttp = { port = 0 }\n`;
    writeFileSync(config, base);
    const child = spawnCli(["worker", "--config", config, "--backend", "cpu", "--threads", "1"]);
    const log: string[] = [];
    const logging = (async () => {
      const decoder = new TextDecoder();
      for await (const chunk of child.stderr) log.push(decoder.decode(chunk, { stream: true }));
    })();
    const said = async (text: string): Promise<void> => {
      while (!log.join("").includes(text)) await Bun.sleep(10);
    };
    const jpeg = await paintedJpeg(64, 48);
    let last = "0";
    const objects = async (): Promise<number> => {
      await client.send("XADD", ["frames", "*", "source_id", "a", "data", jpeg as unknown as string]);
      const reply = await client.send("XREAD", ["BLOCK", "0", "STREAMS", "detections", last]);
      const [id, fields] = reply.detections[0];
      last = id;
      return JSON.parse(fields[fields.indexOf("detections") + 1]).length;
    };

    await said("Reading frames as ");
    const url = /Health and metrics at (\S+)/.exec(log.join(""))?.[1];
    expect(await (await fetch(new URL("readyz", url))).json()).toEqual({ status: "running" });
    const all = await objects();
    expect(all).toBeGreaterThan(1);

    writeFileSync(config, `${base}threshold = 2\n`);
    child.kill("SIGHUP");
    await said("Kept the former configuration");
    expect(log.join("")).toContain('Option "threshold" must be a number from 0 to 1, got 2');
    expect(await objects()).toBe(all);

    writeFileSync(config, "");
    child.kill("SIGHUP");
    await said("it holds no option");
    expect(await objects()).toBe(all);

    writeFileSync(config, `${base}classes = ["cat"]\n`);
    child.kill("SIGHUP");
    while ((await objects()) >= all) await Bun.sleep(10);

    child.kill("SIGTERM");
    expect(await child.exited).toBe(143);
    await logging;
    expect(await client.send("XINFO", ["CONSUMERS", "frames", "bun-tensorrt"])).toEqual([]);
  },
  120_000,
);

test("worker ends within the drain and two seconds of SIGTERM, where the server never says a word", async () => {
  using silent = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const child = spawnCli([
    "worker",
    "--model",
    model,
    "--backend",
    "cpu",
    "--drain",
    "0",
    "--redis",
    `redis://127.0.0.1:${silent.port}`,
    "--connect-timeout-ms",
    "0",
    "--port",
    "0",
  ]);
  let errors = "";
  const logging = (async () => {
    for await (const chunk of child.stderr) errors += Buffer.from(chunk).toString();
  })();
  while (!errors.includes("Health and metrics")) await Bun.sleep(5);
  const started = performance.now();
  child.kill("SIGTERM");
  expect(await child.exited).toBe(143);
  expect(performance.now() - started).toBeLessThan(2000);
  await logging;
});

test("worker names the address of a server that is not there, before it loads a model, and Ctrl-C ends the waiting", async () => {
  const words = [
    "worker",
    "--model",
    "nowhere.onnx",
    "--redis",
    "redis://me:secret@127.0.0.1:1",
    "--connect-timeout-ms",
  ];
  const { code, errors } = await runCli([...words, "50"]);
  expect(code).toBe(1);
  expect(errors).toMatch(
    /^error: Cannot use the Redis server redis:\/\/me:\*\*\*@127.0.0.1:1: it cannot be reached .*, tried for 50 ms\n/,
  );
  expect(errors).toContain("or wait for it without end: `connectTimeoutMs: 0` (`--connect-timeout-ms 0`)");
  const child = spawnCli([...words, "60000"]);
  const started = performance.now();
  await Bun.sleep(300);
  child.kill("SIGINT");
  expect(await child.exited).toBe(130);
  expect(performance.now() - started).toBeLessThan(5000);
});
