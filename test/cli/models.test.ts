import { expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { catalogue } from "../../src/catalogue/catalogue.ts";
import { pulled } from "../support/catalogue.ts";
import { testFolder } from "../support/folder.ts";
import { type CliResult, runCli } from "./run-cli.ts";

setDefaultTimeout(120_000);

const path = testFolder("models");
const models = (...words: readonly string[]): Promise<CliResult> =>
  runCli(["models", ...words], { env: { BUN_TENSORRT_CACHE: path() } });

test("models lists every entry, as a table and as JSON", async () => {
  const [table, json] = await Promise.all([models(), models("list", "--json")]);
  expect([table.code, json.code]).toEqual([0, 0]);
  for (const { name, licence } of catalogue)
    expect(table.output).toMatch(new RegExp(`^${name} .* no +${licence.slice(0, 4)}`, "m"));
  const listed = JSON.parse(json.output);
  expect(listed.map(({ name }: { name: string }) => name)).toEqual(catalogue.map(({ name }) => name));
  expect(listed[0]).toMatchObject({ isInstalled: false, path: path("models/yolo11n.onnx") });
});

test("models path names the command that fetches what is not here", async () => {
  const [absent, unknown] = await Promise.all([models("path", "yolo11n"), models("path", "yolo11m")]);
  expect([absent.code, unknown.code]).toEqual([1, 2]);
  expect(absent.output).toBe("");
  expect(absent.errors).toContain("Hint: run: bunx bun-tensorrt models pull yolo11n");
  expect(unknown.errors).toContain('Unknown catalogue entry "yolo11m". Did you mean');
});

test("models pull offline shows the licence, then one clear error", async () => {
  const { code, output, errors } = await runCli(["models", "pull", "sample1"], {
    env: { BUN_TENSORRT_CACHE: path(), npm_config_registry: "http://127.0.0.1:1/" },
  });
  expect(code).toBe(1);
  expect(output).toBe("");
  expect(errors).toStartWith(
    "Fetching sample1: MIT (Vladimir Mandic), from @vladmandic/face-api@1.7.15 (package licence MIT)\n" +
      'error: Cannot fetch "sample1": the registry did not give @vladmandic/face-api@1.7.15: Connection',
  );
});

test("--model takes a name of the catalogue also where a folder has that name, and a file before it", async () => {
  const env = { BUN_TENSORRT_CACHE: path("cache"), npm_config_registry: "http://127.0.0.1:1/" };
  mkdirSync(path("yolo11n"));
  const folder = await runCli(["inspect", "yolo11n"], { env, cwd: path() });
  expect(folder.errors).toContain('error: Cannot fetch "yolo11n"');
  writeFileSync(path("yolov8n"), "no model");
  const file = await runCli(["inspect", "yolov8n"], { env, cwd: path() });
  expect([file.code, file.errors.includes("fetch")]).toEqual([1, false]);
});

test("models pull names a cache that cannot be written", async () => {
  writeFileSync(path("file"), "");
  const { code, errors } = await runCli(["models", "pull", "sample1"], {
    env: { BUN_TENSORRT_CACHE: path("file") },
  });
  expect(code).toBe(1);
  expect(errors).toContain('Cannot store "sample1"');
});

// The first entry of another package than the one `pulled` fetched tells whether the registry can be reached.
const isOffline = (await pulled("sample1")) === undefined;

test.skipIf(isOffline)("models pull fetches from the registry, and path prints where it lies", async () => {
  const pull = await models("pull", "sample1");
  expect(pull.errors).toStartWith("Fetching sample1: MIT");
  expect(pull.code).toBe(0);
  expect(pull.output).toBe(`${path("images/sample1.jpg")}\n`);
  expect((await models("path", "sample1")).output).toBe(pull.output);
  const again = await models("pull", "sample1");
  expect(again.errors).toBe("");
  expect(again.output).toBe(pull.output);
});
