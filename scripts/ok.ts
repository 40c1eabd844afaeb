/**
 * @module The whole gate in one command, `bun run ok`: format and lint, types, generated files, tests; ends with the counts.
 *
 * What is generated (PTX, the shim) is made anew with pinned compilers from Python's registry and compared byte by byte,
 * and TensorRT-RTX, which builds engines without a GPU, is fetched for the tests. Without pip these steps are left out by
 * name, and the tests that need them skip.
 */

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const root = join(import.meta.dir, "..");
const report = mkdtempSync(join(tmpdir(), "bun-tensorrt-ok-"));
const junit = join(report, "junit.xml");

/** A busy machine is slow, not wrong: only what hangs runs into it. Bun's own 5 s are for machines that do nothing else. */
const TIMEOUT = "--timeout=120000";

type Step = readonly [name: string, ...command: string[]];

/** Steps that install compilers and libraries with pip. */
const PYTHON_STEPS: readonly Step[] = [
  ["CUDA wheels", process.execPath, "scripts/cuda-wheels.ts"],
  ["TensorRT-RTX", process.execPath, "scripts/test-libraries.ts", "rtx"],
  ["generated PTX", process.execPath, "scripts/kernels.ts", "--check"],
  ["generated shim", process.execPath, "scripts/shim.ts", "--check"],
  ["generated messages", process.execPath, "scripts/proto.ts", "--check"],
];

/** Debian's Python comes without pip and venv until their packages are installed. */
function hasPip(): boolean {
  if (process.platform !== "linux" || process.arch !== "x64" || Bun.which("python3") === null) return false;
  const program = "import pip, venv, ensurepip";
  return Bun.spawnSync(["python3", "-c", program], { stdout: "ignore", stderr: "ignore" }).exitCode === 0;
}

const isPipThere = hasPip();
const steps: readonly Step[] = [
  ["format and lint", process.execPath, "x", "biome", "check", "."],
  ["types", process.execPath, "x", "tsc"],
  ...(isPipThere ? PYTHON_STEPS : []),
  ["tests", process.execPath, "test", TIMEOUT, "--reporter=junit", `--reporter-outfile=${junit}`],
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
if (!hasPip())
  console.log(`left out, as there is no Python with pip and venv: ${PYTHON_STEPS.map(([name]) => name).join(", ")}`);
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
