import { expect, setDefaultTimeout, test } from "bun:test";
import { ClosedError, OptionError, TensorRtError } from "../../src/core/errors.ts";
import { Builder } from "../../src/tensorrt/builder.ts";
import { ProgressMonitor } from "../../src/tensorrt/observers.ts";
import { TimingCache } from "../../src/tensorrt/optimization-profile.ts";
import { BUILD_TEST_MS, openFrom, RTX } from "../support/tensorrt.ts";

setDefaultTimeout(BUILD_TEST_MS);

const isAbsent = RTX === undefined;

/** Without a driver this library ends the process on Windows where it refuses something. */
const isUnsafe = process.platform === "win32";

test.skipIf(isAbsent)("BuilderConfig keeps what it is told, as TensorRT-RTX has been fetched", async () => {
  using builder = await Builder.create({ library: openFrom(RTX!) });
  using config = builder.createConfig();
  expect(config.flag("tf32")).toBe(true);
  expect(config.setFlag("tf32", false)).toBe(true);
  expect(config.flag("tf32")).toBe(false);
  expect(config.setFlag("versionCompatible", true)).toBe(true);
  expect([config.flag("versionCompatible"), config.flag("excludeLeanRuntime"), config.flag("stripPlan")]).toEqual([
    true,
    false,
    false,
  ]);
  expect(config.optimizationLevel).toBe(3);
  config.optimizationLevel = 5;
  expect(config.optimizationLevel).toBe(5);
  expect(config.timingIterations).toBe(1);
  config.timingIterations = 8;
  expect(config.timingIterations).toBe(8);
  config.profilingVerbosity = "detailed";
  expect(config.profilingVerbosity).toBe("detailed");
  config.setMemoryPoolLimit("workspace", 3 * 2 ** 32 + 7);
  expect(config.memoryPoolLimit("workspace")).toBe(3 * 2 ** 32 + 7);
  config.setMaxAuxStreams(1);
  builder.setMaxThreads(2);
  expect(builder.dlaCoreCount).toBe(0);
});

test.skipIf(isAbsent)(
  "BuilderConfig.setFlag() says which flags a strongly typed library lacks, as TensorRT-RTX has been fetched",
  async () => {
    using builder = await Builder.create({ library: openFrom(RTX!) });
    using config = builder.createConfig();
    expect([config.setFlag("fp16", true), config.setFlag("int8", true)]).toEqual([false, false]);
    expect(builder.hasFastFp16).toBeUndefined();
  },
);

test.skipIf(isAbsent)(
  "BuilderConfig.setComputeCapabilities() refuses a GPU the library cannot build for, as TensorRT-RTX has been fetched",
  async () => {
    using builder = await Builder.create({ library: openFrom(RTX!) });
    using config = builder.createConfig();
    config.setComputeCapabilities([86, 120]);
    expect(() => config.setComputeCapabilities([90])).toThrow(TensorRtError);
    expect(() => builder.setMaxThreads(0)).toThrow(TensorRtError);
  },
);

test.skipIf(isAbsent)(
  "BuilderConfig.addProfile() takes valid profiles alone, as TensorRT-RTX has been fetched",
  async () => {
    using builder = await Builder.create({ library: openFrom(RTX!) });
    using config = builder.createConfig();
    const profile = builder.createProfile();
    profile.setShapes("x", { min: [1, 3, 32, 31], opt: [2, 3, 64, 33], max: [4, 3, 65, 97] });
    expect(profile.isValid).toBe(true);
    expect(profile.shapes("x")).toEqual({ min: [1, 3, 32, 31], opt: [2, 3, 64, 33], max: [4, 3, 65, 97] });
    profile.setValues("sizes", { min: [1, 1], opt: [2, 2], max: [3, 3] });
    expect(config.addProfile(profile)).toBe(0);
    expect(config.profileCount).toBe(1);
    const odd = builder.createProfile();
    odd.setShapes("x", { min: [4], opt: [2], max: [1] });
    expect(odd.isValid).toBe(false);
    expect(() => config.addProfile(odd)).toThrow(OptionError);
    odd.setShapes("x", { min: [1], opt: [2], max: [4] });
    expect(odd.isValid).toBe(true);
    expect(() => odd.setShapes("x", { min: [1, 1, 1, 1, 1, 1, 1, 1, 1], opt: [], max: [] })).toThrow(
      "it may have 8 dimensions",
    );
  },
);

test.skipIf(isAbsent || isUnsafe)(
  "TimingCache goes to bytes and back, and refuses others, as TensorRT-RTX has been fetched",
  async () => {
    using builder = await Builder.create({ library: openFrom(RTX!) });
    using config = builder.createConfig();
    using empty = TimingCache.create(config);
    const bytes = empty.serialize();
    expect(bytes.length).toBeGreaterThan(16);
    using again = TimingCache.create(config, bytes);
    expect(again.combine(empty)).toBe(true);
    expect(config.setTimingCache(again)).toBe(true);
    // What it cannot read, this library takes for an empty one.
    using other = TimingCache.create(
      config,
      Uint8Array.from({ length: 100 }, (_, index) => index),
    );
    expect(other.serialize()).toEqual(bytes);
  },
);

test.skipIf(isAbsent)(
  "Builder refuses to close before its children, and its objects after, as TensorRT-RTX has been fetched",
  async () => {
    const builder = await Builder.create({ library: openFrom(RTX!) });
    const config = builder.createConfig();
    const profile = builder.createProfile();
    expect(() => builder.close()).toThrow("are still open (1)");
    config.close();
    config.close();
    builder.close();
    expect(() => config.optimizationLevel).toThrow(ClosedError);
    expect(() => builder.createNetwork()).toThrow(
      "Cannot use a TensorRT object: Builder (TensorRT-RTX 1.7.1) is closed",
    );
    expect(() => profile.isValid).toThrow(ClosedError);
    using next = await Builder.create({ library: openFrom(RTX!) });
    using settings = next.createConfig();
    expect(() => settings.addProfile(profile)).toThrow(ClosedError);
  },
);

test.skipIf(isAbsent)(
  "Builder.build() and timingCacheBytes() refuse a monitor or timing cache that is closed, as TensorRT-RTX has been fetched",
  async () => {
    using builder = await Builder.create({ library: openFrom(RTX!) });
    using network = builder.createNetwork();
    using watched = builder.createConfig();
    const monitor = new ProgressMonitor();
    watched.setProgressMonitor(monitor);
    monitor.close();
    await expect(builder.build(network, watched)).rejects.toThrow("ProgressMonitor is closed");
    using timed = builder.createConfig();
    const cache = TimingCache.create(timed);
    expect(timed.setTimingCache(cache)).toBe(true);
    cache.close();
    expect(() => timed.timingCacheBytes()).toThrow("TimingCache is closed");
    await expect(builder.build(network, timed)).rejects.toThrow("TimingCache is closed");
  },
);
