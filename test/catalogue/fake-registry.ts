/** @module FakeRegistry: a package registry on this machine, for downloads that go wrong on purpose. */

import { type CatalogueEntry, sha256 } from "../../src/catalogue/store.ts";

/** How the registry misbehaves; each answer of the tarball may differ. */
export interface FakeRegistryOptions {
  /** Name of the package. Default: `fake-models`. */
  readonly package?: string;
  /** The header without which it answers nothing but 401. */
  readonly authorization?: string;
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
  /** The tarball. */
  readonly tarball: Uint8Array<ArrayBuffer>;
}

/** Start a registry on a free port. */
export async function fakeRegistry(options: FakeRegistryOptions = {}): Promise<FakeRegistry> {
  const content = options.content ?? new Uint8Array(1000).map((_, at) => at * 7);
  const name = options.package ?? "fake-models";
  // What depends on others must not bring them: there are none of these.
  const dependent = { dependencies: { "fake-library": "^1.0.0" }, peerDependencies: { "fake-peer": "*" } };
  const packed = {
    "package/package.json": JSON.stringify({ name, version: "1.0.0", ...dependent }),
    "package/dist/model.onnx": content,
  };
  const tarball = await new Bun.Archive(packed, { compress: "gzip" }).bytes();
  const sha512 = new Bun.CryptoHasher("sha512").update(tarball).digest("base64");
  const integrity = options.integrity === undefined ? `sha512-${sha512}` : options.integrity;
  let requests = 0;
  const server = Bun.serve({
    port: 0,
    fetch(request) {
      const { pathname, origin } = new URL(request.url);
      const { authorization = null } = options;
      if (authorization !== null && request.headers.get("authorization") !== authorization) {
        return new Response("{}", { status: 401 });
      }
      if (pathname.endsWith(".tgz")) {
        requests += 1;
        return options.answer?.(requests - 1, tarball) ?? new Response(tarball);
      }
      if (decodeURIComponent(pathname) !== `/${name}`) return new Response("{}", { status: 404 });
      const address = options.address ?? `${origin}/${name}/-/fake-models-1.0.0.tgz`;
      const dist = { tarball: address, ...(integrity && { integrity }) };
      return Response.json({
        name,
        "dist-tags": { latest: "1.0.0" },
        versions: { "1.0.0": { name, version: "1.0.0", ...dependent, dist } },
      });
    },
  });
  return {
    url: server.url.href,
    requests: () => requests,
    tarball,
    entry: {
      name: "fake",
      kind: "model",
      description: "bytes",
      package: name,
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
