/** @module Keep: putting measurements and promises into a study's output. */

import type { Measurement, Unit } from "../result.ts";
import type { StudyOutput } from "../study.ts";
import { formatWithUnit } from "./units.ts";

/** Keep a measurement; one without samples is passed over. Rates are better higher, all else lower. */
export function keep(output: StudyOutput, id: string, name: string, unit: Unit, samples: readonly number[]): void {
  if (samples.length === 0) return;
  const better: Measurement["better"] = unit === "fps" ? "higher" : "lower";
  output.measurements.push({ id, name, unit, better, samples: [...samples] });
}

/** Keep a promise: a figure and the most (or least) it may be. */
export function promise(
  output: StudyOutput,
  claim: string,
  found: number,
  limit: { readonly most: number; readonly unit: Unit } | { readonly least: number; readonly unit: Unit },
): void {
  const { unit } = limit;
  const isMet = "most" in limit ? found <= limit.most : found >= limit.least;
  const wanted =
    "most" in limit ? `at most ${formatWithUnit(limit.most, unit)}` : `at least ${formatWithUnit(limit.least, unit)}`;
  output.checks.push({ claim, found: formatWithUnit(found, unit), wanted, isMet });
}
