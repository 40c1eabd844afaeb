import { expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { components } from "../../src/catalogue/components.ts";
import { cacheFolder } from "../../src/core/paths.ts";
import { fileFolder } from "../support/folder.ts";
import { type CliResult, runCli } from "./run-cli.ts";

setDefaultTimeout(120_000);

const inFolder = fileFolder("cli-install");
const cache = inFolder("cache");
const src = join(import.meta.dir, "../../src");

const install = (words: string, env: Record<string, string> = {}): Promise<CliResult> =>
  runCli(["install", ...words.split(" ")], { env: { BUN_TENSORRT_CACHE: cache, ...env } });

/** Run a program that opens libraries, in a process of its own: what is loaded once, later tests would find. */
function program(text: string, env: Record<string, string>): { output: string; exitCode: number } {
  const child = Bun.spawnSync([process.execPath, "-e", text], {
    env: { ...process.env, LD_LIBRARY_PATH: "", ...env },
    stderr: "pipe",
  });
  return { output: child.stdout.toString() + child.stderr.toString(), exitCode: child.exitCode };
}

test("install --list shows every build for this machine, as a table and as JSON", async () => {
  const [table, json] = await Promise.all([install("--list"), install("--list --json")]);
  expect([table.code, json.code]).toEqual([0, 0]);
  const rows = JSON.parse(json.output) as { name: string; installed: string; files: { path: string }[] }[];
  const names = components.filter(({ builds }) => builds.some(({ architecture }) => architecture === process.arch));
  expect([...new Set(rows.map(({ name }) => name))]).toEqual(names.map(({ name }) => name));
  expect(rows.every(({ installed }) => installed === "no")).toBe(true);
  expect(rows[0]?.files[0]?.path).toBe(join(cache, "lib/libcudart.so.12"));
  for (const { name } of names)
    expect(table.output).toMatch(new RegExp(`^${name} +(1[23]|–) +\\d.* no +(NVIDIA|MIT)`, "m"));
});

test("install refuses what it cannot do, and exits with 2", async () => {
  const cases: readonly (readonly [words: string, text: string])[] = [
    ["--json", "Missing name of a component\nHint: bunx bun-tensorrt install --list shows the names"],
    ["nvjpg", 'Unknown component "nvjpg". Did you mean "nvjpeg"?'],
    ["--cuda 11 nvjpeg", '--cuda must be 12 or 13, got "11"'],
    ["--list --remove nvjpeg", "--list and --remove cannot be combined"],
  ];
  const results = await Promise.all(cases.map(([words]) => install(words)));
  for (const [at, { code, errors, output }] of results.entries()) {
    expect(errors).toContain(cases[at]![1]);
    expect([code, output]).toEqual([2, ""]);
  }
});

test("install without pip shows the licence's name and where to read it, and fetches nothing", async () => {
  const env = { PATH: inFolder(), BUN_TENSORRT_CACHE: inFolder("empty") };
  const { code, output, errors } = await install("cuda-runtime --cuda 12", env);
  expect(code).toBe(2);
  expect(output).toBe("");
  expect(errors).toStartWith("cuda-runtime 12.9.79 for CUDA 12");
  expect(errors).toContain("NVIDIA CUDA Toolkit EULA (proprietary)");
  expect(errors).toContain('Cannot show the licence of "cuda-runtime": python3 with pip was not found');
  expect(errors).toEndWith(
    "Hint: read them, then: bunx bun-tensorrt install cuda-runtime --cuda 12 --accept-licence\n",
  );
  const accepted = await install("cuda-runtime --cuda 12 --accept-license", env);
  expect(accepted.code).toBe(1);
  expect(accepted.errors).toMatch(/Hint: install Python 3 with pip .*, or put .*libcudart\.so\.12 of the wheel/);
  expect((await install("--remove cuda-runtime", env)).errors).toBe("cuda-runtime was not installed\n");
});

const shown = await install("cuda-runtime nvjpeg --cuda 12");
const isOffline = /the licence of "cuda-runtime": (python3 with pip was not found|\S+ failed: )/.test(shown.errors);

test.skipIf(isOffline)("install shows the licences before anything else, and exits with 2", () => {
  expect(shown.code).toBe(2);
  expect(shown.output).toBe("");
  expect(shown.errors).toContain(`\n  licence: ${join(cache, "lib/nvjpeg.LICENSE.txt")}\n`);
  expect(readdirSync(join(cache, "lib")).sort()).toEqual(["cuda-runtime.LICENSE.txt", "nvjpeg.LICENSE.txt"]);
});

test.skipIf(isOffline)(
  "install fetches cuda-runtime and nvjpeg, the loader finds them first, and --remove deletes them",
  async () => {
    const { code, output, errors } = await install("cuda-runtime nvjpeg --cuda 12 --accept-licence");
    expect(errors).toMatch(/cuda-runtime: \d+\.\d+ KiB of an archive of [\d.]+ MiB fetched/);
    expect(code).toBe(0);
    const paths = [join(cache, "lib/libcudart.so.12"), join(cache, "lib/libnvjpeg.so.12")];
    expect(output).toBe(paths.map((path) => `${path}\n`).join(""));
    const opened = program(
      `import { cudaRuntimeSpec } from ${JSON.stringify(join(src, "ffi/cuda-runtime.ts"))};
       import { openLibrary } from ${JSON.stringify(join(src, "ffi/library.ts"))};
       import { nvJpegLibrary } from ${JSON.stringify(join(src, "ffi/nvidia-libraries.ts"))};
       const runtime = openLibrary(cudaRuntimeSpec(["libcudart.so.12"]), { cudaRuntimeGetVersion: { args: ["ptr"], returns: "i32" } });
       const nvjpeg = nvJpegLibrary();
       const out = new Int32Array(new ArrayBuffer(16));
       console.log(runtime.path, runtime.symbols.cudaRuntimeGetVersion(out), out[0]);
       console.log(nvjpeg.path, nvjpeg.version);`,
      { BUN_TENSORRT_CACHE: cache },
    );
    expect(opened.output).toBe(`${paths[0]} 0 12090\n${paths[1]} 12.4.0\n`);
    const again = await install("nvjpeg cuda-runtime --cuda 12 --json", { PATH: inFolder() });
    expect(JSON.parse(again.output)[0]).toMatchObject({ name: "nvjpeg", receivedBytes: 0 });
    expect((await install("--list")).output).toMatch(/^cuda-runtime +12 .* yes /m);
    const removed = await install("--remove cuda-runtime nvjpeg");
    expect(removed.output).toMatch(/^cuda-runtime: 7\d\d\.\d\d KiB freed\nnvjpeg: 8\.\d\d MiB freed\n$/);
    expect(readdirSync(join(cache, "lib"))).toEqual([]);
  },
  120_000,
);

// The libraries that `bun scripts/test-libraries.ts rtx` has fetched for other tests: 95 MB need not come twice.
const rtx = join(cacheFolder(), "test-libraries/rtx");

test.skipIf(!existsSync(rtx))(
  "install takes TensorRT-RTX that is there by its pinned hashes, and the loader and its parser find it",
  async () => {
    const other = inFolder("rtx");
    mkdirSync(join(other, "lib"), { recursive: true });
    for (const file of readdirSync(rtx)) symlinkSync(join(rtx, file), join(other, "lib", file));
    const { output, errors, code } = await install("tensorrt-rtx --cuda 13", {
      PATH: inFolder(),
      BUN_TENSORRT_CACHE: other,
    });
    expect(errors).toBe("");
    expect(code).toBe(0);
    expect(output).toBe(`${other}/lib/libtensorrt_rtx.so.1\n${other}/lib/libtensorrt_onnxparser_rtx.so.1\n`);
    const opened = program(
      `import { openTensorRt } from ${JSON.stringify(join(src, "tensorrt/library.ts"))};
       const library = openTensorRt({ family: "TensorRT-RTX" });
       library.openParser();
       console.log(library.version.text, library.path);`,
      { BUN_TENSORRT_CACHE: other },
    );
    expect(opened.output).toBe(`TensorRT-RTX 1.7.1 ${rtx}/libtensorrt_rtx.so.1\n`);
  },
);

const microsoft = join(cacheFolder(), "test-libraries/onnxruntime");

test.skipIf(!existsSync(microsoft))(
  "install takes Microsoft's ONNX Runtime that is there, and it is used in place of the one that is bundled",
  async () => {
    const other = inFolder("onnxruntime");
    mkdirSync(join(other, "lib"), { recursive: true });
    for (const file of readdirSync(microsoft)) symlinkSync(join(microsoft, file), join(other, "lib", file));
    const environment = { PATH: inFolder(), BUN_TENSORRT_CACHE: other };
    const { output, errors, code } = await install("onnxruntime", environment);
    expect(errors).toBe("");
    expect(code).toBe(0);
    expect(output).toBe(`${other}/lib/libonnxruntime.so.1.30.0\n`);
    expect((await install("--list", environment)).output).toMatch(/^onnxruntime +– +1\.30\.0 .* yes +MIT /m);
    const opened = program(
      `import { openOnnxRuntime } from ${JSON.stringify(join(src, "ffi/onnxruntime.ts"))};
       console.log(openOnnxRuntime().version, openOnnxRuntime().path);`,
      environment,
    );
    expect(opened.output).toBe(`1.30.0 ${microsoft}/libonnxruntime.so.1.30.0\n`);
  },
);
