/** @module Image task: images made of images: what goes into such a model, how images are cut for it, and what comes out. */

import { ModelError, message, OnnxRuntimeError } from "../../core/errors.ts";
import type { TensorInfo } from "../../core/tensor.ts";
import { evidentFacade } from "../../heads/object-reading.ts";
import { loadHint } from "../../heads/traits.ts";
import { type DecodingLimits, decodeLimits } from "../../image/decode-limits.ts";
import type { Size } from "../../image/geometry.ts";
import type { EngineShapes, OpenedModel, PixelSize, Task, TaskModel } from "../../runtime/task.ts";
import { checkTiles, type Padding, type TileRules, tileGrid } from "../image-grid.ts";
import { ValueGuard } from "../value-guard.ts";
import {
  channelCount,
  type ImageHints,
  type ImageInput,
  type MadeImage,
  needsProbe,
  pixelShape,
  recogniseInput,
  recogniseOutput,
  type TiledImageSpec,
} from "./image-recognition.ts";

/** What a caller may say of an image model. */
export interface ImageTaskOptions extends DecodingLimits {
  readonly hints: ImageHints;
  /** Largest tile of a model with dynamic height and width. */
  readonly tile: Size;
  readonly overlap: number | undefined;
  readonly multiple: number | undefined;
  readonly padding: Padding;
  /** Tiles of a run; `undefined` for the accelerator's own default. */
  readonly batch: number | undefined;
  readonly alpha: "keep" | "drop";
}

/** A model that makes images. */
type ImageTaskModel = TaskModel<TiledImageSpec, undefined, MadeImage>;

/** Least side that a model of any size is given: smaller images are padded, as few models work on a handful of pixels. */
const SMALLEST_SIDE = 32;

/** What sides of a model are where the caller does not say: its own, if it is fixed, and they can be halved three times. */
const USUAL_MULTIPLE = 8;

/** Tiles an engine is built for where the caller does not say: enough to fill a large GPU with tiles of 224. */
const ENGINE_BATCH = 4;

/** Makes images of images: regions are the tiles of one image, in as many runs as they take. */
export class ImageTask implements Task<TiledImageSpec, undefined, MadeImage> {
  readonly name = "image";
  readonly action = "load an image model";
  readonly #options: ImageTaskOptions;

  constructor(options: ImageTaskOptions) {
    this.#options = options;
  }

  /** @throws {ModelError} If it takes or makes no images */
  async recognise(opened: OpenedModel): Promise<ImageTaskModel> {
    const { model, source } = opened;
    const { hints } = this.#options;
    const other = evidentFacade(model);
    if (other !== undefined) {
      const found = `its task is ${JSON.stringify(other.task)}`;
      throw new ModelError(message(`use ${source} to transform images`, found, loadHint(other.facade)), source);
    }
    const input = recogniseInput(model, source, hints);
    const range = opened.rangeOf(input.form.name);
    const tiling = tileRules(input, this.#options, range && limitsOf(input, range));
    checkTiles(tiling);
    const size = probeSize(tiling);
    const outputs = needsProbe(model) ? await probe(opened, input, size) : model.outputs;
    const recognition = recogniseOutput(model, source, input, size, outputs, hints);
    return new RecognisedImageModel({ ...recognition, tiling }, this.#options, ValueGuard.begin(opened, "image"));
  }

  engineShapes(): EngineShapes {
    const open = { fixedWidth: undefined, fixedHeight: undefined, fixedBatch: undefined };
    const { smallest, largest } = tileRules(open, { ...this.#options, overlap: undefined });
    const { batch = ENGINE_BATCH } = this.#options;
    return {
      batch: { min: 1, opt: batch, max: batch },
      size: { min: smallest, opt: largest, max: largest },
    };
  }
}

class RecognisedImageModel implements ImageTaskModel {
  readonly task = "image";
  readonly spec: TiledImageSpec;
  readonly input: ImageTaskModel["input"];
  readonly sizeInputs = [];
  readonly outputs: readonly string[];
  readonly decodeOptions: ImageTaskModel["decodeOptions"];
  readonly rows: number | undefined;
  readonly mostImages = 1;
  readonly usualSize: Size;
  readonly idleParams = undefined;
  readonly guard: ValueGuard;
  readonly #padding: Padding;

  constructor(spec: TiledImageSpec, options: ImageTaskOptions, guard: ValueGuard) {
    const { name, dtype, layout, channels } = spec.input;
    const { alpha } = options;
    this.spec = spec;
    this.guard = guard;
    this.input = { name, dtype, layout, channels: channelCount(channels) };
    this.outputs = [spec.output.name];
    this.decodeOptions = { ...decodeLimits(options), alpha };
    this.rows = spec.fixedBatch ?? options.batch;
    this.usualSize = spec.tiling.largest;
    this.#padding = options.padding;
  }

  sizeFor([image]: readonly PixelSize[]): Size {
    return tileGrid(image!.width, image!.height, this.spec.tiling).size;
  }

  sameParams(): boolean {
    return true;
  }

  async host(): ReturnType<ImageTaskModel["host"]> {
    const { HostImage } = await import("./tile-placer.ts");
    return { createWork: () => new HostImage(this.spec, this.#padding, this.guard) };
  }

  readonly device = {
    cuda: async (): Promise<unknown> => {
      const { CudaImage } = await import("./cuda-image.ts");
      return new CudaImage(this.spec, this.#padding, this.guard);
    },
  };
}

/** The sizes an engine takes. */
function limitsOf(
  { form }: ImageInput,
  { min, max }: { readonly min: readonly number[]; readonly max: readonly number[] },
): { readonly smallest: Size; readonly largest: Size } {
  const sizeOf = (shape: readonly number[]): Size =>
    form.layout === "NCHW" ? [shape[3]!, shape[2]!] : [shape[2]!, shape[1]!];
  return { smallest: sizeOf(min), largest: sizeOf(max) };
}

/**
 * How images are cut for a model.
 *
 * @param limits least and largest size that the engine was built for, where there is one
 */
export function tileRules(
  { fixedWidth, fixedHeight }: Omit<ImageInput, "form">,
  config: Pick<ImageTaskOptions, "tile" | "overlap" | "multiple">,
  limits?: { readonly smallest: Size; readonly largest: Size },
): TileRules {
  const isFixed = fixedWidth !== undefined && fixedHeight !== undefined;
  const isUsual = isFixed && fixedWidth % USUAL_MULTIPLE === 0 && fixedHeight % USUAL_MULTIPLE === 0;
  const multiple = config.multiple ?? (isUsual ? USUAL_MULTIPLE : 1);
  const least = Math.ceil(SMALLEST_SIDE / multiple) * multiple;
  const fixed = [fixedWidth, fixedHeight] as const;
  const sides = (of: (axis: 0 | 1) => number): Size => [of(0), of(1)];
  const smallest = sides((axis) => fixed[axis] ?? limits?.smallest[axis] ?? least);
  // An engine's least size wins over the tile that was asked for: it takes no smaller one.
  const largest = sides((axis) => {
    const tile = Math.max(config.tile[axis], least);
    return fixed[axis] ?? Math.max(smallest[axis], Math.min(tile, limits?.largest[axis] ?? tile));
  });
  return { fixedWidth, fixedHeight, smallest, largest, multiple, overlap: config.overlap };
}

/** The size of input that a model of open size is asked for its outputs' shapes with. */
export function probeSize(rules: TileRules): Size {
  const side = (fixed: number | undefined, axis: 0 | 1): number =>
    fixed ??
    Math.max(rules.smallest[axis], Math.min(rules.largest[axis], Math.ceil(64 / rules.multiple) * rules.multiple));
  return [side(rules.fixedWidth, 0), side(rules.fixedHeight, 1)];
}

/** The outputs with the shapes they have for one size of input. */
async function probe(
  opened: OpenedModel,
  { form, fixedBatch = 1 }: ImageInput,
  size: Size,
): Promise<readonly TensorInfo[]> {
  const shape = pixelShape(form, fixedBatch, size);
  try {
    return await opened.outputsFor(form.name, form.dtype, shape);
  } catch (error) {
    if (!(error instanceof OnnxRuntimeError)) throw error;
    const found = `it does not run on an image of ${size.join("x")} pixels: ${error.message.split("\n", 1)[0]}`;
    const hint = "say what its sides are multiples of: `multiple: 8`, 16 or 32";
    const { source } = opened;
    throw new ModelError(message(`use ${source} to transform images`, found, hint), source, { cause: error });
  }
}
