import { expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { decodeImage, encodeImage } from "../src/image/image-file.ts";
import { BrowserPage, chromium } from "./support/browser.ts";
import { pulled } from "./support/catalogue.ts";
import { flatImage } from "./support/flat-image.ts";
import { nearestModel, noiseImage } from "./support/image-models.ts";
import { isRedisUnreachable } from "./support/redis-server.ts";
import { toyDetector } from "./support/toy-detector.ts";
import { isFfmpegMissing } from "./support/videos.ts";

setDefaultTimeout(120_000);

const root = join(import.meta.dir, "..");
const model = await pulled("yolo11n");
const image = await pulled("sample1");
const isOffline = model === undefined || image === undefined;

/** Run a program; its output, after checking that it went well. */
function run(args: readonly string[], cwd: string): string {
  const child = Bun.spawnSync([process.execPath, ...args], { cwd, stdout: "pipe", stderr: "pipe" });
  expect(child.stderr.toString()).toBe("");
  expect(child.exitCode).toBe(0);
  return child.stdout.toString();
}

function example(name: string, ...args: readonly string[]): string {
  return run([join(root, "examples", name), ...args], root);
}

test.skipIf(isOffline)("examples/01-detect.ts prints objects and boxes", () => {
  expect(example("01-detect.ts", image!)).toMatch(/sample1\.jpg: \d+ objects in [\d.]+ ms\n {2}person 0\.\d\d at \d+/);
});

test.skipIf(isOffline)("examples/02-many-images.ts goes on after an image that is not there", () => {
  const output = example("02-many-images.ts", image!, "no-such-file.jpg", image!);
  expect(output).toContain("no-such-file.jpg: Cannot");
  expect(output).toMatch(/6 persons in 2 images, 1 could not be read/);
});

test.skipIf(isOffline)("examples/03-camera-frames.ts answers every frame in order", () => {
  const lines = example("03-camera-frames.ts").trim().split("\n");
  expect(lines.map((line) => line.slice(0, 8))).toEqual(["frame 0:", "frame 1:", "frame 2:", "frame 3:", "frame 4:"]);
});

test.skipIf(isOffline)("examples/04-stages.ts shows the tensors between the stages", () => {
  const output = example("04-stages.ts", image!);
  expect(output).toContain("input f32 [1,3,640,640]");
  expect(output).toContain("output output0 f32 [1,84,8400]");
});

test.skipIf(isOffline)("examples/05-onnxruntime.ts runs a model by itself", () => {
  expect(example("05-onnxruntime.ts", model!)).toContain("output0: f32 [1,84,84]");
});

test("examples/06-super-resolution.ts enlarges an image", async () => {
  const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-example-"));
  try {
    const [path, source, output] = ["twice.onnx", "small.png", "large.png"].map((name) => join(folder, name));
    writeFileSync(path!, nearestModel(["n", 1, "h", "w"], ["n", 1, "h2", "w2"]));
    writeFileSync(source!, await encodeImage(noiseImage(600, 20), { format: "png" }));
    const lines = example("06-super-resolution.ts", path!, source!, output!).split("\n");
    expect(lines[0]).toBe("luma NCHW in, luma NCHW out, 2 times as large");
    expect(lines[1]).toMatch(/^1200x40 in 2 tiles, [\d.]+ of [\d.]+ ms$/);
    expect((await decodeImage(output!)).width).toBe(1200);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test.skipIf(isOffline || isFfmpegMissing)(
  "examples/18-streams.ts answers every frame of eight cameras",
  () => {
    const output = example("18-streams.ts");
    expect(output).toMatch(/^(camera \d: 2 frames, \d+ tracks\n){8}$/);
  },
  120_000,
);

test.skipIf(isOffline || isFfmpegMissing)(
  "examples/09-video.ts writes a video with as many frames as it reads",
  () => {
    const output = example("09-video.ts");
    expect(output).toMatch(/^h264 640x360, about 15 frames\n0\.000 s: /);
    expect(output).toMatch(/15 frames in .*bun-tensorrt-annotated\.mp4\n$/);
  },
  120_000,
);

test.skipIf(isOffline || isRedisUnreachable)(
  "examples/07-redis-worker.ts answers every frame and ends, as redis-server or $REDIS_URL is there",
  () => {
    const lines = example("07-redis-worker.ts", image!).trim().split("\n");
    expect(lines).toHaveLength(3);
    for (const [at, line] of lines.entries()) {
      expect(line).toMatch(new RegExp(`^gate/${at}/\\d+-\\d+: \\d+ objects by yolo11n, [\\d.]+ ms in the worker$`));
    }
  },
);

test.skipIf(isOffline)("examples/08-serve.ts answers an image and refuses a text", () => {
  const output = example("08-serve.ts", image!);
  expect(output).toMatch(
    /^serving at http:\/\/127\.0\.0\.1\n.*sample1\.jpg: \d+ objects in [\d.]+ ms\n422 not-an-image\n$/,
  );
});

test.skipIf(isOffline)(
  "examples/10-hono.ts answers below its path, beside a route of its own",
  () => {
    expect(example("10-hono.ts", image!)).toBe(
      '/persons {"persons":3}\n/vision/detect 5 objects, best: person\n/vision/detect without the token 401\n',
    );
  },
  120_000,
);

test.skipIf(isOffline)(
  "examples/11-elysia.ts answers with two models",
  () => {
    expect(example("11-elysia.ts", image!)).toBe(
      "/persons/detect person, person, person\n/things/detect wine glass, chair\n",
    );
  },
  120_000,
);

test.skipIf(isOffline)("examples/16-head-by-hand.ts finds by its own head what the built-in one finds", () => {
  const lines = example("16-head-by-hand.ts", image!).trim().split("\n");
  expect(lines[0]).toBe("yolo: 5 objects, yolo-by-hand: 5 objects");
  for (const line of lines.slice(1)) expect(line).toMatch(/^[a-z ]+ 0\.\d\d, as the built-in one within 0\.01 pixels$/);
});

test("examples/17-slices.ts finds more in slices than in the whole image", async () => {
  const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-example-"));
  try {
    const [path, source] = ["toy.onnx", "wide.png"].map((name) => join(folder, name));
    writeFileSync(path!, toyDetector());
    writeFileSync(source!, await encodeImage(flatImage(192, 64, 255), { format: "png" }));
    const lines = example("17-slices.ts", path!, source!, "64").trim().split("\n");
    const [whole, sliced] = lines.map((line) =>
      Number(/^(?:whole|sliced): (\d+) objects in [\d.]+ ms$/.exec(line)?.[1]),
    );
    expect(whole).toBe(3);
    // Four slices show three objects each, of which neighbours share some.
    expect(sliced).toBeGreaterThan(6);
    expect(sliced).toBeLessThanOrEqual(15);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

/** Start an example that serves; ask it until it is done, and end it as Ctrl-C does. @returns what it printed after its address */
async function served(name: string, ask: (url: URL) => Promise<void>): Promise<string> {
  const child = Bun.spawn([process.execPath, join(root, "examples", name), "0"], {
    cwd: root,
    stdout: "pipe",
    stderr: "pipe",
  });
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  try {
    let text = "";
    while (!text.includes("\n")) text += (await reader.read()).value ?? "(ended)\n";
    await ask(new URL(/^open (http:\S+)\n/.exec(text)![1]!));
    child.kill("SIGINT");
    expect([await child.exited, await child.stderr.text()]).toEqual([0, ""]);
    let rest = "";
    for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) rest += chunk.value;
    return rest;
  } finally {
    child.kill();
  }
}

interface CameraAnswer {
  readonly index: number;
  readonly width: number;
  readonly detections: readonly { readonly label: string }[];
  readonly dropped: number;
}

test.skipIf(isOffline)(
  "examples/12-camera.ts answers the newest frames of a WebSocket, and drops older ones",
  async () => {
    const printed = await served("12-camera.ts", async (url) => {
      const address = new URL("/frames", url.href.replace("http", "ws"));
      expect((await fetch(new URL("/frames", url))).status).toBe(403);
      const jpeg = await Bun.file(image!).bytes();
      const headers = { origin: url.origin };
      const socket = new WebSocket(address, { headers });
      await new Promise((resolve) => socket.addEventListener("open", resolve));
      const answers: CameraAnswer[] = [];
      socket.addEventListener("message", ({ data }) => answers.push(JSON.parse(data)));
      for (let frame = 0; frame < 20; frame++) socket.send(jpeg);
      socket.send(jpeg.subarray(0, 1000));
      socket.send(jpeg);
      // The newest always has its answer; what is no image has none.
      while (answers.at(-1)?.index !== 21) await Bun.sleep(5);
      const { width, detections, dropped } = answers.at(-1)!;
      expect([width, detections.filter(({ label }) => label === "person").length]).toEqual([1920, 3]);
      expect(dropped).toBeGreaterThan(5);
      expect(answers.length + dropped).toBeGreaterThanOrEqual(21);
      expect(answers.map(({ index }) => index)).toEqual(answers.map(({ index }) => index).sort((a, b) => a - b));
      socket.close();
    });
    expect(printed).toMatch(/^(frame 20: Cannot .*\n)?$/);
  },
  120_000,
);

test.skipIf(isOffline || chromium === undefined)(
  "examples/12-camera.html draws on the camera of a browser",
  async () => {
    await served("12-camera.ts", async (url) => {
      const flags = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"];
      await using page = await BrowserPage.open(1000, 700, flags);
      await page.goto(url.href);
      await page.until(`/frame [1-9]\\d* of/.test(document.querySelector("p").textContent)`);
      expect(await page.evaluate<string>(`document.querySelector("p").textContent`)).toMatch(
        /^\d+ objects, \d+ ms a frame; frame \d+ of \d+, \d+ dropped$/,
      );
      expect(page.console).toEqual([]);
    });
  },
  120_000,
);

test.skipIf(isOffline)(
  "examples/13-worker-threads.ts shares images between threads",
  () => {
    const lines = example("13-worker-threads.ts", image!, join(root, "package.json"), image!).split("\n");
    expect(lines.filter((line) => line.endsWith("sample1.jpg: person, person, wine glass, person"))).toHaveLength(2);
    expect(lines[1]).toContain("package.json: Cannot decode bytes");
  },
  120_000,
);

test.skipIf(isOffline)(
  "examples/14-compile.ts detects, and so does the executable that is made of it",
  () => {
    const output = example("14-compile.ts", model!, image!);
    expect(output).toMatch(/sample1\.jpg: person 0\.\d\d, /);
    const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-example-"));
    try {
      const program = join(root, "examples/14-compile.ts");
      Bun.spawnSync([process.execPath, "build", "--compile", program, "--outfile", join(folder, "detect")]);
      const env = { HOME: folder };
      const child = Bun.spawnSync([join(folder, "detect"), model!, image!], { cwd: folder, env, stderr: "pipe" });
      expect(child.stderr.toString()).toBe("");
      expect(child.stdout.toString()).toBe(output);
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
  120_000,
);

test("every example is run by a test, most of them here", () => {
  const names = [...new Bun.Glob("*.ts").scanSync(join(root, "examples"))];
  const others = readFileSync(join(root, "test/detector/own-heads.test.ts"), "utf8");
  const tests = readFileSync(import.meta.path, "utf8");
  const isRun = (name: string): boolean =>
    new RegExp(`(?:example|served)\\("${RegExp.escape(name)}"`).test(tests) || others.includes(`"examples/${name}"`);
  expect(names.filter((name) => !isRun(name))).toEqual([]);
});
