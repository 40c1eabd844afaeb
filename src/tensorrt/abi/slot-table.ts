/** @module SlotTable: which vtable slot a method has in one major version, and its resolution for one release. */

import { METHOD_NAMES, type MethodName } from "../../ffi/shim.ts";

/** A slot, or a slot and the minor version that brought the method. */
export type Slot = number | readonly [slot: number, sinceMinor: number];

/** The slots of one major version. A method without an entry does not exist in it. */
export interface SlotTable {
  /** Object layout of ILogger and IProfiler: unversioned in 10, versioned since 11. */
  readonly layout: 10 | 11;
  /** True where making a builder without a CUDA device ends the process. */
  readonly needsDevice: boolean;
  readonly slots: Readonly<Partial<Record<MethodName, Slot>>>;
  /** Releases, as `major.minor.patch`, that differ from the rest of their major version. */
  readonly exceptions?: Readonly<Record<string, Readonly<Partial<Record<MethodName, number>>>>>;
}

/** Stands for a missing method in {@linkcode resolveSlots}. */
export const NO_SLOT = -1;

/**
 * The slots of one release, in the shim's order.
 *
 * @param release `10.6.0`
 * @returns one entry a method, {@linkcode NO_SLOT} where the release has not (or not yet) got it
 */
export function resolveSlots(table: SlotTable, release: string): Int16Array<ArrayBuffer> {
  const minor = Number(release.split(".")[1]);
  const exceptions = table.exceptions?.[release];
  const resolved = new Int16Array(new ArrayBuffer(METHOD_NAMES.length * Int16Array.BYTES_PER_ELEMENT));
  METHOD_NAMES.forEach((method, id) => {
    const entry = exceptions?.[method] ?? table.slots[method];
    const [slot, since] = typeof entry === "number" ? [entry, 0] : (entry ?? [NO_SLOT, 0]);
    resolved[id] = minor >= since ? slot : NO_SLOT;
  });
  return resolved;
}

/** The minor version that brought a method, 0 for the first; `undefined` where no release of the table has it. */
export function sinceMinor(table: SlotTable, method: MethodName): number | undefined {
  const entry = table.slots[method];
  if (entry === undefined) return undefined;
  return typeof entry === "number" ? 0 : entry[1];
}
