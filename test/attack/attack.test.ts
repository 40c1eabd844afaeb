import { expect, test } from "bun:test";
import { isRedisMissing } from "../support/redis-server.ts";
import { attackPlaces, attackServe, attackSocket, attackWorker, type Limits } from "./attack.ts";
import type { Outcome, Scale } from "./target.ts";

/** A short form of `scripts/attack.ts`. */
const SCALE: Scale = { connections: 30, bodyBytes: 2e6, bodies: 4, side: 500, entries: 100, slowMs: 300 };
/** Two cores may be busy with other tests. */
const LIMITS: Limits = { answerMs: 5000, memoryBytes: 2 ** 30, endMs: 2000 };

function faultsOf(outcomes: readonly Outcome[]): string[] {
  return outcomes.flatMap(({ name, faults }) => faults.map((fault) => `${name}: ${fault}`));
}

test("a stranger does serve no harm", async () => {
  const outcomes = await attackServe(SCALE, LIMITS);
  expect(faultsOf(outcomes)).toEqual([]);
  expect(outcomes.length).toBeGreaterThan(8);
}, 60_000);

test("images that are decoded for ever do not keep serve from saying so, and from ending", async () => {
  expect(faultsOf([await attackPlaces(LIMITS)])).toEqual([]);
}, 60_000);

test("a socket file that a killed serve left behind is taken over", async () => {
  expect(faultsOf([await attackSocket(LIMITS)])).toEqual([]);
}, 60_000);

test.skipIf(isRedisMissing)(
  "a stranger does worker no harm, as redis-server is there",
  async () => {
    expect(faultsOf(await attackWorker(SCALE, LIMITS))).toEqual([]);
  },
  60_000,
);
