/**
 * @module Compiles `kernels/*.cu` to `ptx/*.ptx` and writes `ptx/manifest.json`; `--check` compiles anew and fails if
 * what is committed differs.
 */

import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { message } from "../src/core/errors.ts";
import { layOut, type Parameter, type ParameterType } from "../src/cuda/kernel.ts";
import { Nvrtc } from "../src/ffi/nvrtc.ts";
import { installWheel, NVRTC_WHEEL } from "./cuda-wheels.ts";
import { endCheck, keep, root } from "./generated.ts";

/**
 * Turing is the oldest GPU TensorRT 10 runs on. Every float operation is rounded on its own, as in JS: `--fmad=false`
 * and the defaults for division, square root and denormals give the CPU's bits.
 */
const FLAGS: readonly string[] = ["--gpu-architecture=compute_75", "--std=c++17", "--fmad=false"];
const ARCHITECTURE = "compute_75";
/** What drivers from 535 on read. */
const NEWEST_ISA = 8.2;

interface Entry {
  readonly name: string;
  readonly parameters: readonly Parameter[];
}

const PTX_TYPES: Readonly<Record<string, number>> = { u64: 8, u32: 4, f32: 4 };

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

function fail(action: string, found: string): never {
  throw new Error(message(action, found));
}

/** The type of a C parameter, written `const float *__restrict__ table`. */
function parameterType(declaration: string): ParameterType {
  if (declaration.includes("*")) return "pointer";
  if (/^(const )?int /.test(declaration)) return "i32";
  if (/^(const )?(u32|unsigned int) /.test(declaration)) return "u32";
  if (/^(const )?float /.test(declaration)) return "f32";
  return fail("read a kernel's parameters", `it must be a pointer, int, u32 or float: ${declaration}`);
}

/** Entry points of a source: names and types of the parameters, which PTX does not keep. */
function readSource(source: string): Map<string, [name: string, type: ParameterType][]> {
  const entries = new Map<string, [string, ParameterType][]>();
  const pattern = /extern "C" __global__ void (?:__launch_bounds__\([^)]*\) )?(\w+)\(([^)]*)\)/g;
  for (const [, name = "", list = ""] of source.matchAll(pattern)) {
    const declarations = list.split(",").map((text) => text.trim().replaceAll(/\s+/g, " "));
    entries.set(
      name,
      declarations.map((text) => [/\w+$/.exec(text)?.[0] ?? "", parameterType(text)]),
    );
  }
  return entries;
}

/** The entry points of the PTX, whose parameters must be those of the source, laid out as we lay them out. */
function readEntries(ptx: string, source: string): Entry[] {
  const declared = readSource(source);
  const found: Entry[] = [];
  for (const [, name = "", list = ""] of ptx.matchAll(/\.visible \.entry (\w+)\(([^)]*)\)/g)) {
    const widths = [...list.matchAll(/\.param \.(\w+)/g)].map(([, type = ""]) => PTX_TYPES[type]);
    const parameters = layOut(declared.get(name) ?? fail("describe a kernel", `the source does not have ${name}`));
    if (widths.length !== parameters.length || parameters.some(({ byteLength }, at) => byteLength !== widths[at])) {
      fail(`describe ${name}`, `its parameters differ between source and PTX: ${list.trim()}`);
    }
    found.push({ name, parameters });
  }
  if (found.length !== declared.size)
    fail("describe the kernels", `${declared.size - found.length} are not in the PTX`);
  return found.sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** NVRTC puts variables of its own header into every module; nothing refers to them. */
function withoutUnused(ptx: string): string {
  const lines = ptx.split("\n");
  const kept = lines.filter((line) => !/^\.global .*\b_ZN\w*2nv6target\w*/.test(line));
  const text = `${kept.join("\n").trim()}\n`;
  return text.includes("2nv6target") ? fail("strip the PTX", "something refers to NVRTC's variables") : text;
}

/** Headers that a text includes, and those that they include. */
function includedBy(text: string, headers: Readonly<Record<string, string>>): string[] {
  const direct = Object.keys(headers).filter((header) => text.includes(`#include "${header}"`));
  const nested = direct.flatMap((header) => includedBy(headers[header]!, headers));
  return [...new Set([...direct, ...nested])].sort();
}

/** Name, type, offset and size in bytes of each parameter. */
function rows(parameters: readonly Parameter[]): (readonly [string, string, number, number])[] {
  return parameters.map(({ name, type, offsetBytes, byteLength }) => [name, type, offsetBytes, byteLength]);
}

/** As Biome writes it, so that `biome check` is content with it. */
function formatted(name: string, text: string): string {
  const command = [process.execPath, "x", "biome", "format", `--stdin-file-path=${name}`];
  const child = Bun.spawnSync(command, { cwd: root, stdin: Buffer.from(text), stderr: "inherit" });
  return child.exitCode === 0 ? child.stdout.toString() : fail(`format ${name}`, `Biome exited with ${child.exitCode}`);
}

function compile(): Map<string, string> {
  const compiler = Nvrtc.open(installWheel(NVRTC_WHEEL));
  const [major, minor] = NVRTC_WHEEL.version.split(".");
  if (compiler.version !== `${major}.${minor}`) {
    fail("compile the kernels", `NVRTC must be ${major}.${minor}: ${compiler.version} at ${compiler.path}`);
  }
  const names = readdirSync(join(root, "kernels")).sort();
  const texts = new Map(names.map((name) => [name, readFileSync(join(root, "kernels", name), "utf8")]));
  const headers = Object.fromEntries([...texts].filter(([name]) => name.endsWith(".cuh")));
  const files = new Map<string, string>();
  const modules: Record<string, unknown> = {};
  for (const [name, source] of texts) {
    if (!name.endsWith(".cu")) continue;
    const { ptx: compiled, log } = compiler.compile(source, { name, headers, flags: FLAGS });
    if (log !== "") console.log(log);
    const ptx = withoutUnused(compiled);
    const isa = Number(/^\.version (\S+)/m.exec(ptx)?.[1]);
    if (!(isa <= NEWEST_ISA)) fail(`use ${name}`, `its PTX must be of ISA ${NEWEST_ISA} at most: ${isa}`);
    const module = name.slice(0, -".cu".length);
    files.set(`${module}.ptx`, ptx);
    modules[module] = {
      source: `kernels/${name}`,
      sha256: sha256(source),
      headers: Object.fromEntries(
        includedBy(source, headers).map((header) => [`kernels/${header}`, sha256(headers[header]!)]),
      ),
      ptxSha256: sha256(ptx),
      entries: Object.fromEntries(
        readEntries(ptx, source).map(({ name: entry, parameters }) => [entry, rows(parameters)]),
      ),
    };
  }
  const manifest = {
    compiler: `NVRTC ${NVRTC_WHEEL.version}`,
    architecture: ARCHITECTURE,
    isa: NEWEST_ISA,
    flags: FLAGS,
    modules,
  };
  files.set("manifest.json", formatted("manifest.json", JSON.stringify(manifest, null, 2)));
  return files;
}

for (const [name, text] of compile()) await keep(`ptx/${name}`, text);
endCheck("run `bun run kernels` and commit ptx");
