/** @module Shaping config: the form of what a model that was cut says of itself in its metadata. */

import { z } from "zod";
import { DTYPES } from "../core/tensor.ts";

const count = z.int().positive();
const channel = z.int().nonnegative();
const stride = count;
const side = z.number().positive();
const map = z.string();

const distanceMaps = z
  .strictObject({
    kind: z.literal("distance-maps"),
    levels: z.array(z.strictObject({ stride, classMap: map, distanceMap: map, angleMap: map.optional() })).min(1),
    classes: count,
    bins: count,
    order: z.literal("NCHW"),
    classChannel: channel.optional(),
    distanceChannel: channel.optional(),
    areLogits: z.literal(true),
    centre: z.literal(0.5),
    isMultiLabel: z.boolean().optional(),
    most: count.optional(),
    angle: z.enum(["sigmoid", "radians"]).optional(),
  })
  .refine(({ levels, angle }) => levels.every(({ angleMap }) => (angleMap === undefined) === (angle === undefined)));

const anchorLevel = z
  .strictObject({
    stride,
    output: map,
    objectnessMap: map.optional(),
    classMap: map.optional(),
    anchors: z.array(z.tuple([side, side])).min(1),
  })
  .refine(({ objectnessMap, classMap }) => (objectnessMap === undefined) === (classMap === undefined));

const anchorMaps = z
  .strictObject({
    kind: z.literal("anchor-maps"),
    levels: z.array(anchorLevel).min(1),
    classes: count,
    numbers: count.optional(),
    order: z.literal("channels"),
    counted: z.enum(["cells", "anchors"]).optional(),
    form: z.enum(["yolov5", "yolox"]),
    activated: z.literal("nothing"),
  })
  .refine(({ classes, numbers }) => numbers === undefined || numbers > 5 + classes);

const rowMaps = z.strictObject({
  levels: z.array(z.strictObject({ stride, output: map })).min(1),
  rule: z.enum(["raw", "points", "centred-points"]),
  numbers: z.literal([2, 3]).optional(),
  anchors: count.optional(),
  counted: z.enum(["cells", "anchors"]).optional(),
});

const rowExtra = z
  .strictObject({
    name: z.string(),
    output: z.literal(""),
    order: z.enum(["maps", "pushed"]),
    maps: rowMaps.optional(),
    channels: count,
    first: channel,
    length: count,
  })
  .refine(({ order, maps }) => (order === "maps") === (maps !== undefined))
  .refine(({ channels, first, length, maps }) => first + length <= channels / (maps?.anchors ?? 1));

/** A `Shaping`, as `shapeModel` writes it and nothing else. */
export const shapingSchema: z.ZodType<object> = z.strictObject({
  outputs: z.array(z.object({ name: z.string(), dtype: z.enum(DTYPES), shape: z.array(z.int()) })).min(1),
  shapesAt: z.tuple([count, count]).optional(),
  head: z.string(),
  plan: z.discriminatedUnion("kind", [distanceMaps, anchorMaps]),
  extras: z.array(rowExtra),
});
