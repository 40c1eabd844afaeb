import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ModelError, PlanMismatchError } from "../../src/core/errors.ts";
import type { Beside } from "../../src/onnx/beside.ts";
import {
  checkPlan,
  type PlanOrigin,
  readPlan,
  readPlanOrigin,
  withBeside,
  writePlan,
} from "../../src/tensorrt/plan-file.ts";
import { parseVersion } from "../../src/tensorrt/version.ts";
import { isMissing, sharedPath } from "../support/shared.ts";

const PLAN = "engines/yolov8n_640_fp16_trt10.6.0_sm90.plan";
const STRICT = { versionCompatible: false, hardwareCompatible: false } as const;

/** The head of a TensorRT plan, as observed, with nothing after it. */
function head(
  version: readonly number[],
  options: { readonly magic?: string; readonly length?: number } = {},
): Uint8Array {
  const bytes = Buffer.alloc(64);
  bytes.write(options.magic ?? "ftrt", "latin1");
  bytes.writeBigUInt64LE(2n, 8);
  bytes.writeBigUInt64LE(BigInt(options.length ?? bytes.length), 16);
  bytes.set(version, 24);
  return new Uint8Array(bytes);
}

test.skipIf(isMissing(PLAN))("readPlan() reads version and GPU of a TensorRT 10.6 plan, as it is there", async () => {
  const file = readPlan(await Bun.file(sharedPath(PLAN)).bytes(), "yolov8n");
  expect(file.header).toEqual({ family: "TensorRT", release: "10.6.0", build: 26, computeCapabilities: [[9, 0]] });
  expect(file.metadata).toEqual({});
  expect(file.plan.length).toBe(8_630_076);
  const version = parseVersion(100600);
  checkPlan(file, version, { ...STRICT, computeCapability: [9, 0] }, "yolov8n");
  checkPlan(file, version, STRICT, "yolov8n");
  checkPlan(file, version, { ...STRICT, hardwareCompatible: true, computeCapability: [12, 0] }, "yolov8n");
  expect(() => checkPlan(file, version, { ...STRICT, computeCapability: [8, 6] }, "yolov8n")).toThrow(
    "Cannot load yolov8n: it was built for compute capability 9.0, this GPU has 8.6\nHint: build it on this machine",
  );
});

test.skipIf(isMissing(PLAN))("readPlan() finds a plan that is cut short, as it is there", async () => {
  const bytes = await Bun.file(sharedPath(PLAN)).bytes();
  const call = (): unknown => readPlan(bytes.subarray(0, 100_001), '"cut.plan"');
  expect(call).toThrow(ModelError);
  expect(call).toThrow(
    'Cannot load "cut.plan": it is cut short, its engine must have 8630076 bytes, got 100001\nHint: copy',
  );
});

test("checkPlan() names both versions where they differ", () => {
  const file = readPlan(head([10, 6, 0, 26]), "a.plan");
  const failure = (number: number): PlanMismatchError => {
    try {
      checkPlan(file, parseVersion(number), STRICT, '"a.plan"');
    } catch (error) {
      return error as PlanMismatchError;
    }
    throw new Error("nothing was thrown");
  };
  const other = failure(101501);
  expect(other).toBeInstanceOf(PlanMismatchError);
  expect([other.built, other.found]).toEqual(["TensorRT 10.6.0.26", "TensorRT 10.15.1"]);
  expect(other.message).toStartWith(
    'Cannot load "a.plan": it was built by TensorRT 10.6.0.26, this is TensorRT 10.15.1\nHint: ',
  );
  expect(failure(10701).message).toContain("TensorRT and TensorRT-RTX cannot read each other's plans");
  const compatible = { ...STRICT, versionCompatible: true };
  checkPlan(file, parseVersion(101501), compatible, "a.plan");
  // As numbers, not as text: 10.15 is newer than 10.6, which is newer than 10.5.
  const newer = readPlan(head([10, 15, 1, 29]), "b.plan");
  for (const [one, number] of [
    [file, 100500],
    [newer, 100600],
  ] as const) {
    expect(() => checkPlan(one, parseVersion(number), compatible, "b.plan")).toThrow(/a plan never runs on an older/);
  }
  expect(() => checkPlan(file, parseVersion(10701), { ...STRICT, versionCompatible: true }, "a.plan")).toThrow(
    PlanMismatchError,
  );
});

test("readPlan() leaves what it does not know to TensorRT", () => {
  expect(readPlan(head([10, 6, 0, 26], { magic: "what" }), "a").header).toBeUndefined();
  expect(readPlan(Uint8Array.of(1), "a").header).toBeUndefined();
  const later = head([10, 6, 0, 26]);
  later[8] = 3;
  expect(readPlan(later, "a").header).toBeUndefined();
  expect(readPlan(head([1, 7, 1, 116], { magic: "vtrt" }), "a").header).toEqual({
    family: "TensorRT-RTX",
    release: "1.7.1",
    build: 116,
    computeCapabilities: [],
  });
  expect(() => readPlan(new Uint8Array(), '"a.plan"')).toThrow('Cannot load "a.plan": it is empty\nHint: ');
});

test("readPlan() reads the GPUs of a TensorRT-RTX plan, unless it has a bit that is not known", () => {
  const plan = head([1, 7, 1, 116], { magic: "vtrt" });
  plan[32] = 1 + 4 + 16;
  const file = readPlan(plan, "a");
  expect(file.header?.computeCapabilities).toEqual([
    [7, 5],
    [8, 6],
    [12, 0],
  ]);
  const version = parseVersion(10701);
  checkPlan(file, version, { ...STRICT, computeCapability: [12, 0] }, "a");
  expect(() => checkPlan(file, version, { ...STRICT, computeCapability: [8, 9] }, "a")).toThrow(
    "it was built for compute capability 7.5 or 8.6 or 12.0, this GPU has 8.9",
  );
  plan[32] = 64 + 1;
  expect(readPlan(plan, "a").header?.computeCapabilities).toEqual([]);
});

test("readPlan() takes Ultralytics' header off and uses it", () => {
  const json = Buffer.from('{"task": "detect", "stride": 32, "names": {"0": "person"}, "imgsz": [640, 640]}');
  const length = Buffer.alloc(4);
  length.writeUInt32LE(json.length);
  const file = readPlan(Buffer.concat([length, json, head([10, 6, 0, 26])]), "a");
  expect(file.metadata).toEqual({ task: "detect", stride: "32", names: '{"0":"person"}', imgsz: "[640,640]" });
  expect(file.header?.release).toBe("10.6.0");
  expect(file.origin).toBeUndefined();
  expect(() => readPlan(Buffer.concat([length, json.subarray(0, 9)]), "a")).toThrow(
    "Cannot load a: it is cut short, it must have more than",
  );
  expect(() => readPlan(Buffer.concat([length, json.fill("x", 1), head([10])]), "a")).toThrow(
    "its metadata is no JSON",
  );
});

test("writePlan() writes what readPlan() reads, with the engine at a multiple of 16", () => {
  for (const names of ["{0: 'a'}", "{0: 'ä'}", "{0: 'a, a'}"]) {
    const plan = head([1, 7, 1, 116], { magic: "vtrt" });
    const origin = { tensorRt: "TensorRT-RTX 1.7.1.116", computeCapabilities: [[8, 6]] as [number, number][] };
    const file = readPlan(writePlan(plan, { names, stride: "32" }, origin), "a");
    expect(file.metadata).toEqual({ names, stride: "32" });
    expect(file.origin).toEqual(origin);
    expect(file.plan).toEqual(plan);
    expect(file.plan.byteOffset % 16).toBe(0);
    const target = { ...STRICT, computeCapability: [8, 9] } as const;
    expect(() => checkPlan(file, parseVersion(10701), target, "a")).toThrow(
      "it was built for compute capability 8.6, this GPU has 8.9",
    );
    checkPlan(
      { ...file, origin: { ...origin, hardwareCompatibility: "ampere-plus" } },
      parseVersion(10701),
      target,
      "a",
    );
  }
});

test("readPlan() reads what writePlan() wrote of a model with much metadata", () => {
  const names = "x".repeat(3 << 20);
  const file = readPlan(writePlan(head([10, 6, 0, 26]), { names }, { tensorRt: "TensorRT 10.6.0.26" }), "a");
  expect(file.metadata.names?.length).toBe(names.length);
  expect(file.header?.release).toBe("10.6.0");
  expect(() => writePlan(new Uint8Array(1), { names: "x".repeat(1 << 26) }, { tensorRt: "" })).toThrow(
    "Cannot write a plan: the model's metadata must have at most 67108864 bytes as JSON",
  );
});

test("readPlan() refuses facts of this package in another form", () => {
  const good = {
    tensorRt: "TensorRT 10.6.0.26",
    computeCapabilities: [[9, 0]],
    gpu: "H200",
    io: { format: "hwc8" },
    later: { any: 1 },
  };
  const read = (origin: unknown): unknown => readPlan(writePlan(head([10]), {}, origin as PlanOrigin), "a").origin;
  expect(read(good)).toEqual(good);
  const cases: readonly (readonly [origin: unknown, where: string])[] = [
    [5, "Cannot load a: its metadata holds 5 as bun_tensorrt\nHint: "],
    [null, "its metadata holds null as bun_tensorrt\n"],
    [[], "as bun_tensorrt.tensorRt\n"],
    [{ ...good, tensorRt: {} }, "its metadata holds {} as bun_tensorrt.tensorRt\n"],
    [{ ...good, gpu: 7 }, "its metadata holds 7 as bun_tensorrt.gpu\n"],
    [{ ...good, computeCapabilities: "9.0" }, "bun_tensorrt.computeCapabilities"],
    [{ ...good, computeCapabilities: [[9, "0"]] }, "bun_tensorrt.computeCapabilities"],
    [{ ...good, computeCapabilities: [9, 0] }, "bun_tensorrt.computeCapabilities"],
    [{ ...good, hardwareCompatibility: true }, "bun_tensorrt.hardwareCompatibility"],
    [{ ...good, precision: ["fp16"] }, "bun_tensorrt.precision"],
    [{ ...good, io: "hwc8" }, "bun_tensorrt.io"],
    [{ ...good, io: null }, "bun_tensorrt.io"],
    [{ ...good, io: { format: "hwc8", measuredMs: null } }, "bun_tensorrt.io"],
    [{ ...good, io: { format: "hwc8", measuredMs: { hwc8: "0.4" } } }, "bun_tensorrt.io"],
  ];
  for (const [origin, where] of cases) {
    expect(() => read(origin)).toThrow(ModelError);
    expect(() => read(origin)).toThrow(where);
  }
});

test("readPlan() and checkPlan() answer damaged plans with a value or a named error", () => {
  const origin = { tensorRt: "TensorRT 10.6.0.26", computeCapabilities: [[9, 0]] as [number, number][] };
  const whole = writePlan(head([10, 6, 0, 26]), { stride: "32" }, origin);
  const target = { ...STRICT, computeCapability: [9, 0] } as const;
  let seed = 1;
  const random = (below: number): number => {
    seed = (seed * 48271) % 2147483647;
    return seed % below;
  };
  let fine = 0;
  for (let round = 0; round < 20_000; round++) {
    const bytes = whole.slice(0, round % 4 === 0 ? random(whole.length) : whole.length);
    for (let changes = random(4); changes > 0 && bytes.length > 0; changes--) bytes[random(bytes.length)] = random(256);
    try {
      checkPlan(readPlan(bytes, "a"), parseVersion(100600), target, "a");
      fine += 1;
    } catch (error) {
      if (!(error instanceof ModelError || error instanceof PlanMismatchError)) throw error;
    }
  }
  expect(fine).toBeGreaterThan(1000);
});

test("withBeside() has a plan carry what is known of its model, and readPlanOrigin() reads that alone, of bytes and of a file", async () => {
  const origin: PlanOrigin = { tensorRt: "TensorRT 10.6.0", gpu: "A100" };
  const bytes = writePlan(head([10, 6, 0, 26]), { names: "{0: 'ä'}" }, origin);
  expect(withBeside(bytes, "a.plan", undefined)).toBe(bytes);
  const texts = { "config.json": '{"id2label": {"0": "ä"}}' };
  const beside: Beside = { folder: { stem: "a", isOnly: true, texts }, weightsOf: "detr" };
  const changed = withBeside(bytes, "a.plan", beside);
  expect(readPlan(changed, "a.plan")).toMatchObject({ metadata: { names: "{0: 'ä'}" }, origin: { ...origin, beside } });
  expect(readPlan(changed, "a.plan").plan).toEqual(head([10, 6, 0, 26]));
  expect(withBeside(changed, "a.plan", structuredClone(beside))).toBe(changed);
  expect(withBeside(changed, "a.plan", undefined)).toEqual(bytes);

  const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-origin-"));
  try {
    const path = join(folder, "a.plan");
    await Bun.write(path, changed);
    for (const model of [path, changed]) expect(await readPlanOrigin(model)).toEqual({ ...origin, beside });
    const alien = head([10, 6, 0, 26]);
    for (const other of [alien, changed.subarray(0, 40), new Uint8Array(3), join(folder, "none.plan"), folder])
      expect(await readPlanOrigin(other)).toBeUndefined();
    // As in a plan that is loaded: facts of another form are no facts.
    const damaged = writePlan(alien, {}, { ...origin, beside: [] as never });
    expect(await readPlanOrigin(damaged)).toBeUndefined();
    expect(() => readPlan(damaged, "b.plan")).toThrow("its metadata holds [] as bun_tensorrt.beside");
    for (const wrong of [{ weightsOf: 1 }, { folder: { texts } }, { folder: { ...beside.folder, texts: { a: 1 } } }]) {
      const plan = writePlan(alien, {}, { ...origin, beside: wrong as never });
      expect(() => readPlan(plan, "b.plan")).toThrow("as bun_tensorrt.beside");
    }
    // What is not known here is another version's.
    const other = writePlan(alien, {}, { ...origin, beside: { files: { config: {} } } as never });
    expect(readPlan(other, "b.plan").plan).toEqual(alien);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
