/**
 * @module Writes THIRD-PARTY-NOTICES.md: what of others is in the package, and what is installed with it, which
 * `bun build --compile` puts into a program. `bun run notices --check` fails where what is committed differs.
 */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import manifest from "../package.json" with { type: "json" };
import { message } from "../src/core/errors.ts";
import { endCheck, keep, root, run, toolFolder } from "./generated.ts";

/** Texts of licences by their SPDX names, for packages that come without. */
const TEXTS = "spdx-license-list@6.12.0";
const NOTICES = "THIRD-PARTY-NOTICES.md";

/** What of others is in the tarball itself. */
const INSIDE: readonly (readonly [what: string, from: string, licence: string])[] = [
  [
    "`ptx/*.ptx`",
    "kernels of this package, compiled by NVIDIA's NVRTC, which puts functions of its device library into them",
    "NVIDIA CUDA Toolkit EULA, attachment A: may be distributed as part of an application",
  ],
  [
    "`native/prebuilt/`",
    "C of this package, compiled by Zig. The C library is linked at run time: nothing of others is inside those for Linux and macOS",
    "Apache-2.0",
  ],
  [
    "`native/prebuilt/windows-x64/`",
    "start-up code and threads of mingw-w64 (Copyright (c) 2009-2023 mingw-w64 project), linked into it by Zig",
    "ZPL-2.1 and public domain; winpthreads under MIT",
  ],
  [
    "numbers and names of interfaces in `src/ffi/`, `src/tensorrt/`, `src/nvjpeg/`, `src/nvml/`, `src/onnxruntime/`",
    "public headers of NVIDIA and Microsoft: facts, written anew; no header is copied",
    "Apache-2.0 (TensorRT), MIT (ONNX Runtime), NVIDIA's EULA (CUDA, nvJPEG, NVML)",
  ],
  ["names of classes in `src/model/model-info.ts`", "COCO, cocodataset.org", "CC BY 4.0"],
  [
    "photographs in `docs/images/`",
    "COCO val2017, and a sample of @vladmandic/face-api; addresses beside each in `docs/`",
    "CC BY 2.0 and MIT",
  ],
];

/** Who holds the rights where a package names no file for it; the text is SPDX's. */
const HOLDERS: Readonly<Record<string, string>> = {
  "@bufbuild/protobuf":
    "Copyright 2021-2026 Buf Technologies, Inc. (Apache-2.0); Copyright 2008 Google Inc. (BSD-3-Clause)",
  "sherpa-onnx": "Copyright k2-fsa (Apache-2.0); of ONNX Runtime in it: Copyright (c) Microsoft Corporation (MIT)",
  "@koromix/koffi": "Copyright (c) Niels Martignène (MIT)",
  "@img/sharp-libvips":
    "Copyright its authors; libvips and other parts under LGPL-3.0-or-later are linked dynamically and can be replaced",
};
/** Licences beyond those that the package itself declares. */
const FURTHER: Readonly<Record<string, readonly string[]>> = { "sherpa-onnx": ["MIT"] };

/** A package that comes along. */
interface Part {
  /** Without the platform: `sherpa-onnx` for `sherpa-onnx-linux-x64`. */
  readonly name: string;
  readonly version: string;
  readonly licence: string;
  readonly folder: string;
}

interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly license?: string;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

const PLATFORM = /-(linux|darwin|win|win32)(musl)?-(x64|arm64)$/;

function resolveFrom(name: string, folder: string): string | undefined {
  for (const parent of [join(folder, "node_modules"), join(root, "node_modules")]) {
    if (existsSync(join(parent, name, "package.json"))) return join(parent, name);
  }
  return undefined;
}

/** Everything that is installed with the package on this machine, once a version, by name. */
export function installedParts(): Part[] {
  const parts = new Map<string, Part>();
  const visit = (names: readonly string[], from: string): void => {
    for (const name of names) {
      const folder = resolveFrom(name, from);
      // Of another platform.
      if (folder === undefined) continue;
      const found = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as Manifest;
      const key = `${name}@${found.version}`;
      if (parts.has(key)) continue;
      const { version, license: licence = "unknown" } = found;
      parts.set(key, { name: name.replace(PLATFORM, ""), version, licence, folder });
      visit(Object.keys({ ...found.dependencies, ...found.optionalDependencies }), folder);
    }
  };
  visit(Object.keys({ ...manifest.dependencies, ...manifest.optionalDependencies }), root);
  return [...parts.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** A row of the table of parts. */
export function rowOf({ name, version, licence }: Part): string {
  return `| ${name} | ${version} | ${licence} |`;
}

/** The texts of a part's licence. */
function textsOf({ name, licence, folder }: Part, spdx: (id: string) => string): string[] {
  const files = readdirSync(folder).filter((file) => /^(licen[cs]e|copying|notice|third.?party)/i.test(file));
  if (files.length > 0) return files.sort().map((file) => readFileSync(join(folder, file), "utf8"));
  const readme = readFileSync(join(folder, "README.md"), "utf8");
  const own = /## Licensing\n([\s\S]+?)(\n## |$)/.exec(readme)?.[1];
  const ids = [...licence.replace(/[()]/g, "").split(/ (?:AND|OR) /), ...(FURTHER[name] ?? [])];
  const holder = HOLDERS[name];
  if (holder === undefined) {
    throw new Error(message("write the notices", `${name} has no file of its licence, and nobody holds its rights`));
  }
  return [[holder, ...(own === undefined ? [] : [own.trim()])].join("\n\n"), ...ids.map(spdx)];
}

/** Text that stands for itself in a page. */
function fenced(text: string): string {
  return `\`\`\`\`text\n${text.replaceAll("\r\n", "\n").trim()}\n\`\`\`\``;
}

/** The page. */
function notices(parts: readonly Part[], spdx: (id: string) => string): string {
  const texts = new Map<string, string[]>();
  for (const part of parts) {
    for (const text of textsOf(part, spdx)) texts.set(text, [...(texts.get(text) ?? []), part.name]);
  }
  const sections = [...texts].map(([text, names]) => `### ${[...new Set(names)].join(", ")}\n\n${fenced(text)}`);
  return `# Third-party notices

\`scripts/notices.ts\` writes this page; bun-tensorrt itself is under Apache-2.0 (LICENSE).

## In the package

| what | from | licence |
| --- | --- | --- |
${INSIDE.map((row) => `| ${row.join(" | ")} |`).join("\n")}

Models, sample images and NVIDIA's libraries are not in it. They are fetched when you ask for them, with their licences shown:
\`bun-tensorrt models\`, \`bun-tensorrt install\`.

## Installed with it

A program that \`bun build --compile\` made with \`import "bun-tensorrt/embed"\` holds these as well, each in its build for the
program's platform, and Bun itself (MIT; what it links is listed in its own LICENSE.md): give this page along with it.

| package | version | licence |
| --- | --- | --- |
${parts.map(rowOf).join("\n")}

## Texts

${sections.join("\n\n")}
`;
}

if (import.meta.main) {
  const folder = toolFolder(TEXTS, (made) => {
    run([process.execPath, "add", TEXTS], made);
  });
  const spdx = (id: string): string => {
    const path = join(folder, "node_modules/spdx-license-list/licenses", `${id}.json`);
    return (JSON.parse(readFileSync(path, "utf8")) as { readonly licenseText: string }).licenseText;
  };
  await keep(NOTICES, notices(installedParts(), spdx));
  endCheck("bun run notices");
}
