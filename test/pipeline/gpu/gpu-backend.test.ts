import { expect, test } from "bun:test";
import { assertReadableTensors, cudaPart } from "../../../src/accelerators/tensorrt/gpu-backend.ts";
import { ModelError, UnavailableError } from "../../../src/core/errors.ts";
import type { EngineTensor } from "../../../src/tensorrt/tensor-info.ts";

function tensor(name: string, odd: Partial<EngineTensor> = {}): EngineTensor {
  return {
    name,
    dtype: "f16",
    shape: [1, 84, 8400],
    mode: "output",
    isShapeInput: false,
    location: "device",
    isLinear: true,
    format: "linear",
    formatText: "Row major linear FP16 format (kLINEAR)",
    profiles: [],
    ...odd,
  };
}

test("assertReadableTensors() takes arrays in device memory, row-major or with their channels in vectors", () => {
  const shape = [1, 84, 80, 80];
  const map = tensor("map", { shape, isLinear: false, format: "hwc8" });
  assertReadableTensors({ source: "a.plan", tensors: [tensor("images"), tensor("output0"), map] });
});

test("assertReadableTensors() refuses formats that no vector tells and tensors on the host, by name", () => {
  const formatText = "Channel major FP16 format where channel % 16 == 0 (kCHW16)";
  const tensors = [
    tensor("images"),
    tensor("size", { location: "host" }),
    tensor("rows", { isLinear: false, format: "chw16", formatText }),
    tensor("planes", { shape: [1, 3, 8, 8], isLinear: false, format: "dla-linear", formatText: "DLA" }),
  ];
  const load = (): void => assertReadableTensors({ source: "a.plan", tensors });
  expect(load).toThrow(ModelError);
  expect(load).toThrow(
    `Cannot load "a.plan": its tensors must be arrays of a format known here in device memory, but "size" lies on the host; ` +
      `"rows" has the format "${formatText}"; "planes" has the format "DLA"`,
  );
});

test("cudaPart() gives a task's part for a GPU, and says how a task without one is run", async () => {
  const part = { load: () => {} };
  expect<unknown>(await cudaPart({ task: "detect", device: { cuda: async () => part } }, "load a detector")).toBe(part);
  const refused = cudaPart({ task: "count", device: {} }, "load a model");
  await expect(refused).rejects.toThrow(UnavailableError);
  await expect(refused).rejects.toThrow(
    'Cannot load a model: the task "count" does not run on a GPU\nHint: run it with backend "cpu"',
  );
});
