/** @module Attack: a `serve` and a `worker` of their own on loopback, attacked while good requests go on. */

import { existsSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { blurredSvg, flatWebp, manyScans, tiledTiff } from "../support/hostile.ts";
import { RedisServer } from "../support/redis-server.ts";
import { RawConnection, WHITE_JPEG } from "../support/serving.ts";
import type { CanaryReport } from "./canary.ts";
import { HTTP_ATTACKS } from "./http-attacks.ts";
import { Arena, besides, type Ending, type Outcome, type Scale, Target, tally } from "./target.ts";

/** What must hold. */
export interface Limits {
  /** Longest that a good request may take, milliseconds. */
  readonly answerMs: number;
  /** Most memory of a process, bytes. */
  readonly memoryBytes: number;
  /** Longest from SIGTERM to the end, beyond the drain, milliseconds. */
  readonly endMs: number;
}

const DRAIN_S = 1;

function judged(
  attack: Pick<Outcome, "name" | "answers" | "elapsedMs">,
  canary: CanaryReport,
  limits: Limits,
): Outcome {
  const { count, worstMs } = canary;
  const faults = canary.faults.slice(0, 3);
  if (count === 0) faults.push("no good request went on meanwhile");
  if (worstMs > limits.answerMs) faults.push(`a good request took ${Math.round(worstMs)} ms`);
  return { ...attack, worstMs, faults };
}

function judgedEnd(name: string, { code, elapsedMs, mostBytes }: Ending, limits: Limits): Outcome {
  const faults: string[] = [];
  if (code !== 143) faults.push(`ended with ${code}`);
  if (elapsedMs > DRAIN_S * 1000 + limits.endMs) faults.push(`ended after ${Math.round(elapsedMs)} ms`);
  if ((mostBytes ?? 0) > limits.memoryBytes) faults.push(`had ${mostBytes} bytes of memory`);
  const mebibytes = mostBytes === undefined ? "unknown" : `${Math.round(mostBytes / 2 ** 20)} MiB`;
  return { name, answers: `${code}, most memory ${mebibytes}`, worstMs: 0, elapsedMs, faults };
}

/** Attack a server; at the end slow bodies and a client that does not read are left for SIGTERM to end. */
export async function attackServe(scale: Scale, limits: Limits): Promise<Outcome[]> {
  using arena = new Arena();
  const words = ["serve", "--model", arena.model, "--backend", "cpu", "--threads", "1", "--drain", String(DRAIN_S)];
  await using target = new Target([...words, "--name", "toy", "--port", "0"]);
  const url = new URL((await target.said(/http:\S+/))[0]);
  const outcomes: Outcome[] = [];
  for (const { name, expected, run } of HTTP_ATTACKS) {
    const started = performance.now();
    const task = { url: new URL("/detect", url).href, image: new Uint8Array(WHITE_JPEG) };
    const [answers, canary] = await besides(task, () => run({ url, scale }));
    const wrong = answers.filter((answer) => !expected.test(String(answer)));
    const elapsedMs = performance.now() - started;
    const outcome = judged({ name, answers: tally(answers), elapsedMs }, canary, limits);
    outcomes.push({
      ...outcome,
      faults: [...outcome.faults, ...(wrong.length === 0 ? [] : [`answered ${tally(wrong)}`])],
    });
  }
  const hanging = await Promise.all(Array.from({ length: 3 }, () => RawConnection.open(url)));
  for (const connection of hanging.slice(1)) connection.post("/detect", { "Content-Length": 1000 });
  hanging[0]!.send("GET / HTTP/1.1\r\n");
  outcomes.push(judgedEnd("serve ends", await target.terminate(), limits));
  for (const connection of hanging) connection.cut();
  return outcomes;
}

/**
 * A server that was told to render SVG, and is given some that never end: every place to decode hangs. Good requests are
 * refused at once, probes see it, and it ends all the same.
 */
export async function attackPlaces(limits: Limits): Promise<Outcome> {
  using arena = new Arena();
  const words = ["serve", "--model", arena.model, "--backend", "cpu", "--vectors", "--drain", String(DRAIN_S)];
  await using target = new Target([...words, "--port", "0", "--decode-timeout", "1", "--timeout", "1"]);
  const url = new URL((await target.said(/http:\S+/))[0]);
  const started = performance.now();
  const answers: number[] = [];
  const faults: string[] = [];
  const probe = async (): Promise<number> => (await fetch(new URL("/readyz", url))).status;
  const places = 2 * availableParallelism();
  while ((await probe()) === 200 && performance.now() - started < 20_000) {
    const sent = Array.from({ length: places }, async () => {
      const { status } = await fetch(new URL("/detect", url), { method: "POST", body: blurredSvg() });
      return status;
    });
    answers.push(...(await Promise.all(sent)));
    await Bun.sleep(100);
  }
  if ((await probe()) !== 503) faults.push("readyz sees nothing");
  const askedAt = performance.now();
  const { status } = await fetch(new URL("/detect", url), { method: "POST", body: WHITE_JPEG });
  const worstMs = performance.now() - askedAt;
  if (status !== 503 || worstMs > limits.answerMs) faults.push(`answered ${status} after ${Math.round(worstMs)} ms`);
  // SVG is rendered in memory of its own.
  const open = { ...limits, memoryBytes: Number.POSITIVE_INFINITY };
  const ending = judgedEnd("images that are decoded for ever", await target.terminate(), open);
  return { ...ending, answers: `${tally(answers)}; ${ending.answers}`, faults: [...faults, ...ending.faults] };
}

/** A server killed on its Unix socket, and the next one there. */
export async function attackSocket(limits: Limits): Promise<Outcome> {
  using arena = new Arena();
  const unix = join(arena.folder, "detector.sock");
  const words = ["serve", "--model", arena.model, "--backend", "cpu", "--drain", String(DRAIN_S), "--unix", unix];
  {
    await using first = new Target(words);
    await first.said(/Serving/);
    await first.kill();
  }
  const wasLeft = existsSync(unix);
  await using second = new Target(words);
  await second.said(/Serving/);
  const { status } = await fetch("http://localhost/readyz", { unix });
  const { faults, ...outcome } = judgedEnd("a socket file left behind", await second.terminate(), limits);
  const found = [
    ...faults,
    ...(wasLeft ? [] : ["nothing was left"]),
    ...(status === 200 ? [] : [`answered ${status}`]),
  ];
  return { ...outcome, faults: found };
}

/** Bytes that are the same in every run. */
function noise(length: number, seed: number): Buffer {
  const bytes = Buffer.alloc(length);
  let state = (seed * 2654435761 + 1) >>> 0;
  for (let at = 0; at < length; at++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[at] = state >>> 24;
  }
  return bytes;
}

type Fields = readonly (string | Buffer)[];

/** An entry that is no frame, in one of many ways. */
function malformed(at: number): Fields {
  const ways: readonly Fields[] = [
    ["frame", noise(at % 300, at)],
    ["frame", Buffer.concat([Buffer.from([0x3a, 0xff, 0xff, 0xff, 0xff, 0x0f]), noise(50, at)])],
    ["data", noise(1 + (at % 500), at)],
    ["data", ""],
    ["nothing", "at all"],
    ["data", "x", "encoding", "rgb", "width", "999999999", "height", "999999999"],
    ["data", "x", "encoding", "nv12", "width", "-1", "height", "1e9", "pitch", "NaN"],
    ["data", "x", "encoding", `${"z".repeat(10_000)}`],
    ["data", WHITE_JPEG, "timestamp", "9".repeat(30)],
    ["data", WHITE_JPEG.subarray(0, WHITE_JPEG.length - 30)],
    ["data", blurredSvg(at % 2 === 0 ? "" : "<!-- x -->")],
    ["data", manyScans(8000, 70)],
    ["data", flatWebp(16383, 16383)],
    ["data", tiledTiff(32768)],
    Array.from({ length: 4000 }, (_, index) => `field-${index}`),
    ["source_id", noise(200, at), "data", noise(100, at)],
  ];
  return ways[at % ways.length]!;
}

/** Attack a worker through its stream and its health server. Needs redis-server. */
export async function attackWorker(scale: Scale, limits: Limits): Promise<Outcome[]> {
  using arena = new Arena();
  await using redis = await RedisServer.start();
  using client = await redis.client();
  const send = (command: string, words: Fields): Promise<unknown> => client.send(command, words as string[]);
  const words = ["worker", "--model", arena.model, "--backend", "cpu", "--threads", "1", "--redis", redis.url];
  await using target = new Target([...words, "--drain", String(DRAIN_S), "--format", "fields", "--port", "0"]);
  const url = new URL((await target.said(/http:\S+/))[0]);
  await target.said(/Reading frames/);

  const started = performance.now();
  let last = "$";
  using reader = await redis.client();
  const goodFrame = async (): Promise<string | undefined> => {
    const id = String(await send("XADD", ["frames", "*", "source_id", "good", "data", WHITE_JPEG]));
    // Others' answers come between.
    for (const from = performance.now(); performance.now() - from < 2 * limits.answerMs; ) {
      const after = last === "$" ? "0" : last;
      const reply = await reader.send("XREAD", ["COUNT", "100", "BLOCK", "1000", "STREAMS", "detections", after]);
      for (const [entryId, fields] of reply?.detections ?? []) {
        last = entryId;
        if (!fields.includes(id)) continue;
        return fields.join().includes("cat") ? undefined : `answered ${fields.join().slice(0, 100)}`;
      }
    }
    return "never answered";
  };
  let isSent = false;
  const watch = async (): Promise<CanaryReport> => {
    const wrong: string[] = [];
    let [count, worstMs] = [0, 0];
    while (!isSent) {
      const askedAt = performance.now();
      const fault = await goodFrame();
      count += 1;
      worstMs = Math.max(worstMs, performance.now() - askedAt);
      if (fault !== undefined) wrong.push(fault);
      await Bun.sleep(20);
    }
    return { count, worstMs, faults: wrong };
  };
  const watching = watch();
  for (let at = 0; at < scale.entries; at++) await send("XADD", ["frames", "*", ...malformed(at)]);
  while (Number(await client.send("XLEN", ["detections"])) < scale.entries) {
    if (performance.now() - started > 60_000) break;
    await Bun.sleep(20);
  }
  isSent = true;
  const canary = await watching;
  const answered = Number(await client.send("XLEN", ["detections"]));
  const [pending] = (await client.send("XPENDING", ["frames", "bun-tensorrt"])) as [number];
  const faults: string[] = [];
  if (answered !== scale.entries + canary.count) faults.push(`${answered} answers to ${scale.entries + canary.count}`);
  if (pending !== 0) faults.push(`${pending} entries are pending`);
  const ready = await fetch(new URL("/readyz", url));
  if (ready.status !== 200) faults.push(`readyz is ${ready.status} ${await ready.text()}`);
  const foreign = await RawConnection.open(url);
  foreign.send("GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n");
  const status = await foreign.status();
  if (status !== 421) faults.push(`a foreign host got ${status}`);
  foreign.cut();
  const answers = `${scale.entries} and ${canary.count} good ones answered`;
  const elapsedMs = performance.now() - started;
  const first = judged({ name: "malformed entries", answers, elapsedMs }, canary, limits);
  return [
    { ...first, faults: [...first.faults, ...faults] },
    judgedEnd("worker ends", await target.terminate(), limits),
  ];
}
