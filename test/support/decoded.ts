/** @module Decoded: what the CPU makes of a batch of outputs; the reference of the post-processing kernels. */

import { decodeDense } from "../../src/heads/dense.ts";
import { decodeDistanceBins } from "../../src/heads/distance-maps.ts";
import { decodeFastestDet } from "../../src/heads/fastestdet.ts";
import type { DecodeInput } from "../../src/heads/head.ts";
import { gatherExtras } from "../../src/heads/outputs.ts";
import { decoderOf } from "../../src/heads/registry.ts";
import { decodeColumns, decodeParts, decodeQueries, decodeRows } from "../../src/heads/rows.ts";
import { decodeGrid } from "../../src/heads/yolox.ts";
import type { Region } from "../../src/image/geometry.ts";
import { Candidates, createDetectionBlock, type DetectionBlock } from "../../src/model/rows.ts";
import { boxesToSource } from "../../src/tasks/detect/host-detect.ts";
import { type NmsOptions, Selector } from "../../src/tasks/detect/nms.ts";
import type { DecodeCase } from "./decode-cases.ts";

function decode({ plan }: DecodeCase, input: DecodeInput, candidates: Candidates): void {
  switch (plan.kind) {
    case "dense":
      decodeDense(plan, input, candidates);
      break;
    case "rows":
      decodeRows(plan, input, candidates);
      break;
    case "columns":
      decodeColumns(plan, input, candidates);
      break;
    case "queries":
      decodeQueries(plan, input, candidates);
      break;
    case "grid":
      decodeGrid(plan, input, candidates);
      break;
    case "distance-bins":
      decodeDistanceBins(plan, input, candidates);
      break;
    case "fastestdet":
      decodeFastestDet(plan, input, candidates);
      break;
    case "parts":
      decodeParts(plan, input, candidates);
      break;
    case "distance-maps":
    case "anchor-maps":
    case "offset-maps":
      decoderOf({ head: "", plan })(plan, input, candidates);
      break;
  }
}

/** The block of one image, in source pixels. */
export function decodedOnCpu(
  example: DecodeCase,
  index: number,
  selection: NmsOptions,
  placement: Region,
): DetectionBlock {
  const { outputs, inputWidth, inputHeight, needsNms } = example;
  const candidates = new Candidates();
  const input = { outputs, index, inputWidth, inputHeight, threshold: selection.threshold, pushed: candidates };
  const block = createDetectionBlock(selection.maxDetections, example.extras);
  decode(example, input, candidates);
  new Selector().select(candidates, selection, { needsNms, head: example.name, plan: example.plan }, block);
  gatherExtras(example.extras ?? [], input, block);
  boxesToSource(block.boxes, block.count, placement);
  return block;
}

/** The first row in which two blocks differ, or `undefined`. */
export function differenceOf(got: DetectionBlock, want: DetectionBlock): string | undefined {
  if (got.count !== want.count || got.dropped !== want.dropped) {
    return `${got.count} rows and ${got.dropped} dropped instead of ${want.count} and ${want.dropped}`;
  }
  // A device may not look at boxes of classes that were not asked for: what tells of the head is that there are no others.
  const isOnly = ({ hasInsideOut, count, dropped }: DetectionBlock): boolean => hasInsideOut && count + dropped === 0;
  if (isOnly(got) !== isOnly(want)) return `only boxes inside out: ${isOnly(got)} instead of ${isOnly(want)}`;
  const print = (block: DetectionBlock, row: number): string =>
    `${block.scores[row]} ${block.classIds[row]} [${block.boxes.subarray(row * 4, row * 4 + 4).join(", ")}] from ${block.sources[row]} ${block.extras
      .map((extra) =>
        extra
          .subarray((row * extra.length) / block.scores.length, ((row + 1) * extra.length) / block.scores.length)
          .join(" "),
      )
      .join("; ")}`;
  for (let row = 0; row < want.count; row++) {
    if (print(got, row) !== print(want, row)) return `row ${row}: ${print(got, row)} instead of ${print(want, row)}`;
  }
  return undefined;
}
