import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import sharp from "sharp";
import { pulled } from "../support/catalogue.ts";
import { fileFolder } from "../support/folder.ts";
import { toyDetector } from "../support/toy-detector.ts";

setDefaultTimeout(120_000);

const script = join(import.meta.dir, "../../bench/worker-loop.ts");
const isModelAbsent = (await pulled("yolo11n")) === undefined;

const path = fileFolder("worker-loop");

test("bench/worker-loop.ts tells every stage in milliseconds, with a stream in memory", async () => {
  const [image, model] = [path("image.jpg"), path("toy.onnx")];
  await Bun.write(model, toyDetector());
  await sharp({ create: { width: 97, height: 61, channels: 3, background: "#fff" } })
    .jpeg()
    .toFile(image);
  const words = [image, "--model", model, "--memory", "--rounds", "10", "--python", "no-python", "--scale", "0"];
  const child = Bun.spawn([process.execPath, script, ...words], { stdout: "pipe", stderr: "pipe" });
  const [output, errors, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  expect([errors, code]).toEqual(["", 0]);
  for (const stage of ["receive", "decode", "infer", "postprocess", "send", "whole frame", "all the rest"])
    expect(output).toMatch(new RegExp(`^${stage} +\\d+\\.\\d{3} +\\d+\\.\\d{3} +\\d+\\.\\d{3} +\\d+\\.\\d{3}$`, "m"));
});

test.skipIf(isModelAbsent)(
  "bench/worker-loop.ts runs in a copy of the repository without ../shared",
  async () => {
    const child = Bun.spawn(
      [
        process.execPath,
        script,
        "--memory",
        "--rounds",
        "1",
        "--python",
        "no-python",
        "--scale",
        "0",
        "--backend",
        "cpu",
      ],
      { stdout: "pipe", stderr: "pipe", env: { ...process.env, BUN_TENSORRT_SHARED: path("nowhere") } },
    );
    const [output, errors, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    expect([errors, code]).toEqual(["", 0]);
    expect(output).toMatch(/^whole frame /m);
  },
  120_000,
);
