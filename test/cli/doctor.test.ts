import { expect, setDefaultTimeout, test } from "bun:test";
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { installCommand, systemIds } from "../../src/cli/commands/doctor.ts";
import {
  choiceOf,
  driverVersion,
  faultsOf,
  formatFindings,
  type GpuFindings,
  isHealthy,
  whyUnusable,
} from "../../src/cli/findings.ts";
import { paintOf } from "../../src/cli/terminal.ts";
import { LibraryLoadError } from "../../src/core/errors.ts";
import { fakeCudaTest } from "../support/fake-cuda.ts";
import { LIBM } from "../support/system-library.ts";
import { RTX, testLibrary } from "../support/tensorrt.ts";
import { toyDetector } from "../support/toy-detector.ts";
import { isFfmpegMissing } from "../support/videos.ts";
import { runCli, runProcess } from "./run-cli.ts";

setDefaultTimeout(120_000);

test("driverVersion() is read out of the text the kernel module gives", () => {
  expect(
    driverVersion("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024\n"),
  ).toBe("535.183.01");
  expect(
    driverVersion("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build\nGCC version: 13"),
  ).toBe("580.95.05");
  expect(driverVersion("")).toBeUndefined();
});

test("installCommand() goes by the system, and by the one it is like", () => {
  const names = { debian: "d", ubuntu: "u", fedora: "f", arch: "a", alpine: "l", macos: "m", windows: "w" };
  expect(installCommand(names, systemIds('NAME="Ubuntu"\nID=ubuntu\nID_LIKE=debian\n'))).toBe("sudo apt install u");
  expect(installCommand(names, systemIds("ID=linuxmint\nID_LIKE=ubuntu\n"))).toBe("sudo apt install u");
  expect(installCommand(names, systemIds('ID="rocky"\nID_LIKE="rhel centos fedora"\n'))).toBe("sudo dnf install f");
  expect(installCommand(names, systemIds("ID=plan9"))).toBeUndefined();
  expect(installCommand(names, systemIds(""))).toBeUndefined();
});

test("formatFindings() puts the fix below what it fixes; only broken things are unhealthy", () => {
  const findings = [
    { name: "Bun", state: "ok", found: "1.4.5" },
    { name: "libturbojpeg", state: "absent", found: "not found", fix: "sudo apt install libturbojpeg0" },
  ] as const;
  expect(formatFindings(findings, paintOf(false))).toBe(
    [
      "ok      Bun           1.4.5",
      "absent  libturbojpeg  not found",
      "        fix: sudo apt install libturbojpeg0",
      "",
    ].join("\n"),
  );
  expect(isHealthy(findings)).toBe(true);
  expect(isHealthy([{ name: "sharp", state: "broken", found: "" }])).toBe(false);
});

/** The error of a search that tried these places. */
function failure(...tried: readonly string[]): LibraryLoadError {
  return new LibraryLoadError("Cannot load the library x: it was found at none of these paths:", "x", tried);
}

test("faultsOf() leaves out the places where nothing was, and names a library that lacks another", () => {
  const nowhere = failure(
    "/opt/liba.so.1: no such file",
    'liba.so.1: Failed to open library "liba.so.1": liba.so.1: cannot open shared object file: No such file or directory',
    'libb.so: Failed to open library "libb.so": /work/libb.so: cannot open shared object file: No such file or directory',
  );
  expect(faultsOf(nowhere)).toEqual([]);
  const broken = failure(
    "/a/liba.so.1: no such file",
    '/b/liba.so.1: Failed to open library "/b/liba.so.1": /b/liba.so.1: file too short',
    '/c/liba.so.1: Failed to open library "/c/liba.so.1": libcudart.so.12: cannot open shared object file: No such file',
    "/d/liba.so.1: it is cut short: it must have 9 bytes and has 5",
  );
  expect(faultsOf(broken)).toEqual([
    "/b/liba.so.1: file too short",
    "/c/liba.so.1: libcudart.so.12: cannot open shared object file: No such file",
    "/d/liba.so.1: it is cut short: it must have 9 bytes and has 5",
  ]);
  const refused = new LibraryLoadError("Cannot use /e/liba.so: it must be 10: 8\nHint: update", "x", ["/e/liba.so"]);
  expect(faultsOf(refused)).toEqual(["/e/liba.so: it must be 10: 8"]);
  expect(whyUnusable(refused, { variable: "NONE" })).toBe("cannot be used: /e/liba.so: it must be 10: 8");
  expect(whyUnusable(nowhere, { variable: "BUN_TENSORRT_NO_SUCH_VARIABLE" })).toBe("was not found");
});

test("choiceOf() says that detection is not ok where what it needs is broken, wherever it would run", () => {
  const absent = { name: "NVIDIA GPU", state: "absent", found: "none" } as const;
  const libraries = { tensorRt: [absent], nvJpeg: absent, videoEngines: absent };
  const bare = { gpus: [absent], driver: absent, runtime: absent, shim: absent, ...libraries };
  const host = ["ONNX Runtime", "sharp"].map((name) => ({ name, state: "broken", found: "" }) as const);
  expect(choiceOf(bare, false, host).at(-1)).toEqual({
    name: "detection",
    state: "broken",
    found: "not ok, because of: ONNX Runtime, sharp",
  });
  const wanted = (backend: string) => choiceOf(bare, false, [], backend).at(-1)!;
  expect(wanted("gpu")).toMatchObject({
    state: "broken",
    found: "not ok: BUN_TENSORRT_BACKEND is gpu, and there is no: NVIDIA GPU",
  });
  expect(wanted("cpu")).toMatchObject({ state: "ok", found: "runs on the CPU, as BUN_TENSORRT_BACKEND is cpu" });
  expect(wanted("auto")).toMatchObject({ state: "ok", found: "runs on the CPU, for want of: NVIDIA GPU" });
});

test("choiceOf() names the first gap, advises nothing where no card is, and one TensorRT is enough", () => {
  const ok = (name: string) => ({ name, state: "ok", found: "there" }) as const;
  const gap = (name: string) => ({ name, state: "absent", found: "not there", fix: `install ${name}` }) as const;
  const full: GpuFindings = {
    gpus: [ok("GPU 0")],
    driver: ok("driver"),
    runtime: ok("runtime"),
    shim: ok("shim"),
    tensorRt: [gap("TensorRT"), ok("TensorRT-RTX")],
    nvJpeg: gap("nvJPEG"),
    videoEngines: ok("NVDEC"),
  };
  const verdict = (findings: GpuFindings, hasCard = true): string => choiceOf(findings, hasCard).at(-1)!.found;
  expect(verdict(full)).toBe("runs on the GPU, with TensorRT-RTX");
  expect(choiceOf(full, true).filter(({ fix }) => fix !== undefined)).toEqual([full.nvJpeg]);
  expect(verdict({ ...full, tensorRt: [{ ...ok("TensorRT"), fix: "install builder" }] })).toBe(
    "runs on the GPU, with TensorRT: plans alone",
  );
  const bare = { ...full, driver: gap("driver"), runtime: gap("runtime"), gpus: [gap("NVIDIA GPU")] };
  expect(verdict(bare)).toBe("runs on the CPU, for want of: driver");
  expect(verdict({ ...full, gpus: [gap("GPU 0"), ok("GPU 1")] })).toBe("runs on the GPU, with TensorRT-RTX");
  expect(verdict({ ...full, tensorRt: [gap("TensorRT"), gap("TensorRT-RTX")] })).toBe(
    "runs on the CPU, for want of: TensorRT",
  );
  expect(verdict(bare, false)).toBe("runs on the CPU, for want of: NVIDIA GPU");
  expect(choiceOf(bare, false).filter(({ fix }) => fix !== undefined)).toEqual(bare.gpus);
});

interface Report {
  readonly code: number;
  readonly errors: string;
  readonly findings: ReadonlyMap<string, { readonly state: string; readonly found: string }>;
}

async function doctor(env: Readonly<Record<string, string>>): Promise<Report> {
  const { code, output, errors } = await runProcess(["doctor", "--json"], {
    env: { BUN_TENSORRT_BACKEND: "auto", ...env },
  });
  const findings: { name: string; state: string; found: string }[] = JSON.parse(output);
  return { code, errors, findings: new Map(findings.map((finding) => [finding.name, finding])) };
}

test("doctor survives libraries that are cut short, of another kind, and for another processor", async () => {
  const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-doctor-"));
  try {
    const prebuilt = join(import.meta.dir, "../../native/prebuilt");
    const shim = join(prebuilt, "linux-x64/libbun_tensorrt_shim.so");
    const other = process.arch === "x64" ? "arm64" : "x64";
    copyFileSync(join(prebuilt, `linux-${other}/libbun_tensorrt_shim.so`), join(folder, "libbun_tensorrt_shim.so"));
    writeFileSync(join(folder, "libcuda.so.1"), "not a library");
    writeFileSync(join(folder, "libnvinfer.so.10"), readFileSync(shim).subarray(0, 5000));
    copyFileSync(join(prebuilt, `linux-${process.arch}/libbun_tensorrt_shim.so`), join(folder, "libcudart.so.12"));
    const names = ["LIBCUDA", "CUDART", "TENSORRT", "SHIM", "NVJPEG", "NVCUVID"];
    const { code, errors, findings } = await doctor(
      Object.fromEntries(names.map((name) => [`BUN_TENSORRT_${name}`, folder])),
    );
    // Detection runs on the CPU all the same.
    expect(code).toBe(0);
    expect(errors).toBe("");
    expect(findings.get("NVIDIA driver")).toMatchObject({ state: "absent" });
    expect(findings.get("NVIDIA driver")?.found).toContain(`libcuda cannot be used: ${join(folder, "libcuda.so.1")}: `);
    expect(findings.get("CUDA runtime")?.found).toMatch(/libcudart\.so\.12: Symbol "\w+" not found/);
    expect(findings.get("TensorRT shim")?.found).toContain(`it is made for ${other}, and this is ${process.arch}`);
    expect(findings.get("TensorRT")?.found).toMatch(/libnvinfer\.so\.10: it is /);
    expect(findings.get("TensorRT-RTX")?.found).toBe(`was not found at BUN_TENSORRT_TENSORRT=${folder}`);
    expect(findings.get("NVDEC")?.found).toEndWith(": video is decoded on the CPU");
    expect(findings.get("nvJPEG")?.found).toContain(`was not found at BUN_TENSORRT_NVJPEG=${folder}`);
    expect(findings.get("detection")?.found).toStartWith("runs on the CPU, for want of: ");
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("doctor --model tells what a model is, how sure that is, and what of it runs where", async () => {
  const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-doctor-model-"));
  const env = { BUN_TENSORRT_LIBCUDA: "/nowhere/libcuda.so", BUN_TENSORRT_BACKEND: "auto" };
  try {
    const model = join(folder, "toy.onnx");
    writeFileSync(model, toyDetector());
    const told = await runProcess(["doctor", "--model", model], { env });
    expect([told.code, told.errors]).toEqual([0, ""]);
    const of = (name: string): string | undefined => new RegExp(`^  ${name}  +(.*)$`, "m").exec(told.output)?.[1];
    expect(["task", "head", "confidence"].map(of)).toEqual([
      "detect",
      "yolo",
      expect.stringMatching(/^(certain|likely)$/),
    ]);
    expect(of("model")).toBe("CPU: ONNX Runtime, as libcuda was not found");
    expect(["pre-processing", "post-processing"].map(of)).toEqual(["CPU", "CPU"]);
    expect(of("decoding")).toMatch(/^JPEG: (libturbojpeg|sharp); others: sharp$/);
    const json = JSON.parse((await runCli(["doctor", "-m", model, "--json"], { env })).output);
    expect(json.findings[0].name).toBe("Bun");
    expect(json.model).toMatchObject({ file: model, task: "detect", runs: { model: "CPU: ONNX Runtime" } });
    expect(json.model.recognition).toMatchObject({ head: "yolo", labels: ["cat", "dog"] });
    const anchors = await runCli(["doctor", "--model", model, "--anchors", "yolov7"], { env });
    expect([anchors.code, anchors.errors]).toEqual([
      2,
      expect.stringContaining('its head "yolo" reads no anchors\nHint: leave `anchors` (`--anchors`) out'),
    ]);
    expect((await runCli(["doctor", "--anchors", "yolov7"], { env })).errors).toContain("--anchors is for a model");
    writeFileSync(join(folder, "none.onnx"), "none");
    expect((await runCli(["doctor", "--model", join(folder, "none.onnx")], { env })).code).toBe(1);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("doctor tells where ffmpeg is, and that videos need it", async () => {
  const found = await doctor({});
  if (!isFfmpegMissing) {
    expect(found.findings.get("ffmpeg")).toMatchObject({ state: "ok" });
    expect(found.findings.get("ffmpeg")?.found).toMatch(/^\S+ at \//);
  }
  const { code, findings } = await doctor({ BUN_TENSORRT_FFPROBE: "/nowhere/ffprobe", BUN_TENSORRT_FFMPEG: "/bin/sh" });
  expect(code).toBe(0);
  expect(findings.get("ffmpeg")).toMatchObject({
    state: "absent",
    found:
      '$BUN_TENSORRT_FFPROBE is "/nowhere/ffprobe", which does not exist: images are detected without, videos, streams and cameras are not',
  });
});

fakeCudaTest("doctor tells which videos a card decodes without ffmpeg", async (run) => {
  const code = `
    import { findAll } from "./src/cli/commands/doctor.ts";
    const all = await findAll();
    console.log(JSON.stringify(all.find(({ name }) => name === "ffmpeg")));
  `;
  expect(JSON.parse(await run(code, { BUN_TENSORRT_FFPROBE: "/nowhere/ffprobe" }))).toMatchObject({
    state: "absent",
    found: expect.stringMatching(
      /which does not exist: images and, by mediabunny, video files for NVDEC are detected without, streams and cameras are not$/,
    ),
  });
});

test.skipIf(RTX === undefined)("doctor finds TensorRT-RTX and its parser, as it has been fetched", async () => {
  const { findings } = await doctor({ BUN_TENSORRT_TENSORRT: RTX! });
  expect(findings.get("TensorRT-RTX")).toEqual({
    name: "TensorRT-RTX",
    state: "ok",
    found: `1.7.1.116 at ${join(RTX!, "libtensorrt_rtx.so.1")}`,
    version: "1.7.1.116",
    path: join(RTX!, "libtensorrt_rtx.so.1"),
  } as never);
  expect(findings.get("TensorRT")?.state).toBe("absent");
  expect(findings.get("TensorRT shim")).toMatchObject({ state: "ok" });
});

const OLD = testLibrary("rtx-1.4");

test.skipIf(OLD === undefined)(
  "doctor names a release that is too old, as TensorRT-RTX 1.4 has been fetched",
  async () => {
    const { findings } = await doctor({ BUN_TENSORRT_TENSORRT: OLD! });
    expect(findings.get("TensorRT-RTX")).toMatchObject({ state: "absent" });
    expect(findings.get("TensorRT-RTX")?.found).toContain("it must be TensorRT 10 or 11, or TensorRT-RTX 1.5");
  },
);

const PLAIN = testLibrary("10.6");

test.skipIf(PLAIN === undefined)("doctor tells a TensorRT that only runs plans, as 10.6 has been fetched", async () => {
  const { findings } = await doctor({ BUN_TENSORRT_TENSORRT: PLAIN! });
  expect(findings.get("TensorRT")).toMatchObject({ state: "ok" });
  expect(findings.get("TensorRT")?.found).toEndWith("ONNX models cannot be built without its builder resource");
});

test("doctor tries to write the cache folder, leaves nothing, and says that detection is not ok where it cannot", async () => {
  const home = mkdtempSync(join(tmpdir(), "bun-tensorrt-doctor-cache-"));
  try {
    const fresh = join(home, "a/b");
    const good = await doctor({ BUN_TENSORRT_CACHE: fresh });
    expect(good.findings.get("cache folder")).toMatchObject({
      state: "ok",
      found: expect.stringMatching(/b, 0 of \d+ catalogue files$/),
    });
    expect(readdirSync(home)).toEqual([]);
    for (const cache of ["/dev/null/x", "/proc/x"]) {
      const { code, findings } = await doctor({ BUN_TENSORRT_CACHE: cache });
      expect([code, findings.get("cache folder")?.state]).toEqual([1, "broken"]);
      expect(findings.get("cache folder")?.found).toStartWith(`${cache} cannot be written, E`);
      expect(findings.get("detection")).toMatchObject({ state: "broken", found: "not ok, because of: cache folder" });
    }
  } finally {
    rmSync(home, { recursive: true });
  }
});

test.skipIf(LIBM === undefined)(
  "doctor never says that detection runs on the CPU where ONNX Runtime is missing, or on musl",
  async () => {
    const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-doctor-musl-"));
    try {
      // A file of that name in memory, as musl has its linker.
      const linker = join(folder, "ld-musl-x86_64.so.1");
      copyFileSync(LIBM!, linker);
      const preload = join(folder, "preload.ts");
      const lines = [
        'import { dlopen } from "bun:ffi";',
        `dlopen(${JSON.stringify(linker)}, { fabs: { args: ["f64"], returns: "f64" } });`,
      ];
      writeFileSync(preload, lines.join("\n"));
      for (const backend of ["auto", "cpu"]) {
        const { code, findings } = await doctor({
          BUN_TENSORRT_BACKEND: backend,
          BUN_TENSORRT_ONNXRUNTIME: "/nowhere",
        });
        expect(code).toBe(1);
        expect(findings.get("detection")).toMatchObject({ state: "broken", found: "not ok, because of: ONNX Runtime" });
        const child = Bun.spawn([process.execPath, "--preload", preload, "src/cli/main.ts", "doctor"], {
          cwd: join(import.meta.dir, "../.."),
          env: { ...process.env, BUN_TENSORRT_BACKEND: backend },
          stderr: "ignore",
        });
        const report = await child.stdout.text();
        expect(await child.exited).toBe(1);
        expect(report).toMatch(/^broken +Bun +.* made for musl/m);
        expect(report).toMatch(/^broken +detection +not ok, because of: Bun/m);
        expect(report).not.toContain("runs on the CPU");
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
);
