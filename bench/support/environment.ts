/** @module Environment: the facts a figure is worth nothing without: card, versions, clocks, input, model, commit. */

import { existsSync, readFileSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import { basename, join } from "node:path";
import { cudaRuntimeVersion, formatCudaVersion } from "../../src/ffi/cuda-runtime.ts";
import { readBoard } from "../../src/nvml/gpu-usage.ts";
import type { EnvironmentFacts, FileFacts } from "../result.ts";

type GpuFacts = NonNullable<EnvironmentFacts["gpu"]>;

const ROOT = join(import.meta.dir, "../..");

/** What is asked of nvidia-smi about the card's state, and how it is called in the report. */
const STATE: Readonly<Record<string, string>> = {
  "clocks.sm": "SM clock",
  "clocks.max.sm": "highest SM clock",
  "clocks.mem": "memory clock",
  "temperature.gpu": "temperature",
  "power.draw": "power",
  pstate: "performance state",
  "utilization.gpu": "busy",
  "memory.used": "memory used",
};

function run(command: readonly string[]): string | undefined {
  if (Bun.which(command[0]!) === null) return undefined;
  const child = Bun.spawnSync([...command], { cwd: ROOT, stdout: "pipe", stderr: "ignore", timeout: 10_000 });
  return child.exitCode === 0 ? child.stdout.toString().trim() : undefined;
}

function queryGpu(fields: readonly string[], device: number): string[] | undefined {
  const line = run(["nvidia-smi", `--id=${device}`, `--query-gpu=${fields.join(",")}`, "--format=csv,noheader"]);
  return line
    ?.split("\n", 1)[0]
    ?.split(",")
    .map((cell) => cell.trim());
}

/** Clocks, temperature and power now; of a Jetson, which has no nvidia-smi, load and power by rail; else empty. */
export function gpuState(device = 0): Record<string, string> {
  const values = queryGpu(Object.keys(STATE), device);
  if (values === undefined) return boardState();
  return Object.fromEntries(Object.values(STATE).map((name, at) => [name, values[at] ?? "–"]));
}

function boardState(): Record<string, string> {
  const board = readBoard();
  if (board === undefined) return {};
  const { powerMode, gpuLoad, rails } = board;
  return {
    ...(powerMode === undefined ? {} : { "power mode": String(powerMode) }),
    ...(gpuLoad === undefined ? {} : { busy: `${(gpuLoad * 100).toFixed(0)} %` }),
    ...Object.fromEntries(rails.map(({ name, watts }) => [name, `${watts.toFixed(1)} W`])),
  };
}

/**
 * The card.
 *
 * @param name as CUDA calls it
 */
export function gpuFacts(name: string, device = 0): GpuFacts {
  const [driver = "–", memory = "–"] = queryGpu(["driver_version", "memory.total"], device) ?? [];
  return { name, driver, memory, before: gpuState(device), after: {} };
}

/** Version of libcudart. @throws {LibraryLoadError} On a machine without */
export function cudaVersion(): string {
  return formatCudaVersion(cudaRuntimeVersion());
}

/** Name, size and hash of a file. */
export async function fileFacts(path: string): Promise<FileFacts> {
  const bytes = await Bun.file(path).bytes();
  return {
    name: basename(path),
    bytes: bytes.length,
    sha256: new Bun.CryptoHasher("sha256").update(bytes).digest("hex"),
  };
}

/** The commit, marked where files differ from it. */
function commitText(given: string | undefined): string {
  if (given !== undefined) return given;
  const hash = existsSync(join(ROOT, ".git")) ? run(["git", "rev-parse", "--short=12", "HEAD"]) : undefined;
  if (hash === undefined) return "unknown";
  return run(["git", "status", "--porcelain", "--untracked-files=no"]) === "" ? hash : `${hash} with changes`;
}

function systemText(): string {
  const release = existsSync("/etc/os-release") ? readFileSync("/etc/os-release", "utf8") : "";
  const name = /^PRETTY_NAME="?([^"\n]+)/m.exec(release)?.[1] ?? process.platform;
  return `${name}, ${process.arch}`;
}

/** What of a run's facts its caller knows. */
export type KnownFacts = Pick<EnvironmentFacts, "runtime" | "cuda" | "gpu" | "model" | "engine" | "image" | "isQuick">;

/** All facts of a run. */
export function environmentFacts(
  known: KnownFacts,
  run_: { readonly commit: string | undefined; readonly words: readonly string[] },
): EnvironmentFacts {
  return {
    date: new Date().toISOString(),
    commit: commitText(run_.commit),
    command: ["bun", "run", "bench", ...run_.words].join(" "),
    bun: Bun.version,
    system: systemText(),
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    cores: cpus().length,
    load: loadavg()[0] ?? 0,
    ...known,
  };
}
