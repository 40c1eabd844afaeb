import { afterEach, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { VideoError } from "../../src/core/errors.ts";
import { setLogSink } from "../../src/core/log.ts";
import { byteLengthOf } from "../../src/image/image.ts";
import { tightRgb } from "../../src/image/nv12.ts";
import type { VideoOptions } from "../../src/video/video-options.ts";
import { VideoSource } from "../../src/video/video-source.ts";
import { fileFolder } from "../support/folder.ts";
import { childrenNamed, countFrames, FAST, ffmpeg, isFfmpegMissing, testVideo } from "../support/videos.ts";

setDefaultTimeout(120_000);

const path = fileFolder("video");
const warnings: string[] = [];

beforeAll(async () => {
  if (isFfmpegMissing) return;
  await testVideo(path("cfr.mp4"), "64x48", 90);
  await testVideo(path("large.mp4"), "320x240", 60, 25);
});

afterEach(() => {
  setLogSink(undefined);
  warnings.length = 0;
  expect(childrenNamed("ffmpeg")).toEqual([]);
});

function listen(): void {
  setLogSink((level, text) => level === "warn" && warnings.push(text));
}

/** A server of one file that names its whole length, and hangs up in the middle. */
function serveHalf(bytes: Uint8Array): { readonly url: string } & Disposable {
  const half = Math.floor(bytes.length / 2);
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", (request) => {
      const at = Number(/Range: bytes=(\d+)-/.exec(request.toString())?.[1] ?? 0);
      const range = `Content-Range: bytes ${at}-${bytes.length - 1}/${bytes.length}\r\nAccept-Ranges: bytes`;
      socket.write(`HTTP/1.1 206 Partial Content\r\n${range}\r\nContent-Length: ${bytes.length - at}\r\n\r\n`);
      socket.end(bytes.subarray(at, Math.max(at, half)));
    });
  }).listen(0, "127.0.0.1");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    [Symbol.dispose]: () => void server.close(),
  };
}

interface Seen {
  readonly times: number[];
  readonly means: number[];
  readonly video: VideoSource;
}

/** Read all, and the mean of the first channel of each frame's middle pixel. */
async function readAll(source: string, options: VideoOptions = {}): Promise<Seen> {
  await using video = await VideoSource.open(source, options);
  const times: number[] = [];
  const means: number[] = [];
  for await (using frame of video) {
    expect(frame.index).toBe(times.length);
    expect(frame.data.length).toBe(byteLengthOf(frame));
    expect(frame.format).toBe(options.pixels === "rgb" ? "RGB" : "NV12");
    times.push(frame.timestampMs);
    means.push(frame.data[Math.floor(frame.data.length / 2)]!);
  }
  return { times, means, video };
}

test.skipIf(isFfmpegMissing)("VideoSource hands out every frame of a constant rate, with its time", async () => {
  const { times, video } = await readAll(path("cfr.mp4"));
  expect(times.length).toBe(await countFrames(path("cfr.mp4")));
  for (const [index, time] of times.entries()) expect(time).toBeCloseTo((index * 1000) / 30, 2);
  expect(video.info).toMatchObject({
    width: 64,
    height: 48,
    frames: 90,
    hasConstantRate: true,
    isLive: false,
    rotation: 0,
  });
  expect(video.info.rate).toEqual({ numerator: 30, denominator: 1 });
  expect([video.expected, video.read, video.dropped, video.reconnects]).toEqual([90, 90, 0, 0]);
});

test.skipIf(isFfmpegMissing)("VideoSource passes the frames of a variable rate through as they are", async () => {
  // Frames 0 to 9 at 30 a second, then every third one.
  const select = "select='lt(n,10)+not(mod(n,3))'";
  await ffmpeg("-i", path("cfr.mp4"), "-vf", select, "-fps_mode", "vfr", ...FAST, path("vfr.mp4"));
  const { times, video } = await readAll(path("vfr.mp4"));
  const kept = Array.from({ length: 90 }, (_, at) => at).filter((at) => at < 10 || at % 3 === 0);
  expect(times.length).toBe(kept.length);
  for (const [index, at] of kept.entries()) expect(times[index]!).toBeCloseTo((at * 1000) / 30, 1);
  expect(video.info.hasConstantRate).toBe(false);
});

test.skipIf(isFfmpegMissing)(
  "VideoSource takes frames that are closer than the rate as they are, and says nothing",
  async () => {
    const words = ["-vf", "setpts='PTS-0.6*mod(N,2)/(30*TB)'", "-fps_mode", "passthrough", "-enc_time_base", "1:1000"];
    await ffmpeg("-i", path("cfr.mp4"), ...words, ...FAST, path("pairs.mkv"));
    listen();
    const { times, video } = await readAll(path("pairs.mkv"));
    expect(times.length).toBe(90);
    expect(Math.min(...times.slice(1).map((time, at) => time - times[at]!))).toBeLessThan(15);
    expect(warnings).toEqual([]);
    // The container's rate is what its first frames let expect.
    expect(video.info.hasConstantRate).toBe(false);
  },
);

test.skipIf(isFfmpegMissing)("VideoSource gives odd sizes and exact colours", async () => {
  const colour = ["-f", "lavfi", "-i", "color=c=0xC83264:size=641x361:rate=5,format=gbrp", "-frames:v", "3"];
  await ffmpeg(...colour, "-c:v", "libx264rgb", "-qp", "0", path("odd.mkv"));
  await using video = await VideoSource.open(path("odd.mkv"), { pixels: "rgb" });
  let frames = 0;
  for await (using frame of video) {
    expect([frame.width, frame.height, frame.pitchBytes, frame.format]).toEqual([641, 361, 1923, "RGB"]);
    for (const at of [0, 640, 641 * 361 - 1])
      expect([...frame.data.subarray(at * 3, at * 3 + 3)]).toEqual([200, 50, 100]);
    frames += 1;
  }
  expect(frames).toBe(3);
});

test.skipIf(isFfmpegMissing)(
  "VideoSource gives NV12 of odd sizes, as light as the same frames in RGB",
  async () => {
    const source = "testsrc2=size=641x361:rate=5";
    await ffmpeg("-f", "lavfi", "-i", source, "-frames:v", "3", "-c:v", "libx264", "-qp", "0", path("odd420.mkv"));
    for (const [name, size] of [
      ["odd420.mkv", undefined],
      ["cfr.mp4", [33, 17]],
      ["cfr.mp4", [1, 1]],
    ] as const) {
      const frames: Uint8Array[][] = [[], []];
      for (const [at, pixels] of (["nv12", "rgb"] as const).entries()) {
        const options = { pixels, durationMs: 1000, ...(size === undefined ? {} : { size }) };
        await using video = await VideoSource.open(path(name), options);
        for await (using frame of video) frames[at]!.push(tightRgb(frame).slice());
      }
      expect(frames[0]!.length).toBe(frames[1]!.length);
      for (const [index, found] of frames[0]!.entries()) {
        const wanted = frames[1]![index]!;
        expect(found.length).toBe(wanted.length);
        let sum = 0;
        const grey = (rgb: Uint8Array, at: number): number =>
          0.3 * rgb[at]! + 0.59 * rgb[at + 1]! + 0.11 * rgb[at + 2]!;
        for (let at = 0; at < found.length; at += 3) sum += Math.abs(grey(found, at) - grey(wanted, at));
        expect(sum / (found.length / 3)).toBeLessThan(3);
      }
    }
  },
  120_000,
);

test.skipIf(isFfmpegMissing)("VideoSource gives NV12 of BT.2020 and of grey that says what it is", async () => {
  const input = ["-f", "lavfi", "-i", "color=c=0x30C060:size=320x240:rate=5,format=rgb24", "-frames:v", "1"];
  const wide = "scale=out_color_matrix=bt2020:out_range=tv,format=yuv444p";
  await ffmpeg(...input, "-vf", wide, "-colorspace", "bt2020nc", "-c:v", "libx264", "-qp", "0", path("wide.mkv"));
  await ffmpeg(...input, "-vf", "format=gray", "-c:v", "ffv1", path("grey.mkv"));
  for (const [name, level] of [
    ["wide.mkv", [48, 192, 96]],
    ["grey.mkv", [138, 138, 138]],
  ] as const) {
    await using video = await VideoSource.open(path(name));
    for await (using frame of video) {
      expect(frame.yuvStandard).toBe(name === "wide.mkv" ? "BT.2020" : "BT.601");
      const rgb = tightRgb(frame);
      for (const [at, wanted] of level.entries()) expect(Math.abs(rgb[3000 + at]! - wanted)).toBeLessThan(5);
    }
  }
});

for (const [name, size, words] of [
  ["limited BT.601", "320x240", ["-colorspace", "smpte170m", "-color_range", "tv"]],
  ["limited BT.709", "1280x720", ["-colorspace", "bt709", "-color_range", "tv"]],
  ["limited BT.709 that does not say so", "1280x720", []],
  ["full BT.601, as JPEG has it", "320x240", ["-colorspace", "bt470bg", "-color_range", "pc"]],
] as const) {
  test.skipIf(isFfmpegMissing)(`VideoSource turns ${name} into the colour it was made from`, async () => {
    const matrix = name.includes("709") ? "bt709" : "bt601";
    const range = name.startsWith("full") ? "pc" : "tv";
    const filter = `format=rgb24,scale=out_color_matrix=${matrix}:out_range=${range},format=${range === "pc" ? "yuvj444p" : "yuv444p"}`;
    const input = ["-f", "lavfi", "-i", `color=c=0x30C060:size=${size}:rate=5,format=rgb24`, "-frames:v", "1"];
    await ffmpeg(...input, "-vf", filter, ...words, "-c:v", "libx264", "-qp", "0", path("colour.mkv"));
    for (const pixels of ["nv12", "rgb"] as const) {
      await using video = await VideoSource.open(path("colour.mkv"), { pixels });
      for await (using frame of video) {
        const rgb = tightRgb(frame);
        for (const [at, level] of [48, 192, 96].entries()) expect(Math.abs(rgb[3000 + at]! - level)).toBeLessThan(4);
        if (pixels === "rgb") continue;
        expect(frame.yuvStandard).toBe(matrix === "bt709" ? "BT.709" : "BT.601");
        expect(frame.yuvRange).toBe(range === "pc" ? "full" : "limited");
      }
      expect(video.read).toBe(1);
    }
  });
}

test.skipIf(isFfmpegMissing)("VideoSource turns frames by what the file says of its rotation", async () => {
  // Left half white, right half black; turned clockwise, white is at the top.
  const draw = "color=black:size=64x32:rate=5,drawbox=x=0:y=0:w=32:h=32:color=white:t=fill";
  await ffmpeg("-f", "lavfi", "-i", draw, "-frames:v", "2", ...FAST, path("flat.mp4"));
  await ffmpeg("-i", path("flat.mp4"), "-c", "copy", "-metadata:s:v:0", "rotate=90", path("turned.mp4"));
  await using video = await VideoSource.open(path("turned.mp4"));
  expect(video.info).toMatchObject({ width: 32, height: 64 });
  const isWhiteOnTop = video.info.rotation === 90;
  for await (using frame of video) {
    expect([frame.width, frame.height]).toEqual([32, 64]);
    const [top, bottom] = [frame.data[10 * 32 + 16]!, frame.data[54 * 32 + 16]!];
    expect([top > 200, bottom > 200]).toEqual([isWhiteOnTop, !isWhiteOnTop]);
  }
});

test.skipIf(isFfmpegMissing)("a file that asks for an odd rotation, or for nonsense, keeps its size", async () => {
  await ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x32:rate=5", "-frames:v", "2", ...FAST, path("straight.mp4"));
  const file = Buffer.from(await Bun.file(path("straight.mp4")).bytes());
  // Nine numbers of a track's header: the matrix.
  const matrixAt = file.indexOf("tkhd") + 44;
  const read = async (numbers: readonly number[]) => {
    numbers.forEach((number, at) => void file.writeInt32BE(number, matrixAt + 4 * at));
    await Bun.write(path("odd.mp4"), file);
    await using video = await VideoSource.open(path("odd.mp4"), { pixels: "rgb" });
    const [frame] = await Array.fromAsync(video);
    const { width, height, data } = frame!;
    return { rotation: video.info.rotation, width, height, data: Buffer.from(data).toString("hex") };
  };
  const none = await read([0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000]);
  expect(none).toMatchObject({ rotation: 0, width: 64, height: 32 });
  expect(await read(Array<number>(9).fill(0))).toEqual(none);
  const { data, ...odd } = await read(Array<number>(9).fill(0x10000));
  expect(odd).toEqual({ rotation: 45, width: 64, height: 32 });
  const shown = ["-vframes", "1", "-pix_fmt", "rgb24", "-f", "rawvideo", "-y", path("odd.rgb")];
  await ffmpeg("-i", path("odd.mp4"), ...shown);
  expect(data).toBe(Buffer.from(await Bun.file(path("odd.rgb")).bytes()).toString("hex"));
});

test.skipIf(isFfmpegMissing)(
  "VideoSource takes a part: start, duration, every n-th, frames a second, another size",
  async () => {
    const part = await readAll(path("cfr.mp4"), { startMs: 1000, durationMs: 500 });
    expect(part.times.length).toBe(15);
    expect(part.times[0]).toBeCloseTo(1000, 2);
    expect(part.video.expected).toBe(15);
    const third = await readAll(path("cfr.mp4"), { every: 3 });
    expect(third.times.length).toBe(30);
    expect(third.times[1]).toBeCloseTo(100, 2);
    expect(third.video.expected).toBe(30);
    const slow = await readAll(path("cfr.mp4"), { fps: 7 });
    expect(slow.times.length).toBe(21);
    expect((await readAll(path("cfr.mp4"), { fps: 60 })).times.length).toBe(90);
    const small = await readAll(path("cfr.mp4"), { size: [33, 17], durationMs: 100 });
    expect([small.video.width, small.video.height, small.times.length]).toEqual([33, 17, 3]);
  },
);

test.skipIf(isFfmpegMissing)("VideoSource scales what follows a change of resolution to the first size", async () => {
  await ffmpeg("-i", path("cfr.mp4"), ...FAST, "-f", "mpegts", path("one.ts"));
  await ffmpeg("-i", path("large.mp4"), ...FAST, "-f", "mpegts", path("two.ts"));
  writeFileSync(path("changing.ts"), Buffer.concat([readFileSync(path("one.ts")), readFileSync(path("two.ts"))]));
  const { times, video } = await readAll(path("changing.ts"));
  expect([video.width, video.height]).toEqual([64, 48]);
  expect(times.length).toBe(150);
});

test.skipIf(isFfmpegMissing)("VideoSource goes on after corrupt packets, and says so", async () => {
  await ffmpeg("-i", path("large.mp4"), ...FAST, "-g", "5", path("whole.mkv"));
  const bytes = readFileSync(path("whole.mkv"));
  for (let at = Math.floor(bytes.length / 4); at < bytes.length - 4000; at += 1500) bytes[at] = bytes[at]! ^ 0x55;
  writeFileSync(path("noisy.mkv"), bytes);
  listen();
  const { times } = await readAll(path("noisy.mkv"));
  expect(times.length).toBeGreaterThan(30);
  expect(warnings.length).toBeGreaterThan(0);
  expect(warnings.length).toBeLessThanOrEqual(12);
  expect(warnings[0]).toContain("noisy.mkv: ");
});

test.skipIf(isFfmpegMissing)(
  "VideoSource reads a truncated file as far as it goes, then throws a VideoError",
  async () => {
    await ffmpeg("-i", path("large.mp4"), "-c", "copy", "-movflags", "+faststart", path("fast.mp4"));
    await ffmpeg("-i", path("large.mp4"), "-c:v", "mjpeg", path("fast.avi"));
    for (const extension of ["mp4", "avi"]) {
      const bytes = readFileSync(path(`fast.${extension}`));
      const cut = path(`cut.${extension}`);
      writeFileSync(cut, bytes.subarray(0, Math.floor(bytes.length * 0.6)));
      let frames = 0;
      const read = async (): Promise<void> => {
        await using video = await VideoSource.open(cut);
        for await (using _ of video) frames += 1;
      };
      const error = await read().catch((reason: unknown) => reason as Error);
      expect(error).toBeInstanceOf(VideoError);
      expect((error as Error).message).toStartWith(
        `Cannot read the video ${JSON.stringify(cut)} to its end: the file stops before its end, after ${frames} of about`,
      );
      expect(frames).toBeGreaterThan(10);
      expect(frames).toBeLessThan(60);
    }
  },
);

test.skipIf(isFfmpegMissing)(
  "VideoSource takes an AVI whose writer could not say how long it is for whole",
  async () => {
    await ffmpeg("-i", path("large.mp4"), "-c:v", "mjpeg", path("whole.avi"));
    const bytes = readFileSync(path("whole.avi"));
    const { times } = await readAll(path("whole.avi"));
    for (const untold of [0, 0xffffffff]) {
      bytes.writeUInt32LE(untold, 4);
      writeFileSync(path("untold.avi"), bytes);
      expect((await readAll(path("untold.avi"))).times).toEqual(times);
    }
    expect(times.length).toBeGreaterThan(30);
  },
);

test.skipIf(isFfmpegMissing)("VideoSource tells of a file whose server hangs up before its end", async () => {
  const sent = ["large.mkv", "large.ts"] as const;
  for (const name of sent) {
    await ffmpeg("-i", path("large.mp4"), "-c", "copy", path(name));
    const bytes = readFileSync(path(name));
    using server = serveHalf(bytes);
    let frames = 0;
    const read = async (): Promise<void> => {
      await using video = await VideoSource.open(`${server.url}/${name}`, { live: false });
      for await (using _ of video) frames += 1;
    };
    const error = await read().catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(VideoError);
    expect((error as Error).message).toContain("the file stops before its end");
    expect(frames).toBeGreaterThan(10);
  }
});

test.skipIf(isFfmpegMissing)(
  "VideoSource.open() names what is wrong with a file",
  async () => {
    writeFileSync(path("empty.mp4"), "");
    writeFileSync(path("garbage.mp4"), crypto.getRandomValues(new Uint8Array(5000)));
    writeFileSync(path("no-index.mp4"), readFileSync(path("cfr.mp4")).subarray(0, 3000));
    await ffmpeg("-f", "lavfi", "-i", "sine=duration=1", path("sound.wav"));
    await ffmpeg("-i", path("cfr.mp4"), "-frames:v", "1", path("cover.jpg"));
    const cover = [
      "-i",
      path("cover.jpg"),
      "-map",
      "0",
      "-map",
      "1",
      "-c:v",
      "copy",
      "-disposition:v:0",
      "attached_pic",
    ];
    await ffmpeg("-i", path("sound.wav"), ...cover, path("song.mp3"));
    for (const [name, text] of [
      ["missing.mp4", "there is no such file"],
      ["empty.mp4", "it is empty (0 bytes)"],
      ["garbage.mp4", "it is no video that ffmpeg can read ("],
      ["no-index.mp4", "it is no video that ffmpeg can read ("],
      ["sound.wav", "it is no video that ffmpeg can read (it has no video stream)"],
      ["song.mp3", "it is no video that ffmpeg can read (it has no video stream)"],
      [".", "it is a folder"],
    ] as const) {
      const error = await VideoSource.open(path(name)).catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(VideoError);
      expect((error as Error).message).toContain(text);
    }
    const away = "http://127.0.0.1:1/a.mp4";
    await expect(VideoSource.open(away)).rejects.toThrow(
      /ffmpeg gets no video from it \(.*refused\)\nHint: check the address, and that it can be reached$/,
    );
    await expect(VideoSource.open("/dev/video87")).rejects.toThrow("there is no such camera\nHint: ls /dev/video*");
    await expect(VideoSource.open("gone.mp4")).rejects.toThrow(`Hint: paths are relative to ${process.cwd()}`);
    await expect(VideoSource.open(path("gone.mp4"))).rejects.toThrow("Hint: check the path");
    const late = await VideoSource.open(path("cfr.mp4"), { startMs: 60_000 });
    const read = async (): Promise<void> => {
      for await (const _ of late);
    };
    await expect(read()).rejects.toThrow("it is 3.00 s long and was to be read from 1 min 0 s on");
  },
  120_000,
);

test.skipIf(isFfmpegMissing)("VideoSource refuses an option it does not know", async () => {
  await expect(VideoSource.open(path("cfr.mp4"), { frames: 3 } as VideoOptions)).rejects.toThrow(
    'Unknown option "frames"',
  );
  // A timer of more would ring at once.
  for (const options of [{ openTimeoutMs: 1e10 }, { stallMs: 1e10 }, { reconnect: { longestDelayMs: 1e10 } }])
    await expect(VideoSource.open(path("cfr.mp4"), options)).rejects.toThrow("at most 2147483647");
});

test("VideoSource.open() says how to install ffmpeg where it is missing", async () => {
  writeFileSync(path("any.mp4"), "any");
  const { PATH } = process.env;
  process.env.PATH = "/nonexistent";
  try {
    const error = (await VideoSource.open(path("any.mp4")).catch((reason: unknown) => reason)) as Error;
    expect(error.name).toBe("LibraryLoadError");
    expect(error.message).toStartWith(
      "Cannot run ffprobe: it is not on the PATH\nHint: install it (Debian and Ubuntu: sudo apt install ffmpeg",
    );
  } finally {
    process.env.PATH = PATH;
  }
});

test.skipIf(isFfmpegMissing)("VideoSource ends its process when the loop is left, closed or aborted", async () => {
  const endless = { decoderArguments: ["-stream_loop", "-1"] };
  const left = await VideoSource.open(path("cfr.mp4"), endless);
  for await (const frame of left) if (frame.index === 5) break;
  expect(childrenNamed("ffmpeg")).toEqual([]);
  await expect(left[Symbol.asyncIterator]().next()).rejects.toThrow("is closed");

  const closed = await VideoSource.open(path("cfr.mp4"), endless);
  for await (const frame of closed) if (frame.index === 5) void closed.close();
  expect(childrenNamed("ffmpeg")).toEqual([]);

  const abort = new AbortController();
  const aborted = await VideoSource.open(path("cfr.mp4"), { ...endless, signal: abort.signal });
  const read = async (): Promise<void> => {
    for await (const frame of aborted) if (frame.index === 5) abort.abort(new Error("enough"));
  };
  await expect(read()).rejects.toThrow("enough");
});

test.skipIf(isFfmpegMissing)(
  "VideoSource makes a handful of buffers for 2,000 frames that are released, and memory stays flat",
  async () => {
    let made = 0;
    const allocate = (byteLength: number): Uint8Array => {
      made += 1;
      return new Uint8Array(byteLength);
    };
    await using video = await VideoSource.open(path("large.mp4"), {
      decoderArguments: ["-stream_loop", "-1"],
      allocate,
    });
    let early = 0;
    for await (using frame of video) {
      if (frame.index === 400) {
        Bun.gc(true);
        early = process.memoryUsage.rss();
      }
      if (frame.index === 2000) break;
    }
    Bun.gc(true);
    expect(made).toBeLessThanOrEqual(5);
    expect(process.memoryUsage.rss() - early).toBeLessThan(16 * 2 ** 20);
  },
);

test.skipIf(isFfmpegMissing)(
  "VideoSource does not run ahead of its reader, and waits where buffers are not released",
  async () => {
    await using video = await VideoSource.open(path("large.mp4"), {
      allocate: (byteLength) => new Uint8Array(byteLength),
      buffers: 3,
    });
    const frames = video[Symbol.asyncIterator]();
    const held = [(await frames.next()).value!, (await frames.next()).value!, (await frames.next()).value!];
    const fourth = frames.next();
    expect(await Promise.race([fourth, Bun.sleep(100)])).toBeUndefined();
    expect(video.read).toBe(3);
    held[0]!.release();
    expect((await fourth).value?.index).toBe(3);
    expect((await fourth).value?.data.buffer).toBe(held[0]!.data.buffer);
  },
);

test.skipIf(isFfmpegMissing)(
  'VideoSource with policy "latest" drops what nobody takes, and counts it',
  async () => {
    await using video = await VideoSource.open(path("cfr.mp4"), { policy: "latest", decoderArguments: ["-re"] });
    const seen: number[] = [];
    for await (using frame of video) {
      seen.push(frame.index);
      await Bun.sleep(200);
    }
    expect(video.read).toBe(90);
    expect(seen.length + video.dropped).toBe(90);
    expect(seen.length).toBeLessThan(25);
    expect(seen.at(-1)).toBe(89);
  },
  120_000,
);
