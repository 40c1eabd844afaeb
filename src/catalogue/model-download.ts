/**
 * @module ModelDownload: a model behind an address, kept in the cache under its hash; a download that broke off goes on where it
 * ended. Without a hash the server is asked each time whether it has another file.
 */

import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { open } from "node:fs/promises";
import { hostname } from "node:os";
import { basename, dirname, extname, join } from "node:path";
import { CatalogueError, inShort, ModelError, message, TransferError } from "../core/errors.ts";
import { logger, redact, warnAloud } from "../core/log.ts";
import { cacheFolder, readIfThere, statsOf } from "../core/paths.ts";
import { untilAborted } from "../core/resource.ts";
import { writeWhole } from "../core/whole-file.ts";
import { type Attempt, attempt, retry } from "./attempt.ts";
import { bodyLength, type DownloadOptions } from "./download.ts";
import { assertRoom, hashOf, sha256, storageError } from "./store.ts";

/** A server that sends nothing for so long has gone. */
const STALL_MS = 30_000;
/** Whether a file has changed is asked for so long; the copy is used then. */
const CHECK_MS = 10_000;
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

/** What a server calls a file, by which it says later that it has no other. Kept beside a file that nothing pins. */
interface Origin {
  readonly etag?: string | undefined;
  readonly lastModified?: string | undefined;
}

function originPath({ path }: RemoteModel): string {
  return `${path}.origin.json`;
}

/** What the server called the file that lies there. @param found its hash: another process may have put another file there */
function originOf(model: RemoteModel, found: string): Origin {
  try {
    const { sha256, etag, lastModified } = JSON.parse(readIfThere(originPath(model)) ?? "{}");
    if (sha256 !== found) return {};
    return {
      etag: typeof etag === "string" ? etag : undefined,
      lastModified: typeof lastModified === "string" ? lastModified : undefined,
    };
  } catch (error) {
    logger.debug(`Ignoring ${originPath(model)}: ${(error as Error).message}`);
    return {};
  }
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
 * @param known of the file that is there: 304 is then an answer too
 * @returns the answer; or a problem that no further try would change, in one clause
 * @throws {TransferError} If another try may help
 */
async function ask(url: URL, start: number, known: Origin, signal: AbortSignal): Promise<Response | string> {
  const headers: Record<string, string> = { "accept-encoding": "identity" };
  if (known.etag !== undefined) headers["if-none-match"] = known.etag;
  if (known.lastModified !== undefined) headers["if-modified-since"] = known.lastModified;
  if (start > 0) headers.range = `bytes=${start}-`;
  const response = await fetch(url, { headers, signal });
  const { status, statusText } = response;
  const isPage = response.ok && /^text\/html\b/i.test(response.headers.get("content-type") ?? "");
  const isRest = status === 206 && response.headers.get("content-range")?.startsWith(`bytes ${start}-`);
  const isUnchanged = status === 304 && (known.etag ?? known.lastModified) !== undefined;
  // 416: nothing is missing.
  if (isUnchanged || (status === 200 && !isPage) || isRest || (status === 416 && start > 0)) return response;
  await response.body?.cancel();
  if (isPage) return `${url.host} sent an HTML page, not a file`;
  const found = `${url.host} answered ${status} ${statusText}`.trim();
  if (status >= 500 || status === 429 || status === 408) throw new TransferError(found);
  return found;
}

/**
 * Fetch what is missing of a file, once.
 *
 * @param known of the file that is there; one that has not changed is not fetched
 * @returns what the server calls it, or that it has not changed; a problem that no further try would change, in one clause
 * @throws {TransferError} If another try may help
 * @throws {CatalogueError} If it cannot be written
 */
async function transfer(
  model: RemoteModel,
  part: string,
  known: Origin,
  { onProgress, signal }: DownloadOptions,
): Promise<string | (Origin & { readonly isUnchanged?: boolean })> {
  const { url, name } = model;
  const stalled = new AbortController();
  const patience = existsSync(model.path) ? CHECK_MS : STALL_MS;
  const giveUp = (): void => stalled.abort(new TransferError(`${url.host} sent nothing for ${patience / 1000} s`));
  const timer = setTimeout(giveUp, patience);
  try {
    const start = statsOf(part)?.size ?? 0;
    const ending = signal === undefined ? stalled.signal : AbortSignal.any([signal, stalled.signal]);
    const response = await ask(url, start, known, ending);
    if (typeof response === "string") return response;
    if (response.status === 304 || response.status === 416) {
      await response.body?.cancel();
      return { isUnchanged: response.status === 304 };
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
    const { headers } = response;
    return { etag: headers.get("etag") ?? undefined, lastModified: headers.get("last-modified") ?? undefined };
  } catch (error) {
    throw stalled.signal.aborted ? stalled.signal.reason : error;
  } finally {
    clearTimeout(timer);
  }
}

/** The copy of a file that is there. */
interface Copy {
  readonly sha256: string;
  readonly origin: Origin;
}

/** Put a file that nothing pins in its place, and beside it what the server calls it. */
async function place(model: RemoteModel, part: string, found: string, { etag, lastModified }: Origin): Promise<void> {
  renameSync(part, model.path);
  // Without it the file is fetched again, which is no reason to fail.
  await writeWhole(originPath(model), JSON.stringify({ sha256: found, etag, lastModified })).catch((error: Error) =>
    logger.info(`Cannot keep ${originPath(model)}: ${error.message}`),
  );
}

/** Fetch a file, check it and put it in its place: one try. @param copy not fetched again if it is the same @returns its hash */
async function fetchOnce(
  model: RemoteModel,
  part: string,
  options: DownloadOptions,
  copy?: Copy,
): Promise<Attempt<string>> {
  // What nothing pins may be another file by now.
  if (model.sha256 === undefined) rmSync(part, { force: true });
  const isResumed = existsSync(part);
  if (isResumed) logger.info(`Going on with ${model.name} at byte ${statsOf(part)?.size}`);
  const fetched = await attempt(() => transfer(model, part, copy?.origin ?? {}, options), options.signal);
  if (!("value" in fetched)) return fetched;
  if (typeof fetched.value === "string") return { problem: fetched.value, transient: false };
  if (copy !== undefined && fetched.value.isUnchanged) return { value: copy.sha256 };
  const found = await hashOf(part);
  if (model.sha256 === undefined) await place(model, part, found, fetched.value);
  else if (found === model.sha256) renameSync(part, model.path);
  if (model.sha256 === undefined || found === model.sha256) return { value: found };
  rmSync(part);
  return { problem: `the file must have SHA-256 ${model.sha256}, got ${found}`, transient: isResumed };
}

/** A file that is there. */
interface Obtained {
  readonly sha256: string;
  /** Why it may be an older one than the server has, in one clause. */
  readonly doubt?: string;
}

/** Fetch a file that nothing pins again where the server has another; what cannot be fetched leaves the copy as it is. */
async function renew(model: RemoteModel, found: string, options: DownloadOptions): Promise<Obtained> {
  const keep = (doubt: string): Obtained => ({ sha256: found, doubt });
  let part: string | undefined;
  try {
    part = claimPart(model.path);
    const outcome = await fetchOnce(model, part, options, { sha256: found, origin: originOf(model, found) });
    if (!("value" in outcome)) return keep(outcome.problem);
    if (outcome.value !== found) logger.info(`Fetched ${model.name} again, which has changed, to ${model.path}`);
    return { sha256: outcome.value };
  } catch (error) {
    options.signal?.throwIfAborted();
    return keep(inShort(error as Error));
  } finally {
    if (part !== undefined) rmSync(part, { force: true });
  }
}

async function obtain(model: RemoteModel, options: DownloadOptions): Promise<Obtained> {
  options.signal?.throwIfAborted();
  const { name, path } = model;
  if (existsSync(path)) {
    const found = await hashOf(path);
    if (model.sha256 === undefined) return await renew(model, found, options);
    if (found === model.sha256) return { sha256: found };
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
  if ("value" in outcome) return { sha256: outcome.value };
  const hint = `check the address and the network, or put the file at ${path} by hand`;
  throw new CatalogueError(message(`fetch ${JSON.stringify(name)}`, outcome.problem, hint), name);
}

/** The last call for each file: those of one process take turns, so that the second finds what the first has fetched. */
const turns = new Map<string, Promise<Obtained | undefined>>();

/**
 * Make sure that the file behind an address is on this machine.
 *
 * With `#sha256=…` one that is there costs no network; it is checked whenever it is asked for, and a download that broke off goes
 * on where it ended, also in another process. Without, the file is kept by its address, the server is asked each time whether it
 * has another, and a warning names its hash; where the server cannot be asked, the copy is used, and the warning says so.
 *
 * @returns the path of the file, in the cache
 * @throws {ModelError} If the fragment is no hash, or `http:` has none
 * @throws {CatalogueError} If it cannot be fetched or kept, or is another file than the hash says
 * @throws the reason of `options.signal`
 */
export async function fetchModel(address: URL, options: DownloadOptions = {}): Promise<string> {
  const model = remoteModel(address);
  const { path, name } = model;
  const turn = (turns.get(path) ?? Promise.resolve(undefined))
    .catch(() => undefined)
    .then(() => obtain(model, options));
  turns.set(path, turn);
  const end = (): void => {
    if (turns.get(path) === turn) turns.delete(path);
  };
  turn.then(end, end);
  const found = await (options.signal === undefined ? turn : untilAborted(turn, options.signal));
  if (model.sha256 === undefined) {
    const pin = `append #sha256=${found.sha256} to load this file and no other; kept at ${path}`;
    const { doubt } = found;
    warnAloud(
      doubt === undefined
        ? `Nothing pins ${name}: ${pin}`
        : `Using the copy of ${name}, which may be out of date: ${doubt}\nHint: ${pin}`,
    );
  }
  return path;
}
