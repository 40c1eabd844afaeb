/** @module Semantic task: which class each pixel of an image is of. */

import { ModelError, message, ShapeError } from "../../core/errors.ts";
import { formatShape, type Tensor } from "../../core/tensor.ts";
import { plural } from "../../core/units.ts";
import { isClassMap } from "../../heads/traits.ts";
import type { Image } from "../../image/image.ts";
import type { HostTensors, OpenedModel } from "../../runtime/task.ts";
import { type MapSpec, type MapTaskOptions, recogniseMap } from "../image/map-recognition.ts";
import { MapResizer, type MapValues, mapAxes, mapTaps, nearestTaps } from "../image/map-resize.ts";
import { HostMap, type MapForm, type View } from "../image/map-task.ts";
import { labelsOfFiles } from "../model-files.ts";
import type { ValueGuard } from "../value-guard.ts";

/** What a caller may say of a model. */
export interface SemanticTaskOptions extends MapTaskOptions {
  readonly labels?: readonly string[] | undefined;
}

/** What a model was recognised as. */
export interface SemanticSpec extends MapSpec {
  readonly task: "semantic";
  /** `undefined` of a model that chooses the classes itself, and has no names for them. */
  readonly classes: number | undefined;
  /** One a class, by class id; empty where neither the model nor the caller has any. */
  readonly labels: readonly string[];
  /** True of a model that gives classes, and no logits. */
  readonly isChosen: boolean;
  /** Of a pixel in the result: more than 256 classes take 16. */
  readonly bits: 8 | 16;
}

/** Most classes that a byte tells apart. */
const BYTE_CLASSES = 256;

/** Class of each pixel, row by row. */
export type ClassMap = Uint8Array<ArrayBuffer> | Uint16Array<ArrayBuffer>;

/** @throws {ModelError} If it is another model, or has another number of classes than names */
async function recognise(opened: OpenedModel, options: SemanticTaskOptions): Promise<SemanticSpec> {
  const { info, names, spec } = await recogniseMap(opened, "semantic", options);
  const isChosen = isClassMap(info);
  const channels = isChosen ? -1 : info.shape[1]!;
  // One logit tells two classes apart.
  const classes = channels > 0 ? Math.max(channels, 2) : undefined;
  const given = options.labels?.length === 0 ? undefined : options.labels;
  if (given !== undefined && classes !== undefined && given.length !== classes && given.length !== channels) {
    const found = `it has ${plural(classes, "class")}, got ${plural(given.length, "class name")}`;
    throw new ModelError(message(`use ${opened.source}`, found, "give one name for each class"), opened.source);
  }
  const own = names !== undefined && (classes ?? names.length) >= names.length ? names : undefined;
  const labels = given ?? own ?? labelsOfFiles(options.files, classes) ?? [];
  const known = classes ?? (labels.length || undefined);
  const bits = (known ?? (info.dtype === "u8" ? BYTE_CLASSES : Number.POSITIVE_INFINITY)) > BYTE_CLASSES ? 16 : 8;
  return { ...spec, task: "semantic", classes: known, labels, isChosen, bits };
}

/** Models of semantic maps. */
export const SEMANTIC: MapForm<SemanticSpec, ClassMap, SemanticTaskOptions> = {
  name: "semantic",
  recognise,
  createWork: (spec, options, guard) => new HostSemantic(spec, options, guard),
};

class HostSemantic extends HostMap<ClassMap> {
  protected readonly looksAtWhole = false;
  readonly #spec: SemanticSpec;
  readonly #resizer = new MapResizer();

  constructor(spec: SemanticSpec, options: MapTaskOptions, guard: ValueGuard) {
    super(spec, options, guard);
    this.#spec = spec;
  }

  protected start({ width, height }: Image): ClassMap {
    return this.#spec.bits === 8 ? new Uint8Array(width * height) : new Uint16Array(width * height);
  }

  protected place(outputs: HostTensors["outputs"], name: string, row: number, view: View): void {
    const tensor = outputs.get(name)!;
    const { width } = this.images[view.image]!;
    const map = this.maps[view.image]!;
    if (this.#spec.isChosen) placeChosen(checked(tensor, name, 1, row), row, view, map, width);
    else this.#placeBest(checked(tensor, name, undefined, row), row, view, map, width);
  }

  #placeBest({ shape, data }: Tensor, row: number, { region, tile }: View, map: ClassMap, width: number): void {
    const [, classes, mapHeight, mapWidth] = shape as [number, number, number, number];
    const [across, down] = mapAxes(region, mapWidth, mapHeight);
    const columns = mapTaps(across, "bilinear", tile.left - tile.x, tile.right - tile.x);
    const rows = mapTaps(down, "bilinear", 0, region.height);
    const start = row * classes * mapWidth * mapHeight;
    for (let y = tile.top; y < tile.bottom; y++) {
      const target = map.subarray(y * width + tile.left, y * width + tile.right);
      this.#resizer.bestOfRow(
        data as MapValues,
        start,
        [classes, mapHeight, mapWidth],
        columns,
        rows,
        y - tile.y,
        target,
      );
    }
  }
}

/** The low halves of integers of 64 bits, which hold every class, and how far they lie apart. */
function integersOf({ data }: Tensor): readonly [ArrayLike<number>, number] {
  if (!(data instanceof BigInt64Array)) return [data as Uint8Array, 1];
  return [new Int32Array(data.buffer, data.byteOffset, data.length * 2), 2];
}

function placeChosen(tensor: Tensor, row: number, { region, tile }: View, map: ClassMap, width: number): void {
  const [mapHeight, mapWidth] = tensor.shape.slice(-2) as [number, number];
  const [across, down] = mapAxes(region, mapWidth, mapHeight);
  const columns = nearestTaps(across);
  const rows = nearestTaps(down);
  const [values, step] = integersOf(tensor);
  for (let y = tile.top; y < tile.bottom; y++) {
    const from = (row * mapHeight + rows[y - tile.y]!) * mapWidth;
    for (let x = tile.left; x < tile.right; x++) map[y * width + x] = values[(from + columns[x - tile.x]!) * step]!;
  }
}

/** @throws {ShapeError} If it is no map with such a row @param channels of [N, channels, height, width]; `undefined` for any */
function checked(tensor: Tensor, name: string, channels: number | undefined, row: number): Tensor {
  const { shape, dtype } = tensor;
  const isMap =
    shape.length === 4 ? channels === undefined || shape[1] === channels : channels === 1 && shape.length === 3;
  if (isMap && row < shape[0]!) return tensor;
  const expected = `[N, ${channels ?? "classes"}, height, width] with a row ${row}`;
  const actual = `${dtype} ${formatShape(shape)}`;
  const found = `the output ${JSON.stringify(name)} must be ${expected}, got ${actual}`;
  throw new ShapeError(message("make a map", found), { tensor: name, expected, actual });
}
