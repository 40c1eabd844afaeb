/** @module Folder: a folder of a test's own in the system's for temporary files, from its first use until it is removed. */

import { afterAll, afterEach } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A path in the folder; without parts its own. */
type FolderPath = (...parts: readonly string[]) => string;

function folderUntil(hook: typeof afterAll, name: string): FolderPath {
  let folder: string | undefined;
  hook(() => {
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
    folder = undefined;
  });
  return (...parts) => {
    folder ??= mkdtempSync(join(tmpdir(), `bun-tensorrt-${name}-`));
    return join(folder, ...parts);
  };
}

/** A folder that all tests of a file share. */
export function fileFolder(name: string): FolderPath {
  return folderUntil(afterAll, name);
}

/** A folder for each test of a file. */
export function testFolder(name: string): FolderPath {
  return folderUntil(afterEach, name);
}
