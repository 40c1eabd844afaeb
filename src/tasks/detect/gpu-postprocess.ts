/** @module GpuPostprocess: decoding and selection of a batch on the device, with their memory, down to the kept rows on the host. */

import type { DType } from "../../core/dtype.ts";
import { Resource } from "../../core/resource.ts";
import { copyToHost, fill } from "../../cuda/copy.ts";
import { DeviceBuffer } from "../../cuda/device-buffer.ts";
import { PinnedBuffer } from "../../cuda/pinned-buffer.ts";
import type { OnStream } from "../../cuda/stream.ts";
import type { DetectionBlock } from "../../model/detection-block.ts";
import type { Recognition } from "../../model/layout.ts";
import type { DeviceTensors, LoadedModel } from "../../pipeline/gpu/gpu-model.ts";
import { KernelLaunch } from "../../pipeline/gpu/kernel-launch.ts";
import type { DecodeBatch } from "./decode-launches.ts";
import { DetectionReader } from "./detections.ts";
import type { GpuTables } from "./gpu-tables.ts";
import { postprocessLaunches, postprocessSizes } from "./postprocess-launches.ts";

/** From the outputs of a batch to its detections. */
export class GpuPostprocess extends Resource {
  /** Most rows it keeps of a picture. */
  readonly rows: number;
  readonly #layout: string;
  readonly #launches: readonly KernelLaunch[];
  readonly #device: DeviceBuffer<"i32">;
  readonly #host: PinnedBuffer<"i32">;
  readonly #reader: DetectionReader;
  readonly #owned: DisposableStack;

  /**
   * @param setup where its memory is prepared: to be synchronised before the first frame
   * @param rows  most rows that are kept of a picture
   * @throws {ShapeError} If an output has another shape or dtype than the layout's plan says
   */
  constructor(
    model: LoadedModel,
    recognition: Recognition,
    setup: OnStream,
    tensors: DeviceTensors,
    tables: GpuTables,
    batch: DecodeBatch,
    rows: number,
  ) {
    super(`GpuPostprocess of ${batch.batch}, ${rows} rows`, model.device);
    this.rows = rows;
    this.#layout = recognition.layout;
    this.#owned = new DisposableStack();
    try {
      const { device } = model;
      const sizes = postprocessSizes(recognition, tensors.outputs, batch, rows);
      const allocate = <T extends DType>(dtype: T, byteLength: number): DeviceBuffer<T> =>
        this.#owned.use(DeviceBuffer.create(dtype, [byteLength / 4], { device }));
      this.#device = allocate("i32", sizes.detections);
      const memory = {
        keys: allocate("i32", sizes.keys),
        boxes: allocate("i32", sizes.boxes),
        classes: allocate("i32", sizes.classes),
        counters: allocate("i32", sizes.counters),
        kept: allocate("i32", sizes.kept),
        detections: this.#device,
        table: tables.deviceSelection,
      };
      fill(memory.counters, 0, setup);
      fill(this.#device, 0, setup);
      this.#host = this.#owned.use(PinnedBuffer.create("i32", [sizes.detections / 4], device));
      this.#reader = new DetectionReader(this.#host.buffer, rows, batch.batch, recognition.extras);
      this.#launches = postprocessLaunches(recognition, tensors.outputs, batch, memory, rows).map(
        (spec) => new KernelLaunch(model.kernels, spec),
      );
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Enqueue decoding and selection. */
  enqueue(options: OnStream): void {
    for (const launch of this.#launches) launch.enqueue(options);
  }

  /** Enqueue the copy of the kept rows to the host. */
  enqueueCopy(options: OnStream): void {
    copyToHost(this.#host, this.#device, options);
  }

  /** Copy one picture's rows out, once the copy has run. @throws {ModelError} If they cannot be what the layout says */
  read(index: number, block: DetectionBlock): void {
    this.#reader.read(index, block, this.#layout);
  }

  protected release(): void {
    this.#owned.dispose();
  }
}
