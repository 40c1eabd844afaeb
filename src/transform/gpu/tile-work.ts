/** @module TileWork: everything of one batch and size of tiles on the device, and the graph that replays it as one. */

import { Resource } from "../../core/resource.ts";
import type { DeviceMemory } from "../../cuda/buffer-view.ts";
import { copyOnDevice } from "../../cuda/copy.ts";
import { DeviceBuffer } from "../../cuda/device-buffer.ts";
import type { OnStream, Stream } from "../../cuda/stream.ts";
import type { Size } from "../../pipeline/backend.ts";
import { KernelLaunch } from "../../pipeline/gpu/kernel-launch.ts";
import { Replay } from "../../pipeline/gpu/replay.ts";
import { TILE_BYTES } from "./frame-table.ts";
import type { GpuImageModel } from "./gpu-image-model.ts";
import { TileInference } from "./tile-inference.ts";
import { pickLaunch, placeLaunch } from "./tile-launches.ts";

/** The work of a batch of tiles of one shape: pick, infer, place. Which tiles they are is a table on the device. */
export class TileWork extends Resource {
  readonly batch: number;
  readonly size: Size;
  readonly #options: OnStream;
  readonly #inference: TileInference;
  readonly #tiles: DeviceBuffer<"u8">;
  readonly #pick: KernelLaunch;
  readonly #place: KernelLaunch;
  /** Which part of all tiles comes next; the same object each time. */
  readonly #part: { stream: Stream; byteLength: number; sourceOffsetBytes: number };
  readonly #replay: Replay;

  private constructor(
    stream: Stream,
    shape: { readonly batch: number; readonly size: Size },
    parts: {
      readonly inference: TileInference;
      readonly tiles: DeviceBuffer<"u8">;
      readonly pick: KernelLaunch;
      readonly place: KernelLaunch;
    },
  ) {
    super(`TileWork ${shape.batch}x${shape.size.join("x")}`, stream);
    this.batch = shape.batch;
    this.size = shape.size;
    this.#options = { stream };
    this.#inference = parts.inference;
    this.#tiles = parts.tiles;
    this.#pick = parts.pick;
    this.#place = parts.place;
    this.#part = { stream, byteLength: shape.batch * TILE_BYTES, sourceOffsetBytes: 0 };
    this.#replay = new Replay(this.label, (on) => this.#enqueuePieces(on), this.#options);
  }

  /**
   * Make the context, the memory and the launches of a shape.
   *
   * @param shared.activations memory that contexts of a slot share
   * @param shared.frame       where the picture is told of, for as long as this lives
   * @throws {ShapeError} If the engine does not allow the shape, or makes another than was recognised
   */
  static async create(
    model: GpuImageModel,
    stream: Stream,
    shared: { readonly activations: DeviceMemory; readonly frame: DeviceMemory },
    shape: { readonly batch: number; readonly size: Size },
  ): Promise<TileWork> {
    using owned = new DisposableStack();
    const { engine, recognition, padding, kernels, levels, phases } = model;
    const inference = owned.use(await TileInference.create(engine, recognition, stream, shared.activations, shape));
    const bytes = shape.batch * TILE_BYTES;
    const tiles = owned.use(DeviceBuffer.create("u8", [bytes], { device: model.device }));
    const { input, output } = inference;
    const memory = { frame: shared.frame, tiles, levels, phases, input, output };
    const pick = new KernelLaunch(kernels, pickLaunch(recognition, padding, shape.size, memory));
    const place = new KernelLaunch(kernels, placeLaunch(recognition, shape.size, memory));
    const work = new TileWork(stream, shape, { inference, tiles, pick, place });
    owned.move();
    return work;
  }

  /**
   * Enqueue a batch: as one graph once it has been captured.
   *
   * @param tiles the tiles of the whole picture on the device
   * @param first which of them the batch begins with
   */
  enqueue(tiles: DeviceMemory, first: number): void {
    this.#part.sourceOffsetBytes = first * TILE_BYTES;
    copyOnDevice(this.#tiles, tiles, this.#part);
    this.#replay.enqueue(this.#options);
  }

  /** Capture the work as a graph, once it has run and the stream is idle; see {@linkcode Replay.capture}. */
  capture(): void {
    this.#replay.capture();
  }

  #enqueuePieces(on: OnStream): void {
    this.#pick.enqueue(on);
    this.#inference.enqueue(on);
    this.#place.enqueue(on);
  }

  protected release(): void {
    // Each is closed whatever happens to the others, the last one first.
    using owned = new DisposableStack();
    owned.use(this.#inference);
    owned.use(this.#tiles);
    owned.use(this.#replay);
  }
}
