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

function sameIds(a: ReadonlySet<number> | undefined, b: ReadonlySet<number> | undefined): boolean {
  if (a === b) return true;
  if (a === undefined || b === undefined || a.size !== b.size) return false;
  for (const id of a) if (!b.has(id)) return false;
  return true;
}

/** True if two selections keep the same rows. */
export function sameSelection(a: Selection, b: Selection): boolean {
  if (a === b) return true;
  return (
    a.threshold === b.threshold &&
    a.iou === b.iou &&
    a.maxDetections === b.maxDetections &&
    a.classAgnostic === b.classAgnostic &&
    sameIds(a.classIds, b.classIds)
  );
}
