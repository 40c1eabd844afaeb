/**
 * @module Slots of TensorRT-RTX from 1.5 on: those of TensorRT 11 with the methods that RTX left out or added. Releases
 * before 1.5 have another layout under the same file name and are refused.
 *
 * @see test/tensorrt/abi/slot-table.test.ts compares every number with those read from its Python bindings
 */

import type { SlotTable } from "./slot-table.ts";
import { TENSORRT_11 } from "./tensorrt-11.ts";

/** Slots of TensorRT-RTX from 1.5 on, where they differ from TensorRT 11. @see {@linkcode SlotTable} */
export const TENSORRT_RTX: SlotTable = {
  layout: 11,
  // Engines are built for a named compute capability, on any machine.
  needsDevice: false,
  slots: {
    ...TENSORRT_11.slots,
    "BuilderConfig.setNbComputeCapabilities": 55,
    "BuilderConfig.setComputeCapability": 57,
    // The plugin methods before them are missing.
    "NetworkDefinition.setName": 28,
    "NetworkDefinition.getName": 29,
    "NetworkDefinition.getFlags": 59,
    // setLocation, getLocation and the broadcast methods before it are missing.
    "Tensor.isShapeTensor": 11,
  },
};
