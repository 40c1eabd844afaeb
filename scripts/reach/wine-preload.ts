/**
 * @module WinePreload: for tests under Wine before version 9, which refuses the call that Bun deletes folders by (EFAULT): they are
 * deleted entry by entry.
 */

import { mock } from "bun:test";
import * as fs from "node:fs";
import { join } from "node:path";

const { rmSync } = fs;

function removeAll(path: string): void {
  if (!fs.lstatSync(path).isDirectory()) {
    fs.unlinkSync(path);
    return;
  }
  for (const name of fs.readdirSync(path)) removeAll(join(path, name));
  fs.rmdirSync(path);
}

mock.module("node:fs", () => ({
  ...fs,
  rmSync(path: string, options?: fs.RmOptions): void {
    try {
      rmSync(path, options);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EFAULT" || options?.recursive !== true) throw error;
      removeAll(path);
    }
  },
}));
