/** @module GpuModel: what all slots of a GPU backend share. */

import type { DeviceMemory } from "../../cuda/buffer-view.ts";
import type { Device } from "../../cuda/device.ts";
import type { PictureDecodeOptions } from "../../image/picture-decoder.ts";
import type { Recognition } from "../../model/layout.ts";
import type { Engine } from "../../tensorrt/engine.ts";
import type { KernelLibrary } from "./kernel-library.ts";

/** A model loaded on a GPU. */
export interface GpuModel {
  readonly device: Device;
  readonly kernels: KernelLibrary;
  readonly engine: Engine;
  readonly recognition: Recognition;
  /** On the device: what `valueTable` gave for the pre-processing. */
  readonly values: DeviceMemory;
  /** Rows of every batch where the engine fixes them. */
  readonly fixedBatch: number | undefined;
  /** Kernels read frames in mapped host memory. */
  readonly zeroCopy: boolean;
  readonly decodeOptions: PictureDecodeOptions;
}
