import { afterEach, beforeEach, expect, setDefaultTimeout, test } from "bun:test";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LibraryLoadError } from "../../src/core/errors.ts";
import { setLogSink } from "../../src/core/log.ts";
import { candidatePaths, type LibrarySpec } from "../../src/ffi/discovery.ts";
import { isMusl, openLibrary } from "../../src/ffi/library.ts";
import { LIBM } from "../support/system-library.ts";

setDefaultTimeout(120_000);

const LIBC = "libc.so.6";
const TABLE = { abs: { args: ["i32"], returns: "i32" } } as const;
const isLinux = process.platform === "linux";

let folder = "";
let lines: string[] = [];
const environment = { ...process.env };

function spec(overrides: Partial<LibrarySpec> = {}): LibrarySpec {
  return { name: "probe", variable: "BUN_TENSORRT_PROBE", files: ["libprobe.so.1"], hint: "install it", ...overrides };
}

/** A real library under another name, as the C library is there on every Linux. */
function copyOfLibrary(path: string): string {
  copyFileSync(LIBM!, path);
  return path;
}

const hasLibm = isLinux && LIBM !== undefined;
const MATHS = { fabs: { args: ["f64"], returns: "f64" } } as const;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "library-"));
  lines = [];
  setLogSink((level, text) => lines.push(`${level} ${text}`));
});

afterEach(() => {
  setLogSink(undefined);
  for (const name of ["BUN_TENSORRT_PROBE", "BUN_TENSORRT_CACHE", "VIRTUAL_ENV", "CONDA_PREFIX", "LD_LIBRARY_PATH"]) {
    if (environment[name] === undefined) delete process.env[name];
    else process.env[name] = environment[name];
  }
  rmSync(folder, { recursive: true });
});

test.skipIf(!isLinux)(
  "candidatePaths() goes through the library path, npm, the cache, what is bundled, Python, given folders, the system",
  () => {
    process.env.BUN_TENSORRT_CACHE = join(folder, "cache");
    process.env.VIRTUAL_ENV = join(folder, "venv");
    process.env.LD_LIBRARY_PATH = "/linker";
    mkdirSync(join(folder, "venv/lib/python3.11/site-packages"), { recursive: true });
    const paths = candidatePaths(
      spec({
        npm: [["onnxruntime-node", "bin/x"]],
        bundled: [["bundled-probe", "lib"]],
        python: ["probe/lib"],
        folders: ["/opt/probe"],
      }),
    );
    const wanted = [
      "/linker/libprobe.so.1",
      "onnxruntime-node/bin/x/libprobe.so.1",
      join(folder, "cache/lib/libprobe.so.1"),
      "node_modules/bundled-probe/lib/libprobe.so.1",
      join(folder, "venv/lib/python3.11/site-packages/probe/lib/libprobe.so.1"),
      "/opt/probe/libprobe.so.1",
    ];
    const places = wanted.map((path) => paths.findIndex((candidate) => candidate.endsWith(path)));
    expect(places).not.toContain(-1);
    expect(places).toEqual([...places].sort((a, b) => a - b));
    expect(paths[paths.indexOf("/opt/probe/libprobe.so.1") + 1]).toBe("libprobe.so.1");
  },
);

test("candidatePaths() looks for a package that is not installed below the working folder", () => {
  const [first] = candidatePaths(spec({ npm: [["no-such-package-here", "lib"]] }));
  expect(first).toBe("node_modules/no-such-package-here/lib/libprobe.so.1");
});

test("candidatePaths() takes the variable alone, as a file or as a folder", () => {
  process.env.BUN_TENSORRT_PROBE = join(folder, "elsewhere.so");
  expect(candidatePaths(spec({ folders: ["/opt/probe"] }))).toEqual([join(folder, "elsewhere.so")]);
  process.env.BUN_TENSORRT_PROBE = folder;
  expect(candidatePaths(spec({ files: ["a.so", "b.so"] }))).toEqual([join(folder, "a.so"), join(folder, "b.so")]);
});

test("candidatePaths() expands one * to the versions that are there, newest first", () => {
  process.env.BUN_TENSORRT_PROBE = folder;
  for (const name of ["libp.so.1.9.0", "libp.so.1.31.1", "libp.so.1.4.2", "libp.so.2", "libp.so.1."]) {
    writeFileSync(join(folder, name), "");
  }
  expect(candidatePaths(spec({ files: ["libp.so.1", "libp.so.1.*"] }))).toEqual(
    ["libp.so.1", "libp.so.1.31.1", "libp.so.1.9.0", "libp.so.1.4.2"].map((name) => join(folder, name)),
  );
  expect(candidatePaths(spec({ files: ["libq.so.*"] }))).toEqual([join(folder, "libq.so.*")]);
});

test("openLibrary() lists every path it tried, with the reason, and the hint", () => {
  process.env.BUN_TENSORRT_PROBE = folder;
  writeFileSync(join(folder, "text.so"), "not a library");
  const open = () => openLibrary(spec({ files: ["absent.so", "text.so"] }), TABLE);
  expect(open).toThrow(LibraryLoadError);
  try {
    open();
  } catch (error) {
    const { library, tried, message } = error as LibraryLoadError;
    expect(library).toBe("probe");
    expect(tried).toHaveLength(2);
    expect(tried[0]).toBe(`${join(folder, "absent.so")}: no such file`);
    expect(tried[1]).toStartWith(`${join(folder, "text.so")}: `);
    expect(message).toStartWith("Cannot load the library probe: it was found at none of these paths:\n  ");
    for (const line of tried) expect(message).toContain(`\n  ${line}`);
    // The hint is of the variable: nothing but what it names was tried.
    expect(message).toEndWith("\nHint: unset BUN_TENSORRT_PROBE, or let it name the file of such a library");
  }
});

test.skipIf(!hasLibm)("openLibrary() takes no library of the working folder for one of the system", () => {
  const before = process.cwd();
  process.chdir(folder);
  copyOfLibrary("libplanted.so.1");
  try {
    expect(() => openLibrary(spec({ files: ["libplanted.so.1"] }), MATHS)).toThrow(
      "\n  libplanted.so.1: the working folder has a file of this name",
    );
    expect(() => openLibrary(spec(), MATHS)).toThrow("\n  the dynamic linker: no libprobe.so.1\n");
  } finally {
    process.chdir(before);
  }
});

test("openLibrary() has one line for a folder, and one mention of a path", () => {
  process.env.BUN_TENSORRT_PROBE = folder;
  const file = join(folder, "text.so");
  writeFileSync(file, "not a library");
  const files = ["libp.so.1", "libp.so", "text.so"];
  expect(() => openLibrary(spec({ files, isNeeded: true }), TABLE)).toThrow(LibraryLoadError);
  expect(lines).toEqual([]);
  try {
    openLibrary(spec({ files }), TABLE);
  } catch (error) {
    const { message } = error as LibraryLoadError;
    expect(message).toContain(`\n  ${folder}: no libp.so.1, libp.so\n`);
    expect(message.split(file)).toHaveLength(2);
  }
  expect(lines.join().split(file)).toHaveLength(2);
});

test.skipIf(!hasLibm)(
  "openLibrary() passes over a file it cannot open, with a log line, and opens the next once",
  () => {
    process.env.BUN_TENSORRT_PROBE = folder;
    writeFileSync(join(folder, "broken.so"), "not a library");
    const good = copyOfLibrary(join(folder, "good.so"));
    symlinkSync(good, join(folder, "link.so"));
    const first = openLibrary(spec({ name: "once", files: ["broken.so", "link.so"] }), MATHS);
    expect(first.path).toBe(good);
    expect(first.symbols.fabs(-2.5)).toBe(2.5);
    expect(lines[0]).toStartWith(`warn Ignoring once at ${join(folder, "broken.so")}: `);
    expect(lines.at(-1)).toBe(`debug Opened once: ${good}`);
    const again = openLibrary(spec({ name: "once", files: ["good.so"] }), MATHS);
    expect(again.symbols).toBe(first.symbols);
  },
);

test.skipIf(!hasLibm)("openLibrary() passes over a library that fails its probe, and probes only once", () => {
  process.env.BUN_TENSORRT_PROBE = folder;
  const bad = copyOfLibrary(join(folder, "bad.so"));
  const good = copyOfLibrary(join(folder, "good.so"));
  let probes = 0;
  const probe = () => (++probes === 1 ? "it is too old: 0.9" : undefined);
  const options = spec({ name: "probed", files: ["bad.so", "good.so"] });
  expect(openLibrary(options, MATHS, probe).path).toBe(good);
  expect(lines).toContain(`warn Ignoring probed at ${bad}: it is too old: 0.9`);
  openLibrary({ ...options, files: ["good.so"] }, MATHS, probe);
  expect(probes).toBe(2);
  const refuse = () => openLibrary({ ...options, files: ["bad.so"] }, MATHS, () => "it is too old: 0.9");
  expect(refuse).toThrow(`${bad}: it is too old: 0.9`);
});

test.skipIf(!isLinux)("openLibrary() leaves a bare name to the dynamic linker, and refuses a missing symbol", () => {
  process.env.LD_LIBRARY_PATH = "";
  const found = openLibrary(spec({ name: "the C library of this test", files: [LIBC] }), TABLE);
  expect(found.symbols.abs(-3)).toBe(3);
  const missing = () => openLibrary(spec({ files: [LIBC] }), { no_such_symbol: { args: [], returns: "i32" } } as const);
  expect(missing).toThrow("no_such_symbol");
});

test("isMusl() goes by the dynamic linker that the process was started by", () => {
  const line = (path: string): string => `7f3f000-7f40000 r-xp 00000000 00:2a 1234   ${path}\n`;
  expect(isMusl(line("/usr/bin/bun") + line("/lib/ld-musl-x86_64.so.1"))).toBe(true);
  expect(isMusl(line("/lib/ld-musl-aarch64.so.1"))).toBe(true);
  expect(isMusl(line("/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"))).toBe(false);
  // A folder of that name, as where somebody keeps Alpine's files, is none.
  expect(isMusl(line("/opt/ld-musl-files/libprobe.so"))).toBe(false);
  expect(isMusl("")).toBe(false);
});

test.skipIf(!hasLibm)(
  "on musl a library that is made for glibc is answered with one line that names an image with it",
  () => {
    // In a process of its own, which has a file of that name in memory as musl has its linker.
    const linker = copyOfLibrary(join(folder, "ld-musl-x86_64.so.1"));
    const script = `
    import { dlopen } from "bun:ffi";
    import { setLogSink } from ${JSON.stringify(join(import.meta.dir, "../../src/core/log.ts"))};
    import { openLibrary } from ${JSON.stringify(join(import.meta.dir, "../../src/ffi/library.ts"))};
    setLogSink((level, text) => console.log(level, text.slice(0, 14)));
    dlopen(${JSON.stringify(linker)}, { fabs: { args: ["f64"], returns: "f64" } });
    for (const hasMuslBuild of [false, true]) {
      try {
        openLibrary({ name: "probe", variable: "BUN_TENSORRT_PROBE", files: ["libprobe.so"], hint: "install it", hasMuslBuild }, {});
      } catch (error) {
        console.log(error.message.split("\\n")[0], "|", error.message.split("\\n").at(-1));
      }
    }`;
    writeFileSync(join(folder, "libprobe.so"), "no library");
    const child = Bun.spawnSync([process.execPath, "-e", script], {
      env: { ...process.env, BUN_TENSORRT_PROBE: join(folder, "libprobe.so") },
    });
    expect(child.stdout.toString().trim().split("\n")).toEqual([
      "Cannot load the library probe: this system has musl (Alpine Linux), and the library is made for glibc | Hint: use an image with glibc, such as debian:bookworm-slim or oven/bun:slim",
      // The library that musl could have is the only one that is warned of.
      "warn Ignoring probe",
      "Cannot load the library probe: it was found at none of these paths: | Hint: unset BUN_TENSORRT_PROBE, or let it name the file of such a library",
    ]);
  },
);
