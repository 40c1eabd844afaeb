import { expect, test } from "bun:test";
import { basename } from "node:path";
import {
  buildBytes,
  buildsFor,
  type Component,
  chooseBuild,
  componentLine,
  components,
  findComponent,
  sourceName,
} from "../../src/catalogue/components.ts";
import { libraryPath, licencePath } from "../../src/catalogue/store.ts";
import { CatalogueError } from "../../src/core/errors.ts";

const builds = components.flatMap((component) => component.builds);

test("components are pinned: unique names, exact versions, whole hashes, each build once", () => {
  expect(new Set(components.map(({ name }) => name)).size).toBe(components.length);
  expect(new Set(components.map(licencePath)).size).toBe(components.length);
  for (const component of components) {
    const keys = component.builds.map(({ cuda, platform, architecture }) => `${cuda} ${platform} ${architecture}`);
    expect(new Set(keys).size).toBe(keys.length);
    expect(component.licence).not.toBe("");
  }
  const files = [...builds.flatMap((build) => build.files), ...components.map(({ licenceText }) => licenceText.file)];
  for (const { member, sha256, byteLength } of files) {
    expect(member).toMatch(/^[\w./-]+$/);
    expect(sha256).toMatch(/^[0-9a-f]{64}$/);
    expect(byteLength).toBeGreaterThan(1000);
  }
  for (const { version, source } of builds) {
    expect(version).toMatch(/^\d+(\.\d+){2,3}$/);
    expect(source.version).toStartWith(version.slice(0, 4));
  }
});

test("components put no two different files of one processor and CUDA in one place", () => {
  for (const architecture of ["x64", "arm64"]) {
    for (const major of [12, 13] as const) {
      const places = components.flatMap((component) => {
        const machine = { platform: "linux", arch: architecture };
        const isThere = buildsFor(component, machine).some(({ cuda }) => (cuda ?? 0) <= major);
        return isThere ? chooseBuild(component, machine, { major }).files.map(libraryPath) : [];
      });
      expect(new Set(places).size).toBe(places.length);
      expect(places.length).toBeGreaterThan(4);
    }
  }
});

test("chooseBuild() takes the CUDA that is wanted, else an older one, else says what is needed", () => {
  const of = (name: string, architecture: string, major: 12 | 13, reason?: string): string => {
    const wish = reason === undefined ? { major } : { major, reason };
    return sourceName(chooseBuild(findComponent(name)!, { platform: "linux", arch: architecture }, wish).source);
  };
  expect(of("cuda-runtime", "x64", 12)).toBe("wheel nvidia-cuda-runtime-cu12 12.9.79 (manylinux2014_x86_64)");
  expect(of("cuda-runtime", "arm64", 13, "x")).toBe("wheel nvidia-cuda-runtime 13.5.37 (manylinux2014_aarch64)");
  expect(of("tensorrt", "x64", 13, "x")).toBe("jar org.bytedeco:tensorrt:10.6-1.5.11 (linux-x86_64-redist)");
  expect(of("tensorrt-rtx", "arm64", 12)).toContain("tensorrt-rtx-cu13-libs");
  expect(() => of("tensorrt-rtx", "arm64", 12, "the driver has CUDA 12.2")).toThrow(
    'Cannot install "tensorrt-rtx": on arm64 it needs CUDA 13, and the driver has CUDA 12.2\nHint: update',
  );
  expect(() => of("nvjpeg", "ppc64", 12)).toThrow(
    'Cannot install "nvjpeg": there are builds for linux x64 and linux arm64 and windows x64 only, not for linux ppc64\nHint: install NVIDIA',
  );
  expect(of("onnxruntime", "arm64", 12, "x")).toBe("wheel onnxruntime 1.30.0 (manylinux_2_28_aarch64)");
  const windows = { platform: "win32", arch: "x64" };
  expect(chooseBuild(findComponent("tensorrt")!, windows, { major: 13 }).files[0]!.member).toEndWith("/nvinfer_10.dll");
  const mac = { platform: "darwin", arch: "arm64" };
  expect(chooseBuild(findComponent("onnxruntime")!, mac, { major: 12 }).files[0]!.member).toEndWith(".1.30.0.dylib");
  expect(() => chooseBuild(findComponent("tensorrt")!, mac, { major: 12 })).toThrow(
    "not for darwin arm64\nHint: install",
  );
  expect(() => chooseBuild(findComponent("onnxruntime")!, { ...mac, arch: "x64" }, { major: 12 })).toThrow(
    new CatalogueError(
      'Cannot install "onnxruntime": there are builds for linux x64 and linux arm64 and darwin arm64 and windows x64 only, not for darwin x64',
      "onnxruntime",
    ),
  );
});

test("componentLine() says whose licence holds and where the libraries come from", () => {
  const nvjpeg = findComponent("nvjpeg") as Component;
  const machine = { platform: "linux", arch: "x64" };
  expect(componentLine(nvjpeg, chooseBuild(nvjpeg, machine, { major: 12 }))).toBe(
    "nvjpeg 12.4.0.76 for CUDA 12, x64: NVIDIA CUDA Toolkit EULA (proprietary), " +
      "from wheel nvidia-nvjpeg-cu12 12.4.0.76 (manylinux2014_x86_64)",
  );
  const onnxRuntime = findComponent("onnxruntime") as Component;
  expect(componentLine(onnxRuntime, chooseBuild(onnxRuntime, machine, { major: 12 }))).toBe(
    "onnxruntime 1.30.0 for linux, x64: MIT (Microsoft), from wheel onnxruntime 1.30.0 (manylinux_2_28_x86_64)",
  );
  expect(buildBytes(chooseBuild(nvjpeg, machine, { major: 12 }))).toBe(9_352_784);
  expect(basename(libraryPath(nvjpeg.builds[0]!.files[0]!))).toBe("libnvjpeg.so.12");
  expect(findComponent("nvjpg")).toBeUndefined();
});
