/** @module PackedApp: an app of its own that installs the packed package, for a machine of any kind, and runs the README's first program. */

import { expect } from "bun:test";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findEntry } from "../../src/catalogue/catalogue.ts";
import { pull } from "../../src/catalogue/pull.ts";
import { Detector } from "../../src/index.ts";
import { documentSnippets } from "./snippets.ts";

const root = join(import.meta.dir, "../..");
/** Boxes that stand apart, so that their order is the same everywhere. */
const EMBEDDED_OPTIONS = { backend: "cpu", threshold: 0.3 } as const;

/** Run a command to its end, which must be a good one. @returns what it printed */
export function run(command: readonly string[], cwd: string, env: Readonly<Record<string, string>> = {}): string {
  const child = Bun.spawnSync([...command], { cwd, env: { ...process.env, ...env }, stderr: "pipe" });
  expect([child.exitCode, child.exitCode === 0 ? "" : `${child.stdout}${child.stderr}`]).toEqual([0, ""]);
  return child.stdout.toString();
}

/** The first program of the README with another model, and what it found as one line of JSON. @param model a name or a path there */
export function readmeProgram(model: string): string {
  const { code } = documentSnippets().find(({ where }) => where.startsWith("README.md"))!;
  return `${code.replace('"yolo11n"', JSON.stringify(model))}\nconsole.log("found " + JSON.stringify(result.detections));\n`;
}

/** A program that is complete by itself once it is compiled, but for the image. @param model beside it */
export function embeddedProgram(model: string): string {
  return `import "bun-tensorrt/embed";
import { resolve } from "node:path";
import { Detector } from "bun-tensorrt";
import model from ${JSON.stringify(`./${model}`)} with { type: "file" };
await using detector = await Detector.load(resolve(import.meta.dir, model), ${JSON.stringify(EMBEDDED_OPTIONS)});
const result = await detector.detect("beach.jpg");
console.log("found " + JSON.stringify(result.detections));
`;
}

/** What {@linkcode embeddedProgram} finds on this machine. */
export async function foundHere(model: string, image: string): Promise<unknown[]> {
  await using detector = await Detector.load(model, EMBEDDED_OPTIONS);
  const { detections } = await detector.detect(image);
  return JSON.parse(JSON.stringify(detections)) as unknown[];
}

/** What such a program has found. */
export function foundIn(output: string): unknown[] {
  return JSON.parse(/^found (.*)$/m.exec(output)![1]!) as unknown[];
}

/**
 * Make the app, once: `app.ts` is the program, `beach.jpg` the image that it names.
 *
 * @param app      its folder
 * @param platform whose packages it gets, as `bun add` calls it
 */
export async function makePackedApp(
  app: string,
  program: string,
  platform: { readonly cpu: string; readonly os: string; readonly linker?: "isolated" },
): Promise<void> {
  if (existsSync(app)) return;
  const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-packed-"));
  try {
    // Types are not run.
    run([process.execPath, "pm", "pack", "--ignore-scripts", "--destination", folder], root);
    const tarball = join(folder, readdirSync(folder).find((name) => name.endsWith(".tgz"))!);
    mkdirSync(app);
    writeFileSync(join(app, "package.json"), '{ "name": "app", "private": true, "type": "module" }\n');
    writeFileSync(join(app, "app.ts"), program);
    copyFileSync(await pull(findEntry("sample1")!), join(app, "beach.jpg"));
    const { cpu, os, linker = "hoisted" } = platform;
    run([process.execPath, "add", tarball, `--cpu=${cpu}`, `--os=${os}`, `--linker=${linker}`], app);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
