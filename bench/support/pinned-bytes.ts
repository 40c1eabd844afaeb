/** @module PinnedBytes: how much page-locked memory the library holds, by the ledger of open resources. */

import { bytesPerElement, type DType } from "../../src/core/tensor.ts";

/** Sum the page-locked buffers among labels of resources. */
export function pinnedBytes(labels: readonly string[]): number {
  let sum = 0;
  for (const label of labels) {
    const found = /^PinnedBuffer (\w+) \[([\d, ]+)\]/.exec(label);
    if (found === null) continue;
    const elements = found[2]!.split(",").reduce((product, dim) => product * Number(dim), 1);
    sum += elements * bytesPerElement(found[1] as DType);
  }
  return sum;
}
