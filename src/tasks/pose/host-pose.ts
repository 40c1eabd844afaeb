/** @module Host pose: boxes as a detector's, and the points of each object, around a model in host memory. */

import { decodeFacePoints } from "../../heads/face-grid.ts";
import type { DecodeInput, KeypointForm } from "../../heads/head.ts";
import type { ObjectSpec } from "../../heads/object-reading.ts";
import { decodePartPoints } from "../../heads/parts.ts";
import type { Region } from "../../image/geometry.ts";
import type { DetectionBlock } from "../../model/rows.ts";
import type { DetectTaskOptions } from "../detect/detect-task.ts";
import { HostDetect } from "../detect/host-detect.ts";
import type { PlausibilityGuard } from "../detect/plausibility.ts";
import { mapKeypoints } from "./keypoints.ts";

/** What one slot needs to find objects and their points. */
export class HostPose extends HostDetect {
  readonly #plan: ObjectSpec["plan"];
  readonly #form: KeypointForm;

  constructor(
    spec: ObjectSpec,
    guard: PlausibilityGuard,
    options: Partial<Pick<DetectTaskOptions, "heads" | "slices" | "batch">> = {},
  ) {
    const form = spec.keypoints!;
    super(spec, guard, options, [{ length: form.count * form.numbers }]);
    this.#plan = spec.plan;
    this.#form = form;
  }

  /** Points that are no columns of an output beside the box are worked out. */
  protected override gather(input: DecodeInput, block: DetectionBlock): void {
    const plan = this.#plan;
    const points = block.extras[0]!;
    if (plan.kind === "parts") decodePartPoints(plan, input, block, points);
    else if (plan.kind === "faces") decodeFacePoints(plan, input, block, points);
    else super.gather(input, block);
  }

  protected override mapRows(block: DetectionBlock, input: DecodeInput, region: Region): void {
    super.mapRows(block, input, region);
    mapKeypoints(block, this.#form, region);
  }
}
