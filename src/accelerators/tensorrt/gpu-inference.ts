/** @module GpuInference: a context of the engine for one batch size and input size, and the memory of its tensors. */

import { message, ShapeError } from "../../core/errors.ts";
import { Owner } from "../../core/resource.ts";
import { createTensor, formatShape, isDynamic, type Shape, type Tensor } from "../../core/tensor.ts";
import { copyToDevice, copyToHost } from "../../cuda/copy.ts";
import { DeviceBuffer } from "../../cuda/device-buffer.ts";
import type { OnStream, Stream } from "../../cuda/stream.ts";
import type { Size } from "../../runtime/backend.ts";
import { sizeTensor } from "../../runtime/slots.ts";
import { inputShape } from "../../runtime/task.ts";
import type { ExecutionContext } from "../../tensorrt/engine.ts";
import type { LoadedModel } from "./gpu-model.ts";
import type { SlotStreams } from "./gpu-streams.ts";

/** One context with bound inputs and outputs. Contexts that one stream orders share the memory of their activations. */
export class GpuInference extends Owner {
  /** The input that takes the images. */
  readonly images: DeviceBuffer;
  /** Every output by name. */
  readonly outputs: ReadonlyMap<string, DeviceBuffer>;
  readonly #context: ExecutionContext;
  readonly #setup: Stream;

  private constructor(
    context: ExecutionContext,
    setup: Stream,
    images: DeviceBuffer,
    outputs: ReadonlyMap<string, DeviceBuffer>,
    owned: DisposableStack,
  ) {
    super(`GpuInference ${formatShape(images.shape)}`, setup, owned);
    this.#context = context;
    this.#setup = setup;
    this.images = images;
    this.outputs = outputs;
  }

  /**
   * Make a context and the memory of its tensors.
   *
   * @param batch rows of the input
   * @throws {ShapeError} If no profile of the engine allows the shape, or an output's shape depends on the data
   */
  static async create(model: LoadedModel, streams: SlotStreams, batch: number, size: Size): Promise<GpuInference> {
    using owned = new DisposableStack();
    const { device, engine } = model;
    const { input, sizeInputs } = model.task;
    const context = owned.use(await engine.createContext({ memory: "user-managed" }));
    device.makeCurrent();
    context.setDeviceMemory(streams.activations);
    const bind = (name: string, dtype: DeviceBuffer["dtype"], shape: Shape): DeviceBuffer => {
      const buffer = owned.use(DeviceBuffer.create(dtype, shape, { device }));
      context.tensor(name).setAddress(buffer.pointer);
      return buffer;
    };

    const shape = inputShape(input, batch, size);
    context.tensor(input.name).setShape(shape);
    const images = bind(input.name, input.dtype, shape);
    for (const sizeInput of sizeInputs) {
      const tensor = sizeTensor(sizeInput, engine.tensor(sizeInput.name).shape, batch, size);
      context.tensor(sizeInput.name).setShape(tensor.shape);
      copyToDevice(bind(sizeInput.name, tensor.dtype, tensor.shape), tensor.data, streams.setup);
    }

    const outputs = new Map<string, DeviceBuffer>();
    for (const { name, dtype: outputType } of engine.outputs) {
      const outputShape = context.tensor(name).shape;
      if (isDynamic(outputShape)) refuseOutput(name, outputShape);
      outputs.set(name, bind(name, outputType, outputShape));
    }
    const { stream } = streams.setup;
    // What was copied from ordinary arrays has left them, and the first frame may come on any stream at once.
    stream.synchronize();
    return new GpuInference(context, stream, images, outputs, owned.move());
  }

  /** Enqueue the model. */
  enqueue(options: OnStream): void {
    this.#context.enqueue(options.stream);
  }

  /** Copy the input to the host, once the frame has been waited for. Blocks. */
  readInput(): Tensor {
    return readTensor(this.images, this.#setup);
  }

  /** Copy the outputs to the host, once the frame has been waited for. Blocks. */
  readOutputs(): ReadonlyMap<string, Tensor> {
    return new Map([...this.outputs].map(([name, buffer]) => [name, readTensor(buffer, this.#setup)]));
  }
}

function readTensor(buffer: DeviceBuffer, stream: Stream): Tensor {
  const tensor = createTensor(buffer.dtype, buffer.shape);
  copyToHost(tensor.data, buffer, { stream });
  return tensor;
}

function refuseOutput(name: string, shape: Shape): never {
  const found = `the shape of ${JSON.stringify(name)} depends on the image: ${formatShape(shape)}`;
  throw new ShapeError(
    message("run the engine", found, 'export the model with a fixed number of rows, or use backend "cpu"'),
    {
      tensor: name,
      expected: "a shape that follows from the input's",
      actual: formatShape(shape),
    },
  );
}
