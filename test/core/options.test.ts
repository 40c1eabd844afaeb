import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { DETECTOR_OPTIONS, parseDetectorOptions } from "../../src/api/detector-config.ts";
import { CLASSIFIER_OPTIONS, parseClassifierOptions } from "../../src/api/whole-image-config.ts";
import { OptionError } from "../../src/core/errors.ts";
import { givenOf, nearestWord, type OptionTable, parseOptions } from "../../src/core/options.ts";
import { DECODING_OPTIONS, parseDecodeOptions, SERVED_DECODING } from "../../src/image/image-options.ts";
import { parseWorkerOptions, WORKER_OPTIONS } from "../../src/worker/worker-config.ts";

const schema = z.strictObject({
  threshold: z.number().min(0).max(1).default(0.25),
  nms: z.strictObject({ iou: z.number().max(1).default(0.7) }).prefault({}),
});

test("parseOptions() fills in defaults", () => {
  expect(parseOptions(schema, {}, "load")).toEqual({ threshold: 0.25, nms: { iou: 0.7 } });
});

test("parseOptions() names a misspelt option and the nearest one", () => {
  const call = (): unknown => parseOptions(schema, { treshold: 0.5 }, "load a detector");
  expect(call).toThrow(OptionError);
  expect(call).toThrow('Unknown option "treshold". Did you mean "threshold"?');
});

test("parseOptions() takes an option that begins with the name of another for a longer name of it", () => {
  const options = z.strictObject({ ...schema.shape, iou: z.number(), batch: z.int(), batchWait: z.number() });
  const hint = (key: string): string => {
    try {
      parseOptions(options, { iou: 1, batch: 1, batchWait: 0, [key]: 1 }, "load");
      return "";
    } catch (error) {
      return (error as Error).message.split(". ")[1]!;
    }
  };
  expect(hint("iouThreshold")).toBe('Did you mean "iou"?');
  expect(hint("iou_thres")).toBe('Did you mean "iou"?');
  expect(hint("batchWaitMs")).toBe('Did you mean "batchWait"?');
  expect(hint("thresholds")).toBe('Did you mean "threshold"?');
});

test("parseOptions() lists the options where none is near", () => {
  expect(() => parseOptions(schema, { colour: 1 }, "load")).toThrow(
    'Unknown option "colour"\nHint: choose one of threshold, nms',
  );
});

test("parseOptions() names an option out of range by its path, and what was received", () => {
  expect(() => parseOptions(schema, { nms: { iou: 3 } }, "load")).toThrow('Option "nms.iou" must be at most 1, got 3');
});

test("parseOptions() shows no value of an option that lets somebody in", () => {
  const secret = z.object({ token: z.string().regex(/^x/, "a word") });
  expect(() => parseOptions(secret, { token: "s3cret" }, "serve")).toThrow(
    /^Option "token" must be a word, got (?!.*s3cret)/s,
  );
});

test("nearestWord() finds nothing among strangers", () => {
  expect(nearestWord("backend", ["iou", "size"])).toBeUndefined();
  expect(nearestWord("bakend", ["iou", "backend"])).toBe("backend");
  expect(nearestWord("x", ["", "backend"])).toBeUndefined();
});

test("nearestWord() does not spell out a long word for thousands of others", () => {
  const names = Array.from({ length: 20_000 }, (_, id) => `kind ${id}`);
  const started = performance.now();
  expect(nearestWord("x".repeat(16_000), names)).toBeUndefined();
  expect(performance.now() - started).toBeLessThan(500);
});

test("every option takes undefined, as programs with exactOptionalPropertyTypes hand theirs on", () => {
  const src = join(import.meta.dir, "../../src");
  const missing = [...new Bun.Glob("**/*.ts").scanSync(src)].flatMap((path) => {
    const text = readFileSync(join(src, path), "utf8");
    const interfaces = text.matchAll(
      /^export interface (\w*(?:Options|Choice|Rules|Limits|WorkerParts))\b[^{]*\{\n(.*?)^\}/gms,
    );
    return [...interfaces].flatMap(([, name, body = ""]) =>
      [...body.matchAll(/^ {2}readonly (\w+)\?:(.*?);\n(?! {3})/gms)]
        .filter(([, , type = ""]) => !/\| undefined$|: undefined$/.test(type))
        .map(([, option]) => `${name}.${option}`),
    );
  });
  expect(missing).toEqual([]);
});

test("an option that is undefined is as one that is left out", () => {
  const nothing = (table: OptionTable): object => Object.fromEntries(Object.keys(table).map((key) => [key, undefined]));
  const parsers: readonly (readonly [table: OptionTable, parse: (options: object) => unknown])[] = [
    [DETECTOR_OPTIONS, parseDetectorOptions],
    [CLASSIFIER_OPTIONS, parseClassifierOptions],
    [WORKER_OPTIONS, (options) => parseWorkerOptions({ ...options, consumer: "a" })],
    [DECODING_OPTIONS, parseDecodeOptions],
  ];
  for (const [table, parse] of parsers)
    expect(givenOf(parse(nothing(table)) as object)).toEqual(givenOf(parse({}) as object));
  const served = { maxPixels: undefined, decodeTimeoutMs: undefined };
  expect(parseWorkerOptions({ detector: served }).detector).toEqual(SERVED_DECODING);
});
