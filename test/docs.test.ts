/** @module The pages say what is true: their programs run, their tables are complete, their pictures are there. */

import { beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { errorPage } from "../scripts/errors.ts";
import { modelsPage, strayExporters } from "../scripts/heads.ts";
import { PICTURES } from "../scripts/pictures.ts";
import { Detector } from "../src/api/detector.ts";
import { parseWords } from "../src/cli/args.ts";
import { COMMANDS } from "../src/cli/commands.ts";
import { pulled } from "./support/catalogue.ts";
import { nearestModel } from "./support/image-models.ts";
import { docstringSnippets } from "./support/snippets.ts";
import { RTX } from "./support/tensorrt.ts";
import { toyClassifier } from "./support/toy-classifier.ts";
import { toyDetector } from "./support/toy-detector.ts";
import { toyMap } from "./support/toy-map.ts";
import { toyObb } from "./support/toy-objects.ts";
import { toyTopDown } from "./support/toy-top-down.ts";
import { isFfmpegMissing, testVideo } from "./support/videos.ts";

setDefaultTimeout(120_000);

const root = join(import.meta.dir, "..");
const read = (path: string): string => readFileSync(join(root, path), "utf8");
const PAGES: readonly string[] = ["README.md", ...[...new Bun.Glob("docs/*.md").scanSync(root)].sort()];

const image = await pulled("sample1");
const models = await Promise.all(["yolo11n", "yolo11n-seg", "yolo11n-pose"].map(pulled));
/** The image that `demo` takes. */
const DEMONSTRATED = "sample2";
const demonstrated = await pulled(DEMONSTRATED);
const isOffline = image === undefined || models.includes(undefined);

/** The programs of a page. Those in `ts` run here; `typescript` marks what needs a server or a GPU. */
function programs(page: string, fence: string): string[] {
  return [...read(page).matchAll(new RegExp(`^\`\`\`${fence}\\n([\\s\\S]*?)^\`\`\``, "gm"))].map(([, code]) => code!);
}

test("README.md has code to run, and fits on a few screens", () => {
  expect(programs("README.md", "ts").length).toBeGreaterThan(0);
  expect(read("README.md").split("\n").length).toBeLessThanOrEqual(151);
});

test("every program in README.md and docs imports what it uses of the package", () => {
  const transpiler = new Bun.Transpiler({ loader: "ts" });
  const all = PAGES.flatMap((page) => programs(page, "(?:ts|typescript)"));
  const lacking = all.filter(
    (code) => !transpiler.scanImports(code).some(({ path }) => path.startsWith("bun-tensorrt")),
  );
  expect(all.length).toBeGreaterThan(10);
  expect(lacking).toEqual([]);
});

const photograph = image === undefined ? undefined : await sharp(image).resize(640).jpeg().toBuffer();

/** One object of the sample, in COCO's form. */
const DATASET = {
  images: [{ id: 1, file_name: "street.jpg", width: 640, height: 427 }],
  annotations: [
    {
      id: 1,
      image_id: 1,
      category_id: 1,
      bbox: [47, 83, 193, 337],
      area: 65_041,
      iscrowd: 0,
      segmentation: [[47, 83, 240, 83, 240, 420, 47, 420]],
    },
  ],
  categories: [{ id: 1, name: "person" }],
};

/** The same person with COCO's 17 points, all of them in one place. */
const POSES = {
  ...DATASET,
  annotations: [{ ...DATASET.annotations[0], num_keypoints: 17, keypoints: Array(17).fill([143, 150, 2]).flat() }],
  categories: [{ id: 1, name: "person", keypoints: Array.from({ length: 17 }, (_, at) => `point ${at}`) }],
};

/** What the pages name and a reader brings: photographs are the catalogue's, models are toys of the same form. */
const FILES: Readonly<Record<string, (path: string) => unknown>> = {
  "street.jpg": (path) => writeFileSync(path, photograph!),
  "beach.jpg": (path) => writeFileSync(path, photograph!),
  "street.mp4": (path) => testVideo(path, "320x240", 6, 6),
  val2017: (path) => {
    mkdirSync(path);
    writeFileSync(join(path, "street.jpg"), photograph!);
  },
  "instances_val2017.json": (path) => {
    writeFileSync(path, JSON.stringify(DATASET));
    writeFileSync(join(path, "../street.jpg"), photograph!);
  },
  "person_keypoints_val2017.json": (path) => writeFileSync(path, JSON.stringify(POSES)),
  "yolo11n.onnx": (path) => copyFileSync(models[0]!, path),
  "yolox_deepstream.onnx": (path) => writeFileSync(path, toyDetector()),
  "resnet50.onnx": (path) => writeFileSync(path, toyClassifier({ side: 32, scores: "means" })),
  "segformer/model.onnx": (path) => writeFileSync(path, toyMap({ size: [64, 48], classes: 3 })),
  "depth-anything/model.onnx": (path) => writeFileSync(path, toyMap({ size: [64, 48], form: "depth" })),
  "super-resolution.onnx": (path) => writeFileSync(path, nearestModel([1, 1, 224, 224], [1, 1, 448, 448])),
};

/** Writes the files that a program names into a folder. */
async function writeFiles(folder: string, code: string): Promise<void> {
  for (const [name, write] of Object.entries(FILES)) {
    if (!code.includes(`"${name}"`) && !code.includes(`"./${name}"`)) continue;
    mkdirSync(join(folder, name, ".."), { recursive: true });
    await write(join(folder, name));
  }
}

/** What a program wrote. */
interface Written {
  readonly output: string;
  readonly errors: string;
}

/** Lines in what programs write: between two of them, and in front of what one was ended by. */
const NEXT = "== next ==\n";
const ENDED_BY = "== ended by ==\n";

/**
 * Runs programs one after the other in one process: what a model costs to load is nothing beside a start of Bun.
 *
 * @param folder   where they lie
 * @param programs each with the folder that it runs in
 */
async function runAll(
  folder: string,
  programs: readonly { readonly code: string; readonly cwd: string }[],
  env: Readonly<Record<string, string>> = {},
): Promise<Written[]> {
  mkdirSync(join(folder, "node_modules"));
  symlinkSync(root, join(folder, "node_modules", "bun-tensorrt"));
  for (const [at, { code, cwd }] of programs.entries()) writeFileSync(join(cwd, `${at}.ts`), code);
  const all = `for (const [at, cwd] of ${JSON.stringify(programs.map(({ cwd }) => cwd))}.entries()) {
    process.chdir(cwd);
    for (const write of [console.log, console.error]) write(${JSON.stringify(NEXT.trim())});
    await import(\`\${cwd}/\${at}.ts\`).catch((error) => console.error(${JSON.stringify(ENDED_BY)} + (error?.stack ?? error)));
  }`;
  writeFileSync(join(folder, "all.ts"), all);
  const child = Bun.spawn([process.execPath, "all.ts"], {
    cwd: folder,
    env: { ...process.env, ...env },
    stdout: "pipe",
    stderr: "pipe",
  });
  const texts = await Promise.all([child.stdout.text(), child.stderr.text()]);
  const exitCode = await child.exited;
  const [outputs, errors] = texts.map((text) => text.split(NEXT).slice(1));
  if (exitCode !== 0 || errors!.length !== programs.length) {
    throw new Error(`Program ${errors!.length} of ${programs.length} ended all with ${exitCode}: ${errors!.at(-1)}`);
  }
  return programs.map((_, at) => ({ output: outputs![at]!, errors: errors![at]! }));
}

const blocks = PAGES.flatMap((page) => programs(page, "ts").map((code, at) => ({ page, code, at })));
const isLacking = (code: string): boolean => isOffline || (isFfmpegMissing && code.includes(".mp4"));

describe("programs of the pages", () => {
  const run = blocks.filter(({ code }) => !isLacking(code));
  let written: readonly Written[] = [];
  beforeAll(async () => {
    const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-docs-"));
    try {
      const each = run.map(({ code }, at) => ({ code, cwd: join(folder, `${at}`) }));
      for (const { code, cwd } of each) {
        mkdirSync(cwd);
        await writeFiles(cwd, code);
      }
      written = await runAll(folder, each);
    } finally {
      rmSync(folder, { recursive: true });
    }
  }, 240_000);

  for (const block of blocks) {
    const { page, code, at } = block;
    test.skipIf(isLacking(code))(
      `${page}: program ${at + 1} runs, ${JSON.stringify(code.split("\n").at(-2)?.slice(0, 40))}`,
      () => {
        const { output, errors } = written[run.indexOf(block)]!;
        expect(errors.replace(/^image 1: ImageError: [\s\S]*/, "")).toBe("");
        if (code.includes("console.log")) expect(output).not.toBe("");
      },
    );
  }
});

/** What docstrings name beyond that. */
const MORE_FILES: typeof FILES = {
  "harbour.jpg": (path) => writeFileSync(path, photograph!),
  "incoming/gate.jpg": (path) => writeFileSync(path, photograph!),
  "val2017/street.jpg": (path) => writeFileSync(path, photograph!),
  "annotations/instances_val2017.json": (path) => writeFileSync(path, JSON.stringify(DATASET)),
  "worker.toml": (path) => writeFileSync(path, 'input = "frames"\nthreshold = 0.4\n'),
  "yolo11n.onnx": (path) => copyFileSync(models[0]!, path),
  "yolo11n-cls.onnx": (path) => writeFileSync(path, toyClassifier({ side: 32, scores: "means" })),
  "yolo11n-obb.onnx": (path) => writeFileSync(path, toyObb),
  "rtmpose-m.onnx": (path) => writeFileSync(path, toyTopDown("simcc")),
};

const examples = docstringSnippets();
/** Needs a GPU, and runs there (test/gpu/examples.test.ts), a builder, or a Redis server on its usual port, as examples/07 has one. */
const isElsewhere = (code: string): boolean =>
  /"bun-tensorrt\/cuda"|redis:/.test(code) || (RTX === undefined && code.includes('"bun-tensorrt/tensorrt"'));

test.skipIf(isOffline || isFfmpegMissing)(
  "every @example of a docstring runs",
  async () => {
    const run = examples.filter(({ code }) => !isElsewhere(code));
    expect(run.length).toBeGreaterThan(35);
    const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-examples-"));
    try {
      for (const [name, write] of Object.entries({ ...FILES, ...MORE_FILES })) {
        mkdirSync(join(folder, name, ".."), { recursive: true });
        await write(join(folder, name));
      }
      // TensorRT-RTX builds without a GPU for one that is named.
      const named = (code: string): string =>
        code.replace("size: [640, 640] }", 'size: [640, 640], computeCapabilities: ["8.6"] }');
      const each = run.map(({ code }) => ({ code: named(code), cwd: folder }));
      const written = await runAll(folder, each, RTX === undefined ? {} : { BUN_TENSORRT_TENSORRT: RTX });
      const failed = written.flatMap(({ errors }, at) =>
        errors.includes(ENDED_BY) ? [`${run[at]!.where}: ${errors.split(ENDED_BY)[1]}`] : [],
      );
      expect(failed).toEqual([]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
  120_000,
);

test("docs/errors.md is what scripts/errors.ts makes of the sources", async () => {
  const page = await errorPage();
  expect(page.match(/^\| Cannot /gm)!.length).toBeGreaterThan(200);
  expect(page).toContain(
    '| Cannot use … in a kernel: it is not mapped for the device | create it with { use: "mapped" } |',
  );
  // Who has added the package has no bun-tensorrt on the PATH.
  expect(page.match(/.*(?<!bunx )\bbun-tensorrt (?=[a-z…]).*/g) ?? []).toEqual([]);
  expect(read("docs/errors.md"), "run `bun scripts/errors.ts`").toBe(page);
});

test("docs/models.md has the table that scripts/heads.ts makes of the heads", () => {
  const page = modelsPage();
  expect(strayExporters()).toEqual([]);
  expect(page.match(/^\| .* \| `[a-z0-9-]+` \| (detect|pose|segment|obb)/gm)!.length).toBeGreaterThan(40);
  expect(read("docs/models.md"), "run `bun scripts/heads.ts`").toBe(page);
});

test("docs/low-level.md shows the programs of examples/low-level", () => {
  const files = [...new Bun.Glob("examples/low-level/*.ts").scanSync(root)].sort();
  expect(files).toHaveLength(5);
  const shown = programs("docs/low-level.md", "typescript");
  expect(shown).toEqual(files.map((path) => read(path).replace(/^\/\*\*[\s\S]*?\*\/\n\n/, "")));
  expect(read("docs/low-level.md")).toContain(read("examples/low-level/brighten.cu"));
});

test("every command line in README.md, CONTRIBUTING.md and docs is one that the program understands", async () => {
  const lines = [...PAGES, "CONTRIBUTING.md"].flatMap((page) =>
    [...read(page).matchAll(/^```sh\n([\s\S]*?)^```/gm)].flatMap(
      ([, code]) => code!.match(/bunx bun-tensorrt .*/g) ?? [],
    ),
  );
  const wrong: string[] = [];
  for (const line of lines) {
    const words = line
      .replace(/ +# .*| [|>&].*|\)".*/g, "")
      .match(/'[^']*'|\S+/g)!
      .slice(2);
    const command = COMMANDS.find(({ name }) => name === words[0]);
    try {
      parseWords(words[0]!, words.slice(1), await command!.flags());
    } catch (error) {
      wrong.push(`${line}: ${error}`);
    }
  }
  expect(lines.length).toBeGreaterThan(40);
  expect(wrong).toEqual([]);
});

test("a page asks the port at which it serves: that of its block, else of what it started before, else the default", () => {
  const wrong: string[] = [];
  let asked = 0;
  for (const page of [...PAGES, "CONTRIBUTING.md"]) {
    let atFirst: string | undefined;
    for (const [, code = ""] of read(page).matchAll(/^```(?:sh|python)\n([\s\S]*?)^```/gm)) {
      const served = [...code.matchAll(/--port (\d+)|--publish [\d.]+:(\d+):/g)].map((match) => match[1] ?? match[2]!);
      if (served.length === 0 && / serve( |$)/m.test(code)) served.push("8080");
      atFirst ??= served[0];
      const open = served.length > 0 ? served : [atFirst ?? "8080"];
      for (const [address, port = ""] of code.matchAll(/(?:localhost|(?<!--publish )127\.0\.0\.1):(\d+)/g)) {
        asked += 1;
        if (!open.includes(port)) wrong.push(`${page}: ${address} where ${open.join(" and ")} is served`);
      }
    }
  }
  expect(wrong).toEqual([]);
  expect(asked).toBeGreaterThan(10);
});

/** Where the environment is handed on, and read elsewhere. */
const HANDED_ON: readonly string[] = [
  "src/catalogue/package-clients.ts",
  "src/cli/main.ts",
  "src/cli/terminal.ts",
  "src/ffi/discovery.ts",
];

/** Names of the environment variables that a source reads or sets. */
function variablesIn(path: string): string[] {
  const text = read(path).replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, "");
  const names = [
    ...text.matchAll(/"(BUN_TENSORRT_\w+)"/g),
    ...text.matchAll(/process\.env\.(\w+)/g),
    ...text.matchAll(/\benvironment\.([A-Z_]+)\b/g),
    ...text.matchAll(/\bvariableOf\(machine, "([A-Z_]+)"\)/g),
    ...[...text.matchAll(/\bvariables: \[([^\]]*)\]/g)].flatMap(([, list]) => [...list!.matchAll(/"([A-Z_]+)"/g)]),
    ...text.matchAll(/setNative(?:Default|Variable)\("(\w+)"/g),
    ...text.matchAll(/\{ name: "([A-Z_]+)", (?:value|folder): /g), // what the drivers' files set
    ...text.matchAll(/^\s+(PIP_\w+): "/gm),
    ...text.matchAll(/\benv: \{[^}]*?\b([A-Z]+(?:_[A-Z]+)+): "/g),
  ].map(([, name]) => name!);
  for (const [, list] of text.matchAll(/\{([^{}]*)\} = process\.env;/g)) {
    names.push(...list!.split(",").map((part) => /\w+/.exec(part)![0]));
  }
  // Every other way to the environment is one that this test does not see.
  const unseen = text.match(/process\.env(?!\.\w|\[\w)(?<!= process\.env)|process\.env\[["'`]/g) ?? [];
  if (unseen.length > 0 && !HANDED_ON.includes(path)) throw new Error(`${path} reads the environment in another way`);
  return names;
}

test("docs/environment.md has every variable that the source reads or sets, and no other", () => {
  const sources = [...new Bun.Glob("src/**/*.ts").scanSync(root)].sort();
  const inSource = new Set(sources.flatMap(variablesIn));
  const inPage = new Set([...read("docs/environment.md").matchAll(/`([A-Z][A-Z_]+)`/g)].map(([, name]) => name!));
  inPage.delete("CUDA_VISIBLE_DEVICES"); // read by CUDA only
  expect([...inPage].sort()).toEqual([...inSource].sort());
});

test("docs/images holds the pictures that scripts/pictures.ts makes, and a page shows each with the licence of its photograph", () => {
  const files = [...new Bun.Glob("*").scanSync(join(root, "docs/images"))];
  expect(PICTURES.map(({ file }) => file).toSorted()).toEqual(files.toSorted());
  for (const { file, photograph } of PICTURES) {
    const shown = PAGES.filter((page) => read(page).includes(`images/${file}`));
    expect([file, shown.length]).not.toEqual([file, 0]);
    if (photograph === undefined) continue;
    for (const page of shown)
      for (const words of [photograph.licence, photograph.credit]) expect(read(page)).toContain(words);
  }
});

test("without its photograph or model a picture is skipped by name, and asking for it fails", () => {
  const empty = mkdtempSync(join(tmpdir(), "bun-tensorrt-empty-"));
  const names = ["hero.jpg", "task-obb.jpg"];
  const { stdout, exitCode } = Bun.spawnSync([process.execPath, "scripts/pictures.ts", ...names], {
    cwd: root,
    env: { ...process.env, BUN_TENSORRT_SHARED: empty },
  });
  rmSync(empty, { recursive: true });
  const lines = stdout.toString().trim().split("\n");
  expect(lines).toEqual(names.map((name) => expect.stringMatching(new RegExp(`/${name}: skipped, .* is not there; `))));
  expect(exitCode).toBe(1);
});

test.skipIf(isOffline || demonstrated === undefined)(
  "the first program of docs/getting-started.md prints what the page shows, which is what demo's picture shows",
  async () => {
    const [, shown = ""] = /^```text\n(person [\s\S]*?)^```/m.exec(read("docs/getting-started.md")) ?? [];
    await using detector = await Detector.load(models[0]!, { backend: "cpu" });
    const { detections } = await detector.detect(demonstrated!);
    const lines = detections.map(({ label, score, box }) => {
      return `${label} ${score.toFixed(2)} ${Bun.inspect(box.map(Math.round))}\n`;
    });
    expect(shown).toBe(lines.join(""));
    expect(read("docs/getting-started.md")).toContain(`models pull ${DEMONSTRATED}\n`);
    expect(PICTURES.find(({ file }) => file === "demo.jpg")!.photograph!.source).toEqual({ entry: DEMONSTRATED });
    const flags = await COMMANDS.find(({ name }) => name === "demo")!.flags();
    // Not by toMatchObject(): Bun puts a matcher into what it is held against, here the table of the flags itself.
    expect(flags.find(({ name }) => name === "image")?.summary).toContain(DEMONSTRATED);
  },
  120_000,
);

test("the charts are those of bench/results", async () => {
  for (const { file, make } of PICTURES.filter(({ file }) => file.endsWith(".svg"))) {
    expect(await make("")).toBe(read(`docs/images/${file}`));
  }
});
