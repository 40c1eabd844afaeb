/** @module FakeRegistry: a package registry on this machine, for downloads that go wrong on purpose. */

import { type CatalogueEntry, sha256 } from "../../src/catalogue/store.ts";

/** How the registry misbehaves; each answer of the tarball may differ. */
export interface FakeRegistryOptions {
  /** File inside the package. Default: 1,000 bytes. */
  readonly content?: Uint8Array;
  /** What the registry says of the tarball's integrity. Default: the truth; `null` for none. */
  readonly integrity?: string | null;
  /** What the registry says of the tarball's address. Default: the truth. */
  readonly address?: string;
  /** Replaces the answer to request number `n` (from 0) for the tarball. */
  readonly answer?: (request: number, tarball: Uint8Array<ArrayBuffer>) => Response | undefined;
}

/** A running registry with one package of one file. */
export interface FakeRegistry extends Disposable {
  readonly url: string;
  readonly entry: CatalogueEntry;
  /** How often the tarball was asked for. */
  readonly requests: () => number;
}

/** Start a registry on a free port. */
export async function fakeRegistry(options: FakeRegistryOptions = {}): Promise<FakeRegistry> {
  const content = options.content ?? new Uint8Array(1000).map((_, at) => at * 7);
  const tarball = await new Bun.Archive({ "package/dist/model.onnx": content }, { compress: "gzip" }).bytes();
  const sha512 = new Bun.CryptoHasher("sha512").update(tarball).digest("base64");
  const integrity = options.integrity === undefined ? `sha512-${sha512}` : options.integrity;
  let requests = 0;
  const server = Bun.serve({
    port: 0,
    fetch(request) {
      const { pathname, origin } = new URL(request.url);
      if (pathname.endsWith(".tgz")) {
        requests += 1;
        return options.answer?.(requests - 1, tarball) ?? new Response(tarball);
      }
      if (pathname !== "/fake-models") return new Response("{}", { status: 404 });
      const address = options.address ?? `${origin}/fake-models/-/fake-models-1.0.0.tgz`;
      const dist = { tarball: address, ...(integrity && { integrity }) };
      return Response.json({
        name: "fake-models",
        "dist-tags": { latest: "1.0.0" },
        versions: { "1.0.0": { name: "fake-models", version: "1.0.0", dist } },
      });
    },
  });
  return {
    url: server.url.href,
    requests: () => requests,
    entry: {
      name: "fake",
      kind: "model",
      description: "bytes",
      package: "fake-models",
      version: "1.0.0",
      packageBytes: tarball.length,
      member: "dist/model.onnx",
      sha256: sha256(content),
      byteLength: content.length,
      licence: "MIT (nobody)",
      packageLicence: "MIT",
    },
    [Symbol.dispose]: () => void server.stop(true),
  };
}
