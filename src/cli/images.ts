/** @module Images: the files that the operands of `detect` and `transform` stand for, and the names of what is made from them. */

import { closeSync, openSync, readdirSync, readSync } from "node:fs";
import { basename, dirname, extname, join, relative, resolve, sep } from "node:path";
import { BunTensorRtError, message } from "../core/errors.ts";
import { printable, redact } from "../core/shown.ts";
import { missingFile, statsOf } from "../core/stats-of.ts";
import { formatDuration, plural } from "../core/units.ts";
import { systemReason } from "../core/whole-file.ts";
import { IMAGE_EXTENSIONS, isImageName } from "../image/image-kind.ts";
import { isAddress } from "../image/source.ts";
import { isCamera, isNetworkAddress } from "../video/address.ts";
import type { Terminal } from "./terminal.ts";

/** A name with another extension. @param extension with the dot */
export function withExtension(name: string, extension: string): string {
  return name.slice(0, name.length - extname(name).length) + extension;
}

/** True for a folder, whatever it is called: one that is there, or that ends in a slash. */
export function isFolder(path: string): boolean {
  return path.endsWith("/") || statsOf(path)?.isDirectory() === true;
}

/** The last part of a path or of an address, without the password of one that is put together wrongly. */
function ownName(file: string): string {
  if (!isAddress(file)) return basename(file);
  const address = redact(file);
  return basename(URL.parse(address)?.pathname ?? address);
}

/** `street` of `photos/street.jpg`; `stdin` of `-`, as names that begin with a dash are taken for flags. */
export function fileStem(file: string): string {
  if (file === "-") return "stdin";
  const name = ownName(file);
  return name.replace(/(?<=.)\.[^.]*$/, "") || "image";
}

function byName(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}

/** True for what is known to be no file: a pipe, a device, a folder. */
function isNoFile(path: string): boolean {
  try {
    // A link that leads nowhere is told of like any image that cannot be read.
    return statsOf(path)?.isFile() === false;
  } catch {
    return false; // what cannot be looked at is told of as well, when it is read
  }
}

function inFolder(folder: string, action: string): string[] {
  const files = readdirSync(folder)
    .filter(isImageName)
    .map((name) => asPath(join(folder, name)))
    // A pipe that is only met in a folder would be waited for without end.
    .filter((path) => !isNoFile(path))
    .sort(byName);
  if (files.length > 0) return files;
  const hint = `an image ends in ${IMAGE_EXTENSIONS.join(", ")}; for folders below it pass '${join(folder, "**")}'`;
  throw new BunTensorRtError(message(`${action} the folder ${JSON.stringify(folder)}`, "it holds no image", hint));
}

function byPattern(pattern: string, action: string): string[] {
  // Bun takes no link for a file. Links to folders are not followed, as they may lead in circles.
  const names = new Bun.Glob(pattern).scanSync({ dot: false, onlyFiles: false });
  const files = [...names]
    .filter((name) => isImageName(name) && !isNoFile(name))
    .map(asPath)
    .sort(byName);
  if (files.length > 0) return files;
  const isPattern = /[*?[\]{}]/.test(pattern);
  const { found, hint } = missingFile(pattern);
  const rule = isPattern ? "no image fits the pattern" : found.replace(/file$/, "file or folder");
  throw new BunTensorRtError(message(`${action} ${JSON.stringify(pattern)}`, rule, hint));
}

/** True for what may be gone, or another image, when it is read again: an address, and a pipe. */
export function isReadOnce(file: string): boolean {
  return isAddress(file) || isNoFile(file);
}

/** The path of a file whose name could be taken for an address, so that it cannot: `./http:a.jpg`. */
export function asPath(file: string): string {
  return isAddress(file) ? `./${file}` : file;
}

/** What is there is a path, whatever it looks like; an address stays one. */
export function localOperand(operand: string): string {
  try {
    return isAddress(operand) && statsOf(operand) !== undefined ? asPath(operand) : operand;
  } catch {
    return operand; // too long for a path, such as addresses may be
  }
}

function expand(given: string, action: string): string[] {
  const operand = localOperand(given);
  if (isAddress(operand)) return [operand];
  const stats = statsOf(operand);
  if (stats === undefined) return byPattern(operand, action);
  return stats.isDirectory() ? inFolder(operand, action) : [operand];
}

/** @throws {BunTensorRtError} If the operand stands for no file, or the system does not let one look */
function expandReadable(operand: string, action: string): string[] {
  try {
    return expand(operand, action);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === undefined) throw cause;
    const found = `it cannot be read: ${systemReason(cause as Error)}`;
    const hint = "check the path and its permissions";
    throw new BunTensorRtError(message(`${action} ${JSON.stringify(operand)}`, found, hint), { cause });
  }
}

/**
 * Expand operands: a file or an http address stands for itself, a folder for the images in it (not below it), anything
 * else is a pattern. Sorted by name within each operand; a file that is named twice is taken once.
 *
 * @param action     for messages, before the operand
 * @param complaints are told of operands that stand for no file, where others do
 * @throws {BunTensorRtError} If no operand stands for a file: that of the last one
 */
export function expandImages(operands: readonly string[], complaints: Complaints, action = "detect in"): string[] {
  const files = new Map<string, string>();
  const faults: Error[] = [];
  for (const operand of operands) {
    try {
      for (const file of expandReadable(operand, action)) {
        const key = isAddress(file) ? file : resolve(file);
        if (!files.has(key)) files.set(key, file);
      }
    } catch (error) {
      if (!(error instanceof BunTensorRtError)) throw error;
      faults.push(error);
    }
  }
  const last = files.size === 0 ? faults.pop() : undefined;
  for (const fault of faults) complaints.tell(fault);
  if (last !== undefined) throw last;
  return [...files.values()];
}

/** The deepest folder all files lie in. */
function commonFolder(files: readonly string[]): string {
  let parts = dirname(resolve(files[0] ?? ".")).split(sep);
  for (const file of files) {
    const other = dirname(resolve(file)).split(sep);
    const differs = parts.findIndex((part, at) => part !== other[at]);
    if (differs >= 0) parts = parts.slice(0, differs);
  }
  return parts.join(sep) || sep;
}

/**
 * A name for what is made from each file: its own, or its path below the folder they share where two files have the
 * same name.
 *
 * @param files  at least one
 * @param rename from a file's name to the name wanted, such as another extension
 * @returns paths relative to the folder they go into, one a file
 * @throws {BunTensorRtError} If two files still get the same name
 */
export function outputNames(files: readonly string[], rename: (name: string) => string): string[] {
  const plain = files.map((file) => rename(ownName(file)));
  if (new Set(plain).size === plain.length) return plain;
  const root = commonFolder(files);
  const nested = files.map((file) => rename(relative(root, resolve(file))));
  const clash = nested.findIndex((name, at) => nested.indexOf(name) !== at);
  if (clash < 0) return nested;
  const [first, second] = [files[nested.indexOf(nested[clash]!)], files[clash]];
  const found = `${JSON.stringify(first)} and ${JSON.stringify(second)} would both become ${nested[clash]}`;
  throw new BunTensorRtError(message("name the files to write", found, "rename one of them"));
}

/** Extensions of files that are taken for videos. */
const VIDEO_EXTENSIONS: readonly string[] = [
  ...[".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".flv", ".wmv"],
  ...[".3gp", ".ogv", ".vob", ".y4m", ".mjpg", ".mjpeg", ".h264", ".264", ".h265", ".265", ".hevc"],
  ...[".m3u8", ".m3u", ".mpd", ".ffconcat", ".sdp"],
];

/** What an operand stands for. */
export type OperandKind = "images" | "video" | "stdin";

/** Every packet of an MPEG transport stream begins with it; no program in TypeScript does. */
const SYNC_BYTE = 0x47;

function isTransportStream(path: string): boolean {
  if (!statsOf(path)?.isFile()) return false;
  const descriptor = openSync(path, "r");
  const first = new Uint8Array(1);
  try {
    return readSync(descriptor, first) === 1 && first[0] === SYNC_BYTE;
  } finally {
    closeSync(descriptor);
  }
}

/** By its form and its extension; what ends in `.ts` by its first byte as well. An http address without an extension is an image: `--video` says otherwise. */
export function operandKind(operand: string): OperandKind {
  if (operand === "-") return "stdin";
  if (isCamera(operand)) return "video";
  const isAddress = isNetworkAddress(operand);
  const isHttp = /^https?:/i.test(operand);
  if (isAddress && !isHttp) return "video";
  const name = isHttp && URL.canParse(operand) ? new URL(operand).pathname : operand;
  if (isImageName(name)) return "images";
  const extension = extname(name).toLowerCase();
  if (extension === ".ts" && !isHttp && !isTransportStream(operand)) return "images";
  return VIDEO_EXTENSIONS.includes(extension) ? "video" : "images";
}

/** Counts of a run. */
export interface Tally {
  /** Images or frames that were answered. */
  good: number;
  /** Those that could not be read. */
  bad: number;
  objects: number;
}

/** `103 images, 868 objects in 12.3 s, 8.4 images/s` */
export function formatTally(good: number, objects: number, elapsedMs: number, noun: string): string {
  const rate = `${(good / (elapsedMs / 1000)).toFixed(1)} ${noun}s/s`;
  return `${plural(good, noun)}, ${plural(objects, "object")} in ${formatDuration(elapsedMs)}, ${rate}`;
}

/** `103 images in 12.3 s` @param startedAt by `performance.now()` */
export function formatImages(count: number, startedAt: number): string {
  return `${plural(count, "image")} in ${formatDuration(performance.now() - startedAt)}`;
}

/**
 * Say how a run over images ended.
 *
 * @param verb     what bad ones could not be: `read`
 * @param files    how many were to be run, where that was known
 * @param unopened how many operands stood for nothing that can be opened
 * @param summary  said last
 */
export function tellEnd(
  terminal: Terminal,
  verb: string,
  { good, bad }: Pick<Tally, "good" | "bad">,
  { files, unopened = 0, summary }: { readonly files?: number; readonly unopened?: number; readonly summary?: string },
): void {
  const done = good + bad;
  if (unopened > 0) terminal.line(`${plural(unopened, "input")} could not be opened`);
  if (files !== undefined && done < files) terminal.line(`Stopped after ${done} of ${plural(files, "image")}`);
  if (bad > 0) terminal.line(`${bad} of ${plural(done, "image")} could not be ${verb}`);
  if (summary !== undefined) terminal.line(terminal.paint("dim", summary));
}

const HINT = "Hint: ";

/** Tells of one error after the other in a line each; a hint that holds for many is given once. */
export class Complaints {
  /** How many there were. */
  count = 0;
  readonly #terminal: Terminal;
  readonly #given = new Set<string>();

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
  }

  /** Tell of one. */
  tell(error: Error): void {
    this.count += 1;
    const [first = "", ...others] = error.message.split("\n");
    this.#terminal.line(`${this.#terminal.paint("red", "error:")} ${printable(first)}`);
    const hint = others.findLast((line) => line.startsWith(HINT));
    if (hint === undefined || this.#given.has(hint)) return;
    this.#given.add(hint);
    this.#terminal.line(printable(hint));
  }
}
