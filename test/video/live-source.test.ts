import { afterEach, beforeAll, expect, setDefaultTimeout, spyOn, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setLogSink } from "../../src/core/log.ts";
import type { VideoOptions } from "../../src/video/video-options.ts";
import { VideoSource } from "../../src/video/video-source.ts";
import { fileFolder } from "../support/folder.ts";
import { serveRtsp } from "../support/rtsp-server.ts";
import { childrenNamed, FAST, ffmpeg, isFfmpegMissing, programsOn, testVideo } from "../support/videos.ts";

setDefaultTimeout(120_000);

const path = fileFolder("live");
let stream = new Uint8Array(0);
const warnings: string[] = [];

beforeAll(async () => {
  if (isFfmpegMissing) return;
  await testVideo(path("clip.mp4"), "64x48", 60);
  await ffmpeg("-i", path("clip.mp4"), ...FAST, "-g", "10", "-f", "mpegts", path("clip.ts"));
  stream = readFileSync(path("clip.ts"));
});

afterEach(() => {
  setLogSink(undefined);
  warnings.length = 0;
  expect(childrenNamed("ffmpeg")).toEqual([]);
});

/** What the n-th connection gets. */
type Answer = (connection: number) => Response;

function serve(answer: Answer): { readonly url: string; readonly connections: () => number } & Disposable {
  let connections = 0;
  const server = Bun.serve({ hostname: "127.0.0.1", port: 0, idleTimeout: 0, fetch: () => answer(connections++) });
  return {
    url: `http://user:secret@127.0.0.1:${server.port}/live.ts`,
    connections: () => connections,
    [Symbol.dispose]: () => void server.stop(true),
  };
}

/** The clip without a length, so that nobody knows where it ends. */
function chunked(): Response {
  return new Response(
    new ReadableStream({
      async start(controller) {
        controller.enqueue(stream);
        controller.close();
      },
    }),
    { headers: { "content-type": "video/mp2t" } },
  );
}

const QUICK: VideoOptions = { live: true, policy: "all", reconnect: { firstDelayMs: 20 } };

test.skipIf(isFfmpegMissing)("a live source that drops is opened again, its index and its time go on", async () => {
  using server = serve(chunked);
  setLogSink((level, text) => level === "warn" && warnings.push(text));
  await using video = await VideoSource.open(server.url, QUICK);
  expect(video.name).toContain("user:***@");
  const times: number[] = [];
  for await (using frame of video) {
    expect(frame.index).toBe(times.length);
    times.push(frame.timestampMs);
    if (times.length === 150) break;
  }
  expect(video.reconnects).toBe(2);
  expect(times.every((time, at) => at === 0 || time > times[at - 1]!)).toBe(true);
  expect(times[0]).toBe(0);
  expect(warnings.some((text) => /live\.ts stopped \(.*\); opening it again in 20(\.\d+)? ms/.test(text))).toBe(true);
  expect(warnings.join()).not.toContain("secret");
});

test.skipIf(isFfmpegMissing)(
  "a live source that does not come back is given up after the tries that were asked for",
  async () => {
    using server = serve((connection) => (connection < 2 ? chunked() : new Response("gone", { status: 404 })));
    await using video = await VideoSource.open(server.url, { ...QUICK, reconnect: { attempts: 2, firstDelayMs: 10 } });
    let frames = 0;
    const read = async (): Promise<void> => {
      for await (using _ of video) frames += 1;
    };
    const error = (await read().catch((reason: unknown) => reason)) as Error;
    expect(error.message).toContain("it stopped and did not come back in 2 tries (");
    expect(error.message).not.toContain("secret");
    expect(frames).toBe(60);
    expect(video.reconnects).toBe(2);
  },
);

test.skipIf(isFfmpegMissing)("a live source keeps nothing of the times it was opened again", async () => {
  using server = serve(chunked);
  const add = spyOn(EventTarget.prototype, "addEventListener");
  const remove = spyOn(EventTarget.prototype, "removeEventListener");
  const listeners = (spy: typeof add | typeof remove): number =>
    spy.mock.calls.filter(([kind]) => kind === "abort").length;
  try {
    await using video = await VideoSource.open(server.url, { ...QUICK, reconnect: { firstDelayMs: 1 } });
    for await (using _ of video) if (video.reconnects >= 3) break;
    expect(listeners(add)).toBeGreaterThanOrEqual(3);
    expect(listeners(remove)).toBe(listeners(add));
  } finally {
    add.mockRestore();
    remove.mockRestore();
  }
});

test.skipIf(isFfmpegMissing)("a live source without reconnect ends with its stream", async () => {
  using server = serve(chunked);
  await using video = await VideoSource.open(server.url, { ...QUICK, reconnect: false });
  let frames = 0;
  for await (using _ of video) frames += 1;
  expect([frames, video.reconnects]).toEqual([60, 0]);
});

test.skipIf(isFfmpegMissing)(
  "a live source that gives nothing any more is opened again",
  async () => {
    const endless = (): Response =>
      new Response(
        new ReadableStream({
          start(controller) {
            controller.enqueue(stream);
          },
        }),
      );
    using server = serve((connection) => (connection === 1 ? endless() : chunked()));
    await using video = await VideoSource.open(server.url, { ...QUICK, stallMs: 400 });
    let frames = 0;
    for await (using _ of video) {
      frames += 1;
      if (video.reconnects >= 1) break;
    }
    expect(frames).toBeGreaterThan(0);
    expect(server.connections()).toBeGreaterThan(2);
  },
  120_000,
);

test.skipIf(isFfmpegMissing)(
  "a stream of JPEGs in parts is a live source by itself, and ends after its duration",
  async () => {
    await ffmpeg("-i", path("clip.mp4"), "-frames:v", "1", path("one.jpg"));
    const jpeg = readFileSync(path("one.jpg"));
    const part = Buffer.concat([
      Buffer.from(`--frame\r\nContent-Type: image/jpeg\r\nContent-Length: ${jpeg.length}\r\n\r\n`),
      jpeg,
      Buffer.from("\r\n"),
    ]);
    using server = serve(
      () =>
        new Response(
          new ReadableStream({
            async pull(controller) {
              controller.enqueue(part);
              await Bun.sleep(100);
            },
          }),
          { headers: { "content-type": "multipart/x-mixed-replace; boundary=frame" } },
        ),
    );
    await using video = await VideoSource.open(server.url, { durationMs: 1500, policy: "all" });
    expect(video.info).toMatchObject({ isLive: true, hasTimes: false, rate: undefined });
    const started = performance.now();
    const times: number[] = [];
    for await (using frame of video) times.push(frame.timestampMs);
    const elapsed = performance.now() - started;
    // Such a stream has no times: a frame's is that of its arrival, and not a 25th of a second after the one before.
    expect(times[0]).toBe(0);
    // It ends with the first frame behind its duration, which is none of it.
    expect(elapsed).toBeGreaterThanOrEqual(1500);
    expect(times.at(-1)!).toBeLessThan(1500);
    expect(times.length).toBeGreaterThan(3);
    expect(times.length).toBeLessThan(20);
    await using slow = await VideoSource.open(server.url, { durationMs: 1200, fps: 2, policy: "all" });
    const kept: number[] = [];
    for await (using frame of slow) kept.push(frame.timestampMs);
    expect(kept.length).toBeGreaterThanOrEqual(2);
    expect(kept.length).toBeLessThanOrEqual(3);
    expect(kept[1]!).toBeGreaterThanOrEqual(500);
  },
  120_000,
);

test.skipIf(isFfmpegMissing)("an address that does not answer is refused in time", async () => {
  const deaf = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  try {
    const opening = VideoSource.open(`rtsp://127.0.0.1:${deaf.port}/x`, { openTimeoutMs: 300 });
    expect(await opening.catch((error: Error) => error.message)).toContain("it did not answer within 300 ms");
  } finally {
    deaf.stop(true);
  }
});

test.skipIf(isFfmpegMissing)(
  "an RTSP stream is played over TCP, and again after the server hung up",
  async () => {
    using server = serveRtsp(stream, { seconds: 1 });
    await using video = await VideoSource.open(server.url, { policy: "all", reconnect: { firstDelayMs: 20 } });
    expect(video.info).toMatchObject({ width: 64, height: 48, codec: "h264", isLive: true });
    expect(video.name).not.toContain("secret");
    let frames = 0;
    let last = -1;
    for await (using frame of video) {
      expect(frame.format).toBe("NV12");
      expect(frame.timestampMs).toBeGreaterThan(last);
      last = frame.timestampMs;
      frames += 1;
      if (frames === 90) break;
    }
    expect(video.reconnects).toBeGreaterThanOrEqual(1);
    // One to look at the stream, the others to play it.
    expect(server.plays).toBe(video.reconnects + 2);
  },
  120_000,
);

test.skipIf(isFfmpegMissing)(
  "an RTSP stream that falls silent is opened again",
  async () => {
    using server = serveRtsp(stream, { seconds: 1, hangsUp: false });
    await using video = await VideoSource.open(server.url, { ...QUICK, stallMs: 1500 });
    let frames = 0;
    for await (using _ of video) {
      frames += 1;
      if (video.reconnects >= 1) break;
    }
    expect(frames).toBeGreaterThan(30);
  },
  120_000,
);

test.skipIf(isFfmpegMissing)(
  "ffprobe and ffmpeg end with a process that is killed, though their server be silent",
  async () => {
    const silent = (): Response => new Response(new ReadableStream({ async pull() {} }));
    // The first is asked by ffprobe; of the second video ffprobe gets all, and ffmpeg nothing.
    using server = serve((connection) => (connection === 1 ? chunked() : silent()));
    const { port } = new URL(server.url);
    const module = join(import.meta.dir, "../../src/video/video-source.ts");
    const script = `const [platform] = process.argv.slice(-1);
      Object.defineProperty(process, "platform", { value: platform });
      const { VideoSource } = await import(${JSON.stringify(module)});
      const video = await VideoSource.open(${JSON.stringify(server.url)}, { stallMs: 60_000, live: true });
      for await (const _ of video);`;
    for (const [connections, platform] of [
      [1, "linux"],
      [3, "linux"],
      [4, "darwin"],
    ] as const) {
      const child = Bun.spawn([process.execPath, "-e", script, platform], {
        stdout: "ignore",
        stderr: "ignore",
        // Of macOS' C library nothing is used.
        env: { ...process.env, ...(platform === "darwin" ? { BUN_TENSORRT_LIBC: "/nowhere" } : {}) },
      });
      while (server.connections() < connections) await Bun.sleep(20);
      expect(programsOn(port).length).toBe(1);
      child.kill("SIGKILL");
      await child.exited;
      for (let tries = 0; programsOn(port).length > 0 && tries < 100; tries++) await Bun.sleep(20);
      expect(programsOn(port)).toEqual([]);
    }
  },
  120_000,
);
