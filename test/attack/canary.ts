/** @module Canary: good requests, one after the other, on a thread of its own: an attacker's thread is busy. */

declare const self: Worker;

/** What the thread is told. */
export interface CanaryTask {
  readonly url: string;
  readonly image: Uint8Array<ArrayBuffer>;
}

/** What it tells at the end. */
export interface CanaryReport {
  readonly count: number;
  readonly worstMs: number;
  readonly faults: readonly string[];
}

async function ask({ url, image }: CanaryTask): Promise<string | undefined> {
  const response = await fetch(url, { method: "POST", body: image });
  const text = await response.text();
  return response.status === 200 && text.includes('"cat"') ? undefined : `${response.status} ${text.slice(0, 100)}`;
}

let isEnding = false;

async function watch(task: CanaryTask): Promise<CanaryReport> {
  const faults: string[] = [];
  let [count, worstMs] = [0, 0];
  while (!isEnding) {
    const started = performance.now();
    const fault = await ask(task).catch((error: Error) => error.message);
    const elapsedMs = performance.now() - started;
    count += 1;
    worstMs = Math.max(worstMs, elapsedMs);
    if (fault !== undefined) faults.push(`${fault} after ${Math.round(elapsedMs)} ms`);
    await Bun.sleep(20);
  }
  return { count, worstMs, faults };
}

if (!Bun.isMainThread) {
  self.onmessage = async ({ data }: MessageEvent<CanaryTask | "end">) => {
    if (data === "end") isEnding = true;
    else self.postMessage(await watch(data));
  };
}
