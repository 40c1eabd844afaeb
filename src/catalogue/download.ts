/** @module Download: where the user's registry has a package, and the package's bytes, checked against their integrity. */

import { existsSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { logger } from "../core/log.ts";
import type { Attempt } from "./attempt.ts";
import { type ClientOptions, runClient } from "./package-clients.ts";

/** Called as bytes arrive. `totalBytes` is `undefined` if the server does not say. */
type ProgressCallback = (receivedBytes: number, totalBytes: number | undefined) => void;

/** What {@linkcode download} and `pull` take. */
export interface DownloadOptions {
  readonly onProgress?: ProgressCallback | undefined;
  /** Ends the download when aborted; its reason is thrown. */
  readonly signal?: AbortSignal | undefined;
}

const DIGESTS = ["sha512", "sha384", "sha256", "sha1"] as const;

/** True if the bytes fit the strongest digest of an integrity string, or if it holds none that is known. */
export function fitsIntegrity(bytes: Uint8Array, integrity: string | undefined): boolean {
  const entries = (integrity ?? "").split(/\s+/);
  for (const digest of DIGESTS) {
    const expected = entries.find((entry) => entry.startsWith(`${digest}-`));
    if (expected === undefined) continue;
    const actual = new Bun.CryptoHasher(digest).update(bytes).digest("base64");
    return expected.slice(digest.length + 1).split("?", 1)[0] === actual;
  }
  logger.info("The registry gave no integrity for a tarball: the pinned hash of the file inside decides alone");
  return true;
}

/** Size of the body that will be read; `undefined` if the server does not say, or says that of one packed on its way. */
export function bodyLength({ headers }: Response): number | undefined {
  const length = Number(headers.get("content-length") ?? Number.NaN);
  return Number.isFinite(length) && !headers.has("content-encoding") ? length : undefined;
}

/** @returns the whole body; how many bytes there are, or were when it was given up, where there are more than `mostBytes` */
async function collect(
  response: Response,
  mostBytes: number,
  onProgress: ProgressCallback | undefined,
): Promise<Uint8Array<ArrayBuffer> | number> {
  const totalBytes = bodyLength(response);
  if (totalBytes !== undefined && totalBytes > mostBytes) {
    await response.body?.cancel();
    return totalBytes;
  }
  const chunks: Uint8Array[] = [];
  let receivedBytes = 0;
  onProgress?.(0, totalBytes);
  // Leaving the loop ends the connection.
  for await (const chunk of response.body ?? []) {
    receivedBytes += chunk.length;
    if (receivedBytes > mostBytes) return receivedBytes;
    chunks.push(chunk);
    onProgress?.(receivedBytes, totalBytes);
  }
  return Buffer.concat(chunks) as Uint8Array<ArrayBuffer>;
}

/**
 * Fetch a tarball into memory. A lost connection, a busy server and damaged bytes are worth another try.
 *
 * @param mostBytes of the tarball: one that has more is given up, however many more
 */
export async function download(
  address: TarballAddress,
  mostBytes: number,
  options: DownloadOptions,
): Promise<Attempt<Uint8Array<ArrayBuffer>>> {
  const { onProgress, signal } = options;
  const { host } = new URL(address.tarball);
  try {
    const response = await fetch(address.tarball, signal === undefined ? {} : { signal });
    if (!response.ok) {
      const transient = response.status >= 500 || response.status === 429;
      return { problem: `${host} answered ${response.status} ${response.statusText}`, transient, withheld: !transient };
    }
    const bytes = await collect(response, mostBytes, onProgress);
    if (typeof bytes === "number") {
      const found = `must have at most ${mostBytes} bytes, got ${bytes} or more from ${host}`;
      return { problem: `the tarball ${found}`, transient: false };
    }
    if (fitsIntegrity(bytes, address.integrity)) return { value: bytes };
    return {
      problem: `the ${bytes.length} bytes from ${host} do not fit the registry's integrity`,
      transient: true,
    };
  } catch (error) {
    signal?.throwIfAborted();
    const problem = `the download from ${host} failed: ${(error as Error).message}`;
    return { problem, transient: true, withheld: true };
  }
}

/** Where a package's tarball lies, as the registry says. */
interface TarballAddress {
  readonly tarball: string;
  /** Subresource integrity, `sha512-…`; old registries leave it out. */
  readonly integrity?: string;
}

const ASK_TIMEOUT_MS = 60_000;

/**
 * Ask for the address of a package's tarball. Bun's own client reads `.npmrc`, `bunfig.toml` and the environment, so the
 * user's own registry and scopes hold; no registry is named here. It tries again by itself.
 *
 * @param specifier `name@version`
 * @param signal    ends the client when aborted; its reason is thrown
 */
export async function tarballAddress(specifier: string, signal?: AbortSignal): Promise<Attempt<TarballAddress>> {
  const answer = await bun(["pm", "view", specifier, "dist", "--json"], {
    timeoutMs: ASK_TIMEOUT_MS,
    failure: `the registry did not give ${specifier}`,
    signal,
  });
  if (!("value" in answer)) return answer;
  const address = parsed(answer.value) as TarballAddress | null | undefined;
  if (typeof address?.tarball === "string" && URL.canParse(address.tarball)) return { value: address };
  const [said] = answer.value.trim().split("\n", 1);
  return { problem: `the registry gave no tarball for ${specifier}: ${said || "no reason given"}`, transient: false };
}

/** Run Bun's own client: an executable that `bun build --compile` made behaves as the bun inside it. */
function bun(words: readonly string[], options: ClientOptions): Promise<Attempt<string>> {
  return runClient([process.execPath, ...words], { ...options, env: { ...options.env, BUN_BE_BUN: "1" } });
}

/** JSON that a client printed; `undefined` if it is none. */
function parsed(output: string): unknown {
  try {
    return JSON.parse(output);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

const INSTALL_TIMEOUT_MS = 3_600_000;

/** Where the settings lie that Bun's client reads in the working folder and in the projects around it, the nearest of each. */
function projectSettings(): readonly string[] {
  const nearest = new Map<string, string>();
  for (let folder = process.cwd(), isTop = false; !isTop; folder = dirname(folder)) {
    isTop = dirname(folder) === folder;
    if (folder !== process.cwd() && !existsSync(join(folder, "package.json"))) continue;
    for (const name of [".npmrc", "bunfig.toml"]) {
      if (!nearest.has(name) && existsSync(join(folder, name))) nearest.set(name, join(folder, name));
    }
  }
  return [...nearest.values()];
}

/** What a manifest says that is installed with a package. */
type Manifest = Partial<Record<"dependencies" | "optionalDependencies" | "peerDependencies", object>>;

/**
 * Let Bun's own client fetch and unpack a package, with the tokens, certificates and proxies that the user has set it to. It sends
 * a token to the origin of its registry only, and not after a redirect to another one; no token ever comes here. Nothing else
 * is installed: each dependency is replaced by an empty package.
 *
 * @param folder an empty one
 * @returns the folder of the package
 */
export async function installPackage(
  name: string,
  version: string,
  folder: string,
  signal?: AbortSignal,
): Promise<Attempt<string>> {
  const cwd = resolve(folder);
  const specifier = `${name}@${version}`;
  const failure = `Bun's client did not fetch ${specifier}`;
  const ask = { timeoutMs: ASK_TIMEOUT_MS, failure, signal };
  const answer = await bun(["pm", "view", specifier, "--json"], ask);
  if (!("value" in answer)) return answer;
  const { dependencies, optionalDependencies, peerDependencies } = (parsed(answer.value) ?? {}) as Manifest;
  const unwanted = Object.keys({ ...dependencies, ...optionalDependencies, ...peerDependencies });
  const overrides = Object.fromEntries(unwanted.map((one) => [one, "file:./empty"]));
  mkdirSync(join(cwd, "empty"));
  writeFileSync(join(cwd, "empty/package.json"), JSON.stringify({ name: "empty", version: "0.0.0" }));
  writeFileSync(join(cwd, "package.json"), JSON.stringify({ dependencies: { [name]: version }, overrides }));
  // Links, not copies: what they hold is the client's.
  for (const path of projectSettings()) symlinkSync(path, join(cwd, basename(path)));
  const installed = await bun(["install", "--ignore-scripts", "--no-save", "--no-progress"], {
    timeoutMs: INSTALL_TIMEOUT_MS,
    cwd,
    env: { BUN_INSTALL_CACHE_DIR: join(cwd, "cache") },
    failure,
    signal,
  });
  return "value" in installed ? { value: join(cwd, "node_modules", name) } : installed;
}
