/** @module Plain model: a model of which nothing is known but that it takes an image: its outputs are read as they are. */

import { CallParser } from "../api/call-options.ts";
import { type DetectorConfig, parseDetectorOptions } from "../api/detector-config.ts";
import { LoadedModel, type Opened, openModel, owned } from "../api/loaded-model.ts";
import type { ModelOptions } from "../api/model.ts";
import type { ModelSource } from "../api/model-source.ts";
import { ModelError, message } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { findImageInput, type ImageInput, preprocessingFor, whyNoImage } from "../heads/image-input.ts";
import { decodeLimits } from "../image/decode-limits.ts";
import type { Region } from "../image/geometry.ts";
import type { Image } from "../image/image.ts";
import { type Preprocessing, YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import { Preprocessor } from "../image/preprocessor.ts";
import type { ModelInfo } from "../model/model-info.ts";
import type { Size } from "../runtime/backend.ts";
import type { EngineShapes, HostTensors, OpenedModel, Task, TaskModel } from "../runtime/task.ts";
import type { RegionWork } from "../tasks/cuda-host-task.ts";

/** Side of an open input. */
const USUAL_SIDE = 640;

/** What is read of a model of which nothing is known. */
interface PlainImage {
  readonly image: ImageInput;
  readonly size: Size;
  readonly preprocessing: Preprocessing;
}

/**
 * How a model is given an image of which nothing else is known: as most YOLO exports want it, in 0 to 1 with padding.
 *
 * @param action for messages: `calibrate best.onnx`
 * @throws {ModelError} If it takes no image, or more than that
 */
export function plainImage(model: ModelInfo, source: string, action: string): PlainImage {
  const image = findImageInput(model) ?? findImageInput(model, 1) ?? findImageInput(model, 4);
  if (image === undefined || model.inputs.length > 1) {
    const { found, hint } =
      image === undefined
        ? whyNoImage(model)
        : { found: `it takes ${model.inputs.length} inputs`, hint: "export it so that the image is its only input" };
    throw new ModelError(message(action, found, hint), source);
  }
  const [width, height] = image.sides.map((side) => (side > 0 ? side : USUAL_SIDE)) as [number, number];
  logger.warn(`Preparing images for ${source} as for a YOLO model, in 0 to 1 with padding: its task is not known`);
  return { image, size: [width, height], preprocessing: preprocessingFor(image, YOLO_PREPROCESSING) };
}

/** One region an image; nothing is read of what comes out. */
class PlainWork implements RegionWork<undefined, undefined> {
  readonly #preprocessor: Preprocessor;
  #images: readonly Image[] = [];
  placements: readonly Region[] = [];

  constructor(preprocessing: Preprocessing) {
    this.#preprocessor = new Preprocessor(preprocessing);
  }

  begin(images: readonly Image[], [width, height]: Size): number {
    this.#images = images;
    this.placements = images.map((image) => this.#preprocessor.place(image, width, height));
    return images.length;
  }

  fill(tensors: Pick<HostTensors, "fill">, region: number, row: number): void {
    tensors.fill(this.#preprocessor, this.#images[region]!, row, this.placements[region]!);
  }

  finish(): void {}

  end(): readonly undefined[] {
    return this.#images.map(() => undefined);
  }
}

class PlainTask implements Task<PlainImage, undefined, undefined> {
  readonly name = "plain";
  readonly action = "load a model";
  readonly #config: DetectorConfig;

  constructor(config: DetectorConfig) {
    this.#config = config;
  }

  recognise({ model, source }: OpenedModel): Promise<TaskModel<PlainImage, undefined, undefined>> {
    const spec = plainImage(model, source, `load ${source}`);
    const { image, size, preprocessing } = spec;
    const { name, dtype, layout, channels } = image;
    return Promise.resolve({
      task: "plain",
      spec,
      input: { name, dtype, layout, channels },
      sizeInputs: [],
      outputs: undefined,
      decodeOptions: decodeLimits(this.#config),
      rows: 1,
      mostImages: 1,
      usualSize: size,
      idleParams: undefined,
      sizeFor: () => size,
      sameParams: () => true,
      host: async () => ({ createWork: () => new PlainWork(preprocessing) }),
      device: {
        async cuda() {
          const { CudaHostTask } = await import("../tasks/cuda-host-task.ts");
          return new CudaHostTask(preprocessing, () => new PlainWork(preprocessing));
        },
      },
    });
  }

  engineShapes(): EngineShapes {
    return { batch: { min: 1, opt: 1, max: 1 }, size: [USUAL_SIDE, USUAL_SIDE] };
  }
}

/** A model that is run for its outputs. */
export class PlainModel extends LoadedModel<PlainImage, undefined, undefined, object> {
  /** Nobody knows what it is for. */
  readonly task = undefined;

  /** @internal */
  constructor(opened: Opened<PlainImage, undefined, undefined, DetectorConfig>) {
    super(opened, {
      facade: "PlainModel",
      params: undefined,
      calls: new CallParser("run"),
      paramsOf: () => undefined,
      read: () => ({}),
    });
  }

  /** @throws {ModelError} If it is no model, or takes no image */
  static async load(model: ModelSource, options: ModelOptions): Promise<PlainModel> {
    const config = parseDetectorOptions(options);
    return owned(PlainModel, await openModel(model, config, () => new PlainTask(config)));
  }
}
