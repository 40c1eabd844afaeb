/**
 * @module The API reference, `bun run docs`: one static folder, `out/docs`, of every public entry point and every page in
 * `docs/`, with a search that needs no server. What a public signature names and no entry point exports is an error, as is
 * every other warning of TypeDoc.
 */

import { join, relative } from "node:path";
import { pathToFileURL } from "node:url";
import { plugin } from "bun";
import manifest from "../package.json" with { type: "json" };

const root = join(import.meta.dir, "..");

// TypeDoc reads programs through the JS API of TypeScript 6, which the compiler in Go, TypeScript 7, does not have.
plugin({
  name: "typescript-6",
  setup(build) {
    build.module("typescript", async () => ({ exports: await import("typescript-6"), loader: "object" }));
  },
});

// TypeDoc drops the class of `@throws {ImageError} If …`: it reads it as code.
const { default: ts } = await import("typescript-6");
const { readFile } = ts.sys;
ts.sys.readFile = (path, encoding) => readFile(path, encoding)?.replaceAll(/@throws \{(\w+)\} /g, "@throws `$1` ");

/** Constants that a public type is made of; the reference shows what they hold. */
const CONSTANTS: readonly string[] = [
  "ANCHORS",
  "DEVICE_ATTRIBUTES",
  "HARDWARE_COMPATIBILITIES",
  "MEMORY_POOLS",
  "BOX_METRICS",
  "KEYPOINT_METRICS",
  "PROFILING_VERBOSITIES",
  "STRATEGIES",
];

/** Source file of an entry point, and the name it is imported by. */
const names = new Map<string, string>();
for (const [name, entry] of Object.entries(manifest.exports)) {
  if (typeof entry !== "string") names.set(join(root, entry.default), `bun-tensorrt${name.slice(1)}`);
}

/** What a program of the entry points beside `bun-tensorrt` itself calls first: each has an example, as all has that one exports. */
const FIRST_CALLS: readonly string[] = [
  ...["compileCuda", "Device", "Event", "Graph", "Module", "PinnedBuffer"],
  ...["Nvdec", "NvdecDecoder"],
  ...["NvJpegDecoder", "routeJpeg"],
  ...["Inference", "Session", "tensorOf"],
  ...["createHandler", "serve"],
  ...["buildPlan", "EngineCache", "readPlan", "Runtime"],
  ...["readZones", "Tracker", "Zones"],
  ...["detectVideo", "paintDetections", "readImages", "VideoSink", "VideoSource", "watchFolder"],
  ...["readConfigFile", "Worker"],
];

const first = "docs/getting-started.md";
const pages = [first, ...[...new Bun.Glob("docs/*.md").scanSync(root)].sort().filter((page) => page !== first)];

const { Application, Comment, CommentTag, Converter, LogLevel, PageEvent, ReflectionKind } = await import("typedoc");
const hasRemote = Bun.spawnSync(["git", "remote", "get-url", "origin"], { cwd: root }).success;
const app = await Application.bootstrap({
  name: `bun-tensorrt ${manifest.version}`,
  entryPoints: [...names.keys()],
  tsconfig: join(root, "tsconfig.json"),
  // The gate's compiler has checked the types.
  skipErrorChecking: true,
  excludeExternals: true,
  excludeInternal: true,
  excludePrivate: true,
  excludeProtected: true,
  readme: join(root, "README.md"),
  projectDocuments: [...pages, "CONTRIBUTING.md", "CHANGELOG.md"].map((page) => join(root, page)),
  headings: { readme: false },
  navigation: { includeFolders: false },
  groupOrder: [
    "Documents",
    "Modules",
    "Classes",
    "Functions",
    "Variables",
    "Options",
    "Interfaces",
    "Type Aliases",
    "Errors",
  ],
  searchInComments: true,
  searchInDocuments: true,
  intentionallyNotExported: [...CONSTANTS],
  highlightLanguages: [
    "typescript",
    "javascript",
    "sh",
    "json",
    "toml",
    "python",
    "diff",
    "cpp",
    "dockerfile",
    "yaml",
    "ini",
  ],
  ignoredHighlightLanguages: ["mermaid"],
  validation: { invalidPath: false, notDocumented: true },
  requiredToBeDocumented: ["Accessor", "Class", "Enum", "Function", "Interface", "Method", "TypeAlias", "Variable"],
  cleanOutputDir: true,
  logLevel: LogLevel.Warn,
  // Without a remote, sources are linked to where they lie.
  ...(hasRemote ? {} : { disableGit: true, sourceLinkTemplate: `${pathToFileURL(root)}/{path}` }),
});

// Errors and options are many, and looked for by name: they do not stand between what is called.
app.converter.on(Converter.EVENT_RESOLVE_BEGIN, (context) => {
  for (const one of context.project.getReflectionsByKind(ReflectionKind.ClassOrInterface)) {
    const group = /(?<=[a-z])(Error|Options)$/.exec(one.name)?.[0];
    if (group === undefined) continue;
    one.comment ??= new Comment();
    const name = group === "Error" ? "Errors" : "Options";
    one.comment.blockTags.push(new CommentTag("@group", [{ kind: "text", text: name }]));
  }
});

// What a call throws is one list, with a link to each class.
app.converter.on(Converter.EVENT_RESOLVE_END, ({ project }) => {
  const classes = new Map(project.getReflectionsByKind(ReflectionKind.Class).map((one) => [`\`${one.name}\``, one]));
  for (const { comment } of Object.values(project.reflections)) {
    const [first, ...others] = comment?.blockTags.filter(({ tag }) => tag === "@throws") ?? [];
    if (comment === undefined || first === undefined) continue;
    first.content = [first, ...others].flatMap(({ content }) => [
      { kind: "text", text: "\n- " },
      ...content.map((part): (typeof content)[number] => {
        const target = part.kind === "code" ? classes.get(part.text) : undefined;
        return target === undefined ? part : { kind: "inline-tag", tag: "@linkcode", text: target.name, target };
      }),
    ]);
    comment.blockTags = comment.blockTags.filter((tag) => !others.includes(tag));
  }
});

// A page may name a folder of the repository, which is not in the reference.
app.renderer.on(PageEvent.END, (page) => {
  page.contents = (page.contents ?? "").replaceAll(/<a href="(?:\.\.\/)*media\/[\w-]+"[^>]*>(.*?)<\/a>/g, "$1");
});

const project = await app.convert();
if (project === undefined) throw new Error("Cannot build the reference: TypeDoc could not read the sources");
// `@module bun-tensorrt/video: frames of files, …`: the name is the import's, the rest is its description.
for (const module of project.children ?? []) {
  const name = names.get(module.sources?.[0]?.fullFileName ?? "");
  if (name === undefined) continue;
  const text = module.name.replace(/^bun-tensorrt[\w/]*: /, "");
  module.comment = new Comment([{ kind: "text", text: text.slice(0, 1).toUpperCase() + text.slice(1) }]);
  module.name = name;
  for (const one of module.children ?? []) {
    if (!one.kindOf([ReflectionKind.Class, ReflectionKind.Function, ReflectionKind.Variable])) continue;
    if (name === "bun-tensorrt" ? one.name.endsWith("Error") : !FIRST_CALLS.includes(one.name)) continue;
    const parts = [one, ...(one.signatures ?? []), ...(one.children ?? []).flatMap((child) => child.signatures ?? [])];
    if (parts.some(({ comment }) => comment?.getTag("@example") !== undefined)) continue;
    app.logger.error(`${name}: ${one.name} has no @example`);
  }
}
app.validate(project);
const output = join(root, "out/docs");
await app.generateDocs(project, output);
if (app.logger.hasWarnings() || app.logger.hasErrors()) process.exit(1);
console.log(`${relative(process.cwd(), output)}/index.html`);
