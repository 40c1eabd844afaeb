/** @module What every backend must do with a segmentation model; each runs these tests. */

import { expect, test } from "bun:test";
import { openBackends } from "../../src/accelerators/accelerator.ts";
import { Segmenter } from "../../src/api/object-model.ts";
import { DEFAULT_MACHINE_OPTIONS } from "../../src/runtime/backend.ts";
import type { NmsOptions } from "../../src/tasks/detect/nms.ts";
import { chance } from "../support/chance.ts";
import { type FixedModelOptions, finalRows, fixedModel, rawGrid } from "../support/fixed-model.ts";
import { flatImage } from "../support/flat-image.ts";
import { blocksOf, segmentedOnCpu, segmentTask } from "../support/segmented.ts";

const METADATA = { task: "segment", names: "{0: 'cat', 1: 'dog'}", stride: "32", imgsz: "[32, 32]" };
const SIZE = [32, 32] as const;
const ALL: NmsOptions = { threshold: 0.1, iou: 1, maxDetections: 20, classAgnostic: false, classIds: undefined };

/** A mask without a pixel, and some whose pixels are left to chance. */
function toySegmenter(isFinal: boolean, options: FixedModelOptions = {}): Uint8Array<ArrayBuffer> {
  const random = chance(5);
  const numbers = (count: number, value: () => number): number[] => Array.from({ length: count }, value);
  const signed = (): number => random() * 2 - 1;
  const coefficients = numbers(4, () => 0).map((_, row) => (row === 2 ? numbers(32, () => 0) : numbers(32, signed)));
  const boxes = [
    [2, 3, 29, 27],
    [10, 0, 17, 32],
    [4, 4, 9, 9],
    [0, 20, 32, 25],
  ] as const;
  const scores = [0.9, 0.8, 0.7, 0.6];
  const prototypes = { name: "output1", shape: [1, 32, 8, 8], values: numbers(32 * 64, signed) };
  if (isFinal) {
    const rows = boxes.map((box, row) => [...box, scores[row]!, row % 2, ...coefficients[row]!]);
    return fixedModel([finalRows(38, rows), prototypes], { metadata: { ...METADATA, end2end: "True" }, ...options });
  }
  const rows = boxes.map(([x1, y1, x2, y2], row) => {
    const box = [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1];
    const classes = row % 2 === 0 ? [scores[row]!, 0] : [0, scores[row]!];
    return [row + 3, [...box, ...classes, ...coefficients[row]!]] as const;
  });
  return fixedModel([rawGrid(38, rows), prototypes], { metadata: METADATA, ...options });
}

const MODELS: Readonly<Record<string, Uint8Array>> = {
  "before NMS": toySegmenter(false),
  "end to end": toySegmenter(true),
  "in f16": toySegmenter(false, { dtype: "f16" }),
};

/**
 * Run the contract on one kind of machine.
 *
 * @param backend its name; engines are built in the precision of the model
 */
export function testSegmenter(backend: "cpu" | "gpu"): void {
  test(`${backend}: objects are sent to another thread, written as JSON and spread with their masks, read late or early`, async () => {
    await using segmenter = await Segmenter.load(MODELS["before NMS"]!, { backend, inFlight: 1, precision: "fp32" });
    const [early, late] = [await segmenter.detect(flatImage(64, 32, 9)), await segmenter.detect(flatImage(64, 32, 9))];
    await segmenter.detect(flatImage(33, 51, 9));
    expect(late.objects.length).toBeGreaterThan(1);
    for (const [row, object] of late.objects.entries()) {
      const { mask } = { ...object };
      expect(Object.keys(object)).toEqual(["label", "classId", "score", "box", "mask"]);
      expect(structuredClone(object).mask.bits).toEqual(mask.bits);
      expect(JSON.parse(JSON.stringify(object)).mask).toEqual(mask.toJSON());
      expect(object.mask).toBe(mask);
      expect(early.objects[row]!.mask.bits).toEqual(mask.bits);
    }
  });

  for (const [name, model] of Object.entries(MODELS)) {
    for (const maskSize of ["image", "input", "proto"] as const) {
      test(`${backend}: masks of a model ${name}, of the size of the ${maskSize}, are to the bit what its outputs say`, async () => {
        const precision = name === "in f16" ? "fp16" : "fp32";
        const options = {
          ...DEFAULT_MACHINE_OPTIONS,
          backend,
          build: { ...DEFAULT_MACHINE_OPTIONS.build, precision },
        } as const;
        const [opened] = await openBackends(model, segmentTask(maskSize), options, [0]);
        using owned = new DisposableStack();
        owned.defer(() => opened!.close());
        const slot = opened!.createSlot();
        owned.defer(() => slot.close());
        let masks = 0;
        for (const image of [flatImage(64, 32, 9), flatImage(64, 32, 9), flatImage(33, 51, 9), flatImage(1, 1, 9)]) {
          for (const selection of [ALL, { ...ALL, maxDetections: 1 }]) {
            const got = blocksOf(await slot.run([image], SIZE, selection), 1);
            const outputs = await slot.readOutputs();
            expect(got).toEqual(await segmentedOnCpu(opened!.task, outputs, [image], SIZE, selection));
            masks += (got[0] as { masks: object[] }).masks.length;
          }
        }
        expect(masks).toBeGreaterThan(10);
      });
    }
  }

  test(`${backend}: masks of a stream lie under their boxes and in order, however large the images`, async () => {
    await using segmenter = await Segmenter.load(MODELS["before NMS"]!, {
      ...{ backend, precision: "fp32", inFlight: 2, threshold: 0.1, iou: 1 },
    });
    const sides = [64, 1500, 40, 2000, 1500, 64];
    const images = sides.map((side) => flatImage(side, side, 9));
    const streamed = await Array.fromAsync(segmenter.stream(images));
    expect(streamed.map(({ width }) => width)).toEqual(sides);
    for (const { width, objects } of streamed) {
      expect(objects.map(({ score }) => Number(score.toFixed(2)))).toEqual([0.9, 0.8, 0.6]);
      for (const { box, mask } of objects) {
        const { x, y } = mask.bounds;
        expect([mask.width, mask.height]).toEqual([width, width]);
        expect([x, y, x + mask.bounds.width, y + mask.bounds.height]).toEqual(box.map(Math.ceil));
        expect(mask.isEmpty).toBe(false);
      }
    }
    // The rerun of a batch is told; a machine that never has one tells nothing.
    const { reruns } = segmenter.backend;
    if (backend === "gpu") expect(reruns).toBeGreaterThan(0);
    else expect(reruns).toBeUndefined();
    const again = await Array.fromAsync(segmenter.stream(images));
    expect(again.map(({ objects }) => objects.map(({ mask }) => mask.area))).toEqual(
      streamed.map(({ objects }) => objects.map(({ mask }) => mask.area)),
    );
  });
}
