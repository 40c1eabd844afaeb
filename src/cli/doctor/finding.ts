/** @module Finding: what `doctor` found of one thing, and the report made of all of them. Pure. */

import { printable } from "../../core/shown.ts";
import { alignRows, type Paint, type Style } from "../terminal.ts";

/** `ok`: there and working. `absent`: not there, and detection works without. `broken`: detection fails because of it. */
export type FindingState = "ok" | "absent" | "broken";

/** One thing that was looked for. */
export interface Finding {
  readonly name: string;
  readonly state: FindingState;
  /** What was found: a version and a path, or what is wrong. */
  readonly found: string;
  /** A command or sentence that fixes it; `undefined` where nothing needs to be done or nothing can. */
  readonly fix?: string;
}

const STYLES: Readonly<Record<FindingState, Style>> = { ok: "green", absent: "yellow", broken: "red" };

/** True if nothing that is needed is broken. */
export function isHealthy(findings: readonly Finding[]): boolean {
  return findings.every(({ state }) => state !== "broken");
}

/** A line for each finding, with its fix below it. */
export function formatFindings(findings: readonly Finding[], paint: Paint): string {
  const rows = alignRows(
    findings.map(({ name, state, found }) => [paint(STYLES[state], state), paint("bold", name), printable(found)]),
    ["left", "left", "left"],
  );
  const lines = findings.flatMap(({ fix }, at) =>
    fix === undefined ? [rows[at]!] : [rows[at]!, `        ${paint("dim", "fix:")} ${printable(fix)}`],
  );
  return `${lines.join("\n")}\n`;
}
