import { expect, test } from "bun:test";
import { METHOD_NAMES, type MethodName } from "../../src/ffi/shim.ts";
import {
  NO_SLOT,
  resolveSlots,
  type SlotTable,
  sinceMinor,
  TENSORRT_10,
  TENSORRT_11,
  TENSORRT_RTX,
} from "../../src/tensorrt/abi.ts";
import { isMissing, sharedPath } from "../support/shared.ts";

const isAbsent = isMissing("tensorrt/slots-min.json");

/** Class → tag → method names by slot, as parsed from NVIDIA's headers. */
type Headers = Readonly<Record<string, Readonly<Record<string, readonly string[]>>>>;

async function readShared<T>(file: string): Promise<T> {
  return (await Bun.file(sharedPath("tensorrt", file)).json()) as T;
}

/** Slot of a method in the headers of one tag; the first of overloads. The parser's headers are missing for some tags. */
function slotInHeaders(headers: Headers, method: MethodName, tag: string): number | undefined {
  const [type, name] = method.split(".") as [string, string];
  const isPlain = type === "Parser" || type === "ParserError";
  const names = headers[isPlain ? `I${type}` : `V${type}`]![tag];
  if (names === undefined) return isPlain ? undefined : NO_SLOT;
  return names.indexOf(name === "destroy" ? "~D0" : name);
}

function compare(headers: Headers, table: SlotTable, major: number): number {
  const tags = Object.keys(headers.VRuntime!).filter((tag) => tag.startsWith(`v${major}.`));
  for (const tag of tags) {
    const release = tag.slice(1).split(".").length === 3 ? tag.slice(1) : `${tag.slice(1)}.0`;
    const slots = resolveSlots(table, release);
    METHOD_NAMES.forEach((method, id) => {
      const expected = slotInHeaders(headers, method, tag);
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
      const slots = resolveSlots(TENSORRT_RTX, release);
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
  expect(resolveSlots(TENSORRT_10, "10.0.1")[id]).toBe(NO_SLOT);
  expect(resolveSlots(TENSORRT_10, "10.1.0")[id]).toBe(49);
  expect(resolveSlots(TENSORRT_10, "10.16.1")[id]).toBe(49);
  expect(sinceMinor(TENSORRT_10, "ExecutionContext.setDeviceMemoryV2")).toBe(1);
  expect(sinceMinor(TENSORRT_11, "ExecutionContext.setDeviceMemoryV2")).toBe(0);
  expect(sinceMinor(TENSORRT_11, "Builder.platformHasFastFp16")).toBeUndefined();
});

test("resolveSlots() knows that 10.8.0 alone has getFlags one slot later", () => {
  const id = METHOD_NAMES.indexOf("NetworkDefinition.getFlags");
  expect(["10.7.0", "10.8.0", "10.9.0"].map((release) => resolveSlots(TENSORRT_10, release)[id])).toEqual([64, 65, 64]);
});
