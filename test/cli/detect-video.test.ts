import { beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import sharp from "sharp";
import { untilAborted } from "../../src/cli/detect-images.ts";
import { operandKind } from "../../src/cli/operands.ts";
import { merged } from "../../src/video/detect-video.ts";
import { VideoSource } from "../../src/video/video-source.ts";
import { pulled } from "../support/catalogue.ts";
import { fileFolder } from "../support/folder.ts";
import { serveRtsp } from "../support/rtsp-server.ts";
import { hasSmallDisk, SMALL_DISK } from "../support/small-disk.ts";
import { toyDetector } from "../support/toy-detector.ts";
import { toyTopDown } from "../support/toy-top-down.ts";
import { countFrames, FAST, ffmpeg, isFfmpegMissing, testVideo } from "../support/videos.ts";
import { type CliResult, cliWords, runCli, spawnCli } from "./run-cli.ts";

setDefaultTimeout(120_000);

const model = await pulled("yolo11n");
const image = await pulled("sample1");
const isOffline = model === undefined || image === undefined;

const path = fileFolder("detect-video");

beforeAll(async () => {
  writeFileSync(path("toy.onnx"), toyDetector());
  const white = sharp({ create: { width: 64, height: 64, channels: 3, background: "white" } });
  await white.jpeg().toFile(path("white.jpg"));
  if (isFfmpegMissing) return;
  // White for a second, then black: the toy's scores are the brightness.
  const halves =
    "color=white:size=64x64:rate=30:duration=1[a];color=black:size=64x64:rate=30:duration=1[b];[a][b]concat";
  await ffmpeg("-filter_complex", halves, ...FAST, path("halves.mp4"));
  await testVideo(path("long.mp4"), "160x120", 3000);
});

function toyWords(...words: readonly string[]): string[] {
  return ["detect", "--model", path("toy.onnx"), "--backend", "cpu", "--threshold", "0.5", ...words];
}

function toy(...words: readonly string[]): Promise<CliResult> {
  return runCli(toyWords(...words), { cwd: path() });
}

interface Line {
  readonly file: string;
  readonly source: string;
  readonly index: number;
  readonly timestampMs: number;
  readonly detections: readonly { readonly label: string; readonly box: readonly number[] }[];
}

function lines(text: string): Line[] {
  return text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Line);
}

test.skipIf(isFfmpegMissing)(
  "detect makes an annotated video and NDJSON of a video, a line and a frame for each frame",
  async () => {
    const { code, output, errors } = await toy("halves.mp4", "--save", "out.mp4", "--format", "ndjson");
    expect(code).toBe(0);
    const found = lines(output);
    expect(found.length).toBe(60);
    expect(await countFrames(path("halves.mp4"))).toBe(60);
    expect(await countFrames(path("out.mp4"))).toBe(60);
    for (const [at, { file, index, timestampMs, detections }] of found.entries()) {
      expect([file, index]).toEqual(["halves.mp4", at]);
      expect(timestampMs).toBeCloseTo((at * 1000) / 30, 2);
      expect(detections.length).toBe(at < 30 ? 3 : 0);
    }
    expect(errors).toMatch(/^60 frames, 90 objects in [\d.]+ m?s, [\d.]+ frames\/s\n$/);
    // The box of the cat, from 8 to 40, is drawn on the white frames alone.
    await ffmpeg("-i", path("out.mp4"), "-vf", "select='eq(n,10)+eq(n,50)'", "-fps_mode", "vfr", path("frame-%d.png"));
    const [drawn, plain] = await Promise.all(
      [1, 2].map((at) =>
        sharp(path(`frame-${at}.png`))
          .extract({ left: 8, top: 36, width: 1, height: 1 })
          .raw()
          .toBuffer(),
      ),
    );
    expect(Math.min(...drawn!)).toBeLessThan(150);
    expect(Math.max(...plain!)).toBeLessThan(40);
  },
);

test.skipIf(isFfmpegMissing || isOffline)(
  "detect finds the people of a photograph that moves through a video",
  async () => {
    const move = "[1:v]scale=480:-2[p];[0:v][p]overlay=x='n*4':y=40";
    const background = "color=0x406080:size=641x361:rate=25:duration=0.4";
    await ffmpeg(
      "-f",
      "lavfi",
      "-i",
      background,
      "-i",
      image!,
      "-filter_complex",
      move,
      "-c:v",
      "libx264rgb",
      path("street.mkv"),
    );
    const words = [
      "detect",
      "--model",
      model!,
      "--backend",
      "cpu",
      "--quiet",
      "street.mkv",
      "--save",
      "out",
      "-f",
      "ndjson",
    ];
    const { code, output } = await runCli(words, { cwd: path() });
    expect(code).toBe(0);
    const found = lines(output);
    expect(found.length).toBe(10);
    expect(await countFrames(path("out/street.mkv"))).toBe(10);
    const lefts = found.map(({ detections }) =>
      Math.min(...detections.filter(({ label }) => label === "person").map(({ box }) => box[0]!)),
    );
    expect(lefts.every(Number.isFinite)).toBe(true);
    expect(lefts[9]! - lefts[0]!).toBeGreaterThan(20);
  },
  120_000,
);

test.skipIf(isFfmpegMissing)("detect --pose-model draws the points of each frame's own objects", async () => {
  writeFileSync(path("points.onnx"), toyTopDown("simcc"));
  const pose = ["--pose-model", path("points.onnx"), "--classes", "cat", "--pose-padding", "1"];
  const { code, output } = await toy("halves.mp4", ...pose, "--save", "posed.mp4", "--format", "ndjson");
  expect(code).toBe(0);
  expect(await countFrames(path("posed.mp4"))).toBe(60);
  const found = lines(output) as unknown as { index: number; objects: { keypoints: number[][] }[] }[];
  expect(found.map(({ index, objects }) => [index, objects.length])).toEqual(
    Array.from({ length: 60 }, (_, at) => [at, at < 30 ? 1 : 0]),
  );
  for (const { objects } of found) for (const { keypoints } of objects) expect(keypoints.length).toBe(3);
});

test.skipIf(isFfmpegMissing)("detect takes a part of a video, and writes COCO and YOLO files by frame", async () => {
  const coco = await toy("halves.mp4", "--every", "10", "--format", "coco");
  const rows = JSON.parse(coco.output) as { image_id: number }[];
  expect([...new Set(rows.map(({ image_id }) => image_id))]).toEqual([0, 1, 2]);
  const part = await toy(
    "halves.mp4",
    "--start",
    "0.5",
    "--duration",
    "1",
    "--fps",
    "10",
    "--format",
    "yolo",
    "-o",
    "labels",
    "-q",
  );
  expect(part.errors).toBe("");
  const names = readdirSync(path("labels")).sort();
  expect(names.length).toBe(10);
  expect([names[0], names[9]]).toEqual(["halves-000000.txt", "halves-000009.txt"]);
  expect(readFileSync(path("labels", names[0]!), "utf8").split("\n").length).toBe(4);
  expect((await toy("halves.mp4", "long.mp4", "--format", "coco")).code).toBe(2);
});

test.skipIf(isFfmpegMissing)("a folder of images and videos is done whole, in every format and place", async () => {
  mkdirSync(path("both"));
  for (const [from, to] of [
    ["white.jpg", "a.jpg"],
    ["halves.mp4", "a.mp4"],
    ["white.jpg", "c.jpg"],
  ] as const) {
    copyFileSync(path(from), path("both", to));
  }
  writeFileSync(path("both/broken.mp4"), "no video");
  const words = ["both", "--every", "30", "--save", "both-drawn", "--crop", "both-cut"];
  const made = await toy(...words, "-f", "csv", "-o", "both.csv");
  expect(made.code).toBe(1);
  expect(made.errors).toContain('error: Cannot open the video "both/broken.mp4": it is no video that ffmpeg can read');
  expect(made.errors).toContain("\n1 input could not be opened\n");
  expect(made.errors).toMatch(/\n2 images and 2 frames, 9 objects in /);
  expect(readdirSync(path("both-drawn")).sort()).toEqual(["a.jpg", "a.mp4", "c.jpg"]);
  expect(await countFrames(path("both-drawn/a.mp4"))).toBe(2);
  expect(readdirSync(path("both-cut/cat")).sort()).toEqual(["a-000000-1.jpg", "a-1.jpg", "c-1.jpg"]);
  const [head, ...rows] = readFileSync(path("both.csv"), "utf8").trimEnd().split("\n");
  expect(head).toStartWith("file,index,timestampMs,label");
  const places = rows.map((row) => row.split(",").slice(0, 3).join());
  expect([...new Set(places)]).toEqual(["both/a.jpg,,", "both/c.jpg,,", "both/a.mp4,0,0"]);
  await toy("both", "--every", "30", "-f", "yolo", "-o", "both-labels", "-q");
  expect(readdirSync(path("both-labels")).sort()).toEqual(["a-000000.txt", "a-000001.txt", "a.txt", "c.txt"]);
  const videos = await toy("both", "--video", "--every", "30", "-f", "jsonl", "-q");
  expect(lines(videos.output).map(({ file, index }) => `${file} ${index}`)).toEqual(["both/a.mp4 0", "both/a.mp4 1"]);
});

test.skipIf(isFfmpegMissing)("what does not go with images and videos together is refused, and why", async () => {
  for (const [words, found] of [
    [["-f", "coco"], "--format coco numbers images by name and frames by place, got 1 image and 1 video"],
    [["--save", "one.jpg"], '--save "one.jpg" is one file, got 1 image and 1 video'],
    [["--save", "one.mp4"], '--save "one.mp4" is one file, got 1 image and 1 video'],
  ] as const) {
    const { code, errors } = await toy("white.jpg", "halves.mp4", ...words);
    expect([code, errors]).toEqual([2, expect.stringContaining(found)]);
  }
  copyFileSync(path("white.jpg"), path("second.jpg"));
  const asImage =
    "is one file, got images, which are written as .jpg, .png or .webp\nHint: end the name in .jpg, .png or .webp, or";
  for (const [words, save, found] of [
    [["white.jpg"], "one.mp4", `--save "one.mp4" ${asImage} give a folder\n`],
    // No folder is made of a kind of image that cannot be written, nor of what is no image.
    [["white.jpg"], "one.bmp", `--save "one.bmp" ${asImage} give a folder\n`],
    [["white.jpg"], "one.txt", `--save "one.txt" ${asImage} give a folder\n`],
    [["white.jpg", "second.jpg"], "one.bmp", "written as .jpg, .png or .webp\nHint: give a folder\n"],
    [["halves.mp4"], "one.jpg", '--save "one.jpg" is one file, got 1 video, written as .mp4'],
    [
      ["halves.mp4"],
      "one.jpg",
      "Hint: end the name in .mp4, .m4v, .mov, .mkv, .ts, .flv, .webm, .avi, .gif, or give a folder\n",
    ],
  ] as const) {
    const { code, errors } = await toy(...words, "--save", save);
    expect([code, errors, existsSync(path(save))]).toEqual([2, expect.stringContaining(found), false]);
  }
});

test("without ffmpeg the images of a mixed folder are done, and its hint is given once", async () => {
  mkdirSync(path("bare"));
  copyFileSync(path("white.jpg"), path("bare/a.jpg"));
  for (const name of ["b.mp4", "c.mp4"]) writeFileSync(path("bare", name), "x");
  const { code, output, errors } = await runCli(toyWords("bare", "-f", "jsonl", "-q"), {
    cwd: path(),
    env: { BUN_TENSORRT_FFPROBE: "/nowhere/ffprobe" },
  });
  expect(code).toBe(1);
  expect(lines(output).map(({ file }) => file)).toEqual(["bare/a.jpg"]);
  expect(errors.match(/Cannot run ffprobe/g)?.length).toBe(1);
});

test.skipIf(isFfmpegMissing)("frames of a video are not counted as images", async () => {
  mkdirSync(path("counted"));
  copyFileSync(path("white.jpg"), path("counted/a.jpg"));
  writeFileSync(path("counted/b.jpg"), "no image");
  await testVideo(path("counted/clip.mp4"), "64x64", 5);
  const { code, errors } = await toy("counted");
  expect(code).toBe(1);
  expect(errors).toContain("1 of 2 images could not be read\n");
  expect(errors).toMatch(/^1 image and 5 frames, \d+ objects in .*, [\d.]+ images and frames\/s$/m);
});

test.skipIf(isFfmpegMissing)(
  "an annotated video keeps the gaps that its source has",
  async () => {
    const gap = "setpts='PTS+gte(N,30)*5/TB'";
    await ffmpeg("-i", path("halves.mp4"), "-vf", gap, "-fps_mode", "passthrough", ...FAST, path("gap.mkv"));
    expect((await toy("gap.mkv", "--save", "gap-copy.mp4", "--format", "ndjson", "--output", "gap.ndjson")).code).toBe(
      0,
    );
    await using copy = await VideoSource.open(path("gap-copy.mp4"));
    const times: number[] = [];
    for await (using frame of copy) times.push(frame.timestampMs);
    const expected = lines(readFileSync(path("gap.ndjson"), "utf8")).map(({ timestampMs }) => timestampMs);
    expect(times.length).toBe(60);
    expect(expected.at(-1)!).toBeGreaterThan(6900);
    for (const [at, time] of times.entries()) expect(Math.abs(time - expected[at]!)).toBeLessThan(1);
  },
  120_000,
);

test.skipIf(isFfmpegMissing)(
  "detect goes on with the next video after one that is broken, and exits with 1",
  async () => {
    writeFileSync(path("broken.mp4"), "no video");
    const { code, output, errors } = await toy(
      "broken.mp4",
      "halves.mp4",
      "--every",
      "30",
      "-f",
      "jsonl",
      "--save",
      "many",
    );
    expect(code).toBe(1);
    expect(errors).toContain('error: Cannot open the video "broken.mp4": it is no video that ffmpeg can read');
    expect(lines(output).map(({ file, index }) => `${file} ${index}`)).toEqual(["halves.mp4 0", "halves.mp4 1"]);
    expect(await countFrames(path("many/halves.mp4"))).toBe(2);
  },
);

test.skipIf(isFfmpegMissing)(
  "Ctrl-C ends the annotated video as it should be, and the summary is printed",
  async () => {
    const words = cliWords(toyWords("long.mp4", "--save", "cut.mp4", "--format", "ndjson", "--output", "cut.ndjson"));
    // In a group of its own, so that the signal reaches all as from a terminal.
    const child = Bun.spawn(words, { cwd: path(), stdout: "ignore", stderr: "pipe", detached: true });
    while (!existsSync(path("cut.ndjson")) || readFileSync(path("cut.ndjson"), "utf8").split("\n").length < 50)
      await Bun.sleep(20);
    process.kill(-child.pid, "SIGINT");
    const [errors, code] = await Promise.all([child.stderr.text(), child.exited]);
    expect(code).toBe(130);
    const count = lines(readFileSync(path("cut.ndjson"), "utf8")).length;
    expect(count).toBeLessThan(3000);
    expect(await countFrames(path("cut.mp4"))).toBe(count);
    expect(errors).toMatch(new RegExp(`^${count} frames, `));
  },
);

test.skipIf(isFfmpegMissing)(
  "Ctrl-C ends detect even while the annotated video is opened",
  async () => {
    const slow = `#!/bin/sh\nif [ "$1" = -version ]; then touch asked; sleep 1; fi\nexec ffmpeg "$@"\n`;
    writeFileSync(path("slow-ffmpeg"), slow, { mode: 0o755 });
    const words = toyWords("long.mp4", "--save", "early.mp4", "--format", "ndjson", "--output", "early.ndjson");
    const child = spawnCli(words, { cwd: path(), env: { BUN_TENSORRT_FFMPEG: path("slow-ffmpeg") } });
    while (!existsSync(path("asked"))) await Bun.sleep(10);
    child.kill("SIGINT");
    expect(await child.exited).toBe(130);
    expect(readFileSync(path("early.ndjson"), "utf8")).toBe("");
  },
  120_000,
);

test.skipIf(isFfmpegMissing)("a video by its file: address is copied under its own name", async () => {
  copyFileSync(path("halves.mp4"), path("Straße 1.mp4"));
  const { code } = await toy(pathToFileURL(path("Straße 1.mp4")).href, "--every", "30", "--save", "named", "--quiet");
  expect([code, readdirSync(path("named"))]).toEqual([0, ["Straße 1.mp4"]]);
});

test.skipIf(isFfmpegMissing)(
  "detect reads a live source with the newest frames alone, and counts the others",
  async () => {
    const jpeg = readFileSync(path("white.jpg"));
    const part = Buffer.concat([
      Buffer.from(`--x\r\nContent-Type: image/jpeg\r\nContent-Length: ${jpeg.length}\r\n\r\n`),
      jpeg,
      Buffer.from("\r\n"),
    ]);
    using server = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch: () =>
        new Response(
          new ReadableStream({
            async pull(controller) {
              controller.enqueue(Buffer.concat(Array.from({ length: 20 }, () => part)));
              await Bun.sleep(20);
            },
          }),
          { headers: { "content-type": "multipart/x-mixed-replace; boundary=x" } },
        ),
    });
    const { code, output, errors } = await toy(
      `http://127.0.0.1:${server.port}/cam`,
      "--video",
      "--duration",
      "2",
      "-f",
      "ndjson",
    );
    expect(code).toBe(0);
    const found = lines(output);
    const dropped = Number(/, (\d+) frames? dropped/.exec(errors)?.[1] ?? 0);
    expect(found.every(({ detections }) => detections.length === 3)).toBe(true);
    expect(found.at(-1)!.index + 1).toBeGreaterThanOrEqual(found.length);
    expect(found.length + dropped).toBeGreaterThan(found.at(-1)!.index);
  },
  120_000,
);

test.skipIf(isFfmpegMissing)(
  "detect reads several live sources at once",
  async () => {
    const jpeg = readFileSync(path("white.jpg"));
    const head = `--x\r\nContent-Type: image/jpeg\r\nContent-Length: ${jpeg.length}\r\n\r\n`;
    const part = Buffer.concat([Buffer.from(head), jpeg, Buffer.from("\r\n")]);
    const body = (): ReadableStream =>
      new ReadableStream({
        async pull(controller) {
          controller.enqueue(Buffer.concat(Array.from({ length: 20 }, () => part)));
          await Bun.sleep(20);
        },
      });
    const headers = { "content-type": "multipart/x-mixed-replace; boundary=x" };
    using server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response(body(), { headers }) });
    const cameras = ["a", "b"].map((name) => `http://127.0.0.1:${server.port}/${name}`);
    const { code, output } = await toy(...cameras, "--video", "--duration", "2", "-f", "ndjson", "-q");
    expect(code).toBe(0);
    const files = lines(output).map(({ file }) => file);
    expect([...new Set(files)].toSorted()).toEqual(cameras);
    expect(files.indexOf(cameras[1]!)).toBeLessThan(files.lastIndexOf(cameras[0]!));
    expect(files.indexOf(cameras[0]!)).toBeLessThan(files.lastIndexOf(cameras[1]!));
  },
  120_000,
);

test("merged() asks a source again when its item has been dealt with, and ends all where nobody wants more", async () => {
  const events: string[] = [];
  const stopped = Promise.withResolvers<void>();
  async function* source(name: string, pauses: readonly number[]): AsyncGenerator<string, void, undefined> {
    try {
      for (const pause of pauses) {
        await Bun.sleep(pause);
        events.push(`made ${name}`);
        yield name;
      }
      await stopped.promise;
    } finally {
      events.push(`ended ${name}`);
    }
  }
  const taken: string[] = [];
  for await (const name of merged([source("slow", [60]), source("quick", [0, 0])], stopped.resolve)) {
    taken.push(name);
    events.push(`took ${name}`);
    if (taken.length === 3) break;
  }
  expect(taken).toEqual(["quick", "quick", "slow"]);
  const pairs = ["made quick", "took quick", "made quick", "took quick", "made slow", "took slow"];
  expect(events.slice(0, 6)).toEqual(pairs);
  expect(events.slice(6).toSorted()).toEqual(["ended quick", "ended slow"]);
  async function* failing(): AsyncGenerator<string, void, undefined> {
    yield "first";
    throw new Error("no more");
  }
  await expect(Array.fromAsync(merged([failing(), source("silent", [])], stopped.resolve))).rejects.toThrow("no more");
});

test.skipIf(isFfmpegMissing || !hasSmallDisk).each([
  // Room for some of it, which an MP4 without its end is no use for; and for nothing.
  ["out.mp4", 61_440],
  ["out.mkv", 65_536],
])(
  "detect --save fails where %s cannot be ended for want of room, says what helps, and leaves nothing that does not play",
  async (name, filled) => {
    mkdirSync(path("disk"), { recursive: true });
    const words = cliWords(toyWords("long.mp4", "--duration", "0.4", "--save", `disk/${name}`, "-o", "table", "-q"));
    const shell = `mount -t tmpfs -o size=64k tmpfs disk && head -c ${filled} /dev/zero > disk/fill; "$@"; code=$?; ls -A disk; exit $code`;
    const child = Bun.spawn([...SMALL_DISK, shell, "sh", ...words], { cwd: path(), stdout: "pipe", stderr: "pipe" });
    const [output, errors, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    expect(code).toBe(1);
    expect(output).toBe("fill\n");
    expect(errors).toMatch(/^error: Cannot write the video "disk\/out\.m..": ffmpeg .*No space left/m);
    expect(errors).toMatch(/^Hint: check the folder, the free space/m);
  },
);

for (const framing of ["jpeg", "length"] as const) {
  test(`detect - reads images of standard input, ${framing}, and tells of one that is none`, async () => {
    const jpeg = readFileSync(path("white.jpg"));
    const broken = Buffer.concat([Buffer.from([0xff, 0xd8, 0xff, 0xd9])]);
    const images = [jpeg, broken, jpeg].flatMap((one) => {
      const head = Buffer.alloc(4);
      head.writeUInt32LE(one.length);
      return framing === "jpeg" ? [one] : [head, one];
    });
    const words = cliWords(toyWords("-", "--stdin", framing, "--format", "ndjson", "--save", framing, "--quiet"));
    const child = Bun.spawn(words, { cwd: path(), stdin: Buffer.concat(images), stdout: "pipe", stderr: "pipe" });
    const [output, errors, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    expect(code).toBe(1);
    expect(lines(output).map(({ file, index, detections }) => [file, index, detections.length])).toEqual([
      ["-", 0, 3],
      ["-", 2, 3],
    ]);
    expect(errors).toContain('error: Cannot decode "image 1 from standard input": ');
    expect(errors).toContain("1 of 3 images could not be read");
    expect(readdirSync(path(framing)).sort()).toEqual(["stdin-000000.jpg", "stdin-000002.jpg"]);
  });
}

test("detect - answers what came before a broken length, and exits with 1", async () => {
  const jpeg = readFileSync(path("white.jpg"));
  const head = Buffer.alloc(4);
  head.writeUInt32LE(jpeg.length);
  const stdin = Buffer.concat([head, jpeg, Buffer.from([0, 0, 0, 0])]);
  const child = Bun.spawn(cliWords(toyWords("-", "--stdin", "length", "-f", "json")), {
    cwd: path(),
    stdin,
    stdout: "pipe",
    stderr: "pipe",
  });
  const [output, errors, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  expect(code).toBe(1);
  expect(JSON.parse(output)).toHaveLength(1);
  expect(errors).toContain("Cannot read image 1 from standard input: its length must be from 1 to");
  expect(errors).toContain("\nHint: before each image stands its length in bytes");
});

test("detect - says what standard input is where it is no stream of images", async () => {
  const line = `${cliWords(toyWords("-", "-f", "json")).join(" ")} < .`;
  const child = Bun.spawn(["sh", "-c", line], { cwd: path(), stdout: "pipe", stderr: "pipe" });
  const [errors, code] = await Promise.all([child.stderr.text(), child.exited]);
  expect(errors).toMatch(/^error: Cannot read standard input: EISDIR: .*\nHint: send images: /);
  expect(code).toBe(1);
});

test("detect --watch answers new images until Ctrl-C", async () => {
  mkdirSync(path("incoming"));
  const words = cliWords(toyWords("--watch", "incoming", "--format", "ndjson", "--save", "drawn"));
  const child = Bun.spawn(words, { cwd: path(), stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const reader = child.stdout.getReader();
  const next = async (): Promise<Line> => JSON.parse(new TextDecoder().decode((await reader.read()).value)) as Line;
  const errors = child.stderr.getReader();
  await errors.read();
  copyFileSync(path("white.jpg"), path("incoming/a.jpg"));
  expect((await next()).file).toBe("incoming/a.jpg");
  copyFileSync(path("white.jpg"), path("incoming/b.jpg"));
  expect((await next()).file).toBe("incoming/b.jpg");
  while (!existsSync(path("drawn/b.jpg"))) await Bun.sleep(10);
  child.kill("SIGINT");
  expect(await child.exited).toBe(130);
  expect(readdirSync(path("drawn")).sort()).toEqual(["a.jpg", "b.jpg"]);
});

test("detect --save never draws on the images it reads", async () => {
  mkdirSync(path("own"));
  copyFileSync(path("white.jpg"), path("own/white.jpg"));
  const images = await toy("own", "--save", "./own/");
  expect([images.code, images.errors]).toEqual([
    2,
    expect.stringContaining("--save would overwrite an image that is read: own/white.jpg"),
  ]);
  const watch = await toy("--watch", "own", "--save", path("own"));
  expect([watch.code, watch.errors]).toEqual([
    2,
    expect.stringContaining("--save must not be the folder that is watched"),
  ]);
  expect(readFileSync(path("own/white.jpg")).equals(readFileSync(path("white.jpg")))).toBe(true);
});

test.skipIf(isFfmpegMissing)("Ctrl-C gives up on a source that does not answer, and takes ffprobe along", async () => {
  const connected = Promise.withResolvers<void>();
  const deaf = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    socket: { open: () => connected.resolve(), data() {} },
  });
  try {
    const address = `rtsp://127.0.0.1:${deaf.port}/x`;
    const child = spawnCli(toyWords(address), { cwd: path() });
    await connected.promise;
    child.kill("SIGINT");
    expect(await child.exited).toBe(130);
    expect(Bun.spawnSync(["pgrep", "-f", address]).stdout.toString()).toBe("");
  } finally {
    deaf.stop(true);
  }
});

test.skipIf(isFfmpegMissing)(
  "a camera that does not answer holds up no other, and Ctrl-C gives up on it",
  async () => {
    using server = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch: () => new Response(Bun.file(path("halves.mp4"))),
    });
    const deaf = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { open() {}, data() {} } });
    try {
      const addresses = [`rtsp://127.0.0.1:${deaf.port}/x`, `http://127.0.0.1:${server.port}/halves.mp4`];
      const child = spawnCli(toyWords(...addresses, "-f", "jsonl"), { cwd: path() });
      const reader = (child.stdout as ReadableStream<Uint8Array>).getReader();
      // It is waited for 30 seconds.
      const from = performance.now();
      const { value } = await reader.read();
      expect(performance.now() - from).toBeLessThan(25_000);
      expect(Buffer.from(value!).toString()).toContain('"source":"halves"');
      child.kill("SIGINT");
      expect(await child.exited).toBe(130);
    } finally {
      deaf.stop(true);
    }
  },
  60_000,
);

test("untilAborted() keeps none of the items it has handed on", async () => {
  const kept: WeakRef<object>[] = [];
  async function* items(): AsyncGenerator<object, void, undefined> {
    for (let at = 0; at < 100; at++) {
      const item = { at };
      kept.push(new WeakRef(item));
      yield item;
      await Bun.sleep(0);
    }
  }
  const abort = new AbortController();
  for await (const _ of untilAborted(items(), abort.signal)) {
    if (kept.length < 100) continue;
    Bun.gc(true);
    expect(kept.filter((one) => one.deref() !== undefined).length).toBeLessThan(20);
  }
  expect(kept.length).toBe(100);
});

test("detect refuses sources that do not go together, before anything is loaded", async () => {
  for (const [words, text] of [
    [["-", "white.jpg"], "Standard input cannot be mixed with files in one run"],
    [["--watch", "none"], '--watch must be a folder, got "none"'],
    [["--watch", ".", "white.jpg"], 'Unexpected argument "white.jpg": --watch takes no files'],
    [["halves.mp4", "--every", "0"], "--every must be a whole number from 1 to"],
    [["halves.mp4", "--fps", "-1"], "--fps must be a number above 0, at most"],
  ] as const) {
    const { code, errors } = await toy(...words);
    expect(errors).toContain(text);
    expect(code).toBe(2);
  }
});

test.skipIf(isFfmpegMissing)(
  "detect refuses to write over what it reads, and one file for several videos",
  async () => {
    const own = await toy("halves.mp4", "--save", "./halves.mp4");
    expect([own.code, own.errors]).toEqual([
      2,
      expect.stringContaining("--save would overwrite a video that is read: "),
    ]);
    symlinkSync("halves.mp4", path("linked.mp4"));
    for (const [video, save] of [
      ["halves.mp4", "linked.mp4"],
      [pathToFileURL(path("halves.mp4")).href, "halves.mp4"],
    ] as const) {
      const { code, errors } = await toy(video, "--save", save);
      expect([code, errors]).toEqual([
        2,
        expect.stringContaining(`--save would overwrite a video that is read: ${save}`),
      ]);
    }
    expect(await countFrames(path("halves.mp4"))).toBe(60);
    const both = await toy("halves.mp4", "--save", "both.mp4", "--output", "./both.mp4", "--format", "json");
    expect([both.code, both.errors]).toEqual([
      2,
      expect.stringContaining('--output and --save both write "./both.mp4"'),
    ]);
    const one = await toy("halves.mp4", "long.mp4", "--save", "one.mp4");
    expect([one.code, one.errors]).toEqual([2, expect.stringContaining("is one file, got 2 videos")]);
  },
  120_000,
);

test("operandKind() goes by form and extension", () => {
  const kinds = [
    "a.jpg",
    "photos",
    "photos/**",
    "a.MP4",
    "rtsp://h/x",
    "/dev/video0",
    "http://h/x",
    "http://h/x.m3u8?t=1",
    "parts.ffconcat",
    "camera.sdp",
    "-",
    import.meta.path,
  ];
  const expected = [
    "images",
    "images",
    "images",
    "video",
    "video",
    "video",
    "images",
    "video",
    "video",
    "video",
    "stdin",
    "images",
  ];
  expect(kinds.map(operandKind)).toEqual(expected as ReturnType<typeof operandKind>[]);
});

const tracking = ["--track", "bytetrack"];

test.skipIf(isFfmpegMissing)(
  "--track: every format carries ids, and each video has its own from 1 on",
  async () => {
    copyFileSync(path("halves.mp4"), path("again.mp4"));
    const words = ["detect", "halves.mp4", "again.mp4", "--model", "toy.onnx", "--backend", "cpu", ...tracking];
    const json = await runCli([...words, "--format", "ndjson", "--save", "tracked"], { cwd: path() });
    expect([json.errors, json.code]).toEqual([expect.not.stringContaining("Cannot"), 0]);
    const found = lines(json.output).filter(({ index }) => index === 5) as unknown as {
      readonly detections: readonly { readonly trackId: number }[];
    }[];
    expect(found.map(({ detections }) => detections.map(({ trackId }) => trackId).sort())).toEqual([
      [1, 2, 3],
      [1, 2, 3],
    ]);
    expect(await countFrames(path("tracked", "halves.mp4"))).toBe(60);
    const mot = await runCli([...words, "--format", "mot", "--output", "mot"], { cwd: path() });
    expect(mot.code).toBe(0);
    for (const name of ["halves.txt", "again.txt"]) {
      const rows = readFileSync(path("mot", name), "utf8").trimEnd().split("\n");
      expect(rows.slice(0, 3).map((row) => row.split(",").slice(0, 2).join())).toEqual(["1,1", "1,2", "1,3"]);
      expect(rows.every((row) => row.split(",").length === 10)).toBe(true);
    }
  },
  120_000,
);

test.skipIf(isFfmpegMissing)(
  "--zones: events by line and by frame, a table at the end, and the zones on the copy; without --track occupancy alone",
  async () => {
    const zones = {
      units: "fractions",
      zones: [
        {
          name: "all",
          polygon: [
            [0, 0],
            [1, 0],
            [1, 1],
            [0, 1],
          ],
        },
      ],
      lines: [{ name: "middle", from: [0.5, 0], to: [0.5, 1] }],
      patienceMs: 300,
    };
    writeFileSync(path("zones.json"), JSON.stringify(zones));
    const words = ["detect", "halves.mp4", "--model", "toy.onnx", "--backend", "cpu", "--zones", "zones.json"];
    const all = ["--format", "ndjson", "--events", "events.ndjson", "--save", "zoned.mp4", "--trace", "5"];
    const { code, output, errors } = await runCli([...words, ...tracking, ...all], { cwd: path() });
    expect(code).toBe(0);
    expect(errors).toMatch(/^ +in +out +inside +most +mean stay +longest$/m);
    expect(errors).toMatch(/^all +3 +3 +0 +3 +967 ms +967 ms$/m);
    expect(errors).toMatch(/^middle +0 +0$/m);
    const events = readFileSync(path("events.ndjson"), "utf8").trimEnd().split("\n");
    expect(events.map((line) => JSON.parse(line)).map(({ index, event, reason }) => [index, event, reason])).toEqual([
      ...new Array(3).fill([0, "enter", "appeared"]),
      ...new Array(3).fill([39, "exit", "lost"]),
    ]);
    const frames = lines(output) as unknown as { occupancy: { all: number }; events: { event: string }[] }[];
    expect([frames.length, frames[10]!.occupancy, frames[50]!.occupancy]).toEqual([60, { all: 3 }, { all: 0 }]);
    expect(frames[39]!.events.map(({ event }) => event)).toEqual(["exit", "exit", "exit"]);
    expect(await countFrames(path("zoned.mp4"))).toBe(60);
    const untracked = await runCli([...words, "--format", "ndjson", "--events", "events.ndjson"], { cwd: path() });
    expect(untracked.errors).toContain("Counting only who is inside: entries, exits and crossings need --track");
    expect(errors).not.toContain("Counting only");
    // Not what it was before.
    expect(readFileSync(path("events.ndjson"), "utf8")).toBe("");
    const counted = lines(untracked.output) as unknown as typeof frames;
    expect([counted[10]!.occupancy, counted[10]!.events, counted[50]!.occupancy]).toEqual([{ all: 3 }, [], { all: 0 }]);
    const refused = async (...more: readonly string[]) =>
      (await runCli([...words.slice(0, -2), ...more], { cwd: path() })).errors;
    expect(await refused("--events", "x")).toContain("--events needs --zones");
    expect(await refused("--zones", "none.json")).toContain(
      'Cannot read the zones of "none.json": it cannot be read (ENOENT)',
    );
    expect(await refused("--zones", "zones.json", "--events", "zones.json")).toContain(
      "--events would overwrite a file",
    );
  },
  120_000,
);

test.skipIf(isFfmpegMissing)(
  "several cameras: each has its tracks, its files and its copy; one that fails is named, and the others go on",
  async () => {
    await ffmpeg("-i", path("halves.mp4"), ...FAST, "-g", "10", "-f", "mpegts", path("halves.ts"));
    const stream = readFileSync(path("halves.ts"));
    using first = serveRtsp(stream, { seconds: 0.5 });
    using second = serveRtsp(stream, { seconds: 0.5 });
    const silent = "rtsp://user:secret@127.0.0.1:9/live";
    const cameras = [first.url, silent, second.url];
    const words = ["detect", ...cameras, "--model", "toy.onnx", "--backend", "cpu", ...tracking];
    const rules = ["--policy", "all", "--reconnect", "0", "--format", "ndjson"];
    const { code, errors } = await runCli([...words, ...rules, "-o", "cameras/", "--save", "copies"], { cwd: path() });
    expect(errors).toContain('"rtsp://user:***@127.0.0.1:9/live"');
    expect(errors).toMatch(/^\d+ frames, /m);
    expect(code).toBe(1);
    const names = [first, second].map(({ url }) => `127-0-0-1-${new URL(url).port}-live`);
    expect(readdirSync(path("cameras")).sort()).toEqual(names.map((name) => `${name}.jsonl`).sort());
    for (const name of names) {
      const found = lines(readFileSync(path("cameras", `${name}.jsonl`), "utf8"));
      const [one] = found as unknown as readonly { readonly detections: readonly { readonly trackId: number }[] }[];
      expect(one!.detections.map(({ trackId }) => trackId).sort()).toEqual([1, 2, 3]);
      expect(found.map(({ index }) => index)).toEqual(Array.from({ length: found.length }, (_, at) => at));
      expect(new Set(found.map(({ source }) => source))).toEqual(new Set([name]));
      expect(await countFrames(path("copies", `${name}.mp4`))).toBe(found.length);
    }
    const one = await runCli([...words, ...rules, "-q"], { cwd: path() });
    expect(new Set(lines(one.output).map(({ source }) => source))).toEqual(new Set(names));
  },
  120_000,
);

test.skipIf(isFfmpegMissing)(
  "--slice with --track: what slices find has ids from the first frame on, and is what they find without",
  async () => {
    const words = [
      "detect",
      "halves.mp4",
      "--model",
      "toy.onnx",
      "--backend",
      "cpu",
      "--slice",
      "48",
      "--format",
      "ndjson",
    ];
    const sliced = await runCli([...words, "--threshold", "0.1", "--batch", "3"], { cwd: path() });
    const tracked = await runCli([...words, ...tracking, "--track-boxes", "detected"], { cwd: path() });
    expect([sliced.code, tracked.code]).toEqual([0, 0]);
    type Frame = { readonly detections: readonly { readonly box: unknown; readonly trackId: number }[] };
    const [want, found] = [sliced, tracked].map(({ output }) => lines(output) as unknown as Frame[]) as [
      Frame[],
      Frame[],
    ];
    expect(found.length).toBe(60);
    for (const at of [0, 12, 29, 45]) {
      expect(found[at]!.detections.map(({ box }) => box)).toEqual(want[at]!.detections.map(({ box }) => box));
      const ids = found[at]!.detections.map(({ trackId }) => trackId).sort();
      expect(ids).toEqual(found[0]!.detections.map((_, index) => index + 1).slice(0, ids.length));
    }
    expect(found[12]!.detections.length).toBeGreaterThan(3);
  },
  120_000,
);

test.skipIf(isFfmpegMissing)(
  "--privacy with --track hides objects from the frame on that they are found in, though none has an id there",
  async () => {
    // A fine pattern from the third frame on, in which the toy finds its boxes.
    const pattern = "geq=lum='if(lt(N,2),16,if(mod(floor(X/2)+floor(Y/2),2),235,190))':cb=128:cr=128";
    await ffmpeg(
      "-f",
      "lavfi",
      "-i",
      `nullsrc=size=64x64:rate=10,${pattern}`,
      "-frames:v",
      "4",
      ...FAST,
      path("new.mp4"),
    );
    const words = ["detect", "new.mp4", "--model", "toy.onnx", "--backend", "cpu", ...tracking, "--format", "ndjson"];
    const bare = ["--privacy", "pixelate", "--no-boxes", "--no-labels", "--no-scores", "--save", "hidden.mp4"];
    const { code, output } = await runCli([...words, ...bare], { cwd: path() });
    expect(code).toBe(0);
    const results = lines(output) as unknown as readonly {
      readonly detections: readonly { readonly box: number[] }[];
    }[];
    expect(results.map(({ detections }) => detections.length)).toEqual([0, 0, 0, 3]);
    const raw = ["-i", path("hidden.mp4"), "-pix_fmt", "gray", "-f", "rawvideo", path("hidden.grey")];
    await ffmpeg("-y", ...raw);
    const grey = readFileSync(path("hidden.grey"));
    const [x1, y1, x2, y2] = results[3]!.detections[0]!.box.map(Math.round) as [number, number, number, number];
    const steps = (frame: number, shift: number): number => {
      let sum = 0;
      for (let y = y1 + 1; y < y2 - 1; y++)
        for (let x = x1 + 1; x < x2 - 1; x++)
          sum += Math.abs(grey[frame * 4096 + y * 64 + x + shift]! - grey[frame * 4096 + y * 64 + x]!);
      return sum / ((x2 - x1 - 2) * (y2 - y1 - 2));
    };
    // Neighbours two pixels apart are the same in a square, and differ in the pattern.
    expect([steps(2, 2) < 8, steps(3, 2) < 8]).toEqual([true, true]);
    const refused = async (...more: readonly string[]) => (await runCli([...words, ...more], { cwd: path() })).errors;
    expect(await refused("--save", "x.mp4", "--privacy-classes", "cat")).toContain("--privacy-classes needs --privacy");
    expect(await refused("--save", "x.mp4", "--privacy", "blur", "--privacy-classes", "Cat")).toContain(
      '--privacy-classes must be names of the model\'s classes, got "Cat"',
    );
  },
  120_000,
);

test("--track: what it cannot be together with", async () => {
  const refused = async (...words: readonly string[]): Promise<string> => {
    const { code, errors } = await runCli(["detect", "--model", "toy.onnx", ...words], { cwd: path() });
    expect(code).toBe(2);
    return errors;
  };
  expect(await refused("white.jpg", ...tracking)).toContain("--track is for videos, and the input is images");
  expect(await refused("a.mp4", "--track-buffer", "3")).toContain("--track-buffer needs --track");
  expect(await refused("a.mp4", "--format", "mot", "--output", "x")).toContain("add --track bytetrack");
  expect(await refused("a.mp4", ...tracking, "--format", "dota", "--output", "x")).toContain("no room for the ids");
  expect(await refused("a.mp4", "--track", "deepsort")).toContain("--track must be bytetrack, botsort, ocsort");
});
