import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { executionHint } from "../src/core/embedded.ts";
import { cacheFolder } from "../src/core/paths.ts";
import { decodeImage, encodeImage } from "../src/image/image-file.ts";
import { loadSharp } from "../src/image/sharp.ts";
import { fakeCudaTest } from "./support/fake-cuda.ts";
import { fileFolder } from "./support/folder.ts";
import { noiseImage } from "./support/image-models.ts";
import { RTX, tinyModel } from "./support/tensorrt.ts";
import { toyDetector } from "./support/toy-detector.ts";

setDefaultTimeout(120_000);

const root = join(import.meta.dir, "..");
const inFolder = fileFolder("executables");

const FORMATS = ["jpeg", "png", "webp"] as const;
const noise = noiseImage(64, 48);

/** Detects on an image of each format, read from beside it and from inside it, and builds an engine where that can be done. */
const PROGRAM = `
import { resolve } from "node:path";
import { decodeImage, Detector } from "bun-tensorrt";
import { buildPlan } from "bun-tensorrt/tensorrt";
import model from "./toy.onnx" with { type: "file" };
import tiny from "./tiny.onnx" with { type: "file" };
import jpeg from "./image.jpeg" with { type: "file" };
import png from "./image.png" with { type: "file" };
import webp from "./image.webp" with { type: "file" };

// What a bundle imports lies beside it; what an executable imports lies inside it.
const inside = (path: string): string => resolve(import.meta.dir, path);
await using detector = await Detector.load(inside(model), { backend: "cpu", threshold: 0.1 });
const found: Record<string, readonly unknown[]> = {};
for (const [format, path] of Object.entries({ jpeg, png, webp })) {
  const { detections } = await detector.detect(inside(path));
  const { data } = await decodeImage(Bun.file(inside(path)));
  found[format] = [detections.map(({ label }) => label).join(" "), Bun.hash(data).toString()];
}
const plan = process.env.BUN_TENSORRT_TENSORRT === undefined
  ? undefined
  : await buildPlan(await Bun.file(inside(tiny)).bytes(), { computeCapabilities: ["8.6"] });
console.log(JSON.stringify({ found, plan: plan?.origin.tensorRt }));
`;

interface Child {
  readonly exitCode: number;
  readonly output: string;
}

async function run(command: readonly string[], cwd: string, env?: Record<string, string>): Promise<Child> {
  const child = Bun.spawn([...command], { cwd, stderr: "pipe", ...(env === undefined ? {} : { env }) });
  const [stdout, stderr, exitCode] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { exitCode, output: stdout + stderr };
}

/** Bun installs by itself what a program imports where it sees no node_modules: it would ask here. */
const asked: string[] = [];
const registry = Bun.serve({
  port: 0,
  hostname: "127.0.0.1",
  fetch({ url }) {
    asked.push(url);
    return new Response("none", { status: 404 });
  },
});
afterAll(async () => {
  await registry.stop(true);
  // sharp asks for the versions of its own parts, and goes on without.
  expect(asked.filter((url) => !url.includes("/@img%2fsharp-"))).toEqual([]);
});

const bun = process.execPath;
// Types are not run.
await run([bun, "pm", "pack", "--ignore-scripts", "--destination", inFolder()], root);
const tarball = inFolder(readdirSync(inFolder()).find((name) => name.endsWith(".tgz"))!);

async function makeApp(linker: string): Promise<Child & { readonly folder: string }> {
  const folder = inFolder(linker);
  mkdirSync(folder);
  writeFileSync(join(folder, "package.json"), '{ "name": "app", "private": true, "type": "module" }\n');
  writeFileSync(join(folder, "bunfig.toml"), `[install]\nlinker = "${linker}"\n`);
  writeFileSync(join(folder, "plain.ts"), PROGRAM);
  writeFileSync(join(folder, "whole.ts"), `import "bun-tensorrt/embed";\n${PROGRAM}`);
  writeFileSync(join(folder, "toy.onnx"), toyDetector());
  writeFileSync(join(folder, "tiny.onnx"), tinyModel());
  for (const format of FORMATS) {
    writeFileSync(join(folder, `image.${format}`), await encodeImage(noise, { format, quality: 90 }));
  }
  return { folder, ...(await run([bun, "add", tarball], folder)) };
}

const apps = { hoisted: await makeApp("hoisted"), isolated: await makeApp("isolated") };
// Without a network nothing can be added; every other failure is one.
const isOffline = /ConnectionRefused|ENOTFOUND|FailedToOpenSocket|Unable to connect/.test(apps.hoisted.output);

/** What the checkout itself makes of the images, by libturbojpeg where it is there. */
const expected = {
  found: Object.fromEntries(
    await Promise.all(
      FORMATS.map(async (format) => {
        const { data } = await decodeImage(join(apps.hoisted.folder, `image.${format}`));
        return [format, [expect.stringMatching(/^cat/), Bun.hash(data).toString()]];
      }),
    ),
  ),
  ...(RTX === undefined ? {} : { plan: expect.stringMatching(/^TensorRT-RTX/) }),
};

/** Nothing but what the program needs: no home, no cache, no library of ours. */
function bare(home: string): Record<string, string> {
  mkdirSync(home, { recursive: true });
  const tensorrt = RTX === undefined ? {} : { BUN_TENSORRT_TENSORRT: RTX };
  // As on a machine without libturbojpeg.
  return {
    HOME: home,
    PATH: dirname(bun),
    BUN_TENSORRT_TURBOJPEG: "/none",
    NPM_CONFIG_REGISTRY: registry.url.href,
    ...tensorrt,
  };
}

function expectAll({ exitCode, output }: Child): void {
  expect([exitCode, output]).toEqual([0, expect.stringMatching(/^\{.*\}\n$/)]);
  expect(JSON.parse(output)).toEqual(expected);
}

/** Loads each module of kernels, which the fake takes as it is: what counts is that its file is found. */
const KERNELS = `
import manifest from "${root}/ptx/manifest.json";
import { KernelLibrary } from "${root}/src/accelerators/tensorrt/kernels.ts";
import { Device } from "${root}/src/cuda/device.ts";
using device = Device.open(0);
using library = KernelLibrary.create(device);
const modules = Object.entries(manifest.modules).filter(([name]) => !name.startsWith("jpeg"));
for (const [name, { entries }] of modules) library.kernel(name, Object.keys(entries)[0]);
console.log(modules.length);
`;

const CACHE_HINT = "set BUN_TENSORRT_CACHE to a folder that can be written and allows execution (no noexec)";
/** Runs a program where this folder allows no execution; root alone can. */
function mounted(noexec: string, words: readonly string[]): string[] {
  const script = `${Bun.which("mount")} -t tmpfs -o noexec tmpfs "${noexec}" && exec "$@"`;
  return [Bun.which("unshare") ?? "/none", "-m", Bun.which("sh")!, "-c", script, "sh", ...words];
}
const canMount = Bun.which("unshare") !== null && Bun.spawnSync(mounted(inFolder(), [bun, "--version"])).exitCode === 0;

test.each([
  [`${cacheFolder()}/lib/libonnxruntime.so.1: failed to map segment from shared object`, CACHE_HINT],
  [
    "/srv/lib/libcudart.so.13: failed to map segment from shared object",
    "mount the file system of /srv/lib so that it allows execution (no noexec)",
  ],
  ["libstdc++.so.6: cannot open shared object file: No such file or directory", undefined],
])("%s: the hint is %j", (reason, hint) => {
  expect(executionHint(reason)).toBe(hint);
});

test("bun-tensorrt/embed names Windows' libvips of the release that sharp brings", async () => {
  const { versions } = await loadSharp();
  const source = readFileSync(join(root, "src/embed/index.ts"), "utf8");
  const named = [...source.matchAll(/libvips-cpp-([\d.]+)\.dll/g)].map(([, version]) => version);
  expect([...new Set(named)]).toEqual([versions.vips]);
});

fakeCudaTest("a bundle and an executable find their kernels, wherever they are started", async (runOnFakeCuda) => {
  const folder = inFolder("kernels");
  mkdirSync(folder);
  writeFileSync(join(folder, "kernels.ts"), KERNELS);
  await run([bun, "build", "--target=bun", "--outdir=out", "kernels.ts"], folder);
  await run([bun, "build", "--compile", "--outfile=kernels", "kernels.ts"], folder);
  rmSync(join(folder, "kernels.ts"));
  const output = await runOnFakeCuda(`
    for (const command of [["${bun}", "${folder}/out/kernels.js"], ["${folder}/kernels"]]) {
      const { stdout, stderr } = Bun.spawnSync(command, { cwd: "/", stderr: "pipe" });
      console.log(stdout.toString().trim() + stderr.toString());
    }`);
  const count = readdirSync(join(root, "ptx")).filter((name) => /^(?!jpeg).*\.ptx$/.test(name)).length;
  expect(output).toBe(`${count}\n${count}`);
});

describe.skipIf(isOffline).each(Object.keys(apps) as (keyof typeof apps)[])("with the %s linker", (linker) => {
  const { folder, exitCode, output } = apps[linker];
  /** Another machine has neither the program's folder nor its packages; some are found by where they lay when it was built. */
  const elsewhere = async (name: string, work: (place: string) => Promise<void>): Promise<void> => {
    const place = inFolder(`${linker} ${name}`);
    mkdirSync(place);
    renameSync(join(folder, "node_modules"), join(folder, "hidden"));
    try {
      await work(place);
    } finally {
      renameSync(join(folder, "hidden"), join(folder, "node_modules"));
    }
  };

  test("a program detects", async () => {
    expect([exitCode, output]).toEqual([0, expect.stringContaining("installed bun-tensorrt")]);
    expect(existsSync(join(folder, "node_modules/koffi"))).toBe(linker === "hoisted");
    expectAll(await run([bun, "whole.ts"], folder, bare(join(folder, "home"))));
  });

  test("a bundle detects where its packages are installed, whatever the working folder", async () => {
    expect(await run([bun, "build", "--target=bun", "--outdir=out/plain", "plain.ts"], folder)).toMatchObject({
      exitCode: 0,
    });
    expectAll(await run([bun, join(folder, "out/plain/plain.js")], "/", bare(join(folder, "home"))));
  });

  test("a bundle that is moved away from its packages says what to do, and installs nothing", async () => {
    await elsewhere("plain bundle", async (place) => {
      renameSync(join(folder, "out/plain"), place);
      const child = await run([bun, "plain.js"], place, bare(join(place, "home")));
      expect(child.output).toContain("Cannot load the library onnxruntime");
      expect(child.output).toContain('Hint: import "bun-tensorrt/embed" in the program and build it again');
      expect(child.exitCode).toBe(1);
    });
  });

  test("a bundle with bun-tensorrt/embed detects anywhere", async () => {
    expect(await run([bun, "build", "--target=bun", "--outdir=out/whole", "whole.ts"], folder)).toMatchObject({
      exitCode: 0,
    });
    await elsewhere("bundle", async (place) => {
      renameSync(join(folder, "out/whole"), place);
      expectAll(await run([bun, join(place, "whole.js")], "/", bare(join(place, "home"))));
    });
  });

  test("the first program of docs/executables.md runs by the page's own commands, wherever it is started", async () => {
    const page = readFileSync(join(root, "docs/executables.md"), "utf8");
    const own = join(folder, "page");
    mkdirSync(own);
    writeFileSync(join(own, "app.ts"), /^```ts\n([\s\S]*?)^```/m.exec(page)![1]!);
    writeFileSync(join(own, "yolo11n.onnx"), toyDetector());
    writeFileSync(join(own, "street.jpg"), await encodeImage(noise, { format: "jpeg", quality: 90 }));
    for (const command of ["bun build --compile app.ts --outfile app", "bun build --target=bun --outdir=out app.ts"]) {
      expect(page).toContain(command);
      expect(await run([bun, ...command.split(" ").slice(1)], own)).toMatchObject({ exitCode: 0 });
    }
    // The model of the sources is not what is found.
    rmSync(join(own, "yolo11n.onnx"));
    const env = bare(join(own, "home"));
    const refused = async (env: Record<string, string>, command: readonly string[]): Promise<string> => {
      const child = await run(command, own, env);
      expect(child.exitCode).toBe(1);
      return child.output;
    };
    const app = ["./app", "street.jpg"];
    const noexec = join(own, "noexec");
    mkdirSync(noexec);
    if (canMount) {
      expect(await refused({ ...env, BUN_TENSORRT_CACHE: noexec }, mounted(noexec, app))).toContain(
        `Hint: ${CACHE_HINT}\n`,
      );
    }
    // Nothing is executed where temporary files are.
    const found = { exitCode: 0, output: expect.stringMatching(/^(cat|dog) 0\.\d\d\n/) };
    expect(await run(app, own, { ...env, TMPDIR: join(own, "none") })).toEqual(found);
    if (canMount) expect(await run(mounted(noexec, app), own, { ...env, TMPDIR: noexec })).toEqual(found);
    for (const [cwd, command] of [
      [own, [bun, "out/app.js", "street.jpg"]],
      ["/", [bun, join(own, "out/app.js"), join(own, "street.jpg")]],
      [own, app],
    ] as const) {
      expect(await run(command, cwd, env)).toEqual(found);
    }
  });

  test("an executable without bun-tensorrt/embed says what to do", async () => {
    expect(await run([bun, "build", "--compile", "--outfile=plain", "plain.ts"], folder)).toMatchObject({
      exitCode: 0,
    });
    await elsewhere("plain executable", async (place) => {
      renameSync(join(folder, "plain"), join(place, "plain"));
      const child = await run(["./plain"], place, bare(join(place, "home")));
      expect(child.output).toContain('Hint: import "bun-tensorrt/embed" in the program and build it again');
      expect(child.exitCode).toBe(1);
    });
  });

  test("an executable with bun-tensorrt/embed detects with nothing beside it, and again from its cache", async () => {
    expect(await run([bun, "build", "--compile", "--outfile=whole", "whole.ts"], folder)).toMatchObject({
      exitCode: 0,
    });
    await elsewhere("executable", async (place) => {
      renameSync(join(folder, "whole"), join(place, "whole"));
      const env = bare(join(place, "home"));
      expectAll(await run(["./whole"], place, env));
      if (linker === "isolated") return;
      const cache = join(place, "home/.cache/bun-tensorrt/embedded");
      const copies = [...new Bun.Glob("*/*").scanSync(cache)].map((path) => join(cache, path));
      expect(copies.map((path) => path.replace(/^.*\/([a-z_]+).*$/, "$1")).sort()).toEqual([
        "koffi",
        "libbun_tensorrt_shim",
        "libonnxruntime",
        "libvips",
        "sharp",
      ]);
      // The second may not even be looked at.
      symlinkSync("loop", join(place, "loop"));
      for (const BUN_TENSORRT_CACHE of ["/dev/null/cache", join(place, "loop")]) {
        const refused = await run(["./whole"], place, { ...env, BUN_TENSORRT_CACHE });
        expect(refused.output).toMatch(
          /Cannot open libonnxruntime\S*: it is inside the executable and must be copied to/,
        );
        expect(refused.output).toContain("Hint: make it writable, or set BUN_TENSORRT_CACHE to a folder that is");
      }
      // A copy that is not the original any more is replaced.
      for (const path of copies) writeFileSync(path, "not a library");
      expectAll(await run(["./whole"], place, env));
    });
  });
});
