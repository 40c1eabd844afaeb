/** @module ModelDownload: a model behind an address, kept in the cache under its hash; a download that broke off goes on where it ended. */

import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { open } from "node:fs/promises";
import { hostname } from "node:os";
import { basename, dirname, extname, join } from "node:path";
import { CatalogueError, ModelError, message, TransferError } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { cacheFolder } from "../core/paths.ts";
import { untilAborted } from "../core/settle.ts";
import { redact } from "../core/shown.ts";
import { statsOf } from "../core/stats-of.ts";
import { type Attempt, attempt, retry } from "./attempt.ts";
import { bodyLength, type DownloadOptions } from "./download.ts";
import { assertRoom } from "./library-folder.ts";
import { hashOf, sha256, storageError } from "./store.ts";

/** A server that sends nothing for so long has gone. */
const STALL_MS = 30_000;
/** A part that nobody has added to for so long is nobody's: longer than any server may be silent. */
const ABANDONED_MS = 2 * STALL_MS;
/** Hosts that nobody listens in to. */
const LOOPBACK: readonly string[] = ["localhost", "127.0.0.1", "[::1]"];
/** Letters of a file's name that are kept; others and longer ones have no place in the cache. */
const LONGEST_STEM = 80;

/** What an address stands for. */
interface RemoteModel {
  /** Without its fragment. */
  readonly url: URL;
  /** For messages: without the passwords in it. */
  readonly name: string;
  /** Lower case; `undefined` where the address has none. */
  readonly sha256: string | undefined;
  /** Where its file is kept. */
  readonly path: string;
}

/** @throws {ModelError} If the fragment is no hash, or nothing guards an open connection */
function remoteModel(address: URL): RemoteModel {
  const url = new URL(address);
  url.hash = "";
  const name = redact(url.href);
  const refuse = (found: string, hint: string): never => {
    throw new ModelError(message(`load the model ${JSON.stringify(name)}`, found, hint), name);
  };
  const pinned = /^#sha256[=:-]([\da-f]{64})$/i.exec(address.hash)?.[1]?.toLowerCase();
  if (pinned === undefined && address.hash !== "") {
    refuse("what follows # must be sha256= and 64 hexadecimal digits", "sha256sum FILE prints them");
  }
  if (pinned === undefined && url.protocol === "http:" && !LOOPBACK.includes(url.hostname)) {
    refuse("http:// needs a hash, as anyone on the way can change the file", "append #sha256=…, or use https://");
  }
  const file = decodeURIComponent(basename(url.pathname)).replace(/[^\w.-]/g, "_");
  const extension = extname(file) || ".onnx";
  const stem = basename(file, extname(file)).slice(0, LONGEST_STEM) || "model";
  // A file that nothing pins is known by where it came from.
  const key = pinned ?? `url-${sha256(Buffer.from(url.href)).slice(0, 32)}`;
  return { url, name, sha256: pinned, path: join(cacheFolder(), "downloads", `${stem}-${key}${extension}`) };
}

/** True if a process of this machine runs. */
function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ESRCH";
  }
}

/**
 * The file that a model grows in: of this process alone. One that another process has left behind is taken over, by a rename,
 * which only one of several gets.
 */
function claimPart(path: string): string {
  const host = hostname().replace(/[^\w.-]/g, "_");
  const own = `${path}.${host}-${process.pid}.part`;
  if (existsSync(own)) return own;
  const start = `${basename(path)}.`;
  for (const name of readdirSync(dirname(path))) {
    if (!name.startsWith(start) || !name.endsWith(".part")) continue;
    const [, itsHost, pid] = /^(.*)-(\d+)\.part$/.exec(name.slice(start.length)) ?? [];
    const part = join(dirname(path), name);
    const isLeft = Date.now() - (statsOf(part)?.mtimeMs ?? 0) > ABANDONED_MS;
    if (!isLeft && (itsHost !== host || isAlive(Number(pid)))) continue;
    try {
      renameSync(part, own);
      return own;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }
  return own;
}

/**
 * Ask for what is missing of a file.
 *
 * @returns the answer; or a problem that no further try would change, in one clause
 * @throws {TransferError} If another try may help
 */
async function ask(url: URL, start: number, signal: AbortSignal): Promise<Response | string> {
  const headers: Record<string, string> = { "accept-encoding": "identity" };
  if (start > 0) headers.range = `bytes=${start}-`;
  const response = await fetch(url, { headers, signal });
  const { status, statusText } = response;
  const isPage = response.ok && /^text\/html\b/i.test(response.headers.get("content-type") ?? "");
  const isRest = status === 206 && response.headers.get("content-range")?.startsWith(`bytes ${start}-`);
  // 416: nothing is missing.
  if ((status === 200 && !isPage) || isRest || (status === 416 && start > 0)) return response;
  await response.body?.cancel();
  if (isPage) return `${url.host} sent an HTML page, not a file`;
  const found = `${url.host} answered ${status} ${statusText}`.trim();
  if (status >= 500 || status === 429 || status === 408) throw new TransferError(found);
  return found;
}

/**
 * Fetch what is missing of a file, once.
 *
 * @returns a problem that no further try would change
 * @throws {TransferError} If another try may help
 * @throws {CatalogueError} If it cannot be written
 */
async function transfer(
  model: RemoteModel,
  part: string,
  { onProgress, signal }: DownloadOptions,
): Promise<string | undefined> {
  const { url, name } = model;
  const stalled = new AbortController();
  const giveUp = (): void => stalled.abort(new TransferError(`${url.host} sent nothing for ${STALL_MS / 1000} s`));
  const timer = setTimeout(giveUp, STALL_MS);
  try {
    const start = statsOf(part)?.size ?? 0;
    const ending = signal === undefined ? stalled.signal : AbortSignal.any([signal, stalled.signal]);
    const response = await ask(url, start, ending);
    if (typeof response === "string") return response;
    if (response.status === 416) {
      await response.body?.cancel();
      return undefined;
    }
    let receivedBytes = response.status === 206 ? start : 0;
    const length = bodyLength(response);
    const totalBytes = length === undefined ? undefined : receivedBytes + length;
    const folder = dirname(part);
    if (length !== undefined) assertRoom(name, length, folder);
    const onWriteError = (error: unknown): never => {
      throw storageError({ name, folder, byteLength: totalBytes ?? receivedBytes }, error);
    };
    const file = await open(part, receivedBytes > 0 ? "a" : "w").catch(onWriteError);
    try {
      for await (const chunk of response.body ?? []) {
        timer.refresh();
        await file.writeFile(chunk).catch(onWriteError);
        receivedBytes += chunk.length;
        onProgress?.(receivedBytes, totalBytes);
      }
    } finally {
      await file.close();
    }
    if (totalBytes !== undefined && receivedBytes < totalBytes) {
      throw new TransferError(`${url.host} broke off ${totalBytes - receivedBytes} bytes before the end`);
    }
    return undefined;
  } catch (error) {
    throw stalled.signal.aborted ? stalled.signal.reason : error;
  } finally {
    clearTimeout(timer);
  }
}

/** Fetch a file, check it and put it in its place: one try. @returns its hash */
async function fetchOnce(model: RemoteModel, part: string, options: DownloadOptions): Promise<Attempt<string>> {
  // What nothing pins may be another file by now.
  if (model.sha256 === undefined) rmSync(part, { force: true });
  const isResumed = existsSync(part);
  if (isResumed) logger.info(`Going on with ${model.name} at byte ${statsOf(part)?.size}`);
  const fetched = await attempt(() => transfer(model, part, options), options.signal);
  if (!("value" in fetched)) return fetched;
  if (fetched.value !== undefined) return { problem: fetched.value, transient: false };
  const found = await hashOf(part);
  if (model.sha256 === undefined || found === model.sha256) {
    renameSync(part, model.path);
    return { value: found };
  }
  rmSync(part);
  return { problem: `the file must have SHA-256 ${model.sha256}, got ${found}`, transient: isResumed };
}

async function obtain(model: RemoteModel, options: DownloadOptions): Promise<string> {
  options.signal?.throwIfAborted();
  const { name, path } = model;
  if (existsSync(path)) {
    const found = await hashOf(path);
    if (model.sha256 === undefined || found === model.sha256) return found;
    logger.warn(`Checksum mismatch for ${path}; downloading it again`);
  }
  let part: string;
  try {
    mkdirSync(dirname(path), { recursive: true });
    part = claimPart(path);
  } catch (error) {
    throw storageError({ name, folder: dirname(path), byteLength: 0 }, error);
  }
  logger.info(`Fetching ${name} to ${path}`);
  const outcome = await retry(name, options.signal, () => fetchOnce(model, part, options));
  if ("value" in outcome) return outcome.value;
  const hint = `check the address and the network, or put the file at ${path} by hand`;
  throw new CatalogueError(message(`fetch ${JSON.stringify(name)}`, outcome.problem, hint), name);
}

/** The last call for each file: those of one process take turns, so that the second finds what the first has fetched. */
const turns = new Map<string, Promise<string>>();

/**
 * Make sure that the file behind an address is on this machine. One that is there costs no network.
 *
 * With `#sha256=…` the file is checked whenever it is asked for, and a download that broke off goes on where it ended, also in
 * another process. Without, the file is kept by its address, and a warning names its hash.
 *
 * @returns the path of the file, in the cache
 * @throws {ModelError} If the fragment is no hash, or `http:` has none
 * @throws {CatalogueError} If it cannot be fetched or kept, or is another file than the hash says
 * @throws the reason of `options.signal`
 */
export async function fetchModel(address: URL, options: DownloadOptions = {}): Promise<string> {
  const model = remoteModel(address);
  const { path, name } = model;
  const turn = (turns.get(path) ?? Promise.resolve("")).catch(() => "").then(() => obtain(model, options));
  turns.set(path, turn);
  const end = (): void => {
    if (turns.get(path) === turn) turns.delete(path);
  };
  turn.then(end, end);
  const found = await (options.signal === undefined ? turn : untilAborted(turn, options.signal));
  if (model.sha256 === undefined) {
    logger.warn(`Nothing pins ${name}: append #sha256=${found} to load this file and no other; kept at ${path}`);
  }
  return path;
}
