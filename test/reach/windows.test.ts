/** @module Windows beside Linux: run by `bun scripts/reach.ts windows`, which prepares Wine and what runs in it. */

import { describe, expect, test } from "bun:test";
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { findEntry } from "../../src/catalogue/catalogue.ts";
import { pull } from "../../src/catalogue/pull.ts";
import { decodeImage, encodeImage } from "../../src/image/image-file.ts";
import { readPlan } from "../../src/tensorrt/plan-file.ts";
import { fileFolder } from "../support/folder.ts";
import { noiseImage } from "../support/image-models.ts";
import { embeddedProgram, foundHere, foundIn, makePackedApp, readmeProgram, run } from "../support/packed-app.ts";
import { sharedFile } from "../support/shared.ts";
import { countFrames, isFfmpegMissing, testVideo } from "../support/videos.ts";

interface Prepared {
  readonly wine: string;
  readonly bun: string;
  readonly tree: string;
  readonly env: Readonly<Record<string, string>>;
}

const prepared = process.env.BUN_TENSORRT_REACH_WINDOWS;
const { wine, bun, tree, env } = JSON.parse(prepared ?? '{"env":{}}') as Prepared;
const root = join(import.meta.dir, "../..");
const inFolder = fileFolder("windows");

/** As programs of Windows see a path of this machine. */
function windowsPath(path: string): string {
  return `Z:${path.replaceAll("/", "\\")}`;
}

/** The command line of the package, here on the CPU. */
function here(...words: readonly string[]): string {
  return run([process.execPath, "src/cli/main.ts", ...words], root, { BUN_TENSORRT_BACKEND: "cpu" });
}

/** The same on Windows. */
function there(...words: readonly string[]): string {
  return run([wine, bun, "src/cli/main.ts", ...words], tree, {
    ...env,
    BUN_TENSORRT_BACKEND: "cpu",
    BUN_TENSORRT_TENSORRT: `${env.BUN_TENSORRT_CACHE}\\test-libraries\\rtx`,
  });
}

describe.skipIf(prepared === undefined)("on Windows, as scripts/reach.ts has prepared it", () => {
  const model = sharedFile("models/FastestDet.onnx");
  const upscaler = sharedFile("models/i2i_super_resolution_3x_y.onnx");
  const withModel = test.skipIf(model === undefined);

  withModel("detect finds the boxes of Linux, to the last digit", async () => {
    const image = await pull(findEntry("sample1")!);
    const words = ["--threshold", "0.2", "--format", "json"];
    const read = (output: string): unknown[] => (JSON.parse(output) as [{ detections: unknown[] }])[0].detections;
    const found = read(there("detect", windowsPath(image), "--model", windowsPath(model!), ...words));
    expect(found.length).toBeGreaterThan(3);
    expect(found).toEqual(read(here("detect", image, "--model", model!, ...words)));
  });

  test.skipIf(upscaler === undefined)("transform makes the image of Linux, to the last pixel", async () => {
    // Of several tiles, and no more: an emulator on a busy machine takes a minute for a photograph.
    const image = inFolder("noise.jpg");
    writeFileSync(image, await encodeImage(noiseImage(500, 300), { format: "jpeg", quality: 90 }));
    const [own, other] = [inFolder("own.png"), inFolder("other.png")];
    here("transform", image, "--model", upscaler!, "--output", own);
    there("transform", windowsPath(image), "--model", windowsPath(upscaler!), "--output", windowsPath(other));
    const [expected, made] = [await decodeImage(own), await decodeImage(other)];
    expect([made.width, made.height]).toEqual([expected.width, expected.height]);
    expect(Buffer.from(made.data).equals(Buffer.from(expected.data))).toBe(true);
  });

  withModel("serve answers with the boxes of Linux", async () => {
    const image = await pull(findEntry("sample1")!);
    const command = [wine, bun, "src/cli/main.ts", "serve", "--model", windowsPath(model!), "--port", "0"];
    const server = Bun.spawn(command, {
      cwd: tree,
      env: { ...process.env, ...env, BUN_TENSORRT_BACKEND: "cpu" },
      stdio: ["ignore", "pipe", "pipe"],
    });
    try {
      let said = "";
      let address: string | undefined;
      for (const stream of [server.stdout, server.stderr]) {
        void (async () => {
          for await (const chunk of stream) {
            said += new TextDecoder().decode(chunk);
            address ??= /http:\/\/[\w.:[\]]+/.exec(said)?.[0];
          }
        })();
      }
      const until = performance.now() + 60_000;
      while (address === undefined && performance.now() < until) await Bun.sleep(50);
      expect([address === undefined, address === undefined ? said : ""]).toEqual([false, ""]);
      const url = new URL("/detect?threshold=0.2", address!.replace("0.0.0.0", "127.0.0.1"));
      const response = await fetch(url, { method: "POST", body: Bun.file(image) });
      const body = (await response.json()) as { detections?: unknown[] };
      expect([response.status, body.detections?.length ?? 0]).toEqual([200, expect.any(Number)]);
      const [expected] = JSON.parse(
        here("detect", image, "--model", model!, "--threshold", "0.2", "--format", "json"),
      ) as [{ detections: unknown[] }];
      expect(body.detections).toEqual(expected.detections);
    } finally {
      server.kill("SIGKILL");
      await server.exited;
    }
  });

  test.skipIf(isFfmpegMissing || model === undefined)("a video is decoded, and annotated frame by frame", async () => {
    const clip = await testVideo(inFolder("clip.mp4"), "322x182", 20);
    const out = inFolder("annotated");
    const words = ["--save", windowsPath(out), "--format", "jsonl"];
    const lines = there("detect", windowsPath(clip), "--model", windowsPath(model!), ...words)
      .trim()
      .split("\n");
    expect(lines.length).toBe(20);
    expect(await countFrames(join(out, "clip.mp4"))).toBe(20);
  });

  withModel("build makes an engine by TensorRT-RTX, through the slots of MSVC", () => {
    const plan = inFolder("engine.plan");
    const words = [
      "--compute-capability",
      "8.6",
      "--optimization-level",
      "0",
      "--output",
      windowsPath(plan),
      "--force",
    ];
    there("build", windowsPath(model!), ...words);
    expect(readPlan(readFileSync(plan), plan).header?.family).toBe("TensorRT-RTX");
  });

  describe("an app of its own", () => {
    const app = inFolder("app");
    const program = readmeProgram(model === undefined ? "yolo11n" : windowsPath(model));
    const makeApp = (): Promise<void> => makePackedApp(app, program, { cpu: "x64", os: "win32" });

    test("the packed package runs the first program of the README", async () => {
      await makeApp();
      const output = run([wine, bun, "app.ts"], app, { ...env, BUN_TENSORRT_BACKEND: "cpu" });
      expect(foundIn(output).length).toBeGreaterThan(0);
      expect(Bun.file(join(app, "boxes.jpg")).size).toBeGreaterThan(10_000);
    });

    withModel(
      "an executable made on Linux decodes and finds there what it does here, with nothing beside it",
      async () => {
        await makeApp();
        const alone = inFolder("alone");
        mkdirSync(alone);
        copyFileSync(join(app, "beach.jpg"), join(alone, "beach.jpg"));
        copyFileSync(model!, join(app, "model.onnx"));
        writeFileSync(join(app, "whole.ts"), embeddedProgram("model.onnx"));
        const out = join(alone, "app.exe");
        const compile = ["build", "--compile", "--target=bun-windows-x64", `--compile-executable-path=${bun}`];
        run([process.execPath, ...compile, "whole.ts", "--outfile", out], app);
        // %LOCALAPPDATA%, which is Wine's to set.
        const [users, copies] = [join(env.WINEPREFIX!, "drive_c/users"), "*/AppData/Local/bun-tensorrt/embedded/*/*"];
        const unpacked = (): string[] => [...new Bun.Glob(copies).scanSync(users)].map((path) => join(users, path));
        for (const path of unpacked()) rmSync(path);
        const found = foundIn(run([wine, out], alone, { ...env, BUN_TENSORRT_CACHE: "" }));
        expect(found).toEqual(await foundHere(model!, join(app, "beach.jpg")));
        const names = unpacked().map((path) => basename(path));
        expect(names.toSorted()).toEqual([
          expect.stringMatching(/^bun_tensorrt_shim.*\.dll$/),
          expect.stringMatching(/^koffi.*\.node$/),
          "libvips-42.dll",
          expect.stringMatching(/^libvips-cpp-[\d.]+\.dll$/),
          "onnxruntime.dll",
          expect.stringMatching(/^sharp-win32-x64.*\.node$/),
        ]);
      },
    );

    withModel("a bundle made on Linux of isolated packages runs there, moved away from them", async () => {
      const isolated = inFolder("isolated");
      await makePackedApp(isolated, program, { cpu: "x64", os: "win32", linker: "isolated" });
      copyFileSync(model!, join(isolated, "model.onnx"));
      writeFileSync(join(isolated, "whole.ts"), embeddedProgram("model.onnx"));
      const moved = inFolder("moved");
      run([process.execPath, "build", "--target=bun", `--outdir=${moved}`, "whole.ts"], isolated);
      copyFileSync(join(isolated, "beach.jpg"), join(moved, "beach.jpg"));
      const found = foundIn(run([wine, bun, "--no-install", "whole.js"], moved, env));
      expect(found).toEqual(await foundHere(model!, join(moved, "beach.jpg")));
    });
  });
});
