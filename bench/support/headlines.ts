/** @module Headlines: the few figures a reader wants first. */

import type { BenchResult, Measurement } from "../result.ts";
import { medianOf, summarise } from "./samples.ts";
import { formatValue, UNIT_TEXT } from "./units.ts";

/** A large number with a line under it. */
export interface Headline {
  readonly value: string;
  readonly unit: string;
  readonly text: string;
}

/** Which measurement a headline comes from, and what it says of it. */
const WANTED: readonly {
  readonly study: string;
  readonly id: string;
  readonly share: number;
  readonly text: string;
}[] = [
  { study: "latency", id: "decoded", share: 0.5, text: "decoded frame to boxes, median" },
  { study: "latency", id: "decoded", share: 0.99, text: "decoded frame to boxes, 99th percentile" },
  { study: "latency", id: "raw-graph", share: 0.5, text: "of it the engine alone, CUDA graph" },
  { study: "latency", id: "bytes", share: 0.5, text: "JPEG bytes to boxes, median" },
];

function find(result: BenchResult, study: string, id: string): Measurement | undefined {
  return result.studies.find(({ name }) => name === study)?.measurements.find((one) => one.id === id);
}

/** The headlines that a run has figures for. */
export function headlines(result: BenchResult): Headline[] {
  const found: Headline[] = [];
  for (const { study, id, share, text } of WANTED) {
    const measurement = find(result, study, id);
    if (measurement === undefined) continue;
    const { p50, p99 } = summarise(measurement.samples);
    found.push({
      value: formatValue(share === 0.5 ? p50 : p99, measurement.unit),
      unit: UNIT_TEXT[measurement.unit],
      text,
    });
  }
  const rates = result.studies
    .filter(({ name }) => name === "streams")
    .flatMap(({ measurements }) => measurements.filter(({ unit }) => unit === "fps"));
  const best = rates.toSorted((a, b) => medianOf(b.samples) - medianOf(a.samples))[0];
  if (best !== undefined) {
    found.push({
      value: formatValue(medianOf(best.samples), "fps"),
      unit: UNIT_TEXT.fps,
      text: `best rate: ${best.name}`,
    });
  }
  const kept = result.studies.flatMap(({ checks }) => checks);
  if (kept.length > 0) {
    const met = kept.filter(({ isMet }) => isMet).length;
    found.push({ value: `${met} / ${kept.length}`, unit: "", text: "promises kept in this run" });
  }
  return found;
}
