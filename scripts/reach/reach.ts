/** @module Reach: what a machine in an emulator is for scripts/reach.ts, and what all of them need. */

import { cpSync, existsSync, mkdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { cacheFolder } from "../../src/core/paths.ts";
import { root } from "../generated.ts";

/** Tests to be run. */
export interface TestRun {
  /** `ffi`: for the list at the end. */
  readonly title: string;
  /** `bun test …`, without the words for its report. */
  readonly command: readonly string[];
  /** Default: this repository. */
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** A path of this machine as the tests' machine has it. Default: the same. */
  readonly pathOf?: (path: string) => string;
}

/** A machine that is ready. */
export interface Ready {
  readonly runs: readonly TestRun[];
  /** Takes back what was changed of this machine. */
  readonly dispose?: () => void;
}

/** Makes a machine ready. @throws {Unavailable} Where what it needs cannot be had */
export type Reach = () => Promise<Ready>;

/** What is needed cannot be had here: the tests are skipped, and this says why. */
export class Unavailable extends Error {}

/** A busy machine is slow, not wrong: an emulator on it even more. */
export const TIMEOUT = "--timeout=240000";

/** The folder of a machine, in the cache. */
export function reachFolder(name: string): string {
  return join(cacheFolder(), "reach", name);
}

/** Longest time that something may take to be fetched: a network that swallows everything is none. */
const FETCH_MS = 240_000;

/** Run a program that fetches or installs something. @throws {Unavailable} If it fails, with its last line, or takes too long */
export function fetchBy(what: string, command: readonly string[], cwd: string = root): string {
  const child = Bun.spawnSync([...command], { cwd, stdout: "pipe", stderr: "pipe", timeout: FETCH_MS });
  if (child.exitCode === 0) return child.stdout.toString();
  if (child.exitedDueToTimeout === true) {
    throw new Unavailable(`${what} cannot be had: ${command[0]} has not ended within ${FETCH_MS / 60_000} minutes`);
  }
  const last = `${child.stdout}\n${child.stderr}`.trim().split("\n").at(-1) ?? "";
  throw new Unavailable(`${what} cannot be had: ${command[0]} exited with ${child.exitCode}: ${last}`);
}

/** Unpacks the platform's package of Bun of the version that is pinned. @returns path of the program */
export function platformBun(packageName: string, folder: string, program: string): string {
  const pinned = `${packageName}@${Bun.version}`;
  const place = join(folder, `bun-${Bun.version}`);
  const path = join(place, "package/bin", program);
  if (existsSync(path)) return path;
  rmSync(place, { recursive: true, force: true });
  mkdirSync(place, { recursive: true });
  const name = fetchBy(pinned, ["npm", "pack", pinned, "--silent", "--pack-destination", place]).trim();
  fetchBy(pinned, ["tar", "xzf", join(place, name), "-C", place]);
  return path;
}

/** Copies what git has or would add into a folder, and installs the packages of another platform there. */
export function copyTree(tree: string, platform: { readonly cpu: string; readonly os: string }): void {
  const list = Bun.spawnSync(["git", "ls-files", "-co", "--exclude-standard", "-z"], { cwd: root }).stdout.toString();
  for (const name of ["src", "test", "scripts", "native", "ptx", "docs", "examples"]) {
    rmSync(join(tree, name), { recursive: true, force: true });
  }
  for (const path of list.split("\0")) {
    if (path === "" || path === "node_modules" || !existsSync(join(root, path))) continue;
    mkdirSync(dirname(join(tree, path)), { recursive: true });
    cpSync(join(root, path), join(tree, path));
  }
  const install = ["install", "--frozen-lockfile", `--cpu=${platform.cpu}`, `--os=${platform.os}`];
  fetchBy(`packages for ${platform.os} ${platform.cpu}`, [process.execPath, ...install], tree);
}
