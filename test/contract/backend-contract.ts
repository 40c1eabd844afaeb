/** @module What every DetectBackend must do; each implementation runs these tests. */

import { expect, test } from "bun:test";
import { ClosedError } from "../../src/core/errors.ts";
import { setLogSink } from "../../src/core/log.ts";
import { type Image, imageOf } from "../../src/image/image.ts";
import { encodeImage } from "../../src/image/image-file.ts";
import type { DetectionBlock } from "../../src/model/rows.ts";
import type { NmsOptions } from "../../src/tasks/detect/nms.ts";
import type { BackendOptions, DetectBackend, DetectSlot } from "../support/backends.ts";
import { chance } from "../support/chance.ts";
import { flatImage } from "../support/flat-image.ts";
import { withOrientation } from "../support/images.ts";
import { nv12Pair } from "../support/nv12-images.ts";
import { openDetector } from "../support/open-detector.ts";
import { toyDetector } from "../support/toy-detector.ts";

const all: NmsOptions = { threshold: 0.1, iou: 0.5, maxDetections: 10, classAgnostic: false, classIds: undefined };
const size = [64, 64] as const;

const CAT_AND_DOG = { names: "{0: 'cat', 1: 'dog'}", stride: "32" };

interface Row {
  readonly classId: number;
  readonly score: number;
  readonly box: readonly number[];
}

function rowsOf(block: DetectionBlock): Row[] {
  return Array.from({ length: block.count }, (_, row) => ({
    classId: block.classIds[row]!,
    score: Number(block.scores[row]!.toFixed(4)),
    box: [...block.boxes.subarray(row * 4, row * 4 + 4)].map((value) => Number(value.toFixed(3))),
  }));
}

async function encodeJpeg(image: Image): Promise<Buffer> {
  return Buffer.from(await encodeImage(image, { format: "jpeg" }));
}

/**
 * Run the contract on one implementation.
 *
 * @param name for the names of the tests
 * @param open loads an ONNX model, given as bytes, with options in place of its own
 */
export function testBackend(
  name: string,
  open: (model: Uint8Array, changed?: Partial<BackendOptions>) => Promise<DetectBackend>,
): void {
  async function withSlot(
    work: (slot: DetectSlot, backend: DetectBackend) => Promise<void>,
    model = toyDetector(),
  ): Promise<void> {
    const backend = await open(model);
    try {
      const slot = backend.createSlot();
      try {
        await work(slot, backend);
      } finally {
        slot.close();
      }
    } finally {
      backend.close();
    }
  }

  test(`${name}: says what it is and which head it found`, () =>
    withSlot(async (_, backend) => {
      expect(backend.kind).toMatch(/^(cpu|gpu)$/);
      expect(backend.description).not.toBe("");
      expect(backend.task.spec.head).toBe("yolo");
      expect(backend.task.spec.labels).toEqual(["cat", "dog"]);
      expect(backend.model.inputs[0]?.name).toBe("images");
    }));

  test(`${name}: detect() gives the kept rows, best first, in source pixels`, () =>
    withSlot(async (slot) => {
      const [block] = await slot.run([flatImage(128, 128, 255)], size, all);
      expect(rowsOf(block!)).toEqual([
        { classId: 0, score: 0.9, box: [16, 16, 80, 80] },
        { classId: 1, score: 0.7, box: [16, 16, 80, 80] },
        { classId: 1, score: 0.6, box: [88, 40, 120, 104] },
      ]);
    }));

  test(`${name}: slices of an image are regions of one batch, in as few runs as it takes, and merge into one result`, async () => {
    const usual = { size, whole: false, merge: "greedy-nmm", metric: "ios", threshold: 0.5, edges: "keep" } as const;
    // Four slices, 16 pixels apart: each shows the same, of which neighbours share half.
    for (const batch of [1, 3, 4]) {
      const backend = await open(toyDetector(), { slices: { ...usual, overlap: 0.75 }, batch });
      try {
        expect(backend.task.mostImages).toBe(1);
        using owned = new DisposableStack();
        const slot = backend.createSlot();
        owned.defer(() => slot.close());
        const selection = { ...all, maxDetections: 20, classIds: new Set([0]) };
        for (let again = 0; again < 2; again++) {
          const [block, ...others] = await slot.run([flatImage(112, 64, 255)], size, selection);
          expect([batch, others.length, rowsOf(block!)]).toEqual([
            batch,
            0,
            [
              { classId: 0, score: 0.9, box: [8, 8, 56, 40] },
              { classId: 0, score: 0.9, box: [40, 8, 88, 40] },
            ],
          ]);
        }
        expect(slot.placements.map(({ x, width }) => [x, width])).toEqual([0, 16, 32, 48].map((x) => [x, 64]));
        // An image that is one slice is seen as it is without slices.
        const [block] = await slot.run([flatImage(64, 64, 255)], size, all);
        expect(rowsOf(block!).map(({ score }) => score)).toEqual([0.9, 0.7, 0.6]);
      } finally {
        backend.close();
      }
    }
  });

  test(`${name}: the selection decides what is kept`, () =>
    withSlot(async (slot) => {
      const picture = [flatImage(64, 64, 255)];
      const scores = async (selection: Partial<NmsOptions>): Promise<number[]> => {
        const [block] = await slot.run(picture, size, { ...all, ...selection });
        return rowsOf(block!).map((row) => row.score);
      };
      expect(await scores({ threshold: 0.65 })).toEqual([0.9, 0.7]);
      expect(await scores({ iou: 0.99 })).toEqual([0.9, 0.8, 0.7, 0.6]);
      expect(await scores({ classAgnostic: true })).toEqual([0.9, 0.6]);
      expect(await scores({ classIds: new Set([1]) })).toEqual([0.7, 0.6]);
      expect(await scores({ maxDetections: 1 })).toEqual([0.9]);
      expect(await scores({ threshold: 0.95 })).toEqual([]);
    }));

  test(`${name}: boxes are clipped to the image, and padding is taken off`, () =>
    withSlot(async (slot) => {
      // 100x50 lies in rows 16 to 48 of the input, at 0.64 pixels a pixel; the padding of 114 darkens the mean.
      const [block] = await slot.run([flatImage(100, 50, 255)], size, all);
      expect(slot.placements[0]).toMatchObject({ padX: 0, padY: 16, contentHeight: 32 });
      expect(rowsOf(block!)[0]?.box).toEqual([12.5, 0, 62.5, 37.5]);
      expect(rowsOf(block!)[0]?.score).toBeCloseTo(0.9 * (0.5 + (0.5 * 114) / 255), 3);
    }));

  test(`${name}: what the caller says of the pre-processing is done, and the boxes are mapped back by it`, async () => {
    const backend = await open(toyDetector(), {
      preprocessing: {
        fit: "letterbox-top-left",
        colour: "BGR",
        scale: 1,
        mean: [10, 20, 30],
        std: [2, 4, 5],
        pad: [1, 2, 3],
      },
    });
    try {
      const slot = backend.createSlot();
      try {
        // Red alone: of the blue-first channels the last one has it.
        const red = imageOf(
          Uint8Array.from({ length: 33 * 17 * 3 }, (_, at) => (at % 3 === 0 ? 250 : 0)),
          {
            width: 33,
            height: 17,
          },
        );
        await slot.preprocess([red], size);
        const { data, shape } = await slot.readInput();
        expect(shape).toEqual([1, 3, 64, 64]);
        const plane = (channel: number, x: number, y: number): number => Number(data[(channel * 64 + y) * 64 + x]);
        expect([0, 1, 2].map((channel) => plane(channel, 0, 0))).toEqual([-5, -5, 44]);
        expect([0, 1, 2].map((channel) => plane(channel, 63, 63)).map((value) => value.toFixed(4))).toEqual(
          [(1 - 10) / 2, (2 - 20) / 4, (3 - 30) / 5].map((value) => value.toFixed(4)),
        );
        expect(slot.placements[0]).toMatchObject({ padX: 0, padY: 0, contentWidth: 64, contentHeight: 32 });
      } finally {
        slot.close();
      }
      expect(backend.task.spec.assumptions).toEqual([]);
    } finally {
      backend.close();
    }
  });

  test(`${name}: rows that cannot be right are counted, and reported once`, async () => {
    const lines: string[] = [];
    const former = setLogSink((level, text) => level === "warn" && lines.push(text));
    try {
      // Boxes of 1,000 pixels and more in an input of 64: all of them lie beside the image.
      const far = openDetector({ row: [2000, 1500, 40, 20, 0.9, 0.2], isTransposed: true, metadata: CAT_AND_DOG });
      await withSlot(async (slot) => {
        for (const side of [64, 32]) {
          const [block] = await slot.run([flatImage(side, side, 255)], size, { ...all, iou: 1 });
          expect(block).toMatchObject({ count: 10, implausible: 10 });
        }
      }, far);
      await withSlot(async (slot) => {
        const [block] = await slot.run([flatImage(64, 64, 255)], size, all);
        expect(block).toMatchObject({ count: 3, implausible: 0 });
      });
    } finally {
      setLogSink(former);
    }
    expect(lines).toEqual([expect.stringMatching(/^Implausible detections of the model from bytes: all 10 boxes /)]);
  });

  test(`${name}: a batch mixes images of different sizes, formats and pitches`, () =>
    withSlot(async (slot) => {
      const blocks = await slot.run(
        [
          flatImage(64, 64, 255),
          flatImage(33, 33, 255, { format: "BGR", padding: 7 }),
          flatImage(1, 1, 255, { format: "RGBA" }),
          flatImage(640, 640, 51),
        ],
        size,
        all,
      );
      expect(blocks.slice(0, 4).map((block) => rowsOf(block).map((row) => row.score))).toEqual([
        [0.9, 0.7, 0.6],
        [0.9, 0.7, 0.6],
        [0.9, 0.7, 0.6],
        [0.18, 0.14, 0.12],
      ]);
      expect(rowsOf(blocks[2]!)[0]?.box).toEqual([0.125, 0.125, 0.625, 0.625]);
    }));

  test(`${name}: a slot is reused with other batch sizes, and nothing of the former batch remains`, () =>
    withSlot(async (slot) => {
      await slot.run([flatImage(64, 64, 255), flatImage(64, 64, 255)], size, all);
      for (const count of [1, 3, 1, 2]) {
        const dark = Array.from({ length: count }, () => flatImage(64, 32, 0));
        const blocks = await slot.run(dark, size, all);
        expect(slot.placements.length).toBe(count);
        for (const block of blocks.slice(0, count)) expect(block.count).toBe(3);
        expect(blocks[0]!.scores[0]).toBeCloseTo(0.9 * ((0.5 * 114) / 255), 3);
      }
    }));

  test(`${name}: padding is that of each image, whatever lay in its row before`, () =>
    withSlot(async (slot, backend) => {
      const random = chance(20261123);
      const sides = [1, 7, 32, 64, 96, 333];
      const side = (): number => sides[Math.floor(random() * sides.length)]!;
      for (let round = 0; round < 40; round++) {
        const level = Math.floor(random() * 256);
        // Steady streams as well: the same shape in the same row twice and more.
        const images = Array.from({ length: 1 + Math.floor(random() * 3) }, () => {
          return random() < 0.4 ? flatImage(64, 36, level) : flatImage(side(), side(), level);
        });
        // The toy's scores are the mean of its input, padding included.
        const found = (await slot.run(images, size, all)).slice(0, images.length).map(rowsOf);
        const fresh = backend.createSlot();
        const wanted = (await fresh.run(images, size, all)).map(rowsOf);
        fresh.close();
        expect(found).toEqual(wanted);
      }
    }));

  test(`${name}: what is written into the tensor that readInput() gave is gone with the next image`, () =>
    withSlot(async (slot) => {
      const wide = [flatImage(64, 32, 0)];
      await slot.preprocess(wide, size);
      const wanted = (await slot.readInput()).data.slice();
      for (let round = 0; round < 3; round++) {
        const input = await slot.readInput();
        await slot.preprocess(wide, size);
        (input.data as Float32Array).fill(7);
        await slot.preprocess(wide, size);
        expect((await slot.readInput()).data).toEqual(wanted as never);
      }
    }));

  test(`${name}: a model with a fixed batch takes fewer images`, () =>
    withSlot(
      async (slot, backend) => {
        expect(backend.maxBatch).toBe(3);
        const blocks = await slot.run([flatImage(64, 64, 255), flatImage(64, 64, 128)], size, all);
        expect(rowsOf(blocks[0]!)[0]?.score).toBe(0.9);
        expect(rowsOf(blocks[1]!)[0]?.score).toBeCloseTo((0.9 * 128) / 255, 3);
      },
      toyDetector({ batch: 3 }),
    ));

  test(`${name}: the stages one by one give what detect() gives, and the tensors between them can be read`, () =>
    withSlot(async (slot) => {
      const picture = [flatImage(64, 64, 255)];
      const [whole] = await slot.run(picture, size, all);
      const expected = rowsOf(whole!);
      await slot.preprocess(picture, size);
      const input = await slot.readInput();
      expect(input.shape).toEqual([1, 3, 64, 64]);
      expect(input.data[0]).toBe(1);
      await slot.infer();
      const output = (await slot.readOutputs()).get("output0");
      expect(output?.shape).toEqual([1, 6, 84]);
      expect(output?.data[0]).toBe(24);
      const [block] = await slot.postprocess(all);
      expect(rowsOf(block!)).toEqual(expected);
      const [again] = await slot.postprocess({ ...all, threshold: 0.65 });
      expect(rowsOf(again!)).toEqual(expected.slice(0, 2));
    }));

  test(`${name}: NV12 gives the input that the same image in RGB gives, planes apart and pitches odd`, () =>
    withSlot(async (slot) => {
      for (const [width, height] of [
        [1, 1],
        [33, 17],
        [101, 77],
        [192, 108],
      ] as const) {
        for (const form of [
          {},
          { gap: 5, chromaGap: 3, between: 7, yuvStandard: "BT.709", yuvRange: "full" },
        ] as const) {
          const { nv12, rgb } = nv12Pair(width, height, form);
          await slot.preprocess([rgb], size);
          const wanted = (await slot.readInput()).data.slice();
          await slot.preprocess([nv12], size);
          expect((await slot.readInput()).data).toEqual(wanted as never);
        }
      }
      const white = { nv12: new Uint8Array(96 * 64).fill(235), size: { width: 64, height: 64 } };
      white.nv12.fill(128, 64 * 64);
      const [block] = await slot.run([imageOf(white.nv12, { ...white.size, format: "NV12" })], size, all);
      expect(rowsOf(block!)[0]?.score).toBe(0.9);
    }));

  test(`${name}: timings cover the stages that ran`, () =>
    withSlot(async (slot) => {
      await slot.run([flatImage(64, 64, 255)], size, all);
      const { preprocess, infer, postprocess } = slot.timings;
      for (const value of [preprocess, infer, postprocess]) expect(value).toBeGreaterThan(0);
    }));

  test(`${name}: decode() gives one outcome a file, in order, and a file that is none fails alone`, () =>
    withSlot(async (slot) => {
      const jpeg = (width: number, orientation: number): Promise<Buffer> =>
        encodeJpeg(flatImage(width, 96, 255)).then((bytes) => withOrientation(bytes, orientation));
      const files = [
        await jpeg(128, 1),
        new Uint8Array([1, 2, 3]),
        (await jpeg(64, 1)).subarray(0, 300),
        await jpeg(33, 6),
      ];
      const outcomes = await slot.decode(files.map((bytes, index) => ({ bytes, name: `file ${index}` })));
      const found = outcomes.map((outcome) =>
        "error" in outcome ? (outcome.error as Error).name : [outcome.image.width, outcome.image.height],
      );
      expect(found).toEqual([[128, 96], "ImageError", "ImageError", [96, 33]]);
      const images = outcomes.flatMap((outcome) => ("error" in outcome ? [] : [outcome.image]));
      const blocks = await slot.run(images, size, all);
      for (const block of blocks.slice(0, 2)) expect(rowsOf(block)[0]?.classId).toBe(0);
      expect(slot.placements.map(({ sourceWidth, sourceHeight }) => [sourceWidth, sourceHeight])).toEqual([
        [128, 96],
        [96, 33],
      ]);
      const [host] = await slot.decodeToHost([{ bytes: files[0]!, name: "file 0" }]);
      if (host === undefined || "error" in host) throw new Error("It was decoded before");
      expect([...host.image.data.subarray(0, 3)]).toEqual([255, 255, 255]);
    }));

  test(`${name}: close() is refused while a slot is open, and final after it`, async () => {
    const backend = await open(toyDetector());
    const slot = backend.createSlot();
    expect(() => backend.close()).toThrow("still open (1)");
    slot.close();
    backend.close();
    backend.close();
    expect(() => backend.createSlot()).toThrow(ClosedError);
  });
}
