/** @module ArchiveSet: the archives of one installation, each found and opened once. */

import { mkdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { logger } from "../core/log.ts";
import { type Attempt, attempt, retry } from "./attempt.ts";
import { type ByteSource, FileSource, openHttp } from "./byte-source.ts";
import { type ArchiveSource, sourceName } from "./component.ts";
import type { DownloadOptions } from "./download.ts";
import { Staging } from "./library-folder.ts";
import { downloadJar, downloadWheel, jarAddresses, wheelAddress } from "./package-clients.ts";
import { readZip, type ZipEntry } from "./zip.ts";

/** An archive whose directory is known. */
export interface Archive {
  readonly bytes: ByteSource;
  readonly entries: ReadonlyMap<string, ZipEntry>;
}

/** How an archive is opened. */
interface OpenArchiveOptions extends DownloadOptions {
  /** Name of the component, for messages. */
  readonly name: string;
  /** Fetch it whole where no parts of it can be had. */
  readonly mayFetchWhole: boolean;
}

async function addressesOf(
  source: ArchiveSource,
  signal: AbortSignal | undefined,
): Promise<Attempt<readonly string[]>> {
  if (source.kind === "jar") return await jarAddresses(source, signal);
  const address = await wheelAddress(source, signal);
  return "value" in address ? { value: [address.value] } : address;
}

/** Archives opened so far. What was fetched whole is deleted with the set. */
export class ArchiveSet implements Disposable {
  readonly #opened = new Map<string, Archive>();
  /** What the clients answered, refusals too: they take their time, and several components lie in one archive. */
  readonly #addresses = new Map<string, Attempt<readonly string[]>>();
  #staging: Staging | undefined;

  /** What came over the network for all of them so far. */
  get receivedBytes(): number {
    return [...this.#opened.values()].reduce((sum, archive) => sum + archive.bytes.receivedBytes, 0);
  }

  /** Find an archive through the user's package client and read its directory. */
  async open(source: ArchiveSource, options: OpenArchiveOptions): Promise<Attempt<Archive>> {
    const known = this.#opened.get(sourceName(source));
    if (known !== undefined) return { value: known };
    const bytes = await this.#find(source, options);
    if (!("value" in bytes)) return bytes;
    const { name, signal } = options;
    const entries = await retry(name, signal, () => attempt(() => readZip(bytes.value), signal));
    if (!("value" in entries)) return entries;
    const archive = { bytes: bytes.value, entries: entries.value };
    this.#opened.set(sourceName(source), archive);
    return { value: archive };
  }

  /** Parts of it where they can be had; else all of it, by its address or, if that is refused, by the client itself. */
  async #find(source: ArchiveSource, options: OpenArchiveOptions): Promise<Attempt<ByteSource>> {
    const { name, mayFetchWhole, signal } = options;
    const addresses = this.#addresses.get(sourceName(source)) ?? (await addressesOf(source, signal));
    this.#addresses.set(sourceName(source), addresses);
    if (!("value" in addresses)) return addresses;
    let last: Attempt<ByteSource> = { problem: "there is no address", transient: false };
    for (const address of addresses.value) {
      last = await this.#openAddress(address, options);
      if ("value" in last) return last;
      logger.info(`Cannot open ${sourceName(source)}: ${last.problem}`);
    }
    // Who may not have a part of it without a password gets no part of it: the client, which knows one, takes all.
    if (!(mayFetchWhole || ("problem" in last && last.withheld))) return last;
    logger.warn(`Fetching the whole ${sourceName(source)} through its package client: ${last.problem}`);
    const folder = join(this.#folder(name), crypto.randomUUID());
    mkdirSync(folder);
    const path =
      source.kind === "wheel" ? await downloadWheel(source, folder, signal) : await downloadJar(source, signal);
    return "value" in path ? { value: new FileSource(path.value, statSync(path.value).size) } : path;
  }

  async #openAddress(address: string, options: OpenArchiveOptions): Promise<Attempt<ByteSource>> {
    const { name, mayFetchWhole, signal } = options;
    if (address.startsWith("file:")) return await attempt(async () => new FileSource(fileURLToPath(address)), signal);
    // One place for all tries: what one left behind makes room for the next.
    let path: string | undefined;
    const wholePath = (): string => {
      path ??= join(this.#folder(name), crypto.randomUUID());
      return path;
    };
    return await retry(name, signal, async () => {
      const opened = await openHttp(address, { ...options, wholePath: mayFetchWhole ? wholePath : undefined });
      if (!("value" in opened && opened.value instanceof FileSource)) return opened;
      // One that was cut off on its way reads no better the second time: it has to be fetched again.
      const read = await attempt(() => readZip(opened.value), signal);
      return "value" in read ? opened : read;
    });
  }

  #folder(name: string): string {
    this.#staging ??= new Staging(name);
    return this.#staging.path;
  }

  [Symbol.dispose](): void {
    this.#opened.clear();
    this.#staging?.[Symbol.dispose]();
    this.#staging = undefined;
  }
}
