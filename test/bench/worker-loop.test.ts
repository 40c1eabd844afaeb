import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { toyDetector } from "../support/toy-detector.ts";

const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-worker-loop-"));
afterAll(() => rmSync(folder, { recursive: true }));

test("bench/worker-loop.ts tells every stage in milliseconds, with a stream in memory", async () => {
  const [picture, model] = [join(folder, "picture.jpg"), join(folder, "toy.onnx")];
  await Bun.write(model, toyDetector());
  await sharp({ create: { width: 97, height: 61, channels: 3, background: "#fff" } })
    .jpeg()
    .toFile(picture);
  const script = join(import.meta.dir, "../../bench/worker-loop.ts");
  const words = [picture, "--model", model, "--memory", "--rounds", "10", "--python", "no-python", "--scale", "0"];
  const child = Bun.spawn([process.execPath, script, ...words], { stdout: "pipe", stderr: "pipe" });
  const [output, errors, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  expect([errors, code]).toEqual(["", 0]);
  for (const stage of ["receive", "decode", "infer", "NMS", "send", "whole frame", "all the rest"])
    expect(output).toMatch(new RegExp(`^${stage} +\\d+\\.\\d{3} +\\d+\\.\\d{3} +\\d+\\.\\d{3} +\\d+\\.\\d{3}$`, "m"));
});
