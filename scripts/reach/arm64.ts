/**
 * @module Linux arm64 under qemu's user emulation: Bun, ONNX Runtime, sharp, the shim and TensorRT-RTX of that processor, with the
 * system's libraries of Debian's arm64 in a folder of their own.
 */

import { existsSync, mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { delimiter, join } from "node:path";
import { cacheFolder } from "../../src/core/paths.ts";
import { sharedPath } from "../../test/support/shared.ts";
import { root, zig } from "../generated.ts";
import { copyTree, fetchBy, platformBun, type Reach, reachFolder, TIMEOUT, Unavailable } from "./reach.ts";

const QEMU = "/usr/bin/qemu-aarch64-static";
const BINFMT = "/proc/sys/fs/binfmt_misc";
/** Of our own, where the system has none. */
const OWN_NAME = "bun-tensorrt-arm64";
/** The ELF header of an arm64 program, and which bits of it count. */
const MAGIC = String.raw`\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00`;
const MASK = String.raw`\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff`;

/** Debian's arm64 packages that programs here are linked against, or open. */
const PACKAGES: readonly string[] = ["libc6", "libstdc++6", "libgcc-s1", "libturbojpeg0"];

/** A core without SVE, which qemu's default has and emulates ten times more slowly. */
const CPU = "neoverse-n1";
/** What ONNX Runtime reads of /proc, where the emulator would show the host's: it ends the process on that. */
const CPU_INFO = Array.from(
  { length: 2 },
  (_, at) => `processor	: ${at}
BogoMIPS	: 50.00
Features	: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer	: 0x41
CPU architecture: 8
CPU variant	: 0x3
CPU part	: 0xd0c
CPU revision	: 1

`,
).join("");

/** Folders of tests, or files where a folder holds what is slow in an emulator and is no other there. */
const TESTS: Readonly<Record<string, readonly string[]>> = {
  // Sanitizers do not run in an emulator.
  native: [
    "test/native/shim-abi.test.ts",
    "test/native/wait-any.test.ts",
    "test/nvml",
    "test/track/camera-motion.test.ts",
  ],
  // An engine of yolov8n, as the tests of the cache build, takes minutes.
  tensorrt: [
    ...[
      "builder-config",
      "fake-engine",
      "io-formats",
      "library",
      "onnx-parser",
      "plan-file",
      "progress",
      "ring",
      "runtime",
    ],
    ...["slot-table", "turns", "version"],
  ].map((name) => `test/tensorrt/${name}.test.ts`),
  pipeline: ["test/pipeline/cpu-backend.test.ts", "test/pipeline/decode-options.test.ts", "test/pipeline/gpu"],
  detector: ["test/detector/detector.test.ts", "test/detector/model.test.ts"],
  core: ["test/core"],
  // Every other one starts Bun anew.
  ffi: ["test/ffi"],
};

function installQemu(): void {
  if (existsSync(QEMU)) return;
  const install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "qemu-user-static"];
  fetchBy("qemu-user-static", install);
}

/** Programs start others by name, so the kernel must know what arm64 ones are run by. @returns what takes it back */
function registerFormat(): (() => void) | undefined {
  const status = join(BINFMT, "status");
  const isMounted = existsSync(status);
  if (!isMounted) {
    const { exitCode, stderr } = Bun.spawnSync(["mount", "-t", "binfmt_misc", "binfmt_misc", BINFMT]);
    if (exitCode !== 0 || !existsSync(status)) {
      throw new Unavailable(`binfmt_misc cannot be mounted, as in most containers: ${stderr.toString().trim()}`);
    }
  }
  if (["qemu-aarch64", OWN_NAME].some((name) => existsSync(join(BINFMT, name)))) return undefined;
  try {
    writeFileSync(join(BINFMT, "register"), `:${OWN_NAME}:M::${MAGIC}:${MASK}:${QEMU}:F`);
  } catch (error) {
    throw new Unavailable(`a format cannot be registered with binfmt_misc: ${(error as Error).message}`);
  }
  return () => {
    writeFileSync(join(BINFMT, OWN_NAME), "-1");
    if (!isMounted) Bun.spawnSync(["umount", BINFMT]);
  };
}

/** The system's libraries, unpacked. @returns their folder */
function systemLibraries(folder: string): string {
  const system = join(folder, "root");
  const marker = join(system, "complete");
  if (existsSync(marker)) return system;
  const state = join(folder, "apt");
  rmSync(system, { recursive: true, force: true });
  for (const part of ["lists/partial", "cache/archives/partial"]) mkdirSync(join(state, part), { recursive: true });
  mkdirSync(join(system, "proc"), { recursive: true });
  writeFileSync(join(state, "status"), "");
  const options = [
    ...["APT::Architecture=arm64", "APT::Architectures=arm64", `Dir::State=${state}`],
    ...[`Dir::State::status=${join(state, "status")}`, `Dir::Cache=${join(state, "cache")}`],
    ...[`Dir::State::lists=${join(state, "lists")}`, "APT::Sandbox::User=root"],
  ].flatMap((option) => ["-o", option]);
  // Else apt is content with the lists that it has, which are none.
  const update = ["-o", "APT::Update::Error-Mode=any", "update", "-qq"];
  fetchBy("Debian's list for arm64", ["apt-get", ...options, ...update]);
  const download = ["-y", "-qq", "--no-install-recommends", "--download-only", "install", ...PACKAGES];
  fetchBy("Debian's arm64 libraries", ["apt-get", ...options, ...download]);
  const archives = join(state, "cache/archives");
  for (const file of readdirSync(archives)) {
    if (file.endsWith(".deb")) fetchBy(file, ["dpkg", "-x", join(archives, file), system]);
  }
  // The emulator opens it in place of the host's.
  writeFileSync(join(system, "proc/cpuinfo"), CPU_INFO);
  writeFileSync(marker, "");
  return system;
}

/** A folder with a `gcc` that makes arm64 code: fakes are compiled by the tests. */
function crossCompiler(folder: string): string {
  const place = join(folder, "bin");
  mkdirSync(place, { recursive: true });
  const command = [...zig(), "cc", "-target", "aarch64-linux-gnu.2.28"].map((word) => `'${word}'`).join(" ");
  writeFileSync(join(place, "gcc"), `#!/bin/sh\nexec ${command} "$@"\n`, { mode: 0o755 });
  return place;
}

/** The cache of the emulated machine: models are the host's. */
function ownCache(folder: string): string {
  const cache = join(folder, "cache");
  mkdirSync(cache, { recursive: true });
  for (const name of ["models", "images"]) {
    mkdirSync(join(cacheFolder(), name), { recursive: true });
    if (!existsSync(join(cache, name))) symlinkSync(join(cacheFolder(), name), join(cache, name));
  }
  return cache;
}

/** Linux arm64 under qemu, on a Debian or Ubuntu of x64 as root. */
export const arm64: Reach = async () => {
  if (process.platform !== "linux" || process.arch !== "x64") {
    throw new Unavailable(`it is emulated on linux-x64 only, and this is ${process.platform}-${process.arch}`);
  }
  if (process.getuid?.() !== 0) throw new Unavailable("it needs root, for apt and binfmt_misc");
  if (Bun.which("apt-get") === null) throw new Unavailable("it needs apt-get, for qemu and the libraries of arm64");
  installQemu();
  const folder = reachFolder("arm64");
  mkdirSync(folder, { recursive: true });
  const system = systemLibraries(folder);
  const bun = platformBun("@oven/bun-linux-aarch64", folder, "bun");
  const tree = join(folder, "tree");
  copyTree(tree, { cpu: "arm64", os: "linux" });
  const cache = ownCache(folder);
  const rtx = Bun.spawnSync([process.execPath, "scripts/test-libraries.ts", "rtx", "--arch=arm64"], {
    cwd: root,
    env: { ...process.env, BUN_TENSORRT_CACHE: cache },
    stderr: "pipe",
  });
  if (rtx.exitCode !== 0) console.log(`arm64: no TensorRT-RTX, its tests are skipped: ${rtx.stderr}`);
  const env = {
    QEMU_LD_PREFIX: system,
    QEMU_CPU: CPU,
    BUN_TENSORRT_CACHE: cache,
    PATH: [crossCompiler(folder), process.env.PATH ?? ""].join(delimiter),
    ...(existsSync(sharedPath()) ? { BUN_TENSORRT_SHARED: sharedPath() } : {}),
  };
  const dispose = registerFormat();
  const version = Bun.spawnSync([bun, "--print", "process.arch"], { env: { ...process.env, ...env } });
  if (version.stdout.toString().trim() !== "arm64") {
    dispose?.();
    throw new Unavailable(`Bun for arm64 does not run here: ${version.stderr.toString().trim()}`);
  }
  const command = [bun, "test", TIMEOUT, `--parallel=${availableParallelism()}`, "--no-isolate"];
  const wanted = Bun.argv.find((word) => word.startsWith("--only="))?.slice("--only=".length);
  const chosen = Object.entries(TESTS).filter(([title]) => wanted === undefined || wanted === title);
  const host = {
    title: "beside x64",
    command: [process.execPath, "test", TIMEOUT, "test/reach/arm64.test.ts"],
    env: {
      BUN_TENSORRT_REACH_BUN: bun,
      BUN_TENSORRT_REACH_TREE: tree,
      BUN_TENSORRT_REACH_ENV: JSON.stringify({ ...env, BUN_TENSORRT_BACKEND: "cpu" }),
    },
  };
  return {
    runs: [
      // What shows most comes first: a busy machine may not come to the end.
      ...(wanted === undefined || wanted === host.title ? [host] : []),
      ...chosen.map(([title, paths]) => ({ title, command: [...command, ...paths], cwd: tree, env })),
    ],
    ...(dispose === undefined ? {} : { dispose }),
  };
};
