/** @module CudaFolders: where CUDA toolkits keep their libraries on Linux. */

import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";

/** Target folders of a toolkit for this machine: arm64 servers and Jetson boards have different ones. */
const TARGETS: readonly string[] = process.arch === "arm64" ? ["sbsa-linux", "aarch64-linux"] : ["x86_64-linux"];

/** Library folders of the toolkits below `/usr/local`, `cuda` itself first, then the newest version first. */
export function cudaFolders(): string[] {
  const root = "/usr/local";
  if (!existsSync(root)) return [];
  const toolkits = readdirSync(root)
    .filter((entry) => entry === "cuda" || entry.startsWith("cuda-"))
    .sort((a, b) => (a === "cuda" ? -1 : b === "cuda" ? 1 : b.localeCompare(a, "en", { numeric: true })));
  return toolkits.flatMap((toolkit) => [
    join(root, toolkit, "lib64"),
    ...TARGETS.map((target) => join(root, toolkit, "targets", target, "lib")),
  ]);
}
