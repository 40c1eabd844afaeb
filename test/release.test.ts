import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import manifest from "../package.json" with { type: "json" };
import { installedParts, rowOf } from "../scripts/notices.ts";
import { contentFaults, dateChangelog, gateFaults } from "../scripts/release.ts";

const CHANGELOG = "# Changelog\n\nOne line.\n\n## 1.2.0 (unreleased)\n\n- New.\n\n## 1.1.0 (2026-01-02)\n\n- Old.\n";

test("dateChangelog() dates the first version, which must be package.json's and say something", () => {
  const dated = dateChangelog(CHANGELOG, "1.2.0", "2026-11-30");
  expect(dated).toEqual({
    text: CHANGELOG.replace("unreleased", "2026-11-30"),
    isChanged: true,
    faults: [],
  });
  expect(dateChangelog(dated.text, "1.2.0", "2026-12-01")).toEqual({ text: dated.text, isChanged: false, faults: [] });
  expect(dateChangelog(CHANGELOG, "1.3.0", "2026-11-30").faults).toEqual([
    "CHANGELOG.md begins with 1.2.0, and package.json has 1.3.0",
  ]);
  expect(dateChangelog(CHANGELOG.replaceAll("1.2.0", "1.2"), "1.2", "2026-11-30").faults).toEqual([
    'package.json has the version "1.2", which is not semver',
  ]);
  expect(dateChangelog(CHANGELOG.replace("- New.\n", ""), "1.2.0", "2026-11-30").faults).toEqual([
    "CHANGELOG.md says nothing of 1.2.0",
  ]);
  expect(dateChangelog(CHANGELOG.replace("unreleased", "soon"), "1.2.0", "x").faults).toEqual([
    'CHANGELOG.md dates 1.2.0 "soon"',
  ]);
  expect(dateChangelog("# Changelog\n", "1.2.0", "x").faults).toHaveLength(1);
});

test("this tree's changelog and version fit each other", () => {
  const changelog = readFileSync(join(import.meta.dir, "../CHANGELOG.md"), "utf8");
  expect(dateChangelog(changelog, manifest.version, "2026-11-30").faults).toEqual([]);
});

test("gateFaults() wants a run without failures on this very commit", () => {
  const gate = { commit: "a".repeat(40), isClean: true, passed: 9, failed: 0 };
  expect(gateFaults(gate, gate.commit)).toEqual([]);
  expect(gateFaults(undefined, gate.commit)).toEqual(["the gate has not run here: bun run ok"]);
  expect(gateFaults({ ...gate, failed: 2 }, gate.commit)).toEqual(["the gate's last run had 2 failures: bun run ok"]);
  expect(gateFaults(gate, "b".repeat(40))).toEqual([
    "the gate last ran on aaaaaaaaaaaa, and this is bbbbbbbbbbbb: bun run ok",
  ]);
  expect(gateFaults({ ...gate, isClean: false }, gate.commit)[0]).toContain("a tree with changes");
});

test("contentFaults() names what does not belong into a tarball, and what it lacks", () => {
  const needed = ["LICENSE", "THIRD-PARTY-NOTICES.md", "src/index.ts", "src/cli/main.ts", "types/index.d.ts"];
  expect(contentFaults(needed)).toEqual([]);
  expect(contentFaults([...needed.slice(1), ".npmrc", "src/secret.pem", "test/a.test.ts", "models/a.onnx"])).toEqual([
    "it holds .npmrc",
    "it holds src/secret.pem",
    "it holds test/a.test.ts",
    "it holds models/a.onnx",
    "it lacks LICENSE",
  ]);
});

test("THIRD-PARTY-NOTICES.md names every package that is installed with this one, at its version", () => {
  const notices = readFileSync(join(import.meta.dir, "../THIRD-PARTY-NOTICES.md"), "utf8");
  const parts = installedParts();
  expect(parts.length).toBeGreaterThan(10);
  expect(parts.map(rowOf).filter((row) => !notices.includes(row))).toEqual([]);
  expect(parts.filter(({ name }) => !new RegExp(`^### .*${RegExp.escape(name)}`, "m").test(notices))).toEqual([]);
});
