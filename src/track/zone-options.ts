/** @module ZoneOptions: zones and lines as callers and `zones.json` say them, checked once. */

import { z } from "zod";
import { message, OptionError } from "../core/errors.ts";
import { type OptionsOf, parseOptions, shapeOf } from "../core/options.ts";

/** Every point of a box that may stand for the object; `corners`: all four corners have to be there. */
const ANCHORS = [
  "bottom-centre",
  "centre",
  "top-centre",
  "bottom-left",
  "bottom-right",
  "top-left",
  "top-right",
  "centre-left",
  "centre-right",
  "corners",
] as const;

/** Which point of its box stands for an object. */
export type Anchor = (typeof ANCHORS)[number];

/** A point of an outline, in the units that the options say. */
export type ZonePoint = readonly [x: number, y: number];

/** A part of the image in which objects are counted. */
export interface ZoneOptions {
  /** Appears in events and counts; no other zone or line has it. */
  readonly name: string;
  /** At least three points, one after the other around the zone. */
  readonly polygon: readonly ZonePoint[];
  /** Which point of an object has to be inside. Default: that of all zones. */
  readonly anchor?: Anchor | undefined;
  /** Names or ids of the classes that count. Default: all. */
  readonly classes?: readonly (string | number)[] | undefined;
}

/** A line that objects are counted at. */
export interface LineOptions {
  /** Appears in events and counts; no other zone or line has it. */
  readonly name: string;
  /** Where it begins. Who looks from here along the line counts those as `in` that come over to the left. */
  readonly from: ZonePoint;
  /** Where it ends. */
  readonly to: ZonePoint;
  /** Which point of an object has to cross. Default: that of all lines. */
  readonly anchor?: Anchor | undefined;
  /** Names or ids of the classes that count. Default: all. */
  readonly classes?: readonly (string | number)[] | undefined;
}

/** Zones and lines of one image: what `zones.json` holds. */
export interface ZonesOptions {
  /** Default none. */
  readonly zones?: readonly ZoneOptions[] | undefined;
  /** Default none. */
  readonly lines?: readonly LineOptions[] | undefined;
  /** Of all points: `pixels` of the image, the default; `fractions`, from 0 to 1 of its width and height. */
  readonly units?: "pixels" | "fractions" | undefined;
  /** Which point of its box stands for an object. Default `bottom-centre`, where a thing stands on the ground. */
  readonly anchor?: Anchor | undefined;
  /**
   * How far an object has to be past an edge or a line before it is on the other side, as a part of the shorter side of its box.
   * What trembles within that band counts once. 0: none. Default 0.1.
   */
  readonly margin?: number | undefined;
  /** For how many frames in a row it has to be there. Default 1. */
  readonly minFrames?: number | undefined;
  /** For how many milliseconds an object that is not seen is still inside. Default 1000. */
  readonly patienceMs?: number | undefined;
}

/** The same, complete. */
export interface ZonesConfig {
  readonly zones: readonly Required<ZoneConfig>[];
  readonly lines: readonly Required<LineConfig>[];
  readonly units: "pixels" | "fractions";
  readonly margin: number;
  readonly minFrames: number;
  readonly patienceMs: number;
}

/** Which objects count at a zone or line, and by which of their points. */
interface Counting {
  readonly anchor: Anchor;
  readonly classes: readonly (string | number)[] | undefined;
}

type ZoneConfig = Counting & Pick<ZoneOptions, "name" | "polygon">;
type LineConfig = Counting & Pick<LineOptions, "name" | "from" | "to">;

const NAME = "a text of 1 to 100 characters";
const POINT = "two numbers, x and y";
const POLYGON = "at least three points that enclose an area";
const MARGIN = "a number from 0 to 1";
const FRAMES = "a whole number from 1 to 1000";
const PATIENCE = "a number of milliseconds from 0 to 3600000";
const CLASSES = "a list of at least one class, by name or id";
const EXAMPLE = '{ "zones": [{ "name": "door", "polygon": [[0, 0], [99, 0], [99, 99]] }] }';
const MOST_POINTS = 1000;
const MOST_ZONES = 256;

const name = z.string(NAME).min(1, NAME).max(100, NAME);
const point = z.tuple([z.number(POINT), z.number(POINT)], POINT);

/** True if not all points lie on one line. Where edges cross each other, what they enclose may add up to nothing. */
function isWide(polygon: readonly ZonePoint[]): boolean {
  const [fromX, fromY] = polygon[0]!;
  const other = polygon.find(([x, y]) => x !== fromX || y !== fromY);
  if (other === undefined) return false;
  const [dx, dy] = [other[0] - fromX, other[1] - fromY];
  return polygon.some(([x, y]) => dx * (y - fromY) !== dy * (x - fromX));
}

/** `BOTTOM_CENTER`, as others write it, is `bottom-centre`. */
function spelt(anchor: unknown): unknown {
  if (typeof anchor !== "string") return anchor;
  return anchor.toLowerCase().replaceAll("_", "-").replace("center", "centre");
}

const anchor = z.preprocess(spelt, z.enum(ANCHORS, ANCHORS.join(", ")));
const counting = {
  name,
  anchor: anchor.optional(),
  classes: z
    .array(z.union([z.string(), z.int()], CLASSES), CLASSES)
    .min(1, CLASSES)
    .optional(),
};
const zone = z.strictObject({
  ...counting,
  polygon: z
    .array(point, POLYGON)
    .min(3, POLYGON)
    .max(MOST_POINTS, `at most ${MOST_POINTS} points`)
    .refine(isWide, POLYGON),
});
const line = z
  .strictObject({ ...counting, from: point, to: point })
  .refine(({ from, to }) => from[0] !== to[0] || from[1] !== to[1], "a line between two points");

/** Every option of zones and lines. */
const ZONES_OPTIONS: OptionsOf<ZonesOptions> = {
  zones: { schema: z.array(zone, "a list of zones").max(MOST_ZONES, `at most ${MOST_ZONES} zones`).default([]) },
  lines: { schema: z.array(line, "a list of lines").max(MOST_ZONES, `at most ${MOST_ZONES} lines`).default([]) },
  units: { schema: z.enum(["pixels", "fractions"], "pixels or fractions").default("pixels") },
  anchor: { schema: anchor.default("bottom-centre") },
  margin: { schema: z.number(MARGIN).min(0, MARGIN).max(1, MARGIN).default(0.1) },
  minFrames: { schema: z.int(FRAMES).min(1, FRAMES).max(1000, FRAMES).default(1) },
  patienceMs: { schema: z.number(PATIENCE).min(0, PATIENCE).max(3_600_000, PATIENCE).default(1000) },
};
const schema = z.strictObject(shapeOf(ZONES_OPTIONS));

/** @throws {OptionError} If points cannot be in the units that are said */
function checkPoints(path: string, points: readonly ZonePoint[], units: "pixels" | "fractions"): void {
  const isWithinOne = points.flat().every((side) => side >= 0 && side <= 1);
  if (units === "fractions" && !isWithinOne) {
    const found = JSON.stringify(points.find((one) => one.some((side) => side < 0 || side > 1)));
    const hint = 'leave "units" out if the points are pixels';
    throw new OptionError(`Option "${path}" must be in fractions from 0 to 1, got ${found}\nHint: ${hint}`, path);
  }
  if (units === "pixels" && isWithinOne) {
    const hint = 'add "units": "fractions" if the points are parts of the image';
    throw new OptionError(`Option "${path}" must be in pixels, got points within one pixel\nHint: ${hint}`, path);
  }
}

/**
 * Check zones and lines.
 *
 * @throws {OptionError} If one is unknown, has the name of another, or its points are not what they should be
 */
export function parseZones(options: ZonesOptions): ZonesConfig {
  const { anchor: usual, ...given } = parseOptions(schema, options, "count in zones", ZONES_OPTIONS) as {
    readonly anchor: Anchor;
    readonly zones: readonly ZoneOptions[];
    readonly lines: readonly LineOptions[];
  } & Omit<ZonesConfig, "zones" | "lines">;
  if (given.zones.length + given.lines.length === 0) {
    const text = 'Option "zones" must hold at least one zone where there is no line, got none';
    throw new OptionError(`${text}\nHint: ${EXAMPLE}`, "zones");
  }
  const names = new Set<string>();
  const kinds = [
    ["zones", given.zones.map((one) => ({ name: one.name, points: one.polygon, at: "polygon" }))],
    ["lines", given.lines.map((one) => ({ name: one.name, points: [one.from, one.to], at: "from" }))],
  ] as const;
  for (const [kind, all] of kinds) {
    for (const [index, { name: own, points, at }] of all.entries()) {
      const path = `${kind}.${index}`;
      checkPoints(`${path}.${at}`, points, given.units);
      if (names.has(own)) {
        const text = `Option "${path}.name" must be a name of its own, got ${JSON.stringify(own)} again`;
        throw new OptionError(text, `${path}.name`);
      }
      names.add(own);
    }
  }
  return {
    ...given,
    zones: given.zones.map((one) => ({ ...one, anchor: one.anchor ?? usual, classes: one.classes })),
    lines: given.lines.map((one) => ({ ...one, anchor: one.anchor ?? usual, classes: one.classes })),
  };
}

/**
 * Read zones and lines from a JSON file, in which comments are allowed, and check them.
 *
 * @throws {OptionError} If it cannot be read, is no JSON, or what it holds is refused
 *
 * @example
 * ```ts
 * import { readZones, Zones } from "bun-tensorrt/track";
 *
 * await Bun.write("zones.json", '{ "units": "fractions", "lines": [{ "name": "door", "from": [0, 0.5], "to": [1, 0.5] }] }');
 * const zones = new Zones(await readZones("zones.json"));
 * console.log(zones.counts.lines[0]!.name); // door
 * ```
 */
export async function readZones(path: string): Promise<ZonesOptions> {
  const refused = (found: string, hint: string, cause: unknown): OptionError =>
    new OptionError(message(`read the zones of ${JSON.stringify(path)}`, found, hint), "zones", { cause });
  let text: string;
  try {
    text = await Bun.file(path).text();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    throw refused(`it cannot be read (${code})`, "check the path and its permissions", error);
  }
  if (text.trim() === "") throw refused("the file is empty", EXAMPLE, undefined);
  let parsed: unknown;
  try {
    parsed = Bun.JSONC.parse(text);
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    throw refused(`it is not valid JSON (${error.message})`, "correct it", error);
  }
  try {
    parseZones(parsed as ZonesOptions);
  } catch (error) {
    if (!(error instanceof OptionError)) throw error;
    const [found = "", hint = ""] = error.message.split("\nHint: ");
    throw refused(
      found.replace(/^[A-Z]/, (letter) => letter.toLowerCase()),
      hint || "correct it",
      error,
    );
  }
  return parsed as ZonesOptions;
}
