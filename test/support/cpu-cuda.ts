/**
 * @module Kernels on the CPU: kernels/*.cu compiled by the pinned Zig for an executor that stands for libcuda and libcudart,
 * so that what is tested on a card is tested on any machine. See cpu-cuda/device.h and cpu-cuda/executor.cpp.
 */

import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { basename, join } from "node:path";
import { root, toolFolder, zig } from "../../scripts/generated.ts";
import {
  CUDA_DRIVER_SPEC,
  CUDA_DRIVER_SYMBOLS,
  CUDA_RUNTIME_SYMBOLS,
  cudaRuntimeSpec,
} from "../../src/ffi/cuda-runtime.ts";

const folder = join(import.meta.dir, "cpu-cuda");
const kernels = join(root, "kernels");
const examples = join(root, "examples/low-level");

const TARGET = process.arch === "arm64" ? "aarch64-linux-gnu.2.17" : "x86_64-linux-gnu.2.17";
const FLAGS: readonly string[] = [
  ...["-x", "c++", "-std=c++17", "-O2", "-fPIC", "-g0", "-c"],
  // Two doubles side by side stay two reads: as one of a vector they would seem to want the alignment of one.
  "-fno-slp-vectorize",
  ...[
    "-fno-exceptions",
    "-fno-rtti",
    "-fno-strict-aliasing",
    "-ffp-contract=off",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wno-pass-failed",
  ],
];
/** The thread sanitizer's calls at every access, answered by the executor; its library is not linked. */
const SEEN: readonly string[] = [
  ...["-fno-sanitize=undefined", "-fsanitize=thread"],
  ...["-mllvm", "-tsan-instrument-func-entry-exit=0", "-mllvm", "-tsan-distinguish-volatile=1"],
  ...["-mllvm", "-tsan-instrument-read-before-write=1"],
];

const UNSEEN: readonly string[] = ["-fno-sanitize=all"];

/** A module as C++: the source, and what the executor finds its entry points by. */
function moduleText(path: string): string {
  const pattern = /extern "C" __global__ void (?:__launch_bounds__\((\w+)[^)]*\) )?(\w+)\(/g;
  const entries = [...readFileSync(path, "utf8").matchAll(pattern)].map(
    ([, threads = "1024", name]) => `CUDA_KERNEL(${name}, ${threads})\n`,
  );
  // Modules have types of the same name: none of them is seen by another.
  return `#include "device.h"\nnamespace {\n#include "${path}"\n}\n${entries.join("")}`;
}

/** Calls that library.cpp has no body for. */
function missingCalls(): string {
  const names = [...Object.keys(CUDA_DRIVER_SYMBOLS), ...Object.keys(CUDA_RUNTIME_SYMBOLS)];
  const calls = names.map((name) => `__attribute__((weak)) int ${name}() { return 801; }\n`);
  return `extern "C" {\n${calls.join("")}}\n`;
}

/** Run the pinned Zig. @throws {Error} If it fails, with what it printed */
async function compile(words: readonly string[], scratch: string): Promise<void> {
  const child = Bun.spawn([...zig(), "cc", "-target", TARGET, ...words], { cwd: scratch, stderr: "pipe" });
  const errors = await new Response(child.stderr).text();
  if ((await child.exited) !== 0)
    throw new Error(`Cannot compile the kernels for the CPU: Zig refuses them\n${errors}`);
}

/** Compile all of it, or find it in the cache. @returns the path of the library */
async function build(): Promise<string> {
  const sources = [kernels, folder, examples].flatMap((path) => readdirSync(path).map((name) => join(path, name)));
  const hash = createHash("sha256")
    .update(readFileSync(import.meta.path))
    .update(missingCalls());
  for (const path of sources.sort()) hash.update(basename(path)).update(readFileSync(path));
  const cache = toolFolder("cpu-cuda", () => {});
  const library = join(cache, `${hash.digest("hex").slice(0, 16)}.so`);
  if (existsSync(library)) return library;
  const scratch = mkdtempSync(join(cache, "build-"));
  try {
    const object = async (name: string, text: string, flags: readonly string[]): Promise<string> => {
      await Bun.write(join(scratch, `${name}.cpp`), text);
      await compile([...FLAGS, ...flags, "-I", folder, "-I", kernels, "-o", `${name}.o`, `${name}.cpp`], scratch);
      return `${name}.o`;
    };
    const modules = sources.filter((path) => path.endsWith(".cu"));
    const ours = sources.filter((path) => path.endsWith(".cpp"));
    const objects = await Promise.all([
      ...modules.map((path) => object(basename(path, ".cu"), moduleText(path), SEEN)),
      ...ours.map((path) => object(basename(path, ".cpp"), readFileSync(path, "utf8"), UNSEEN)),
      object("missing", missingCalls(), UNSEEN),
    ]);
    await compile(["-shared", "-fno-sanitize=all", "-o", "made.so", ...objects, "-lm", "-ldl"], scratch);
    renameSync(join(scratch, "made.so"), library);
    return library;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Let this process find the executor where it looks for CUDA. Before anything of CUDA is opened. */
export async function useCpuCuda(): Promise<void> {
  const library = await build();
  for (const { variable } of [CUDA_DRIVER_SPEC, cudaRuntimeSpec([])]) process.env[variable] = library;
}

if (import.meta.main) console.log(await build());
