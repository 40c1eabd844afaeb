/** @module Board: a Jetson, which has no NVML: what it is, how busy its GPU is and what it draws, as its kernel tells in /sys and /proc. */

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { readIfThere } from "../core/paths.ts";

/** Power of one rail of a board. */
interface PowerRail {
  /** As the board's documents call it: `VDD_GPU_SOC`, `VDD_IN` for the whole module. */
  readonly name: string;
  readonly watts: number;
}

/** A Jetson, now. */
interface BoardState {
  /** `NVIDIA Jetson AGX Orin Developer Kit` */
  readonly model: string;
  /** Of Jetson Linux: `36.4.0`; `undefined` where it does not tell. */
  readonly release: string | undefined;
  /** Number of the power mode, as `nvpmodel -q` has it; `undefined` where it does not tell. */
  readonly powerMode: number | undefined;
  /** Share of time in which the GPU was busy, 0 to 1; `undefined` where it does not tell. */
  readonly gpuLoad: number | undefined;
  /** What `tegrastats` prints as well. Reading them needs root on some releases: then there are none. */
  readonly rails: readonly PowerRail[];
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === undefined) throw error;
    return [];
  }
}

function numberIn(path: string): number | undefined {
  const text = readIfThere(path)?.trim() ?? "";
  return /^\d+$/.test(text) ? Number(text) : undefined;
}

/** The channels of the INA3221 power monitors: volts and amperes in thousandths, by the name of the rail. */
function railsBelow(root: string): PowerRail[] {
  const driver = join(root, "sys/bus/i2c/drivers/ina3221");
  const monitors = namesIn(driver).flatMap((chip) =>
    namesIn(join(driver, chip, "hwmon")).map((monitor) => join(driver, chip, "hwmon", monitor)),
  );
  return monitors.flatMap((monitor) =>
    [1, 2, 3].flatMap((channel) => {
      const name = readIfThere(join(monitor, `in${channel}_label`))?.trim();
      const millivolts = numberIn(join(monitor, `in${channel}_input`));
      const milliamperes = numberIn(join(monitor, `curr${channel}_input`));
      if (name === undefined || millivolts === undefined || milliamperes === undefined) return [];
      return [{ name, watts: (millivolts * milliamperes) / 1e6 }];
    }),
  );
}

/** In thousandths, in a place that changed with the generations of boards. */
function loadBelow(root: string): number | undefined {
  const devices = join(root, "sys/class/devfreq");
  const found = namesIn(devices).filter((name) => /\.(?:gpu|g[av]\w+)$/.test(name));
  const places = ["sys/devices/platform/gpu.0/load", "sys/devices/gpu.0/load"].map((path) => join(root, path));
  for (const path of [...places, ...found.map((name) => join(devices, name, "device/load"))]) {
    const load = numberIn(path);
    if (load !== undefined) return load / 1000;
  }
  return undefined;
}

/**
 * The Jetson that this runs on. Written from its documents; no board has run it yet.
 *
 * @param root where a test has made up the files of one
 * @returns `undefined` on every other machine
 * @see https://docs.nvidia.com/jetson/archives/r36.4/DeveloperGuide/SD/PlatformPowerAndPerformance.html
 */
export function readBoard(root = "/"): BoardState | undefined {
  const model = readIfThere(join(root, "proc/device-tree/model"))?.replaceAll("\0", "").trim() ?? "";
  if (!/\b(?:jetson|tegra)\b/i.test(model)) return undefined;
  const [, major, minor] =
    /^# R(\d+) \(release\), REVISION: ([\d.]+)/.exec(readIfThere(join(root, "etc/nv_tegra_release")) ?? "") ?? [];
  const mode = /^pmode:(\d+)/.exec(readIfThere(join(root, "var/lib/nvpmodel/status")) ?? "")?.[1];
  return {
    model,
    release: major === undefined ? undefined : `${major}.${minor}`,
    powerMode: mode === undefined ? undefined : Number(mode),
    gpuLoad: loadBelow(root),
    rails: railsBelow(root),
  };
}

/** `Jetson Linux 36.4.0, power mode 0, GPU 43 % busy, VDD_GPU_SOC 3.2 W`: without its model. */
export function boardText({ release, powerMode, gpuLoad, rails }: BoardState): string {
  return [
    ...(release === undefined ? [] : [`Jetson Linux ${release}`]),
    ...(powerMode === undefined ? [] : [`power mode ${powerMode}`]),
    ...(gpuLoad === undefined ? [] : [`GPU ${(gpuLoad * 100).toFixed(0)} % busy`]),
    ...rails.map(({ name, watts }) => `${name} ${watts.toFixed(1)} W`),
  ].join(", ");
}
