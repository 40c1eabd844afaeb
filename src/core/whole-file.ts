/** @module WholeFile: writing a file so that no reader ever sees a part of it. */

import { renameSync, rmSync } from "node:fs";

/**
 * Write a file beside its place and move it there. Several writers may be at it: the last one stays, whole.
 *
 * @throws what the system says if it cannot be written; nothing is left behind then
 */
export async function writeWhole(path: string, content: string | Uint8Array): Promise<void> {
  const temporary = `${path}.${crypto.randomUUID()}.tmp`;
  try {
    await Bun.write(temporary, content);
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}
