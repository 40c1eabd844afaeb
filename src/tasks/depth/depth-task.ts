/** @module Depth task: how far away what each pixel of an image shows is. */

import { message, ShapeError } from "../../core/errors.ts";
import { formatShape, type Tensor } from "../../core/tensor.ts";
import type { Image } from "../../image/image.ts";
import type { HostTensors, OpenedModel } from "../../runtime/task.ts";
import { type MapSpec, type MapTaskOptions, recogniseMap } from "../image/map-recognition.ts";
import { type MapFilter, MapResizer, type MapValues, mapAxes, mapTaps } from "../image/map-resize.ts";
import { HostMap, type MapForm, type View } from "../image/map-task.ts";
import type { Json } from "../model-files.ts";
import type { ValueGuard } from "../value-guard.ts";

/** `metric`: metres, larger is farther. `relative`: of no unit and from no zero, and larger is nearer. */
export type DepthKind = "metric" | "relative";

/** What a caller may say of a model. */
export interface DepthTaskOptions extends MapTaskOptions {
  readonly kind?: DepthKind | undefined;
}

/** What a model was recognised as. */
export interface DepthSpec extends MapSpec {
  readonly task: "depth";
  readonly kind: DepthKind;
  /** How its map becomes as large as the image. */
  readonly filter: MapFilter;
}

/** Depth of each pixel, row by row. */
export type DepthMap = Float32Array<ArrayBuffer>;

/** Models of transformers that give metres, whatever their file says. */
const METRIC_MODELS = /^(zoedepth|glpn)$/;

/** What the `config.json` beside a model says of its values. */
function kindOfFiles({ depth_estimation_type, model_type }: Json): DepthKind | undefined {
  if (depth_estimation_type === "metric" || METRIC_MODELS.test(String(model_type))) return "metric";
  return model_type === undefined ? undefined : "relative";
}

/** @throws {ModelError} If it is another model */
async function recognise(opened: OpenedModel, options: DepthTaskOptions): Promise<DepthSpec> {
  const { spec } = await recogniseMap(opened, "depth", options);
  const isNamed = opened.model.metadata.task !== undefined;
  const known = options.kind ?? (isNamed ? "metric" : options.files?.config && kindOfFiles(options.files.config));
  const assumed = 'that its depth is relative; where it gives metres, say `kind: "metric"`';
  const assumptions = known === undefined ? [...spec.assumptions, assumed] : spec.assumptions;
  return { ...spec, task: "depth", assumptions, kind: known ?? "relative", filter: isNamed ? "corners" : "bicubic" };
}

/** Models of depth. */
export const DEPTH: MapForm<DepthSpec, DepthMap, DepthTaskOptions> = {
  name: "depth",
  recognise,
  createWork: (spec, options, guard) => new HostDepth(spec, options, guard),
};

/** A straight line that makes the values of a tile those of the whole image. */
interface Fit {
  readonly slope: number;
  readonly offset: number;
}

const AS_IT_IS: Fit = { slope: 1, offset: 0 };

class HostDepth extends HostMap<DepthMap> {
  /** Relative depth has another scale in each tile: that of the whole image is what they are fitted to. */
  protected readonly looksAtWhole: boolean;
  readonly #filter: MapFilter;
  readonly #resizer = new MapResizer();
  /** Of the whole image that is cut into tiles. */
  #whole = new Float32Array(0);
  /** Of a tile. */
  #part = new Float32Array(0);

  constructor(spec: DepthSpec, options: MapTaskOptions, guard: ValueGuard) {
    super(spec, options, guard);
    this.looksAtWhole = spec.kind === "relative";
    this.#filter = spec.filter;
  }

  protected start({ width, height }: Image): DepthMap {
    return new Float32Array(new ArrayBuffer(width * height * 4));
  }

  protected place(outputs: HostTensors["outputs"], name: string, row: number, view: View, isWhole: boolean): void {
    const { tile, region } = view;
    const { width, height } = this.images[view.image]!;
    const map = this.maps[view.image]!;
    const { data, shape } = checked(outputs.get(name)!, name, row);
    const [mapHeight, mapWidth] = shape.slice(-2) as [number, number];
    const [across, down] = mapAxes(region, mapWidth, mapHeight);
    const columns = mapTaps(across, this.#filter);
    const rows = mapTaps(down, this.#filter);
    const isAll = region.width === width && region.height === height;
    const target = isAll ? map : this.#partOf(region.width * region.height);
    this.#resizer.resize(data as MapValues, row * mapWidth * mapHeight, mapWidth, columns, rows, target);
    if (isWhole) this.#whole = map.slice();
    if (isAll) return;
    const fit = this.looksAtWhole ? fitOf(target, this.#whole, view, width) : AS_IT_IS;
    if (fit === undefined) return;
    for (let y = tile.top; y < tile.bottom; y++) {
      const from = (y - tile.y) * region.width - tile.x;
      for (let x = tile.left; x < tile.right; x++) map[y * width + x] = target[from + x]! * fit.slope + fit.offset;
    }
  }

  #partOf(length: number): Float32Array<ArrayBuffer> {
    if (this.#part.length < length) this.#part = new Float32Array(length);
    return this.#part.length === length ? this.#part : this.#part.subarray(0, length);
  }
}

/**
 * The line through the depths of a tile and those that the whole image has there, by least squares; `undefined` where they
 * contradict each other, and what the whole says stands.
 */
function fitOf(part: DepthMap, whole: DepthMap, { region, tile }: View, width: number): Fit | undefined {
  const count = region.width * region.height;
  let [sumPart, sumWhole, squares, products] = [0, 0, 0, 0];
  for (let y = 0, at = 0; y < region.height; y++) {
    let from = (tile.y + y) * width + tile.x;
    for (let x = 0; x < region.width; x++, at++, from++) {
      const [a, b] = [part[at]!, whole[from]!];
      sumPart += a;
      sumWhole += b;
      squares += a * a;
      products += a * b;
    }
  }
  const slope = (products - (sumPart * sumWhole) / count) / (squares - (sumPart * sumPart) / count);
  if (!(slope > 0 && Number.isFinite(slope))) return undefined;
  return { slope, offset: (sumWhole - slope * sumPart) / count };
}

/** @throws {ShapeError} If it is no map of floats with such a row */
function checked(tensor: Tensor, name: string, row: number): Tensor {
  const { shape, dtype } = tensor;
  const isMap = shape.length === 3 || (shape.length === 4 && shape[1] === 1);
  if (isMap && row < shape[0]! && (dtype === "f32" || dtype === "f16")) return tensor;
  const expected = `floats [N, height, width] with a row ${row}`;
  const actual = `${dtype} ${formatShape(shape)}`;
  const found = `the output ${JSON.stringify(name)} must be ${expected}, got ${actual}`;
  throw new ShapeError(message("make a depth map", found), { tensor: name, expected, actual });
}
