/** @module GpuBinding: everything of one batch size and input size on the device, and the graph that replays it as one. */

import { CudaError } from "../../core/errors.ts";
import { logger } from "../../core/log.ts";
import { Resource } from "../../core/resource.ts";
import type { Tensor } from "../../core/tensor.ts";
import type { DeviceMemory } from "../../cuda/buffer-view.ts";
import { Graph, type GraphExec } from "../../cuda/graph.ts";
import type { OnStream, Stream } from "../../cuda/stream.ts";
import type { DetectionBlock } from "../../model/detection-block.ts";
import type { Size } from "../backend.ts";
import type { DecodeBatch } from "./decode-launches.ts";
import { GpuInference } from "./gpu-inference.ts";
import type { GpuModel } from "./gpu-model.ts";
import { GpuPostprocess } from "./gpu-postprocess.ts";
import { GpuTables } from "./gpu-tables.ts";
import { KernelLaunch } from "./kernel-launch.ts";
import { preprocessLaunch } from "./preprocess-launch.ts";

/**
 * The work of a batch of one shape. The pixels are uploaded before it; it copies the tables, pre-processes, infers,
 * decodes, selects, and copies the kept rows back.
 */
export class GpuBinding extends Resource {
  readonly batch: number;
  readonly size: Size;
  readonly tables: GpuTables;
  readonly #model: GpuModel;
  readonly #stream: Stream;
  readonly #options: OnStream;
  readonly #inference: GpuInference;
  readonly #preprocess: KernelLaunch;
  #postprocess: GpuPostprocess;
  #graph: GraphExec | undefined;
  /** `plain`: the first run, which lets TensorRT prepare; `refused`: it cannot be captured. */
  #mode: "plain" | "graph" | "refused" = "plain";

  private constructor(
    model: GpuModel,
    stream: Stream,
    parts: {
      readonly batch: number;
      readonly size: Size;
      readonly tables: GpuTables;
      readonly inference: GpuInference;
      readonly preprocess: KernelLaunch;
      readonly postprocess: GpuPostprocess;
    },
  ) {
    super(`GpuBinding ${parts.batch}x${parts.size.join("x")}`, stream);
    this.batch = parts.batch;
    this.size = parts.size;
    this.tables = parts.tables;
    this.#model = model;
    this.#stream = stream;
    this.#options = { stream };
    this.#inference = parts.inference;
    this.#preprocess = parts.preprocess;
    this.#postprocess = parts.postprocess;
  }

  /**
   * Make the context, the memory and the launches of a shape.
   *
   * @param activations memory that contexts of a slot share
   * @param shape.rows  most rows that are kept of a picture
   * @throws {ShapeError} If the engine does not allow the shape, or its outputs are not what the layout says
   */
  static async create(
    model: GpuModel,
    stream: Stream,
    activations: DeviceMemory,
    shape: { readonly batch: number; readonly size: Size; readonly rows: number },
  ): Promise<GpuBinding> {
    using owned = new DisposableStack();
    const { batch, size, rows } = shape;
    const inference = owned.use(await GpuInference.create(model, stream, activations, batch, size));
    const tables = owned.use(new GpuTables(stream, batch));
    const spec = preprocessLaunch(model.recognition.preprocessing, {
      output: inference.images,
      pictures: tables.devicePictures,
      table: model.values,
    });
    const preprocess = new KernelLaunch(model.kernels, spec);
    const postprocess = owned.use(new GpuPostprocess(model, stream, inference, tables, decodeBatch(batch, size), rows));
    const binding = new GpuBinding(model, stream, { batch, size, tables, inference, preprocess, postprocess });
    owned.move();
    return binding;
  }

  /** Make room for more rows a picture; the graph is captured anew then. The stream must be idle. */
  reserveRows(rows: number): void {
    if (rows <= this.#postprocess.rows) return;
    const { batch, size } = this;
    const larger = new GpuPostprocess(
      this.#model,
      this.#stream,
      this.#inference,
      this.tables,
      decodeBatch(batch, size),
      rows,
    );
    this.#graph?.close();
    this.#graph = undefined;
    if (this.#mode === "graph") this.#mode = "plain";
    this.#postprocess.close();
    this.#postprocess = larger;
  }

  /** Enqueue the whole work: as one graph from the second time on. */
  enqueue(): void {
    if (this.#graph !== undefined) this.#graph.launch(this.#options);
    else this.#enqueuePlain();
  }

  /**
   * Capture the work as a graph, once it has run and the stream is idle. Where it cannot be captured, it goes on being
   * enqueued piece by piece, with a line in the log.
   */
  capture(): void {
    if (this.#mode !== "plain") return;
    try {
      using graph = Graph.capture(this.label, () => this.#enqueuePlain(), this.#options);
      this.#graph = graph.instantiate();
      this.#graph.upload(this.#options);
      this.#mode = "graph";
    } catch (error) {
      if (!(error instanceof CudaError)) throw error;
      this.#mode = "refused";
      logger.warn(`${this.label} runs without a CUDA graph: ${error.message}`);
    }
  }

  /** True once the work is replayed as a graph. */
  get isGraph(): boolean {
    return this.#graph !== undefined;
  }

  /** Enqueue the copy of the tables and the pre-processing alone. */
  enqueuePreprocess(): void {
    this.tables.enqueueCopy();
    this.#preprocess.enqueue(this.#options);
  }

  /** Enqueue the model alone. */
  enqueueInference(): void {
    this.#inference.enqueue();
  }

  /** Enqueue the copy of the tables, decoding and selection alone. */
  enqueuePostprocess(): void {
    this.tables.enqueueCopy();
    this.#postprocess.enqueue();
  }

  /** Copy one picture's kept rows out, once the stream has passed. */
  read(index: number, block: DetectionBlock): void {
    this.#postprocess.read(index, block);
  }

  /** Copy the input to the host; blocks. */
  readInput(): Tensor {
    return this.#inference.readInput();
  }

  /** Copy the outputs to the host; blocks. */
  readOutputs(): ReadonlyMap<string, Tensor> {
    return this.#inference.readOutputs();
  }

  #enqueuePlain(): void {
    this.tables.enqueueCopy();
    this.#preprocess.enqueue(this.#options);
    this.#inference.enqueue();
    this.#postprocess.enqueue();
  }

  protected release(): void {
    this.#graph?.close();
    this.#postprocess.close();
    this.tables.close();
    this.#inference.close();
  }
}

function decodeBatch(batch: number, [inputWidth, inputHeight]: Size): DecodeBatch {
  return { batch, inputWidth, inputHeight };
}
