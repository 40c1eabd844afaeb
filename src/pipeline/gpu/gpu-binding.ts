/** @module GpuBinding: everything of one batch size and input size on the device, and the graph that replays it as one. */

import { Resource } from "../../core/resource.ts";
import type { Tensor } from "../../core/tensor.ts";
import type { OnStream } from "../../cuda/stream.ts";
import type { DetectionBlock } from "../../model/detection-block.ts";
import type { Size } from "../backend.ts";
import type { DecodeBatch } from "./decode-launches.ts";
import { GpuInference } from "./gpu-inference.ts";
import type { GpuModel } from "./gpu-model.ts";
import { GpuPostprocess } from "./gpu-postprocess.ts";
import { GpuTables } from "./gpu-tables.ts";
import { KernelLaunch } from "./kernel-launch.ts";
import { preprocessLaunch } from "./preprocess-launch.ts";
import { Replay } from "./replay.ts";
import type { SlotStreams } from "./slot-streams.ts";

/** What a binding is made of; it owns them. */
interface Parts {
  readonly tables: GpuTables;
  readonly inference: GpuInference;
  readonly preprocess: KernelLaunch;
  readonly postprocess: GpuPostprocess;
}

/** The shape of a batch. */
export interface BatchShape {
  readonly batch: number;
  readonly size: Size;
  /** Most rows that are kept of a picture. */
  readonly rows: number;
  /** True: the kept rows are copied by `enqueueCopyOut`; false: `enqueue` does it. */
  readonly copiesOutApart: boolean;
}

/**
 * The work of a batch of one shape. The pixels are uploaded before it; it copies the tables, pre-processes, infers,
 * decodes, selects, and copies the kept rows back.
 */
export class GpuBinding extends Resource {
  readonly batch: number;
  readonly size: Size;
  readonly tables: GpuTables;
  readonly #model: GpuModel;
  readonly #streams: SlotStreams;
  readonly #copiesOutApart: boolean;
  readonly #inference: GpuInference;
  readonly #preprocess: KernelLaunch;
  #postprocess: GpuPostprocess;
  /** Captured from the setup stream, and launched on another: other slots may have work under way. */
  readonly #replay: Replay;

  private constructor(model: GpuModel, streams: SlotStreams, shape: BatchShape, parts: Parts) {
    super(`GpuBinding ${shape.batch}x${shape.size.join("x")}`, streams);
    this.batch = shape.batch;
    this.size = shape.size;
    this.tables = parts.tables;
    this.#model = model;
    this.#streams = streams;
    this.#copiesOutApart = shape.copiesOutApart;
    this.#inference = parts.inference;
    this.#preprocess = parts.preprocess;
    this.#postprocess = parts.postprocess;
    this.#replay = new Replay(this.label, (on) => this.#enqueuePieces(on), streams.setup);
  }

  /**
   * Make the context, the memory and the launches of a shape.
   *
   * @throws {ShapeError} If the engine does not allow the shape, or its outputs are not what the layout says
   */
  static async create(model: GpuModel, streams: SlotStreams, shape: BatchShape): Promise<GpuBinding> {
    using owned = new DisposableStack();
    const { batch, size, rows } = shape;
    const inference = owned.use(await GpuInference.create(model, streams, batch, size));
    const tables = owned.use(new GpuTables(model.device, batch));
    const spec = preprocessLaunch(model.recognition.preprocessing, {
      output: inference.images,
      pictures: tables.devicePictures,
      table: model.values,
    });
    const preprocess = new KernelLaunch(model.kernels, spec);
    const { setup } = streams;
    const postprocess = owned.use(new GpuPostprocess(model, setup, inference, tables, decodeBatch(batch, size), rows));
    setup.stream.synchronize();
    const binding = new GpuBinding(model, streams, shape, { tables, inference, preprocess, postprocess });
    owned.move();
    return binding;
  }

  /** Make room for more rows a picture; the graph is captured anew then. No frame of this binding may be running. */
  reserveRows(rows: number): void {
    if (rows <= this.#postprocess.rows) return;
    const { setup } = this.#streams;
    const batch = decodeBatch(this.batch, this.size);
    using owned = new DisposableStack();
    const larger = owned.use(new GpuPostprocess(this.#model, setup, this.#inference, this.tables, batch, rows));
    setup.stream.synchronize();
    owned.move();
    this.#replay.reset();
    this.#postprocess.close();
    this.#postprocess = larger;
  }

  /** Enqueue the whole work, but for a copy of the rows that is made apart: as one graph from the second time on. */
  enqueue(): void {
    this.#replay.enqueue(this.#streams.compute);
  }

  /** Enqueue the copy of the kept rows, where it is made apart. */
  enqueueCopyOut(): void {
    if (this.#copiesOutApart) this.#postprocess.enqueueCopy(this.#streams.copyOut);
  }

  /** Capture the work as a graph, once it has run; see {@linkcode Replay.capture}. */
  capture(): void {
    this.#replay.capture();
  }

  /** True once the work is replayed as a graph. */
  get isGraph(): boolean {
    return this.#replay.isGraph;
  }

  /** Enqueue the copy of the tables and the pre-processing alone. */
  enqueuePreprocess(): void {
    this.tables.enqueueCopy(this.#streams.compute);
    this.#preprocess.enqueue(this.#streams.compute);
  }

  /** Enqueue the model alone. */
  enqueueInference(): void {
    this.#inference.enqueue(this.#streams.compute);
  }

  /** Enqueue the copy of the tables, decoding, selection, and the copy of the kept rows alone. */
  enqueuePostprocess(): void {
    const { compute } = this.#streams;
    this.tables.enqueueCopy(compute);
    this.#postprocess.enqueue(compute);
    this.#postprocess.enqueueCopy(compute);
  }

  /** Copy one picture's kept rows out, once the frame has been waited for. */
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

  #enqueuePieces(on: OnStream): void {
    this.tables.enqueueCopy(on);
    this.#preprocess.enqueue(on);
    this.#inference.enqueue(on);
    this.#postprocess.enqueue(on);
    if (!this.#copiesOutApart) this.#postprocess.enqueueCopy(on);
  }

  protected release(): void {
    // Each is closed whatever happens to the others, the last one first.
    using owned = new DisposableStack();
    owned.use(this.#inference);
    owned.use(this.tables);
    owned.use(this.#postprocess);
    owned.use(this.#replay);
  }
}

function decodeBatch(batch: number, [inputWidth, inputHeight]: Size): DecodeBatch {
  return { batch, inputWidth, inputHeight };
}
