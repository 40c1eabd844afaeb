/** @module Load on a server: many clients at once, good ones and bad ones, each of which knows what it must be answered. */

import sharp from "sharp";
import { RawConnection, WHITE_JPEG } from "./serving.ts";

/** What is asked, and what may come of it. */
export interface LoadCase {
  readonly name: string;
  /** Status codes that are right; empty for a client that goes before it is answered. */
  readonly expected: readonly number[];
  /** @returns the status; `undefined` where the client went */
  ask(url: URL): Promise<number | undefined>;
}

/** What a load came to. */
export interface LoadResult {
  /** Answers by `name status`; `name gone` for clients that went. */
  readonly answers: ReadonlyMap<string, number>;
  /** What was not as it must be: `name: status`, or an error. */
  readonly faults: readonly string[];
}

const BUSY = 429;

async function post(url: URL, body: NonNullable<RequestInit["body"]>, type = "image/jpeg"): Promise<number> {
  const response = await fetch(new URL("/detect", url), { method: "POST", body, headers: { "content-type": type } });
  await response.bytes();
  return response.status;
}

/** Send a head and parts of a body, with a rest between them; then go, or wait for the answer. */
async function dribble(
  url: URL,
  parts: readonly Uint8Array[],
  byteLength: number,
  isLeaving = false,
): Promise<number | undefined> {
  const connection = await RawConnection.open(url);
  try {
    connection.post("/detect", { "Content-Length": byteLength, "Content-Type": "image/jpeg" });
    for (const part of parts) {
      connection.send(part);
      await Bun.sleep(15);
    }
    return isLeaving ? undefined : await connection.status();
  } finally {
    connection.cut();
  }
}

function split(bytes: Uint8Array, byteLength: number): Uint8Array[] {
  const parts: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += byteLength) parts.push(bytes.subarray(at, at + byteLength));
  return parts;
}

async function leaveEarly(url: URL): Promise<undefined> {
  const signal = AbortSignal.timeout(1 + Math.random() * 10);
  const gone = (error: unknown): void => {
    if (!signal.aborted) throw error;
  };
  await fetch(new URL("/detect", url), { method: "POST", body: WHITE_JPEG, signal })
    .then((one) => one.bytes())
    .catch(gone);
}

/** Good and bad requests, for a server that takes at most 1 MiB a body and waits a second for it. */
export async function mixedCases(): Promise<readonly LoadCase[]> {
  const photo = await sharp({ create: { width: 1280, height: 720, channels: 3, background: "grey" } })
    .jpeg()
    .toBuffer();
  const large = Buffer.from(photo) as Buffer<ArrayBuffer>;
  const endless = (): ReadableStream<Uint8Array> => new Response(Buffer.alloc(5_000_000)).body!;
  const form = (): FormData => {
    const one = new FormData();
    for (const name of ["a.jpg", "b.jpg"]) one.append("image", new File([WHITE_JPEG], name));
    return one;
  };
  return [
    { name: "good", expected: [200, BUSY], ask: (url) => post(url, WHITE_JPEG) },
    { name: "good and large", expected: [200, BUSY], ask: (url) => post(url, large) },
    {
      name: "form",
      expected: [200, BUSY],
      ask: async (url) => (await fetch(new URL("/detect", url), { method: "POST", body: form() })).status,
    },
    { name: "empty", expected: [400], ask: (url) => post(url, "") },
    { name: "huge", expected: [413], ask: (url) => post(url, Buffer.alloc(5_000_000)) },
    { name: "huge without a length", expected: [413], ask: (url) => post(url, endless()) },
    { name: "truncated", expected: [422, BUSY], ask: (url) => post(url, WHITE_JPEG.subarray(0, 200)) },
    { name: "no image", expected: [422, BUSY], ask: (url) => post(url, "this is a text") },
    { name: "another type", expected: [415], ask: (url) => post(url, "{}", "application/json") },
    {
      name: "wrong option",
      expected: [400, BUSY],
      ask: async (url) => (await fetch(new URL("/detect?iou=2", url), { method: "POST", body: WHITE_JPEG })).status,
    },
    // On a busy machine half a second may become the second that the server waits.
    { name: "slow", expected: [200, BUSY, 408], ask: (url) => dribble(url, split(WHITE_JPEG, 40), WHITE_JPEG.length) },
    { name: "never whole", expected: [408], ask: (url) => dribble(url, [WHITE_JPEG], 100_000) },
    { name: "gone in mid-body", expected: [], ask: (url) => dribble(url, split(WHITE_JPEG, 100), 100_000, true) },
    { name: "gone at once", expected: [], ask: leaveEarly },
  ];
}

/**
 * Let clients ask one thing after another, each in its own order, for some time, and on a busy machine until each case has been
 * answered as it is where there is room.
 */
export async function load(
  url: URL,
  cases: readonly LoadCase[],
  clients: number,
  durationMs: number,
): Promise<LoadResult> {
  const open = new Set(cases.map(({ name, expected }) => `${name} ${expected[0] ?? "gone"}`));
  const answers = new Map<string, number>();
  const faults: string[] = [];
  const end = performance.now() + durationMs;
  const client = async (number: number): Promise<void> => {
    for (
      let turn = number;
      (performance.now() < end || open.size > 0) && faults.length === 0;
      turn += 1 + (number % 5)
    ) {
      const { name, expected, ask } = cases[turn % cases.length]!;
      try {
        const status = await ask(url);
        const line = `${name} ${status ?? "gone"}`;
        answers.set(line, (answers.get(line) ?? 0) + 1);
        open.delete(line);
        if (status === undefined ? expected.length > 0 : !expected.includes(status)) faults.push(line);
      } catch (error) {
        faults.push(`${name}: ${error}`);
      }
    }
  };
  await Promise.all(Array.from({ length: clients }, (_, number) => client(number)));
  return { answers, faults };
}
