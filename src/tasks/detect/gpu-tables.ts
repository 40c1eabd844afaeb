/** @module GpuTables: what changes from frame to frame beside the pixels, packed on the host and copied as one. */

import { Resource } from "../../core/resource.ts";
import type { BufferView } from "../../cuda/buffer-view.ts";
import { copyToDevice } from "../../cuda/copy.ts";
import type { Device } from "../../cuda/device.ts";
import { DeviceBuffer } from "../../cuda/device-buffer.ts";
import { PinnedBuffer } from "../../cuda/pinned-buffer.ts";
import type { OnStream } from "../../cuda/stream.ts";
import { PICTURE_BYTES, PictureTable } from "../../pipeline/gpu/picture-table.ts";
import { SelectionTable } from "./selection-table.ts";

/** Tables of a batch: where each picture is and goes, and what is kept. */
export class GpuTables extends Resource {
  /** Write these before `enqueueCopy`; they must not change until the stream has passed. */
  readonly pictures: PictureTable;
  readonly selection: SelectionTable;
  /** The same on the device. */
  readonly devicePictures: BufferView<"u8">;
  readonly deviceSelection: BufferView<"u8">;
  readonly #host: PinnedBuffer<"u8">;
  readonly #device: DeviceBuffer<"u8">;
  readonly #owned = new DisposableStack();

  /** @param batch pictures */
  constructor(device: Device, batch: number) {
    super(`GpuTables of ${batch}`, device);
    const pictureBytes = batch * PICTURE_BYTES;
    const selectionBytes = SelectionTable.byteLength(batch);
    const shape = [pictureBytes + selectionBytes];
    try {
      this.#host = this.#owned.use(PinnedBuffer.create("u8", shape, device));
      this.#device = this.#owned.use(DeviceBuffer.create("u8", shape, { device }));
    } catch (error) {
      this.close();
      throw error;
    }
    this.#host.data.fill(0);
    this.pictures = new PictureTable(this.#host.buffer, 0, batch);
    this.selection = new SelectionTable(this.#host.buffer, pictureBytes, batch);
    this.devicePictures = this.#device.view([pictureBytes]);
    this.deviceSelection = this.#device.view([selectionBytes], pictureBytes);
  }

  /** Enqueue the copy to the device. */
  enqueueCopy(options: OnStream): void {
    copyToDevice(this.#device, this.#host, options);
  }

  protected release(): void {
    this.#owned.dispose();
  }
}
