/** @module Registry: what the user's package registry says of a package, asked through Bun's own client. */

import type { Attempt } from "./attempt.ts";

/** Where a package's tarball lies, as the registry says. */
export interface TarballAddress {
  readonly tarball: string;
  /** Subresource integrity, `sha512-…`; old registries leave it out. */
  readonly integrity?: string;
}

const TIMEOUT_MS = 60_000;

/** The first line that says something; clients print empty ones around it. */
function firstLine(text: string): string {
  return text.trim().split("\n", 1)[0] || "no reason given";
}

function isAddress(value: unknown): value is TarballAddress {
  if (typeof value !== "object" || value === null || !("tarball" in value)) return false;
  return typeof value.tarball === "string" && URL.canParse(value.tarball);
}

/**
 * Ask for the address of a package's tarball. The client reads `.npmrc`, `bunfig.toml` and the environment, so the
 * user's own registry and scopes hold; no registry is named here. It tries again by itself.
 *
 * @param specifier `name@version`
 * @param signal    ends the client when aborted; its reason is thrown
 */
export async function tarballAddress(specifier: string, signal?: AbortSignal): Promise<Attempt<TarballAddress>> {
  signal?.throwIfAborted();
  // BUN_BE_BUN makes an executable that `bun build --compile` made behave as the bun inside it.
  const client = Bun.spawn([process.execPath, "pm", "view", specifier, "dist", "--json"], {
    env: { ...process.env, BUN_BE_BUN: "1", NO_COLOR: "1" },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    timeout: TIMEOUT_MS,
    ...(signal === undefined ? {} : { signal }),
  });
  const [output, errors, code] = await Promise.all([client.stdout.text(), client.stderr.text(), client.exited]);
  signal?.throwIfAborted();
  if (code !== 0) {
    const reason = client.signalCode === null ? firstLine(errors + output) : `no answer within ${TIMEOUT_MS / 1000} s`;
    return { problem: `the registry did not give ${specifier}: ${reason}`, transient: false };
  }
  const address = parseAddress(output);
  if (address !== undefined) return { value: address };
  return { problem: `the registry gave no tarball for ${specifier}: ${firstLine(output)}`, transient: false };
}

function parseAddress(output: string): TarballAddress | undefined {
  try {
    const value: unknown = JSON.parse(output);
    return isAddress(value) ? value : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
