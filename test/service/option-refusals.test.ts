import { expect, test } from "bun:test";
import { DETECT_CALLS, DETECTOR_OPTIONS, parseDetectorOptions } from "../../src/api/detector-config.ts";
import { OptionError } from "../../src/core/errors.ts";
import type { OptionTable } from "../../src/core/options.ts";
import { parseServeOptions, SERVE_OPTIONS } from "../../src/serve/serve-config.ts";
import { parseWorkerOptions, WORKER_OPTIONS } from "../../src/worker/worker-config.ts";

type Parse = (options: never) => unknown;

const WRONG: readonly unknown[] = [
  ...[null, -1, 1.5, Number.NaN, 1e12, "", " ", "no such thing", true, 10n, () => {}],
  ...[[], [null], [[]], ["", ""], [-1], {}, { bogus: 1 }, { "": 1 }, JSON.parse('{"__proto__": 1}')],
];

/** Every option of a table with values of many kinds, some of which are right; and names that are none of it. */
function* wrongOptions(table: OptionTable, path: readonly string[] = []): Generator<object> {
  const wrap = (value: unknown): object =>
    path.reduceRight<unknown>((inner, key) => ({ [key]: inner }), value) as object;
  for (const name of ["bogus", "", "constructor", "toString"]) yield wrap({ [name]: 1 });
  for (const [name, { options }] of Object.entries(table)) {
    for (const value of WRONG) yield wrap({ [name]: value });
    if (options !== undefined) yield* wrongOptions(options, [...path, name]);
  }
}

const CASES: readonly (readonly [string, OptionTable, Parse])[] = [
  ["serve", SERVE_OPTIONS, parseServeOptions],
  ["worker", WORKER_OPTIONS, parseWorkerOptions],
  ["load", DETECTOR_OPTIONS, parseDetectorOptions],
  ["detect", DETECTOR_OPTIONS, (options: object) => DETECT_CALLS.call(options)],
  ["stream", DETECTOR_OPTIONS, (options: object) => DETECT_CALLS.stream(options)],
];

test.each(CASES)(
  "every refusal of the options of %s says the rule, and has a hint with words in it or none",
  (_, table, parse) => {
    let refusals = 0;
    for (const options of [...wrongOptions(table), ...WRONG]) {
      try {
        parse(options as never);
      } catch (error) {
        expect(error).toBeInstanceOf(OptionError);
        const [said = "", ...hints] = (error as OptionError).message.split("\n");
        expect(said).toMatch(
          /^(?:(?:Cannot [^:]+: o|O)ption ".+"|The options to .+) (?:must be (?:none of )?\S.*|excludes .+)|^Unknown option ".*"/,
        );
        expect(said).not.toMatch(/invalid/i);
        for (const hint of hints) expect(hint).toMatch(/^Hint: (?!.* of $)\S.*\S$/);
        expect(hints.length).toBeLessThan(2);
        refusals += 1;
      }
    }
    expect(refusals).toBeGreaterThan(Object.keys(table).length);
  },
);
