import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { openBackends } from "../../../src/accelerators/accelerator.ts";
import { Segmenter } from "../../../src/api/object-model.ts";
import { DEFAULT_MACHINE_OPTIONS } from "../../../src/runtime/backend.ts";
import { USUAL_SELECTION } from "../../../src/tasks/detect/nms.ts";
import { testSegmenter } from "../../contract/segment-contract.ts";
import { imagePath, largestDifference, matched } from "../../objects/reference.ts";
import { pulled } from "../../support/catalogue.ts";
import { useEngineCache } from "../../support/engine-cache.ts";
import { SLOW_TEST_MS } from "../../support/gpu.ts";
import { isTensorRtMissing } from "../../support/gpu-tensorrt.ts";
import { blocksOf, segmentedOnCpu, segmentTask } from "../../support/segmented.ts";
import { isMissing, sharedFile, sharedPath } from "../../support/shared.ts";

// The first use of a model builds its engine.
setDefaultTimeout(SLOW_TEST_MS);

const FILE = "yolo11n-seg_640_nms.onnx";
/** By their names; `undefined` for one that is not here. */
const FILES = {
  "yolo11n-seg": await pulled("yolo11n-seg"),
  [FILE]: sharedFile("models", "tasks", FILE),
};
const NAMES = ["bus.jpg", "street_1920x1080.jpg", "000000000139.jpg"] as const;

describe.skipIf(isTensorRtMissing)("masks on a GPU", () => {
  useEngineCache();

  testSegmenter("gpu");

  for (const [name, file] of Object.entries(FILES)) {
    for (const precision of ["fp32", "fp16"] as const) {
      test.skipIf(file === undefined)(
        `${name} in ${precision}: masks are to the bit what its outputs say`,
        async () => {
          const build = { ...DEFAULT_MACHINE_OPTIONS.build, precision };
          const options = { ...DEFAULT_MACHINE_OPTIONS, backend: "gpu", build };
          const [backend] = await openBackends(file!, segmentTask("image"), options, [0]);
          using owned = new DisposableStack();
          owned.defer(() => backend!.close());
          const slot = backend!.createSlot();
          owned.defer(() => slot.close());
          let masks = 0;
          for (const image of NAMES.filter(imagePath)) {
            const bytes = await Bun.file(imagePath(image)).bytes();
            const [outcome] = await slot.decodeToHost([{ bytes, name: image }]);
            if (outcome === undefined || "error" in outcome) throw new Error(`${image} is decoded elsewhere`);
            const images = [outcome.image];
            for (const threshold of [0.25, 0.01]) {
              const selection = { ...USUAL_SELECTION, threshold };
              const got = blocksOf(await slot.run(images, [640, 640], selection), 1);
              const outputs = await slot.readOutputs();
              const wanted = await segmentedOnCpu(backend!.task, outputs, images, [640, 640], selection);
              expect(got).toEqual(wanted);
              masks += (got[0] as { masks: object[] }).masks.length;
            }
          }
          expect(masks).toBeGreaterThan(30);
        },
      );
    }
  }

  test.skipIf(isMissing("models", "tasks", FILE))(`${FILE} finds what it finds on the CPU`, async () => {
    const path = sharedPath("models", "tasks", FILE);
    await using cpu = await Segmenter.load(path, { backend: "cpu" });
    await using gpu = await Segmenter.load(path, { backend: "gpu", precision: "fp32" });
    const ious: number[] = [];
    for (const name of NAMES.filter(imagePath)) {
      // Rows near the threshold may be on either side of it.
      const found = (await gpu.detect(imagePath(name), { threshold: 0.24 })).objects;
      const wanted = (await cpu.detect(imagePath(name))).objects;
      const distance = (a: (typeof found)[0], b: (typeof wanted)[0]): number => largestDifference(a.box, b.box);
      const { pairs, lost } = matched(found, wanted, distance, 2, (a, b) => -a.mask.iou(b.mask));
      expect([name, lost]).toEqual([name, 0]);
      for (const [on, off] of pairs) ious.push(on.mask.iou(off.mask));
    }
    expect(ious.length).toBeGreaterThan(10);
    expect(ious.reduce((sum, iou) => sum + iou, 0) / ious.length).toBeGreaterThan(0.99);
  });
});
