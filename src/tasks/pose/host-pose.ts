/** @module Host pose: boxes as a detector's, and the points of each object, around a model in host memory. */

import type { DecodeInput } from "../../heads/head.ts";
import type { KeypointForm, ObjectSpec } from "../../heads/object-reading.ts";
import type { Region } from "../../image/geometry.ts";
import type { DetectionBlock } from "../../model/rows.ts";
import { HostDetect } from "../detect/host-detect.ts";
import type { PlausibilityGuard } from "../detect/plausibility.ts";
import { mapKeypoints } from "./keypoints.ts";

/** What one slot needs to find objects and their points. */
export class HostPose extends HostDetect {
  readonly #form: KeypointForm;

  constructor(spec: ObjectSpec, guard: PlausibilityGuard) {
    super(spec, guard);
    this.#form = spec.keypoints!;
  }

  protected override mapRows(block: DetectionBlock, input: DecodeInput, region: Region): void {
    super.mapRows(block, input, region);
    mapKeypoints(block, this.#form, region);
  }
}
