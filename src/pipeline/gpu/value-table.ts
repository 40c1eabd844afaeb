/** @module ValueTable: what each level and the padding become in the input tensor, as the pre-processing kernel reads it. */

import { allocate } from "../../core/dtype.ts";
import { levelTable, lumaLine, paddingValues } from "../../image/preprocess-values.ts";
import type { Preprocessing } from "../../image/preprocessing.ts";

/** Elements of the table: 256 levels of three tensor channels, then the padding of each; or for luma a line, and the padding. */
export function valueTableLength({ colour }: Pick<Preprocessing, "colour">): number {
  return colour === "luma" ? 3 : 3 * 256 + 3;
}

/**
 * f32 [771]: values by tensor channel and level, then the padding by tensor channel; f16 and u8 values exactly. For luma f32 [3]:
 * slope and offset of `lumaLine`, then the padding.
 */
export function valueTable(preprocessing: Preprocessing): Float32Array<ArrayBuffer> {
  const table = allocate("f32", valueTableLength(preprocessing));
  const padding = paddingValues(preprocessing);
  if (preprocessing.colour === "luma") {
    const { slope, offset } = lumaLine(preprocessing);
    table.set([slope, offset]);
  } else {
    table.set(levelTable(preprocessing, [0, 1, 2]));
  }
  table.set(padding, table.length - padding.length);
  return table;
}
