/** @module SourceBook: which rules hold for a source, with its classes looked up. */

import type { Detection } from "../detector/detection.ts";
import { type DetectConfig, type DetectOptions, selectionOf } from "../detector/detector-config.ts";
import type { SourceConfig, WorkerConfig } from "./worker-config.ts";

/** The rules of one source. */
export interface SourceRule {
  readonly policy: "all" | "latest";
  /** Lowest score that is kept. */
  readonly threshold: number;
  /** Ids of the classes to keep; `undefined`: all. */
  readonly classIds: ReadonlySet<number> | undefined;
  /** Pixels; `undefined`: boxes at the edge are kept. */
  readonly edgeMargin: number | undefined;
}

/**
 * The rules of all sources. The detector runs every frame with the same options, the lowest threshold of all, so that
 * frames of several sources fit into one batch; what a source does not want is left out afterwards, which changes
 * nothing else: a box never suppresses one with a higher score, and classes are suppressed apart.
 */
export class SourceBook {
  /** Options of every call of the detector; `undefined`: those it was loaded with. */
  readonly detectOptions: DetectOptions | undefined;
  /** True if the policy of any source is `latest`. */
  readonly hasLatest: boolean;
  readonly #default: SourceRule;
  readonly #rules: ReadonlyMap<string, SourceRule>;

  /**
   * @param detect what the detector was loaded with
   * @param labels the model's
   * @throws {OptionError} If a class is none of the model's
   */
  constructor(config: WorkerConfig, detect: DetectConfig, labels: readonly string[]) {
    const ruleOf = ({ policy, threshold, classes, edgeMargin }: SourceConfig): SourceRule => ({
      policy,
      threshold: threshold ?? detect.threshold,
      classIds: classes === undefined ? undefined : selectionOf({ ...detect, classes }, labels).classIds,
      edgeMargin,
    });
    this.#default = ruleOf(config.rules);
    this.#rules = new Map([...config.sources].map(([id, rules]) => [id, ruleOf(rules)]));
    const all = [this.#default, ...this.#rules.values()];
    const threshold = Math.min(...all.map((rule) => rule.threshold));
    this.detectOptions = threshold === detect.threshold ? undefined : { threshold };
    this.hasLatest = all.some(({ policy }) => policy === "latest");
  }

  /** The rules of a source. */
  of(sourceId: string): SourceRule {
    return this.#rules.get(sourceId) ?? this.#default;
  }
}

/** What is left of a frame's detections under the rules of its source. @param width of the frame, pixels */
export function applyRule(
  detections: readonly Detection[],
  { threshold, classIds, edgeMargin }: SourceRule,
  [width, height]: readonly [width: number, height: number],
): readonly Detection[] {
  return detections.filter(({ score, classId, box: [x1, y1, x2, y2] }) => {
    if (score < threshold || classIds?.has(classId) === false) return false;
    if (edgeMargin === undefined) return true;
    return x1 > edgeMargin && y1 > edgeMargin && x2 < width - edgeMargin && y2 < height - edgeMargin;
  });
}
