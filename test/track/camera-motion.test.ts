import { expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Image, imageOf } from "../../src/image/image.ts";
import { bestResizeInstructions } from "../../src/image/preprocess-plan.ts";
import { CameraMotion, estimateStep, NativeFlow } from "../../src/track/camera-motion.ts";
import { GreyPyramid } from "../../src/track/grey-pyramid.ts";
import { Motion, TurnableMotion } from "../../src/track/motion.ts";
import { type Flow, OpticalFlow } from "../../src/track/optical-flow.ts";
import { Tracker } from "../../src/track/tracker.ts";
import { VideoSource } from "../../src/video/video-source.ts";
import golden from "../fixtures/track/optical-flow.json" with { type: "json" };
import { isFfmpegMissing } from "../support/videos.ts";

type Move = readonly [a: number, b: number, dx: number, dy: number];

/** Waves and bumps, seen after the camera has moved, as `optical-flow.py` makes them; each pixel four times, for the half size. */
function view([a, b, dx, dy]: Move, format: "GREY" | "RGB" = "GREY"): Image {
  const step = format === "RGB" ? 3 : 1;
  const data = new Uint8Array(320 * 240 * step);
  for (let y = 0; y < 240; y++) {
    for (let x = 0; x < 320; x++) {
      const u = a * (x >> 1) - b * (y >> 1) + dx;
      const v = b * (x >> 1) + a * (y >> 1) + dy;
      const waves =
        Math.sin(u * 0.31) * Math.cos(v * 0.23) + Math.sin(u * 0.071 + v * 0.113) + Math.cos(u * 0.17 - v * 0.19);
      data.fill(Math.floor(128 + 40 * waves), (y * 320 + x) * step, (y * 320 + x + 1) * step);
    }
  }
  return imageOf(data, { width: 320, height: 240, format });
}

const RESTING: Move = [1, 0, 0, 0];
const MOVED: Move = [1.004, 0.006, 1.7, -2.3];

function pyramidOf(image: Image): GreyPyramid {
  const pyramid = new GreyPyramid(image.width, image.height);
  pyramid.load(image);
  return pyramid;
}

test("corners, and where they went, are those of OpenCV, and so is the motion that they agree on", () => {
  const [before, after] = [pyramidOf(view(RESTING)), pyramidOf(view(MOVED))];
  const flow = new OpticalFlow(before.levels[0]!);
  flow.find(before);
  const pairs = (places: Float64Array): number[][] =>
    Array.from({ length: flow.count }, (_, at) => [places[2 * at]!, places[2 * at + 1]!]);
  expect(pairs(flow.from)).toEqual(golden.corners);
  flow.follow(before, after);
  expect(pairs(flow.from)).toEqual(golden.from);
  const offs = pairs(flow.to).map(([x, y], at) => Math.hypot(x! - golden.to[at]![0]!, y! - golden.to[at]![1]!));
  expect(offs.filter((off) => off < 0.01).length / offs.length).toBeGreaterThan(0.97);
  const { a, b, dx, dy } = estimateStep(flow.from, flow.to, flow.count)!;
  const [[a0, , dx0], [b0, , dy0]] = golden.motion as [[number, number, number], [number, number, number]];
  expect([
    Math.abs(a - a0) < 2e-5,
    Math.abs(b - b0) < 2e-5,
    Math.abs(dx - dx0) < 0.003,
    Math.abs(dy - dy0) < 0.003,
  ]).toEqual([true, true, true, true]);
});

test("the camera's motion is in pixels of the frame, of colours as of grey, and none is seen on an empty wall", () => {
  for (const format of ["GREY", "RGB"] as const) {
    const camera = new CameraMotion();
    expect(camera.step(view(RESTING, format))).toBeUndefined();
    const { a, b, dx, dy } = camera.step(view([1, 0, 2, -3], format))!;
    // What the camera sees has gone the other way.
    expect([Math.abs(a - 1) < 0.005, Math.abs(b) < 0.005, Math.round(dx), Math.round(dy)]).toEqual([true, true, -4, 6]);
  }
  const wall = imageOf(new Uint8Array(320 * 240 * 3), { width: 320, height: 240 });
  const camera = new CameraMotion();
  expect([camera.step(wall), camera.step(wall)]).toEqual([undefined, undefined]);
  // Sizes that change, odd ones and small ones are no trouble.
  for (const [width, height] of [
    [33, 17],
    [4, 4],
    [5, 301],
    [3, 90],
    [1, 1],
  ] as const) {
    expect(camera.step(imageOf(new Uint8Array(width * height * 3), { width, height }))).toBeUndefined();
  }
});

/** Noise with a pattern that moves, of any format: dark and bright colours are cut to 0–255. */
function noise(width: number, height: number, layout: Partial<Image>, shift: number): Image {
  const { format = "RGB" } = layout;
  const pixelBytes = { RGB: 3, BGR: 3, RGBA: 4, GREY: 1, NV12: 1, GREY16: 2, RGBA16: 8 }[format];
  const pitchBytes = width * pixelBytes + (width & 1) + 5;
  const rows = format === "NV12" ? height + ((height + 1) >> 1) + 4 : height;
  const data = new Uint8Array(pitchBytes * rows);
  for (let at = 0; at < data.length; at++) {
    const [x, y] = [Math.floor((at % pitchBytes) / pixelBytes) + shift, Math.floor(at / pitchBytes) + shift];
    data[at] = 128 + 150 * Math.sin(x * 0.37) * Math.cos(y * 0.23) + ((at * 7919) % 13);
  }
  return imageOf(data, { width, height, pitchBytes, ...layout });
}

const best = bestResizeInstructions();

test.skipIf(best === "none")(
  "the shim finds and follows what the reference does, to the bit, with and without vectors",
  () => {
    const sizes = [
      [4, 4],
      [6, 37],
      [31, 18],
      [98, 75],
      [163, 116],
    ] as const;
    const layouts: readonly Partial<Image>[] = [
      { format: "RGB" },
      { format: "BGR" },
      { format: "RGBA" },
      { format: "GREY" },
      { format: "NV12" },
      { format: "NV12", yuvRange: "full" },
    ];
    let followed = 0;
    for (const [width, height] of sizes) {
      for (const layout of layouts) {
        const results = (["none", "plain", best] as const).map((kind) => {
          const [before, after] = [new GreyPyramid(width, height), new GreyPyramid(width, height)];
          const level = before.levels[0]!;
          const flow: Flow = kind === "none" ? new OpticalFlow(level) : new NativeFlow(level, kind);
          flow.load(before, noise(width, height, layout, 0));
          flow.find(before);
          const corners = flow.from.slice(0, 2 * flow.count);
          flow.load(after, noise(width, height, layout, 3));
          flow.follow(before, after);
          followed += flow.count;
          const [from, to] = [flow.from.slice(0, 2 * flow.count), flow.to.slice(0, 2 * flow.count)];
          return { pixels: after.pixels, corners, from, to };
        });
        for (const result of results.slice(1)) expect(result).toEqual(results[0]!);
      }
    }
    expect(followed).toBeGreaterThan(3000);
  },
);

test("frames whose pixels are gone are refused by name", () => {
  const image = noise(40, 30, { format: "RGB" }, 0);
  (image.data.buffer as ArrayBuffer).transfer();
  expect(() => new CameraMotion().step(image)).toThrow("its pixels are gone, 0 of ");
});

test("pairs that are off do not count, and five are the least", () => {
  const from = Float64Array.from({ length: 80 }, (_, at) => (at * 7919) % 97);
  const to = from.map((value, at) => value + (at % 2 === 0 ? 3 : -2));
  for (let at = 0; at < 24; at++) to[at]! += 40 + at * 5;
  const { a, b, dx, dy } = estimateStep(from, to, 40)!;
  expect([a, b, dx, dy].map((value) => Math.round(value * 1e6) / 1e6 + 0)).toEqual([1, 0, 3, -2]);
  expect(estimateStep(from, to, 4)).toBeUndefined();
});

test("without a motion of the camera its filter is the other one, and with one it goes along", () => {
  const [turnable, plain] = [new TurnableMotion(), new Motion("size")];
  for (const motion of [turnable, plain]) {
    motion.reserve(2);
    motion.start(1, 100, 50, 40, 80);
    for (let frame = 1; frame < 20; frame++) {
      motion.predict(1, frame % 5 === 0 ? 2 : 1);
      motion.correct(1, 100 + 3 * frame, 50 + frame, 40 + (frame % 3), 80);
    }
  }
  for (let at = 8; at < 16; at++) expect(turnable.states[at]!).toBeCloseTo(plain.states[at]!, 9);
  const box = new Float64Array(4);
  turnable.warp(1, { a: 0, b: 1, dx: 500, dy: 7 });
  const [cx, cy, vx, vy] = [plain.states[8]!, plain.states[9]!, plain.states[12]!, plain.states[13]!];
  expect([turnable.states[8]!, turnable.states[9]!, turnable.states[12]!, turnable.states[13]!]).toEqual([
    expect.closeTo(500 - cy, 6),
    expect.closeTo(cx + 7, 6),
    expect.closeTo(-vy, 6),
    expect.closeTo(vx, 6),
  ]);
  turnable.box(1, box, 0);
  expect(box.every(Number.isFinite)).toBe(true);
});

test("a camera that jumps: the ids stay with its motion, and are lost without", () => {
  const ids = (cameraMotion: "none" | "sparse-optical-flow") => {
    const tracker = new Tracker({ tracker: "botsort", cameraMotion, clock: "frame" });
    return [0, 0, 0, 14, 14, 14].map((shift) => {
      const box = [100 - 2 * shift, 60, 120 - 2 * shift, 100] as const;
      const found = [{ label: "person", classId: 0, score: 0.9, box }];
      return tracker.update(found, view([1, 0, shift, 0]))[0]?.trackId;
    });
  };
  expect(ids("sparse-optical-flow")).toEqual([1, 1, 1, 1, 1, 1]);
  expect(ids("none")).not.toEqual([1, 1, 1, 1, 1, 1]);
});

test("cameraMotion is for botsort, and for frames whose pixels are in host memory", () => {
  expect(() => new Tracker({ cameraMotion: "sparse-optical-flow" })).toThrow("must be none for bytetrack");
  const tracker = new Tracker({ tracker: "botsort", cameraMotion: "sparse-optical-flow" });
  expect(() => tracker.update([])).toThrow(
    "Cannot see the motion of the camera: the frame has no pixels in host memory",
  );
  const deep = imageOf(new Uint8Array(800), { width: 20, height: 20, format: "GREY16" });
  expect(() => tracker.update([], deep)).toThrow("its pixels are GREY16");
});

/** Of the 200 of the reference, which all are the same. */
const FRAMES = 80;
const folder = join(import.meta.dir, "../../../shared");
const clip = join(folder, "videos/vtest.avi");

test.skipIf(isFfmpegMissing || !existsSync(clip))(
  "BoT-SORT with the camera's motion over vtest.avi: the tracks of the reference, up to a bijection of ids",
  async () => {
    const read = (file: string) => JSON.parse(readFileSync(join(folder, "reference/tracking", file), "utf8")).frames;
    const reference = read("ultralytics_botsort_sparseOptFlow.json") as number[][][];
    const rows = read("detections.json") as number[][][];
    const tracker = new Tracker({ tracker: "botsort", cameraMotion: "sparse-optical-flow" });
    const idOf = new Map<number, number>();
    let [total, other, worst] = [0, 0, 0];
    // Of two people who pass each other rounding decides: NV12 has the brightness of the colours that the reference had.
    await using video = await VideoSource.open(clip);
    for await (const frame of video) {
      using _ = frame;
      if (frame.index >= FRAMES) break;
      const found = rows[frame.index]!.map(([x1, y1, x2, y2, score]) => {
        return { label: "person", classId: 0, score: score!, box: [x1!, y1!, x2!, y2!] as const };
      });
      const tracked = new Map(tracker.update(found, frame).map((one) => [found.indexOf(one as never), one]));
      for (const [x1, y1, x2, y2, id, , , detection] of reference[frame.index]!) {
        total += 1;
        const one = tracked.get(detection!);
        if (one !== undefined && !idOf.has(id!)) idOf.set(id!, one.trackId);
        if (one === undefined || idOf.get(id!) !== one.trackId) other += 1;
        else
          for (const [side, value] of [x1!, y1!, x2!, y2!].entries())
            worst = Math.max(worst, Math.abs(one.box[side]! - value));
      }
    }
    expect([total > 300, other <= total / 100, worst < 1]).toEqual([true, true, true]);
  },
  60_000,
);
