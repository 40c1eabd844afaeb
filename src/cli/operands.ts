/**
 * @module Operands: the images and videos that the operands of a command, and the lines of a list, stand for; the names of what is
 * made from them, and what is told of a run over them.
 */

import { closeSync, openSync, readdirSync, readFileSync, readSync } from "node:fs";
import { basename, dirname, extname, isAbsolute, join, relative, resolve, sep } from "node:path";
import { BunTensorRtError, message } from "../core/errors.ts";
import { printable, redact } from "../core/log.ts";
import { fileIdentity, missingFile, statsOf } from "../core/paths.ts";
import { formatDuration, plural } from "../core/units.ts";
import { systemReason } from "../core/whole-file.ts";
import { IMAGE_EXTENSIONS, isImageName } from "../image/decode-limits.ts";
import { isAddress } from "../image/source.ts";
import { isCamera, isNetworkAddress } from "../video/address.ts";
import { PATTERN, type ParsedArguments, refuse } from "./args.ts";
import type { Terminal } from "./terminal.ts";

/** Extensions of files that are taken for videos. */
const VIDEO_EXTENSIONS: readonly string[] = [
  ...[".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".flv", ".wmv"],
  ...[".3gp", ".ogv", ".vob", ".y4m", ".mjpg", ".mjpeg", ".h264", ".264", ".h265", ".265", ".hevc"],
  ...[".m3u8", ".m3u", ".mpd", ".ffconcat", ".sdp"],
];

/** What stands for standard input in place of a file. */
export const STDIN = "-";

/** What an operand stands for. */
type OperandKind = "images" | "video" | "stdin";

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
  if (operand === STDIN) return "stdin";
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

/** True for what is known to be no file: a pipe, a device, a folder. */
function isNoFile(path: string): boolean {
  try {
    // A link that leads nowhere is told of like any image that cannot be read.
    return statsOf(path)?.isFile() === false;
  } catch {
    return false; // what cannot be looked at is told of as well, when it is read
  }
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

/** What a command takes, and what its messages say before an operand: `transform`. */
interface Expansion {
  readonly action: string;
  /** `images`: every operand is one. `any`: by its name. `videos`: every operand is one. */
  readonly takes: "images" | "videos" | "any";
}

/** The files that operands stand for. */
export interface Inputs {
  readonly images: readonly string[];
  /** Paths, addresses and cameras. */
  readonly videos: readonly string[];
}

/** Whether a command takes a file that it was not told by name. */
function isTaken(path: string, { takes }: Expansion): boolean {
  if (takes !== "videos" && isImageName(path)) return true;
  return takes !== "images" && operandKind(path) === "video";
}

/** What a command finds nothing of. */
function nothing({ takes }: Expansion): string {
  return takes === "any" ? "no image or video" : `no ${takes.slice(0, -1)}`;
}

function byName(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}

function inFolder(folder: string, expansion: Expansion): string[] {
  const files = readdirSync(folder)
    .map((name) => join(folder, name))
    .filter((path) => isTaken(path, expansion))
    .map(asPath)
    // A pipe that is only met in a folder would be waited for without end.
    .filter((path) => !isNoFile(path))
    .sort(byName);
  if (files.length > 0) return files;
  const hint = `an image ends in ${IMAGE_EXTENSIONS.join(", ")}; for folders below it pass '${join(folder, "**")}'`;
  const found = `it holds ${nothing(expansion)}`;
  throw new BunTensorRtError(message(`${expansion.action} the folder ${JSON.stringify(folder)}`, found, hint));
}

function byPattern(pattern: string, expansion: Expansion): string[] {
  // Bun takes no link for a file. Links to folders are not followed, as they may lead in circles.
  const names = new Bun.Glob(pattern).scanSync({ dot: false, onlyFiles: false });
  const files = [...names]
    .filter((name) => isTaken(name, expansion) && !isNoFile(name))
    .map(asPath)
    .sort(byName);
  if (files.length > 0) return files;
  const { found, hint } = missingFile(pattern);
  const rule = PATTERN.test(pattern)
    ? `${nothing(expansion)} fits the pattern`
    : found.replace(/file$/, "file or folder");
  throw new BunTensorRtError(message(`${expansion.action} ${JSON.stringify(pattern)}`, rule, hint));
}

function expand(given: string, expansion: Expansion): string[] {
  const operand = localOperand(given);
  if (isAddress(operand)) return [operand];
  const stats = statsOf(operand);
  if (stats?.isDirectory()) return inFolder(operand, expansion);
  // A video that is missing is told of by those who open it; ffmpeg has patterns of its own.
  const isVideo = expansion.takes === "videos" || (expansion.takes === "any" && operandKind(operand) === "video");
  return stats !== undefined || (isVideo && !PATTERN.test(operand)) ? [operand] : byPattern(operand, expansion);
}

/** @throws {BunTensorRtError} If the operand stands for no file, or the system does not let one look */
function expandReadable(operand: string, expansion: Expansion): string[] {
  try {
    return expand(operand, expansion);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === undefined) throw cause;
    const found = `it cannot be read: ${systemReason(cause as Error)}`;
    const hint = "check the path and its permissions";
    throw new BunTensorRtError(message(`${expansion.action} ${JSON.stringify(operand)}`, found, hint), { cause });
  }
}

/**
 * Expand operands: a file or an address stands for itself, a folder for what is in it (not below it), anything else is a
 * pattern. Sorted by name within each operand; a file that is named twice is taken once.
 *
 * @param complaints are told of operands that stand for no file, where others do
 * @throws {BunTensorRtError} If no operand stands for a file: that of the last one
 */
export function expandOperands(operands: readonly string[], expansion: Expansion, complaints: Complaints): Inputs {
  const files = new Map<string, string>();
  const faults: Error[] = [];
  for (const operand of operands) {
    try {
      for (const file of expandReadable(operand, expansion)) {
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
  const { takes } = expansion;
  const isVideo = (file: string): boolean => takes === "videos" || (takes === "any" && operandKind(file) === "video");
  const { images = [], videos = [] } = Object.groupBy(files.values(), (file) => (isVideo(file) ? "videos" : "images"));
  return { images, videos };
}

/** @throws {OptionError} If it cannot be read */
async function readList(list: string): Promise<string> {
  if (list === STDIN && process.stdin.isTTY) {
    throw refuse(
      "list",
      "Standard input is a terminal",
      "send names: find . -name '*.jpg' | bunx bun-tensorrt detect --list -",
    );
  }
  try {
    return list === STDIN ? await Bun.stdin.text() : readFileSync(list, "utf8");
  } catch (error) {
    const found = `--list ${JSON.stringify(list)} cannot be read: ${systemReason(error as Error)}`;
    throw refuse("list", found, "give a file with one input a line, or - for standard input");
  }
}

/** Where a line of a list leads: seen from here, or else from the folder of the list. */
function fromList(line: string, list: string): string {
  if (list === STDIN || isAddress(line) || isAbsolute(line) || fileIdentity(line) !== undefined) return line;
  const beside = join(dirname(list), line);
  return fileIdentity(beside) === undefined ? line : beside;
}

/**
 * The operands of a command, and those of its list: one a line. Empty lines, and those that begin with `#`, are skipped.
 *
 * @throws {OptionError} If the list cannot be read or is empty
 */
export async function allOperands({ operands }: ParsedArguments, list: string | undefined): Promise<string[]> {
  if (list === undefined) return operands.map(localOperand);
  const text = await readList(list);
  const lines = text.split(/\r?\n/).map((line) => line.trim());
  const listed = lines.filter((line) => line !== "" && !line.startsWith("#")).map((line) => fromList(line, list));
  if (listed.length === 0) {
    throw refuse("list", `--list ${JSON.stringify(list)} holds no input`, "give a file with one input a line");
  }
  return [...operands, ...listed].map(localOperand);
}

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

/** `camera-local-live` of `rtsp://user:password@camera.local/live`: an address as the name of a file. */
function addressName(file: string): string {
  const place = redact(file).replace(/^[a-z][a-z\d+.-]*:(\/\/)?([^/]*@)?/i, "");
  const [extension = ""] = /(?<=\/.*)\.[a-z]\w{1,3}$/i.exec(place) ?? [];
  const stem = place.slice(0, place.length - extension.length);
  return `${stem.replace(/[^\p{L}\p{N}_]+/gu, "-").replace(/^-|-$/g, "") || "address"}${extension}`;
}

/** `street` of `photos/street.jpg`; `stdin` of `-`, as names that begin with a dash are taken for flags. */
export function fileStem(file: string): string {
  if (file === "-") return "stdin";
  const name = ownName(file);
  return name.replace(/(?<=.)\.[^.]*$/, "") || "image";
}

/**
 * A name for each video of a run, and for what is made of it: without its extension where that tells them apart, else as
 * {@linkcode outputNames} has it.
 */
export function videoNames(files: readonly string[]): string[] {
  // Cameras of Linux are files, others are names that no file may have.
  const isNoPath = (file: string): boolean => ownName(file) === "" || (isCamera(file) && !file.startsWith("/"));
  const stems = files.map((file) => (isNoPath(file) ? addressName(file) : fileStem(file)));
  return new Set(stems).size === stems.length ? stems : outputNames(files, (name) => name);
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
  const root = commonFolder(files.filter((file) => !isAddress(file)));
  const nested = files.map((file) => rename(isAddress(file) ? addressName(file) : relative(root, resolve(file))));
  const clash = nested.findIndex((name, at) => nested.indexOf(name) !== at);
  if (clash < 0) return nested;
  const [first, second] = [files[nested.indexOf(nested[clash]!)], files[clash]];
  const found = `${JSON.stringify(first)} and ${JSON.stringify(second)} would both become ${nested[clash]}`;
  throw new BunTensorRtError(message("name the files to write", found, "rename one of them"));
}

/** How it went with images, or with frames. */
export interface Count {
  /** Those that were answered. */
  good: number;
  /** Those that could not be read. */
  bad: number;
}

/** Counts of a run. */
export interface Tally {
  readonly images: Count;
  readonly frames: Count;
  objects: number;
}

/**
 * `103 images, 868 objects in 12.3 s, 8.4 images/s`; of both `2 images and 5 frames, …`
 *
 * @param noun of a run that had neither
 */
export function formatTally({ images, frames, objects }: Tally, elapsedMs: number, noun: "image" | "frame"): string {
  const all = { image: images.good, frame: frames.good };
  const nouns = (["image", "frame"] as const).filter((one) => all[one] > 0);
  const [first = noun, second] = nouns;
  const counted = [first, ...(second === undefined ? [] : [second])].map((one) => plural(all[one], one)).join(" and ");
  const unit = second === undefined ? `${first}s/s` : "images and frames/s";
  const rate = `${((images.good + frames.good) / (elapsedMs / 1000)).toFixed(1)} ${unit}`;
  return `${counted}, ${plural(objects, "object")} in ${formatDuration(elapsedMs)}, ${rate}`;
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
  { images, frames }: { readonly images: Count; readonly frames?: Count },
  { files, unopened = 0, summary }: { readonly files?: number; readonly unopened?: number; readonly summary?: string },
): void {
  const done = images.good + images.bad;
  if (unopened > 0) terminal.line(`${plural(unopened, "input")} could not be opened`);
  if (files !== undefined && done < files) terminal.line(`Stopped after ${done} of ${plural(files, "image")}`);
  const counts = { image: images, ...(frames === undefined ? {} : { frame: frames }) };
  for (const [noun, { good, bad }] of Object.entries(counts)) {
    if (bad > 0) terminal.line(`${bad} of ${plural(good + bad, noun)} could not be ${verb}`);
  }
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
