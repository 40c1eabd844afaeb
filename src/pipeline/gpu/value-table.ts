/** @module ValueTable: what each level and the padding become in the input tensor, as the pre-processing kernel reads it. */

import { allocate } from "../../core/dtype.ts";
import { levelTable, levelValue } from "../../image/preprocess-values.ts";
import type { Preprocessing } from "../../image/preprocessing.ts";

/** Elements of the table: 256 levels of three tensor channels, then the padding of each. */
export const VALUE_TABLE_LENGTH: number = 3 * 256 + 3;

/** f32 [771]: values by tensor channel and level, then the padding by tensor channel; f16 and u8 values exactly. */
export function valueTable(preprocessing: Preprocessing): Float32Array<ArrayBuffer> {
  const table = allocate("f32", VALUE_TABLE_LENGTH);
  table.set(levelTable(preprocessing, [0, 1, 2]));
  for (const channel of [0, 1, 2]) {
    table[3 * 256 + channel] = levelValue(preprocessing, channel, preprocessing.pad[channel]!);
  }
  return table;
}
