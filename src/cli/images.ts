/** @module Images: the names of what is made from images, and what is told of a run over them. */

import { basename, dirname, extname, relative, resolve, sep } from "node:path";
import { BunTensorRtError, message } from "../core/errors.ts";
import { statsOf } from "../core/paths.ts";
import { printable, redact } from "../core/shown.ts";
import { formatDuration, plural } from "../core/units.ts";
import { isAddress } from "../image/source.ts";
import { isCamera } from "../video/address.ts";
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
