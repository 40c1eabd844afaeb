import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { runCli } from "../cli/run-cli.ts";
import { fixedModel, rawGrid } from "../support/fixed-model.ts";

let folder = "";
const path = (name: string): string => join(folder, name);

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-objects-"));
  const names = "{0: 'person'}";
  const points = [10, 14, 0.9, 14, 18, 0.8];
  const pose = rawGrid(11, [[1, [12, 16, 16, 12, 0.75, ...points]]]);
  writeFileSync(path("pose.onnx"), fixedModel([pose], { metadata: { task: "pose", names, kpt_shape: "[2, 3]" } }));
  const obb = rawGrid(6, [[1, [16, 16, 12, 4, 0.75, Math.PI / 2]]]);
  writeFileSync(path("obb.onnx"), fixedModel([obb], { metadata: { task: "obb", names } }));
  writeFileSync(path("bare.onnx"), fixedModel([obb]));
  await sharp({ create: { width: 64, height: 32, channels: 3, background: "black" } })
    .png()
    .toFile(path("1.png"));
});

afterAll(() => rmSync(folder, { recursive: true }));

test("detect writes what the model gives in every format, and draws it", async () => {
  const detect = (...words: string[]): ReturnType<typeof runCli> =>
    runCli(["detect", "--backend", "cpu", "--model", "pose.onnx", "1.png", ...words], { cwd: folder });
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
  const asked = await runCli([...words, "bare.onnx", "--task", "obb"], { cwd: folder });
  expect(JSON.parse(asked.output)).toMatchObject([
    { task: "obb", objects: [{ angle: expect.closeTo(Math.PI / 2, 5) }] },
  ]);
  const boxes = await runCli([...words, "pose.onnx", "--task", "detect"], { cwd: folder });
  expect(JSON.parse(boxes.output)).toMatchObject([{ detections: [{ label: "person", box: [8, 4, 40, 28] }] }]);
  const wrong = await runCli([...words, "pose.onnx", "--task", "obb"], { cwd: folder });
  expect([wrong.code, wrong.errors]).toEqual([
    1,
    expect.stringContaining('its task is "pose"\nHint: load it with `PoseEstimator`'),
  ]);
  const { output } = await runCli(["inspect", "obb.onnx"], { cwd: folder });
  expect(output).toMatch(/task +obb, on the CPU\n/);
});

test("serve takes detectors, and says how else a pose model is taken", async () => {
  const { code, errors } = await runCli(["serve", "--backend", "cpu", "--model", "pose.onnx"], { cwd: folder });
  expect([code, errors]).toEqual([1, expect.stringMatching(/its task is "pose"\nHint: .*`--task detect`/)]);
});
