/** @module GpuModel: what all slots of a GPU backend share. */

import type { DeviceMemory } from "../../cuda/buffer-view.ts";
import type { Device } from "../../cuda/device.ts";
import type { EventWaits } from "../../cuda/event-waits.ts";
import type { PictureDecodeOptions } from "../../image/picture-decoder.ts";
import type { Recognition } from "../../model/layout.ts";
import type { PlausibilityGuard } from "../../model/plausibility.ts";
import type { Engine } from "../../tensorrt/engine.ts";
import type { GpuJpeg } from "./gpu-jpeg.ts";
import type { GpuStreams } from "./gpu-streams.ts";
import type { GpuTrace } from "./gpu-trace.ts";
import type { KernelLibrary } from "./kernel-library.ts";

/** A model loaded on a GPU, before it is known how its slots share the device. */
export interface LoadedModel {
  readonly device: Device;
  readonly kernels: KernelLibrary;
  readonly engine: Engine;
  readonly recognition: Recognition;
  /** Looks at the kept rows of all slots. */
  readonly guard: PlausibilityGuard;
  /** On the device: what `valueTable` gave for the pre-processing. */
  readonly values: DeviceMemory;
  /** Rows of every batch where the engine fixes them. */
  readonly fixedBatch: number | undefined;
  /** Kernels read frames in mapped host memory. */
  readonly zeroCopy: boolean;
  readonly decodeOptions: PictureDecodeOptions;
  /** Decodes picture files on the device; `undefined` where the CPU does. */
  readonly jpeg: GpuJpeg | undefined;
  /** Whether frames are replayed as graphs. */
  readonly hasGraph: boolean;
  /** The waits of all slots. */
  readonly waits: EventWaits;
}

/** A model whose slots run. */
export interface GpuModel extends LoadedModel {
  /** How the slots share the device. */
  readonly streams: GpuStreams;
  /** Who is told of each batch, and the clock of its records. */
  readonly trace: GpuTrace | undefined;
}
