/**
 * @module Builds native/prebuilt with a pinned Zig, byte for byte the same on every machine.
 *
 * `bun run shim` writes the libraries and the symbol table made from native/shim.h; `bun run shim --check` fails where what is
 * committed differs.
 */

import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { cacheFolder } from "../src/core/paths.ts";
import { formatBytes } from "../src/core/units.ts";
import { shimTable } from "./shim-table.ts";

/** Another version makes other bytes: change it together with native/prebuilt. */
const ZIG_VERSION = "0.15.2";

/** Folder below native/prebuilt → Zig's target; glibc 2.17 is that of CentOS 7, the oldest TensorRT 10 ran on. */
const TARGETS: Readonly<Record<string, string>> = {
  "linux-x64": "x86_64-linux-gnu.2.17",
  "linux-arm64": "aarch64-linux-gnu.2.17",
};

const LIBRARY = "libbun_tensorrt_shim.so";
const SOURCES = [
  "copy.c",
  "events.c",
  "file-lock.c",
  "gif-check.c",
  "jpeg-check.c",
  "jpeg-plan.c",
  "jpeg.c",
  "library.c",
  "nvjpeg.c",
  "objects.c",
  "observers.c",
  "ring.c",
  "shapes.c",
] as const;
const FLAGS = [
  "-std=c11",
  "-O2",
  "-fPIC",
  "-fvisibility=hidden",
  "-fno-sanitize=all",
  "-g0",
  "-Wall",
  "-Wextra",
  "-Werror",
  "-shared",
  "-s",
  "-Wl,--build-id=none",
  `-Wl,-soname,${LIBRARY}`,
  // Bare names are looked for beside the library as well: see bt_preload.
  "-Wl,-rpath,$ORIGIN",
] as const;

const native = join(import.meta.dir, "../native");

function run(command: readonly string[], folder: string): void {
  const { exitCode, stderr } = Bun.spawnSync([...command], { cwd: folder, stdout: "inherit", stderr: "pipe" });
  if (exitCode !== 0) throw new Error(`Cannot run ${command.join(" ")}: it exited with ${exitCode}:\n${stderr}`);
}

/** Python of a virtual environment that holds the pinned Zig; made on first use. */
function python(): string {
  const folder = join(cacheFolder(), "tools", `zig-${ZIG_VERSION}`);
  const interpreter = join(folder, "bin/python");
  const marker = join(folder, "complete");
  if (existsSync(marker)) return interpreter;
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  run(["python3", "-m", "venv", folder], native);
  run([interpreter, "-m", "pip", "install", "--quiet", "--no-deps", `ziglang==${ZIG_VERSION}`], native);
  Bun.spawnSync(["touch", marker]);
  return interpreter;
}

/** Compile for one target. Sources are named relative to their folder, so that no path enters the library. */
function compile(target: string, output: string): void {
  run(
    [python(), "-m", "ziglang", "cc", "-target", target, ...FLAGS, "-o", output, ...SOURCES, "-ldl", "-lpthread"],
    native,
  );
}

async function bytesOf(path: string): Promise<Uint8Array> {
  return existsSync(path) ? await Bun.file(path).bytes() : new Uint8Array();
}

const isCheck = Bun.argv.includes("--check");
const scratch = mkdtempSync(join(tmpdir(), "bun-tensorrt-shim-"));
let differing = 0;
try {
  for (const [platform, target] of Object.entries(TARGETS)) {
    const built = join(scratch, LIBRARY);
    const committed = join(native, "prebuilt", platform, LIBRARY);
    compile(target, built);
    const bytes = await bytesOf(built);
    const isSame = Buffer.compare(bytes, await bytesOf(committed)) === 0;
    const state = isSame ? "unchanged" : isCheck ? "DIFFERS from what is committed" : "written";
    if (!isSame && isCheck) differing += 1;
    if (!isSame && !isCheck) await Bun.write(committed, bytes, { mode: 0o755 });
    const hash = new Bun.CryptoHasher("sha256").update(bytes).digest("hex").slice(0, 16);
    console.log(`${platform}  ${formatBytes(bytes.length)}  sha256 ${hash}…  ${state}`);
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
const table = join(import.meta.dir, "../src/ffi/shim-symbols.ts");
const written = shimTable(await Bun.file(join(native, "shim.h")).text());
if (written !== (await Bun.file(table).text())) {
  console.log(`src/ffi/shim-symbols.ts  ${isCheck ? "DIFFERS from what is committed" : "written"}`);
  if (isCheck) differing += 1;
  else await Bun.write(table, written);
}
if (differing > 0) {
  console.error("Hint: run `bun run shim` and commit native/prebuilt and src/ffi/shim-symbols.ts");
  process.exitCode = 1;
}
