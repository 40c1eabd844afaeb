import { expect, setDefaultTimeout, test } from "bun:test";
import { ModelError } from "../../src/core/errors.ts";
import { Builder } from "../../src/tensorrt/builder.ts";
import { type Network, OnnxParser } from "../../src/tensorrt/network.ts";
import { onnxModel } from "../support/onnx-writer.ts";
import { isMissing, sharedPath } from "../support/shared.ts";
import { BUILD_TEST_MS, openFrom, RTX, tinyModel } from "../support/tensorrt.ts";

setDefaultTimeout(BUILD_TEST_MS);

const isAbsent = RTX === undefined;

async function withNetwork<T>(run: (network: Network) => Promise<T>): Promise<T> {
  using builder = await Builder.create({ library: openFrom(RTX!) });
  using network = builder.createNetwork();
  return await run(network);
}

async function refusal(model: Uint8Array, source: string): Promise<ModelError> {
  return await withNetwork(async (network) => {
    return (await OnnxParser.parse(network, model, { source }).catch((error: unknown) => error)) as ModelError;
  });
}

test.skipIf(isAbsent)("OnnxParser.parse() fills a network, as TensorRT-RTX has been fetched", async () => {
  await withNetwork(async (network) => {
    using _parser = await OnnxParser.parse(network, tinyModel());
    expect(network.inputs()).toEqual([{ name: "images", dtype: "f32", shape: [1, 3, 33, 47], isShapeTensor: false }]);
    expect(network.outputs()).toEqual([
      { name: "features", dtype: "f32", shape: [1, 4, 33, 47], isShapeTensor: false },
    ]);
    expect(network.layerCount).toBeGreaterThan(1);
    expect(network.layer(0)).toMatchObject({ inputCount: expect.any(Number), outputCount: 1 });
    expect(network.isQuantized()).toBe(false);
    network.name = "büro";
    expect(network.name).toBe("büro");
    // Bit 0: strongly typed.
    expect(network.flags).toBe(1);
  });
});

test.skipIf(isAbsent)(
  "OnnxParser.parse() tells symbolic dimensions and finds Q/DQ nodes, as TensorRT-RTX has been fetched",
  async () => {
    const scale = { name: "scale", dtype: "f32", shape: [], data: Float32Array.of(0.1) } as const;
    const zero = { name: "zero", dtype: "i8", shape: [], data: Int8Array.of(0) } as const;
    const model = onnxModel({
      nodes: [
        { op: "QuantizeLinear", inputs: ["x", "scale", "zero"], outputs: ["q"] },
        { op: "DequantizeLinear", inputs: ["q", "scale", "zero"], outputs: ["y"] },
      ],
      inputs: [{ name: "x", dtype: "f32", shape: ["batch", 1, 1, 5] }],
      outputs: [{ name: "y", dtype: "f32", shape: ["batch", 1, 1, 5] }],
      initializers: [scale, zero],
    });
    await withNetwork(async (network) => {
      using _parser = await OnnxParser.parse(network, model);
      expect(network.inputs()[0]?.shape).toEqual([-1, 1, 1, 5]);
      expect(network.isQuantized()).toBe(true);
    });
  },
);

test.skipIf(isAbsent)(
  "OnnxParser.parse() names the node and the operator it lacks, as TensorRT-RTX has been fetched",
  async () => {
    const model = onnxModel({
      nodes: [{ op: "FrobnicatePixels", domain: "my.company", inputs: ["x"], outputs: ["y"] }],
      inputs: [{ name: "x", dtype: "f32", shape: [1, 3, 5, 7] }],
      outputs: [{ name: "y", dtype: "f32", shape: [1, 3, 5, 7] }],
    });
    const error = await refusal(model, '"odd.onnx"');
    expect(error).toBeInstanceOf(ModelError);
    expect(error.message).toStartWith('Cannot parse "odd.onnx": the ONNX parser of TensorRT-RTX 1.7.1 refused it:\n');
    expect(error.message).toContain('node "FrobnicatePixels_0" (FrobnicatePixels)');
    expect(error.message).toContain("Hint: NVIDIA's plugins need `plugins: true`");
  },
);

test.skipIf(isAbsent)(
  "OnnxParser.parse() says what helps: another operator, or the files that hold the weights, as TensorRT-RTX has been fetched",
  async () => {
    const io = {
      inputs: [{ name: "x", dtype: "f32", shape: [1, 4] }],
      outputs: [{ name: "y", dtype: "f32", shape: [1, 4] }],
    } as const;
    const asymmetric = onnxModel({
      ...io,
      nodes: [
        { op: "QuantizeLinear", inputs: ["x", "scale", "zero"], outputs: ["q"] },
        { op: "DequantizeLinear", inputs: ["q", "scale", "zero"], outputs: ["y"] },
      ],
      initializers: [
        { name: "scale", dtype: "f32", shape: [], data: Float32Array.of(0.1) },
        { name: "zero", dtype: "u8", shape: [], data: Uint8Array.of(128) },
      ],
    });
    expect((await refusal(asymmetric, "a")).message).toContain("Hint: export the model without that operator");
    const data = { location: "no where.bin", offset: 0, length: 16 };
    const outside = onnxModel({
      ...io,
      nodes: [{ op: "Add", inputs: ["x", "w"], outputs: ["y"] }],
      initializers: [{ name: "w", dtype: "f32", shape: [1, 4], data }],
    });
    expect((await refusal(outside, "a")).message).toEndWith(
      "Hint: load it by its path: it has weights in files beside it, no where.bin",
    );
    await withNetwork(async (network) => {
      const failed = OnnxParser.parse(network, outside, { path: "/nowhere/a.onnx" });
      expect(((await failed.catch((error: unknown) => error)) as Error).message).toEndWith(
        "Hint: its weights must lie whole beside it: no where.bin",
      );
    });
  },
);

test.skipIf(isAbsent)("OnnxParser.parse() refuses what is no model, as TensorRT-RTX has been fetched", async () => {
  expect((await refusal(new Uint8Array(), "nothing")).message).toBe("Cannot parse nothing: it is empty");
  const noise = Uint8Array.from({ length: 999 }, (_, index) => (index * 37) % 251);
  expect((await refusal(noise, "noise")).message).toContain("Hint: check that the file is a complete ONNX model");
  const whole = tinyModel();
  expect(await refusal(whole.subarray(0, whole.length - 40), "half")).toBeInstanceOf(ModelError);
});

test.skipIf(isAbsent)(
  "OnnxParser.parse() succeeds on a new network after a failure, as TensorRT-RTX has been fetched",
  async () => {
    expect(await refusal(new Uint8Array(7), "zeros")).toBeInstanceOf(ModelError);
    await withNetwork(async (network) => {
      using parser = await OnnxParser.parse(network, tinyModel());
      expect(parser.closed).toBe(false);
      expect(() => network.close()).toThrow("Cannot close Network: resources made from it are still open (1)");
    });
  },
);

const YOLO = "models/yolov8n_640_dynamic.onnx";
test.skipIf(isAbsent || isMissing(YOLO))(
  "OnnxParser.parse() reads yolov8n, as it and TensorRT-RTX are there",
  async () => {
    await withNetwork(async (network) => {
      using _parser = await OnnxParser.parse(network, await Bun.file(sharedPath(YOLO)).bytes(), {
        path: sharedPath(YOLO),
      });
      expect(network.inputs()[0]?.name).toBe("images");
      expect(network.outputs()[0]?.shape[1]).toBe(84);
      expect(network.layerCount).toBeGreaterThan(200);
    });
  },
);
