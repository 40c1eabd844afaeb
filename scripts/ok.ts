/**
 * @module The whole gate in one command, `bun run ok`: format and lint, types, generated files, tests; ends with the counts.
 *
 * What does not need the other's work runs side by side: format, lint, types and the API reference beside the generated
 * files, and test files in as many processes as keep all cores busy while some of them wait. The tests that share a GPU take
 * turns, after the others.
 *
 * What is generated (PTX, the shim) is made anew with pinned compilers from Python's registry and compared byte by byte,
 * TensorRT-RTX, which builds engines without a GPU, and Microsoft's ONNX Runtime are fetched for the tests, and the kernels run on the CPU. Without pip
 * these steps are skipped by name, and the tests that need them skip.
 *
 * With `--reach`, as CI has it, the same program is then tested on other machines, in emulators: see scripts/reach.ts.
 */

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";

const root = join(import.meta.dir, "..");
const report = mkdtempSync(join(tmpdir(), "bun-tensorrt-ok-"));
/** Of the tests that need no GPU, of those that do, and of the kernels on the CPU; emulated machines put theirs beside them. */
const reports = [join(report, "tests.xml"), join(report, "gpu.xml"), join(report, "kernels.xml")] as const;

/** A busy machine is slow, not wrong: only what hangs runs into it. Bun's own 5 s are for machines that do nothing else. */
const TIMEOUT = "--timeout=120000";
const GPU_TESTS = "test/gpu/**";

interface Step {
  readonly name: string;
  readonly command: readonly string[];
}

function toReport(at: number): readonly string[] {
  return ["--reporter=junit", `--reporter-outfile=${reports[at]}`];
}

/** Steps that install compilers and libraries with pip. */
const PYTHON_STEPS: readonly Step[] = [
  { name: "CUDA wheels", command: [process.execPath, "scripts/cuda-wheels.ts"] },
  {
    name: "test libraries",
    command: [process.execPath, "scripts/test-libraries.ts", "rtx", "onnxruntime", "dispatch-10"],
  },
  { name: "generated PTX", command: [process.execPath, "scripts/kernels.ts", "--check"] },
  { name: "generated shim", command: [process.execPath, "scripts/shim.ts", "--check"] },
  { name: "generated messages", command: [process.execPath, "scripts/proto.ts", "--check"] },
  // Once, before several processes want them.
  { name: "kernels for the CPU", command: [process.execPath, "test/support/cpu-cuda.ts"] },
  {
    name: "kernels on the CPU",
    command: [process.execPath, "run", "test:kernels", "--parallel=2", "--no-isolate", ...toReport(2)],
  },
];

/** Debian's Python comes without pip and venv until their packages are installed. */
function hasPip(): boolean {
  if (process.platform !== "linux" || process.arch !== "x64" || Bun.which("python3") === null) return false;
  const program = "import pip, venv, ensurepip";
  return Bun.spawnSync(["python3", "-c", program], { stdout: "ignore", stderr: "ignore" }).exitCode === 0;
}

/** Test files at a time: many of them wait for a child, a server or a clock. */
const WORKERS = Math.min(8, Math.ceil(availableParallelism() * 1.5));

function tests(at: number, ...words: readonly string[]): readonly string[] {
  return [process.execPath, "test", TIMEOUT, ...toReport(at), ...words];
}

/** Emulated machines, one after the other: each takes all cores. */
const REACHES = ["arm64", "windows"] as const;

function reachStep(name: string): Step {
  return { name, command: [process.execPath, "scripts/reach.ts", name, `--report=${report}`] };
}

const isPipThere = hasPip();
/** The chains of a stage run side by side, the steps of a chain one after the other. */
const stages: readonly (readonly (readonly Step[])[])[] = [
  [
    [
      { name: "format and lint", command: [process.execPath, "x", "biome", "check", "."] },
      { name: "types", command: [process.execPath, "x", "tsc"] },
      { name: "API reference", command: [process.execPath, "scripts/docs.ts"] },
    ],
    isPipThere ? PYTHON_STEPS : [],
  ],
  [
    [
      {
        name: "tests",
        command: tests(0, `--parallel=${WORKERS}`, "--no-isolate", `--path-ignore-patterns=${GPU_TESTS}`),
      },
    ],
  ],
  [[{ name: "tests on a GPU", command: tests(1, "test/gpu") }]],
  ...(process.argv.includes("--reach") ? REACHES.map((name) => [[reachStep(name)]]) : []),
];

/** Sum an attribute over the reports' top-level elements; 0 where the tests did not get so far. */
function count(attribute: string): number {
  let sum = 0;
  for (const junit of new Bun.Glob("*.xml").scanSync(report)) {
    const match = /<testsuites[^>]*>/.exec(readFileSync(join(report, junit), "utf8"));
    sum += Number(new RegExp(`\\b${attribute}="(\\d+)"`).exec(match?.[0] ?? "")?.[1] ?? 0);
  }
  return sum;
}

/** Runs a step. Where others run beside it, what it says comes in one piece. @returns whether it went well */
async function runStep({ name, command }: Step, isAlone: boolean): Promise<boolean> {
  const title = `\n== ${name}: ${command.slice(1).join(" ")}`;
  if (isAlone) console.log(title);
  const output = isAlone ? "inherit" : "pipe";
  const child = Bun.spawn([...command], { cwd: root, stdio: ["ignore", output, output] });
  if (!isAlone) {
    const read = async (stream: unknown) => await new Response(stream as ReadableStream).text();
    const [text, errors] = await Promise.all([read(child.stdout), read(child.stderr)]);
    console.log(`${title}\n${text}${errors}`.trimEnd());
  }
  const code = await child.exited;
  if (code !== 0) console.log(`== ${name}: failed with exit code ${code}`);
  return code === 0;
}

let failedSteps = 0;
if (!isPipThere)
  console.log(`skipped, as there is no Python with pip and venv: ${PYTHON_STEPS.map(({ name }) => name).join(", ")}`);
for (const chains of stages) {
  const isAlone = chains.length === 1;
  const runChain = async (steps: readonly Step[]): Promise<void> => {
    for (const step of steps) if (!(await runStep(step, isAlone))) failedSteps += 1;
  };
  await Promise.all(chains.map(runChain));
}

const testCount = count("tests");
const failures = count("failures");
const skipped = count("skipped");
rmSync(report, { recursive: true });
// A gate that fails without a failing test (lint, types, a crash of the runner) counts as one failure.
const failed = Math.max(failures, failedSteps);
console.log(`\n${testCount - failures - skipped} passed, ${failed} failed, ${skipped} skipped`);
// What `bun run release` goes by.
const changes = Bun.spawnSync(["git", "status", "--porcelain"], { cwd: root }).stdout.toString().trim();
const commit = Bun.spawnSync(["git", "rev-parse", "HEAD"], { cwd: root }).stdout.toString().trim();
const result = {
  commit,
  isClean: changes === "",
  passed: testCount - failures - skipped,
  failed,
  date: new Date().toISOString(),
};
await Bun.write(join(root, ".cache/gate.json"), `${JSON.stringify(result)}\n`);
process.exit(failedSteps === 0 && testCount > 0 ? 0 : 1);
