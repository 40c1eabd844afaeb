import { afterEach, beforeEach, expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Component, ComponentBuild } from "../../src/catalogue/components.ts";
import { ArchiveSet, fetchLicence, install } from "../../src/catalogue/install.ts";
import { pull } from "../../src/catalogue/pull.ts";
import { sha256 } from "../../src/catalogue/store.ts";
import { CatalogueError } from "../../src/core/errors.ts";
import { partOf } from "./fake-clients.ts";
import { type FakeRegistryOptions, fakeRegistry } from "./fake-registry.ts";
import { makeZip } from "./make-zip.ts";

setDefaultTimeout(120_000);

const TOKEN = "npm_a-token-of-nobody";
const BEARER = `Bearer ${TOKEN}`;
const LOGIN = Buffer.from("ann:s3cret").toString("base64");
const BASIC = `Basic ${LOGIN}`;

const start = process.cwd();
const variables = [
  "BUN_TENSORRT_CACHE",
  "HOME",
  "NPM_CONFIG_USERCONFIG",
  "npm_config_registry",
  "NPM_CONFIG_TOKEN",
  "A_TOKEN",
  "PIP_INDEX_URL",
  "NETRC",
];
const before = variables.map((name) => process.env[name]);
let folder = "";

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-private-"));
  process.env.BUN_TENSORRT_CACHE = join(folder, "cache");
  process.env.HOME = join(folder, "home");
  mkdirSync(join(folder, "home"));
  mkdirSync(join(folder, "app/src"), { recursive: true });
  writeFileSync(join(folder, "app/package.json"), "{}");
  process.chdir(join(folder, "app"));
});

afterEach(() => {
  process.chdir(start);
  for (const [at, name] of variables.entries()) {
    if (before[at] === undefined) delete process.env[name];
    else process.env[name] = before[at];
  }
  rmSync(folder, { recursive: true });
});

/** How a user tells Bun of a registry at an address, and of the token or password for it. */
type Setting = (url: string) => void;

const write = (path: string, text: string): void => writeFileSync(join(folder, path), text);
const nerf = (url: string): string => url.replace("http:", "");

const SETTINGS: readonly (readonly [name: string, options: FakeRegistryOptions, set: Setting])[] = [
  [
    "a token in the project's .npmrc",
    { authorization: BEARER },
    (url) => write("app/.npmrc", `registry=${url}\n${nerf(url)}:_authToken=${TOKEN}\n`),
  ],
  [
    "a token of the environment in the .npmrc of the project around the working folder",
    { authorization: BEARER },
    (url) => {
      write("app/.npmrc", `registry=${url}\n${nerf(url)}:_authToken=\${A_TOKEN}\n`);
      process.env.A_TOKEN = TOKEN;
      process.chdir(join(folder, "app/src"));
    },
  ],
  [
    "a password in the user's .npmrc",
    { authorization: BASIC },
    (url) => {
      write("home/.npmrc", `registry=${url}\n${nerf(url)}:_auth=${LOGIN}\n`);
      process.env.BUN_TENSORRT_CACHE = "../cache";
    },
  ],
  [
    "a user name and password in the file that NPM_CONFIG_USERCONFIG names",
    { authorization: BASIC },
    (url) => {
      const password = Buffer.from("s3cret").toString("base64");
      write("settings", `registry=${url}\n${nerf(url)}:username=ann\n${nerf(url)}:_password=${password}\n`);
      process.env.NPM_CONFIG_USERCONFIG = join(folder, "settings");
    },
  ],
  [
    "a scope's token in .npmrc",
    { authorization: BEARER, package: "@acme/models" },
    (url) => write("app/.npmrc", `@acme:registry=${url}\n${nerf(url)}:_authToken=${TOKEN}\n`),
  ],
  [
    "a scope's token in bunfig.toml",
    { authorization: BEARER, package: "@acme/models" },
    (url) => write("app/bunfig.toml", `[install.scopes]\nacme = { url = "${url}", token = "${TOKEN}" }\n`),
  ],
  [
    "a password in bunfig.toml, which also wants a frozen lockfile",
    { authorization: BASIC },
    (url) =>
      write(
        "app/bunfig.toml",
        `[install]\nfrozenLockfile = true\nregistry = { url = "${url}", username = "ann", password = "s3cret" }\n`,
      ),
  ],
  [
    "a token in the environment",
    { authorization: BEARER },
    (url) => {
      process.env.npm_config_registry = url;
      process.env.NPM_CONFIG_TOKEN = TOKEN;
    },
  ],
  [
    "a password in the address in the environment",
    { authorization: BASIC },
    (url) => {
      process.env.npm_config_registry = url.replace("http://", "http://ann:s3cret@");
    },
  ],
];

test.each(SETTINGS)("pull() takes a model from a registry that wants %s", async (_, options, set) => {
  using fake = await fakeRegistry(options);
  set(fake.url);
  const path = await pull(fake.entry);
  expect(readFileSync(path)).toHaveLength(1000);
  // Once without, which is refused, and once by Bun's client; nothing of its is left behind.
  expect(readdirSync(join(folder, "cache/models"))).toEqual(["fake.onnx"]);
  expect(readdirSync(join(folder, "app")).filter((name) => name === "node_modules" || name === "bun.lock")).toEqual([]);
});

test("pull() with a wrong token says what the registry answered, never the token", async () => {
  using fake = await fakeRegistry({ authorization: BEARER });
  write("app/.npmrc", `registry=${fake.url}\n${nerf(fake.url)}:_authToken=wrong-${TOKEN}\n`);
  const error = await pull(fake.entry).catch((cause: unknown) => cause);
  expect(error).toBeInstanceOf(CatalogueError);
  expect((error as Error).message).toMatch(/^Cannot fetch "fake": the registry did not give fake-models@1.0.0: .*401/);
  expect((error as Error).message).not.toContain(TOKEN);
});

/** A server of another origin, and the header that each request brought. */
function stranger(answer: (range: string) => Response): { url: string; headers: (string | null)[] } & Disposable {
  const headers: (string | null)[] = [];
  const server = Bun.serve({
    port: 0,
    fetch(request) {
      headers.push(request.headers.get("authorization"));
      return answer(request.headers.get("range") ?? "");
    },
  });
  return { url: server.url.href, headers, [Symbol.dispose]: () => void server.stop(true) };
}

test.each(["the registry names", "the registry redirects to"])(
  "pull() sends no token to another origin, which %s",
  async (way) => {
    let tarball = new Uint8Array(new ArrayBuffer(0));
    // Refuses the first request, so that Bun's client, which has the token, asks as well.
    let isFirst = true;
    using other = stranger(() => {
      const refused = isFirst && way === "the registry names";
      isFirst = false;
      return refused ? new Response("", { status: 403 }) : new Response(tarball);
    });
    const address = `${other.url}fake-models-1.0.0.tgz`;
    const options: FakeRegistryOptions =
      way === "the registry names" ? { address } : { answer: () => Response.redirect(address, 302) };
    using fake = await fakeRegistry({ ...options, authorization: BEARER });
    tarball = fake.tarball;
    write("app/.npmrc", `registry=${fake.url}\n${nerf(fake.url)}:_authToken=${TOKEN}\n`);
    expect(readFileSync(await pull(fake.entry))).toHaveLength(1000);
    expect(other.headers.length).toBeGreaterThan(0);
    expect(other.headers.every((header) => header === null)).toBe(true);
  },
);

/** A component of one wheel, as pip itself takes it. */
function wheel(): { archive: Uint8Array<ArrayBuffer>; component: Component; build: ComponentBuild } {
  const text = (lines: readonly string[]): Uint8Array => new TextEncoder().encode(`${lines.join("\n")}\n`);
  const library = new Uint8Array(20_000).map((_, at) => ((at * at) >> 3) ^ at);
  const about = "fake_libs-1.0.dist-info";
  const archive = makeZip([
    { name: "fake_libs/libfake.so.1", content: library },
    { name: `${about}/METADATA`, content: text(["Metadata-Version: 2.1", "Name: fake-libs", "Version: 1.0"]) },
    { name: `${about}/WHEEL`, content: text(["Wheel-Version: 1.0", "Root-Is-Purelib: true", "Tag: py3-none-any"]) },
    { name: `${about}/RECORD`, content: text([`fake_libs/libfake.so.1,,`, `${about}/RECORD,,`]) },
  ]);
  const source = { kind: "wheel", package: "fake-libs", version: "1.0", platform: "any" } as const;
  const file = { member: "fake_libs/libfake.so.1", sha256: sha256(library), byteLength: library.length };
  const build = { platform: "linux", architecture: "x64", cuda: 12, version: "1.0", source, files: [file] } as const;
  const component = { name: "fake", description: "", licence: "", licenceText: { source, file }, builds: [build] };
  return { archive, component, build };
}

const hasPip = Bun.spawnSync(["sh", "-c", "python3 -m pip --version"], { stdout: "ignore", stderr: "ignore" }).success;

test.skipIf(!hasPip).each(["in its address", "in .netrc"])(
  "install() takes a wheel from an index that wants a password, which is %s, and sends it nowhere else",
  async (way) => {
    process.env.HOME = before[variables.indexOf("HOME")]; // where Python itself may lie
    const { archive, component, build } = wheel();
    using elsewhere = stranger((range) => partOf(archive, range));
    const asked: string[] = [];
    using index = Bun.serve({
      port: 0,
      fetch(request) {
        const { pathname } = new URL(request.url);
        if (request.headers.get("authorization") !== BASIC) {
          return new Response("", { status: 401, headers: { "www-authenticate": 'Basic realm="index"' } });
        }
        asked.push(pathname);
        if (pathname.endsWith(".whl")) return partOf(archive, request.headers.get("range") ?? "");
        // pip's cache of answers goes by address: every test has a port of its own.
        const folder = way === "in its address" ? elsewhere.url : "/files/";
        const page = `<a href="${folder}fake_libs-1.0-py3-none-any.whl#sha256=${sha256(archive)}">wheel</a>`;
        return new Response(page, { headers: { "content-type": "text/html" } });
      },
    });
    const { host, hostname } = index.url;
    const login = way === "in its address" ? "ann:s3cret@" : "";
    process.env.PIP_INDEX_URL = `http://${login}${host}/simple/`;
    if (way === "in .netrc") {
      process.env.NETRC = join(folder, "netrc");
      writeFileSync(process.env.NETRC, `machine ${hostname} login ann password s3cret\n`, { mode: 0o600 });
    }
    using archives = new ArchiveSet();
    expect(sha256(readFileSync(await fetchLicence(component, { archives })))).toBe(build.files[0]!.sha256);
    const { paths } = await install(component, build, { archives });
    expect(sha256(readFileSync(paths[0]!))).toBe(build.files[0]!.sha256);
    expect(asked).toContain("/simple/fake-libs/");
    expect(elsewhere.headers.every((header) => header === null)).toBe(true);
    expect(elsewhere.headers.length > 0).toBe(way === "in its address");
  },
  120_000,
);
