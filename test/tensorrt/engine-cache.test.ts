import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setLogSink } from "../../src/core/log.ts";
import { EngineCache } from "../../src/tensorrt/engine-cache.ts";
import { readPlan } from "../../src/tensorrt/plan-file.ts";
import { openFrom, RTX, tinyModel } from "../support/tensorrt.ts";

const isAbsent = RTX === undefined;
const AMPERE = { computeCapabilities: ["8.6"] } as const;

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "engine-cache-"));
});
afterEach(() => {
  setLogSink(undefined);
  rmSync(folder, { recursive: true, force: true });
});

test.skipIf(isAbsent)(
  "EngineCache.obtain() builds once, and again for another model, GPU or option, as TensorRT-RTX has been fetched",
  async () => {
    const cache = new EngineCache(join(folder, "new/engines"));
    const environment = { library: openFrom(RTX!), source: "some/tiny model.onnx" };
    const first = await cache.obtain(tinyModel(), AMPERE, environment);
    expect(first.isHit).toBe(false);
    expect(first.path).toMatch(/engines\/tiny_model-[0-9a-f]{32}\.plan$/);
    const again = await cache.obtain(tinyModel(), { ...AMPERE, maxThreads: 1, precision: "model" }, environment);
    expect(again.isHit).toBe(true);
    expect(again.bytes).toEqual(first.bytes);
    const others = await Promise.all([
      cache.obtain(tinyModel({ metadata: { a: "b" } }), AMPERE, environment),
      cache.obtain(tinyModel(), { computeCapabilities: ["8.9"] }, environment),
      cache.obtain(tinyModel(), { ...AMPERE, tf32: false }, environment),
    ]);
    expect(others.map((other) => other.isHit)).toEqual([false, false, false]);
    expect(new Set([first, ...others].map((one) => one.path)).size).toBe(4);
    expect(readPlan(others[1]!.bytes, "b").origin?.computeCapabilities).toEqual([[8, 9]]);
    expect(readdirSync(cache.folder).filter((file) => file.endsWith(".tmp"))).toEqual([]);
  },
);

test.skipIf(isAbsent)(
  "EngineCache.obtain() builds again where the file is damaged, and says so, as TensorRT-RTX has been fetched",
  async () => {
    const warnings: string[] = [];
    setLogSink((level, text) => level === "warn" && warnings.push(text));
    const cache = new EngineCache(folder);
    const environment = { library: openFrom(RTX!) };
    const { path, bytes } = await cache.obtain(tinyModel(), AMPERE, environment);
    await Bun.write(path, bytes.subarray(0, 2000));
    const again = await cache.obtain(tinyModel(), AMPERE, environment);
    expect(again.isHit).toBe(false);
    expect(warnings.join("\n")).toContain("Building again, as the cached plan is of no use: Cannot load");
    expect(statSync(path).size).toBe(again.bytes.length);
  },
);

test.skipIf(isAbsent)(
  "EngineCache.obtain() builds anew on demand, with the timing cache it is given, as TensorRT-RTX has been fetched",
  async () => {
    const cache = new EngineCache(folder);
    const environment = { library: openFrom(RTX!) };
    const first = await cache.obtain(tinyModel(), AMPERE, environment);
    const timingCachePath = join(folder, "own.timing");
    const anew = await cache.obtain(tinyModel(), AMPERE, { ...environment, rebuild: true, timingCachePath });
    expect([anew.isHit, anew.path]).toEqual([false, first.path]);
    expect(statSync(timingCachePath).size).toBeGreaterThan(16);
    expect((await cache.obtain(tinyModel(), AMPERE, environment)).isHit).toBe(true);
  },
);

test.skipIf(isAbsent)(
  "EngineCache.obtain() leaves nothing behind where the build fails, as TensorRT-RTX has been fetched",
  async () => {
    const cache = new EngineCache(folder);
    const environment = { library: openFrom(RTX!) };
    const failed = cache.obtain(tinyModel(), { ...AMPERE, memoryPools: { workspace: 1 } }, environment);
    await expect(failed).rejects.toThrow("IBuilder::buildSerializedNetwork of TensorRT-RTX 1.7.1 failed");
    await failed.catch(() => {});
    expect(readdirSync(folder).filter((file) => !file.endsWith(".lock"))).toEqual([]);
  },
);

test.skipIf(isAbsent)(
  "EngineCache.obtain() builds once where two processes ask at the same time, as TensorRT-RTX has been fetched",
  async () => {
    const script = `
    import { EngineCache } from ${JSON.stringify(join(import.meta.dir, "../../src/tensorrt/engine-cache.ts"))};
    import { openFrom, tinyModel } from ${JSON.stringify(join(import.meta.dir, "../support/tensorrt.ts"))};
    const cache = new EngineCache(${JSON.stringify(folder)});
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
  30_000,
);
