/** @module Compare: a run beside an earlier one, measurement by measurement, and what is more than noise. */

import type { BenchResult, EnvironmentFacts, Measurement, Unit } from "../result.ts";
import { driftOf, medianOf } from "./samples.ts";

/** One measurement in both runs. */
export interface Comparison {
  readonly study: string;
  readonly id: string;
  readonly name: string;
  readonly unit: Unit;
  /** Medians. */
  readonly before: number;
  readonly now: number;
  /** now / before */
  readonly ratio: number;
  /** Noise are ratios from 1 / (1 + this) to 1 + this. */
  readonly noise: number;
  readonly verdict: "better" | "worse" | "same";
}

/** Two runs side by side. */
export interface ComparedRuns {
  readonly rows: readonly Comparison[];
  /** What differs between the machines and inputs; where it does, the ratios say little. */
  readonly differences: readonly string[];
  /** Measurements of the earlier run that this one has not. */
  readonly missing: readonly string[];
}

/** No two runs agree better than this. */
const LEAST_NOISE = 0.01;

function keyed(result: BenchResult): Map<string, { study: string; measurement: Measurement }> {
  return new Map(
    result.studies.flatMap(({ name: study, measurements }) =>
      measurements.map((measurement) => [`${study}/${measurement.id}`, { study, measurement }]),
    ),
  );
}

function compareOne(study: string, before: Measurement, now: Measurement): Comparison {
  const medians = [medianOf(before.samples), medianOf(now.samples)] as const;
  const ratio = medians[1] / medians[0];
  const drift = Math.hypot(driftOf(before.samples), driftOf(now.samples));
  const noise = Math.max(LEAST_NOISE, (2 * drift) / Math.abs(medians[0]));
  // By factors: to a fifth is as far as to five times.
  const isBeyond = Math.max(ratio, 1 / ratio) > 1 + noise;
  const isBetter = now.better === "lower" ? ratio < 1 : ratio > 1;
  return {
    study,
    id: now.id,
    name: now.name,
    unit: now.unit,
    before: medians[0],
    now: medians[1],
    ratio,
    noise,
    verdict: isBeyond ? (isBetter ? "better" : "worse") : "same",
  };
}

/** As much of a file's hash as tells it from others. */
function shortHash(file: { readonly sha256: string } | null | undefined): string {
  return file?.sha256.slice(0, 12) ?? "none";
}

/** What must be the same for the ratios to mean something. */
function conditions(facts: EnvironmentFacts): Readonly<Record<string, string>> {
  return {
    GPU: facts.gpu?.name ?? "none",
    driver: facts.gpu?.driver ?? "none",
    CPU: `${facts.cpu}, ${facts.cores} cores`,
    runtime: facts.runtime,
    Bun: facts.bun,
    model: shortHash(facts.model),
    engine: shortHash(facts.engine),
    image: shortHash(facts.image),
  };
}

/** Compare every measurement that both runs have. */
export function compareRuns(before: BenchResult, now: BenchResult): ComparedRuns {
  const old = keyed(before);
  const rows: Comparison[] = [];
  for (const [key, { study, measurement }] of keyed(now)) {
    const former = old.get(key);
    old.delete(key);
    if (former?.measurement.unit === measurement.unit && medianOf(former.measurement.samples) !== 0) {
      rows.push(compareOne(study, former.measurement, measurement));
    }
  }
  const [then, here] = [conditions(before.environment), conditions(now.environment)];
  const differences = Object.keys(here)
    .filter((name) => here[name] !== then[name])
    .map((name) => `${name}: then ${then[name]}, now ${here[name]}`);
  return { rows, differences, missing: [...old.keys()] };
}

/** Names of measurements in a list; of more than this many only how many a study has. */
const MOST_NAMES = 8;

/** What an earlier run has measured and this one has not, in a line: `latency/file`, or `streams 144, peers 8`. */
export function formatMissing(missing: readonly string[]): string {
  if (missing.length <= MOST_NAMES) return missing.join(", ");
  const studies = Map.groupBy(missing, (key) => key.split("/", 1)[0]!);
  return [...studies].map(([study, keys]) => `${study} ${keys.length}`).join(", ");
}

/** now / then as it is read: `0.952`, `16.2`, `412`. */
export function formatRatio(ratio: number): string {
  return ratio.toFixed(ratio < 10 ? 3 : ratio < 100 ? 1 : 0);
}
