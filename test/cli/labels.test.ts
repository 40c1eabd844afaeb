import { beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { writeFileSync } from "node:fs";
import sharp from "sharp";
import { fileFolder } from "../support/folder.ts";
import { toyDetector } from "../support/toy-detector.ts";
import { runCli } from "./run-cli.ts";

setDefaultTimeout(120_000);

const path = fileFolder("labels");

beforeAll(async () => {
  writeFileSync(path("toy.onnx"), toyDetector());
  writeFileSync(path("names.txt"), "Katze\r\nHund\r\n\r\n");
  writeFileSync(path("names.json"), '["Katze",\n "Hund"]\n');
  writeFileSync(path("names.yaml"), "{0: 'Katze', 1: 'Hund'}\n");
  writeFileSync(path("other.json"), '{"names": {"person": true}}');
  const white = sharp({ create: { width: 64, height: 64, channels: 3, background: "white" } });
  await white.png().toFile(path("white.png"));
});

test.each([
  ["a file, one name a line", "names.txt"],
  ["a JSON list", "names.json"],
  ["a dict by class id", "names.yaml"],
])("detect --labels names the classes by %s", async (_, file) => {
  const words = ["detect", "white.png", "--model", "toy.onnx", "--labels", file, "--format", "json", "--quiet"];
  const { code, output, errors } = await runCli(words, { cwd: path() });
  expect(errors).toBe("");
  expect(code).toBe(0);
  const [image] = JSON.parse(output) as { detections: { label: string }[] }[];
  expect(image?.detections.map(({ label }) => label)).toEqual(["Katze", "Hund", "Hund"]);
});

test("detect --labels says that a file of JSON is no list of names", async () => {
  const { code, errors } = await runCli(["detect", "white.png", "--labels", "other.json"], { cwd: path() });
  expect(code).toBe(2);
  expect(errors).toContain('"other.json" holds no list of names');
});

test("detect --labels says which file cannot be read", async () => {
  const { code, errors } = await runCli(["detect", "white.png", "--labels", "nowhere.txt"], { cwd: path() });
  expect(code).toBe(2);
  expect(errors).toContain('"nowhere.txt" cannot be read: ENOENT');
});

test.skipIf(process.platform === "win32").each([
  ["/dev/zero", '"/dev/zero" cannot be read: EFBIG'],
  ["/dev/null", '"/dev/null" holds no name'],
])("detect --labels refuses %s", async (file, expected) => {
  const { code, errors } = await runCli(["detect", "white.png", "--labels", file], { cwd: path() });
  expect(code).toBe(2);
  expect(errors).toContain(expected);
});
