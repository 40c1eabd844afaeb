/**
 * @module Builds native/prebuilt with a pinned Zig, byte for byte the same on every machine.
 *
 * `bun run shim` writes the libraries and the symbol table made from native/shim.h; `bun run shim --check` fails where what is
 * committed differs.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { endCheck, keep, root, run, zig } from "./generated.ts";
import { shimTable } from "./shim-table.ts";

/** What is built for a platform. */
interface Target {
  /** Zig's name of it. */
  readonly target: string;
  readonly library: string;
  /** For the linker. */
  readonly flags: readonly string[];
}

const ELF = "libbun_tensorrt_shim.so";
const MACH_O = "libbun_tensorrt_shim.dylib";
const ELF_FLAGS = [
  "-Wl,--build-id=none",
  `-Wl,-soname,${ELF}`,
  // Bare names are looked for beside the library as well: see bt_preload.
  "-Wl,-rpath,$ORIGIN",
  "-ldl",
  "-lpthread",
] as const;

/** By the folder below native/prebuilt; glibc 2.17 is that of CentOS 7, the oldest TensorRT 10 ran on. */
const TARGETS: Readonly<Record<string, Target>> = {
  "linux-x64": { target: "x86_64-linux-gnu.2.17", library: ELF, flags: ELF_FLAGS },
  "linux-arm64": { target: "aarch64-linux-gnu.2.17", library: ELF, flags: ELF_FLAGS },
  // The C library is Windows' own (ucrtbase); threads come from mingw-w64, which is linked in.
  "windows-x64": { target: "x86_64-windows-gnu", library: "bun_tensorrt_shim.dll", flags: ["-lpthread"] },
  // macOS 13, the oldest that Bun runs on.
  "darwin-arm64": {
    target: "aarch64-macos.13.0",
    library: MACH_O,
    flags: [`-Wl,-install_name,@rpath/${MACH_O}`],
  },
};

const SOURCES = [
  "copy.c",
  "events.c",
  "file-lock.c",
  "flow.c",
  "gif-check.c",
  "jpeg-check.c",
  "jpeg-plan.c",
  "jpeg.c",
  "library.c",
  "nvdec.c",
  "nvjpeg.c",
  "objects.c",
  "observers.c",
  "resize.c",
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
] as const;

const native = join(root, "native");

/** Compile for one target. Sources are named relative to their folder, so that no path enters the library. */
function compile({ target, flags }: Target, output: string): void {
  run([...zig(), "cc", "-target", target, ...FLAGS, "-o", output, ...SOURCES, ...flags], native);
}

const scratch = mkdtempSync(join(tmpdir(), "bun-tensorrt-shim-"));
try {
  for (const [platform, target] of Object.entries(TARGETS)) {
    const built = join(scratch, target.library);
    compile(target, built);
    await keep(join("native/prebuilt", platform, target.library), await Bun.file(built).bytes(), 0o755);
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
await keep("src/ffi/shim-symbols.ts", shimTable(await Bun.file(join(native, "shim.h")).text()));
endCheck("run `bun run shim` and commit native/prebuilt and src/ffi/shim-symbols.ts");
