/** @module LibraryFile: what is wrong with a shared library, seen from its file before it is opened. */

import { closeSync, fstatSync, openSync, readSync } from "node:fs";

/** "\x7fELF" */
const ELF_MAGIC = 0x464c457f;
/** e_ident's EI_CLASS and EI_DATA for 64-bit little-endian, the only kind this package opens. */
const CLASS_64_LITTLE = 0x0102;
/** "MZ" */
const DOS_MAGIC = 0x5a4d;
/** "PE\0\0" */
const PE_MAGIC = 0x4550;
const HEADER_BYTES = 64;

/** Processors by their number in the header, as Bun calls them: e_machine of ELF, Machine of PE. */
const MACHINES: Readonly<Record<"ELF" | "PE", ReadonlyMap<number, string>>> = {
  ELF: new Map([
    [62, "x64"],
    [183, "arm64"],
  ]),
  PE: new Map([
    [0x8664, "x64"],
    [0xaa64, "arm64"],
  ]),
};

/** What a header says. */
interface LibraryFile {
  readonly format: "ELF" | "PE";
  readonly machine: string;
  /** Bytes that the system maps, or that tell it what to map. */
  readonly byteLength: number;
}

/**
 * Look for what is wrong with a library before it is opened: an end that is not there, as after a download that broke
 * off, another system, or another processor.
 *
 * @param path of a file
 * @param on   the machine that is to open it
 * @returns what is wrong, one clause; `undefined` for a good library and for whatever is none of 64 bits of Linux or Windows,
 * which the dynamic linker judges itself
 * @see https://refspecs.linuxfoundation.org/elf/gabi4+/ch5.pheader.html
 * @see https://learn.microsoft.com/windows/win32/debug/pe-format
 */
export function libraryFault(
  path: string,
  on: { readonly platform: NodeJS.Platform; readonly arch: string } = process,
): string | undefined {
  const descriptor = openSync(path, "r");
  try {
    const header = Buffer.alloc(HEADER_BYTES);
    if (readSync(descriptor, header, 0, HEADER_BYTES, 0) < HEADER_BYTES) return undefined;
    const file = elfFile(descriptor, header) ?? peFile(descriptor, header);
    if (file === undefined) return undefined;
    const isForWindows = file.format === "PE";
    if (isForWindows !== (on.platform === "win32")) return `it is made for ${isForWindows ? "Windows" : "Linux"}`;
    if (file.machine !== on.arch) return `it is made for ${file.machine}, and this is ${on.arch}`;
    const { size } = fstatSync(descriptor);
    return file.byteLength > size
      ? `it is cut short: it must have ${file.byteLength} bytes and has ${size}`
      : undefined;
  } finally {
    closeSync(descriptor);
  }
}

/** Type of a program header whose bytes are mapped into memory. */
const PT_LOAD = 1;

function elfFile(descriptor: number, header: Buffer): LibraryFile | undefined {
  if (header.readUInt32LE(0) !== ELF_MAGIC || header.readUInt16LE(4) !== CLASS_64_LITTLE) return undefined;
  const machine = MACHINES.ELF.get(header.readUInt16LE(18)) ?? "another processor";
  const start = Number(header.readBigUInt64LE(32));
  const entryBytes = header.readUInt16LE(54);
  const table = Buffer.alloc(entryBytes * header.readUInt16LE(56));
  let byteLength = start + table.length;
  if (readSync(descriptor, table, 0, table.length, start) === table.length) {
    for (let at = 0; at + 40 <= table.length; at += entryBytes) {
      if (table.readUInt32LE(at) !== PT_LOAD) continue;
      byteLength = Math.max(byteLength, Number(table.readBigUInt64LE(at + 8)) + Number(table.readBigUInt64LE(at + 32)));
    }
  }
  return { format: "ELF", machine, byteLength };
}

/** Bytes of a COFF header with the signature in front of it, and of an entry of the table of sections. */
const COFF_BYTES = 24;
const SECTION_BYTES = 40;

function peFile(descriptor: number, header: Buffer): LibraryFile | undefined {
  if (header.readUInt16LE(0) !== DOS_MAGIC) return undefined;
  const start = header.readUInt32LE(60);
  const coff = Buffer.alloc(COFF_BYTES);
  if (readSync(descriptor, coff, 0, COFF_BYTES, start) < COFF_BYTES || coff.readUInt32LE(0) !== PE_MAGIC)
    return undefined;
  const machine = MACHINES.PE.get(coff.readUInt16LE(4)) ?? "another processor";
  const sections = start + COFF_BYTES + coff.readUInt16LE(20);
  const table = Buffer.alloc(coff.readUInt16LE(6) * SECTION_BYTES);
  let byteLength = sections + table.length;
  if (readSync(descriptor, table, 0, table.length, sections) === table.length) {
    for (let at = 0; at < table.length; at += SECTION_BYTES) {
      byteLength = Math.max(byteLength, table.readUInt32LE(at + 16) + table.readUInt32LE(at + 20));
    }
  }
  return { format: "PE", machine, byteLength };
}
