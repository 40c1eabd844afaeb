import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { createTensor, type Tensor, tensorOf } from "../../src/core/tensor.ts";
import { Session } from "../../src/onnxruntime/session.ts";
import { chance } from "../support/chance.ts";
import { sharedFile } from "../support/shared.ts";
import { testLibrary } from "../support/tensorrt.ts";

setDefaultTimeout(120_000);

function noise(shape: readonly number[]): Tensor<"f32"> {
  const tensor = createTensor("f32", shape);
  const random = chance(7);
  for (let index = 0; index < tensor.data.length; index++) tensor.data[index] = random();
  return tensor;
}

/** Largest difference between two outputs. */
function distance(a: Tensor, b: Tensor): number {
  let largest = 0;
  for (let index = 0; index < a.data.length; index++) {
    largest = Math.max(largest, Math.abs(Number(a.data[index]) - Number(b.data[index])));
  }
  return largest;
}

const fixed = sharedFile("models", "yolov8n_640.onnx");
const dynamic = sharedFile("models", "yolov8n_640_dynamic.onnx");

test.skipIf(fixed === undefined || dynamic === undefined)(
  "yolov8n: the fixed and the dynamic export agree, and timers fire meanwhile",
  async () => {
    using one = await Session.load(fixed!);
    using other = await Session.load(dynamic!);
    expect(one.inputs).toEqual([{ name: "images", dtype: "f32", shape: [1, 3, 640, 640] }]);
    expect(one.outputs).toEqual([{ name: "output0", dtype: "f32", shape: [1, 84, 8400] }]);
    expect(other.inputs[0]!.shape).toEqual([-1, 3, -1, -1]);
    expect(one.model.metadata.task).toBe("detect");
    expect(one.model.metadata.names).toContain("person");
    const images = noise([1, 3, 640, 640]);
    let ticks = 0;
    const timer = setInterval(() => {
      ticks += 1;
    }, 2);
    const [a, b] = await Promise.all([one.run({ images }), other.run({ images })]);
    clearInterval(timer);
    expect(ticks).toBeGreaterThan(3);
    expect(a.get("output0")!.data.some((value) => Number(value) > 1)).toBe(true);
    expect(distance(a.get("output0")!, b.get("output0")!)).toBeLessThan(1e-2);
    const small = await other.run({ images: noise([2, 3, 32, 64]) });
    expect(small.get("output0")!.shape).toEqual([2, 84, 42]);
  },
  120_000,
);

const deim = sharedFile("models", "deimv2_hgnetv2_atto_coco.onnx");

test.skipIf(deim === undefined)("deimv2: two inputs of different dtypes, three outputs", async () => {
  using session = await Session.load(deim!);
  const outputs = await session.run({
    images: noise([1, 3, 320, 320]),
    orig_target_sizes: tensorOf("i64", [1, 2], BigInt64Array.of(640n, 480n)),
  });
  expect(new Set(outputs.keys())).toEqual(new Set(["labels", "boxes", "scores"]));
  expect(outputs.get("labels")!.dtype).toBe("i64");
  expect(outputs.get("boxes")!.shape).toEqual([1, outputs.get("scores")!.shape[1]!, 4]);
});

const microsoft = testLibrary("onnxruntime");

test.skipIf(fixed === undefined || microsoft === undefined)(
  "the ONNX Runtime that is installed by default computes what Microsoft's own build computes",
  async () => {
    const images = noise([1, 3, 640, 640]);
    using session = await Session.load(fixed!);
    const ours = (await session.run({ images })).get("output0")!;
    const program = `
      import { Session } from ${JSON.stringify(join(import.meta.dir, "../../src/onnxruntime/index.ts"))};
      import { openOnnxRuntime } from ${JSON.stringify(join(import.meta.dir, "../../src/ffi/onnxruntime.ts"))};
      import { tensorOf } from ${JSON.stringify(join(import.meta.dir, "../../src/core/tensor.ts"))};
      const images = tensorOf("f32", [1, 3, 640, 640], new Float32Array(await Bun.stdin.arrayBuffer()));
      using session = await Session.load(${JSON.stringify(fixed)});
      console.error(openOnnxRuntime().path);
      await Bun.write(Bun.stdout, (await session.run({ images })).get("output0").data);`;
    const child = Bun.spawnSync([process.execPath, "-e", program], {
      env: { ...process.env, BUN_TENSORRT_ONNXRUNTIME: microsoft! },
      stdin: new Uint8Array(images.data.buffer, images.data.byteOffset, images.data.byteLength),
    });
    expect(child.stderr.toString()).toContain(join(microsoft!, "libonnxruntime.so.1."));
    expect(child.exitCode).toBe(0);
    const theirs = tensorOf("f32", ours.shape, new Float32Array(new Uint8Array(child.stdout).buffer));
    // Boxes are in pixels of up to 640: other orders of the same sums.
    expect(distance(ours as Tensor, theirs)).toBeLessThan(1e-2);
  },
  120_000,
);
