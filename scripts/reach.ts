/**
 * @module The same program on another machine: `bun scripts/reach.ts arm64` runs tests on Linux arm64 in an emulator,
 * `bun scripts/reach.ts windows` on Windows under Wine.
 *
 * It installs what it needs, and is skipped by name where that cannot be had: no network, no root, no emulator. `--report=FOLDER`
 * keeps the reports of the tests there, as `bun run ok --reach` wants them; what ran is listed at the end.
 */

import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BunTensorRtError } from "../src/core/errors.ts";
import { FileLock } from "../src/tensorrt/build-turn.ts";
import { root } from "./generated.ts";
import { arm64 } from "./reach/arm64.ts";
import { type Reach, type Ready, reachFolder, Unavailable } from "./reach/reach.ts";
import { windows } from "./reach/windows.ts";

/**
 * Machines, and the longest time that each has, 8 minutes together: what has not ended by then is left out by name, as a busy
 * machine is slow, not wrong.
 */
const REACHES: Readonly<Record<string, { readonly reach: Reach; readonly limitMs: number }>> = {
  arm64: { reach: arm64, limitMs: 300_000 },
  windows: { reach: windows, limitMs: 180_000 },
};

/** Attributes of an element of a report. */
function attributesOf(element: string): Readonly<Record<string, string>> {
  return Object.fromEntries([...element.matchAll(/\b(\w+)="([^"]*)"/g)].map(([, name, value]) => [name!, value!]));
}

/** A line of what ran: `ffi: 61 passed, 3 skipped in 43.1 s`. */
function lineOf(name: string, report: string): string {
  const {
    tests = "0",
    failures = "0",
    skipped = "0",
    time = "0",
  } = attributesOf(/<testsuites[^>]*>/.exec(report)?.[0] ?? "");
  const passed = Number(tests) - Number(failures) - Number(skipped);
  const failed = failures === "0" ? "" : `, ${failures} failed`;
  return `  ${name}: ${passed} passed${failed}, ${skipped} skipped in ${Number(time).toFixed(1)} s`;
}

const [name = ""] = Bun.argv.slice(2).filter((word) => !word.startsWith("--"));
if (REACHES[name] === undefined)
  throw new Error(`Cannot reach "${name}": the names are ${Object.keys(REACHES).join(", ")}`);
const { reach, limitMs } = REACHES[name];
const limit = `${limitMs / 60_000} minutes`;
const kept = Bun.argv.find((word) => word.startsWith("--report="))?.slice("--report=".length);
const reports = kept ?? mkdtempSync(join(tmpdir(), "bun-tensorrt-reach-"));
mkdirSync(reports, { recursive: true });
let child: Bun.Subprocess | undefined;
let dispose: (() => void) | undefined;

/** Takes back what was changed of this machine. */
function tidy(): void {
  dispose?.();
  dispose = undefined;
  if (kept === undefined) rmSync(reports, { recursive: true, force: true });
}

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => {
    child?.kill(signal);
    tidy();
    process.kill(process.pid, signal);
  });
}

/** Makes the machine ready; a disk that is full or may not be written is no fault of the tests. */
async function ready(): Promise<Ready> {
  try {
    return await reach();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).syscall === undefined) throw error;
    throw new Unavailable((error as Error).message);
  }
}

/** One run at a time uses the machine's folder. Another one is waited for as long as a run may take. */
async function takeTurn(): Promise<FileLock> {
  const path = `${reachFolder(name)}.lock`;
  const signal = AbortSignal.timeout(limitMs);
  try {
    return await FileLock.acquire(path, signal, (isFirst) => {
      if (isFirst) console.log(`${name}: waiting for another run, which holds ${path}`);
    });
  } catch (error) {
    if (signal.aborted) throw new Unavailable(`another run has held ${path} for ${limit}`);
    throw error instanceof BunTensorRtError ? new Unavailable(error.message) : error;
  }
}

try {
  using _turn = await takeTurn();
  const started = performance.now();
  const machine = await ready();
  dispose = machine.dispose;
  console.log(`${name}: ready after ${((performance.now() - started) / 1000).toFixed(0)} s`);
  const lines: string[] = [];
  for (const { title, command, cwd, env, pathOf = String } of machine.runs) {
    const leftMs = started + limitMs - performance.now();
    if (leftMs <= 0) {
      lines.push(`  ${title}: left out, the ${limit} were over`);
      continue;
    }
    const report = join(reports, `${name}-${title.replaceAll(/\W+/g, "-")}.xml`);
    const words = [...command, "--reporter=junit", `--reporter-outfile=${pathOf(report)}`];
    console.log(`\n== ${name}, ${title}: ${command.slice(1).join(" ")}`);
    child = Bun.spawn(words, {
      cwd: cwd ?? root,
      env: { ...process.env, ...env },
      stdio: ["ignore", "inherit", "inherit"],
      timeout: Math.ceil(leftMs),
    });
    const code = await child.exited;
    // Bun takes the signal as an error of the test that was running, and ends by itself.
    if (code !== 0 && performance.now() - started >= limitMs) {
      rmSync(report, { force: true });
      lines.push(`  ${title}: cut off, the ${limit} were over`);
      continue;
    }
    if (code !== 0) process.exitCode = 1;
    const text = (await Bun.file(report).exists()) ? readFileSync(report, "utf8") : "";
    lines.push(text === "" ? `  ${title}: ended without a report` : lineOf(title, text));
  }
  console.log(`\n${name} ran in ${((performance.now() - started) / 1000).toFixed(0)} s:\n${lines.join("\n")}`);
} catch (error) {
  if (!(error instanceof Unavailable)) throw error;
  console.log(`skipped, ${name}: ${error.message}`);
} finally {
  tidy();
}
