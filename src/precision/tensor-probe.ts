/**
 * @module Tensor probe: a look into a model: images as its inputs, prepared as its task prepares them; sessions that give the
 * tensors inside it as outputs; and how far those are from another's, summed up over images.
 */

import { dirname, resolve } from "node:path";
import { openedSession } from "../accelerators/opened-model.ts";
import { ModelError, message } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { Resource } from "../core/resource.ts";
import { bytesPerElement, createTensor, type Shape, type Tensor, type TensorInfo } from "../core/tensor.ts";
import { findImageInput, type ImageInput, isSingleImage, preprocessingFor, whyNoImage } from "../heads/image-input.ts";
import type { Image } from "../image/image.ts";
import { type ImageDecodeOptions, ImageDecoder } from "../image/image-decoder.ts";
import { type Preprocessing, YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import { type InputTensor, Preprocessor } from "../image/preprocessor.ts";
import { readSource } from "../image/source.ts";
import type { ModelInfo } from "../model/model-info.ts";
import { OnnxValue } from "../onnx/messages.ts";
import { externalDataFiles, OnnxModel } from "../onnx/model.ts";
import { Session } from "../onnxruntime/session.ts";
import type { SessionOptions } from "../onnxruntime/session-options.ts";
import type { Size } from "../runtime/backend.ts";
import { sizeTensor } from "../runtime/slots.ts";
import { type HostTensors, type HostWork, inputShape, type Task, type TaskModel } from "../runtime/task.ts";
import type { TensorDifference, UnmatchedTensor } from "./precision-config.ts";

/** A model to look into. */
export interface ProbedModel {
  /** Of an `.onnx` file. */
  readonly bytes: Uint8Array;
  /** For messages. */
  readonly name: string;
  /** Of the file, where it has one: weights in other files are found beside it. */
  readonly path?: string | undefined;
}

/** Shapes that inputs of open sides are given, by name. */
type InputShapes = Readonly<Record<string, Shape>>;

/** What the tensors of one group of {@linkcode tensorGroups} take together, unless the caller says another figure. */
const GROUP_BYTES = 256 * 2 ** 20;

/**
 * Element type and shape of every tensor between the inputs and outputs of a model, the outputs included, as ONNX Runtime infers
 * them. Branches and loops have tensors of their own, which are not looked at.
 *
 * @param shapes of inputs whose sides are open: without them most shapes stay open too
 * @returns by name, in the order of the graph; without those of element types that no tensor here has, such as sequences and f64
 * @throws {ModelError} If ONNX Runtime does not take the model
 */
export async function describeTensors(
  model: ProbedModel,
  shapes: InputShapes = {},
): Promise<ReadonlyMap<string, TensorInfo>> {
  const onnx = OnnxModel.read(model.bytes, model.name);
  const names = onnx.graph.nodes.flatMap((node) => node.outputs.filter((name) => name !== ""));
  await using session = await sessionOf(onnx, model, names, shapes, {
    optimization: "disable",
    ignoreUnreadable: true,
  });
  return new Map(session.outputs.map((info) => [info.name, info]));
}

/**
 * Divide tensors into groups, so that those of one group fit into memory together.
 *
 * @param tensors what {@linkcode describeTensors} found; open sides count as 1
 * @param most    bytes of a group; a larger tensor has one to itself
 */
export function tensorGroups(tensors: Iterable<TensorInfo>, most: number = GROUP_BYTES): string[][] {
  const groups: string[][] = [];
  let left = 0;
  for (const { name, dtype, shape } of tensors) {
    const bytes = shape.reduce((product, side) => product * Math.max(side, 1), bytesPerElement(dtype));
    if (groups.length === 0 || bytes > left) {
      groups.push([]);
      left = most;
    }
    groups.at(-1)!.push(name);
    left -= bytes;
  }
  return groups;
}

/**
 * Open a session of a model whose outputs are tensors inside it: nothing beyond them is computed.
 *
 * @param names of tensors that nodes give, as {@linkcode describeTensors} has them; what inputs hold, the caller has already
 * @throws {ModelError} If a node gives no such tensor, or ONNX Runtime does not take the model
 */
export async function probeSession(
  model: ProbedModel,
  names: readonly string[],
  shapes: InputShapes = {},
  options: SessionOptions = {},
): Promise<Session> {
  return sessionOf(OnnxModel.read(model.bytes, model.name), model, names, shapes, options);
}

function sessionOf(
  onnx: OnnxModel,
  { bytes, name: source, path }: ProbedModel,
  names: readonly string[],
  shapes: InputShapes,
  options: SessionOptions,
): Promise<Session> {
  const { graph } = onnx;
  const producers = graph.producers();
  const missing = names.find((name) => !producers.has(name));
  if (missing !== undefined) {
    const found = `no node of it gives a tensor ${JSON.stringify(missing)}`;
    throw new ModelError(message(`look into the model ${source}`, found), source);
  }
  const declared = new Map(graph.outputs.map((output) => [output.name, output]));
  graph.outputs = names.map((name) => declared.get(name) ?? graph.values.get(name) ?? OnnxValue.named(name));
  graph.inputs = graph.inputs.map((input) => {
    const shape = shapes[input.name];
    return shape === undefined ? input : OnnxValue.of(input.name, input.elementType ?? "undefined", shape);
  });
  for (const name of names) graph.values.delete(name);
  graph.removeUnused();
  const isElsewhere = path !== undefined && externalDataFiles(bytes).length > 0;
  const weightsFolder = isElsewhere ? dirname(resolve(path)) : undefined;
  return Session.fromBytes(onnx.write(), source, { spinning: false, ...options, weightsFolder });
}

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
  get shapes(): InputShapes {
    return Object.fromEntries(Object.entries(this.inputs).map(([name, { shape }]) => [name, shape]));
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

/** Side of an open input. */
export const USUAL_SIDE = 640;

/** What is read of a model of which nothing is known. */
export interface PlainImage {
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

/** Differences of two tensors of one name. */
class DifferenceSum {
  #count = 0;
  #max = 0;
  #sum = 0;
  #largest = 0;
  #product = 0;
  #first = 0;
  #second = 0;
  #noise = 0;
  #nonFinite = 0;

  add(a: ArrayLike<number | bigint>, b: ArrayLike<number | bigint>): void {
    this.#count += a.length;
    for (let at = 0; at < a.length; at++) {
      const x = Number(a[at]);
      const y = Number(b[at]);
      const difference = Math.abs(x - y);
      // Infinity less itself is no number, and no difference.
      if (!Number.isFinite(difference)) {
        if (!Object.is(x, y)) this.#nonFinite += 1;
        continue;
      }
      if (difference > this.#max) this.#max = difference;
      const magnitude = Math.abs(x);
      if (magnitude > this.#largest) this.#largest = magnitude;
      this.#sum += difference;
      this.#noise += difference * difference;
      this.#product += x * y;
      this.#first += x * x;
      this.#second += y * y;
    }
  }

  report(name: string, shape: readonly number[]): TensorDifference {
    const lengths = Math.sqrt(this.#first) * Math.sqrt(this.#second);
    const isEqual = this.#max === 0 && this.#nonFinite === 0;
    return {
      name,
      shape,
      max: this.#max,
      mean: this.#count === 0 ? 0 : this.#sum / this.#count,
      relative: this.#max === 0 ? 0 : this.#max / this.#largest,
      cosine: isEqual ? 1 : lengths === 0 ? 0 : Math.min(this.#product / lengths, 1),
      sqnr: isEqual ? Number.POSITIVE_INFINITY : 10 * Math.log10(this.#first / this.#noise),
      nonFinite: this.#nonFinite,
    };
  }
}

/** Compares the tensors of two models, image by image. */
export class TensorDifferences {
  readonly #sums = new Map<string, { readonly sum: DifferenceSum; shape: readonly number[] }>();
  readonly #unmatched = new Map<string, string>();

  /** Add an image. */
  add(first: ReadonlyMap<string, Tensor>, second: ReadonlyMap<string, Tensor>): void {
    for (const [name, a] of first) {
      const b = second.get(name);
      if (b === undefined) {
        this.#unmatched.set(name, "only the first model has it");
        continue;
      }
      // A batch of which one image is compared has further rows.
      const isAlike = a.shape.join() === b.shape.join();
      if (!isAlike) {
        this.#unmatched.set(
          name,
          `its shape is ${a.shape.join("x")} in the first model, ${b.shape.join("x")} in the second`,
        );
        continue;
      }
      let known = this.#sums.get(name);
      if (known === undefined) {
        known = { sum: new DifferenceSum(), shape: a.shape };
        this.#sums.set(name, known);
      }
      known.shape = a.shape;
      known.sum.add(a.data, b.data);
    }
    for (const name of second.keys()) if (!first.has(name)) this.#unmatched.set(name, "only the second model has it");
  }

  /** In the order in which they came. */
  report(): TensorDifference[] {
    return [...this.#sums].map(([name, { sum, shape }]) => sum.report(name, shape));
  }

  /** Those that could not be compared on one image or more. */
  get unmatched(): UnmatchedTensor[] {
    return [...this.#unmatched].map(([name, reason]) => ({ name, reason }));
  }
}
