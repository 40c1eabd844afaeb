/** @module Snippets: the TypeScript that documentation shows: in README.md and docs/, in `@example`s, and in examples/. */

import { readFileSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dir, "../..");

/** A program that documentation shows. */
export interface Snippet {
  /** `docs/video.md:31`. */
  readonly where: string;
  readonly code: string;
}

const FENCE = /^[ *]*```(?:ts|typescript)\n([\s\S]*?)^[ *]*```$/gm;

/** Fenced programs of a text. @param from where in the file the text begins */
function fenced(path: string, file: string, text: string = file, from = 0): Snippet[] {
  return [...text.matchAll(FENCE)].map(({ 1: code = "", index }) => ({
    where: `${path}:${file.slice(0, from + index).split("\n").length}`,
    code: code.replaceAll(/^ *\* ?/gm, ""),
  }));
}

function filesOf(pattern: string): (readonly [path: string, text: string])[] {
  const paths = [...new Bun.Glob(pattern).scanSync(root)].sort();
  return paths.map((path) => [path, readFileSync(join(root, path), "utf8")] as const);
}

/** Programs in README.md and docs/. */
export function documentSnippets(): Snippet[] {
  return [...filesOf("README.md"), ...filesOf("docs/*.md")].flatMap(([path, text]) => fenced(path, text));
}

/** Programs in the docstrings of src/: each `@example` is one. @throws {Error} If one is not fenced */
export function docstringSnippets(): Snippet[] {
  return filesOf("src/**/*.ts").flatMap(([path, text]) =>
    [...text.matchAll(/@example\b(?:(?!@example|\*\/)[\s\S])*/g)].map(({ 0: example, index }) => {
      const [snippet] = fenced(path, text, example, index);
      if (snippet === undefined) throw new Error(`Cannot read an @example of ${path}: it has no \`\`\`ts`);
      return snippet;
    }),
  );
}

/** The programs in examples/. */
export function exampleSnippets(): Snippet[] {
  return filesOf("examples/**/*.ts").map(([where, code]) => ({ where, code }));
}
