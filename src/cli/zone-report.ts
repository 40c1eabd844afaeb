/** @module ZoneReport: what zones and lines have counted, for people, and what happened there, in a file. */

import { printable, printableJson } from "../core/shown.ts";
import { overwritten } from "../core/stats-of.ts";
import { formatDuration } from "../core/units.ts";
import { openOutput } from "../core/whole-file.ts";
import type { ZoneEvent } from "../track/zone-events.ts";
import type { Zones } from "../track/zones.ts";
import { refuse } from "./args.ts";
import type { DetectArguments } from "./detect-flags.ts";
import { localPath } from "./save.ts";
import { alignRows } from "./terminal.ts";

/** Takes events. */
export interface ZoneFile extends Disposable {
  /** @param index of the frame; none for those of the end of a video */
  write(source: string, event: ZoneEvent, index?: number): Promise<void>;
  finish(): Promise<void>;
}

/**
 * Open a file for events, a JSON line each.
 *
 * @throws {OptionError} If it is a file that is read
 * @throws {BunTensorRtError} If it cannot be written
 */
export function openZoneFile(
  path: string,
  { model, zones, output }: Pick<DetectArguments, "model" | "zones" | "output">,
  files: readonly string[],
): ZoneFile {
  const others = [...files.map(localPath), ...[model, zones, output].filter((one) => one !== undefined)];
  if (overwritten([path], others) !== undefined) {
    const found = `--events would overwrite a file of this run: ${JSON.stringify(path)}`;
    throw refuse("events", found, "give another file");
  }
  const file = openOutput(path);
  return {
    async write(source, event, index) {
      await file.write(`${printableJson({ source, ...(index === undefined ? {} : { index }), ...event })}\n`);
    },
    finish: () => file.finish(),
    [Symbol.dispose]: () => file.close(),
  };
}

/** What was counted, in tables below each other, with a line break before each; of several videos, with their names. */
export function formatZones(videos: readonly { readonly name: string; readonly zones: Zones | undefined }[]): string {
  return videos
    .map(({ name, zones }) => (zones === undefined ? "" : tableOf(zones, videos.length > 1 ? name : "")))
    .join("");
}

function tableOf({ counts: { zones, lines } }: Zones, name: string): string {
  const head = ["", "in", "out", "inside", "most", "mean stay", "longest"];
  const rows: string[][] = [];
  const add = (title: string, byClass: object, cells: readonly string[]): void => {
    rows.push([printable(title), ...cells]);
    const classes = Object.entries(byClass) as [string, { in: number; out: number; occupancy?: number }][];
    if (classes.length < 2) return;
    for (const [label, one] of classes) {
      rows.push([`  ${printable(label)}`, `${one.in}`, `${one.out}`, `${one.occupancy ?? ""}`, "", "", ""]);
    }
  };
  for (const { name: zone, byClass, occupancy, peak, meanDwellMs, maxDwellMs, ...count } of zones) {
    const stays = [meanDwellMs, maxDwellMs].map((stay) => (stay === 0 ? "" : formatDuration(stay)));
    add(zone, byClass, [`${count.in}`, `${count.out}`, `${occupancy}`, `${peak}`, ...stays]);
  }
  for (const { name: line, byClass, ...count } of lines) {
    add(line, byClass, [`${count.in}`, `${count.out}`, "", "", "", ""]);
  }
  const alignments = head.map((_, at) => (at === 0 ? "left" : "right") as "left" | "right");
  return `${name === "" ? "" : `\n${printable(name)}`}\n${alignRows([head, ...rows], alignments).join("\n")}`;
}
