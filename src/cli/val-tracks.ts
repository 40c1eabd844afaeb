/** @module ValTracks: `val --track`, how good files of tracks are beside the truth. */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { BunTensorRtError, message } from "../core/errors.ts";
import { printable, printableJson } from "../core/shown.ts";
import { statsOf } from "../core/stats-of.ts";
import { type MotRows, parseMot } from "../track/mot-file.ts";
import { addCounts, countTracks, type TrackCounts, type TrackScores, trackScores } from "../track/mot-measures.ts";
import type { CommandContext } from "./command.ts";
import { alignRows, paintOf } from "./terminal.ts";
import type { ValTrackArguments } from "./val-flags.ts";

/** One file of tracks, and that of its truth. */
interface Sequence {
  readonly name: string;
  readonly tracks: string;
  readonly truth: string;
}

const HINT = "the truth of tracks/A.txt is A.txt, A/gt.txt or A/gt/gt.txt in the folder of --data";

function isFolder(path: string): boolean {
  return statsOf(path)?.isDirectory() === true;
}

/** Which files are compared. @throws {BunTensorRtError} If there are none, or one has no truth */
function sequencesOf({ track, data }: ValTrackArguments): Sequence[] {
  if (!isFolder(track)) {
    if (isFolder(data)) throw noTruth(track, `${JSON.stringify(data)} is a folder`, "give the file with --data");
    return [{ name: basename(track).replace(/\.[^.]*$/, ""), tracks: track, truth: data }];
  }
  const names = readdirSync(track)
    .filter((name) => name.endsWith(".txt"))
    .map((name) => name.slice(0, -4))
    .sort();
  if (names.length === 0) throw noTruth(track, "it has no .txt file", HINT);
  return names.map((name) => {
    const places = [`${name}.txt`, `${name}/gt.txt`, `${name}/gt/gt.txt`].map((place) => join(data, place));
    const truth = places.find((place) => existsSync(place));
    if (truth === undefined)
      throw noTruth(join(track, `${name}.txt`), `${JSON.stringify(data)} has no truth for it`, HINT);
    return { name, tracks: join(track, `${name}.txt`), truth };
  });
}

function noTruth(file: string, found: string, hint: string): BunTensorRtError {
  return new BunTensorRtError(message(`score the tracks ${JSON.stringify(file)}`, found, hint));
}

function readMot(path: string): MotRows {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (cause) {
    throw new BunTensorRtError(message(`read the tracks of ${JSON.stringify(path)}`, (cause as Error).message), {
      cause,
    });
  }
  return parseMot(text, path);
}

const RATIOS = ["HOTA", "DetA", "AssA", "LocA", "MOTA", "MOTP", "IDF1"] as const satisfies (keyof TrackScores)[];
const COUNTS = ["objects", "TP", "FP", "FN", "IDSW", "Frag", "MT", "ML"] as const satisfies (keyof TrackScores)[];

/** Score the tracks, and write how good they are. @throws {BunTensorRtError} If a file is missing or broken */
export async function scoreFiles(args: ValTrackArguments, { output }: CommandContext): Promise<void> {
  const scored = sequencesOf(args).map(({ name, tracks, truth }) => ({
    name,
    counts: countTracks(readMot(truth), readMot(tracks)),
  }));
  const all = scored.map(({ counts }) => counts) as [TrackCounts, ...TrackCounts[]];
  const metrics = trackScores(addCounts(all));
  const sequences = scored.map(({ name, counts }) => ({ name, ...trackScores(counts) }));
  if (args.json) {
    await output.write(`${printableJson({ tracks: args.track, data: args.data, metrics, sequences }, 2)}\n`);
    return;
  }
  const paint = paintOf(output.hasColour);
  const rows = [...(sequences.length > 1 ? [{ name: "all", ...metrics }] : []), ...sequences].map((row) => [
    paint("cyan", printable(row.name)),
    ...RATIOS.map((key) => row[key].toFixed(3)),
    ...COUNTS.map((key) => String(row[key])),
  ]);
  const head = ["sequence", ...RATIOS, ...COUNTS].map((title) => paint("dim", title));
  await output.write(
    `${alignRows(
      [head, ...rows],
      head.map((_, at) => (at === 0 ? "left" : "right")),
    ).join("\n")}\n`,
  );
}
