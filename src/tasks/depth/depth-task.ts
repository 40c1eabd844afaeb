/**
 * @module Depth task: how far away what each pixel of an image shows is; and its result as JSON and text, and as an image of
 * it.
 */

import { BunTensorRtError, message, ShapeError } from "../../core/errors.ts";
import { formatShape, type Tensor } from "../../core/tensor.ts";
import { round } from "../../core/units.ts";
import type { Colour } from "../../image/canvas.ts";
import { bytesPerPixel, type Image, imageOf, isPacked, type PackedImage } from "../../image/image.ts";
import type { FrameResult } from "../../runtime/backend.ts";
import type { HostTensors, OpenedModel } from "../../runtime/task.ts";
import { type MapSpec, type MapTaskOptions, recogniseMap } from "../image/map-recognition.ts";
import { type MapFilter, MapResizer, type MapValues, mapAxes, mapTaps } from "../image/map-resize.ts";
import { HostMap, type MapForm, type View } from "../image/map-task.ts";
import type { Json } from "../model-files.ts";
import { type ResultForms, type TaskResult, tensorsOf, timingJson } from "../task-result.ts";
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

/** How far away what each pixel of an image shows is. */
export interface DepthResult extends TaskResult {
  readonly task: "depth";
  /** `metric`: metres, larger is farther. `relative`: of no unit and from no zero, and larger is nearer. */
  readonly kind: DepthKind;
  /** f32 [height, width], row by row. */
  readonly depthMap: DepthMap;
  /** The smallest and the largest of its numbers; both NaN where none is finite. */
  readonly min: number;
  readonly max: number;
}

/** Make a result of what a slot gave for an image. @param startedAt when it was asked for, by `performance.now()` */
export function depthResultOf(
  { output, width, height, timings, damage }: FrameResult<DepthMap>,
  startedAt: number,
  kind: DepthKind,
): DepthResult {
  let min = Number.POSITIVE_INFINITY;
  let max = Number.NEGATIVE_INFINITY;
  for (let at = 0; at < output.length; at++) {
    const value = output[at]!;
    if (!Number.isFinite(value)) continue;
    if (value < min) min = value;
    if (value > max) max = value;
  }
  const isNone = min > max;
  return {
    task: "depth",
    kind,
    depthMap: output,
    min: isNone ? Number.NaN : min,
    max: isNone ? Number.NaN : max,
    width,
    height,
    timing: { ...timings, total: performance.now() - startedAt },
    ...(damage === undefined ? {} : { damage }),
  };
}

/** How depth becomes colour: near is bright. `inferno` as matplotlib's. */
export interface DepthImageOptions {
  /** Default `"inferno"`. */
  readonly palette?: "inferno" | "grey" | undefined;
  /** Depth of the darkest and the brightest colour, whichever is which. Default: those of the map. */
  readonly min?: number | undefined;
  readonly max?: number | undefined;
}

/** matplotlib's inferno at every sixteenth: in between it differs by 7 levels at most. */
const INFERNO: readonly (readonly [number, number, number])[] = [
  [0, 0, 4],
  [11, 7, 36],
  [33, 12, 74],
  [61, 9, 101],
  [87, 16, 110],
  [113, 25, 110],
  [138, 34, 106],
  [163, 44, 97],
  [188, 55, 84],
  [210, 70, 68],
  [228, 90, 49],
  [241, 115, 29],
  [249, 142, 9],
  [252, 172, 17],
  [249, 203, 53],
  [242, 234, 105],
  [252, 255, 164],
];

/** A colour for each of 256 levels of brightness. */
function paletteOf(name: DepthImageOptions["palette"] = "inferno"): readonly Colour[] {
  return Array.from({ length: 256 }, (_, level) => {
    if (name === "grey") return { red: level, green: level, blue: level };
    const place = (level / 255) * (INFERNO.length - 1);
    const near = INFERNO[Math.floor(place)]!;
    const far = INFERNO[Math.ceil(place)]!;
    const [red, green, blue] = near.map((value, channel) => Math.round(value + (far[channel]! - value) * (place % 1)));
    return { red: red!, green: green!, blue: blue! };
  });
}

/**
 * An image of a depth map: near is bright, far and what is no number dark.
 *
 * @returns RGB with tight rows; `encodeImage` makes a file of it
 *
 * @example
 * ```ts
 * import { DepthEstimator, depthImage, encodeImage } from "bun-tensorrt";
 *
 * await using estimator = await DepthEstimator.load("depth-anything/model.onnx");
 * const image = depthImage(await estimator.estimate("street.jpg"), { palette: "grey" });
 * await Bun.write("depth.png", await encodeImage(image, { format: "png" }));
 * ```
 */
export function depthImage(result: DepthResult, options: DepthImageOptions = {}): PackedImage {
  const { width, height } = result;
  const image = imageOf(new Uint8Array(width * height * 3), { width, height, format: "RGB" });
  paintDepth(image, result, options);
  return image;
}

/** Write the image of a depth map over the pixels of another, of the same size. */
function paintDepth(image: PackedImage, { depthMap, kind, ...range }: DepthResult, options: DepthImageOptions): void {
  const { min = range.min, max = range.max, palette } = options;
  const { data, width, height, pitchBytes, format } = image;
  const colours = paletteOf(palette);
  const pixel = bytesPerPixel(format);
  const red = format === "BGR" ? 2 : 0;
  const [dark, bright] = kind === "metric" ? [max, min] : [min, max];
  const scale = bright === dark ? 0 : 255 / (bright - dark);
  for (let y = 0, from = 0; y < height; y++) {
    for (let x = 0, at = y * pitchBytes; x < width; x++, from++, at += pixel) {
      const level = Math.round((depthMap[from]! - dark) * scale);
      const colour = colours[level > 0 ? Math.min(level, 255) : 0]!;
      data[at + red] = colour.red;
      data[at + 1] = colour.green;
      data[at + 2 - red] = colour.blue;
    }
  }
}

function refuse(action: string, found = "a depth map has no objects"): never {
  throw new BunTensorRtError(message(action, found));
}

/** Results of depth. */
export const DEPTH_FORMS: ResultForms<DepthResult> = {
  noun: "map",
  count: () => 1,
  doubts: ({ min }) => (Number.isNaN(min) ? ["no depth is a number"] : []),
  columns: ["depth", "min", "max"],
  rows: ({ kind, min, max }) => [[kind === "metric" ? "in metres" : kind, min.toFixed(4), max.toFixed(4)]],
  csvColumns: ["depth", "min", "max"],
  csvRows(result) {
    return this.rows(result);
  },
  json: ({ task, width, height, kind, min, max, timing, damage }) => ({
    task,
    width,
    height,
    kind,
    min: round(min, 6),
    max: round(max, 6),
    timing: timingJson(timing),
    ...(damage === undefined ? {} : { damage }),
  }),
  mapJson: ({ depthMap, width, height }) => ({
    depthMap: {
      dtype: "f32",
      shape: [height, width],
      // Little-endian, as every machine is that this runs on.
      data: Buffer.from(depthMap.buffer, depthMap.byteOffset, depthMap.byteLength).toString("base64"),
    },
  }),
  yolo: () => refuse("write label files"),
  coco: () => refuse("write a results file of COCO"),
  tensorForms: () => [{ name: "range", datatype: "FP32", shape: [2] }],
  tensors: ({ min, max }, forms) => tensorsOf(forms, 2, [[min, max]]),
  draw: async (_: Image, result) => depthImage(result),
  paint(image, result) {
    if (!isPacked(image)) refuse("draw depth", "its pixels must be RGB, BGR or RGBA");
    paintDepth(image as PackedImage, result, {});
  },
};
