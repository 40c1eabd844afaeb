import { expect, setDefaultTimeout, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { parseBenchArgs } from "../../bench/args.ts";
import type { BenchResult } from "../../bench/result.ts";
import { readResult } from "../../bench/result-config.ts";
import { STUDIES } from "../../bench/studies/catalogue.ts";
import { OptionError } from "../../src/core/errors.ts";
import { fileFolder } from "../support/folder.ts";
import { toyDetector } from "../support/toy-detector.ts";
import { SAMPLE_RESULT } from "./sample-result.ts";

setDefaultTimeout(120_000);

const inFolder = fileFolder("bench-test");

const NAMES = STUDIES.map(({ name }) => name);

async function bench(...words: string[]): Promise<{ code: number; output: string; errors: string }> {
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "../../bench/main.ts"), ...words], {
    stdout: "pipe",
    stderr: "pipe",
    env: { ...process.env },
  });
  const [output, errors, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { code, output, errors };
}

function write(name: string, text: string): Promise<string> {
  const path = inFolder(name);
  return Bun.write(path, text).then(() => path);
}

async function toyFiles(): Promise<string[]> {
  const model = inFolder("toy.onnx");
  const image = inFolder("image.jpg");
  await Bun.write(model, toyDetector());
  await sharp({ create: { width: 97, height: 61, channels: 3, background: "#fff" } })
    .jpeg()
    .toFile(image);
  return ["--backend", "cpu", "--model", model, "--image", image, "--dynamic-model", model];
}

test("wrong usage names the option and the nearest known one", () => {
  const refused = (...words: string[]): string => {
    try {
      parseBenchArgs(words, NAMES);
      return "accepted";
    } catch (error) {
      return error instanceof OptionError ? error.message : `another error: ${error}`;
    }
  };
  expect(refused("latncy")).toContain('Did you mean "latency"?');
  expect(refused("--quik")).toContain('Did you mean "--quick"?');
  expect(refused("--frames", "1.5")).toContain("--frames must be a whole number");
  expect(refused("--duration", "x")).toContain('got "x"');
  expect(refused("--backend", "tpu")).toContain("auto, cpu or gpu");
  expect(refused("--frames")).toContain("'--frames <value>' argument missing\nHint: bun run bench --help");
  expect(refused("latency", "--quick", "--max-minutes", "2")).toBe("accepted");
});

test("studies have their own names and ask a question", () => {
  expect(new Set(NAMES).size).toBe(NAMES.length);
  expect(STUDIES.filter(({ question }) => !question.endsWith("?"))).toEqual([]);
});

test("an earlier result is read back as it was written, and anything else refused by name", async () => {
  expect(await readResult(await write("good.json", JSON.stringify(SAMPLE_RESULT)))).toEqual(SAMPLE_RESULT);
  const refusal = async (text: string): Promise<string> =>
    readResult(await write("bad.json", text)).then(
      () => "accepted",
      (error: Error) => error.message,
    );
  expect(await refusal("{")).toContain("it is no JSON");
  expect(await refusal("null")).toContain("it has no schema");
  expect(await refusal('{"p50": 1}')).toContain("it has no schema");
  expect(await refusal('{"schema": "other/3"}')).toContain('"other/3"');
  expect(await refusal(JSON.stringify({ ...SAMPLE_RESULT, studies: 5 }))).toContain("studies is refused");
  await expect(readResult(inFolder("nowhere.json"))).rejects.toThrow("there is no such file");
});

test("--compare with a broken file ends with 2 before anything is measured", async () => {
  const path = await write("broken.json", "{");
  const { code, errors, output } = await bench("latency", "--compare", path);
  expect({ code, output }).toEqual({ code: 2, output: "" });
  expect(errors).toContain("it is no JSON");
});

test("--report draws an earlier result again without measuring, beside it or in --out", async () => {
  const path = await write("kept.json", JSON.stringify(SAMPLE_RESULT));
  const out = inFolder("drawn");
  const { code, output } = await bench("--report", path, "--out", out, "--compare", path);
  expect(code).toBe(0);
  expect(output).toContain("Compared with the earlier run");
  expect(readdirSync(out).sort()).toEqual(["figures", "report.html", "table.txt", "trace.json"]);
  expect(await Bun.file(join(out, "report.html")).text()).toContain("NVIDIA H200");
  expect(parseBenchArgs(["--report", path], NAMES).out).toBe(inFolder());
});

test("--report refuses a broken file and studies with 2", async () => {
  const broken = await bench("--report", await write("torn.json", '{"schema": '));
  expect({ code: broken.code, output: broken.output }).toEqual({ code: 2, output: "" });
  expect(broken.errors).toContain("Cannot draw the report of");
  expect(() => parseBenchArgs(["latency", "--report", "x.json"], NAMES)).toThrow("draws all studies");
});

test("--list names every study", async () => {
  const { code, output } = await bench("--list");
  expect(code).toBe(0);
  expect(output.trim().split("\n")).toHaveLength(NAMES.length);
});

test("a quick run on the CPU writes table, report, JSON and trace, and compares with itself", async () => {
  const out = inFolder("run");
  const words = [
    ...(await toyFiles()),
    "--quick",
    "--no-peers",
    "--duration",
    "0.06",
    "--frames",
    "12",
    "--cycles",
    "2",
  ];
  const first = await bench(...words, "--out", out);
  expect({ code: first.code, errors: first.errors.includes("failed") }).toEqual({ code: 0, errors: false });
  const result: BenchResult = await readResult(join(out, "result.json"));
  expect(result.isComplete).toBe(true);
  expect(result.studies.map(({ name, status }) => `${name} ${status}`)).toEqual(
    STUDIES.map(({ name, needs }) => `${name} ${needs.includes("gpu") ? "skipped" : "done"}`),
  );
  expect(first.output).toContain("decoded frame");
  const html = await Bun.file(join(out, "report.html")).text();
  for (const name of NAMES) expect(html).toContain(`id="${name}"`);
  expect(html).not.toMatch(/https?:/);
  expect((await Bun.file(join(out, "trace.json")).json()).traceEvents.length).toBeGreaterThan(0);
  const second = await bench("latency", ...words, "--out", inFolder("second"), "--compare", join(out, "result.json"));
  expect(second.code).toBe(0);
  expect(second.output).toContain("Compared with the earlier run");
});

test("shapes takes the run's own model where that leaves its size open", async () => {
  const [picture] = (await toyFiles()).filter((word) => word.endsWith(".jpg"));
  const open = inFolder("open.onnx");
  await Bun.write(open, toyDetector({ side: "height" }));
  const out = inFolder("open");
  const words = ["--backend", "cpu", "--model", open, "--image", picture!, "--quick", "--out", out];
  process.env.BUN_TENSORRT_SHARED = inFolder(); // where no model lies for this study
  try {
    await bench("shapes", ...words);
  } finally {
    delete process.env.BUN_TENSORRT_SHARED;
  }
  const { studies } = await readResult(join(out, "result.json"));
  expect(studies[0]!.measurements.map(({ id }) => id)).toEqual(["square-320", "rect-320"]);
});

test("a study that fails is named, the others run, and the exit code is 1", async () => {
  const words = await toyFiles();
  const broken = await write("broken.onnx", "no model");
  const out = inFolder("failing");
  const { code, errors } = await bench(
    "latency",
    "shapes",
    ...words,
    "--dynamic-model",
    broken,
    "--quick",
    "--frames",
    "5",
    "--out",
    out,
  );
  expect(code).toBe(1);
  expect(errors).toContain("shapes failed");
  const { studies } = await readResult(join(out, "result.json"));
  expect(studies.map(({ status }) => status)).toEqual(["done", "failed"]);
});

test("what has not begun when the minutes are over is skipped, and written down; the levers take no time", async () => {
  const out = inFolder("late");
  const { code } = await bench("service", "calls", "levers", ...(await toyFiles()), "--max-minutes", "0", "--out", out);
  expect(code).toBe(0);
  const { studies } = await readResult(join(out, "result.json"));
  expect(studies.map(({ status }) => status)).toEqual(["skipped", "skipped", "done"]);
  expect(studies.map(({ reason }) => reason?.includes("--max-minutes"))).toEqual([true, true, undefined]);
});

test("a study that the minutes cut short says that it has fewer samples", async () => {
  const out = inFolder("short");
  const words = ["latency", ...(await toyFiles()), "--frames", "100000", "--max-minutes", "0.01", "--out", out];
  expect((await bench(...words)).code).toBe(0);
  const [study] = (await readResult(join(out, "result.json"))).studies;
  expect(study?.leftOut.join()).toContain("samples, as the minutes of --max-minutes were over");
});
