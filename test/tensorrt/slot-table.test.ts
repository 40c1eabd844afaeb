import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { METHOD_NAMES, type MethodName } from "../../src/ffi/shim.ts";
import {
  type CxxAbi,
  NO_SLOT,
  resolveSlots,
  type SlotTable,
  sinceMinor,
  TENSORRT_10,
  TENSORRT_11,
  TENSORRT_RTX,
} from "../../src/tensorrt/version.ts";
import { isMissing, sharedPath } from "../support/shared.ts";

const isAbsent = isMissing("tensorrt/slots-min.json");

/** Class → tag → method names by slot, as parsed from NVIDIA's headers. */
type Headers = Readonly<Record<string, Readonly<Record<string, readonly string[]>>>>;

async function readShared<T>(file: string): Promise<T> {
  return (await Bun.file(sharedPath("tensorrt", file)).json()) as T;
}

/** The vtable of MSVC from that of others: one destructor, and overloads at the place of the first one, in reverse. */
function msvcTable(names: readonly string[]): string[] {
  return names.flatMap((name, at) => {
    if (name.startsWith("~")) return name === "~D0" ? [] : ["~D0"];
    if (names.indexOf(name) !== at) return [];
    const overloads = names.filter((one) => one === name).length;
    // The first one, which is ours, comes last of them.
    return [...Array.from({ length: overloads - 1 }, () => `${name} of another kind`), name];
  });
}

/** Slot of a method in the headers of one tag; the first of overloads. The parser's headers are missing for some tags. */
function slotInHeaders(headers: Headers, method: MethodName, tag: string, abi: CxxAbi): number | undefined {
  const [type, name] = method.split(".") as [string, string];
  const isPlain = type === "Parser" || type === "ParserError";
  const names = headers[isPlain ? `I${type}` : `V${type}`]![tag];
  if (names === undefined) return isPlain ? undefined : NO_SLOT;
  return (abi === "msvc" ? msvcTable(names) : names).indexOf(name === "destroy" ? "~D0" : name);
}

function compare(headers: Headers, table: SlotTable, major: number, abi: CxxAbi = "itanium"): number {
  const tags = Object.keys(headers.VRuntime!).filter((tag) => tag.startsWith(`v${major}.`));
  for (const tag of tags) {
    const release = tag.slice(1).split(".").length === 3 ? tag.slice(1) : `${tag.slice(1)}.0`;
    const slots = resolveSlots(table, release, abi);
    METHOD_NAMES.forEach((method, id) => {
      const expected = slotInHeaders(headers, method, tag, abi);
      if (expected !== undefined) expect([tag, method, slots[id]]).toEqual([tag, method, expected]);
    });
  }
  return tags.length;
}

test.skipIf(isAbsent)("TENSORRT_10 agrees with the headers of every 10.x, as shared/tensorrt is there", async () => {
  expect(compare(await readShared<Headers>("slots-min.json"), TENSORRT_10, 10)).toBe(20);
});

test.skipIf(isAbsent)("TENSORRT_11 agrees with the headers of 11.x, as shared/tensorrt is there", async () => {
  expect(compare(await readShared<Headers>("slots-min.json"), TENSORRT_11, 11)).toBe(2);
});

test.skipIf(isAbsent)(
  "TENSORRT_RTX agrees with the bindings of 1.5, 1.6 and 1.7, as shared/tensorrt is there",
  async () => {
    const releases = await readShared<Record<string, Record<string, number>>>("rtx-slots.json");
    let compared = 0;
    for (const release of ["1.5.0", "1.6.1", "1.7.1"]) {
      const key = Object.keys(releases).find((one) => one.startsWith(release))!;
      const slots = resolveSlots(TENSORRT_RTX, release, "itanium");
      METHOD_NAMES.forEach((method, id) => {
        const prefix = `nvinfer1::I${method.replace(".", "::")}(`;
        const found = Object.entries(releases[key]!).filter(([signature]) => signature.startsWith(prefix));
        // Overloads forward to slots of another name: deserializeCudaEngine(stream), createExecutionContext(config).
        const known = found.filter(([signature]) => !/StreamReader|IRuntimeConfig/.test(signature));
        for (const [, slot] of known) {
          expect([release, method, slots[id]]).toEqual([release, method, slot]);
          compared += 1;
        }
      });
    }
    expect(compared).toBeGreaterThan(200);
  },
);

test("resolveSlots() gates a method by the minor version that brought it", () => {
  const id = METHOD_NAMES.indexOf("ExecutionContext.setDeviceMemoryV2");
  expect(resolveSlots(TENSORRT_10, "10.0.1", "itanium")[id]).toBe(NO_SLOT);
  expect(resolveSlots(TENSORRT_10, "10.1.0", "itanium")[id]).toBe(49);
  expect(resolveSlots(TENSORRT_10, "10.16.1", "itanium")[id]).toBe(49);
  expect(sinceMinor(TENSORRT_10, "ExecutionContext.setDeviceMemoryV2")).toBe(1);
  expect(sinceMinor(TENSORRT_11, "ExecutionContext.setDeviceMemoryV2")).toBe(0);
  expect(sinceMinor(TENSORRT_11, "Builder.platformHasFastFp16")).toBeUndefined();
});

test("resolveSlots() knows that 10.8.0 alone has getFlags one slot later", () => {
  const id = METHOD_NAMES.indexOf("NetworkDefinition.getFlags");
  const slots = (abi: CxxAbi) => ["10.7.0", "10.8.0", "10.9.0"].map((one) => resolveSlots(TENSORRT_10, one, abi)[id]);
  expect(slots("itanium")).toEqual([64, 65, 64]);
  expect(slots("msvc")).toEqual([63, 64, 63]);
});

test.skipIf(isAbsent)(
  "MSVC's slots follow from the headers of every 10.x and 11.x, as shared/tensorrt is there",
  async () => {
    const headers = await readShared<Headers>("slots-min.json");
    expect(compare(headers, TENSORRT_10, 10, "msvc")).toBe(20);
    expect(compare(headers, TENSORRT_11, 11, "msvc")).toBe(2);
  },
);

/** Libraries of Windows by the head of their part in slotstr.txt; those of the lean runtime are TensorRT's. */
const DLLS = [
  ["10.6", TENSORRT_10, "10.6.0"],
  ["10.15", TENSORRT_10, "10.15.1"],
  ["11.2", TENSORRT_11, "11.2.0"],
  ["lean-11.4", TENSORRT_11, "11.4.0"],
  ["rtx", TENSORRT_RTX, "1.7.1"],
] as const;

test.skipIf(isMissing("reach/slotstr.txt")).each(DLLS)(
  "MSVC's slots lie in the vtables of Windows' %s, one a method, as shared/reach is there",
  (tag, table, release) => {
    const text = readFileSync(sharedPath("reach", "slotstr.txt"), "utf8");
    const part = text.split("##### ").find((one) => one.startsWith(`${tag} (`))!;
    // What was read out of the library: how long each vtable is, and the methods whose function says its own name.
    const lengths = new Map([...part.matchAll(/^V(\w+) .* table +(\d+)/gm)].map(([, type, n]) => [type!, Number(n)]));
    const seen = new Set([...part.matchAll(/\b\w+\.\w+\b/g)].map(([name]) => name));
    const slots = resolveSlots(table, release, "msvc");
    const taken = new Map<string, string>();
    let compared = 0;
    METHOD_NAMES.forEach((method, id) => {
      const [type] = method.split(".") as [string];
      const length = lengths.get(type);
      if (length === undefined || slots[id] === NO_SLOT) return;
      expect([method, slots[id]! > 0, slots[id]! < length]).toEqual([method, true, true]);
      expect(taken.get(`${type} ${slots[id]}`)).toBeUndefined();
      taken.set(`${type} ${slots[id]}`, method);
      compared += Number(seen.has(method));
    });
    expect(compared).toBeGreaterThan(45);
  },
);

test("MSVC's slots: a destructor less in front, one overload in TensorRT 10, the parser's destructor behind", () => {
  const slotsOf = (table: SlotTable, release: string, ...methods: readonly MethodName[]) => {
    const slots = resolveSlots(table, release, "msvc");
    return methods.map((method) => slots[METHOD_NAMES.indexOf(method)]);
  };
  expect(slotsOf(TENSORRT_10, "10.6.0", "Runtime.deserializeCudaEngine", "Runtime.setErrorRecorder")).toEqual([3, 8]);
  expect(slotsOf(TENSORRT_11, "11.2.0", "Runtime.deserializeCudaEngine", "HostMemory.data")).toEqual([2, 1]);
  expect(slotsOf(TENSORRT_10, "10.6.0", "Parser.parse", "Parser.getError", "Parser.destroy")).toEqual([0, 6, 8]);
  expect(slotsOf(TENSORRT_RTX, "1.7.1", "Parser.getError", "Parser.destroy", "ParserError.desc")).toEqual([4, 6, 1]);
  expect(slotsOf(TENSORRT_10, "10.0.1", "CudaEngine.getDeviceMemorySizeV2")).toEqual([NO_SLOT]);
});
