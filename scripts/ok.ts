/** @module The whole gate in one command, `bun run ok`: format and lint, types, tests; ends with the counts. */

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const root = join(import.meta.dir, "..");
const report = mkdtempSync(join(tmpdir(), "bun-tensorrt-ok-"));
const junit = join(report, "junit.xml");

const steps: readonly (readonly [name: string, ...command: string[]])[] = [
  ["format and lint", process.execPath, "x", "biome", "check", "."],
  ["types", process.execPath, "x", "tsc"],
  ["tests", process.execPath, "test", "--reporter=junit", `--reporter-outfile=${junit}`],
];

/** Sum an attribute over the report's top-level element; 0 when the tests did not get so far. */
function count(attribute: string): number {
  try {
    const match = /<testsuites[^>]*>/.exec(readFileSync(junit, "utf8"));
    return Number(new RegExp(`\\b${attribute}="(\\d+)"`).exec(match?.[0] ?? "")?.[1] ?? 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return 0;
    throw error;
  }
}

let failedSteps = 0;
for (const [name, ...command] of steps) {
  console.log(`\n== ${name}: ${command.slice(1).join(" ")}`);
  const child = Bun.spawnSync(command, { cwd: root, stdio: ["ignore", "inherit", "inherit"] });
  if (child.exitCode !== 0) {
    console.log(`== ${name}: failed with exit code ${child.exitCode}`);
    failedSteps += 1;
  }
}

const tests = count("tests");
const failures = count("failures");
const skipped = count("skipped");
rmSync(report, { recursive: true });
// A gate that fails without a failing test (lint, types, a crash of the runner) counts as one failure.
const failed = Math.max(failures, failedSteps);
console.log(`\n${tests - failures - skipped} passed, ${failed} failed, ${skipped} skipped`);
process.exit(failedSteps === 0 && tests > 0 ? 0 : 1);
