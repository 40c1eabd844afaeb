/** @module Generated files: made anew with pinned tools, then written, or with `--check` compared with what is committed. */

import { chmodSync, existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { message } from "../src/core/errors.ts";
import { cacheFolder } from "../src/core/paths.ts";
import { writeWhole } from "../src/core/whole-file.ts";

/** The repository. */
export const root: string = join(import.meta.dir, "..");

const isCheck = process.argv.includes("--check");
let differing = 0;

/** Run a tool. @throws {Error} If it fails, with what it printed */
export function run(command: readonly string[], folder: string, env: Readonly<Record<string, string>> = {}): void {
  const child = Bun.spawnSync([...command], { cwd: folder, env: { ...process.env, ...env }, stderr: "pipe" });
  if (child.exitCode === 0) return;
  throw new Error(message(`run ${command.join(" ")}`, `it exited with ${child.exitCode}\n${child.stderr}`));
}

/** The folder of a tool in the cache. @param fill puts the tool there, once */
export function toolFolder(name: string, fill: (folder: string) => void): string {
  const folder = join(cacheFolder(), "tools", name.replaceAll("/", "-"));
  const marker = join(folder, "complete");
  if (existsSync(marker)) return folder;
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  fill(folder);
  Bun.spawnSync(["touch", marker]);
  return folder;
}

/** Another version makes other bytes: change it together with native/prebuilt. */
const ZIG_VERSION = "0.15.2";

/** The command of the pinned Zig, which is put into the cache the first time: its name, and what comes before `cc`. */
export function zig(): readonly string[] {
  const folder = toolFolder(`zig-${ZIG_VERSION}`, (made) => {
    run(["python3", "-m", "venv", made], made);
    run([join(made, "bin/python"), "-m", "pip", "install", "--quiet", "--no-deps", `ziglang==${ZIG_VERSION}`], made);
  });
  return [join(folder, "bin/python"), "-m", "ziglang"];
}

/**
 * Write a file that was made, or say that the committed one differs.
 *
 * @param path in the repository
 */
export async function keep(path: string, content: string | Uint8Array, mode = 0o644): Promise<void> {
  const place = join(root, path);
  const file = Bun.file(place);
  const bytes = Buffer.from(content);
  const isThere = await file.exists();
  const isSame = isThere && bytes.equals(await file.bytes());
  if (!isSame) differing += 1;
  if (!isSame && !isCheck) {
    // Never in place: processes may have the former library mapped.
    await writeWhole(place, bytes);
    if (!isThere) chmodSync(place, mode);
  }
  const hash = new Bun.CryptoHasher("sha256").update(bytes).digest("hex").slice(0, 16);
  const state = isSame ? "unchanged" : isCheck ? "DIFFERS from what is committed" : "written";
  console.log(`${path}  ${bytes.length} bytes  sha256 ${hash}…  ${state}`);
}

/** Fail where a check found differences. @param hint what to do then */
export function endCheck(hint: string): void {
  if (!isCheck || differing === 0) return;
  console.error(`Hint: ${hint}`);
  process.exitCode = 1;
}
