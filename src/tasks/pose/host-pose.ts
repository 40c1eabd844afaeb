/** @module Host pose: boxes as a detector's, and the points of each object, around a model in host memory. */

import type { DecodeInput } from "../../heads/head.ts";
import type { KeypointForm, ObjectSpec } from "../../heads/object-reading.ts";
import { pointsToSource, type Region } from "../../image/geometry.ts";
import type { DetectionBlock } from "../../model/rows.ts";
import { HostDetect } from "../detect/host-detect.ts";
import type { PlausibilityGuard } from "../detect/plausibility.ts";

/** What one slot needs to find objects and their points. */
export class HostPose extends HostDetect {
  readonly #form: KeypointForm;
  #points = new Float32Array(0);

  constructor(spec: ObjectSpec, guard: PlausibilityGuard) {
    super(spec, guard);
    this.#form = spec.keypoints!;
  }

  /** Points beyond the edge of the image are moved onto it, as sides of boxes are. */
  protected override mapRows(block: DetectionBlock, input: DecodeInput, region: Region): void {
    super.mapRows(block, input, region);
    const { count, numbers } = this.#form;
    const keypoints = block.extras[0]!;
    const total = block.count * count;
    if (this.#points.length < total * 2) this.#points = new Float32Array(total * 2);
    const points = this.#points;
    for (let at = 0; at < total; at++) {
      points[at * 2] = keypoints[at * numbers]!;
      points[at * 2 + 1] = keypoints[at * numbers + 1]!;
    }
    pointsToSource(points, total, region, "clip");
    for (let at = 0; at < total; at++) {
      keypoints[at * numbers] = points[at * 2]!;
      keypoints[at * numbers + 1] = points[at * 2 + 1]!;
    }
  }
}
