/** @module Cuda obb: oriented boxes around an engine: which candidates stay is decided on the device, by how rotated ones overlap. */

import type { DeviceOutputs, LaunchSpec } from "../../accelerators/tensorrt/kernels.ts";
import type { ObjectSpec } from "../../heads/object-reading.ts";
import { extraValues } from "../detect/cuda-postprocess.ts";
import { MAX_CANDIDATES } from "../detect/nms.ts";
import type { CandidateLists, CudaObjects } from "../objects/cuda-objects.ts";
import { orientedToSource } from "./rotated.ts";

/** Candidates of a block, a warp each. */
const WARPS = 8;
/** Most blocks of an image: each takes further candidates where there are more. */
const GROUPS = 256;

/** What a model of oriented boxes has beside a detector's. */
export function cudaObb(spec: Pick<ObjectSpec, "extras" | "needsNms">): CudaObjects {
  return { choose: (outputs, lists, batch) => chooseLaunch(spec, outputs, lists, batch), mapRows: orientedToSource };
}

function chooseLaunch(
  { extras, needsNms }: Pick<ObjectSpec, "extras" | "needsNms">,
  outputs: DeviceOutputs,
  lists: CandidateLists,
  batch: number,
): LaunchSpec {
  // Both are channels of one output.
  const [sides, angles] = extras;
  return {
    module: "rotated",
    kernel: "choose_rotated",
    config: { grid: [Math.min(Math.ceil(lists.capacity / WARPS), GROUPS), batch, 1], block: [32, WARPS, 1] },
    values: {
      ...extraValues(sides!, outputs, batch),
      ...lists,
      sides: sides!.first,
      angle: angles!.first,
      needs_nms: needsNms ? 1 : 0,
      max_candidates: MAX_CANDIDATES,
    },
  };
}
