/**
 * @module What the tree is made of, in figures: `bun scripts/house.ts [FOLDER] [--list] [--no-timing]` for this checkout or
 * another. With `--no-timing` nothing is run, and only what the text tells is printed.
 *
 * Counts files and lines of `src/`, files with a single importer, circles of imports (types included), the files that one
 * decoded frame runs through on the CPU, and what `--version` and `import "bun-tensorrt"` load.
 */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative, resolve } from "node:path";

const root = resolve(
  process.argv.slice(2).find((argument) => !argument.startsWith("--")) ?? join(import.meta.dir, ".."),
);
const src = join(root, "src");
const work = mkdtempSync(join(tmpdir(), "bun-tensorrt-house-"));

const texts = new Map<string, string>();
for (const path of [...new Bun.Glob("**/*.ts").scanSync(src)].sort()) {
  texts.set(path, readFileSync(join(src, path), "utf8"));
}

function importsOf(path: string, text: string): string[] {
  const names = new Set<string>();
  for (const [, name] of text.matchAll(/\bfrom\s+"(\.[^"]+\.ts)"/g)) names.add(name!);
  for (const [, name] of text.matchAll(/\bimport\(?\s*"(\.[^"]+\.ts)"/g)) names.add(name!);
  return [...names].map((name) => relative(src, join(src, dirname(path), name))).filter((name) => texts.has(name));
}

const imports = new Map([...texts].map(([path, text]) => [path, importsOf(path, text)]));

/** Tarjan: groups of files that import each other. */
function circles(): string[][] {
  const order = new Map<string, number>();
  const low = new Map<string, number>();
  const stack: string[] = [];
  const found: string[][] = [];
  const visit = (path: string): void => {
    order.set(path, order.size);
    low.set(path, order.get(path)!);
    stack.push(path);
    for (const next of imports.get(path)!) {
      if (!order.has(next)) visit(next);
      if (stack.includes(next)) low.set(path, Math.min(low.get(path)!, low.get(next)!));
    }
    if (low.get(path) !== order.get(path)) return;
    const group = stack.splice(stack.indexOf(path));
    if (group.length > 1) found.push(group);
  };
  for (const path of imports.keys()) if (!order.has(path)) visit(path);
  return found;
}

function run(args: readonly string[], env: Record<string, string> = {}): { out: string; err: string; ms: number } {
  const started = performance.now();
  const { stdout, stderr, exitCode } = Bun.spawnSync([process.execPath, ...args], {
    cwd: root,
    env: { ...process.env, ...env },
  });
  const ms = performance.now() - started;
  if (exitCode !== 0) throw new Error(`Cannot run ${args.join(" ")}: exit code ${exitCode}\n${stderr}${stdout}`);
  return { out: stdout.toString(), err: stderr.toString(), ms };
}

/** How many files of `src/` a program loads. */
function loadedBy(...args: string[]): number {
  const plugin = join(work, "count.ts");
  writeFileSync(
    plugin,
    `import { plugin } from "bun";
    let count = 0;
    plugin({ name: "count", setup(build) {
      build.onLoad({ filter: /\\/src\\/.*\\.ts$/ }, async ({ path }) => {
        if (path.startsWith(${JSON.stringify(`${src}/`)})) count += 1;
        return { contents: await Bun.file(path).text(), loader: "ts" };
      });
    } });
    process.on("exit", () => { require("node:fs").writeSync(2, "loaded=" + count + "\\n"); });`,
  );
  return Number(/loaded=(\d+)/.exec(run(["--preload", plugin, ...args]).err)?.[1]);
}

/** Median of wall-clock milliseconds. */
function median(args: readonly string[], runs = 9): number {
  const times = Array.from({ length: runs }, () => run(args).ms).sort((a, b) => a - b);
  return times[runs >> 1]!;
}

/** Hits of each line by file, of a detector that is given this many decoded frames. */
function hitsOf(frames: number): Map<string, Map<number, number>> {
  const test = join(work, "frame.test.ts");
  writeFileSync(
    test,
    `import { test } from "bun:test";
    import { Detector } from ${JSON.stringify(join(src, "api/detector.ts"))};
    import { toyDetector } from ${JSON.stringify(join(root, "test/support/toy-detector.ts"))};
    import { flatImage } from ${JSON.stringify(join(root, "test/support/flat-image.ts"))};
    test("frames", async () => {
      const detector = await Detector.load(toyDetector(), { backend: "cpu" });
      for (let frame = 0; frame < ${frames}; frame++) await detector.detect(flatImage(128, 96, 255));
      await detector.close();
    });`,
  );
  const report = join(work, `coverage-${frames}`);
  run(["test", "--coverage", "--coverage-reporter=lcov", `--coverage-dir=${report}`, test]);
  const hits = new Map<string, Map<number, number>>();
  let lines = new Map<number, number>();
  for (const line of readFileSync(join(report, "lcov.info"), "utf8").split("\n")) {
    if (line.startsWith("SF:")) {
      lines = new Map();
      hits.set(relative(src, resolve(root, line.slice(3))), lines);
    } else if (line.startsWith("DA:")) {
      const [at, count] = line.slice(3).split(",").map(Number);
      lines.set(at!, count!);
    }
  }
  return hits;
}

/** Files, and lines in them, that run more often the more frames there are. */
function frameFiles(): Map<string, number> {
  const few = hitsOf(10);
  const found = new Map<string, number>();
  for (const [path, lines] of hitsOf(30)) {
    if (path.startsWith("..")) continue;
    let count = 0;
    for (const [at, hits] of lines) if (hits >= (few.get(path)?.get(at) ?? 0) + 20) count += 1;
    if (count > 0) found.set(path, count);
  }
  return found;
}

/** What only running the tree tells. */
function measured(frameFileCount: number): [string, string | number][] {
  const index = join(work, "import.ts");
  writeFileSync(index, `await import(${JSON.stringify(join(src, "index.ts"))});`);
  const empty = join(work, "empty.ts");
  writeFileSync(empty, "");
  return [
    ["files run by a decoded CPU frame", frameFileCount],
    ["files loaded by --version", loadedBy("src/cli/main.ts", "--version")],
    ['files loaded by import "bun-tensorrt"', loadedBy(index)],
    ["--version, median ms", median(["src/cli/main.ts", "--version"]).toFixed(0)],
    ["an empty program, median ms", median([empty]).toFixed(0)],
  ];
}

try {
  const lines = [...texts.values()].map((text) => text.split("\n").length - 1).sort((a, b) => a - b);
  const importers = new Map<string, number>();
  for (const list of imports.values()) for (const name of list) importers.set(name, (importers.get(name) ?? 0) + 1);
  const single = [...importers].filter(([, count]) => count === 1);
  const frame = process.argv.includes("--no-timing") ? undefined : frameFiles();
  const rows: [string, string | number][] = [
    ["files", lines.length],
    ["lines", lines.reduce((sum, count) => sum + count, 0)],
    ["median lines of a file", lines[lines.length >> 1]!],
    ["files with one importer", single.length],
    ["circles (types included)", circles().length],
    ...(frame === undefined ? [] : measured(frame.size)),
  ];
  for (const [name, value] of rows) console.log(`${String(value).padStart(8)}  ${name}`);
  if (process.argv.includes("--list")) {
    if (frame !== undefined) console.log("\nFiles run by a decoded CPU frame, with lines:");
    for (const [path, count] of [...(frame ?? [])].sort()) console.log(`${String(count).padStart(8)}  ${path}`);
    for (const circle of circles()) console.log(`circle: ${circle.join(", ")}`);
    for (const [name] of single) console.log(`one importer: ${name}`);
  }
} finally {
  rmSync(work, { recursive: true, force: true });
}
