/** @module Host obb: oriented boxes around a model in host memory, which overlap as rotated ones do. */

import type { DecodeInput } from "../../heads/head.ts";
import type { ObjectSpec } from "../../heads/object-reading.ts";
import { gatherRows } from "../../heads/outputs.ts";
import type { Region } from "../../image/geometry.ts";
import type { Candidates, DetectionBlock } from "../../model/rows.ts";
import type { DetectTaskOptions } from "../detect/detect-task.ts";
import { HostDetect } from "../detect/host-detect.ts";
import { appendRow, assertProbability, type NmsOptions } from "../detect/nms.ts";
import type { PlausibilityGuard } from "../detect/plausibility.ts";
import { orientedToSource, RotatedSelector, type RotatedSuppression } from "./rotated.ts";

/** Numbers of a box but for its angle. */
const SIDES = 4;

/** What one slot needs to find oriented boxes. */
export class HostObb extends HostDetect {
  readonly #spec: ObjectSpec;
  readonly #suppression: RotatedSuppression;
  readonly #selector = new RotatedSelector();
  #sides = new Float32Array(0);
  #angles = new Float32Array(0);
  /** f32 [capacity, 5]: cx, cy, w, h in pixels, angle in radians. */
  #boxes = new Float32Array(0);

  constructor(
    spec: ObjectSpec,
    guard: PlausibilityGuard,
    options: Partial<Pick<DetectTaskOptions, "rotatedNms" | "heads" | "slices" | "batch">> = {},
  ) {
    super(spec, guard, options);
    this.#spec = spec;
    this.#suppression = options.rotatedNms ?? "any";
  }

  protected override select(
    candidates: Candidates,
    selection: NmsOptions,
    input: DecodeInput,
    block: DetectionBlock,
  ): void {
    this.#gather(candidates, selection, input);
    if (!this.#spec.needsNms) {
      super.select(candidates, selection, input, block);
      return;
    }
    const { count, scores, classIds } = candidates;
    block.count = 0;
    block.dropped = candidates.dropped;
    const kept = this.#selector.select({ count, scores, classIds, boxes: this.#boxes }, selection, this.#suppression);
    block.hasOnlyInsideOut = candidates.hasInsideOut && kept + block.dropped === 0;
    for (let at = 0; at < kept; at++) appendRow(block, candidates, this.#selector.kept[at]!);
    if (kept > 0) assertProbability(block.scores[0]!, this.#spec.head);
  }

  /** Have the five numbers of every candidate. One of a class asked for whose angle is no number is left out, and counted. */
  #gather(candidates: Candidates, { classIds }: NmsOptions, input: DecodeInput): void {
    const [sidesAt, anglesAt] = this.#spec.extras;
    const { count } = candidates;
    if (this.#angles.length < count) {
      const capacity = candidates.scores.length;
      this.#sides = new Float32Array(capacity * SIDES);
      this.#angles = new Float32Array(capacity);
      this.#boxes = new Float32Array(capacity * (SIDES + 1));
    }
    gatherRows(sidesAt!, input, candidates, this.#sides);
    gatherRows(anglesAt!, input, candidates, this.#angles);
    for (let row = 0, to = 0; row < count; row++, to += SIDES + 1) {
      for (let side = 0; side < SIDES; side++) this.#boxes[to + side] = this.#sides[row * SIDES + side]!;
      this.#boxes[to + SIDES] = this.#angles[row]!;
      if (Number.isFinite(this.#angles[row]!)) continue;
      candidates.scores[row] = -1;
      if (classIds === undefined || classIds.has(candidates.classIds[row]!)) candidates.dropped += 1;
    }
  }

  protected override mapRows(block: DetectionBlock, _: DecodeInput, region: Region): void {
    orientedToSource(block, region);
  }
}
