/**
 * @module Shaping config: what a model that was cut at its head's maps says of itself in its metadata: what it declared before, and how its
 * maps are read.
 */

import { z } from "zod";
import { ModelError, message } from "../core/errors.ts";
import { DTYPES, formatShape, type TensorInfo } from "../core/tensor.ts";
import type { ModelInfo } from "../model/model-info.ts";
import type { RowExtra } from "../model/rows.ts";
import type { ModelSpec } from "./head.ts";
import type { CutPlan } from "./plans.ts";
import { FLOATS } from "./traits.ts";

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
const shapingSchema: z.ZodType<object> = z.strictObject({
  outputs: z.array(z.object({ name: z.string(), dtype: z.enum(DTYPES), shape: z.array(z.int()) })).min(1),
  shapesAt: z.tuple([count, count]).optional(),
  head: z.string(),
  plan: z.discriminatedUnion("kind", [distanceMaps, anchorMaps]),
  extras: z.array(rowExtra),
});

/** Raised with what is cut, or proved of it: engines that were built before are no longer taken from the cache. */
export const SHAPING_VERSION = 3;

/** Key of the metadata that holds a {@linkcode Shaping} as JSON. */
export const SHAPED_KEY = "bun_tensorrt_shaped";

/** How the maps of a model that was cut are read in place of the outputs that it declared. */
export interface Shaping {
  /** What the model declared, by which it is recognised as it was. */
  readonly outputs: readonly TensorInfo[];
  /** Size of the input for which open outputs were given their shapes; left out if none were. */
  readonly shapesAt?: readonly [width: number, height: number];
  /** The head that it was cut for. */
  readonly head: string;
  readonly plan: CutPlan;
  /** What is fetched for each row, from the maps. */
  readonly extras: readonly RowExtra[];
}

/** @throws {ModelError} Always: a model cannot be read as it says that it was cut */
function refuseShaping(source: string, why: string): never {
  const hint = "build it again from its ONNX model";
  throw new ModelError(message(`load ${source}`, `its metadata "${SHAPED_KEY}" ${why}`, hint), source);
}

/** How a model was cut; `undefined` for one that is as it was exported. @throws {ModelError} If what it says is malformed */
export function shapingOf({ metadata }: Pick<ModelInfo, "metadata">, source = "the model"): Shaping | undefined {
  const json = metadata[SHAPED_KEY];
  if (json === undefined) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  const { success, data, error } = shapingSchema.safeParse(value);
  if (success) return data as Shaping;
  const at = error.issues[0]?.path.join(".") ?? "";
  return refuseShaping(source, `is not what this package writes${at && ` at ${JSON.stringify(at)}`}`);
}

/** A map that is read, with the fewest channels that it has; as many, but where other numbers lie in it. */
interface MapRead {
  readonly name: string;
  readonly stride: number;
  readonly channels: number;
  readonly hasOthers?: boolean;
}

function mapsOf({ plan, extras }: Shaping): readonly MapRead[] {
  const ofExtras = extras.flatMap(({ channels, maps }) =>
    (maps?.levels ?? []).map((level): MapRead => ({ name: level.output, stride: level.stride, channels })),
  );
  if (plan.kind === "distance-maps") {
    const { classes, bins, classChannel, distanceChannel } = plan;
    const part = (name: string, stride: number, first: number | undefined, numbers: number): MapRead => ({
      name,
      stride,
      channels: (first ?? 0) + numbers,
      hasOthers: first !== undefined,
    });
    const ofPlan = plan.levels.flatMap(({ stride, classMap, distanceMap, angleMap }) => [
      part(classMap, stride, classChannel, classes),
      part(distanceMap, stride, distanceChannel, 4 * bins),
      ...(angleMap === undefined ? [] : [part(angleMap, stride, undefined, 1)]),
    ]);
    return [...ofPlan, ...ofExtras];
  }
  const { classes, numbers = 5 + classes } = plan;
  const ofPlan = plan.levels.flatMap(({ stride, output, objectnessMap, classMap, anchors: { length } }): MapRead[] => {
    if (objectnessMap === undefined || classMap === undefined) {
      return [{ name: output, stride, channels: length * numbers }];
    }
    return [
      { name: output, stride, channels: length * 4 },
      { name: objectnessMap, stride, channels: length },
      { name: classMap, stride, channels: length * classes },
    ];
  });
  return [...ofPlan, ...ofExtras];
}

/** True if a grid is that of an image of some input, as far as either is known. */
function isGridOf(inputs: readonly TensorInfo[], stride: number, rows: number, columns: number): boolean {
  const fits = (side: number, cells: number): boolean => side < 0 || cells < 0 || Math.ceil(side / stride) === cells;
  return inputs.some(({ shape: [, a = -1, b = -1, c = -1] }) => {
    return (fits(b, rows) && fits(c, columns)) || (fits(a, rows) && fits(b, columns));
  });
}

/** @throws {ModelError} If a map that is read is none of the outputs, or not of the form that it is read in */
function assertMaps(shaped: Shaping, { inputs, outputs }: ModelInfo, source: string): void {
  for (const { name, stride, channels, hasOthers = false } of mapsOf(shaped)) {
    const output = outputs.find((one) => one.name === name);
    const [, width = -1, rows = -1, columns = -1] = output?.shape ?? [];
    const isOne =
      output !== undefined &&
      FLOATS.includes(output.dtype) &&
      output.shape.length === 4 &&
      (width < 0 || (hasOthers ? width >= channels : width === channels)) &&
      isGridOf(inputs, stride, rows, columns);
    if (isOne) continue;
    const actual = output === undefined ? "no such output" : `${output.dtype} ${formatShape(output.shape)}`;
    const wanted = `${channels} ${hasOthers ? "or more " : ""}channels of ${stride}x${stride} pixels a cell`;
    refuseShaping(source, `reads the map ${JSON.stringify(name)} of ${wanted}, got ${actual}`);
  }
}

/**
 * A model as it declared itself before it was cut: what heads and tasks are recognised by.
 *
 * @param model as it is loaded
 * @throws {ModelError} If what it says of its cut is malformed, or not of its outputs
 */
export function declaredModel(model: ModelInfo, source = "the model"): ModelInfo {
  const shaping = shapingOf(model, source);
  if (shaping === undefined) return model;
  assertMaps(shaping, model, source);
  const { outputs, shapesAt } = shaping;
  return { ...model, outputs, ...(shapesAt && { shapesAt }) };
}

/**
 * What a model was recognised as, read from its maps if it was cut.
 *
 * @throws {ModelError} If it was cut for another head, or without what is read of each row
 */
export function withMaps<Spec extends ModelSpec>(spec: Spec, model: ModelInfo, source = "the model"): Spec {
  const shaping = shapingOf(model, source);
  if (shaping === undefined) return spec;
  const { head, plan, extras } = shaping;
  if (spec.head !== head) {
    const found = `it was cut for the head "${head}", and is to be read as "${spec.head}"`;
    const hint = `build it with \`shape: false\` (\`--no-shape\`)`;
    throw new ModelError(message(`load ${source}`, found, hint), source);
  }
  const extrasRead = spec.extras?.map(
    ({ name, length }) =>
      extras.find((one) => one.name === name && one.length === length) ??
      refuseShaping(source, `has no maps of ${JSON.stringify(name)}, of ${length} numbers each`),
  );
  return { ...spec, plan: { ...plan, isProved: true }, ...(extrasRead && { extras: extrasRead }) };
}
