/**
 * @module ElfFile: whether a shared library is whole and for this processor. Opening one that is cut short kills the
 * process (SIGBUS), and of one for another processor the dynamic linker says that there is no such file.
 */

import { closeSync, fstatSync, openSync, readSync } from "node:fs";

const MAGIC = 0x464c457f;
/** e_ident's EI_CLASS and EI_DATA for 64-bit little-endian, the only kind this package opens. */
const CLASS_64_LITTLE = 0x0102;
const HEADER_BYTES = 64;
/** e_machine by the name that Bun gives a processor. */
const MACHINES: ReadonlyMap<number, string> = new Map([
  [62, "x64"],
  [183, "arm64"],
]);
/** Type of a program header whose bytes are mapped into memory. */
const PT_LOAD = 1;

/**
 * Look for what is wrong with a library before it is opened: an end that is not there, as after a download that broke
 * off, or another processor.
 *
 * @param path of a file
 * @returns what is wrong, one clause; `undefined` for a good library and for whatever is no 64-bit ELF file, which the
 * dynamic linker judges itself
 * @see https://refspecs.linuxfoundation.org/elf/gabi4+/ch5.pheader.html
 */
export function elfFault(path: string): string | undefined {
  const descriptor = openSync(path, "r");
  try {
    const { size } = fstatSync(descriptor);
    const header = Buffer.alloc(HEADER_BYTES);
    if (readSync(descriptor, header, 0, HEADER_BYTES, 0) < HEADER_BYTES) return undefined;
    if (header.readUInt32LE(0) !== MAGIC || header.readUInt16LE(4) !== CLASS_64_LITTLE) return undefined;
    const machine = MACHINES.get(header.readUInt16LE(18)) ?? "another processor";
    if (machine !== process.arch) return `it is made for ${machine}, and this is ${process.arch}`;
    const needed = endOfSegments(descriptor, header);
    return needed > size ? `it is cut short: it must have ${needed} bytes and has ${size}` : undefined;
  } finally {
    closeSync(descriptor);
  }
}

/** Where the last byte lies that the dynamic linker maps, or that tells it what to map. */
function endOfSegments(descriptor: number, header: Buffer): number {
  const start = Number(header.readBigUInt64LE(32));
  const entryBytes = header.readUInt16LE(54);
  const count = header.readUInt16LE(56);
  const table = Buffer.alloc(entryBytes * count);
  let end = start + table.length;
  if (readSync(descriptor, table, 0, table.length, start) < table.length) return end;
  for (let at = 0; at + 40 <= table.length; at += entryBytes) {
    if (table.readUInt32LE(at) !== PT_LOAD) continue;
    end = Math.max(end, Number(table.readBigUInt64LE(at + 8)) + Number(table.readBigUInt64LE(at + 32)));
  }
  return end;
}
