import { expect, test } from "bun:test";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";

const root = join(import.meta.dir, "..");
const src = join(root, "src");

/** Lowest first: a file imports its own layer or an earlier one. */
const LAYERS = [
  "core",
  "embed",
  "ffi",
  "onnx",
  "cuda",
  "tensorrt",
  "onnxruntime",
  "nvml",
  "image",
  "nvjpeg",
  "nvdec",
  "model",
  "heads",
  "runtime",
  "accelerators",
  "tasks",
  "track",
  "catalogue",
  "api",
  "precision",
  "video",
  "service",
  "worker",
  "serve",
  "cli",
];
const LINE_CAP = 400;

interface SourceFile {
  readonly path: string;
  readonly text: string;
  readonly layer: string;
  readonly imports: readonly string[];
}

function importsOf(text: string): string[] {
  const found: string[] = [];
  for (const match of text.matchAll(/^(?:import|export)\s[^;]*?from\s+"([^"]+)"/gms)) found.push(match[1]!);
  for (const match of text.matchAll(/\bimport\(\s*"([^"]+)"\s*\)/g)) found.push(match[1]!);
  for (const match of text.matchAll(/^import\s+"([^"]+)"/gm)) found.push(match[1]!);
  return found;
}

const files: SourceFile[] = [...new Bun.Glob("**/*.ts").scanSync(src)].sort().map((path) => {
  const text = readFileSync(join(src, path), "utf8");
  return { path, text, layer: path.includes("/") ? path.split("/")[0]! : "", imports: importsOf(text) };
});

function resolve(from: SourceFile, specifier: string): string {
  return relative(src, join(src, from.path, "..", specifier));
}

/** The text without comments and string literals, in which names of things may stand. */
function codeOf(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\/|\/\/.*|"[^"\n]*"|`[^`]*`/g, "");
}

/** One line a fault, so that a failure names them all. */
function faults(find: (file: SourceFile) => Iterable<string>): string[] {
  return files.flatMap((file) => [...find(file)].map((fault) => `${file.path}: ${fault}`));
}

test("every folder of src is a known layer", () => {
  expect(faults((file) => (file.layer === "" || LAYERS.includes(file.layer) ? [] : ["unknown layer"]))).toEqual([]);
  expect(files.filter((file) => file.layer === "").map((file) => file.path)).toEqual(["index.ts"]);
});

/** Layers that files of a layer import, in the order of the list. */
function importsOfLayer(layer: string): string[] {
  const found = new Set<string>();
  for (const file of files.filter((one) => one.layer === layer)) {
    for (const name of file.imports.filter((one) => one.startsWith("."))) found.add(resolve(file, name).split("/")[0]!);
  }
  return LAYERS.filter((name) => name !== layer && found.has(name));
}

test("docs/architecture.md has a row for every layer, in their order, and tells what each imports", () => {
  const page = readFileSync(join(root, "docs/architecture.md"), "utf8");
  const rows = [...page.matchAll(/^\| `(\w+)\/` \|.*\| (.*) \|$/gm)];
  expect(rows.map(([, layer]) => layer!)).toEqual(LAYERS);
  for (const [, layer = "", said] of rows.filter(([, , said]) => said !== "all above")) {
    expect([layer, said]).toEqual([layer, importsOfLayer(layer).join(", ") || "–"]);
  }
});

/** Folders that programs make. */
const MADE = /^(out|types)\//;

/** Files that a text names, and folders in code spans, but for diffs, and paths with a placeholder, as `heads/<name>.ts`. */
function pathsIn(document: string): string[] {
  const text = document.replace(/^```diff\n[\s\S]*?^```/gm, "");
  const file = /(?<![\w./@<>-])[a-z][\w-]*(?:\/[\w<>*-]+)*\/[\w<>*.-]+\.(?:ts|cuh?|c|h|md|py|jsonl?)\b/g;
  const folder = /(?<=`)[a-z][a-z/-]*\/(?=`)/g;
  const found = [...text.matchAll(file), ...text.matchAll(folder)].map(([named]) => named);
  return found.filter((named) => !named.includes("<") && !MADE.test(named));
}

function isThere(named: string): boolean {
  return [root, src].some((base) =>
    named.includes("*") ? !new Bun.Glob(named).scanSync(base).next().done : existsSync(join(base, named)),
  );
}

test("every file and folder that the docs and the kernels name is there", () => {
  const documents = ["*.md", "docs/*.md", "kernels/*.cu", "kernels/*.cuh"].flatMap((pattern) => [
    ...new Bun.Glob(pattern).scanSync(root),
  ]);
  const missing = documents.flatMap((document) =>
    pathsIn(readFileSync(join(root, document), "utf8"))
      .filter((named) => !isThere(named))
      .map((named) => `${document}: ${named}`),
  );
  expect(missing).toEqual([]);
  const named = pathsIn("`heads/none.ts`, `src/none/`, `none/`, `out/none/`, kernels/none*.cu, `heads/<name>.ts`");
  expect(named).toEqual(["heads/none.ts", "kernels/none*.cu", "src/none/", "none/"]);
  expect(named.filter(isThere)).toEqual([]);
});

/** Lines that a diff adds, in one text for each hunk, by the path of the file. */
function addedBy(diff: string): [path: string, hunks: string[]][] {
  return diff.split(/^--- .*\n\+\+\+ b\//m).flatMap((part) => {
    const [path = "", ...hunks] = part.split(/\n@@ .* @@\n/);
    const added = hunks.map((hunk) => [...hunk.matchAll(/^\+(.*\n?)/gm)].map(([, line]) => line).join(""));
    return hunks.length === 0 ? [] : [[path, added] satisfies [string, string[]]];
  });
}

/** Make a folder of a tree with links to what is beside it in the repository, so that files can be added to it. */
function openFolder(tree: string, path: string): void {
  if (path !== ".") openFolder(tree, dirname(path));
  const folder = join(tree, path);
  if (lstatSync(folder, { throwIfNoEntry: false })?.isSymbolicLink()) unlinkSync(folder);
  mkdirSync(folder, { recursive: true });
  for (const name of existsSync(join(root, path)) ? readdirSync(join(root, path)) : []) {
    if (name !== ".git" && !existsSync(join(folder, name))) symlinkSync(join(root, path, name), join(folder, name));
  }
}

const diffs = [...readFileSync(join(root, "CONTRIBUTING.md"), "utf8").matchAll(/^```diff\n([\s\S]*?)^```/gm)].map(
  ([, diff]) => addedBy(diff!),
);

test("CONTRIBUTING.md: what its diffs add is in the repository, or runs with its tests", () => {
  expect(diffs.map((files) => files.length)).toEqual([3, 2]);
  const tree = mkdtempSync(join(tmpdir(), "bun-tensorrt-diff-"));
  try {
    const tests: string[] = [];
    for (const [path, hunks] of diffs.flat()) {
      if (existsSync(join(root, path))) {
        const text = readFileSync(join(root, path), "utf8");
        expect([path, hunks.filter((hunk) => hunk === "" || !text.includes(hunk))]).toEqual([path, []]);
        continue;
      }
      openFolder(tree, dirname(path));
      writeFileSync(join(tree, path), hunks.join(""));
      if (path.endsWith(".test.ts")) tests.push(path);
    }
    expect(tests).toHaveLength(1);
    const child = Bun.spawnSync([process.execPath, "test", ...tests], { cwd: tree, stdout: "pipe", stderr: "pipe" });
    expect([child.exitCode, child.stderr.toString()]).toEqual([0, expect.stringContaining(" 1 pass")]);
  } finally {
    rmSync(tree, { recursive: true });
  }
}, 60_000);

test("imports only point up the list of layers", () => {
  expect(
    faults(function* (file) {
      if (file.path === "index.ts") return;
      for (const specifier of file.imports.filter((name) => name.startsWith("."))) {
        const target = resolve(file, specifier);
        const layer = target.split("/")[0]!;
        if (target.startsWith("..")) {
          // package.json and generated assets lie outside src.
          if (!/^\.\.\/(package\.json|ptx\/|native\/)/.test(target)) yield `imports ${target}, outside src`;
        } else if (LAYERS.indexOf(layer) > LAYERS.indexOf(file.layer)) yield `imports the later layer ${target}`;
      }
    }),
  ).toEqual([]);
});

test("no file imports an index.ts: those are for users of the package", () => {
  expect(faults((file) => file.imports.filter((name) => name.startsWith(".") && name.endsWith("/index.ts")))).toEqual(
    [],
  );
});

test("imports form no cycle, of types neither", () => {
  const edges = new Map(
    files.map((file) => [
      file.path,
      file.imports.filter((name) => name.startsWith(".")).map((name) => resolve(file, name)),
    ]),
  );
  const done = new Set<string>();
  const cycles: string[] = [];
  const visit = (path: string, trail: readonly string[]): void => {
    if (trail.includes(path)) {
      cycles.push([...trail.slice(trail.indexOf(path)), path].join(" → "));
      return;
    }
    if (done.has(path)) return;
    for (const next of edges.get(path) ?? []) visit(next, [...trail, path]);
    done.add(path);
  };
  for (const path of edges.keys()) visit(path, []);
  expect(cycles).toEqual([]);
});

/** Who may mention a box outside of the tasks, heads and trackers, and why. */
const BOX_FACADES: Readonly<Record<string, string>> = {
  "index.ts": "exports the types of a detector's results",
  "worker/index.ts": "exports the types of the messages",
  "api/staged-batch.ts": "the stages of a detector, whose last one gives what it found",
  "worker/worker-config.ts": "the worker's option `output.boxes`, by which users know it",
};

const BOX_WORDS = /\b([Bb]ox|boxes|bbox|[Dd]etections?)\b/g;

test("only tasks, heads, trackers and a few façades know what a box is", () => {
  const knows = (path: string): boolean => /^(tasks|heads|track)\//.test(path) || path === "model/rows.ts";
  expect(
    faults((file) => {
      if (knows(file.path) || file.path in BOX_FACADES) return [];
      return codeOf(file.text).match(BOX_WORDS) ?? [];
    }),
  ).toEqual([]);
  // One that has no need of it any more is no façade.
  const needless = files.filter(({ path, text }) => path in BOX_FACADES && codeOf(text).search(BOX_WORDS) < 0);
  expect(needless.map(({ path }) => path)).toEqual([]);
});

test("native calls, options and output each have their one place", () => {
  expect(
    faults(function* (file) {
      for (const name of file.imports) {
        if ((name === "bun:ffi" || name === "koffi") && file.layer !== "ffi") yield `imports ${name} outside ffi/`;
        const mayUseZod = /-(config|options)\.ts$/.test(file.path) || file.path === "core/options.ts";
        if (name === "zod" && !mayUseZod && file.layer !== "cli") yield "imports zod";
      }
      const code = codeOf(file.text);
      // The log has one warning for those who chose no sink.
      const mayPrint = file.layer === "cli" || file.path === "core/log.ts";
      if (/\bconsole\.|process\.std(out|err)/.test(code) && !mayPrint) yield "prints outside cli/";
      if (/(?<!\.)\bany\b/.test(code) && file.layer !== "ffi") yield "uses the type any";
    }),
  ).toEqual([]);
});

test("files are short, headed by @module and named in kebab-case, in no drawer for odds and ends", () => {
  expect(
    faults(function* (file) {
      const lines = file.text.split("\n").length;
      // Tables of symbols, and what protoc makes of the messages, are as long as what they describe.
      const isTable = /-symbols\.ts$|\/abi\/|^tasks\/messages\.d\.ts$/.test(file.path);
      if (lines > LINE_CAP && !isTable) {
        yield `${lines} lines, over ${LINE_CAP}`;
      }
      if (!/^(#!.*\n)?\/\*\*\s+(\* )?@module \S/.test(file.text)) yield "does not open with /** @module … */";
      if (!/^([a-z0-9]+(-[a-z0-9]+)*\/)*[a-z0-9]+(-[a-z0-9]+)*(\.d)?\.ts$/.test(file.path)) yield "not kebab-case";
      if (/(^|\/)(utils?|helpers?|common|misc)(\/|\.ts)/.test(file.path)) yield "a drawer for odds and ends";
    }),
  ).toEqual([]);
});

test("every exported symbol has a docstring", () => {
  const declaration =
    /^export (?:declare )?(?:abstract )?(?:async )?(?:function\*?|class|interface|type|const|let) ([A-Za-z0-9_]+)/;
  expect(
    faults(function* (file) {
      const lines = file.text.split("\n");
      for (const [at, line] of lines.entries()) {
        const name = declaration.exec(line)?.[1];
        if (name === undefined) continue;
        const before = lines[at - 1] ?? "";
        const isOverload = before.startsWith(`export function ${name}`);
        if (!before.trimEnd().endsWith("*/") && !isOverload) yield `${name} has no docstring`;
      }
    }),
  ).toEqual([]);
});

/** Files of the repository that may import what a file of `src` exports, by their path from its root. */
function importersOfSource(): SourceFile[] {
  const outside = [...new Bun.Glob("{test,scripts,bench,examples}/**/*.ts").scanSync(root)].map((path) => {
    const text = readFileSync(join(root, path), "utf8");
    return { path, text, layer: "", imports: importsOf(text) };
  });
  return [...files.map((file) => ({ ...file, path: `src/${file.path}` })), ...outside];
}

test("what a file exports is imported by another", () => {
  const taken = new Map<string, Set<string>>();
  const openedBy = new Map<string, string[]>();
  const inPrograms = new Set<string>();
  for (const { path, text, imports } of importersOfSource()) {
    for (const [, names, from] of text.matchAll(/^ *(?:import|export)\s[^;]*?{([^}]*)}\s+from\s+"(\.[^"]+)"/gm)) {
      // A program in a text that runs at the root begins there.
      const target = from!.startsWith("./src/") ? join(from!) : join(dirname(path), from!);
      if (!taken.has(target)) taken.set(target, new Set());
      for (const [, name] of names!.matchAll(/(?:^|,)\s*(?:type\s+)?(\w+)/g)) taken.get(target)!.add(name!);
    }
    // Others put the path in.
    for (const [, names] of text.matchAll(/{([^{}]*)} (?:from \${|= await import\()/g)) {
      for (const [name] of names!.matchAll(/\w+/g)) inPrograms.add(name);
    }
    // An import when it is used, of a type in place or of everything: its names may stand anywhere in the text.
    if (!/\bimport\(|^import \* as/m.test(text)) continue;
    for (const specifier of imports.filter((name) => name.startsWith("."))) {
      const target = join(dirname(path), specifier);
      openedBy.set(target, [...(openedBy.get(target) ?? []), text]);
    }
  }
  const isTaken = (path: string, name: string): boolean =>
    taken.get(path)?.has(name) === true ||
    inPrograms.has(name) ||
    (openedBy.get(path) ?? []).some((text) => new RegExp(`\\b${name}\\b`).test(text));
  const declaration = /^export (?:abstract )?(?:async )?(?:function\*?|class|interface|type|const|let) (\w+)/gm;
  expect(
    faults((file) => {
      // The one is for users, the other made by protoc.
      if (file.path.endsWith("index.ts") || file.path.endsWith(".d.ts")) return [];
      const names = [...file.text.matchAll(declaration)].map(([, name]) => name!);
      return [...new Set(names)].filter((name) => !isTaken(`src/${file.path}`, name));
    }),
  ).toEqual([]);
});

/** Every file that an entry imports when it is imported itself, by static imports of values. */
function loadedWith(entry: string): string[] {
  const byPath = new Map(files.map((file) => [file.path, file]));
  const loaded = new Set([entry]);
  for (const path of loaded) {
    const file = byPath.get(path)!;
    const text = file.text.replace(/\bimport\(\s*"[^"]+"\s*\)/g, "").replace(/^(import|export) type\s[^;]*;/gm, "");
    for (const name of importsOf(text)) if (byPath.has(resolve(file, name))) loaded.add(resolve(file, name));
  }
  return [...loaded];
}

test("importing the package loads no accelerator, nor does its start-up load a command", () => {
  const accelerators = /^(onnxruntime|tensorrt|cuda|nvdec|nvjpeg|accelerators\/(cpu|tensorrt))\//;
  expect(loadedWith("index.ts").filter((path) => accelerators.test(path))).toEqual([]);
  const started = loadedWith("cli/main.ts");
  expect(started.filter((path) => accelerators.test(path) || path.startsWith("cli/commands/"))).toEqual([]);
  expect(started.length).toBeLessThanOrEqual(40);
});

test("the help of a command is there without what it does", () => {
  const flags = files.filter(({ path }) => /^cli\/[\w-]+-flags\.ts$/.test(path));
  expect(flags.length).toBeGreaterThan(7);
  const commands = readFileSync(join(src, "cli/commands.ts"), "utf8");
  expect(commands.match(/flags: async .*/g)!.filter((line) => !/-flags\.ts"|=> \[\{ name: /.test(line))).toEqual([]);
  for (const { path } of flags) {
    const loaded = loadedWith(path);
    expect([
      path,
      ...loaded.filter((one) =>
        /^(onnxruntime|cuda|accelerators\/(cpu|tensorrt)|runtime\/pipeline|serve\/d|worker\/w.*r\.ts)/.test(one),
      ),
    ]).toEqual([path]);
    expect(loaded.length).toBeLessThanOrEqual(40);
  }
});

test("importing the package opens no library", () => {
  const program = `
    await import(${JSON.stringify(join(src, "index.ts"))});
    const maps = require("node:fs").readFileSync("/proc/self/maps", "utf8");
    const opened = maps.match(/[^\\s]*(onnxruntime|turbojpeg|koffi|sharp|vips|cuda|nvinfer|nvcuvid|nvjpeg|shim)[^\\s]*\\.(so|node)[^\\s]*/g);
    console.log(JSON.stringify([...new Set(opened ?? [])]));
  `;
  const child = Bun.spawnSync([process.execPath, "-e", program], { cwd: root });
  expect(child.stderr.toString()).toBe("");
  expect(JSON.parse(child.stdout.toString())).toEqual([]);
});
