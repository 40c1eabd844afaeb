import { expect, setDefaultTimeout, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join, posix } from "node:path";
import manifest from "../package.json" with { type: "json" };
import { contentFaults } from "../scripts/release.ts";
import { fileFolder } from "./support/folder.ts";
import { docstringSnippets, documentSnippets, exampleSnippets } from "./support/snippets.ts";
import { toyDetector } from "./support/toy-detector.ts";

setDefaultTimeout(120_000);

const root = join(import.meta.dir, "..");
const inFolder = fileFolder("package");
const app = inFolder("app");
/** The compiler takes seconds, and many more on a busy machine. */
const TYPE_CHECK_MS = 120_000;

function bun(args: readonly string[], cwd: string): { exitCode: number; output: string } {
  const child = Bun.spawnSync([process.execPath, ...args], { cwd, stdout: "pipe", stderr: "pipe" });
  return { exitCode: child.exitCode, output: child.stdout.toString() + child.stderr.toString() };
}

const packed = bun(["pm", "pack", "--destination", inFolder()], root);
const tarball = inFolder(readdirSync(inFolder()).find((name) => name.endsWith(".tgz")) ?? "missing.tgz");
mkdirSync(app);
writeFileSync(join(app, "package.json"), '{ "name": "app", "private": true, "type": "module" }\n');
const added = bun(["add", tarball, `bun-types@${manifest.devDependencies["bun-types"]}`], app);
// Without a network nothing can be added; every other failure is one.
const isOffline =
  added.exitCode !== 0 && /ConnectionRefused|ENOTFOUND|FailedToOpenSocket|Unable to connect/.test(added.output);

test("the package packs", () => {
  expect(packed.output).toContain("package.json");
  expect(packed.exitCode).toBe(0);
});

test("the package holds what it needs and nothing else", () => {
  const list = Bun.spawnSync(["tar", "tzf", tarball]).stdout.toString().trim().split("\n");
  const tops = new Set(list.map((path) => path.split("/")[1]!));
  expect([...tops].sort()).toEqual([
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "README.md",
    "THIRD-PARTY-NOTICES.md",
    "bench",
    "docs",
    "examples",
    "native",
    "package.json",
    "proto",
    "ptx",
    "src",
    "types",
  ]);
  expect(contentFaults(list.map((path) => path.replace("package/", "")))).toEqual([]);
  // The command's help and the README send their readers to these.
  expect(list).toContain("package/docs/worker.md");
  expect(list).toContain("package/examples/09-video.ts");
  const declared = Object.values(manifest.exports).flatMap((one) => (typeof one === "string" ? [] : [one.types]));
  expect(declared.map((path) => list.includes(`package/${path.slice(2)}`))).toEqual(declared.map(() => true));
  expect(existsSync(join(root, "types"))).toBe(false); // else this checkout's own imports would see old declarations
});

test("every relative link of a page in the package leads to something in the package", () => {
  const list = Bun.spawnSync(["tar", "tzf", tarball]).stdout.toString().trim().split("\n");
  const pages = list.filter((path) => path.endsWith(".md"));
  expect(pages).toContain("package/README.md");
  const dead = pages.flatMap((page) => {
    const text = Bun.spawnSync(["tar", "xzOf", tarball, page]).stdout.toString();
    const links = [...text.matchAll(/\]\(([^)\s#]+)[^)]*\)|\b(?:src|href|srcset)="([^"#]+)/g)].map(
      ([, a, b]) => a ?? b!,
    );
    return links
      .filter((link) => !/^[a-z]+:/.test(link))
      .map((link) => [page, link, posix.join(posix.dirname(page), link).replace(/\/$/, "")] as const)
      .filter(([, , path]) => !list.some((known) => known === path || known.startsWith(`${path}/`)))
      .map(([page, link]) => `${page}: ${link}`);
  });
  expect(dead).toEqual([]);
});

test.skipIf(isOffline)("the package, added to an empty project, detects", () => {
  expect(added.output).toContain("installed bun-tensorrt");
  writeFileSync(join(app, "toy.onnx"), toyDetector());
  writeFileSync(
    join(app, "index.ts"),
    `import { Detector, imageOf } from "bun-tensorrt";
     import { Session } from "bun-tensorrt/onnxruntime";
     import { Encoding, Worker } from "bun-tensorrt/worker";
     await using detector = await Detector.load("toy.onnx");
     const white = imageOf(new Uint8Array(64 * 64 * 3).fill(255), { width: 64, height: 64 });
     const { detections } = await detector.detect(white);
     console.log(detections.map((one) => one.label).join(" "), typeof Session.load, typeof Worker.create, Encoding.PNG);\n`,
  );
  const { exitCode, output } = bun(["index.ts"], app);
  expect(output).toBe("cat dog dog function function 2\n");
  expect(exitCode).toBe(0);
});

test.skipIf(isOffline)("the package and all it depends on take at most 120 MB, Bun's types included", () => {
  const files = [...new Bun.Glob("**/*").scanSync({ cwd: join(app, "node_modules"), dot: true, followSymlinks: true })];
  expect(files.length).toBeGreaterThan(1000);
  const total = files.reduce((sum, file) => sum + statSync(join(app, "node_modules", file)).size, 0);
  expect(total).toBeLessThan(120e6);
});

test.skipIf(isOffline)("the package's command runs from the project", () => {
  const { exitCode, output } = bun(["x", "bun-tensorrt", "--version"], app);
  expect(output).toContain(manifest.version);
  expect(exitCode).toBe(0);
});

const INIT = {
  lib: ["ESNext"],
  target: "ESNext",
  module: "Preserve",
  moduleDetection: "force",
  moduleResolution: "bundler",
  allowImportingTsExtensions: true,
  verbatimModuleSyntax: true,
  noEmit: true,
  strict: true,
  skipLibCheck: true,
  noFallthroughCasesInSwitch: true,
  noUncheckedIndexedAccess: true,
  noImplicitOverride: true,
  resolveJsonModule: true,
  types: ["bun-types"],
};
const PROJECTS: readonly (readonly [name: string, settings: object])[] = [
  ["the settings of `bun init`", {}],
  [
    "everything strict and libraries checked",
    {
      skipLibCheck: false,
      exactOptionalPropertyTypes: true,
      noImplicitReturns: true,
      noPropertyAccessFromIndexSignature: true,
      noUnusedLocals: true,
      noUnusedParameters: true,
    },
  ],
  ["the browser's types", { lib: ["ESNext", "DOM", "DOM.Iterable"], skipLibCheck: false }],
  [
    "Node's resolution, libraries checked and no .ts imports",
    { module: "NodeNext", moduleResolution: "NodeNext", allowImportingTsExtensions: false, skipLibCheck: false },
  ],
  ["an older target and nothing strict", { target: "ES2022", lib: ["ES2022"], strict: false }],
];

test.skipIf(isOffline).each(PROJECTS)(
  "the package type-checks in a project with %s",
  (_, settings) => {
    const names = Object.keys(manifest.exports).filter((name) => name !== "./package.json");
    const imports = names.map((name, at) => `import * as m${at} from "bun-tensorrt${name.slice(1)}";`);
    const used = names.map((_name, at) => `m${at}`).join(", ");
    writeFileSync(join(app, "all.ts"), `${imports.join("\n")}\nexport const all: object[] = [${used}];\n`);
    writeFileSync(
      join(app, "tsconfig.json"),
      JSON.stringify({ compilerOptions: { ...INIT, ...settings }, include: ["index.ts", "all.ts"] }),
    );
    const { exitCode, output } = bun([join(root, "node_modules/typescript/bin/tsc"), "-p", "."], app);
    expect(output).toBe("");
    expect(exitCode).toBe(0);
  },
  TYPE_CHECK_MS,
);

const snippets = [...documentSnippets(), ...docstringSnippets(), ...exampleSnippets()];

test("every program that documentation shows imports what it uses of the package, and none casts to any", () => {
  expect(snippets.length).toBeGreaterThan(60);
  expect(snippets.filter(({ code }) => !/from "bun-tensorrt[/"]/.test(code)).map(({ where }) => where)).toEqual([]);
  expect(snippets.filter(({ code }) => /\bas any\b|: any\b|@ts-/.test(code)).map(({ where }) => where)).toEqual([]);
});

const SNIPPET_PROJECTS: readonly (readonly [name: string, settings: object])[] = [
  ["the settings of `bun init`", {}],
  ["`strict` and no more", { noUncheckedIndexedAccess: false, noImplicitOverride: false }],
  ["`exactOptionalPropertyTypes`", { exactOptionalPropertyTypes: true }],
  ["`skipLibCheck: false`", { skipLibCheck: false }],
];

test.skipIf(isOffline).each(SNIPPET_PROJECTS)(
  "every program that documentation shows type-checks against the package with %s",
  (_, settings) => {
    const folder = join(app, "snippets");
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder);
    const isFrameworkChecked = "skipLibCheck" in settings;
    for (const { where, code } of snippets) {
      const names = [...code.matchAll(/from "((?:@[\w-]+\/)?[\w-]+)/g)].map(([, name]) => name!);
      // Frameworks that an example is for are here for the tests alone, and their own declarations have faults.
      if (names.map(borrow).includes(true) && isFrameworkChecked) continue;
      writeFileSync(join(folder, `${where.replaceAll(/[/:]/g, "_").replace(/\.ts$/, "")}.ts`), code);
    }
    const compilerOptions = { ...INIT, ...settings };
    writeFileSync(join(app, "tsconfig.json"), JSON.stringify({ compilerOptions, include: ["snippets"] }));
    const { exitCode, output } = bun([join(root, "node_modules/typescript/bin/tsc"), "-p", "."], app);
    expect(output).toBe("");
    expect(exitCode).toBe(0);
  },
  TYPE_CHECK_MS,
);

/** Let the project find a development package of this repository. @returns whether it is one */
function borrow(name: string): boolean {
  if (!(name in manifest.devDependencies)) return false;
  const path = join(app, "node_modules", name);
  if (!existsSync(path)) symlinkSync(join(root, "node_modules", name), path);
  return true;
}

test("dependencies and Bun have exact versions, and only what is used", () => {
  const { dependencies, devDependencies, optionalDependencies } = manifest;
  const versions = [dependencies, devDependencies, optionalDependencies].flatMap((one) => Object.values(one));
  expect(versions.filter((version) => !/^(npm:typescript@)?\d+\.\d+\.\d+$/.test(version))).toEqual([]);
  expect(Object.keys(dependencies)).toEqual([
    "@bufbuild/protobuf",
    "@remix-run/multipart-parser",
    "koffi",
    "prom-client",
    "sharp",
    "zod",
  ]);
  // The packages of a platform are one release: what is built and tested here is what all of them hold.
  expect(
    Object.keys(optionalDependencies).every((name) => /^sherpa-onnx-((darwin|linux)-(arm64|x64)|win-x64)$/.test(name)),
  ).toBe(true);
  expect(new Set(Object.values(optionalDependencies)).size).toBe(1);
  const lock = readFileSync(join(root, "bun.lock"), "utf8");
  expect(lock).not.toMatch(/https?:\/\//);
  expect(manifest.packageManager).toBe(`bun@${Bun.version}`);
});
