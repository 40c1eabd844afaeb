/** @module MakeZip: zip archives of every make, right ones and wrong ones. */

/** One file of an archive. */
export interface ZipFile {
  readonly name: string;
  readonly content: Uint8Array;
  /** Default: deflated. */
  readonly isStored?: boolean;
  /** Sizes and offset in 64-bit extra fields. */
  readonly isZip64?: boolean;
  /** Bytes of extra field in the local header, which the directory has not. */
  readonly localExtra?: number;
  /** General purpose flags; bit 3 adds a data descriptor behind the data. */
  readonly flags?: number;
  /** Replaces the method in the directory. */
  readonly method?: number;
}

/** How {@linkcode makeZip} ends the archive. */
export interface ZipOptions {
  readonly comment?: string;
  /** With the 64-bit end record. */
  readonly isZip64?: boolean;
}

const FULL_32 = 0xffffffff;

function bytesOf(fill: (view: DataView) => void, byteLength: number): Uint8Array {
  const bytes = new Uint8Array(byteLength);
  fill(new DataView(bytes.buffer));
  return bytes;
}

function join(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Buffer.concat(parts as Uint8Array[]));
}

function localHeader(file: ZipFile, name: Uint8Array, data: Uint8Array): Uint8Array {
  const extra = file.localExtra ?? 0;
  const fixed = bytesOf((view) => {
    view.setUint32(0, 0x04034b50, true);
    view.setUint16(4, 20, true);
    view.setUint16(6, file.flags ?? 0, true);
    view.setUint16(8, file.isStored ? 0 : 8, true);
    view.setUint32(14, Bun.hash.crc32(file.content), true);
    view.setUint32(18, data.length, true);
    view.setUint32(22, file.content.length, true);
    view.setUint16(26, name.length, true);
    view.setUint16(28, extra, true);
  }, 30);
  return join([fixed, name, new Uint8Array(extra)]);
}

function directoryEntry(file: ZipFile, name: Uint8Array, dataBytes: number, offset: number): Uint8Array {
  const is64 = file.isZip64 === true;
  const extra = is64
    ? bytesOf((view) => {
        view.setUint16(0, 1, true);
        view.setUint16(2, 24, true);
        view.setBigUint64(4, BigInt(file.content.length), true);
        view.setBigUint64(12, BigInt(dataBytes), true);
        view.setBigUint64(20, BigInt(offset), true);
      }, 28)
    : new Uint8Array(0);
  const fixed = bytesOf((view) => {
    view.setUint32(0, 0x02014b50, true);
    view.setUint16(8, file.flags ?? 0, true);
    view.setUint16(10, file.method ?? (file.isStored ? 0 : 8), true);
    view.setUint32(16, Bun.hash.crc32(file.content), true);
    view.setUint32(20, is64 ? FULL_32 : dataBytes, true);
    view.setUint32(24, is64 ? FULL_32 : file.content.length, true);
    view.setUint16(28, name.length, true);
    view.setUint16(30, extra.length, true);
    view.setUint32(42, is64 ? FULL_32 : offset, true);
  }, 46);
  return join([fixed, name, extra]);
}

/** Build an archive in memory. */
export function makeZip(files: readonly ZipFile[], options: ZipOptions = {}): Uint8Array<ArrayBuffer> {
  const parts: Uint8Array[] = [];
  const directory: Uint8Array[] = [];
  let offset = 0;
  const add = (part: Uint8Array): void => {
    parts.push(part);
    offset += part.length;
  };
  for (const file of files) {
    const name = new TextEncoder().encode(file.name);
    const data = file.isStored ? file.content : Bun.deflateSync(new Uint8Array(file.content));
    directory.push(directoryEntry(file, name, data.length, offset));
    add(localHeader(file, name, data));
    add(data);
    if (((file.flags ?? 0) & 8) !== 0) add(new Uint8Array(16).fill(0x77));
  }
  const start = offset;
  const bytes = join(directory);
  add(bytes);
  if (options.isZip64) {
    const record = offset;
    add(
      bytesOf((view) => {
        view.setUint32(0, 0x06064b50, true);
        view.setBigUint64(32, BigInt(files.length), true);
        view.setBigUint64(40, BigInt(bytes.length), true);
        view.setBigUint64(48, BigInt(start), true);
      }, 56),
    );
    add(
      bytesOf((view) => {
        view.setUint32(0, 0x07064b50, true);
        view.setBigUint64(8, BigInt(record), true);
      }, 20),
    );
  }
  const comment = new TextEncoder().encode(options.comment ?? "");
  add(
    bytesOf((view) => {
      view.setUint32(0, 0x06054b50, true);
      view.setUint16(10, options.isZip64 ? 0xffff : files.length, true);
      view.setUint32(12, options.isZip64 ? FULL_32 : bytes.length, true);
      view.setUint32(16, options.isZip64 ? FULL_32 : start, true);
      view.setUint16(20, comment.length, true);
    }, 22),
  );
  add(comment);
  return join(parts);
}
