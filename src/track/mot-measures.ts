/**
 * @module MotMeasures: tracks as the MOT challenge writes them, and how good they are beside the truth: HOTA, CLEAR MOT and identity, as
 * TrackEval has them.
 */

import { BunTensorRtError, message } from "../core/errors.ts";
import { round } from "../core/units.ts";
import type { Detection } from "../tasks/detect/detection.ts";
import { Assignment } from "./assignment.ts";

/**
 * A line of a results file: frame and id from 1 on, left, top, width and height in pixels, score, and three numbers of the 3D
 * challenge, which are -1.
 */
export function motLine(frame: number, { trackId = -1, box: [x1, y1, x2, y2], score }: Detection): string {
  const sides = [x1, y1, x2 - x1, y2 - y1].map((side) => round(side, 3));
  return `${[frame, trackId, ...sides, round(score, 6), -1, -1, -1].join(",")}\n`;
}

/** The rows of a file as columns, by frame and in the order of the file. */
export interface MotRows {
  /** From 1 on. */
  readonly frames: Int32Array;
  readonly ids: Int32Array;
  /** Left, top, width, height. */
  readonly boxes: Float64Array;
  /** Of a result its score; of the truth 0 for what does not count. */
  readonly scores: Float64Array;
  /** -1 where the file has none. */
  readonly classes: Int32Array;
}

const HINT = "a line is frame,id,left,top,width,height,score,class,visibility";

/**
 * Read a file of tracks or of the truth.
 *
 * @param name for messages
 * @throws {BunTensorRtError} If a line has fewer than six numbers, or one that is none
 */
export function parseMot(text: string, name: string): MotRows {
  const lines = text.split(/\r?\n/);
  const rows: number[][] = [];
  for (const [at, line] of lines.entries()) {
    if (line.trim() === "") continue;
    const numbers = line
      .trim()
      .split(/[,\s]+/)
      .filter((cell) => cell !== "")
      .map(Number);
    const [frame = 0, id = 0] = numbers;
    const isWhole = Number.isInteger(frame) && Number.isInteger(id) && frame >= 1;
    if (numbers.length < 6 || numbers.some(Number.isNaN) || !isWhole) {
      const found = `line ${at + 1} is ${JSON.stringify(line.slice(0, 80))}`;
      throw new BunTensorRtError(message(`read the tracks of ${JSON.stringify(name)}`, found, HINT));
    }
    rows.push(numbers);
  }
  return {
    frames: Int32Array.from(rows, ([frame]) => frame!),
    ids: Int32Array.from(rows, ([, id]) => id!),
    boxes: Float64Array.from(rows.flatMap((row) => row.slice(2, 6))),
    scores: Float64Array.from(rows, (row) => row[6] ?? 1),
    classes: Int32Array.from(rows, (row) => row[7] ?? -1),
  };
}

/** Overlaps from which on HOTA counts a match: it is the mean over all. */
const ALPHAS: readonly number[] = Array.from({ length: 19 }, (_, at) => (at + 1) / 20);
/** The overlap from which on the other two do. */
const THRESHOLD = 0.5;
/** What TrackEval takes off a threshold. */
const EPSILON = 2 ** -52;
/** By how much a pair of the frame before goes ahead of others. */
const KEPT = 1000;
/** Parts of an object's frames: mostly tracked above, mostly lost below. */
const MOSTLY_TRACKED = 0.8;
const MOSTLY_LOST = 0.2;
/** The class of the truth that counts, where it says classes. */
const PEDESTRIAN = 1;

/** What was counted of one sequence, or of several. */
export interface TrackCounts {
  /** Frames with anything in them. */
  readonly frames: number;
  /** Boxes of the truth, and of the tracks. */
  readonly truth: number;
  readonly found: number;
  readonly clear: {
    readonly matched: number;
    /** Sum of the overlaps of what was matched. */
    readonly overlap: number;
    readonly switches: number;
    readonly fragments: number;
    readonly mostlyTracked: number;
    readonly partlyTracked: number;
    readonly mostlyLost: number;
  };
  /** Boxes of objects by the track that is theirs. */
  readonly identified: number;
  /** By overlap: what was matched, the sum of the overlaps, and sums over matches of how well their tracks agree. */
  readonly hota: readonly {
    readonly matched: number;
    readonly overlap: number;
    readonly agreement: number;
    readonly recall: number;
    readonly precision: number;
  }[];
}

/** The measures of tracks, 0–1 but for those that count. */
export interface TrackScores {
  /** Boxes of the truth. */
  readonly objects: number;
  /** Detection and association together: the mean over overlaps of the root of both. */
  readonly HOTA: number;
  readonly DetA: number;
  readonly AssA: number;
  readonly DetRe: number;
  readonly DetPr: number;
  readonly AssRe: number;
  readonly AssPr: number;
  /** Overlap of what was matched. */
  readonly LocA: number;
  /** 1 less all errors over all boxes of the truth; may be negative. */
  readonly MOTA: number;
  readonly MOTP: number;
  readonly MODA: number;
  readonly IDF1: number;
  readonly IDP: number;
  readonly IDR: number;
  readonly TP: number;
  readonly FP: number;
  readonly FN: number;
  /** How often an object got another id. */
  readonly IDSW: number;
  /** How often an object was found again. */
  readonly Frag: number;
  /** Objects that were found in more than 80 % of their frames, in less than 20 %, and in between. */
  readonly MT: number;
  readonly PT: number;
  readonly ML: number;
}

/** A frame: which rows of both files are in it. */
interface Frame {
  readonly truth: number[];
  readonly found: number[];
}

/** Ids in place of those of the file: 0, 1, 2, …, by row. */
function numbered(ids: Int32Array): { readonly of: Int32Array; readonly count: number } {
  const numbers = new Map<number, number>();
  const of = ids.map((id) => {
    if (!numbers.has(id)) numbers.set(id, numbers.size);
    return numbers.get(id)!;
  });
  return { of, count: numbers.size };
}

/** Intersection over union of two boxes, each left, top, width, height. */
function overlapOf(a: Float64Array, rowA: number, b: Float64Array, rowB: number): number {
  const [atA, atB] = [rowA * 4, rowB * 4];
  const width = Math.min(a[atA]! + a[atA + 2]!, b[atB]! + b[atB + 2]!) - Math.max(a[atA]!, b[atB]!);
  const height = Math.min(a[atA + 1]! + a[atA + 3]!, b[atB + 1]! + b[atB + 3]!) - Math.max(a[atA + 1]!, b[atB + 1]!);
  if (!(width > 0 && height > 0)) return 0;
  const shared = width * height;
  return shared / (a[atA + 2]! * a[atA + 3]! + b[atB + 2]! * b[atB + 3]! - shared);
}

function framesOf(truth: MotRows, tracks: MotRows): Frame[] {
  const frames = new Map<number, Frame>();
  const frameOf = (number: number): Frame => {
    const frame = frames.get(number) ?? { truth: [], found: [] };
    frames.set(number, frame);
    return frame;
  };
  for (const [row, number] of truth.frames.entries()) {
    // Where the truth has classes and marks, pedestrians that are not marked as ignored count.
    const isCounted = truth.scores[row] !== 0 && (truth.classes[row]! < 0 || truth.classes[row] === PEDESTRIAN);
    if (isCounted) frameOf(number).truth.push(row);
  }
  for (const [row, number] of tracks.frames.entries()) frameOf(number).found.push(row);
  return [...frames].sort(([a], [b]) => a - b).map(([, frame]) => frame);
}

/** Count what a sequence's measures are made of. */
export function countTracks(truth: MotRows, tracks: MotRows): TrackCounts {
  const frames = framesOf(truth, tracks);
  const objects = numbered(truth.ids);
  const found = numbered(tracks.ids);
  const cells = objects.count * found.count;
  const objectFrames = new Float64Array(objects.count);
  const trackFrames = new Float64Array(found.count);
  /** By object and track: in how many frames they overlap, and the same in parts, by how alone they do. */
  const together = new Float64Array(cells);
  const shares = new Float64Array(cells);
  const overlaps = frames.map((frame) => {
    const rows = frame.truth.map((row) => frame.found.map((other) => overlapOf(truth.boxes, row, tracks.boxes, other)));
    const ofFound = frame.found.map((_, column) => rows.reduce((sum, row) => sum + row[column]!, 0));
    for (const row of frame.truth) objectFrames[objects.of[row]!]! += 1;
    for (const row of frame.found) trackFrames[found.of[row]!]! += 1;
    for (const [at, row] of rows.entries()) {
      const ofObject = row.reduce((sum, overlap) => sum + overlap, 0);
      for (const [column, overlap] of row.entries()) {
        const cell = objects.of[frame.truth[at]!]! * found.count + found.of[frame.found[column]!]!;
        const whole = ofFound[column]! + ofObject - overlap;
        if (whole > EPSILON) shares[cell]! += overlap / whole;
        if (overlap >= THRESHOLD) together[cell]! += 1;
      }
    }
    return rows;
  });

  const assignment = new Assignment();
  /** Pair rows with columns for the highest sum. */
  const pair = (rows: number, columns: number, gain: (row: number, column: number) => number): Int32Array => {
    assignment.start(columns, 0);
    for (let row = 0; row < rows; row++) {
      assignment.addRow();
      for (let column = 0; column < columns; column++) {
        const value = gain(row, column);
        if (value > 0) assignment.add(column, -value);
      }
    }
    assignment.solve();
    return assignment.columnOf;
  };

  const trackOf = pair(objects.count, found.count, (object, track) => together[object * found.count + track]!);
  let identified = 0;
  for (let object = 0; object < objects.count; object++) {
    const track = trackOf[object]!;
    if (track >= 0) identified += together[object * found.count + track]!;
  }

  const last = new Int32Array(objects.count).fill(-1);
  const before = new Int32Array(objects.count).fill(-1);
  const now = new Int32Array(objects.count);
  const matchedFrames = new Float64Array(objects.count);
  const runs = new Float64Array(objects.count);
  const clear = {
    matched: 0,
    overlap: 0,
    switches: 0,
    fragments: 0,
    mostlyTracked: 0,
    partlyTracked: 0,
    mostlyLost: 0,
  };
  const matches = ALPHAS.map(() => new Float64Array(cells));
  const hota = ALPHAS.map(() => ({ matched: 0, overlap: 0, agreement: 0, recall: 0, precision: 0 }));
  for (const [at, frame] of frames.entries()) {
    if (frame.truth.length === 0 || frame.found.length === 0) continue;
    const rows = overlaps[at]!;
    const objectOf = (row: number): number => objects.of[frame.truth[row]!]!;
    const idOf = (column: number): number => found.of[frame.found[column]!]!;

    const kept = pair(rows.length, frame.found.length, (row, column) => {
      const overlap = rows[row]![column]!;
      if (overlap < THRESHOLD - EPSILON) return 0;
      return overlap + (before[objectOf(row)] === idOf(column) ? KEPT : 0);
    });
    now.fill(-1);
    for (let row = 0; row < rows.length; row++) {
      if (kept[row]! < 0) continue;
      const [object, track] = [objectOf(row), idOf(kept[row]!)];
      clear.matched += 1;
      clear.overlap += rows[row]![kept[row]!]!;
      if (last[object]! >= 0 && last[object] !== track) clear.switches += 1;
      if (before[object]! < 0) runs[object]! += 1;
      matchedFrames[object]! += 1;
      last[object] = track;
      now[object] = track;
    }
    before.set(now);

    const aligned = pair(rows.length, frame.found.length, (row, column) => {
      const cell = objectOf(row) * found.count + idOf(column);
      const share = shares[cell]!;
      return (rows[row]![column]! * share) / (objectFrames[objectOf(row)]! + trackFrames[idOf(column)]! - share);
    });
    for (let row = 0; row < rows.length; row++) {
      if (aligned[row]! < 0) continue;
      const overlap = rows[row]![aligned[row]!]!;
      const cell = objectOf(row) * found.count + idOf(aligned[row]!);
      for (const [level, alpha] of ALPHAS.entries()) {
        if (overlap < alpha - EPSILON) break;
        hota[level]!.matched += 1;
        hota[level]!.overlap += overlap;
        matches[level]![cell]! += 1;
      }
    }
  }

  for (let object = 0; object < objects.count; object++) {
    if (objectFrames[object] === 0) continue;
    const part = matchedFrames[object]! / objectFrames[object]!;
    if (part > MOSTLY_TRACKED) clear.mostlyTracked += 1;
    else if (part >= MOSTLY_LOST) clear.partlyTracked += 1;
    else clear.mostlyLost += 1;
    clear.fragments += Math.max(0, runs[object]! - 1);
    for (let track = 0; track < found.count; track++) {
      for (const [level, counts] of hota.entries()) {
        const count = matches[level]![object * found.count + track]!;
        if (count === 0) continue;
        counts.agreement += (count * count) / (objectFrames[object]! + trackFrames[track]! - count);
        counts.recall += (count * count) / objectFrames[object]!;
        counts.precision += (count * count) / trackFrames[track]!;
      }
    }
  }
  const sum = (counts: Float64Array): number => counts.reduce((total, count) => total + count, 0);
  return { frames: frames.length, truth: sum(objectFrames), found: sum(trackFrames), clear, identified, hota };
}

/** Add up numbers that stand in the same place. */
function added<T>(a: T, b: T): T {
  if (typeof a === "number") return (a + (b as number)) as T;
  const entries = Object.entries(a as object).map(([key, value]) => [key, added(value, (b as never)[key])]);
  return (Array.isArray(a) ? entries.map(([, value]) => value) : Object.fromEntries(entries)) as T;
}

/** The counts of several sequences as those of one. */
export function addCounts(counts: readonly [TrackCounts, ...TrackCounts[]]): TrackCounts {
  return counts.reduce(added);
}

/** The measures that counts come to. */
export function trackScores({ truth, found, clear, identified, hota }: TrackCounts): TrackScores {
  const ratio = (part: number, whole: number): number => part / Math.max(1, whole);
  const mean = (value: (level: TrackCounts["hota"][number]) => number): number =>
    hota.reduce((sum, level) => sum + value(level), 0) / hota.length;
  const detected = (matched: number): number => ratio(matched, truth + found - matched);
  const [FP, FN] = [found - clear.matched, truth - clear.matched];
  return {
    objects: truth,
    HOTA: mean(({ matched, agreement }) => Math.sqrt(detected(matched) * ratio(agreement, matched))),
    DetA: mean(({ matched }) => detected(matched)),
    AssA: mean(({ matched, agreement }) => ratio(agreement, matched)),
    DetRe: mean(({ matched }) => ratio(matched, truth)),
    DetPr: mean(({ matched }) => ratio(matched, found)),
    AssRe: mean(({ matched, recall }) => ratio(recall, matched)),
    AssPr: mean(({ matched, precision }) => ratio(precision, matched)),
    LocA: mean(({ matched, overlap }) => (matched === 0 ? 1 : overlap / matched)),
    MOTA: ratio(clear.matched - FP - clear.switches, truth),
    MOTP: ratio(clear.overlap, clear.matched),
    MODA: ratio(clear.matched - FP, truth),
    IDF1: ratio(2 * identified, truth + found),
    IDP: ratio(identified, found),
    IDR: ratio(identified, truth),
    TP: clear.matched,
    FP,
    FN,
    IDSW: clear.switches,
    Frag: clear.fragments,
    MT: clear.mostlyTracked,
    PT: clear.partlyTracked,
    ML: clear.mostlyLost,
  };
}
