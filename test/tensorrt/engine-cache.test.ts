import { afterEach, expect, setDefaultTimeout, test } from "bun:test";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import type { OptionError } from "../../src/core/errors.ts";
import { setLogSink } from "../../src/core/log.ts";
import { parseBuildOptions } from "../../src/tensorrt/build-options.ts";
import { type CachedPlan, EngineCache, type ObtainEnvironment } from "../../src/tensorrt/engine-cache.ts";
import type { TensorRtLibrary } from "../../src/tensorrt/library.ts";
import type { BuildEvent } from "../../src/tensorrt/observers.ts";
import { readPlan } from "../../src/tensorrt/plan-file.ts";
import { testFolder } from "../support/folder.ts";
import { type GraphSpec, onnxModel } from "../support/onnx-writer.ts";
import { isMissing, sharedPath } from "../support/shared.ts";
import { BUILD_TEST_MS, openFrom, RTX, tinyModel } from "../support/tensorrt.ts";

setDefaultTimeout(BUILD_TEST_MS);

const isAbsent = RTX === undefined;
const AMPERE = { computeCapabilities: ["8.6"] } as const;

const inFolder = testFolder("engine-cache");
afterEach(() => {
  setLogSink(undefined);
});

test.skipIf(isAbsent)(
  "EngineCache.obtain() builds once, and again for another model, GPU or option, as TensorRT-RTX has been fetched",
  async () => {
    const cache = new EngineCache(inFolder("new/engines"));
    const environment = { library: openFrom(RTX!), source: "some/tiny model.onnx" };
    const first = await cache.obtain(tinyModel(), AMPERE, environment);
    expect(first.isHit).toBe(false);
    expect(first.path).toMatch(/engines\/tiny_model-[0-9a-f]{32}\.plan$/);
    const again = await cache.obtain(tinyModel(), { ...AMPERE, maxThreads: 1, precision: "fp16" }, environment);
    expect(again.isHit).toBe(true);
    expect(again.bytes).toEqual(first.bytes);
    const others = await Promise.all([
      cache.obtain(tinyModel({ metadata: { a: "b" } }), AMPERE, environment),
      cache.obtain(tinyModel(), { computeCapabilities: ["8.9"] }, environment),
      cache.obtain(tinyModel(), { ...AMPERE, tf32: false }, environment),
      cache.obtain(tinyModel(), { ...AMPERE, precision: "fp32" }, environment),
    ]);
    expect(others.map((other) => other.isHit)).toEqual([false, false, false, false]);
    expect(new Set([first, ...others].map((one) => one.path)).size).toBe(5);
    expect(readPlan(others[1]!.bytes, "b").origin?.computeCapabilities).toEqual([[8, 9]]);
    expect(readdirSync(cache.folder).filter((file) => file.endsWith(".tmp"))).toEqual([]);
  },
);

test.skipIf(isAbsent)(
  "EngineCache.obtain() builds again where the file is damaged, and says so, as TensorRT-RTX has been fetched",
  async () => {
    const warnings: string[] = [];
    setLogSink((level, text) => level === "warn" && warnings.push(text));
    const cache = new EngineCache(inFolder());
    const environment = { library: openFrom(RTX!) };
    const { path, bytes } = await cache.obtain(tinyModel(), AMPERE, environment);
    await Bun.write(path, bytes.subarray(0, 2000));
    const again = await cache.obtain(tinyModel(), AMPERE, environment);
    expect(again.isHit).toBe(false);
    expect(warnings.join("\n")).toContain("Building again, the cached plan is of no use: Cannot load");
    expect(statSync(path).size).toBe(again.bytes.length);
  },
);

test.skipIf(isAbsent)(
  "EngineCache.obtain() builds anew on demand, with the timing cache it is given, as TensorRT-RTX has been fetched",
  async () => {
    const cache = new EngineCache(inFolder());
    const environment = { library: openFrom(RTX!) };
    const first = await cache.obtain(tinyModel(), AMPERE, environment);
    const timingCachePath = inFolder("own.timing");
    const anew = await cache.obtain(tinyModel(), AMPERE, { ...environment, rebuild: true, timingCachePath });
    expect([anew.isHit, anew.path]).toEqual([false, first.path]);
    expect(statSync(timingCachePath).size).toBeGreaterThan(16);
    expect((await cache.obtain(tinyModel(), AMPERE, environment)).isHit).toBe(true);
  },
);

test.skipIf(isAbsent)(
  "EngineCache.obtain() keeps apart what was built as it is for want of a variant, and what another soon takes the place of, as TensorRT-RTX has been fetched",
  async () => {
    const cache = new EngineCache(inFolder());
    let canVary = false;
    const environment = { library: openFrom(RTX!), variant: "cut", canVary: () => canVary };
    const obtain = (rest: Partial<ObtainEnvironment> = {}) =>
      cache.obtain(tinyModel(), AMPERE, { ...environment, ...rest });
    const asItIs = await obtain();
    expect([asItIs.isHit, (await obtain({ variant: undefined })).path]).toEqual([false, asItIs.path]);
    expect(await cache.find(tinyModel(), AMPERE, environment)).toEqual({ ...asItIs, isHit: true });
    canVary = true;
    expect(await cache.find(tinyModel(), AMPERE, environment)).toBeUndefined();
    const cut = await obtain();
    canVary = false;
    // One that is there is taken, however it came there.
    expect([cut.isHit, (await obtain()).path]).toEqual([false, cut.path]);
    const full = await obtain({ isInterim: true, instead: () => Promise.resolve(cut) });
    expect(full).toBe(cut);
    expect((await obtain({ isInterim: true, instead: async () => undefined })).isHit).toBe(false);
    expect(readdirSync(inFolder()).filter((name) => name.endsWith(".plan")).length).toBe(3);
  },
);

test.skipIf(isAbsent)(
  "EngineCache.obtain() builds where nothing can be locked, and names a timing cache that cannot be read, as TensorRT-RTX has been fetched",
  async () => {
    const warnings: string[] = [];
    setLogSink((level, text) => level === "warn" && warnings.push(text));
    const cache = new EngineCache(inFolder());
    const library = openFrom(RTX!);
    const path = await cache.path(
      tinyModel(),
      { library, device: undefined, config: parseBuildOptions(AMPERE) },
      { source: "tiny" },
    );
    mkdirSync(`${path}.lock`);
    const asked = cache.obtain(tinyModel(), AMPERE, { library, source: "tiny", timingCachePath: inFolder() });
    const refused = (await asked.catch((error: unknown) => error)) as OptionError;
    expect([refused.name, refused.option]).toEqual(["OptionError", "timingCachePath"]);
    expect(refused.message).toMatch(`Cannot read ${inFolder()}: `);
    expect(await cache.obtain(tinyModel(), AMPERE, { library, source: "tiny" })).toMatchObject({ path, isHit: false });
    expect(warnings.at(-1)).toMatch(/^Building without a lock, so that other .* same: Cannot lock \S+\.lock: EISDIR$/);
  },
);

test.skipIf(isAbsent)(
  "EngineCache.obtain() leaves nothing behind where the build fails, as TensorRT-RTX has been fetched",
  async () => {
    const cache = new EngineCache(inFolder());
    const environment = { library: openFrom(RTX!) };
    const failed = cache.obtain(tinyModel(), { ...AMPERE, memoryPools: { workspace: 1 } }, environment);
    await expect(failed).rejects.toThrow(
      /^Cannot build an engine: IBuilder::buildSerializedNetwork: Error Code 1: .* \(TensorRT-RTX 1\.7\.1\)$/,
    );
    await failed.catch(() => {});
    expect(readdirSync(inFolder()).filter((file) => !file.endsWith(".lock"))).toEqual([]);
  },
);

test.skipIf(isAbsent)(
  "EngineCache.obtain() builds once where two processes ask at the same time, as TensorRT-RTX has been fetched",
  async () => {
    const script = `
    import { EngineCache } from ${JSON.stringify(join(import.meta.dir, "../../src/tensorrt/engine-cache.ts"))};
    import { openFrom, tinyModel } from ${JSON.stringify(join(import.meta.dir, "../support/tensorrt.ts"))};
    const cache = new EngineCache(${JSON.stringify(inFolder())});
    const environment = { library: openFrom(${JSON.stringify(RTX)}) };
    const { isHit, bytes } = await cache.obtain(tinyModel(), { computeCapabilities: ["8.6"] }, environment);
    console.log(isHit, bytes.length);`;
    const children = [1, 2].map(() =>
      Bun.spawn([process.execPath, "-e", script], { stdout: "pipe", stderr: "inherit" }),
    );
    const outputs = await Promise.all(children.map((child) => new Response(child.stdout).text()));
    const [sizes, hits] = [
      new Set(outputs.map((text) => text.trim().split(" ")[1])),
      outputs.filter((text) => text.startsWith("true")),
    ];
    expect(sizes.size).toBe(1);
    expect(hits.length).toBe(1);
  },
  120_000,
);

test.skipIf(isAbsent)(
  "EngineCache.obtain() asks before it builds, and only then, as TensorRT-RTX has been fetched",
  async () => {
    const cache = new EngineCache(inFolder("asked"));
    const environment = { library: openFrom(RTX!) };
    const refuse = (): Promise<undefined> => Promise.reject(new Error("of no known head"));
    await expect(cache.obtain(tinyModel(), AMPERE, { ...environment, beforeBuild: refuse })).rejects.toThrow(
      "of no known head",
    );
    expect(existsSync(cache.folder)).toBe(false);
    await cache.obtain(tinyModel(), AMPERE, environment);
    expect((await cache.obtain(tinyModel(), AMPERE, { ...environment, beforeBuild: refuse })).isHit).toBe(true);
    // A variant is another plan, of the model that is given back.
    // What ends the build ends its making as well.
    const { signal } = new AbortController();
    const ends: unknown[] = [];
    const beforeBuild = (end: AbortSignal | undefined): Promise<Uint8Array> => {
      ends.push(end);
      return Promise.resolve(tinyModel({ metadata: { is: "changed" } }));
    };
    const changed = await cache.obtain(tinyModel(), AMPERE, {
      ...environment,
      signal,
      beforeBuild,
      variant: "changed",
    });
    expect(ends).toEqual([signal]);
    expect(changed.isHit).toBe(false);
    expect(readPlan(changed.bytes, "a plan").metadata.is).toBe("changed");
    const again = { ...environment, beforeBuild: refuse, variant: "changed" };
    expect(await cache.obtain(tinyModel(), AMPERE, again)).toMatchObject({ isHit: true, path: changed.path });
  },
);

test.skipIf(isAbsent)(
  "EngineCache.obtain() says where a plan cannot be kept, before it builds and after, as TensorRT-RTX has been fetched",
  async () => {
    const library = openFrom(RTX!);
    const told = async (cache: EngineCache, environment: Partial<ObtainEnvironment> = {}): Promise<string> => {
      const obtained = cache.obtain(tinyModel(), AMPERE, { library, ...environment });
      return ((await obtained.catch((error: unknown) => error)) as Error).message;
    };
    writeFileSync(inFolder("file"), "");
    const phases: string[] = [];
    const onProgress = ({ phase }: BuildEvent): void => void phases.push(phase.name);
    expect(await told(new EngineCache(inFolder("file/engines")), { onProgress })).toMatch(
      /^Cannot keep an engine: .*engines cannot be written \(.*\)\nHint: make it writable, or set BUN_TENSORRT_CACHE/,
    );
    expect(phases).toEqual([]);
    const lost = new EngineCache(inFolder("lost"));
    const replace = (): void => {
      if (!existsSync(lost.folder) || statSync(lost.folder).isFile()) return;
      rmSync(lost.folder, { recursive: true });
      writeFileSync(lost.folder, "");
    };
    expect(await told(lost, { onProgress: replace })).toMatch(/^Cannot keep an engine: \S+lost cannot be written \(/);
    const whole = new EngineCache(inFolder("whole"));
    const timingCachePath = inFolder("file/own.timing");
    expect(await told(whole, { timingCachePath })).toMatch(/^Cannot keep the timing cache: \S+own\.timing cannot be/);
    expect((await whole.obtain(tinyModel(), AMPERE, { library })).isHit).toBe(true);
  },
);

test.skipIf(isAbsent)(
  "EngineCache.obtain() keeps plans whose folder is deleted meanwhile, and of models with long names, as TensorRT-RTX has been fetched",
  async () => {
    const cache = new EngineCache(inFolder("engines"));
    const environment = { library: openFrom(RTX!), source: `${"n".repeat(250)}.onnx` };
    const onProgress = (): void => rmSync(cache.folder, { recursive: true, force: true });
    const first = await cache.obtain(tinyModel(), AMPERE, { ...environment, onProgress });
    expect(existsSync(first.path)).toBe(true);
    expect((await cache.obtain(tinyModel(), AMPERE, environment)).isHit).toBe(true);
  },
);

test.skipIf(isAbsent)(
  "EngineCache.path() changes with weights in files beside the model, as TensorRT-RTX has been fetched",
  async () => {
    const data = { location: "weights.bin", offset: 0, length: 8 };
    const branch: GraphSpec = {
      nodes: [{ op: "Identity", inputs: ["w"], outputs: ["out"] }],
      inputs: [],
      outputs: [{ name: "out", dtype: "f32", shape: [2] }],
      initializers: [{ name: "w", dtype: "f32", shape: [2], data }],
    };
    const model = onnxModel({
      nodes: [{ op: "If", inputs: ["c"], outputs: ["y"], attributes: { then_branch: branch, else_branch: branch } }],
      inputs: [{ name: "c", dtype: "bool", shape: [] }],
      outputs: [{ name: "y", dtype: "f32", shape: [2] }],
    });
    const cache = new EngineCache(inFolder());
    const builds = { library: openFrom(RTX!), device: undefined, config: parseBuildOptions(AMPERE) };
    const path = (): Promise<string> => cache.path(model, builds, { path: inFolder("a.onnx") });
    const paths = [await path()];
    for (const text of ["01234567", "76543210"]) {
      writeFileSync(inFolder("weights.bin"), text);
      paths.push(await path());
    }
    expect(new Set(paths).size).toBe(3);
  },
);

test.skipIf(isAbsent)(
  "EngineCache.path() changes with the timings that TensorRT averages, as TensorRT-RTX, which takes none, has been fetched",
  async () => {
    const cache = new EngineCache(inFolder());
    const rtx = openFrom(RTX!);
    const tensorRt = { version: { family: "TensorRT", text: "TensorRT 10.6.0" }, isStronglyTyped: false };
    const pathsOf = (library: TensorRtLibrary): Promise<string[]> =>
      Promise.all(
        [{}, { timingIterations: 8 }, { timingIterations: 1 }].map((options) =>
          cache.path(tinyModel(), { library, device: undefined, config: parseBuildOptions(options) }, {}),
        ),
      );
    const [usual, eight, one] = await pathsOf(tensorRt as TensorRtLibrary);
    expect([usual === eight, usual === one]).toEqual([true, false]);
    expect(new Set(await pathsOf(rtx)).size).toBe(1);
  },
);

const YOLO = "models/yolov8n_640.onnx";

test.skipIf(isAbsent || isMissing(YOLO))(
  "EngineCache.obtain() in the background gives way to another build of the process and goes on afterwards, as yolov8n and TensorRT-RTX are there",
  async () => {
    const cache = new EngineCache(inFolder());
    const library = openFrom(RTX!);
    const model = await Bun.file(sharedPath(YOLO)).bytes();
    const order: string[] = [];
    const begun = Promise.withResolvers<void>();
    const onProgress = (): void => begun.resolve();
    const environment = { library, source: "yolo" };
    const behind = cache.obtain(model, AMPERE, { ...environment, isBackground: true, onProgress }).then((plan) => {
      order.push("behind");
      return plan;
    });
    await begun.promise;
    expect(await cache.find(model, AMPERE, environment)).toBeUndefined();
    const front = await cache.obtain(tinyModel(), AMPERE, { library });
    order.push("front");
    const { isHit, path } = await behind;
    expect([order, front.isHit, isHit]).toEqual([["front", "behind"], false, false]);
    expect((await cache.find(model, AMPERE, environment))?.path).toBe(path);
    expect(readdirSync(inFolder()).filter((name) => /^yolo/.test(name) && !name.endsWith(".plan"))).toEqual([]);
  },
);

test.skipIf(isAbsent || isMissing(YOLO))(
  "EngineCache.obtain() in the background ends by a signal, and keeps what was measured beside no plan, as yolov8n and TensorRT-RTX are there",
  async () => {
    const cache = new EngineCache(inFolder());
    const controller = new AbortController();
    const onProgress = (): void => controller.abort(new Error("closed"));
    const environment = { library: openFrom(RTX!), source: "yolo", isBackground: true, onProgress };
    const model = await Bun.file(sharedPath(YOLO)).bytes();
    const ended = cache.obtain(model, AMPERE, { ...environment, signal: controller.signal });
    await expect(ended).rejects.toThrow("closed");
    await ended.catch(() => {});
    expect(readdirSync(inFolder()).map((name) => name.replace(/-[0-9a-f]{32}/, ""))).toEqual(["yolo.timing"]);
  },
);

test.skipIf(isAbsent)(
  "EngineCache.obtain() leaves a timing cache that does not fit as it is, and says so, as TensorRT-RTX has been fetched",
  async () => {
    const warnings: string[] = [];
    setLogSink((level, text) => level === "warn" && warnings.push(text));
    const timingCachePath = inFolder("other.timing");
    writeFileSync(timingCachePath, "no timings at all");
    await new EngineCache(inFolder()).obtain(tinyModel(), AMPERE, { library: openFrom(RTX!), timingCachePath });
    expect(await Bun.file(timingCachePath).text()).toBe("no timings at all");
    expect(warnings.at(-1)).toBe(`Leaving ${timingCachePath} as it is: name another file to keep what was measured`);
  },
);

test.skipIf(isAbsent)(
  "EngineCache.obtain() gives plans that carry the files beside the model as they are now, as TensorRT-RTX has been fetched",
  async () => {
    const [models, engines] = [inFolder("models/onnx"), inFolder("engines")];
    mkdirSync(models, { recursive: true });
    const path = join(models, "tiny.onnx");
    const [config, labels] = [inFolder("models/config.json"), join(models, "labels.txt")];
    writeFileSync(config, '{"id2label": {"0": "a"}}');
    writeFileSync(join(models, "unknown.txt"), "private");
    const cache = new EngineCache(engines);
    const environment = { library: openFrom(RTX!), path };
    const carriedBy = ({ bytes }: CachedPlan) => readPlan(bytes, "a").origin?.beside?.folder;
    const texts = { "config.json": '{"id2label": {"0": "a"}}' };
    const first = await cache.obtain(tinyModel(), AMPERE, environment);
    expect([first.isHit, carriedBy(first)]).toEqual([false, { stem: "tiny", isOnly: true, texts }]);
    const settled = statSync(first.path).mtimeMs;
    expect(await cache.obtain(tinyModel(), AMPERE, environment)).toEqual({ ...first, isHit: true });
    expect(statSync(first.path).mtimeMs).toBe(settled);

    // Changed, added and removed files: the same engine, and the one that is kept says so as well.
    const changed = '{"id2label": {"0": "b"}}';
    writeFileSync(config, changed);
    writeFileSync(labels, "b");
    for (const ask of [cache.obtain.bind(cache), cache.find.bind(cache)]) {
      const found = (await ask(tinyModel(), AMPERE, { ...environment, device: undefined }))!;
      expect([found.isHit, found.path]).toEqual([true, first.path]);
      expect(carriedBy(found)?.texts).toEqual({ "config.json": changed, "labels.txt": "b" });
      expect(readPlan(found.bytes, "a").plan).toEqual(readPlan(first.bytes, "a").plan);
      expect(new Uint8Array(readFileSync(first.path))).toEqual(found.bytes);
    }
    // Of several models in a folder none is named by `labels.txt`; what is too large is told of.
    const warnings: string[] = [];
    setLogSink((level, text) => level === "warn" && warnings.push(text));
    writeFileSync(join(models, "other.onnx"), "");
    writeFileSync(config, " ".repeat(2 ** 22 + 1));
    const none = await cache.obtain(tinyModel(), AMPERE, environment);
    expect([none.isHit, readPlan(none.bytes, "a").origin]).toEqual([
      true,
      { tensorRt: "TensorRT-RTX 1.7.1.116", precision: "fp16", computeCapabilities: [[8, 6]] },
    ]);
    expect(warnings).toEqual([`Ignoring ${JSON.stringify(config)}: it has 4194305 bytes, 4194304 at most are read`]);

    // The plan of an older version, which carries nothing, is brought up to date as well.
    writeFileSync(config, changed);
    const older = await cache.obtain(tinyModel(), AMPERE, environment);
    expect([older.isHit, carriedBy(older)]).toEqual([
      true,
      { stem: "tiny", isOnly: false, texts: { "config.json": changed } },
    ]);
    expect(await Bun.file(first.path).bytes()).toEqual(older.bytes);
  },
);

test.skipIf(isAbsent)(
  "EngineCache.obtain() keeps a plan for each folder whose files say another thing of the same model, of one build, as TensorRT-RTX has been fetched",
  async () => {
    const engines = inFolder("engines");
    const cache = new EngineCache(engines);
    const library = openFrom(RTX!);
    const builds = { library, device: undefined, config: parseBuildOptions(AMPERE) };
    const obtain = async (name: string, label?: string) => {
      const path = inFolder(name, "tiny.onnx");
      mkdirSync(dirname(path), { recursive: true });
      if (label !== undefined) writeFileSync(inFolder(name, "labels.txt"), label);
      const plan = await cache.obtain(tinyModel(), AMPERE, { library, path });
      // What is found at the path is what was given, and where it is looked for.
      expect(new Uint8Array(readFileSync(plan.path))).toEqual(plan.bytes);
      expect(await cache.path(tinyModel(), builds, { path })).toBe(plan.path);
      return plan;
    };
    const labelsAt = ({ path }: CachedPlan) => readPlan(readFileSync(path), path).origin?.beside?.folder?.texts;
    const cats = await obtain("cats", "cat");
    const dogs = await obtain("dogs", "dog");
    const none = await obtain("none");
    expect([cats, dogs, none].map(({ isHit }) => isHit)).toEqual([false, true, true]);
    expect([cats, dogs, none].map(labelsAt)).toEqual([{ "labels.txt": "cat" }, { "labels.txt": "dog" }, undefined]);
    expect(readPlan(dogs.bytes, "dogs").plan).toEqual(readPlan(cats.bytes, "cats").plan);
    expect(readdirSync(engines).filter((name) => name.endsWith(".plan")).length).toBe(3);

    // A change in one folder is none in the other, and both are found again.
    expect(await obtain("cats", "lynx")).toMatchObject({ path: cats.path, isHit: true });
    expect(await obtain("dogs")).toEqual({ ...dogs, isHit: true });
    expect([cats, dogs].map(labelsAt)).toEqual([{ "labels.txt": "lynx" }, { "labels.txt": "dog" }]);

    // Where nothing can be written, as in a cache that came with an image, the plan of a folder with the same files is taken; other files are in memory only.
    const baked = new EngineCache(inFolder("baked"));
    mkdirSync(baked.folder);
    const kept = join(baked.folder, basename(cats.path));
    copyFileSync(cats.path, kept);
    const inOthers = ["lynx", "fox"].map((label) => {
      const path = inFolder(label, "tiny.onnx");
      mkdirSync(dirname(path));
      writeFileSync(join(dirname(path), "labels.txt"), label);
      return path;
    });
    const script = `
    import { setLogSink } from ${JSON.stringify(join(import.meta.dir, "../../src/core/log.ts"))};
    import { EngineCache } from ${JSON.stringify(join(import.meta.dir, "../../src/tensorrt/engine-cache.ts"))};
    import { readPlan } from ${JSON.stringify(join(import.meta.dir, "../../src/tensorrt/plan-file.ts"))};
    import { openFrom, tinyModel } from ${JSON.stringify(join(import.meta.dir, "../support/tensorrt.ts"))};
    const warnings = [];
    setLogSink((level, text) => level === "warn" && warnings.push(text));
    const library = openFrom(${JSON.stringify(RTX)});
    for (const path of ${JSON.stringify(inOthers)}) {
      const plan = await new EngineCache(${JSON.stringify(baked.folder)}).obtain(tinyModel(), ${JSON.stringify(AMPERE)}, { library, path });
      const { texts } = readPlan(plan.bytes, path).origin.beside.folder;
      console.log(JSON.stringify([plan.path, plan.isHit, texts["labels.txt"], warnings.length]));
    }`;
    const limited = 'trap "" XFSZ; ulimit -f 0; exec "$0" -e "$1"';
    const child = Bun.spawnSync(["sh", "-c", limited, process.execPath, script], { stdout: "pipe", stderr: "inherit" });
    const found = child.stdout
      .toString()
      .trim()
      .split("\n")
      .map((line): unknown => JSON.parse(line));
    expect(found).toEqual([
      [kept, true, "lynx", 0],
      [await baked.path(tinyModel(), builds, { path: inOthers[1] }), true, "fox", 1],
    ]);
  },
);
