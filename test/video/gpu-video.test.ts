import { expect, setDefaultTimeout } from "bun:test";
import { fakeCudaTest } from "../support/fake-cuda.ts";
import { isFfmpegMissing } from "../support/videos.ts";

setDefaultTimeout(120_000);

/** A program that reads videos of made-up streams through the stand-in for libnvcuvid; `tell` collects what it prints as JSON. */
function program(body: string): string {
  return `
    import { recordedVideo } from "./test/support/recorded-video.ts";
    import { picture, pictureOf, sequence, standIn } from "./test/support/nvdec-stream.ts";
    const told = [];
    const tell = (...values) => told.push(...values);
    // B pictures come behind the P picture that is shown after them.
    const stream = (count, form = {}) => {
      const data = [], packets = [], frames = [];
      for (let at = 0; at < count; at++) {
        const bytes = picture(16 + 4 * at);
        data.push(at === 0 ? Buffer.concat([sequence({ width: 322, height: 242, ...form }), bytes]) : bytes);
        packets.push([at * 40_000, data[at].length]);
        frames.push([at * 40_000, ""]);
      }
      return { name: "h264-cropped", codec: "h264", bits: 8, data, packets, frames };
    };
    // As of a camera: a parameter set of H.264 in front, which says 320x240 and what is kept.
    const header = Buffer.from([0, 0, 1, 0x67, 0x42, 0x00, 0x0d, 0xf6, 0x0a, 0x0f, 0xc8]);
    const camera = (count) => {
      const made = stream(count);
      made.data[0] = Buffer.concat([sequence({ width: 320, height: 240 }), header, picture(16)]);
      return { ...made, name: "camera" };
    };
    const valueOf = ({ resident, width, height }) => (pictureOf({ ...resident, format: "NV12", width, height }) - 16) / 4;
    ${body}
    const { made, ...left } = standIn();
    console.log(JSON.stringify({ told, left: Object.values(left).join(" ") }));
  `;
}

function result(output: string): unknown[] {
  const { told, left } = JSON.parse(output.split("\n").at(-1)!) as { told: unknown[]; left: string };
  expect(left).toBe("0 0 0 0");
  return told;
}

fakeCudaTest(
  "VideoSource gives the frames of NVDEC in order, from device memory, of two videos at once",
  async (run) => {
    const output = await run(
      program(`
      const read = async (options) => {
        await using video = await recordedVideo(stream(40), { rounds: 2 }, options);
        const seen = [];
        for await (using frame of video) seen.push([frame.index, frame.timestampMs, valueOf(frame), frame.resident.bits].join());
        return [seen, video.read, video.copied, video.decoder];
      };
      tell(...await Promise.all([read({}), read({ every: 3, startMs: 400, durationMs: 800 })]));
    `),
    );
    const [all, some] = result(output) as [string[], number, number, string][];
    expect(all).toEqual([Array.from({ length: 80 }, (_, at) => [at, at * 40, at % 40, 8].join()), 80, 0, "gpu"]);
    expect(some).toEqual([
      Array.from({ length: 7 }, (_, at) => [at, 400 + at * 120, 10 + at * 3, 8].join()),
      7,
      0,
      "gpu",
    ]);
  },
);

fakeCudaTest(
  "frames that are kept beyond the surfaces are copied on the device, and outlive their video",
  async (run) => {
    const output = await run(
      program(`
      const video = await recordedVideo(stream(40));
      const kept = await Array.fromAsync(video);
      tell(kept.length, kept.slice(0, 10).map(valueOf), new Set(kept.map(({ resident }) => resident.pixels)).size);
      await video.close();
      tell(kept[3].data.length, kept[3].resident ?? "on the host", video.copied);
      kept.forEach((frame) => frame.release());
      // The last of them takes the decoder with it.
      while (standIn().locks > 0) await Bun.sleep(1);
    `),
    );
    const firstTen = Array.from({ length: 10 }, (_, at) => at);
    expect(result(output)).toEqual([40, firstTen, 40, (322 * 242 * 3) / 2, "on the host", 1]);
  },
);

fakeCudaTest(
  "cameras that are opened together begin together, once their decoders are made, and find them again",
  async (run) => {
    const code = program(`
    const reopened = { policy: "all", reconnect: { firstDelayMs: 1 } };
    const read = async (_, at) => {
      await using video = await recordedVideo(camera(10), { rate: 50, phaseMs: at }, reopened);
      const seen = [];
      for await (using frame of video) {
        if (seen.length === 0) seen.push(standIn().made + " made");
        seen.push(frame.index);
        if (seen.length === 25) break;
      }
      return [...seen, video.reconnects].join(" ");
    };
    tell(...await Promise.all(Array.from({ length: 8 }, read)));
    tell(standIn().made);
  `);
    const told = result(await run(code, { FAKE_NVDEC_CREATE_US: "50000", FAKE_NVDEC_ONE_AT_A_TIME: "1" }));
    // More than are kept of videos that are closed: each finds its decoder again.
    const seen = ["8 made", ...Array.from({ length: 24 }, (_, at) => at), 2].join(" ");
    expect(told).toEqual([...Array<string>(8).fill(seen), 8]);
  },
);

fakeCudaTest(
  "the last videos that close hold up nobody: their decoders go on threads, and are gone when they are closed",
  async (run) => {
    const code = program(`
    let last = performance.now();
    let longest = 0;
    const watch = setInterval(() => {
      longest = Math.max(longest, performance.now() - last);
      last = performance.now();
    }, 1);
    const close = async (videos) => {
      last = performance.now();
      longest = 0;
      await Promise.all(videos.map((video) => video.close()));
      tell(Math.max(longest, performance.now() - last) < 60, standIn().decoders);
    };
    // While the driver makes the decoders of cameras, one after the other.
    const cameras = await Promise.all([0, 1].map(() => recordedVideo(camera(10), { rate: 50 })));
    const loops = cameras.map(async (camera) => { for await (using _ of camera) tell("a frame"); });
    await Bun.sleep(30);
    await close(cameras);
    await Promise.all(loops);
    const videos = await Promise.all([0, 1, 2].map(() => recordedVideo(stream(10))));
    const frames = await Promise.all(videos.map(async (video) => (await video[Symbol.asyncIterator]().next()).value));
    tell(standIn().decoders);
    frames.forEach((frame) => frame.release());
    await close(videos);
    clearInterval(watch);
  `);
    const driver = { FAKE_NVDEC_CREATE_US: "100000", FAKE_NVDEC_DESTROY_US: "100000", FAKE_NVDEC_ONE_AT_A_TIME: "1" };
    expect(result(await run(code, driver))).toEqual([true, 0, 3, true, 0]);
  },
);

fakeCudaTest(
  "a video that is opened while the last one closes is read, and a process that ends then destroys",
  async (run) => {
    const code = program(`
    const first = async () => {
      const video = await recordedVideo(stream(10));
      const frame = (await video[Symbol.asyncIterator]().next()).value;
      tell(valueOf(frame));
      frame.release();
      return video;
    };
    const listeners = process.listenerCount("exit");
    // While the thread ends, while its decoder is destroyed, and between.
    for (const pauseMs of [0, 5, 15]) {
      const closing = (await first()).close();
      await Bun.sleep(pauseMs);
      const next = (await first()).close();
      await Promise.all([closing, next]);
      tell(standIn().decoders, process.listenerCount("exit") - listeners);
    }
    const last = await Promise.all([first(), first()]);
    for (const video of last) void video.close();
    // Until nobody uses the engines.
    while (standIn().decoders > 0 && process.listenerCount("exit") === listeners) await Bun.sleep(1);
    process.on("exit", () => {
      const { made, ...left } = standIn();
      console.log(JSON.stringify({ told, left: Object.values(left).join(" ") }));
    });
    process.exit(0);
  `);
    const driver = { FAKE_NVDEC_CREATE_US: "20000", FAKE_NVDEC_DESTROY_US: "20000", FAKE_NVDEC_ONE_AT_A_TIME: "1" };
    const round = [0, 0, 0, 0];
    expect(result(await run(code, driver))).toEqual([...round, ...round, ...round, 0, 0]);
  },
);

fakeCudaTest("the first videos are opened while the GPU is set up, and nothing waits meanwhile", async (run) => {
  const output = await run(
    program(`
      let last = performance.now(), longestMs = 0;
      const timer = setInterval(() => {
        const now = performance.now();
        longestMs = Math.max(longestMs, now - last);
        last = now;
      }, 5);
      const beginning = last;
      const videos = await Promise.all([1, 2, 3, 4].map(() => recordedVideo(stream(4))));
      const tookMs = performance.now() - beginning;
      await Bun.sleep(20);
      clearInterval(timer);
      for (const video of videos) await video.close();
      tell(longestMs, tookMs);
    `),
    { FAKE_SET_UP_MS: "2000" },
  );
  const [longestMs, tookMs] = result(output) as [number, number];
  expect(longestMs).toBeLessThan(1500);
  // Once for all of them.
  expect(tookMs).toBeGreaterThanOrEqual(2000);
});

fakeCudaTest("a video whose device is lost closes all the same, and leaves no decoder behind", async (run) => {
  const output = await run(
    program(`
    import { setLogSink } from "./src/core/log.ts";
    import { cudaRuntime } from "./src/ffi/cuda-runtime.ts";
    const lines = [];
    setLogSink((level, text) => { if (level === "warn") lines.push(text.split(":")[0]); });
    const rejected = [];
    process.on("unhandledRejection", (error) => rejected.push(error.message));
    const runtime = cudaRuntime();
    const destroy = runtime.cudaEventDestroy;
    // Of the frames' event, and of the decoder's only.
    for (const passed of [0, 1]) {
      const video = await recordedVideo(stream(10));
      (await video[Symbol.asyncIterator]().next()).value.release();
      let calls = 0;
      runtime.cudaEventDestroy = (event) => (calls++ < passed ? destroy(event) : 719);
      await video.close();
      runtime.cudaEventDestroy = destroy;
    }
    while (standIn().locks > 0) await Bun.sleep(1);
    tell(lines, rejected);
  `),
  );
  const fault = "NvdecDecoder (h264) did not close";
  expect(result(output)).toEqual([[fault, fault], []]);
});

fakeCudaTest("a camera that is closed while its decoder is made ends its reader's loop", async (run) => {
  const code = program(`
    const read = async () => {
      const video = await recordedVideo(camera(10), { rate: 50 });
      setTimeout(() => void video.close(), 50);
      for await (using _ of video) tell("a frame");
      return video.read;
    };
    tell(...await Promise.all(Array.from({ length: 6 }, read)), standIn().made < 6);
  `);
  expect(result(await run(code, { FAKE_NVDEC_CREATE_US: "100000" }))).toEqual([0, 0, 0, 0, 0, 0, true]);
});

fakeCudaTest("a video that NVDEC does not decode is refused with its reason and a way out", async (run) => {
  const output = await run(
    program(`
      const failure = async (work) => { try { await work(); return "nothing"; } catch (error) { return error.name + ": " + error.message; } };
      tell(await failure(() => recordedVideo({ ...stream(3), codec: "mjpeg" })));
      tell(await failure(() => recordedVideo(stream(3), {}, { pixels: "rgb" })));
      tell(await failure(async () => {
        await using video = await recordedVideo(stream(3, { chroma: 3 }));
        for await (using frame of video) tell(frame.index);
      }));
    `),
  );
  expect(result(output)).toEqual([
    'UnsupportedVideoError: Cannot decode "h264-cropped" on the GPU: GPUs do not decode mjpeg\nHint: decode: "cpu" (--decode cpu) lets ffmpeg do it',
    expect.stringContaining('GPUs decode to NV12, and `pixels` is "rgb"'),
    expect.stringMatching(/^UnsupportedVideoError: Cannot decode the video on the GPU: .*4:4:4/),
  ]);
});

/** A program that reads a real stream of 60 frames from servers, decoded by the stand-in and by ffmpeg: `both` tells what each gave. */
function liveProgram(body: string): string {
  return program(`
    import { mkdtempSync, readFileSync, rmSync } from "node:fs";
    import { setLogSink } from "./src/core/log.ts";
    import { VideoSource } from "./src/video/video-source.ts";
    import { serveRtsp } from "./test/support/rtsp-server.ts";
    import { FAST, ffmpeg, testVideo } from "./test/support/videos.ts";
    const folder = mkdtempSync("/tmp/bun-tensorrt-gpu-live-");
    await testVideo(folder + "/clip.mp4", "64x48", 60);
    await ffmpeg("-i", folder + "/clip.mp4", ...FAST, "-g", "10", "-f", "mpegts", folder + "/clip.ts");
    const bytes = readFileSync(folder + "/clip.ts");
    rmSync(folder, { recursive: true });
    /** Gives each connection what it is to get: nobody knows where the stream ends. */
    const serve = (answer) => {
      let connections = 0;
      const server = Bun.serve({ hostname: "127.0.0.1", port: 0, idleTimeout: 0, fetch: () => answer(connections++) });
      return { url: "http://user:secret@127.0.0.1:" + server.port + "/live.ts", [Symbol.dispose]: () => void server.stop(true) };
    };
    const body = (isEnded) => new Response(new ReadableStream({ start(controller) { controller.enqueue(bytes); if (isEnded) controller.close(); } }));
    const QUICK = { live: true, policy: "all", reconnect: { firstDelayMs: 20 } };
    const lines = [];
    setLogSink((level, text) => level === "warn" && lines.push(text));
    const read = async (url, options, isEnough = () => false) => {
      const port = ":" + new URL(url).port + "/";
      await using video = await VideoSource.open(url, { ...QUICK, ...options });
      const times = [];
      let isInOrder = true;
      const error = await (async () => {
        for await (using frame of video) {
          isInOrder &&= frame.index === times.length && frame.timestampMs > (times.at(-1) ?? -1);
          times.push(frame.timestampMs);
          if (isEnough(video, times.length)) return "enough";
        }
        return "ended";
      })().catch(({ name, message }) => name + ": " + message.replaceAll(port, "/"));
      const warnings = lines.filter((line) => line.includes(port)).map((line) => line.replace(/\\d+/g, "N"));
      const { decoder, copied, reconnects, dropped, info } = video;
      return { frames: times.length, firstMs: times[0], isInOrder, error, reconnects, dropped, copied, decoder, isLive: info.isLive, warnings: [...new Set(warnings)], told: info.sequence };
    };
    const both = (answer, options, isEnough) => ["gpu", "cpu"].map(async (decode) => {
      using server = answer();
      return await read(server.url, { ...options, decode }, isEnough);
    });
    ${body}
  `);
}

/** What a reader saw of a source. */
interface Seen {
  readonly decoder: string;
  readonly copied: number;
  readonly told: object;
}

if (!isFfmpegMissing) {
  fakeCudaTest(
    "live sources on the GPU drop, come back, stall and are given up as those that ffmpeg decodes",
    async (run) => {
      const output = await run(
        liveProgram(`
        const gone = { attempts: 2, firstDelayMs: 10 };
        const play = async (hangsUp) => {
          using server = serveRtsp(bytes, { seconds: 1, hangsUp });
          const options = { decode: "gpu", live: undefined, stallMs: 3000 };
          const seen = await read(server.url, options, ({ reconnects }) => reconnects > 0);
          return { ...seen, isWhole: seen.frames > 30 && seen.frames <= 62, plays: server.plays };
        };
        tell(...await Promise.all([
          ...both(() => serve(() => body(true)), {}, (_, frames) => frames === 150),
          ...both(() => serve(() => body(true)), { reconnect: false }),
          ...both(() => serve((at) => (at < 2 ? body(true) : new Response("gone", { status: 404 }))), { reconnect: gone }),
          ...both(() => serve((at) => body(at !== 1)), { stallMs: 3000 }, ({ reconnects }) => reconnects > 0),
          ...[true, false].map(play),
        ]));
      `),
      );
      expect(output).not.toContain("secret");
      const all = result(output) as Seen[];
      const [http, rtsp] = [all.slice(0, 8), all.slice(8)];
      const gpu = http.filter((_, at) => at % 2 === 0);
      const cpu = http.filter((_, at) => at % 2 === 1);
      expect(gpu.map(({ decoder, copied }) => [decoder, copied])).toEqual(gpu.map(() => ["gpu", 0]));
      expect(gpu.map((one) => ({ ...one, decoder: "cpu" }))).toEqual(cpu);
      const [dropped, ended, gone, stalled] = gpu;
      expect(dropped).toMatchObject({ frames: 150, firstMs: 0, isInOrder: true, reconnects: 2, isLive: true });
      expect(dropped!.told).toMatchObject({ width: 64, height: 48, tellsOrder: true });
      expect(ended).toMatchObject({ frames: 60, error: "ended", reconnects: 0 });
      const given = expect.stringMatching(/^VideoError: .*did not come back in 2 tries \(/);
      expect(gone).toMatchObject({ frames: 60, reconnects: 2, error: given });
      const silence = expect.arrayContaining([expect.stringContaining("gave nothing for")]);
      expect(stalled).toMatchObject({ reconnects: 1, warnings: silence });
      // Over TCP, after the server hung up, and after it fell silent.
      const seen = { isWhole: true, isInOrder: true, isLive: true, reconnects: 1, plays: 3, decoder: "gpu", copied: 0 };
      expect(rtsp).toEqual([expect.objectContaining(seen), expect.objectContaining(seen)]);
    },
  );

  fakeCudaTest("a source for which the driver has no further decoder is decoded by ffmpeg, or says so", async (run) => {
    const code = liveProgram(`
      let waiting = 2;
      let started = Promise.withResolvers();
      const play = async (decode) => {
        using server = serve(() => body(true));
        const video = await VideoSource.open(server.url, { live: true, policy: "all", reconnect: false, decode });
        video.offerDevices([0]);
        let frames = 0;
        for await (using _ of video) {
          if (frames++ > 0) continue;
          if (--waiting === 0) started.resolve();
          await started.promise;
        }
        await video.close();
        await video.close();
        return [video.decoder, frames].join(" ");
      };
      tell((await Promise.all([play("auto"), play("auto")])).sort());
      // The one that plays does so until the other is refused.
      waiting = Number.POSITIVE_INFINITY;
      started = Promise.withResolvers();
      const refused = (error) => {
        started.resolve();
        throw error;
      };
      tell(await Promise.allSettled([play("gpu").catch(refused), play("gpu").catch(refused)]).then((all) => all.map(({ reason }) => reason?.call ?? "played").sort()));
    `);
    const told = result(await run(code, { FAKE_NVDEC_MOST: "1" }));
    expect(told).toEqual([
      ["cpu 60", "gpu 60"],
      ["cuvidCreateDecoder", "played"],
    ]);
  });

  fakeCudaTest("pixels of frames on the GPU come down only for those that are drawn, once each", async (run) => {
    const output = await run(
      liveProgram(`
        import { toyDetector } from "./test/support/toy-detector.ts";
        import { paintDetections } from "./src/tasks/detect/draw.ts";
        import { detectVideo } from "./src/video/detect-video.ts";
        import { VideoSink } from "./src/video/video-sink.ts";
        const out = mkdtempSync("/tmp/bun-tensorrt-gpu-save-");
        await testVideo(out + "/in.mp4", "64x48", 60);
        /** Y in the middle of each frame of a video. */
        const levels = async (path) => {
          const child = Bun.spawn(["ffmpeg", "-v", "error", "-i", path, "-vf", "extractplanes=y,crop=2:2:30:20", "-f", "rawvideo", "-pix_fmt", "gray", "-"], { stdout: "pipe" });
          const bytes = await child.stdout.bytes();
          return Array.from({ length: bytes.length / 4 }, (_, at) => bytes[4 * at]);
        };
        // Of a model that reads its frames on GPU 0, nothing comes down by itself.
        const detector = { backends: [{ device: 0 }], async *stream(frames) { for await (const _ of frames) yield { detections: [] }; } };
        await using video = await VideoSource.open(out + "/in.mp4");
        await using sink = await VideoSink.open(out + "/some.mp4", { width: 64, height: 48, quality: 4 });
        for await (const { frame, index, detections } of detectVideo(detector, video)) {
          if (index % 5 !== 0) continue;
          paintDetections(frame, detections);
          await sink.write(frame, frame.timestampMs);
        }
        await sink.finish();
        tell([video.decoder, video.read, video.copied].join(" "), await levels(out + "/some.mp4"));
        await Bun.write(out + "/toy.onnx", toyDetector());
        const words = ["detect", "--model", out + "/toy.onnx", "--backend", "cpu", "--decode", "gpu", "--format", "ndjson", "--save", out + "/all.mp4", out + "/in.mp4"];
        const child = Bun.spawn([process.execPath, "src/cli/main.ts", ...words], { stdout: "pipe", stderr: "pipe" });
        const printed = (await child.stdout.text()).trim().split("\\n").map((line) => JSON.parse(line));
        tell(await child.exited, printed.map(({ index }) => index), await levels(out + "/all.mp4"));
        rmSync(out, { recursive: true });
      `),
    );
    const told = result(output) as [string, number[], number, number[], number[]];
    // The stand-in's n-th frame is of this level, and up to 3 more; the encoder adds its own.
    const nearest = (levels: number[], every: number): number => {
      return Math.max(...levels.map((level, at) => Math.abs(level - (17 + at * every + 1.5))));
    };
    const [some, drawn, code, indices, all] = told;
    expect([some, drawn.length, code, all.length]).toEqual(["gpu 60 12", 12, 0, 60]);
    expect(indices).toEqual(Array.from({ length: 60 }, (_, at) => at));
    expect(nearest(drawn, 5)).toBeLessThan(2);
    expect(nearest(all, 1)).toBeLessThan(1);
  });
}
