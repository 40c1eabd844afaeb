/** @module GpuBinding: everything of one batch size and input size on the device, and the graph that replays it as one. */

import { message, NativeError, ShapeError } from "../../core/errors.ts";
import { logger } from "../../core/log.ts";
import { Owner, Resource } from "../../core/resource.ts";
import {
  allocate,
  createTensor,
  formatShape,
  isDynamic,
  type Shape,
  type Tensor,
  unpackVectors,
} from "../../core/tensor.ts";
import { DeviceBuffer } from "../../cuda/buffers.ts";
import { copyToDevice, copyToHost } from "../../cuda/copy.ts";
import type { Device } from "../../cuda/device.ts";
import { Graph, type GraphExec, type OnStream, type Stream } from "../../cuda/stream.ts";
import type { Size } from "../../runtime/backend.ts";
import { sizeTensor } from "../../runtime/slots.ts";
import { inputShape } from "../../runtime/task.ts";
import type { ExecutionContext } from "../../tensorrt/engine.ts";
import { type EngineTensor, vectorOf } from "../../tensorrt/tensor-info.ts";
import type { CudaStages, CudaWork, DeviceTensors, LoadedModel, RunShape } from "./gpu-model.ts";
import type { SlotStreams } from "./gpu-streams.ts";

/**
 * A run of one shape. The pixels are uploaded before it; it pre-processes, infers, does what the task does afterwards, and copies
 * the rows back where no kernel has written them to the host. The tables are copied before it where they have changed, and where
 * batches take turns on the streams as a part of it, changed or not: an H200 with 32 frames in flight runs 5,824 frames/s with that
 * copy in each graph and 5,411 without, as graphs then start one after the other, in the order of their pixels. A frame alone waits
 * 4 µs for it.
 */
export class GpuBinding<Params> extends Resource {
  readonly batch: number;
  readonly size: Size;
  readonly stages: CudaStages<Params>;
  readonly #streams: SlotStreams;
  readonly #copiesOutApart: boolean;
  readonly #inference: GpuInference;
  /** Captured from the setup stream, and launched on another: other slots may have work under way. */
  readonly #graph: CapturedGraph;

  private constructor(
    streams: SlotStreams,
    shape: RunShape,
    copiesOutApart: boolean,
    inference: GpuInference,
    stages: CudaStages<Params>,
  ) {
    super(`GpuBinding ${shape.batch}x${shape.size.join("x")}`, streams);
    this.batch = shape.batch;
    this.size = shape.size;
    this.stages = stages;
    this.#streams = streams;
    this.#copiesOutApart = copiesOutApart;
    this.#inference = inference;
    this.#graph = new CapturedGraph(this.label, (on) => this.#enqueuePieces(on), streams.setup);
  }

  /**
   * Make the context, the memory and the launches of a shape.
   *
   * @param copiesOutApart true: rows are copied by `enqueueCopyOut`; false: `enqueue` does it
   * @throws {ShapeError} If the engine does not allow the shape, or its outputs are not what was recognised
   */
  static async create<Params>(
    model: LoadedModel,
    streams: SlotStreams,
    work: CudaWork<Params, unknown>,
    shape: RunShape,
    copiesOutApart: boolean,
  ): Promise<GpuBinding<Params>> {
    using owned = new DisposableStack();
    const inference = owned.use(await GpuInference.create(model, streams, shape));
    const stages = owned.use(work.createStages(inference, shape));
    streams.setup.stream.synchronize();
    const binding = new GpuBinding(streams, shape, copiesOutApart, inference, stages);
    owned.move();
    return binding;
  }

  /** Make room for what is asked for; the graph is captured anew where that moves something. No run may be under way. */
  reserve(params: Params): void {
    if (!this.stages.reserve(params)) return;
    this.#streams.setup.stream.synchronize();
    this.#graph.reset();
  }

  /** Enqueue the whole run, but for a copy of the rows that is made apart: as one graph from the second time on. */
  enqueue(): void {
    if (!this.#streams.takesTurns) this.stages.updateTables(this.#streams.compute);
    this.#graph.enqueue(this.#streams.compute);
  }

  /** Enqueue the copy of the rows, where it is made apart. */
  enqueueCopyOut(): void {
    if (this.#copiesOutApart) this.stages.enqueueCopyOut(this.#streams.copyOut);
  }

  /** Capture the run as a graph, once it has run. */
  capture(): void {
    this.#graph.capture();
  }

  /** True once the run is replayed as a graph. */
  get isGraph(): boolean {
    return this.#graph.isGraph;
  }

  /** Enqueue the copy of the tables and the pre-processing alone. */
  enqueuePreprocess(): void {
    this.stages.enqueueTables(this.#streams.compute);
    this.stages.enqueuePreprocess(this.#streams.compute);
  }

  /** Enqueue the model alone. */
  enqueueInference(): void {
    this.#inference.enqueue(this.#streams.compute);
  }

  /** Enqueue the copy of the tables, what the task does after the model, and the copy of the rows alone. */
  enqueuePostprocess(): void {
    const { compute } = this.#streams;
    this.stages.enqueueTables(compute);
    this.stages.enqueuePostprocess(compute);
    this.stages.enqueueCopyOut(compute);
  }

  /** Copy the input to the host; blocks. */
  readInput(): Tensor {
    return this.#inference.read(this.#inference.images);
  }

  /** Copy the outputs to the host; blocks. */
  readOutputs(): ReadonlyMap<string, Tensor> {
    const inference = this.#inference;
    return new Map([...inference.outputs].map(([name, buffer]) => [name, inference.read(buffer)]));
  }

  #enqueuePieces(on: OnStream): void {
    if (this.#streams.takesTurns) this.stages.enqueueTables(on);
    this.stages.enqueuePreprocess(on);
    this.#inference.enqueue(on);
    this.stages.enqueuePostprocess(on);
    if (!this.#copiesOutApart) this.stages.enqueueCopyOut(on);
  }

  protected release(): void {
    // Each is closed whatever happens to the others, the last one first.
    using owned = new DisposableStack();
    owned.use(this.#inference);
    owned.use(this.stages);
    owned.use(this.#graph);
  }
}

/** The work of one shape, and its graph once there is one, which it owns. */
export class CapturedGraph implements Disposable {
  readonly #label: string;
  readonly #pieces: (on: OnStream) => void;
  readonly #setup: OnStream;
  #graph: GraphExec | undefined;
  #isRefused = false;

  /**
   * @param label  for messages
   * @param pieces enqueues the work: the same kernels and addresses each time
   * @param setup  what a graph is captured from: no other work may come to it meanwhile
   */
  constructor(label: string, pieces: (on: OnStream) => void, setup: OnStream) {
    this.#label = label;
    this.#pieces = pieces;
    this.#setup = setup;
  }

  /** True once the work is replayed as a graph. */
  get isGraph(): boolean {
    return this.#graph !== undefined;
  }

  /** Enqueue the work. */
  enqueue(on: OnStream): void {
    if (this.#graph !== undefined) this.#graph.launch(on);
    else this.#pieces(on);
  }

  /**
   * Capture the work, once it has run, which lets TensorRT prepare; later calls do nothing. Where it cannot be captured, it
   * goes on being enqueued piece by piece, with a line in the log.
   */
  capture(): void {
    if (this.#graph !== undefined || this.#isRefused) return;
    try {
      using graph = Graph.capture(this.#label, () => this.#pieces(this.#setup), this.#setup);
      using owned = new DisposableStack();
      const executable = owned.use(graph.instantiate());
      executable.upload(this.#setup);
      this.#setup.stream.synchronize();
      owned.move();
      this.#graph = executable;
    } catch (error) {
      // CUDA's own, or TensorRT's where a layer does what no capture takes, such as waiting for the device.
      if (!(error instanceof NativeError)) throw error;
      this.#isRefused = true;
      logger.warn(`${this.#label} runs without a CUDA graph: ${error.message}`);
    }
  }

  /** Forget the graph, as addresses have changed. It may not be running. */
  reset(): void {
    const graph = this.#graph;
    this.#graph = undefined;
    graph?.close();
  }

  [Symbol.dispose](): void {
    this.reset();
  }
}

/** One context with bound inputs and outputs. Contexts that one stream orders share the memory of their activations. */
class GpuInference extends Owner implements DeviceTensors {
  readonly images: DeviceBuffer;
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

  /** @throws {ShapeError} If no profile of the engine allows the shape, or an output's shape depends on the data */
  static async create(model: LoadedModel, streams: SlotStreams, { batch, size }: RunShape): Promise<GpuInference> {
    using owned = new DisposableStack();
    const { device, engine } = model;
    const { input, sizeInputs } = model.task;
    const context = owned.use(await engine.createContext({ memory: "user-managed" }));
    device.makeCurrent();
    context.setDeviceMemory(streams.activations);
    const bind = (name: string, shape: Shape): DeviceBuffer => {
      const buffer = owned.use(engineBuffer(engine.tensor(name), shape, device));
      context.tensor(name).setAddress(buffer.pointer);
      return buffer;
    };

    const shape = inputShape(input, batch, size);
    context.tensor(input.name).setShape(shape);
    const images = bind(input.name, shape);
    for (const sizeInput of sizeInputs) {
      const tensor = sizeTensor(sizeInput, engine.tensor(sizeInput.name).shape, batch, size);
      context.tensor(sizeInput.name).setShape(tensor.shape);
      copyToDevice(bind(sizeInput.name, tensor.shape), tensor.data, streams.setup);
    }

    const outputs = new Map<string, DeviceBuffer>();
    for (const { name } of engine.outputs) {
      const outputShape = context.tensor(name).shape;
      if (isDynamic(outputShape)) throw outputError(name, outputShape);
      outputs.set(name, bind(name, outputShape));
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

  /** Copy a tensor to the host, once the frame has been waited for. Blocks. */
  read(buffer: DeviceBuffer): Tensor {
    return readTensor(buffer, this.#setup);
  }
}

/** Memory for a tensor of an engine under a shape, in the engine's format. */
export function engineBuffer({ dtype, format }: EngineTensor, shape: Shape, device: Device): DeviceBuffer {
  return DeviceBuffer.create(dtype, shape, { device }, vectorOf(format, shape));
}

/**
 * A tensor on the device, row-major whatever its format. Blocks.
 *
 * @param rows of its batch that are read, from the first on. Default: all
 */
export function readTensor(buffer: DeviceBuffer, stream: Stream, rows?: number): Tensor {
  const [batch = 1, ...row] = buffer.shape;
  const tensor = createTensor(buffer.dtype, rows === undefined ? buffer.shape : [rows, ...row]);
  if (buffer.vector === 1) {
    copyToHost(tensor.data, buffer, { stream, byteLength: tensor.data.byteLength });
    return tensor;
  }
  const packed = allocate(buffer.dtype, (buffer.length / batch) * (rows ?? batch));
  copyToHost(packed, buffer, { stream, byteLength: packed.byteLength });
  unpackVectors(tensor, packed, buffer.vector);
  return tensor;
}

/** The error of an output whose shape cannot be told before the engine has run. */
export function outputError(name: string, shape: Shape): ShapeError {
  const actual = formatShape(shape);
  const found = `the shape of ${JSON.stringify(name)} depends on the image, ${actual}`;
  const text = message("run the engine", found, 'export the model with a fixed number of rows, or use backend "cpu"');
  return new ShapeError(text, { tensor: name, expected: "a shape that follows from the input's", actual });
}
