/** @module Cuda obb: oriented boxes around an engine: which candidates stay is decided on the device, by how rotated ones overlap. */

import type { ObjectSpec } from "../../heads/object-reading.ts";
import { extraValues } from "../detect/cuda-postprocess.ts";
import { MAX_CANDIDATES } from "../detect/nms.ts";
import type { CudaObjects } from "../objects/cuda-objects.ts";
import { orientedToSource } from "./rotated.ts";

/** Candidates of a block, a warp each. */
const WARPS = 8;
/** Most blocks of an image: each takes further candidates where there are more. */
const GROUPS = 256;

/** What a model of oriented boxes has beside a detector's. */
export function cudaObb({ extras, needsNms }: Pick<ObjectSpec, "extras" | "needsNms">): CudaObjects {
  // Both are channels of one output.
  const [sides, angles] = extras;
  return {
    mapRows: orientedToSource,
    choose: (outputs, lists, batch) => ({
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
    }),
  };
}
