/** @module Units: numbers of a measurement as people read them. */

import { formatBytes } from "../../src/core/units.ts";
import type { Unit } from "../result.ts";

/** How a unit is written behind a number. */
export const UNIT_TEXT: Readonly<Record<Unit, string>> = {
  ms: "ms",
  us: "µs",
  ns: "ns",
  fps: "frames/s",
  bytes: "bytes",
  share: "%",
  count: "",
};

/** Four significant digits, and no decimals from 1000 on: `0.4531`, `12.35`, `2179`. */
export function digits(value: number): string {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (Number.isInteger(value) && size < 1000) return String(value);
  if (size >= 1000) return value.toFixed(0).replace(/\B(?=(\d{3})+$)/g, "\u202f");
  if (size >= 100) return value.toFixed(1);
  if (size >= 10) return value.toFixed(2);
  return value.toFixed(size < 0.01 ? 4 : 3);
}

/** The number alone: `0.453`, `71.3`, `6.25 MiB`. */
export function formatValue(value: number, unit: Unit): string {
  if (unit === "bytes") return formatBytes(value);
  if (unit === "share") return (value * 100).toFixed(1);
  return digits(value);
}

/** The number with its unit: `0.453 ms`, `71.3 %`. */
export function formatWithUnit(value: number, unit: Unit): string {
  const text = formatValue(value, unit);
  return unit === "bytes" || unit === "count" ? text : `${text} ${UNIT_TEXT[unit]}`;
}
