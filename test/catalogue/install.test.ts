import { afterEach, beforeEach, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import type { Component, ComponentBuild } from "../../src/catalogue/components.ts";
import { ArchiveSet, fetchLicence, type Installed, install } from "../../src/catalogue/install.ts";
import { runClient } from "../../src/catalogue/package-clients.ts";
import { buildState, libraryFolder, removeComponent, storageError } from "../../src/catalogue/store.ts";
import { CatalogueError } from "../../src/core/errors.ts";
import { setLogSink } from "../../src/core/log.ts";
import { temporaryPath } from "../../src/core/whole-file.ts";
import { testFolder } from "../support/folder.ts";
import { hasSmallDisk, SMALL_DISK } from "../support/small-disk.ts";
import { type FakeClients, type FakeClientsOptions, fakeClients, partOf } from "./fake-clients.ts";

setDefaultTimeout(120_000);

const inFolder = testFolder("install");
const lines: string[] = [];
const pathBefore = process.env.PATH ?? "";

beforeEach(() => {
  process.env.BUN_TENSORRT_CACHE = inFolder("cache");
  setLogSink((level, text) => lines.push(`${level} ${text}`));
});

afterEach(() => {
  delete process.env.BUN_TENSORRT_CACHE;
  process.env.PATH = pathBefore;
  setLogSink(undefined);
  lines.length = 0;
});

function clients(options: FakeClientsOptions = {}): FakeClients {
  const started = fakeClients(inFolder(), options);
  process.env.PATH = started.path;
  return started;
}

async function installed(fake: FakeClients, build: ComponentBuild = fake.wheel): Promise<Installed> {
  using archives = new ArchiveSet();
  return await install(fake.component, build, { archives });
}

async function failure(promise: Promise<unknown>): Promise<CatalogueError> {
  const error = await promise.then(
    () => undefined,
    (cause) => cause,
  );
  expect(error).toBeInstanceOf(CatalogueError);
  return error as CatalogueError;
}

function here(): string[] {
  return existsSync(libraryFolder()) ? readdirSync(libraryFolder()).sort() : [];
}

test("install() fetches the pinned files by ranges and nothing else, and needs no network the second time", async () => {
  using fake = clients();
  expect(buildState(fake.component, fake.wheel)).toBe("no");
  using archives = new ArchiveSet();
  const seen: [number, number | undefined][] = [];
  const onProgress = (received: number, total: number | undefined): void => void seen.push([received, total]);
  const { paths, receivedBytes, archiveBytes } = await install(fake.component, fake.wheel, { archives, onProgress });
  expect(paths).toEqual([join(libraryFolder(), "libfake.so.1"), join(libraryFolder(), "libsmall.so.1")]);
  expect(archiveBytes).toBe(fake.archive.length);
  expect(receivedBytes).toBeLessThan(fake.archive.length - 50_000 + 1000);
  expect(seen[0]?.[0]).toBe(0);
  expect(seen.at(-1)?.[0]).toBe(seen.at(-1)?.[1]);
  expect(here()).toEqual(["libfake.so.1", "libsmall.so.1"]);
  expect(buildState(fake.component, fake.wheel)).toBe("yes");
  const requests = fake.ranges.length;
  expect(await installed(fake)).toEqual({ paths, receivedBytes: 0, archiveBytes: 0 });
  expect(fake.ranges).toHaveLength(requests);
});

test("install() fetches a missing or damaged file alone", async () => {
  using fake = clients();
  await installed(fake);
  const path = join(libraryFolder(), "libsmall.so.1");
  writeFileSync(path, "a small LIBRARY");
  const { receivedBytes } = await installed(fake);
  expect(receivedBytes).toBeLessThan(1000);
  expect(readFileSync(path, "utf8")).toBe("a small library");
  expect(lines.join("\n")).toMatch(/Checksum mismatch for \S+libsmall\.so\.1; downloading it again/);
  rmSync(path);
  expect(buildState(fake.component, fake.wheel)).toBe("partly");
});

test("install() takes the whole archive where the server sends no ranges, and deletes it afterwards", async () => {
  using fake = clients({ answer: (_, archive) => new Response(archive) });
  const { receivedBytes } = await installed(fake);
  expect(receivedBytes).toBe(fake.archive.length);
  expect(fake.ranges).toHaveLength(1);
  expect(here()).toEqual(["libfake.so.1", "libsmall.so.1"]);
});

test("install() fetches a whole archive again that came cut off, and takes one that was packed on its way", async () => {
  let most = 0;
  using cut = clients({
    answer: (request, archive) => {
      const staged = readdirSync(libraryFolder(), { recursive: true, withFileTypes: true });
      most = Math.max(most, staged.filter((one) => one.isFile()).length);
      return new Response(request < 2 ? archive.slice(0, 5000) : archive);
    },
  });
  expect(await installed(cut)).toMatchObject({ archiveBytes: cut.archive.length });
  expect(cut.ranges).toHaveLength(3);
  // What came cut off does not pile up on the disk.
  expect(most).toBe(1);
  expect(here()).toEqual(["libfake.so.1", "libsmall.so.1"]);
  rmSync(libraryFolder(), { recursive: true });
  const headers = { "content-encoding": "gzip" };
  using packed = clients({ answer: (_, archive) => new Response(Bun.gzipSync(archive), { headers }) });
  expect(await installed(packed)).toMatchObject({ archiveBytes: packed.archive.length });
  expect(packed.ranges).toHaveLength(1);
});

test("install() lets the client itself fetch what its address refuses, and says so", async () => {
  using fake = clients({ answer: () => new Response("who are you", { status: 401 }) });
  for (const build of [fake.wheel, fake.jar]) {
    const { receivedBytes } = await installed(fake, build);
    expect(receivedBytes).toBe(fake.archive.length);
    removeComponent(fake.component);
  }
  expect(lines.filter((line) => line.startsWith("warn Fetching the whole"))).toHaveLength(2);
  expect(lines.join("\n")).toMatch(/through its package client: \S+ answered 401 Unauthorized/);
});

test("install() reads a jar by ranges from the first repository, and one that is here from the disk", async () => {
  using fake = clients();
  await installed(fake, fake.jar);
  expect(fake.ranges[0]).toBe("bytes=0-0");
  removeComponent(fake.component);
  const jar = inFolder("m2/org/fake/libs/1.0/libs-1.0-all.jar");
  mkdirSync(join(jar, ".."), { recursive: true });
  writeFileSync(jar, fake.archive);
  const requests = fake.ranges.length;
  expect((await installed(fake, fake.jar)).receivedBytes).toBe(0);
  expect(fake.ranges).toHaveLength(requests);
});

test("install() tries again after a busy server, a lost connection and a wrong range", async () => {
  using fake = clients({
    answer: (request, archive, range) => {
      if (request === 0) return new Response("busy", { status: 503 });
      if (request === 4)
        return new Response(archive.slice(0, 10), { status: 206, headers: { "content-range": "bytes 0-9/10" } });
      if (request !== 5) return undefined;
      const { headers } = partOf(archive, range);
      const start = Number(/\d+/.exec(range)?.[0]);
      const body = new ReadableStream({
        start: (one) => {
          one.enqueue(archive.slice(start, start + 100));
          one.close();
        },
      });
      return new Response(body, { status: 206, headers });
    },
  });
  await installed(fake);
  expect(here()).toEqual(["libfake.so.1", "libsmall.so.1"]);
  const again = lines.filter((line) => line.startsWith("warn Trying again to fetch fake"));
  expect(again).toHaveLength(3);
  expect(again.join("\n")).toMatch(
    /answered 503[\s\S]*answered 206 bytes 0-9\/10 when asked for bytes[\s\S]*broke off/,
  );
});

test("install() refuses a file with another hash or size, keeps nothing, and tries no further", async () => {
  using fake = clients();
  const [first, second] = fake.wheel.files;
  const wrongHash = { ...fake.wheel, files: [second!, { ...first!, sha256: "0".repeat(64) }] };
  const error = await failure(installed(fake, wrongHash));
  expect(error.message).toStartWith('Cannot keep "fake": libs/libfake.so.1 of the wheel fake-libs 1.0 (any) must have');
  expect(error.message).toContain("SHA-256 0000");
  expect(error.message).toContain("do not use it");
  const wrongSize = { ...fake.wheel, files: [{ ...first!, byteLength: 19_999 }] };
  expect((await failure(installed(fake, wrongSize))).message).toContain("must have 19999 bytes, got 20000");
  expect(here()).toEqual([]);
  expect(lines).toEqual([]);
});

test("install() writes no byte beyond the pinned size, whatever the archive unpacks to", async () => {
  using fake = clients();
  // The directory tells the pinned size, the data holds more: a bomb.
  const lie = new DataView(fake.archive.buffer);
  for (let at = 0; at < fake.archive.length - 4; at++) {
    if (lie.getUint32(at, true) === 0x02014b50 && lie.getUint32(at + 24, true) === 20_000)
      lie.setUint32(at + 24, 500, true);
  }
  const short = { ...fake.wheel, files: [{ ...fake.wheel.files[0]!, byteLength: 500 }] };
  expect((await failure(installed(fake, short))).message).toContain("must have 500 bytes, got more");
  expect(here()).toEqual([]);
});

test("install() names an archive without the file, and one that is none", async () => {
  using fake = clients();
  const other = { ...fake.wheel, files: [{ ...fake.wheel.files[0]!, member: "libs/other.so" }] };
  expect((await failure(installed(fake, other))).message).toBe(
    'Cannot keep "fake": the wheel fake-libs 1.0 (any) has no file libs/other.so',
  );
  using none = clients({ answer: (_, __, range) => partOf(new Uint8Array(5000), range) });
  const error = await failure(installed(none));
  expect(error.message).toContain("the archive is damaged: it has no directory at its end\nHint: ");
  expect(error.message).toContain(`by hand`);
});

test("install() writes nothing outside its folder, whatever names an archive holds", async () => {
  const evil = [
    "../evil",
    "../../evil",
    "/tmp/evil",
    "libs/../../libfake.so.1",
    "..",
    "",
    "libs/libfake.so.1/x",
    "C:\\evil",
  ];
  const content = new TextEncoder().encode("evil");
  using fake = clients({ files: evil.map((name) => ({ name, content })) });
  await installed(fake);
  expect(here()).toEqual(["libfake.so.1", "libsmall.so.1"]);
  expect(readdirSync(inFolder("cache"))).toEqual(["lib"]);
  const outside = { ...fake.wheel, files: [{ ...fake.wheel.files[0]!, member: "../../libs/../libfake.so.1" }] };
  expect(buildState(fake.component, outside)).toBe("yes");
});

test("install() without the package client says what to install and which file to put where", async () => {
  using fake = clients();
  mkdirSync(inFolder("empty"));
  process.env.PATH = inFolder("empty");
  const wheel = (await failure(installed(fake))).message;
  expect(wheel).toStartWith('Cannot fetch "fake": python3 with pip was not found\nHint: install Python 3 with pip');
  expect(wheel).toEndWith(
    `or put libs/libfake.so.1, libs/libsmall.so.1 of the wheel fake-libs 1.0 (any) into ${libraryFolder()} by hand`,
  );
  const jar = (await failure(installed(fake, fake.jar))).message;
  expect(jar).toStartWith('Cannot fetch "fake": mvn, the command of Maven, was not found\nHint: install Maven');
  expect(jar).toContain("of the jar org.fake:libs:1.0 (all) into");
});

test("install() gives the client's own reason", async () => {
  using fake = clients();
  const text =
    'case "$*" in *--version*) ;; *) echo "WARNING: slow"; echo "ERROR: No matching distribution found" >&2; exit 1 ;; esac';
  writeFileSync(inFolder("bin/python3"), `#!/bin/sh\n${text}\n`);
  expect((await failure(installed(fake))).message).toMatch(/\S+python3 failed: No matching distribution found\nHint/);
  const offline =
    "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError('<pip>: Failed to connect: " +
    "[Errno 111] Connection refused')': /fake-libs/\nERROR: No matching distribution found";
  const answer = `case "$*" in *--version*) ;; *) cat <<'END' >&2\n${offline}\nEND\nexit 1 ;; esac`;
  writeFileSync(inFolder("bin/python3"), `#!/bin/sh\n${answer}\n`);
  expect((await failure(installed(fake))).message).toContain(
    "failed: Failed to connect: [Errno 111] Connection refused\n",
  );
  writeFileSync(inFolder("bin/python3"), '#!/bin/sh\necho "not a report"\n');
  expect((await failure(installed(fake))).message).toContain("pip gave no address for fake-libs==1.0");
});

test("install() ends when its signal does, and leaves nothing behind", async () => {
  const never = new ReadableStream<Uint8Array>({ start: (one) => one.enqueue(new Uint8Array(10)) });
  using fake = clients({
    answer: (request, archive, range) =>
      request < 3 ? undefined : new Response(never, { status: 206, headers: partOf(archive, range).headers }),
  });
  const abort = new AbortController();
  using archives = new ArchiveSet();
  const installing = install(fake.component, fake.wheel, { archives, signal: abort.signal });
  setTimeout(() => abort.abort(), 300);
  const error = await installing.catch((cause: unknown) => cause);
  expect((error as Error).name).toBe("AbortError");
  archives[Symbol.dispose]();
  expect(here()).toEqual([]);
});

test("install() that is ended ends its package client at once, with all that the client started", async () => {
  using fake = clients();
  const pid = inFolder("pid");
  // As version managers have it: a shell in front of the client itself.
  const text = `case "$*" in *--version*) ;; *) sh -c 'echo $$ > ${pid}; exec sleep 20'; exit 1 ;; esac`;
  writeFileSync(inFolder("bin/python3"), `#!/bin/sh\n${text}\n`);
  const abort = new AbortController();
  using archives = new ArchiveSet();
  const installing = install(fake.component, fake.wheel, { archives, signal: abort.signal }).catch((cause) => cause);
  while (!existsSync(pid) || readFileSync(pid, "utf8") === "") await Bun.sleep(10);
  const started = performance.now();
  abort.abort();
  expect(((await installing) as Error).name).toBe("AbortError");
  expect(performance.now() - started).toBeLessThan(5000);
  expect(() => process.kill(Number(readFileSync(pid, "utf8")), 0)).toThrow("ESRCH");
  expect(here()).toEqual([]);
});

test("install() asks pip whatever the user has set it to for installing", async () => {
  using fake = clients();
  const plain = readFileSync(inFolder("bin/python3"), "utf8");
  const text = `case "$PIP_USER $PIP_REQUIRE_VIRTUALENV $PIP_REQUIRE_HASHES" in *1*) echo "ERROR: no" >&2; exit 1 ;; esac
    [ "$PIP_VERBOSE" = 0 ] || echo "Using pip"
    [ "$PIP_PROGRESS_BAR" = off ] || echo " ━━━━━━"`;
  writeFileSync(inFolder("bin/python3"), plain.replace("#!/bin/sh\n", `#!/bin/sh\n${text}\n`));
  const settings = ["PIP_USER", "PIP_REQUIRE_VIRTUALENV", "PIP_REQUIRE_HASHES", "PIP_VERBOSE"];
  const former = settings.map((name) => process.env[name]);
  try {
    for (const name of settings) process.env[name] = "1";
    expect((await installed(fake)).paths.length).toBe(2);
  } finally {
    for (const [at, name] of settings.entries()) {
      if (former[at] === undefined) delete process.env[name];
      else process.env[name] = former[at];
    }
  }
});

test("runClient() says when a client takes too long", async () => {
  const late = await runClient(["sh", "-c", "sleep 20; exit 1"], { timeoutMs: 50 });
  expect(late).toEqual({ problem: "sh failed: no answer within 0.05 s", transient: false });
});

test("install() deletes what was left a day ago, and not what another process may be writing", async () => {
  using fake = clients();
  const [old, young] = [temporaryPath(libraryFolder()), temporaryPath(libraryFolder())];
  for (const path of [old, young]) mkdirSync(path, { recursive: true });
  const twoDaysAgo = Date.now() / 1000 - 172_800;
  utimesSync(old, twoDaysAgo, twoDaysAgo);
  await installed(fake);
  expect(here()).toEqual([basename(young), "libfake.so.1", "libsmall.so.1"].sort());
});

test("fetchLicence() puts the text beside the libraries, by ranges alone", async () => {
  using fake = clients();
  using archives = new ArchiveSet();
  const path = await fetchLicence(fake.component, { archives });
  expect(path).toBe(join(libraryFolder(), "fake.LICENSE.txt"));
  expect(readFileSync(path, "utf8")).toBe("You may.\n");
  const requests = fake.ranges.length;
  await fetchLicence(fake.component, { archives });
  expect(fake.ranges).toHaveLength(requests);
  expect(removeComponent(fake.component)).toBe(9);
  expect(removeComponent(fake.component)).toBeUndefined();
  using whole = clients({ answer: (_, archive) => new Response(archive) });
  using others = new ArchiveSet();
  const error = await failure(fetchLicence(whole.component, { archives: others }));
  expect(error.message).toMatch(/^Cannot show the licence of "fake": \S+ sends the whole archive or nothing/);
  expect(error.message).toEndWith("Hint: read LICENSE of the wheel fake-libs 1.0 (any)");
});

test("install() finds a folder that cannot be written", async () => {
  using fake = clients();
  writeFileSync(inFolder("file"), "");
  process.env.BUN_TENSORRT_CACHE = inFolder("file");
  const error = await failure(installed(fake));
  expect(error.message).toMatch(/^Cannot store "fake": .*lib cannot be written: .*\nHint: make the folder writable/);
  expect(fake.ranges).toEqual([]);
});

test("storageError() of a full disk says how much is needed and where", () => {
  for (const code of ["ENOSPC", "EDQUOT"]) {
    const need = { name: "fake", folder: "/somewhere", byteLength: 1_430_118_240 };
    const error = storageError(need, Object.assign(new Error("full"), { code }));
    expect(error.message).toBe(
      'Cannot store "fake": the disk has too little room, 1.33 GiB needed in /somewhere\n' +
        "Hint: free some, or set BUN_TENSORRT_CACHE to another disk",
    );
  }
});

let given = 0;

/** The next piece of an archive; none after the last. */
function pieceOf(archive: Uint8Array<ArrayBuffer>, controller: ReadableStreamDefaultController<Uint8Array>): void {
  if (given < archive.length) controller.enqueue(archive.slice(given, given + 10_000));
  else controller.close();
  given += 10_000;
}

test.skipIf(!hasSmallDisk)("install() on a full disk says so before it fetches, and as it writes", async () => {
  const disk = inFolder("disk");
  mkdirSync(disk);
  const source = join(import.meta.dir, "../../src/catalogue");
  const installOnto = async (component: Component): Promise<string> => {
    const script = `
      import { ArchiveSet, install } from ${JSON.stringify(join(source, "install.ts"))};
      using archives = new ArchiveSet();
      const component = ${JSON.stringify(component)};
      await install(component, component.builds[0], { archives }).catch((error) => console.log(error.message));`;
    const mount = `mount -t tmpfs -o size=64k tmpfs ${disk} && "$0" -e "$1" && ls -A ${disk}/lib`;
    const child = Bun.spawn([...SMALL_DISK, mount, process.execPath, script], {
      env: { ...process.env, BUN_TENSORRT_CACHE: disk },
      stdout: "pipe",
    });
    return await child.stdout.text();
  };
  const hint = "Hint: free some, or set BUN_TENSORRT_CACHE to another disk\n";
  const content = new Uint8Array(200_000).map((_, at) => at * at);
  using ranged = clients({ content });
  expect(await installOnto(ranged.component)).toBe(
    `Cannot store "fake": the disk has too little room, 195.33 KiB needed, 64.00 KiB free in ${disk}/lib\n${hint}`,
  );
  // Of unknown length, so that it is found as the disk fills.
  const files = [{ name: "more", content: new Uint8Array(40_000), isStored: true }];
  using whole = clients({
    files,
    answer: (_, archive) => new Response(new ReadableStream({ pull: (one) => pieceOf(archive, one) })),
  });
  expect(await installOnto(whole.component)).toMatch(
    /^Cannot store "fake": the disk has too little room, [\d.]+ KiB needed in \S+\nHint: .*\n$/,
  );
});
