/** @module MapTask: models that say something of every pixel: how images are cut for them, and how they are run. */

import { message, ShapeError } from "../../core/errors.ts";
import { formatShape, type Shape } from "../../core/tensor.ts";
import { MAP_TASKS, type MapTaskName } from "../../heads/traits.ts";
import { decodeLimits } from "../../image/decode-limits.ts";
import { placeRectangle, type Rectangle, type Region, type Size } from "../../image/geometry.ts";
import type { Image } from "../../image/image.ts";
import type { Preprocessing } from "../../image/preprocessing.ts";
import { Preprocessor } from "../../image/preprocessor.ts";
import {
  assertDeviceResize,
  type DeclaredModel,
  type EngineShapes,
  type HostTensors,
  type HostWork,
  inputShape,
  type OpenedModel,
  type PixelSize,
  type Task,
  type TaskModel,
} from "../../runtime/task.ts";
import { checkTiles, type Tile, type TileRules, tileGrid } from "../image-grid.ts";
import { ValueGuard } from "../value-guard.ts";
import { engineSize, keptSize, type MapSpec, type MapTaskOptions } from "./map-recognition.ts";

type ShapeRange = NonNullable<ReturnType<OpenedModel["rangeOf"]>>;

/** A part of an image that a model sees, and what is kept of what it says. */
export interface View {
  /** Which image of the batch. */
  readonly image: number;
  /** Where it lies in the input. */
  readonly region: Region;
  /** What of it is kept, in pixels of the image. */
  readonly tile: Tile;
}

function rulesOf({ tile, overlap }: Pick<MapTaskOptions, "tile" | "overlap">, { width, height }: PixelSize): TileRules {
  const largest: Size = tile ?? [width, height];
  return { fixedWidth: undefined, fixedHeight: undefined, smallest: [1, 1], largest, multiple: 1, overlap };
}

/** The tiles of an image: all of one size, or the image itself. */
function rectanglesOf(
  options: Pick<MapTaskOptions, "tile" | "overlap">,
  image: PixelSize,
): readonly (readonly [Rectangle, Tile])[] {
  const { size, tiles } = tileGrid(image.width, image.height, rulesOf(options, image));
  return tiles.map((tile) => [{ x: tile.x, y: tile.y, width: size[0], height: size[1] }, tile]);
}

/** What is the own of one kind of map. */
export interface MapForm<Spec extends MapSpec, Map, Options extends MapTaskOptions> {
  readonly name: MapTaskName;
  /** @throws {ModelError} If a model is none of these */
  readonly recognise: (opened: OpenedModel, options: Options) => Promise<Spec>;
  readonly createWork: (spec: Spec, options: Options, guard: ValueGuard) => HostMap<Map>;
}

/** Says something of every pixel of images: a region an image, or one a tile. */
export class MapTask<Spec extends MapSpec, Map, Options extends MapTaskOptions> implements Task<Spec, undefined, Map> {
  readonly name: MapTaskName;
  readonly action: string;
  readonly #form: MapForm<Spec, Map, Options>;
  readonly #options: Options;

  constructor(form: MapForm<Spec, Map, Options>, options: Options) {
    this.name = form.name;
    this.action = `load ${MAP_TASKS[form.name].noun}`;
    if (options.tile !== undefined) checkTiles(rulesOf(options, { width: 0, height: 0 }));
    this.#form = form;
    this.#options = options;
  }

  /** @throws {ModelError} If it is of another task */
  async recognise(opened: OpenedModel): Promise<TaskModel<Spec, undefined, Map>> {
    const spec = await this.#form.recognise(opened, this.#options);
    const guard = ValueGuard.begin(opened, "map", spec.assumptions);
    return mapModel(this.#form, spec, this.#options, guard, opened.rangeOf(spec.imageInput));
  }

  /** @throws {UnavailableError} If only the CPU resizes as the options say */
  async check(opened: OpenedModel): Promise<void> {
    assertDeviceResize(this.#options.preprocessing?.resize, this.action);
    await this.#form.recognise(opened, this.#options);
  }

  engineShapes({ model }: DeclaredModel): EngineShapes {
    const { batch = 1 } = this.#options;
    return { batch: { min: 1, opt: batch, max: batch }, size: engineSize(model.metadata, this.name, this.#options) };
  }
}

function mapModel<Spec extends MapSpec, Map, Options extends MapTaskOptions>(
  { createWork }: MapForm<Spec, Map, Options>,
  spec: Spec,
  options: Options,
  guard: ValueGuard,
  range: ShapeRange | undefined,
): TaskModel<Spec, undefined, Map> {
  const { task, imageInput: name, size, multiple, output } = spec;
  const { layout, dtype } = spec.preprocessing;
  const input = { name, dtype, layout, channels: 3 };
  return {
    task,
    spec,
    input,
    sizeInputs: [],
    outputs: [output],
    decodeOptions: decodeLimits(options),
    rows: options.batch ?? 1,
    // Images of several ratios have inputs of several sizes.
    mostImages: multiple === undefined ? Number.POSITIVE_INFINITY : 1,
    usualSize: size,
    idleParams: undefined,
    guard,
    sizeFor([image]) {
      if (multiple === undefined) return size;
      const [[{ width, height }]] = rectanglesOf(options, image!) as [readonly [Rectangle, Tile]];
      const kept = keptSize([width, height], size, multiple);
      if (range !== undefined) refuseBeyond(range, inputShape(input, 1, kept), image!);
      return kept;
    },
    sameParams: () => true,
    host: async () => ({ createWork: () => createWork(spec, options, guard) }),
    device: {
      async cuda() {
        const { CudaHostTask } = await import("../cuda-host-task.ts");
        return new CudaHostTask(spec.preprocessing, () => createWork(spec, options, guard));
      },
    },
  };
}

/** @throws {ShapeError} If an engine was not built for the input that an image needs */
function refuseBeyond({ min, max }: ShapeRange, shape: Shape, { width, height }: PixelSize): void {
  if (shape.every((side, axis) => axis === 0 || (min[axis]! <= side && side <= max[axis]!))) return;
  const [expected, actual] = [`${formatShape(min)} to ${formatShape(max)}`, formatShape(shape)];
  const found = `its input keeps the ratio and would be ${actual}, the engine takes ${expected}`;
  const hint = "say the `size`, to which images are then stretched";
  throw new ShapeError(message(`make a map of an image of ${width}x${height}`, found, hint), {
    tensor: "input",
    expected,
    actual,
  });
}

/** What one slot needs for maps: the views of every image, one after the other. */
export abstract class HostMap<Map> implements HostWork<undefined, Map> {
  readonly placements: readonly Region[] = [];
  /** Of the batch. */
  protected images: readonly Image[] = [];
  protected readonly maps: Map[] = [];
  readonly #preprocessor: Preprocessor;
  readonly #fit: Preprocessing["fit"];
  readonly #output: string;
  readonly #options: MapTaskOptions;
  readonly #guard: ValueGuard;
  readonly #views: View[] = [];

  constructor({ preprocessing, output }: MapSpec, options: MapTaskOptions, guard: ValueGuard) {
    this.#preprocessor = new Preprocessor(preprocessing);
    this.#fit = preprocessing.fit;
    this.#output = output;
    this.#options = options;
    this.#guard = guard;
  }

  /** Make room for what is said of an image. */
  protected abstract start(image: Image): Map;
  /** True if the whole image is looked at before its tiles. */
  protected abstract readonly looksAtWhole: boolean;
  /** Take what the model said of a view. @param isWhole it is the whole image of one that is cut into tiles */
  protected abstract place(
    outputs: HostTensors["outputs"],
    name: string,
    row: number,
    view: View,
    isWhole: boolean,
  ): void;

  begin(images: readonly Image[], size: Size): number {
    this.images = images;
    this.#views.length = 0;
    for (const [at, image] of images.entries()) {
      const source: Size = [image.width, image.height];
      for (const [rectangle, tile] of this.#seenOf(image)) {
        this.#views.push({ image: at, tile, region: placeRectangle(source, rectangle, size, this.#fit) });
      }
      this.maps[at] = this.start(image);
    }
    return this.#views.length;
  }

  /** What `begin` returns for images of such sizes. */
  regions(images: readonly PixelSize[]): number {
    return images.reduce((sum, image) => sum + this.#seenOf(image).length, 0);
  }

  /** The tiles of an image, perhaps behind the whole of it. */
  #seenOf(image: PixelSize): ReturnType<typeof rectanglesOf> {
    const tiles = rectanglesOf(this.#options, image);
    return this.looksAtWhole && tiles.length > 1 ? [...rectanglesOf({}, image), ...tiles] : tiles;
  }

  fill(tensors: Pick<HostTensors, "fill">, region: number, row: number): void {
    const view = this.#views[region]!;
    tensors.fill(this.#preprocessor, this.images[view.image]!, row, view.region);
  }

  finish({ outputs }: Pick<HostTensors, "outputs">, region: number, row: number): void {
    const view = this.#views[region]!;
    const isFirst = region === 0 || this.#views[region - 1]!.image !== view.image;
    const isCut = this.#views[region + 1]?.image === view.image;
    this.place(outputs, this.#output, row, view, this.looksAtWhole && isFirst && isCut);
    const { data, shape } = outputs.get(this.#output)!;
    const length = data.length / shape[0]!;
    if (data instanceof Float32Array || data instanceof Float16Array) this.#guard.check(data, row * length, length);
  }

  end(): readonly Map[] {
    this.images = [];
    return this.maps;
  }
}
