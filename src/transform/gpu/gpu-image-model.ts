/** @module GpuImageModel: what all slots of an image model on a GPU share. */

import type { DeviceMemory } from "../../cuda/buffer-view.ts";
import type { Device } from "../../cuda/device.ts";
import type { KernelLibrary } from "../../pipeline/gpu/kernel-library.ts";
import type { Engine } from "../../tensorrt/engine.ts";
import type { ImageRecognition } from "../image-recognition.ts";
import type { Padding } from "../tile-grid.ts";

/** An image model loaded on a GPU. */
export interface GpuImageModel {
  readonly device: Device;
  readonly kernels: KernelLibrary;
  readonly engine: Engine;
  readonly recognition: ImageRecognition;
  readonly padding: Padding;
  /** Tiles of a run, at most; exactly, where the engine fixes it. */
  readonly batch: number;
  /** On the device: f32 [3, 256] of the input's levels, and i32 [scale, 5] of the enlargement. */
  readonly levels: DeviceMemory;
  readonly phases: DeviceMemory;
}
