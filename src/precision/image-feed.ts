/** @module Image feed: images as inputs of a model, prepared as its task prepares them. */

import { openedSession } from "../accelerators/cpu/described-model.ts";
import { ModelError } from "../core/errors.ts";
import { Resource } from "../core/resource.ts";
import { createTensor, type Tensor, type TensorInfo } from "../core/tensor.ts";
import { isSingleImage } from "../heads/image-input.ts";
import type { Image } from "../image/image.ts";
import { type ImageDecodeOptions, ImageDecoder } from "../image/image-decoder.ts";
import { type InputTensor, Preprocessor } from "../image/preprocessor.ts";
import { readSource } from "../image/source.ts";
import { Session } from "../onnxruntime/session.ts";
import type { Size } from "../runtime/backend.ts";
import { sizeTensor } from "../runtime/slots.ts";
import { type HostTensors, type HostWork, inputShape, type Task, type TaskModel } from "../runtime/task.ts";
import { plainImage } from "./plain-model.ts";
import { inputShapesOf, type ProbedModel } from "./tensor-probe.ts";

/** Writes an image into every row of the input. */
type Filler = (image: Image) => void;

/** The inputs of a model, and the way from an image into them. */
interface Prepared {
  readonly inputs: Readonly<Record<string, Tensor>>;
  readonly fill: Filler;
  readonly decodeOptions: ImageDecodeOptions;
}

/** Fills the inputs of a model with one image after the other. All rows of a batch hold the same. */
export class ImageFeed extends Resource {
  /** Tensors that stay where they are, by name. */
  readonly inputs: Readonly<Record<string, Tensor>>;
  readonly #prepared: Prepared;
  readonly #decoder: ImageDecoder;

  private constructor(prepared: Prepared, name: string) {
    super(`ImageFeed of ${name}`);
    this.inputs = prepared.inputs;
    this.#prepared = prepared;
    this.#decoder = ImageDecoder.create();
  }

  /**
   * Find out what a model wants of an image. One that the task does not recognise is given what most YOLO exports want, with a line
   * in the log.
   *
   * @throws {ModelError} If it takes no image, or more than that
   */
  static async open(model: ProbedModel, task: Task<unknown, unknown, unknown>): Promise<ImageFeed> {
    await using session = await (model.path === undefined
      ? Session.fromBytes(model.bytes, model.name)
      : Session.load(model.path));
    try {
      const recognised = await task.recognise(openedSession(session, model.name, undefined));
      return new ImageFeed(await preparedBy(recognised, session.inputs), model.name);
    } catch (error) {
      if (!(error instanceof ModelError)) throw error;
      const prepared = preparedByShape(session, model.name);
      return new ImageFeed(prepared, model.name);
    }
  }

  /** Shapes of the inputs. */
  get shapes(): ReturnType<typeof inputShapesOf> {
    return inputShapesOf(this.inputs);
  }

  /** Read an image file into the inputs. @throws {ImageError} If it cannot be read */
  async read(path: string, signal?: AbortSignal): Promise<void> {
    const { bytes, name } = await readSource(path, { signal });
    this.#prepared.fill(await this.#decoder.decode(bytes, name, this.#prepared.decodeOptions));
  }

  protected release(): void {
    this.#decoder.close();
  }
}

/** The input where a task writes to. */
class FeedTensors implements HostTensors {
  readonly outputs: ReadonlyMap<string, Tensor> = new Map();
  readonly #images: InputTensor;

  constructor(images: InputTensor) {
    this.#images = images;
  }

  fill(...[preprocessor, image, row, placement]: Parameters<HostTensors["fill"]>): void {
    preprocessor.run(image, this.#images, row, placement);
  }

  lend(): InputTensor {
    return this.#images;
  }
}

/** A shape with its open sides filled in; one image without a batch loses it. */
function givenAs(tensor: InputTensor, declared: readonly number[]): Tensor {
  return isSingleImage(declared) ? { ...tensor, shape: tensor.shape.slice(1) } : tensor;
}

function shapeOf(inputs: readonly TensorInfo[], name: string): readonly number[] {
  return inputs.find((info) => info.name === name)?.shape ?? [];
}

async function preparedBy(
  model: TaskModel<unknown, unknown, unknown>,
  declared: readonly TensorInfo[],
): Promise<Prepared> {
  const { input, sizeInputs, usualSize: size, decodeOptions } = model;
  const shape = shapeOf(declared, input.name);
  const batch = isSingleImage(shape) ? 1 : Math.max(shape[0] ?? 1, 1);
  const images = createTensor(input.dtype, inputShape(input, batch, size)) as InputTensor;
  const inputs: Record<string, Tensor> = { [input.name]: givenAs(images, shape) };
  for (const one of sizeInputs) inputs[one.name] = sizeTensor(one, shapeOf(declared, one.name), batch, size);
  const tensors = new FeedTensors(images);
  const work = (await model.host()).createWork();
  return { inputs, decodeOptions, fill: (image) => fillRows(work, tensors, image, size, batch) };
}

function fillRows(
  work: HostWork<unknown, unknown>,
  tensors: HostTensors,
  image: Image,
  size: Size,
  batch: number,
): void {
  // Of an image that is run in several regions these are the first.
  const regions = work.begin([image], size);
  for (let row = 0; row < batch; row++) work.fill(tensors, row % regions, row);
}

function preparedByShape({ model, inputs: declared }: Session, source: string): Prepared {
  const { image, size, preprocessing } = plainImage(model, source, `calibrate ${source}`);
  const [width, height] = size;
  const preprocessor = new Preprocessor(preprocessing);
  const shape = shapeOf(declared, image.name);
  const batch = isSingleImage(shape) ? 1 : Math.max(shape[0] ?? 1, 1);
  const images = createTensor(image.dtype, inputShape(image, batch, size)) as InputTensor;
  return {
    inputs: { [image.name]: givenAs(images, shape) },
    decodeOptions: {},
    fill(shown) {
      const region = preprocessor.place(shown, width, height);
      for (let row = 0; row < batch; row++) preprocessor.run(shown, images, row, region);
    },
  };
}
