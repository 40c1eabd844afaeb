import { expect, spyOn, test } from "bun:test";
import { ImageError, ModelError } from "../../src/core/errors.ts";
import { PictureDecoder } from "../../src/image/picture-decoder.ts";
import { DEFAULT_BACKEND_OPTIONS } from "../../src/pipeline/backend.ts";
import { CpuBackend } from "../../src/pipeline/cpu/cpu-backend.ts";
import { testBackend } from "../contract/backend-contract.ts";
import { flatPicture } from "../support/flat-picture.ts";
import { toyDetector } from "../support/toy-detector.ts";

const options = { ...DEFAULT_BACKEND_OPTIONS, threads: 1 };

testBackend("CpuBackend", (model, changed) => CpuBackend.load(model, { ...options, ...changed }));

test("CpuBackend names ONNX Runtime and its threads", async () => {
  const backend = await CpuBackend.load(toyDetector(), options);
  expect(backend.description).toMatch(/^ONNX Runtime \d+\.\d+\.\d+, CPU, 1 thread$/);
  backend.close();
});

test("CpuBackend.load() leaves nothing open when the layout is unknown", async () => {
  const load = CpuBackend.load(toyDetector({ metadata: { task: "classify" } }), options);
  await expect(load).rejects.toThrow(ModelError);
});

test("CpuSlot keeps a few input shapes, however many pictures of other shapes come", async () => {
  const backend = await CpuBackend.load(toyDetector({ side: "height" }), options);
  const slot = backend.createSlot();
  const selection = { threshold: 0.1, iou: 0.5, maxDetections: 5, classAgnostic: false, classIds: undefined };
  for (let step = 0; step < 12; step++) {
    const [block] = await slot.detect([flatPicture(64, 64, 255)], [32 * (1 + (step % 6)), 64], selection);
    expect(block!.count).toBe(3);
  }
  slot.close();
  backend.close();
});

test("CpuSlot leaves nothing open when memory does not suffice for its input", async () => {
  const backend = await CpuBackend.load(toyDetector({ side: "height" }), options);
  const slot = backend.createSlot();
  expect(() => slot.preprocess([flatPicture(8, 8, 255)], [2 ** 24, 2 ** 24])).toThrow("Cannot allocate memory");
  slot.close();
  backend.close();
});

test("CpuSlot.decode() waits for the pictures of its batch where the decoder of another cannot be made", async () => {
  const backend = await CpuBackend.load(toyDetector(), options);
  const slot = backend.createSlot();
  const { create } = PictureDecoder;
  let made = 0;
  const spy = spyOn(PictureDecoder, "create").mockImplementation((decoderOptions) => {
    if (++made === 2) throw new Error("no memory for a decoder");
    return create.call(PictureDecoder, decoderOptions);
  });
  try {
    const files = ["first", "second"].map((name) => ({ name, bytes: new TextEncoder().encode(`no picture: ${name}`) }));
    const outcomes = await slot.decode(files);
    expect(outcomes).toEqual([{ error: expect.any(ImageError) }, { error: new Error("no memory for a decoder") }]);
  } finally {
    spy.mockRestore();
    slot.close();
    backend.close();
  }
});
