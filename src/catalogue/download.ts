/** @module Download: where the user's registry has a package, and the package's bytes, checked against their integrity. */

import { logger } from "../core/log.ts";
import type { Attempt } from "./attempt.ts";
import { runClient } from "./package-client.ts";

/** Called as bytes arrive. `totalBytes` is `undefined` if the server does not say. */
export type ProgressCallback = (receivedBytes: number, totalBytes: number | undefined) => void;

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
      return { problem: `${host} answered ${response.status} ${response.statusText}`, transient };
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
    return { problem: `the download from ${host} failed: ${(error as Error).message}`, transient: true };
  }
}

/** Where a package's tarball lies, as the registry says. */
export interface TarballAddress {
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
  const answer = await runClient([process.execPath, "pm", "view", specifier, "dist", "--json"], {
    timeoutMs: ASK_TIMEOUT_MS,
    // Makes an executable that `bun build --compile` made behave as the bun inside it.
    env: { BUN_BE_BUN: "1" },
    failure: `the registry did not give ${specifier}`,
    signal,
  });
  if (!("value" in answer)) return answer;
  const address = addressIn(answer.value);
  if (address !== undefined) return { value: address };
  const [said] = answer.value.trim().split("\n", 1);
  return { problem: `the registry gave no tarball for ${specifier}: ${said || "no reason given"}`, transient: false };
}

function addressIn(output: string): TarballAddress | undefined {
  try {
    const value = JSON.parse(output) as TarballAddress | null;
    return typeof value?.tarball === "string" && URL.canParse(value.tarball) ? value : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
