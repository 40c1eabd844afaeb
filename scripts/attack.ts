/**
 * @module Attacks a `serve` and a `worker`, which it starts itself on loopback, while good requests go on: `bun
 * scripts/attack.ts [SCALE]`. Exits with 1 if one of them does harm. `test/attack` runs a short form.
 */

import { parseArgs } from "node:util";
import { attackPlaces, attackServe, attackSocket, attackWorker, type Limits } from "../test/attack/attack.ts";
import type { Outcome, Scale } from "../test/attack/target.ts";
import { isRedisMissing } from "../test/support/redis-server.ts";

const { positionals } = parseArgs({ allowPositionals: true });
const factor = Number(positionals[0] ?? 1);
if (!(factor > 0 && factor <= 10))
  throw new Error(`SCALE must be a number above 0, at most 10, got "${positionals[0]}"`);

const scale: Scale = {
  connections: Math.ceil(2000 * factor),
  bodyBytes: Math.min(2 ** 25 - 1000, Math.ceil(28e6 * factor)),
  bodies: Math.ceil(16 * factor),
  side: Math.min(8192, Math.ceil(8192 * factor)),
  entries: Math.ceil(2000 * factor),
  slowMs: 15_000 * factor,
};
const limits: Limits = { answerMs: 2000, memoryBytes: 2 ** 30, endMs: 2000 };

function print({ name, answers, worstMs, elapsedMs, faults }: Outcome): void {
  const colour = faults.length === 0 ? "green" : "red";
  const time = `${(elapsedMs / 1000).toFixed(1)} s, slowest good answer ${Math.round(worstMs)} ms`;
  console.log(`${colour}  ${name}: ${answers} (${time})`);
  for (const fault of faults) console.log(`       ${fault}`);
}

const outcomes: Outcome[] = [];
const take = (found: readonly Outcome[]): void => {
  outcomes.push(...found);
  for (const outcome of found) print(outcome);
};
take(await attackServe(scale, limits));
take([await attackPlaces(limits)]);
take([await attackSocket(limits)]);
if (isRedisMissing) console.log("skipped: the worker, as there is no redis-server");
else take(await attackWorker(scale, limits));
process.exit(outcomes.every(({ faults }) => faults.length === 0) ? 0 : 1);
