/** @module Map readings: the ways in which the maps of a head may be read, by how many channels they have. */

import type { Tensor } from "../core/tensor.ts";
import type { RowExtra } from "../model/rows.ts";
import type { CutMap } from "./cut.ts";
import type { ModelSpec } from "./head.ts";
import type { AnchorMapsPlan, CutPlan, DistanceLevel, DistanceMapsPlan } from "./plans.ts";

/** A stride's maps, in the order in which the head has them; all strides have maps of the same channels. */
export interface MapLevel {
  readonly stride: number;
  readonly maps: readonly CutMap[];
}

/** What maps are, if they are what they may be. */
export interface MapReading {
  readonly plan: CutPlan;
  /** In the place of the spec's. */
  readonly extras: readonly RowExtra[];
}

/** Channels of a box, and of a box and objectness. */
const BOX = 4;
const BOX_AND_OBJECTNESS = 5;

/** What an oriented box is pushed with: centre, size and angle. */
const ORIENTED = 5;

/** All ways that the numbers of channels allow. Which it is, if it is one, is for a proof to say. */
export function mapReadings(spec: ModelSpec, levels: readonly MapLevel[], anchors: Anchors | undefined): MapReading[] {
  return [...anchorReadings(spec, levels, anchors), ...distanceReadings(spec, levels)];
}

/** Classes of a head; `undefined` where nothing tells. */
function classesOf({ plan, labels }: ModelSpec): number | undefined {
  return "classes" in plan && typeof plan.classes === "number" ? plan.classes : labels.length || undefined;
}

/** What is fetched for each row beside an oriented box's sides. */
function namedExtra({ extras = [] }: ModelSpec): RowExtra | undefined {
  return extras.find(({ name }) => name !== "sides");
}

/** The same place in every level. */
function mapsAt(
  levels: readonly MapLevel[],
  place: number,
): readonly { readonly stride: number; readonly output: string }[] {
  return levels.map(({ stride, maps }) => ({ stride, output: maps[place]!.name }));
}

/** Classes and distances, perhaps angles, points or coefficients, a map each; or classes and distances in one. */
function* distanceReadings(spec: ModelSpec, levels: readonly MapLevel[]): Generator<MapReading> {
  const channels = levels[0]!.maps.map((map) => map.channels);
  const wanted = classesOf(spec);
  const named = namedExtra(spec);
  for (const [classPlace, own] of channels.entries()) {
    for (const [boxPlace, sides] of channels.entries()) {
      const isOne = classPlace === boxPlace;
      const classes = isOne ? (wanted ?? 0) : own;
      const numbers = isOne ? own - classes : sides;
      if (classes < 1 || (wanted !== undefined && classes !== wanted) || numbers < BOX || numbers % BOX !== 0) continue;
      const rest = [...channels.keys()].filter((place) => place !== classPlace && place !== boxPlace);
      const place = rest.find((one) => channels[one] === named?.length);
      // Of a model that is asked for its boxes only, further maps are not read.
      if (named !== undefined && (place === undefined || rest.length > 1)) continue;
      const plain: DistanceMapsPlan = {
        kind: "distance-maps",
        levels: levels.map(({ stride, maps }) => ({
          stride,
          classMap: maps[classPlace]!.name,
          distanceMap: maps[boxPlace]!.name,
        })),
        classes,
        bins: numbers / BOX,
        order: "NCHW",
        areLogits: true,
        centre: 0.5,
        ...(spec.plan.kind === "rows" && { isMultiLabel: true }),
      };
      const orders = isOne
        ? [
            { classChannel: 0, distanceChannel: classes },
            { classChannel: numbers, distanceChannel: 0 },
          ]
        : [{}];
      for (const order of orders) yield* withExtra(spec, { ...plain, ...order }, levels, named, place);
    }
  }
}

function* withExtra(
  spec: ModelSpec,
  plan: DistanceMapsPlan,
  levels: readonly MapLevel[],
  named: RowExtra | undefined,
  place: number | undefined,
): Generator<MapReading> {
  if (named === undefined || place === undefined) {
    yield { plan, extras: [] };
    return;
  }
  if (named.name === "angles") {
    const oriented = plan.levels.map(
      (level, at): DistanceLevel => ({ ...level, angleMap: levels[at]!.maps[place]!.name }),
    );
    const pushed = { output: "", order: "pushed", channels: ORIENTED } as const;
    const extras: RowExtra[] = [
      { ...pushed, name: "sides", first: 0, length: BOX },
      { ...pushed, name: named.name, first: BOX, length: 1 },
    ];
    for (const angle of ["sigmoid", "radians"] as const) yield { plan: { ...plan, levels: oriented, angle }, extras };
    return;
  }
  const { keypoints } = spec;
  for (const rule of keypoints === undefined ? (["raw"] as const) : (["points", "centred-points"] as const)) {
    const maps = { levels: mapsAt(levels, place), rule, ...(keypoints && { numbers: keypoints.numbers }) };
    const { name, length } = named;
    yield { plan, extras: [{ name, output: "", order: "maps", maps, channels: length, first: 0, length }] };
  }
}

/** Widths and heights of a cell's anchors in input pixels, by level. */
export type Anchors = readonly (readonly (readonly [width: number, height: number])[])[];

/** How many anchors a cell has, where a level has one map of anchors; `undefined` where it has other maps. */
export function anchorsACell({ plan }: ModelSpec, levels: readonly MapLevel[]): number | undefined {
  const [map, ...others] = levels[0]!.maps;
  if (plan.kind !== "dense" || plan.classChannel !== BOX_AND_OBJECTNESS || map === undefined || others.length > 0)
    return undefined;
  const count = map.channels / plan.channels;
  return Number.isInteger(count) ? count : undefined;
}

/** Maps of anchors: all numbers in one, as YOLOv5 and v7 have them; or box, objectness and classes apart, as YOLOX has. */
function* anchorReadings(
  spec: ModelSpec,
  levels: readonly MapLevel[],
  anchors: Anchors | undefined,
): Generator<MapReading> {
  const { plan } = spec;
  if (plan.kind !== "grid" && !(plan.kind === "dense" && plan.classChannel === BOX_AND_OBJECTNESS)) return;
  const { classes } = plan;
  const base = { kind: "anchor-maps", classes, order: "channels", activated: "nothing" } as const;
  if (plan.kind === "dense" && anchors !== undefined) {
    const named = namedExtra(spec);
    const first = BOX_AND_OBJECTNESS + classes;
    const maps = { levels: mapsAt(levels, 0), rule: "raw", anchors: anchors[0]!.length, counted: "anchors" } as const;
    const { channels } = levels[0]!.maps[0]!;
    const extras = named ? [{ ...named, output: "", order: "maps", maps, channels, first } as const] : [];
    const numbers = plan.channels > first ? { numbers: plan.channels } : {};
    const filled = levels.map(({ stride, maps: [map] }, at) => ({ stride, output: map!.name, anchors: anchors[at]! }));
    yield { plan: { ...base, ...numbers, levels: filled, form: "yolov5", counted: "anchors" }, extras };
  }
  const places = [BOX, 1, classes].map((wanted) => levels[0]!.maps.findIndex(({ channels }) => channels === wanted));
  const [box = -1, objectness = -1, scores = -1] = places;
  const count = levels[0]!.maps.length;
  // Of one class, objectness and classes are maps of one channel each, in this order or the other.
  const orders = classes === 1 ? onesOf(levels[0]!.maps) : [[objectness, scores] as const];
  for (const [one, other] of orders) {
    if (count !== 3 || new Set([box, one, other]).size !== 3 || Math.min(box, one, other) < 0) continue;
    const apart = levels.map(({ stride, maps }): AnchorMapsPlan["levels"][number] => ({
      stride,
      output: maps[box]!.name,
      objectnessMap: maps[one]!.name,
      classMap: maps[other]!.name,
      anchors: [[stride, stride]],
    }));
    yield { plan: { ...base, levels: apart, form: "yolox" }, extras: [] };
  }
}

function onesOf(maps: readonly CutMap[]): readonly (readonly [number, number])[] {
  const [a = -1, b = -1] = [...maps.keys()].filter((place) => maps[place]!.channels === 1);
  return [
    [a, b],
    [b, a],
  ];
}

/** Names of the maps that a reading reads. */
export function mapsRead({ plan, extras }: MapReading): Set<string> {
  const names = plan.levels.flatMap((level) =>
    Object.values(level as unknown as Readonly<Record<string, unknown>>).filter((value) => typeof value === "string"),
  );
  const ofExtras = extras.flatMap(({ maps }) => maps?.levels.map(({ output }) => output) ?? []);
  return new Set([...names, ...ofExtras]);
}

/** The map that holds a level's classes. */
function scoreMapOf(level: CutPlan["levels"][number]): string {
  return level.classMap ?? ("output" in level ? level.output : "");
}

/** Channels of a map that hold scores: the first, and how many, `Infinity` of one that holds them all over; `undefined` of others. */
export function scoreChannels({ plan }: MapReading, name: string): readonly [first: number, count: number] | undefined {
  if (plan.kind === "distance-maps") {
    const { classes, classChannel = 0, levels } = plan;
    return levels.some(({ classMap }) => classMap === name) ? [classChannel, classes] : undefined;
  }
  const hasScores = plan.levels.some(
    (level) => scoreMapOf(level) === name || ("objectnessMap" in level && level.objectnessMap === name),
  );
  return hasScores ? [0, Number.POSITIVE_INFINITY] : undefined;
}

/** The logit of a class of a candidate of maps NCHW, and so what it scores, but for objectness. @param index of the image */
export function classLogit(
  plan: CutPlan,
  maps: ReadonlyMap<string, Tensor>,
  index: number,
  source: number,
  classId: number,
): number {
  let place = source;
  for (const level of plan.levels) {
    const isWhole = level.classMap === undefined;
    const { shape, data } = maps.get(scoreMapOf(level))!;
    const [, channels = 0, rows = 0, columns = 0] = shape;
    const cells = rows * columns;
    const anchors = "anchors" in level ? level.anchors.length : 1;
    if (place >= cells * anchors) {
      place -= cells * anchors;
      continue;
    }
    const isByAnchor = plan.kind === "anchor-maps" && plan.counted === "anchors";
    const cell = isByAnchor ? place % cells : Math.floor(place / anchors);
    const anchor = isByAnchor ? Math.floor(place / cells) : place % anchors;
    const first = plan.kind === "distance-maps" ? (plan.classChannel ?? 0) : isWhole ? BOX_AND_OBJECTNESS : 0;
    const step = anchors === 1 ? 0 : channels / anchors;
    return Number(data[(index * channels + anchor * step + first + classId) * cells + cell]);
  }
  return Number.NaN;
}
