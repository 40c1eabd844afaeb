/** @module FakeClients: a pip, a Maven and a server of archives on this machine, for downloads that go wrong on purpose. */

import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Component, ComponentBuild } from "../../src/catalogue/components.ts";
import { sha256 } from "../../src/catalogue/store.ts";
import { makeZip, type ZipFile } from "./make-zip.ts";

/** How the server misbehaves. */
export interface FakeClientsOptions {
  /** Files beside the two libraries. */
  readonly files?: readonly ZipFile[];
  /** Content of the first library. Default: 20,000 bytes. */
  readonly content?: Uint8Array;
  /** Replaces the answer to request number `n` (from 0). */
  readonly answer?: (request: number, archive: Uint8Array<ArrayBuffer>, range: string) => Response | undefined;
}

/** A running server, and a component of one wheel and one jar, which are the same archive. */
export interface FakeClients extends Disposable {
  readonly archive: Uint8Array<ArrayBuffer>;
  readonly component: Component;
  readonly wheel: ComponentBuild;
  readonly jar: ComponentBuild;
  /** The value of `PATH` with the fake clients in front. */
  readonly path: string;
  /** The range of each request so far, `""` for none. */
  readonly ranges: readonly string[];
}

/** The answer of a server that knows ranges. */
export function partOf(archive: Uint8Array<ArrayBuffer>, range: string): Response {
  const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(range) ?? [];
  if (from === undefined) return new Response(archive);
  const start = Number(from);
  const end = Math.min(Number(to) + 1, archive.length);
  const headers = { "content-range": `bytes ${start}-${end - 1}/${archive.length}` };
  return new Response(archive.slice(start, end), { status: 206, headers });
}

function script(path: string, text: string): void {
  writeFileSync(path, `#!/bin/sh\n${text}`);
  chmodSync(path, 0o755);
}

/** Start a server on a free port, with clients in `folder/bin` that name it. */
export function fakeClients(folder: string, options: FakeClientsOptions = {}): FakeClients {
  const library = options.content ?? new Uint8Array(20_000).map((_, at) => ((at * at) >> 3) ^ at);
  const small = new TextEncoder().encode("a small library");
  const licence = new TextEncoder().encode("You may.\n");
  const archive = makeZip([
    { name: "unwanted.a", content: new Uint8Array(50_000).map((_, at) => at * at), isStored: true },
    { name: "libs/libfake.so.1", content: library },
    { name: "libs/libsmall.so.1", content: small, isStored: true },
    { name: "LICENSE", content: licence },
    ...(options.files ?? []),
  ]);
  const ranges: string[] = [];
  const server = Bun.serve({
    port: 0,
    fetch(request) {
      const range = request.headers.get("range") ?? "";
      ranges.push(range);
      return options.answer?.(ranges.length - 1, archive, range) ?? partOf(archive, range);
    },
  });
  const bin = join(folder, "bin");
  mkdirSync(bin, { recursive: true });
  const whole = join(folder, "whole.whl");
  writeFileSync(whole, archive);
  const report = JSON.stringify({ install: [{ download_info: { url: `${server.url.href}fake.whl` } }] });
  script(
    join(bin, "python3"),
    `case "$*" in
      *--version*) echo "pip 99.0" ;;
      *" install "*) cat <<'END'\n${report}\nEND\n;;
      *" download "*) for word; do case "$word" in --dest=*) cp '${whole}' "\${word#--dest=}/fake.whl" ;; esac; done ;;
    esac\n`,
  );
  const local = join(folder, "m2");
  const jarFolder = join(local, "org/fake/libs/1.0");
  script(
    join(bin, "mvn"),
    `case "$*" in
      *settings.localRepository*) echo '${local}' ;;
      *'Repositories[0].url'*) echo '${server.url.href}maven/' ;;
      *'Repositories[1].url'*) echo 'null object or invalid expression' ;;
      *dependency-plugin*) mkdir -p '${jarFolder}' && cp '${whole}' '${jarFolder}/libs-1.0-all.jar' ;;
    esac\n`,
  );
  const files = [
    { member: "libs/libfake.so.1", sha256: sha256(library), byteLength: library.length },
    { member: "libs/libsmall.so.1", sha256: sha256(small), byteLength: small.length },
  ];
  const about = { platform: "linux", architecture: "x64", version: "1.0", files } as const;
  const wheelSource = { kind: "wheel", package: "fake-libs", version: "1.0", platform: "any" } as const;
  const jarSource = { kind: "jar", group: "org.fake", artifact: "libs", version: "1.0", classifier: "all" } as const;
  const wheel = { ...about, cuda: 12, source: wheelSource } as const;
  const jar = { ...about, cuda: 13, source: jarSource } as const;
  return {
    archive,
    wheel,
    jar,
    component: {
      name: "fake",
      description: "bytes",
      licence: "Fake Licence",
      licenceText: {
        source: wheelSource,
        file: { member: "LICENSE", sha256: sha256(licence), byteLength: licence.length },
      },
      builds: [wheel, jar],
    },
    path: `${bin}:/usr/bin:/bin`,
    ranges,
    [Symbol.dispose]: () => void server.stop(true),
  };
}
