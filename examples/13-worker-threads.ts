/**
 * @module Two worker threads, each with a detector, share images; the main thread stays free: `bun examples/13-worker-threads.ts
 * *.jpg`. Models run beside JavaScript anyway: threads are for what one does with the results.
 */

import { once } from "node:events";
import { isMainThread, parentPort, Worker } from "node:worker_threads";
import { Detector } from "bun-tensorrt";

/** What a thread says of an image. */
type Answer = { readonly labels: readonly string[] } | { readonly error: string };

const THREADS = 2;

/** In a thread: the bytes of an image come, what was found goes back, until there are none. */
async function answerMessages(port: NonNullable<typeof parentPort>): Promise<void> {
  await using detector = await Detector.load("yolo11n", { threads: 1, classes: ["person", "bicycle", "wine glass"] });
  port.postMessage("ready");
  for (;;) {
    const [bytes] = (await once(port, "message")) as [Uint8Array | undefined];
    if (bytes === undefined) break;
    const answer: Answer = await detector.detect(bytes).then(
      ({ detections }) => ({ labels: detections.map(({ label }) => label) }),
      (error: Error) => ({ error: error.message }),
    );
    port.postMessage(answer);
  }
}

/** Give a thread one image after the other until none is left. */
async function shareWith(worker: Worker, images: Iterator<[number, string]>, answers: Answer[]): Promise<void> {
  await once(worker, "message"); // ready, or an error of the thread, which is thrown here
  for (let next = images.next(); next.done !== true; next = images.next()) {
    const [index, path] = next.value;
    const bytes = await Bun.file(path).bytes();
    worker.postMessage(bytes, [bytes.buffer]); // handed over, not copied
    [answers[index]] = (await once(worker, "message")) as [Answer];
  }
  worker.postMessage(undefined);
  await once(worker, "exit");
}

if (parentPort !== null && !isMainThread) {
  await answerMessages(parentPort);
  parentPort.close();
} else {
  const paths = process.argv.slice(2);
  if (paths.length === 0) throw new Error("Usage: bun examples/13-worker-threads.ts IMAGE …");
  const answers: Answer[] = [];
  const images = paths.entries();
  const workers = Array.from({ length: THREADS }, () => new Worker(new URL(import.meta.url)));
  await Promise.all(workers.map((worker) => shareWith(worker, images, answers)));
  for (const [index, answer] of answers.entries()) {
    console.log(`${paths[index]}: ${"error" in answer ? answer.error : answer.labels.join(", ")}`);
  }
}
