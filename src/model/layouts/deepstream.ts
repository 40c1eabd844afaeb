/** @module Layout `deepstream`: [N, anchors, 6] before NMS, as DeepStream-Yolo's exporters write. */

import { YOLO_PREPROCESSING } from "../../image/preprocessing.ts";
import { decodeRows } from "../decode/rows.ts";
import { isDeepStream, readDense } from "../dense-reading.ts";
import type { Layout, Recognition } from "../layout.ts";
import type { ModelTraits } from "../model-traits.ts";
import type { RowsPlan } from "../plan.ts";
import { recognition } from "../recognition.ts";

/** Rows x1, y1, x2, y2 in input pixels, score, class: the best class of every anchor. */
export const deepstream: Layout<RowsPlan> = {
  name: "deepstream",
  summary:
    'one output "output" [N, anchors, 6] of an input "input": x1, y1, x2, y2, score, class before NMS (DeepStream-Yolo)',
  recognise(traits: ModelTraits): Recognition<RowsPlan> | undefined {
    const reading = readDense(traits);
    if (reading === undefined || reading.channelAxis !== 2 || reading.channels !== 6) return undefined;
    if (!traits.forced && (reading.rowKind === "other" || !isDeepStream(reading, traits))) return undefined;
    return recognition(deepstream, traits, {
      outputs: [reading.output],
      preprocessing: YOLO_PREPROCESSING,
      classes: undefined,
      needsNms: true,
      plan: {
        kind: "rows",
        output: reading.output.name,
        columns: 6,
        boxColumn: 0,
        scoreColumn: 4,
        classColumn: 5,
        batchColumn: undefined,
        counts: undefined,
      },
    });
  },
  decode: decodeRows,
};
