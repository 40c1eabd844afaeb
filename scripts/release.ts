/**
 * @module Release: `bun run release` checks that the tree may be published, dates the changelog, and prints the command that
 * publishes; it never does so itself. `--dry-run` only checks, and changes nothing.
 */

import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import manifest from "../package.json" with { type: "json" };
import { root } from "./generated.ts";

/** Linters of packages, run by `bunx`: https://publint.dev and https://arethetypeswrong.github.io. */
const PUBLINT = "publint@0.3.25";
/** Bun reads `exports` and ES modules: what older resolutions of Node do counts for nothing. */
const ATTW = ["@arethetypeswrong/cli@0.18.5", "--profile", "esm-only", "--quiet"] as const;
/** Unpacked. */
const MOST_BYTES = 12 * 1024 * 1024;

/** What the tarball may hold: every file fits one of these, and each of these has a file. */
const CONTENTS: readonly RegExp[] = [
  /^(CHANGELOG|CONTRIBUTING|README|THIRD-PARTY-NOTICES)\.md$/,
  /^LICENSE$/,
  /^package\.json$/,
  /^bench\/results\/[\w-]+\.md$/,
  /^bench\/results\/[\w-]+\/table\.txt$/,
  /^bench\/results\/[\w-]+\/figures\/[\w-]+\.svg$/,
  /^docs\/[\w-]+\.md$/,
  /^docs\/deployment\/(Dockerfile|bun-tensorrt\.service|workers\.yaml)$/,
  /^docs\/images\/[\w-]+\.(png|jpg|webp|svg)$/,
  /^examples\/(low-level\/)?[\w-]+\.(ts|tsx|html|cu|md)$/,
  /^native\/shim\.h$/,
  /^native\/prebuilt\/(linux-(x64|arm64)\/libbun_tensorrt_shim\.so|windows-x64\/bun_tensorrt_shim\.dll|darwin-arm64\/libbun_tensorrt_shim\.dylib)$/,
  /^proto\/bun-tensorrt\.proto$/,
  /^ptx\/[\w-]+\.ptx$/,
  /^ptx\/manifest\.json$/,
  /^src\/[\w/-]+\.(d\.)?ts$/,
  /^src\/tasks\/messages\.js$/,
  /^src\/serve\/[\w-]+\.(html|css|js|svg)$/,
  /^types\/[\w/-]+\.d\.ts$/,
];
/** Files without which the package is none. */
const NEEDED = ["LICENSE", "THIRD-PARTY-NOTICES.md", "src/index.ts", "src/cli/main.ts", "types/index.d.ts"];

/** What is wrong with a tarball's list of files. @param files without the folder `package/` */
export function contentFaults(files: readonly string[]): string[] {
  return [
    ...files.filter((file) => !CONTENTS.some((pattern) => pattern.test(file))).map((file) => `it holds ${file}`),
    ...NEEDED.filter((file) => !files.includes(file)).map((file) => `it lacks ${file}`),
  ];
}

/** The heading of the changelog's first version: `## 0.1.0 (unreleased)`, `## 0.1.0 (2026-11-30)`. */
const HEADING = /^## (\S+) \(([^)]*)\)$/m;
const SEMVER = /^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?$/;

/** What a changelog becomes when its version is released. */
export interface DatedChangelog {
  readonly text: string;
  /** Whether it was undated before. */
  readonly isChanged: boolean;
  readonly faults: readonly string[];
}

/** Date the changelog's first version. @param date as 2026-11-30 */
export function dateChangelog(text: string, version: string, date: string): DatedChangelog {
  const [heading, named, when] = HEADING.exec(text) ?? [];
  if (heading === undefined)
    return { text, isChanged: false, faults: ["CHANGELOG.md names no version: ## 1.2.3 (unreleased)"] };
  const faults: string[] = [];
  if (!SEMVER.test(version)) faults.push(`package.json has the version "${version}", which is not semver`);
  if (named !== version) faults.push(`CHANGELOG.md begins with ${named}, and package.json has ${version}`);
  const isChanged = when === "unreleased";
  if (!isChanged && !/^\d{4}-\d\d-\d\d$/.test(when!)) faults.push(`CHANGELOG.md dates ${named} "${when}"`);
  const start = text.indexOf(heading) + heading.length;
  const next = text.indexOf("\n## ", start);
  const lines = text.slice(start, next < 0 ? undefined : next).match(/^- /gm);
  if (lines === null) faults.push(`CHANGELOG.md says nothing of ${named}`);
  return { text: isChanged ? text.replace(heading, `## ${named} (${date})`) : text, isChanged, faults };
}

/** What `bun run ok` left behind. */
interface Gate {
  readonly commit: string;
  readonly isClean: boolean;
  readonly passed: number;
  readonly failed: number;
}

/** What speaks against releasing a commit by the gate's last run. */
export function gateFaults(gate: Gate | undefined, commit: string): string[] {
  if (gate === undefined) return ["the gate has not run here: bun run ok"];
  if (gate.commit !== commit || !gate.isClean) {
    const what = gate.isClean ? gate.commit.slice(0, 12) : "a tree with changes";
    return [`the gate last ran on ${what}, and this is ${commit.slice(0, 12)}: bun run ok`];
  }
  return gate.failed > 0 ? [`the gate's last run had ${gate.failed} failures: bun run ok`] : [];
}

/** Run a program in the repository. */
function run(...command: readonly string[]): { readonly code: number; readonly output: string } {
  const child = Bun.spawnSync([...command], { cwd: root, stdout: "pipe", stderr: "pipe" });
  return { code: child.exitCode, output: `${child.stdout}${child.stderr}`.trim() };
}

function failures(...command: readonly string[]): string[] {
  const { code, output } = run(...command);
  return code === 0 ? [] : [output.split("\n").slice(-20).join("\n    ")];
}

/** Pack, and look at what came of it. */
function packFaults(folder: string): { tarball: string; faults: string[] } {
  const packed = run(process.execPath, "pm", "pack", "--destination", folder);
  const name = readdirSync(folder).find((file) => file.endsWith(".tgz"));
  if (packed.code !== 0 || name === undefined) return { tarball: "", faults: [`it does not pack: ${packed.output}`] };
  const tarball = join(folder, name);
  const rows = run("tar", "tvzf", tarball).output.split("\n");
  const files = rows.map((row) => row.slice(row.indexOf(" package/") + " package/".length));
  const bytes = rows.reduce((sum, row) => sum + Number(row.split(/\s+/)[2]), 0);
  const faults = contentFaults(files);
  if (bytes > MOST_BYTES) faults.push(`it has ${bytes} bytes unpacked, more than ${MOST_BYTES}`);
  return { tarball, faults };
}

/** All checks, each with what it found. @returns whether the tree may be published */
function release(isDryRun: boolean): boolean {
  const commit = run("git", "rev-parse", "HEAD").output;
  const gatePath = join(root, ".cache/gate.json");
  const gate = existsSync(gatePath) ? (JSON.parse(readFileSync(gatePath, "utf8")) as Gate) : undefined;
  const changelogPath = join(root, "CHANGELOG.md");
  const today = new Date().toISOString().slice(0, 10);
  const dated = dateChangelog(readFileSync(changelogPath, "utf8"), manifest.version, today);
  const changes = run("git", "status", "--porcelain").output;
  const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-release-"));
  using owned = new DisposableStack();
  owned.defer(() => rmSync(folder, { recursive: true }));
  let isGood = true;
  const say = (what: string, faults: readonly string[]): void => {
    console.log(`${faults.length === 0 ? "ok    " : "FAULT "}  ${what}`);
    for (const fault of faults) console.log(`          ${fault}`);
    if (faults.length > 0) isGood = false;
  };
  say(`version ${manifest.version}, the changelog's first`, dated.faults);
  say("tree without changes", changes === "" ? [] : changes.split("\n"));
  say(`the gate's last run: ${gate?.passed ?? 0} passed`, gateFaults(gate, commit));
  const { tarball, faults } = packFaults(folder);
  say("contents of the tarball", faults);
  say(`declarations: ${PUBLINT}`, failures(process.execPath, "x", PUBLINT, "run", "--strict", tarball));
  say(`declarations: ${ATTW[0]}`, failures(process.execPath, "x", ...ATTW, tarball));
  say("THIRD-PARTY-NOTICES.md", failures(process.execPath, "scripts/notices.ts", "--check"));
  if (!isGood) return false;
  if (dated.isChanged && isDryRun) console.log(`\nCHANGELOG.md would say ${manifest.version} (${today}).`);
  if (dated.isChanged && !isDryRun) {
    writeFileSync(changelogPath, dated.text);
    console.log(`\nCHANGELOG.md says ${manifest.version} (${today}) now. Commit it, run the gate, and release again:`);
    console.log(`  git commit --all --message "release: ${manifest.version}" && bun run ok && bun run release`);
    return true;
  }
  if (!isDryRun) {
    console.log("\nEverything is as it must be. To publish:");
    console.log(`  git tag v${manifest.version} && git push origin v${manifest.version}`);
    console.log(`  bun publish --access public${manifest.version.includes("-") ? " --tag next" : ""}`);
  }
  return true;
}

if (import.meta.main) {
  const words = process.argv.slice(2);
  if (words.some((word) => word !== "--dry-run")) {
    console.error(`bun run release [--dry-run], got ${words.join(" ")}`);
    process.exit(2);
  }
  process.exitCode = release(words.length > 0) ? 0 : 1;
}
