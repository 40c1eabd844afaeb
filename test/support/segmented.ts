/** @module Segmented: a segmentation task for tests, and what the CPU makes of outputs. */

import type { Tensor } from "../../src/core/tensor.ts";
import type { ObjectSpec } from "../../src/heads/object-reading.ts";
import type { Image } from "../../src/image/image.ts";
import type { DetectionBlock } from "../../src/model/rows.ts";
import type { Size } from "../../src/runtime/backend.ts";
import type { HostTensors, TaskModel } from "../../src/runtime/task.ts";
import { DEFAULT_DETECT_TASK_OPTIONS } from "../../src/tasks/detect/detect-task.ts";
import type { NmsOptions } from "../../src/tasks/detect/nms.ts";
import { ObjectTask } from "../../src/tasks/objects/object-task.ts";
import type { MaskedBlock, RowMasks } from "../../src/tasks/objects/objects.ts";
import type { MaskSize } from "../../src/tasks/segment/mask-plan.ts";

export type SegmentTask = TaskModel<ObjectSpec, NmsOptions, DetectionBlock>;

/** The task with masks of a size. */
export function segmentTask(maskSize: MaskSize, batch = 1): ObjectTask {
  return new ObjectTask("segment", { ...DEFAULT_DETECT_TASK_OPTIONS, batch, maskSize });
}

/** What the CPU makes of the outputs of a batch, image by image. @param rows of the outputs, which each run of as many regions has */
export async function segmentedOnCpu(
  task: Pick<SegmentTask, "host">,
  outputs: ReadonlyMap<string, Tensor>,
  images: readonly Image[],
  size: Size,
  selection: NmsOptions,
  rows: number = Number.POSITIVE_INFINITY,
): Promise<object[]> {
  const work = (await task.host()).createWork();
  const tensors: HostTensors = {
    outputs,
    fill() {},
    lend: () => {
      throw new Error("no input is asked for");
    },
  };
  const regions = work.begin(images, size);
  for (let at = 0; at < regions; at++) {
    work.fill(tensors, at, at % rows);
    work.finish(tensors, at, at % rows, selection);
  }
  return blocksOf(work.end(), images.length);
}

/** All of the masks of an image, to be compared. */
export function masksOf(masks: RowMasks): object[] {
  return Array.from({ length: masks.length }, (_, row) => {
    const { width, height, bounds, bits } = masks.at(row)!;
    const text = Buffer.from(bits.buffer, bits.byteOffset, bits.byteLength).toString("base64");
    return { size: [width, height], bounds, bits: text };
  });
}

/** All of the blocks of some images that their results are made of, to be compared. */
export function blocksOf(blocks: readonly DetectionBlock[], images: number): object[] {
  return blocks.slice(0, images).map((block) => ({
    boxes: [...block.boxes.subarray(0, block.count * 4)],
    scores: [...block.scores.subarray(0, block.count)],
    classIds: [...block.classIds.subarray(0, block.count)],
    masks: masksOf((block as MaskedBlock).masks),
  }));
}
