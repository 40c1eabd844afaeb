import { beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileFolder } from "../support/folder.ts";
import { onnxModel } from "../support/onnx-writer.ts";
import { isRedisMissing, RedisServer } from "../support/redis-server.ts";
import { WHITE_JPEG } from "../support/serving.ts";
import { toyDetector } from "../support/toy-detector.ts";
import { cliWords, runCli } from "./run-cli.ts";

setDefaultTimeout(120_000);

const isStraceMissing = Bun.which("strace") === null;
const BENCH = join(import.meta.dir, "../../bench/main.ts");

/** Ours, in a home. */
const CACHE = "home/.cache/bun-tensorrt";

const inFolder = fileFolder("privacy");
let model = "";
let image = "";
let labels = "";

beforeAll(() => {
  model = inFolder("toy.onnx");
  image = inFolder("white.jpg");
  labels = inFolder("labels.txt");
  writeFileSync(labels, "cat\n犬\n");
  writeFileSync(model, toyDetector());
  writeFileSync(image, WHITE_JPEG);
});

/** A program that runs with a home, a working folder and a folder for temporary files of its own, all of them empty. */
class Watched {
  readonly child: Bun.Subprocess<"ignore", "pipe", "pipe">;
  readonly root: string;
  readonly #known = new Set<string>();
  readonly #sockets: string[] = [];
  readonly #watching: ReturnType<typeof setInterval>;

  constructor(name: string, words: readonly string[]) {
    this.root = inFolder(name);
    for (const place of ["home", "cwd", "tmp"]) mkdirSync(join(this.root, place), { recursive: true });
    // With -D the program itself is our child, so that signals reach it.
    const strace = isStraceMissing
      ? []
      : ["strace", "-D", "-f", "-qq", "--seccomp-bpf", "-e", "trace=%network", "-o", this.#trace];
    this.child = Bun.spawn([...strace, ...words], {
      cwd: join(this.root, "cwd"),
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
      // No CI, in which ONNX Runtime is silent. What Bun keeps of sources it has compiled is Bun's own.
      env: {
        PATH: process.env.PATH,
        HOME: join(this.root, "home"),
        TMPDIR: join(this.root, "tmp"),
        BUN_TENSORRT_BACKEND: "cpu",
        BUN_RUNTIME_TRANSPILER_CACHE_PATH: "0",
        ORT_DISABLE_TELEMETRY: "0",
      },
    });
    this.#watching = setInterval(() => this.#look(), 5);
  }

  get #trace(): string {
    return join(this.root, "trace");
  }

  /** Sockets of TCP and UDP that are open right now: where there is no strace. What Bun has for pipes are sockets, too. */
  #look(): void {
    const process = `/proc/${this.child.pid}`;
    try {
      for (const name of readdirSync(`${process}/fd`)) {
        const [, inode] = /^socket:\[(\d+)\]$/.exec(readlinkSync(`${process}/fd/${name}`)) ?? [];
        if (inode === undefined || this.#known.has(inode)) continue;
        this.#known.add(inode);
        const tables = ["tcp", "tcp6", "udp", "udp6"].map((table) => readFileSync(`${process}/net/${table}`, "utf8"));
        if (tables.some((table) => table.split(/\s+/).includes(inode))) this.#sockets.push(inode);
      }
    } catch (error) {
      // A descriptor that was closed meanwhile, or a process that has ended.
      if (!["ENOENT", "ESRCH", "EACCES"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
    }
  }

  /** Reads standard error until it says something. */
  async said(pattern: RegExp): Promise<RegExpExecArray> {
    let text = "";
    for await (const chunk of this.child.stderr) {
      text += Buffer.from(chunk).toString();
      const found = pattern.exec(text);
      if (found !== null) return found;
    }
    throw new Error(`it ended with ${await this.child.exited}: ${text}`);
  }

  /** Waits for the end. @returns what was written, what went out, and how many sockets were seen where nothing tells which */
  async end(): Promise<{ code: number; files: string[]; contacts: string[]; sockets: number }> {
    const code = await this.child.exited;
    clearInterval(this.#watching);
    const files = readdirSync(this.root, { recursive: true, encoding: "utf8" });
    const kept = files.filter((path) => path.includes("/") && !CACHE.startsWith(path) && !path.startsWith(`${CACHE}/`));
    return { code, files: kept.sort(), contacts: contactsOf(this.#trace), sockets: this.#sockets.length };
  }
}

/** Calls of a trace that name another machine, or look for the address of one. */
function contactsOf(trace: string): string[] {
  if (isStraceMissing || !existsSync(trace)) return [];
  const calls = readFileSync(trace, "utf8").split("\n");
  const isContact = (call: string): boolean =>
    /(?:connect|sendto|sendm?msg)\(.*(?:AF_INET6?|nscd)/.test(call) && !/"(?:127\.[\d.]+|::1)"/.test(call);
  return calls.filter(isContact);
}

const CLEAN = { files: [], contacts: [] };

test("contactsOf() sees a name that is looked up, and not what stays on this machine", () => {
  const trace = inFolder("trace-example");
  const outside = [
    '12 connect(5, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("192.0.2.53")}, 16) = 0',
    '12 connect(5, {sa_family=AF_UNIX, sun_path="/var/run/nscd/socket"}, 110) = -1 ENOENT (No such file or directory)',
  ];
  const inside = '12 connect(7, {sa_family=AF_INET, sin_port=htons(6379), sin_addr=inet_addr("127.0.0.1")}, 16) = 0';
  writeFileSync(trace, [...outside, inside].join("\n"));
  expect(contactsOf(trace)).toEqual(isStraceMissing ? [] : outside);
});

test("detect and bench write nothing outside our cache and open no socket, with an empty home and without CI", async () => {
  const out = inFolder("bench");
  const words = ["--quick", "--frames", "3", "--duration", "0.1", "--backend", "cpu", "--no-peers"];
  const runs = [
    new Watched(
      "detect",
      cliWords(["detect", image, "--model", model, "--quiet", "--labels", labels, "--save", inFolder("drawn")]),
    ),
    new Watched("latency", [
      process.execPath,
      BENCH,
      "latency",
      ...words,
      "--model",
      model,
      "--image",
      image,
      "--out",
      out,
    ]),
  ];
  const outputs = await Promise.all(runs.map(({ child }) => child.stdout.text()));
  expect(outputs[0]).toContain("cat");
  expect(outputs[1]).toContain("decoded frame");
  // Letters that only the system's fonts have: what fontconfig learns of these goes into our cache, too.
  expect(existsSync(join(runs[0]!.root, CACHE, "fonts.conf"))).toBe(process.platform === "linux");
  for (const run of runs) expect(await run.end()).toEqual({ code: 0, ...CLEAN, sockets: 0 });
});

test("serve answers, and neither writes outside our cache nor contacts another machine", async () => {
  const run = new Watched("serve", cliWords(["serve", "--model", model, "--port", "0"]));
  const [, address] = await run.said(/ at (http:\S+)/);
  const response = await fetch(new URL("/detect", address), { method: "POST", body: WHITE_JPEG });
  expect(await response.text()).toContain("cat");
  run.child.kill("SIGTERM");
  expect(await run.end()).toMatchObject({ code: 143, ...CLEAN });
});

test.skipIf(isRedisMissing)(
  "worker answers, and neither writes outside our cache nor contacts another machine, as redis-server is there",
  async () => {
    await using server = await RedisServer.start();
    using client = await server.client();
    const run = new Watched("worker", cliWords(["worker", "--model", model, "--redis", server.url, "-f", "fields"]));
    await run.said(/Reading frames/);
    await client.send("XADD", ["frames", "*", "source_id", "a", "data", WHITE_JPEG as unknown as string]);
    const reply = await client.send("XREAD", ["BLOCK", "0", "STREAMS", "detections", "0"]);
    expect(JSON.stringify(reply)).toContain("cat");
    run.child.kill("SIGTERM");
    expect(await run.end()).toMatchObject({ code: 143, ...CLEAN });
  },
  120_000,
);

/** What would take over a terminal, or turn a line around. */
const HOSTILE = "\x1b[2J\x9b2J\u202e\u2066\u200f\u200b";

test("nothing of a model, a label or a file's name reaches the terminal as a control, in text or in JSON", async () => {
  const evil = inFolder("evil.onnx");
  const shape = [1, 3, 8, 8];
  const model = onnxModel({
    inputs: [{ name: `in${HOSTILE}`, dtype: "f32", shape }],
    outputs: [{ name: `out${HOSTILE}`, dtype: "f32", shape }],
    nodes: [{ op: "Relu", inputs: [`in${HOSTILE}`], outputs: [`out${HOSTILE}`] }],
    metadata: { [`key${HOSTILE}`]: `value${HOSTILE}` },
  });
  writeFileSync(evil, model);
  const classes = inFolder("evil-labels.txt");
  writeFileSync(classes, `cat${HOSTILE}\ndog\n`);
  const name = inFolder(`${HOSTILE}\nHint: run this.jpg`);
  writeFileSync(name, WHITE_JPEG);
  const toy = ["--model", inFolder("toy.onnx"), "--backend", "cpu"];
  const runs: readonly (readonly string[])[] = [
    ["inspect", evil],
    ["inspect", evil, "--json"],
    ["detect", image, "--model", evil, "--backend", "cpu"],
    ["detect", name, `${name}.jpg`, ...toy, "--labels", classes],
    ["detect", name, ...toy, "--labels", classes, "--format", "jsonl"],
    [`detect${HOSTILE}`],
  ];
  for (const { code, output, errors } of await Promise.all(runs.map((words) => runCli(words)))) {
    const text = output + errors;
    expect(text).toMatch(/\\u001b\[2J\\u009b2J\\u202e\\u2066\\u200f\\u200b/);
    expect(text.replaceAll("\n", "")).not.toMatch(/[\p{Cc}\p{Cf}]/u);
    expect(text).not.toMatch(/^Hint: run this/m);
    expect([0, 1, 2]).toContain(code);
  }
});

test("no password of an address is told: not in results, not in errors, not in the stack that --verbose shows", async () => {
  await using server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: (request) => (request.url.endsWith(".jpg") ? new Response(WHITE_JPEG) : new Response("no", { status: 404 })),
  });
  const host = `127.0.0.1:${server.port}`;
  const toy = ["--model", model, "--backend", "cpu", "--verbose", "--format", "jsonl"];
  const runs: readonly (readonly string[])[] = [
    ["detect", `http://me:s3cret@${host}/a.jpg`, ...toy, "--save", inFolder("s1")],
    ["detect", `http://me:s3cret@${host}/a.gif?token=s3cret`, ...toy],
    ["detect", `http://me:x/s3cret@${host}/a.jpg`, ...toy, "--save", inFolder("s2")],
    ["detect", `rtsp://me:x/s3cret@${host}/live`, ...toy],
    ["worker", "--model", model, "--redis", `redis://me:1/s3cret@${host}`],
  ];
  const results = await Promise.all(runs.map((words) => runCli(words)));
  for (const { output, errors } of results) {
    expect(output + errors).toContain("***@");
    expect(output + errors).not.toContain("s3cret");
  }
  for (const at of [2, 3]) expect(results[at]!.errors).toContain("Hint: in a password write / as %2F");
  expect(JSON.parse(results[0]!.output)).toMatchObject({ file: `http://me:***@${host}/a.jpg` });
  const saved = ["s1", "s2"].flatMap((name) => (existsSync(inFolder(name)) ? readdirSync(inFolder(name)) : []));
  expect(saved).toEqual(["a.jpg"]);
});
