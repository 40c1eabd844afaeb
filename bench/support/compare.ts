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

/** What must be the same for the ratios to mean something. */
function conditions(facts: EnvironmentFacts): Readonly<Record<string, string>> {
  return {
    GPU: facts.gpu?.name ?? "none",
    driver: facts.gpu?.driver ?? "none",
    CPU: `${facts.cpu}, ${facts.cores} cores`,
    runtime: facts.runtime,
    Bun: facts.bun,
    model: facts.model?.sha256 ?? "none",
    engine: facts.engine?.sha256 ?? "none",
    picture: facts.picture.sha256,
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
