import { afterEach, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LibraryLoadError, TensorRtError } from "../../src/core/errors.ts";
import { setLogSink } from "../../src/core/log.ts";
import { METHOD_NAMES } from "../../src/ffi/shim.ts";
import { Builder } from "../../src/tensorrt/builder.ts";
import { openTensorRt, TensorRtLibrary } from "../../src/tensorrt/library.ts";
import { Runtime } from "../../src/tensorrt/runtime.ts";
import { BUILD_TEST_MS, openFrom, RTX, testLibrary, withVariable } from "../support/tensorrt.ts";

setDefaultTimeout(BUILD_TEST_MS);

const RTX_14 = testLibrary("rtx-1.4");
const LEAN = testLibrary("lean-11");
const DISPATCH = testLibrary("dispatch-10");
const TRT_10 = testLibrary("10.6");

afterEach(() => {
  setLogSink(undefined);
});

/** Two releases under one file name must not meet in one process. */
function inChild(folder: string, code: string): string {
  const support = join(import.meta.dir, "../support/tensorrt.ts");
  const script = `import { openFrom } from ${JSON.stringify(support)};\n${code}`;
  const environment = { ...process.env, FOLDER: folder };
  const { stdout, stderr } = Bun.spawnSync([process.execPath, "-e", script], {
    env: environment,
    stdout: "pipe",
    stderr: "pipe",
  });
  return stdout.toString() + stderr.toString();
}

test("openTensorRt() lists every path tried where the library is nowhere", () => {
  const call = (): unknown => withVariable("BUN_TENSORRT_TENSORRT", "/nowhere/libnvinfer.so.10", () => openTensorRt());
  expect(call).toThrow(LibraryLoadError);
  expect(call).toThrow("/nowhere/libnvinfer.so.10: no such file");
});

test.skipIf(RTX === undefined)(
  "openTensorRt() opens TensorRT-RTX once and knows its version, as it has been fetched",
  () => {
    const library = openFrom(RTX!);
    expect(library.version.text).toBe("TensorRT-RTX 1.7.1");
    expect(library.version.build).toBe(116);
    expect(library.isStronglyTyped).toBe(true);
    expect(openFrom(RTX!, { family: "TensorRT-RTX" })).toBe(library);
  },
);

test.skipIf(RTX === undefined)(
  "TensorRtLibrary.has() knows what the version lacks, as TensorRT-RTX has been fetched",
  () => {
    const library = openFrom(RTX!);
    const missing = METHOD_NAMES.filter((name) => !library.has(name));
    expect(missing).toEqual([
      "CudaEngine.getDeviceMemorySize",
      "Builder.platformHasFastFp16",
      "Tensor.setType",
      "Layer.setPrecision",
      "Layer.setOutputType",
      "OptimizationProfile.setShapeValues",
    ]);
    expect(library.missing("Builder.platformHasFastFp16").message).toBe(
      "Cannot call IBuilder::platformHasFastFp16: TensorRT-RTX 1.7.1 lacks it",
    );
  },
);

test.skipIf(RTX === undefined)(
  "Runtime.create() works without a GPU, and refuses threads below 1, as TensorRT-RTX has been fetched",
  async () => {
    using runtime = await Runtime.create({ library: openFrom(RTX!) });
    runtime.setMaxThreads(2);
    expect(() => runtime.setMaxThreads(0)).toThrow("Cannot use 0 threads: TensorRT refused the number");
  },
);

test.skipIf(RTX_14 === undefined)("openTensorRt() refuses TensorRT-RTX 1.4 by name, as it has been fetched", () => {
  const output = inChild(
    RTX_14!,
    "try { openFrom(process.env.FOLDER); } catch (error) { console.log(error.name, error.message); }",
  );
  expect(output).toMatch(
    /LibraryLoadError Cannot load [\s\S]*libtensorrt_rtx\.so\.1: it must be .* TensorRT-RTX 1\.4\.0/,
  );
});

test.skipIf(RTX_14 === undefined || RTX === undefined)(
  "openTensorRt() passes over TensorRT-RTX 1.4 where a newer one lies behind it, as both have been fetched",
  () => {
    const child = Bun.spawnSync(
      [process.execPath, "-e", 'console.log((await import("./src/tensorrt/library.ts")).openTensorRt().version.text)'],
      { env: { ...process.env, BUN_TENSORRT_TENSORRT: "", LD_LIBRARY_PATH: `${RTX_14}:${RTX}` }, stderr: "pipe" },
    );
    expect(child.stdout.toString()).toMatch(/^TensorRT-RTX 1\.[5-9]/);
  },
);

test.skipIf(LEAN === undefined)(
  "TensorRtLibrary.bind() takes the table of TensorRT 11 for the lean runtime, as it has been fetched",
  async () => {
    const library = TensorRtLibrary.bind(join(LEAN!, "libnvinfer_lean.so.11"));
    expect(library.version.text).toBe("TensorRT 11.4.0");
    expect(library.isStronglyTyped).toBe(true);
    // Without a driver its failure is a small number that is no object.
    const failed = await Runtime.create({ library }).catch((error: unknown) => error);
    if (library.hasDevice()) return (failed as Runtime).close();
    expect(failed).toBeInstanceOf(TensorRtError);
    expect((failed as TensorRtError).message).toMatch(
      /^Cannot start the runtime of TensorRT 11\.4\.0: createInferRuntime/,
    );
  },
);

test.skipIf(LEAN === undefined)("openTensorRt() takes the lean runtime for plans only, as it has been fetched", () => {
  const library = openFrom(LEAN!, { plansOnly: true });
  expect(library.path).toEndWith("/libnvinfer_lean.so.11");
  expect(library.version.text).toBe("TensorRT 11.4.0");
  expect(() => openFrom(LEAN!)).toThrow(/^Cannot load the library TensorRT: [\s\S]*libnvinfer\.so\.11/);
  expect(() => openFrom(LEAN!, { plansOnly: true, family: "TensorRT-RTX" })).toThrow("libtensorrt_rtx.so.1");
});

test.skipIf(DISPATCH === undefined)(
  "openTensorRt() takes the dispatch runtime for plans only, and its runtime refuses without a GPU, as it has been fetched",
  async () => {
    const library = openFrom(DISPATCH!, { plansOnly: true });
    expect([library.path, library.version.text]).toEqual([
      expect.stringMatching(/\/libnvinfer_dispatch\.so\.10$/),
      "TensorRT 10.16.1",
    ]);
    expect(library.isStronglyTyped).toBe(false);
    expect(() => openFrom(DISPATCH!)).toThrow(/^Cannot load the library TensorRT: /);
    const runtime = await Runtime.create({ library, hostCodeAllowed: true }).catch((error: unknown) => error);
    if (library.hasDevice()) return (runtime as Runtime).close();
    expect(runtime).toBeInstanceOf(TensorRtError);
    expect((runtime as TensorRtError).message).toMatch(/^Cannot start the runtime of TensorRT 10\.16\.1: /);
  },
);

test.skipIf(DISPATCH === undefined || RTX === undefined)(
  "leanFault() wants the lean runtime of the same release, which it opens once, as both libraries have been fetched",
  () => {
    // The dynamic linker goes by the variable that the process was started with.
    const folder = mkdtempSync(join(tmpdir(), "lean-"));
    const script = `
      import { shim } from ${JSON.stringify(join(import.meta.dir, "../../src/ffi/shim.ts"))};
      import { leanFault } from ${JSON.stringify(join(import.meta.dir, "../../src/tensorrt/version.ts"))};
      import { TensorRtLibrary } from ${JSON.stringify(join(import.meta.dir, "../../src/tensorrt/library.ts"))};
      const { version } = TensorRtLibrary.bind(${JSON.stringify(join(DISPATCH!, "libnvinfer_dispatch.so.10"))});
      const native = shim();
      const open = native.bt_library_open;
      let opened = 0;
      native.bt_library_open = (...values) => {
        opened += 1;
        return open(...values);
      };
      leanFault(version);
      console.log(leanFault(version) + "; opened " + opened);`;
    const faultIn = (): string => {
      const env = { ...process.env, LD_LIBRARY_PATH: folder };
      return Bun.spawnSync([process.execPath, "-e", script], { env }).stdout.toString().trim();
    };
    try {
      expect(faultIn()).toBe("libnvinfer_lean.so.10 is not there; opened 2");
      symlinkSync(join(RTX!, "libtensorrt_rtx.so.1"), join(folder, "libnvinfer_lean.so.10"));
      expect(faultIn()).toMatch(/^libnvinfer_lean\.so\.10 is of TensorRT-RTX 1\.[\d.]+; opened 1$/);
      rmSync(join(folder, "libnvinfer_lean.so.10"));
      symlinkSync(join(DISPATCH!, "libnvinfer_dispatch.so.10"), join(folder, "libnvinfer_lean.so.10"));
      expect(faultIn()).toBe("undefined; opened 1");
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
);

test.skipIf(TRT_10 === undefined)(
  "TensorRT 10.6 logs through the unversioned ILogger and refuses without a GPU, as it has been fetched",
  async () => {
    const library = openFrom(TRT_10!);
    expect(library.version.text).toBe("TensorRT 10.6.0");
    expect(library.isStronglyTyped).toBe(false);
    if (library.hasDevice()) return;
    const lines: string[] = [];
    setLogSink((level, text) => lines.push(`${level} ${text}`));
    const failed = (await Runtime.create({ library }).catch((error: unknown) => error)) as TensorRtError;
    expect(failed).toBeInstanceOf(TensorRtError);
    expect(failed.log.join()).toContain("CUDA");
    expect(lines.some((line) => line.startsWith("error TensorRT 10.6.0: "))).toBe(true);
    // The library itself would end the process here.
    const builder = (await Builder.create({ library }).catch((error: unknown) => error)) as TensorRtError;
    expect(builder.code).toBe("NO_DEVICE");
    expect(builder.message).toStartWith("Cannot start the builder of TensorRT 10.6.0: there is no usable CUDA device");
  },
);
