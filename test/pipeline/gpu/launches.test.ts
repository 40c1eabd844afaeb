import { expect, test } from "bun:test";
import {
  type DeviceOutputs,
  deviceOutput,
  type LaunchSpec,
  writeArguments,
} from "../../../src/accelerators/tensorrt/kernels.ts";
import { preprocessLaunch } from "../../../src/accelerators/tensorrt/preprocess.ts";
import { ShapeError } from "../../../src/core/errors.ts";
import { allocate } from "../../../src/core/tensor.ts";
import type { DevicePtr } from "../../../src/core/units.ts";
import type { TypedDeviceMemory } from "../../../src/cuda/buffers.ts";
import { KernelArguments, kernelParameters } from "../../../src/cuda/kernel.ts";
import { RESIZES, YOLO_PREPROCESSING } from "../../../src/image/preprocessing.ts";
import { cudaObb, postprocessLaunches, postprocessSizes } from "../../../src/tasks/detect/cuda-postprocess.ts";
import { type DecodeCase, decodeCases } from "../../support/decode-cases.ts";
import { mapCases, orientedMapCases } from "../../support/map-cases.ts";
import { orientedCase } from "../../support/oriented-cases.ts";

const SOMEWHERE = 0x7f00_0000_0000 as DevicePtr;
const ROWS = 300;

const oriented = orientedCase({ boxes: 21, classes: 2, places: 2 });

function memory(byteLength: number): { pointer: DevicePtr; byteLength: number } {
  return { pointer: SOMEWHERE, byteLength };
}

function onDevice({ outputs, vectors }: DecodeCase): DeviceOutputs {
  return new Map(
    [...outputs].map(([name, { dtype, shape, data }]): [string, TypedDeviceMemory] => [
      name,
      { dtype, shape, length: data.length, vector: vectors?.get(name) ?? 1, ...memory(data.byteLength) },
    ]),
  );
}

/** Writes the arguments as a launch would. @throws if a value is missing, or has no parameter */
function bind({ module, kernel, config, values }: LaunchSpec): void {
  writeArguments(new KernelArguments(kernelParameters(module, kernel)), values);
  expect(config.block[0] * config.block[1] * config.block[2]).toBeLessThanOrEqual(1024);
  expect(Math.min(...config.grid)).toBeGreaterThan(0);
}

test("postprocessLaunches() gives every parameter of every kernel a value, for every plan", () => {
  const cases: DecodeCase[] = [...decodeCases(), ...mapCases(64), ...orientedMapCases(), oriented];
  for (const example of cases) {
    const outputs = onDevice(example);
    const sizes = postprocessSizes(example, outputs, example, ROWS);
    expect(sizes.keys).toBe(example.batch * sizes.capacity * 8);
    const { keys, boxes, classes, counters, kept, detections, host } = sizes;
    const buffers = {
      keys: memory(keys),
      boxes: memory(boxes),
      classes: memory(classes),
      counters: memory(counters),
      kept: memory(kept),
      detections: memory(detections),
      host: memory(host),
      table: memory(2048),
      chosen: memory(sizes.chosen),
      oriented: memory(sizes.oriented),
      tables: memory(sizes.tables),
    };
    const isOriented = example === oriented || sizes.oriented > 0;
    const { choose } = isOriented ? cudaObb(example as typeof oriented) : {};
    const launches = postprocessLaunches(example, outputs, example, buffers, ROWS, choose);
    expect(launches.filter(({ kernel }) => kernel === "choose_rotated")).toHaveLength(isOriented ? 1 : 0);
    const gathered = launches.filter(({ kernel }) => kernel === "gather_rows" || kernel === "gather_maps");
    expect(gathered.length).toBe(example.extras?.length ?? 0);
    expect(launches.at(-1 - gathered.length)!.kernel).toBe("select_detections");
    for (const launch of launches) bind(launch);
  }
});

test("postprocessLaunches() refuses outputs that are not the plan's, and names them", () => {
  const example = decodeCases()[0]!;
  const wrong: DeviceOutputs = new Map([
    ["output0", { dtype: "f32", shape: [2, 9, 700], length: 12_600, ...memory(50_400) }],
  ]);
  const call = (outputs: DeviceOutputs) => (): unknown => postprocessSizes(example, outputs, example, ROWS);
  expect(call(wrong)).toThrow(ShapeError);
  expect(call(wrong)).toThrow('Cannot decode output "output0": it must be f32 or f16 [2, 24, ?], got f32 [2, 9, 700]');
  expect(call(new Map())).toThrow("got no such output");
  const vectors: DeviceOutputs = new Map([
    ["maps", { dtype: "f16", shape: [1, 144, 80, 80], vector: 144, length: 921_600, ...memory(1_843_200) }],
  ]);
  expect(deviceOutput(vectors, "maps", ["f16"], [1, -1, -1, -1], "any").vector).toBe(144);
  expect(() => deviceOutput(vectors, "maps", ["f16"], [1, -1, -1, -1])).toThrow(
    'Cannot read the output "maps": it must be row-major, got channels in vectors of 144\nHint: build the plan anew',
  );
});

test("preprocessLaunch() fits its kernel, and refuses another tensor", () => {
  const table = memory(771 * 4);
  const output = (dtype: "f32" | "f16", shape: number[]): TypedDeviceMemory => ({
    dtype,
    shape,
    length: allocate("u8", 1).length,
    ...memory(1),
  });
  for (const resize of RESIZES) {
    for (const dtype of ["f32", "f16"] as const) {
      for (const layout of ["NCHW", "NHWC"] as const) {
        const luma = { ...YOLO_PREPROCESSING, dtype, layout, colour: "luma" } as const;
        const shapeOfLuma = layout === "NCHW" ? [2, 1, 40, 70] : [2, 40, 70, 1];
        const oneChannel = { output: output(dtype, shapeOfLuma), images: memory(320), table: memory(16) };
        const one = preprocessLaunch({ ...luma, resize }, oneChannel);
        expect(one.kernel).toBe(resize === "bilinear" ? `preprocess_${dtype}_luma` : `preprocess_channels_${dtype}`);
        bind(one);
        const shapeOfFour = layout === "NCHW" ? [2, 4, 40, 70] : [2, 40, 70, 4];
        const four = { output: output(dtype, shapeOfFour), images: memory(320), table: memory(1036 * 4) };
        bind(preprocessLaunch({ ...luma, resize, colour: "BGRA" }, four));
        const shape = layout === "NCHW" ? [2, 3, 40, 70] : [2, 40, 70, 3];
        const preprocessing = { ...YOLO_PREPROCESSING, resize, dtype, layout };
        const spec = preprocessLaunch(preprocessing, { output: output(dtype, shape), images: memory(320), table });
        expect(spec.kernel.includes("antialias")).toBe(resize === "antialias");
        expect(spec.config.grid).toEqual([3, 3, 2]);
        bind(spec);
      }
    }
  }
  const input = { output: { ...output("f16", [2, 3, 40, 70]), vector: 8 }, images: memory(320), table };
  expect(preprocessLaunch({ ...YOLO_PREPROCESSING, dtype: "f16" }, input).values.vector).toBe(8);
  const rows = { output: { ...output("f16", [2, 40, 70, 3]), vector: 8 }, images: memory(320), table };
  expect(() => preprocessLaunch({ ...YOLO_PREPROCESSING, dtype: "f16", layout: "NHWC" }, rows)).toThrow(
    "Cannot pre-process images: the input must be row-major, got rows in vectors of 8",
  );
  const wrong = { output: output("f16", [2, 3, 40, 70]), images: memory(320), table };
  expect(() => preprocessLaunch(YOLO_PREPROCESSING, wrong)).toThrow(
    "Cannot pre-process images: the input must be f32 [?, 3, ?, ?], got f16 [2, 3, 40, 70]",
  );
  const small = { output: output("f32", [2, 3, 40, 70]), images: memory(160), table };
  expect(() => preprocessLaunch(YOLO_PREPROCESSING, small)).toThrow("the image table must be at least 320 bytes");
});
