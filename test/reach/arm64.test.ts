/** @module Linux arm64 beside x64: run by `bun scripts/reach.ts arm64`, which prepares the emulated machine. */

import { describe, expect, test } from "bun:test";
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { findEntry } from "../../src/catalogue/catalogue.ts";
import { pull } from "../../src/catalogue/pull.ts";
import { readPlan } from "../../src/tensorrt/plan-file.ts";
import { fileFolder } from "../support/folder.ts";
import { embeddedProgram, foundHere, foundIn, makePackedApp, readmeProgram, run } from "../support/packed-app.ts";
import { sharedFile } from "../support/shared.ts";

const bun = process.env.BUN_TENSORRT_REACH_BUN;
const tree = process.env.BUN_TENSORRT_REACH_TREE ?? "";
const emulated = JSON.parse(process.env.BUN_TENSORRT_REACH_ENV ?? "{}") as Record<string, string>;
const root = join(import.meta.dir, "../..");
const path = fileFolder("reach");

/** Pixels, and scores: sums of other order differ in the last digits of FP32. */
const TOLERANCE = 1e-4;

interface Found {
  readonly label: string;
  readonly score: number;
  readonly box: Readonly<Record<string, number>>;
}

/** Far apart enough that no rounding reorders them, one object a class and place. */
function inOrder(found: readonly Found[]): Found[] {
  const place = ({ label, box }: Found): string =>
    `${label} ${Object.values(box)
      .map((value) => value.toFixed(0).padStart(6))
      .join(" ")}`;
  return found.toSorted((a, b) => place(a).localeCompare(place(b)));
}

describe.skipIf(bun === undefined)("on arm64, as scripts/reach.ts has prepared it", () => {
  /** In an emulator yolo11n takes half a minute an image. */
  const model = sharedFile("models/FastestDet.onnx") ?? "yolo11n";
  const program = readmeProgram(model);
  const app = path("app");

  const makeApp = (): Promise<void> => makePackedApp(app, program, { cpu: "arm64", os: "linux" });

  /** As on x64, but for the last digits. */
  function expectNear(there: readonly Found[], here: readonly Found[]): void {
    expect(here.length).toBeGreaterThan(3);
    expect(there.map(({ label }) => label)).toEqual(here.map(({ label }) => label));
    const far = here.flatMap(({ score, box }, at) => [
      Math.abs(score - there[at]!.score),
      ...Object.entries(box).map(([side, value]) => Math.abs(value - there[at]!.box[side]!) / 640),
    ]);
    expect(Math.max(...far)).toBeLessThan(TOLERANCE);
  }

  test("a small model finds the boxes that it finds on x64", async () => {
    const image = await pull(findEntry("sample1")!);
    const command = ["src/cli/main.ts", "detect", "--model", model, "--threshold", "0.2", "--format", "json", image];
    const read = (output: string): Found[] => inOrder((JSON.parse(output) as [{ detections: Found[] }])[0].detections);
    const here = read(run([process.execPath, ...command], root, { BUN_TENSORRT_BACKEND: "cpu" }));
    const there = read(run([bun!, ...command], tree, emulated));
    expectNear(there, here);
  });

  const rtx = join(emulated.BUN_TENSORRT_CACHE ?? "", "test-libraries/rtx");
  test.skipIf(!existsSync(rtx) || model === "yolo11n")(
    "TensorRT-RTX builds an engine of the small model through the shim, as both have been fetched",
    () => {
      const plan = path("small.plan");
      // A cache of its own, in which no engine is.
      const env = { ...emulated, BUN_TENSORRT_CACHE: path("engines"), BUN_TENSORRT_TENSORRT: rtx };
      // Little is tried out: that is the builder's own work, and most of its time in an emulator.
      const words = ["--compute-capability", "8.6", "--optimization-level", "0", "--output", plan];
      run([bun!, "src/cli/main.ts", "build", model, ...words], tree, env);
      const { header } = readPlan(readFileSync(plan), plan);
      expect(header?.family).toBe("TensorRT-RTX");
      expect(header?.computeCapabilities).toEqual([[8, 6]]);
    },
  );

  test("the packed package, installed for it, runs the first program of the README", async () => {
    await makeApp();
    const output = run([bun!, "app.ts"], app, emulated);
    expect(foundIn(output).length).toBeGreaterThan(0);
    expect(Bun.file(join(app, "boxes.jpg")).size).toBeGreaterThan(10_000);
  });

  test("an executable made on x64 decodes and finds there what it does here, with nothing beside it", async () => {
    await makeApp();
    const alone = path("alone");
    mkdirSync(alone);
    copyFileSync(join(app, "beach.jpg"), join(alone, "beach.jpg"));
    const file = model === "yolo11n" ? await pull(findEntry(model)!) : model;
    copyFileSync(file, join(app, "model.onnx"));
    writeFileSync(join(app, "whole.ts"), embeddedProgram("model.onnx"));
    const out = join(alone, "app");
    const compile = ["build", "--compile", "--target=bun-linux-arm64", `--compile-executable-path=${bun}`];
    run([process.execPath, ...compile, "whole.ts", "--outfile", out], app);
    const found = foundIn(run([out], alone, { ...emulated, HOME: alone }));
    expectNear(inOrder(found as Found[]), inOrder((await foundHere(file, join(app, "beach.jpg"))) as Found[]));
  });
});
