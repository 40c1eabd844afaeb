/** @module TileInference: a context of the engine for one batch and size of tiles, and the memory of its tensors. */

import { message, ShapeError } from "../../core/errors.ts";
import { Resource } from "../../core/resource.ts";
import { formatShape, isDynamic } from "../../core/shape.ts";
import type { TensorInfo } from "../../core/tensor.ts";
import type { DeviceMemory } from "../../cuda/buffer-view.ts";
import type { Device } from "../../cuda/device.ts";
import { DeviceBuffer } from "../../cuda/device-buffer.ts";
import type { OnStream, Stream } from "../../cuda/stream.ts";
import type { Size } from "../../pipeline/backend.ts";
import type { Engine } from "../../tensorrt/engine.ts";
import type { ExecutionContext } from "../../tensorrt/execution-context.ts";
import type { ImageInput, ImageRecognition } from "../image-recognition.ts";
import { pixelShape } from "../pixel-tensor.ts";

/** One context with bound tensors. Contexts of a slot share the memory of their activations. */
export class TileInference extends Resource {
  /** The tiles, and what the model makes of them. */
  readonly input: DeviceBuffer;
  readonly output: DeviceBuffer;
  readonly #context: ExecutionContext;
  readonly #owned: DisposableStack;

  private constructor(
    context: ExecutionContext,
    stream: Stream,
    tensors: { readonly input: DeviceBuffer; readonly output: DeviceBuffer },
    owned: DisposableStack,
  ) {
    super(`TileInference ${formatShape(tensors.input.shape)}`, stream);
    this.#context = context;
    this.input = tensors.input;
    this.output = tensors.output;
    this.#owned = owned;
  }

  /**
   * Make a context and the memory of its tensors, those outputs included that are of no use.
   *
   * @param activations memory of at least `engine.deviceMemoryBytes()`, shared by contexts that never run side by side
   * @param size        of a tile in pixels
   * @throws {ShapeError} If no profile of the engine allows the shape, or an output's shape depends on the data
   */
  static async create(
    engine: Engine,
    recognition: ImageRecognition,
    stream: Stream,
    activations: DeviceMemory,
    shape: { readonly batch: number; readonly size: Size },
  ): Promise<TileInference> {
    using owned = new DisposableStack();
    const { device } = stream;
    const context = owned.use(await engine.createContext({ memory: "user-managed" }));
    device.makeCurrent();
    context.setDeviceMemory(activations);
    const { input: form } = recognition;
    const inputShape = pixelShape(form, shape.batch, shape.size);
    context.tensor(form.name).setShape(inputShape);
    const input = bind(context, { name: form.name, dtype: form.dtype, shape: inputShape }, device, owned);
    let output: DeviceBuffer | undefined;
    for (const info of outputShapes(engine, context)) {
      const buffer = bind(context, info, device, owned);
      if (info.name === recognition.output.name) output = buffer;
    }
    return new TileInference(context, stream, { input, output: output! }, owned.move());
  }

  /** Enqueue the model. */
  enqueue(options: OnStream): void {
    this.#context.enqueue(options.stream);
  }

  protected release(): void {
    this.#owned.dispose();
  }
}

function bind(context: ExecutionContext, info: TensorInfo, device: Device, owned: DisposableStack): DeviceBuffer {
  const buffer = owned.use(DeviceBuffer.create(info.dtype, info.shape, { device }));
  context.tensor(info.name).setAddress(buffer.pointer);
  return buffer;
}

/** The outputs with the shapes they have for the input's shape in use. */
function outputShapes(engine: Engine, context: ExecutionContext): TensorInfo[] {
  return engine.outputs.map(({ name, dtype }) => {
    const { shape } = context.tensor(name);
    if (!isDynamic(shape)) return { name, dtype, shape };
    const actual = formatShape(shape);
    const found = `as the shape of ${JSON.stringify(name)} depends on the picture: ${actual}`;
    throw new ShapeError(message("run the engine", found, 'use backend "cpu"'), {
      tensor: name,
      expected: "a shape that follows from the input's",
      actual,
    });
  });
}

/**
 * What an engine makes of tiles of a size: its outputs with the shapes they then have. Runs nothing.
 *
 * @throws {ShapeError} If no profile allows the size, or a shape depends on the data
 */
export async function probeOutputs(
  engine: Engine,
  { form, fixedBatch = 1 }: ImageInput,
  size: Size,
): Promise<TensorInfo[]> {
  using context = await engine.createContext({ memory: "user-managed" });
  engine.runtime.device?.makeCurrent();
  context.tensor(form.name).setShape(pixelShape(form, fixedBatch, size));
  return outputShapes(engine, context);
}
