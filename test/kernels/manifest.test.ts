import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import manifest from "../../ptx/manifest.json";
import { KernelArguments, layOut, type Parameter } from "../../src/cuda/kernel.ts";

const root = join(import.meta.dir, "../..");

function parametersOf(rows: readonly (string | number)[][]): Parameter[] {
  return rows.map(([name, type, offsetBytes, byteLength]) => ({ name, type, offsetBytes, byteLength }) as Parameter);
}

function sha256(path: string): string {
  return createHash("sha256")
    .update(readFileSync(join(root, path)))
    .digest("hex");
}

test("the manifest lists every source, and ptx/ holds nothing else", () => {
  const sources = readdirSync(join(root, "kernels")).filter((name) => name.endsWith(".cu"));
  expect(Object.values(manifest.modules).map(({ source }) => source.slice("kernels/".length))).toEqual(sources.sort());
  const files = Object.keys(manifest.modules).map((module) => `${module}.ptx`);
  expect(readdirSync(join(root, "ptx")).sort()).toEqual(["manifest.json", ...files].sort());
});

describe.each(Object.entries(manifest.modules))("%s", (module, entry) => {
  const ptx = readFileSync(join(root, "ptx", `${module}.ptx`), "utf8");

  test("was compiled from the sources as they are: else `bun run kernels`", () => {
    expect(entry.sha256).toBe(sha256(entry.source));
    for (const [header, hash] of Object.entries(entry.headers)) expect(hash, header).toBe(sha256(header));
    expect(entry.ptxSha256).toBe(sha256(`ptx/${module}.ptx`));
  });

  test("can be loaded by drivers from 535 on and GPUs from Turing on", () => {
    expect(Number(/^\.version (\S+)$/m.exec(ptx)?.[1])).toBeLessThanOrEqual(8.2);
    expect(ptx).toMatch(/^\.target sm_75$/m);
  });

  test("has entries whose names are snake_case and whose parameters can be packed", () => {
    const names = [...ptx.matchAll(/\.visible \.entry (\w+)\(/g)].map(([, name]) => name);
    expect(Object.keys(entry.entries)).toEqual(names.sort() as string[]);
    for (const [name, rows] of Object.entries(entry.entries)) {
      expect(name).toMatch(/^[a-z][a-z0-9]*(_[a-z0-9]+)*$/);
      const parameters = parametersOf(rows);
      expect(parameters).toEqual(layOut(parameters.map((parameter) => [parameter.name, parameter.type])));
      expect(() => new KernelArguments(parameters)).not.toThrow();
    }
  });
});
