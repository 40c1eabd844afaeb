/** @module Selection: which candidates become detections. */

/** Which rows are kept. */
export interface Selection {
  /** Rows with a lower score are left out, 0–1. */
  readonly threshold: number;
  /** Boxes that overlap a better one by more are left out, 0–1; not used where the model's rows are final. */
  readonly iou: number;
  /** At most this many rows a picture. */
  readonly maxDetections: number;
  /** True: boxes of different classes suppress each other as well. */
  readonly classAgnostic: boolean;
  /** Class ids to keep; `undefined` for all. */
  readonly classIds: ReadonlySet<number> | undefined;
}
