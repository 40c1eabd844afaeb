/** @module Files of the catalogue for tests: fetched once, and missing where there is no network. */

import { findEntry } from "../../src/catalogue/catalogue.ts";
import { pull } from "../../src/catalogue/pull.ts";
import { CatalogueError } from "../../src/core/errors.ts";

/**
 * Path of a catalogue file.
 *
 * @returns `undefined` if it is not here and cannot be fetched: for `test.skipIf`
 */
export async function pulled(name: string): Promise<string | undefined> {
  try {
    return await pull(findEntry(name)!);
  } catch (error) {
    if (error instanceof CatalogueError) return undefined;
    throw error;
  }
}
