import { beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { copyFileSync, existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import sharp from "sharp";
import { Mask } from "../../src/tasks/segment/mask.ts";
import { runCli, spawnCli } from "../cli/run-cli.ts";
import { fixedModel, rawGrid } from "../support/fixed-model.ts";
import { fileFolder } from "../support/folder.ts";
import { FAST, ffmpeg, isFfmpegMissing } from "../support/videos.ts";

setDefaultTimeout(120_000);

const path = fileFolder("objects");

beforeAll(async () => {
  const names = "{0: 'person'}";
  const points = [10, 14, 0.9, 14, 18, 0.8];
  const pose = rawGrid(11, [[1, [12, 16, 16, 12, 0.75, ...points]]]);
  writeFileSync(path("pose.onnx"), fixedModel([pose], { metadata: { task: "pose", names, kpt_shape: "[2, 3]" } }));
  const obb = rawGrid(6, [[1, [16, 16, 12, 4, 0.75, Math.PI / 2]]]);
  writeFileSync(path("obb.onnx"), fixedModel([obb], { metadata: { task: "obb", names } }));
  writeFileSync(path("bare.onnx"), fixedModel([obb]));
  const both = "{0: 'person', 1: 'tea / pot'}";
  const turned = rawGrid(7, [
    [1, [16, 16, 12, 4, 0.75, 0, Math.PI / 2]],
    [2, [8, 16, 6, 4, 0, 0.5, 0]],
  ]);
  writeFileSync(path("both.onnx"), fixedModel([turned], { metadata: { task: "obb", names: both } }));
  const found = rawGrid(37, [[1, [12, 16, 16, 12, 0.75, ...new Array(32).fill(1)]]]);
  const prototypes = { name: "output1", shape: [1, 32, 8, 8], values: new Array(32 * 64).fill(1) };
  writeFileSync(path("segment.onnx"), fixedModel([found, prototypes], { metadata: { task: "segment", names } }));
  await sharp({ create: { width: 64, height: 32, channels: 3, background: "black" } })
    .png()
    .toFile(path("1.png"));
});

test("detect writes what the model gives in every format, and draws it", async () => {
  const detect = (...words: string[]): ReturnType<typeof runCli> =>
    runCli(["detect", "--backend", "cpu", "--model", "pose.onnx", "1.png", ...words], { cwd: path() });
  const table = await detect();
  expect([table.code, table.output]).toEqual([0, expect.stringMatching(/points\n {2}person +0\.750 .* 2\/2\n$/)]);
  const [json] = JSON.parse((await detect("--format", "json")).output);
  const keypoints = [
    [20, 12, 0.9],
    [28, 20, 0.8],
  ];
  expect(json).toMatchObject({ file: "1.png", task: "pose", objects: [{ label: "person", keypoints }] });
  const coco = JSON.parse((await detect("--format", "coco")).output);
  expect(coco).toMatchObject([{ image_id: 1, category_id: 1, keypoints: keypoints.flat() }]);
  const copies = await detect("--format", "yolo", "--output", "labels", "--save", "drawn");
  expect(copies.code).toBe(0);
  expect(readFileSync(path("labels/1.txt"), "utf8")).toBe(
    "0 0.375000 0.500000 0.500000 0.750000 0.312500 0.375000 0.900000 0.437500 0.625000 0.800000 0.750000\n",
  );
  const { data } = await sharp(path("drawn/1.png")).raw().toBuffer({ resolveWithObject: true });
  expect(data.some((value) => value > 0)).toBe(true);
});

test("detect takes a task that the model does not tell, and inspect says the one that it tells", async () => {
  const words = ["detect", "--backend", "cpu", "--format", "json", "1.png", "--model"];
  const asked = await runCli([...words, "bare.onnx", "--task", "obb"], { cwd: path() });
  expect(JSON.parse(asked.output)).toMatchObject([
    { task: "obb", objects: [{ angle: expect.closeTo(Math.PI / 2, 5) }] },
  ]);
  const boxes = await runCli([...words, "pose.onnx", "--task", "detect"], { cwd: path() });
  expect(JSON.parse(boxes.output)).toMatchObject([{ detections: [{ label: "person", box: [8, 4, 40, 28] }] }]);
  const wrong = await runCli([...words, "pose.onnx", "--task", "obb"], { cwd: path() });
  expect([wrong.code, wrong.errors]).toEqual([
    1,
    expect.stringContaining('its task is "pose"\nHint: load it with `PoseEstimator`'),
  ]);
  const { output } = await runCli(["inspect", "obb.onnx"], { cwd: path() });
  expect(output).toMatch(/task +obb\n/);
});

test("inspect shows what --task and --keypoint-shape make of a model that tells neither, as detect takes it", async () => {
  writeFileSync(
    path("points.onnx"),
    fixedModel([rawGrid(11, [[1, [12, 16, 16, 12, 0.75, 10, 14, 0.9, 14, 18, 0.8]]])]),
  );
  const inspect = async (...words: string[]): Promise<{ code: number; errors: string; output: string }> =>
    await runCli(["inspect", ...words], { cwd: path() });
  const json = async (...words: string[]): Promise<unknown> => JSON.parse((await inspect(...words, "--json")).output);
  expect(await json("bare.onnx")).toMatchObject({ task: "detect" });
  expect(await json("bare.onnx", "--task", "obb")).toMatchObject({ task: "obb", recognition: { head: "yolo" } });
  expect(await json("obb.onnx", "--task", "detect")).toMatchObject({ task: "detect" });
  const points = ["--task", "pose", "--keypoint-shape", "2,3"];
  expect(await json("points.onnx", ...points)).toMatchObject({
    task: "pose",
    recognition: { keypoints: { count: 2, numbers: 3 } },
  });
  const wrong = await inspect("pose.onnx", "--task", "obb");
  expect([wrong.code, wrong.output]).toEqual([1, expect.stringContaining('its task is "pose"')]);
  expect((await inspect("pose.onnx", "--task", "poses")).code).toBe(2);
});

test("a head of another task than the one that is named is refused: what was found were classes, not points", async () => {
  const said = ["bare.onnx", "--task", "pose", "--head", "yolo"];
  for (const words of [
    ["detect", "1.png", "--backend", "cpu", "--model", ...said],
    ["inspect", ...said],
  ]) {
    const { code, errors } = await runCli(words, { cwd: path() });
    expect([code, errors]).toEqual([
      2,
      expect.stringMatching(
        /Option "head" must be one of PoseEstimator's, got "yolo"\nHint: leave it out, or choose one of yolo-nas-pose/,
      ),
    ]);
  }
  const { code, errors } = await runCli(["inspect", "bare.onnx", "--task", "segment", "--head", "scrfd"], {
    cwd: path(),
  });
  expect([code, errors]).toEqual([2, expect.stringMatching(/must be one of Segmenter's, got "scrfd"\nHint: .*yolact/)]);
});

function detect(model: string, ...words: string[]): ReturnType<typeof runCli> {
  return runCli(["detect", "--backend", "cpu", "--model", model, ...words], { cwd: path() });
}

test("detect writes a line of CSV for each object, with what fits into one", async () => {
  const csv = async (model: string): Promise<string> => (await detect(model, "1.png", "--format", "csv")).output;
  const sides = "person,0,0.75,8,4,40,28";
  expect(await csv("pose.onnx")).toBe(
    `file,label,class,score,x1,y1,x2,y2,keypoints\n1.png,${sides},20 12 0.9 28 20 0.8\n`,
  );
  expect(await csv("segment.onnx")).toBe(`file,label,class,score,x1,y1,x2,y2,area\n1.png,${sides},768\n`);
  expect(await csv("obb.onnx")).toBe(
    "file,label,class,score,x1,y1,x2,y2,cx,cy,width,height,angle\n1.png,person,0,0.75,28,4,36,28,32,16,24,8,1.570796\n",
  );
  const plain = await detect("pose.onnx", "1.png", "--format", "csv", "--task", "detect");
  expect(plain.output).toBe(`file,label,class,score,x1,y1,x2,y2\n1.png,${sides}\n`);
});

test("detect writes masks as run lengths, as polygons, or not at all", async () => {
  const json = async (...words: string[]): Promise<{ mask?: object }> => {
    const { output } = await detect("segment.onnx", "1.png", "--format", "json", ...words);
    return JSON.parse(output)[0].objects[0];
  };
  const area = new Array(32 * 64).fill(0).map((_, at) => {
    const [x, y] = [at % 64, Math.floor(at / 64)];
    return Number(x >= 8 && x < 40 && y >= 4 && y < 28);
  });
  const rle = Mask.fromBitmap(area, 64, 32).toRle({ compressed: true });
  expect((await json()).mask).toEqual(rle);
  expect((await json("--masks", "rle")).mask).toEqual(rle);
  const outer = [8, 4, 8, 28, 40, 28, 40, 4];
  expect((await json("--masks", "polygon")).mask).toEqual({ size: [32, 64], polygons: [{ outer, holes: [] }] });
  expect(await json("--masks", "none")).not.toHaveProperty("mask");
  const coco = async (...words: string[]): Promise<object> =>
    JSON.parse((await detect("segment.onnx", "1.png", "--format", "coco", ...words)).output)[0];
  expect(await coco()).toMatchObject({ image_id: 1, segmentation: rle });
  expect(await coco("--masks", "polygon")).toMatchObject({ segmentation: [outer] });
  expect(await coco("--masks", "none")).not.toHaveProperty("segmentation");
  expect((await json("--mask-size", "proto")).mask).toMatchObject({ size: [8, 8] });
  for (const format of ["csv", "coco", "yolo"]) {
    const small = await detect("segment.onnx", "1.png", "--format", format, "-o", "small", "--mask-size", "proto");
    expect([small.code, small.errors]).toEqual([
      2,
      `error: --format ${format} needs masks of the image's size, got --mask-size proto\n` +
        "Hint: leave --mask-size out, or choose --format json\n",
    ]);
  }
  const wrong = await detect("segment.onnx", "1.png", "--format", "csv", "--masks", "rle");
  expect([wrong.code, wrong.errors]).toEqual([
    2,
    "error: --masks is for --format json, jsonl, coco, got csv\nHint: leave it out, or choose another format\n",
  ]);
});

test("detect writes a Task1 file of DOTA for each class", async () => {
  const { code, errors } = await detect("both.onnx", "1.png", "--format", "dota", "--output", "dota");
  expect([code, errors]).toEqual([0, ""]);
  expect(readdirSync(path("dota")).sort()).toEqual(["Task1_person.txt", "Task1_tea---pot.txt"]);
  const numbers = (name: string): number[] => {
    const [first, ...rest] = readFileSync(path("dota", name), "utf8").trimEnd().split(" ");
    expect(first).toBe("1");
    return rest.map(Number);
  };
  const person = numbers("Task1_person.txt");
  expect(person[0]).toBe(0.75);
  // Each corner of 28, 4 to 36, 28, whichever comes first.
  const corners = [1, 3, 5, 7].map((at) => person.slice(at, at + 2).join());
  expect(corners.sort()).toEqual(["28,28", "28,4", "36,28", "36,4"]);
  const pot = numbers("Task1_tea---pot.txt");
  expect([pot.length, pot[0], Math.min(...pot.slice(1))]).toEqual([9, 0.5, 10]);
  await detect("obb.onnx", "1.png", "--format", "dota", "--output", "dota", "--threshold", "0.9");
  expect(readFileSync(path("dota/Task1_person.txt"), "utf8")).toBe("");
  const upright = await detect("pose.onnx", "1.png", "--format", "dota", "--output", "other");
  expect([upright.code, upright.errors]).toEqual([
    2,
    expect.stringContaining("--format dota writes oriented boxes, and the model gives none\nHint: "),
  ]);
  const nowhere = await detect("obb.onnx", "1.png", "--format", "dota");
  expect([nowhere.code, nowhere.errors]).toEqual([2, expect.stringContaining("--format dota needs a folder")]);
  copyFileSync(path("1.png"), path("a blank.png"));
  const blank = await detect("obb.onnx", "a blank.png", "--format", "dota", "--output", "dota");
  expect([blank.code, blank.errors]).toEqual([1, expect.stringContaining("its name has a blank")]);
});

test("detect cuts out what it finds, by class, and draws it in one go", async () => {
  const { code, errors } = await detect("both.onnx", "1.png", "--crop", "cut", "--save", "beside", "--quiet");
  expect([code, errors]).toEqual([0, ""]);
  expect(readdirSync(path("cut")).sort()).toEqual(["person", "tea _ pot"]);
  expect(await sharp(path("cut/person/1-1.png")).metadata()).toMatchObject({ width: 8, height: 24 });
  expect(await sharp(path("cut/tea _ pot/1-2.png")).metadata()).toMatchObject({ width: 12, height: 8 });
  expect(readdirSync(path("beside"))).toEqual(["1.png"]);
  // Cut-outs may be cut out of, too, but are not written over what is read.
  const over = await detect("both.onnx", "cut/person/1-1.png", "--crop", "cut", "--quiet");
  expect(over.code).toBe(0);
  copyFileSync(path("1.png"), path("cut/person/x-1.png"));
  copyFileSync(path("1.png"), path("x.png"));
  const own = await detect("both.onnx", "x.png", "cut/person/x-1.png", "--crop", "cut", "--quiet");
  expect([own.code, own.errors]).toEqual([2, expect.stringContaining("--crop would overwrite an image that is read")]);
  const watched = await detect("both.onnx", "--watch", "cut/person", "--crop", "cut");
  expect([watched.code, watched.errors]).toEqual([2, expect.stringContaining("--crop must not be the folder")]);
});

test("flags say how copies are drawn", async () => {
  const bare = ["--no-boxes", "--no-labels", "--no-scores"];
  const drawn = async (...words: string[]): Promise<Buffer> => {
    const { code, errors } = await detect("segment.onnx", "1.png", "--save", "styled.png", "--quiet", ...words);
    expect([code, errors]).toEqual([0, ""]);
    return sharp(path("styled.png")).raw().toBuffer();
  };
  const coloured = (data: Buffer): number => {
    let count = 0;
    for (let at = 0; at < data.length; at += 3) count += Number(data.readUIntBE(at, 3) > 0);
    return count;
  };
  expect(coloured(await drawn(...bare, "--no-masks"))).toBe(0);
  const all = await drawn(...bare, "--opacity", "1", "--palette", "#ff0000, #00ff00");
  expect([coloured(all), ...all.subarray((24 * 64 + 24) * 3).subarray(0, 3)]).toEqual([32 * 24, 255, 0, 0]);
  const framed = await drawn("--no-labels", "--no-scores", "--no-masks", "--line-width", "2");
  expect(coloured(framed)).toBe(32 * 24 - 28 * 20);
  const bareScores = await detect("segment.onnx", "1.png", "--no-scores", "--format", "json");
  expect([bareScores.code, bareScores.errors]).toEqual([
    2,
    "error: --no-scores is for annotated copies and label files\nHint: add --save DIR or --format yolo, or leave it out\n",
  ]);
  const [idle, wrong] = await Promise.all([
    detect("segment.onnx", "1.png", "--line-width", "2"),
    detect("segment.onnx", "1.png", "--save", "styled.png", "--palette", "red"),
  ]);
  expect([idle.code, idle.errors]).toEqual([
    2,
    expect.stringContaining("--line-width is for annotated copies\nHint: "),
  ]);
  expect([wrong.code, wrong.errors]).toEqual([2, 'error: --palette must be a colour such as "#ff8800", got "red"\n']);
});

test.skipIf(isFfmpegMissing)(
  "videos are drawn on with what the model gives, cut out of, and numbered in CSV",
  async () => {
    await ffmpeg("-f", "lavfi", "-i", "color=gray:size=64x32:rate=10:duration=0.3", ...FAST, path("v.mp4"));
    const { code, output, errors } = await detect(
      "segment.onnx",
      ...["v.mp4", "--format", "csv", "--crop", "frames", "--save", "drawn.mp4", "--quiet"],
    );
    expect([code, errors]).toEqual([0, ""]);
    expect(output).toBe(
      [
        "file,index,timestampMs,label,class,score,x1,y1,x2,y2,area",
        ...[0, 1, 2].map((at) => `v.mp4,${at},${at * 100},person,0,0.75,8,4,40,28,768`),
        "",
      ].join("\n"),
    );
    expect(readdirSync(path("frames/person")).sort()).toEqual([0, 1, 2].map((at) => `v-00000${at}-1.jpg`));
    // Cut out before it is drawn on: all of it is grey.
    const { data } = await sharp(path("frames/person/v-000002-1.jpg")).raw().toBuffer({ resolveWithObject: true });
    expect(data.every((level) => Math.abs(level - 128) < 5)).toBe(true);
    await ffmpeg("-i", path("drawn.mp4"), "-frames:v", "1", path("drawn-frame.png"));
    const { data: drawn } = await sharp(path("drawn-frame.png")).raw().toBuffer({ resolveWithObject: true });
    const at = (24 * 64 + 24) * 3;
    expect(Math.max(...[0, 1, 2].map((channel) => Math.abs(drawn[at + channel]! - 128)))).toBeGreaterThan(20);
  },
);

test.skipIf(isFfmpegMissing)("what cannot be drawn on a video is named, and no copy is begun", async () => {
  await ffmpeg("-f", "lavfi", "-i", "color=gray:size=64x32:rate=10:duration=0.1", ...FAST, path("one.mp4"));
  const { code, errors } = await detect("segment.onnx", "one.mp4", "--mask-size", "proto", "--save", "none.mp4", "-q");
  expect(errors).toStartWith("error: --save needs masks of the image's size, got --mask-size proto\nHint: ");
  expect([code === 0, existsSync(path("none.mp4"))]).toEqual([false, false]);
});

test("serve answers with what a pose model gives, or with boxes only", async () => {
  for (const [words, keys] of [
    [[], ["label", "classId", "score", "box", "keypoints"]],
    [
      ["--task", "detect"],
      ["label", "classId", "score", "box"],
    ],
  ] as const) {
    const child = spawnCli(["serve", "--backend", "cpu", "--port", "0", "--model", "pose.onnx", ...words], {
      cwd: path(),
    });
    try {
      const { value = [] } = await child.stderr.getReader().read();
      const url = /http:\S+/.exec(Buffer.from(value).toString())![0];
      const answer = await fetch(new URL("/detect", url), { method: "POST", body: Bun.file(path("1.png")) });
      const { objects, detections } = (await answer.json()) as { objects?: [object]; detections?: [object] };
      expect(Object.keys((objects ?? detections!)[0])).toEqual([...keys]);
    } finally {
      child.kill("SIGTERM");
      await child.exited;
    }
  }
});
