import { expect, test } from "bun:test";
import { engineOptions } from "../../../src/accelerators/tensorrt/gpu-backend.ts";
import { type ImageModelConfig, parseImageModelOptions } from "../../../src/api/image-model-config.ts";
import { ImageTask } from "../../../src/tasks/image/image-task.ts";
import type { BuildOptions } from "../../../src/tensorrt/build-options.ts";
import { buildPlan } from "../../../src/tensorrt/build-plan.ts";
import { readPlan } from "../../../src/tensorrt/plan-file.ts";
import { blurModel } from "../../support/image-models.ts";
import { isMissing, sharedPath } from "../../support/shared.ts";
import { openFrom, RTX } from "../../support/tensorrt.ts";

const AMPERE = { computeCapabilities: ["8.6"] } as const;

/** How an engine is built for an image model. */
function imageEngineOptions(config: ImageModelConfig): BuildOptions {
  return engineOptions({ bytes: new Uint8Array(), source: "a model" }, new ImageTask(config), config.build);
}

test("engineOptions() covers every tile that a model of any size is given", () => {
  const options = imageEngineOptions(parseImageModelOptions({ tile: [640, 384], multiple: 24, batch: 6 }));
  expect(options).toEqual({
    batch: { min: 1, opt: 6, max: 6 },
    size: { min: [48, 48], opt: [640, 384], max: [640, 384] },
  });
  expect(imageEngineOptions(parseImageModelOptions({ precision: "fp32" })).precision).toBe("fp32");
});

test.skipIf(RTX === undefined)(
  "an engine is built for tiles of any size, as TensorRT-RTX has been fetched",
  async () => {
    const options = imageEngineOptions(parseImageModelOptions({ tile: 64, batch: 2 }));
    const library = openFrom(RTX!);
    const { bytes } = await buildPlan(blurModel(["n", 3, "h", "w"]), { ...options, ...AMPERE }, { library });
    expect(readPlan(bytes, "blur").origin?.computeCapabilities).toEqual([[8, 6]]);
  },
);

const MODELS = ["i2i_super_resolution_3x_y.onnx", "i2i_tbefn_lowlight_480x640.onnx"];
for (const name of MODELS) {
  test.skipIf(RTX === undefined || isMissing("models", name))(
    `an engine is built for ${name}, as TensorRT-RTX has been fetched and ../shared is there`,
    async () => {
      const options = imageEngineOptions(parseImageModelOptions({}));
      const model = await Bun.file(sharedPath("models", name)).bytes();
      const { bytes } = await buildPlan(model, { ...options, ...AMPERE }, { library: openFrom(RTX!) });
      expect(bytes.length).toBeGreaterThan(10_000);
    },
    120_000,
  );
}
