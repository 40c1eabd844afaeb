import { expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { physicalCores } from "../../src/onnxruntime/session-options.ts";
import { fileFolder } from "../support/folder.ts";

const inFolder = fileFolder("cores");

/** A folder like Linux' list of processors, one text of siblings each. */
function processors(name: string, siblings: readonly string[]): string {
  const path = inFolder(name);
  for (const [index, text] of siblings.entries()) {
    mkdirSync(join(path, `cpu${index}/topology`), { recursive: true });
    writeFileSync(join(path, `cpu${index}/topology/thread_siblings_list`), `${text}\n`);
  }
  mkdirSync(join(path, "cpufreq"), { recursive: true });
  writeFileSync(join(path, "online"), `0-${siblings.length - 1}\n`);
  return path;
}

/** A control group's limit. */
function quota(text: string): string {
  const path = inFolder(`quota-${text.replace(" ", "-")}`);
  writeFileSync(path, `${text}\n`);
  return path;
}

test("physicalCores() is at least one, and at most what the process may use", () => {
  expect(physicalCores()).toBeGreaterThanOrEqual(1);
  expect(physicalCores()).toBeLessThanOrEqual(availableParallelism());
  expect(physicalCores("/nowhere", "/nowhere")).toBe(availableParallelism());
});

test.skipIf(process.platform !== "linux")("physicalCores() counts the two threads of a core once", () => {
  expect(physicalCores(processors("smt", ["0-1", "0-1"]), "/nowhere")).toBe(1);
});

test("physicalCores() keeps to a container's limit, rounded down, never below one", () => {
  expect(physicalCores("/nowhere", quota("100000 100000"))).toBe(1);
  expect(physicalCores("/nowhere", quota("50000 100000"))).toBe(1);
  expect(physicalCores("/nowhere", quota("max 100000"))).toBe(availableParallelism());
  expect(physicalCores("/nowhere", quota("6400000 100000"))).toBe(availableParallelism());
});
