import { expect, spyOn, test } from "bun:test";
import { ImageError, ModelError } from "../../src/core/errors.ts";
import { setLogSink } from "../../src/core/log.ts";
import { ImageDecoder } from "../../src/image/image-decoder.ts";
import { testBackend } from "../contract/backend-contract.ts";
import { DEFAULT_BACKEND_OPTIONS, loadCpu } from "../support/backends.ts";
import { flatImage } from "../support/flat-image.ts";
import { openDetector } from "../support/open-detector.ts";
import { toyDetector } from "../support/toy-detector.ts";

const options = { ...DEFAULT_BACKEND_OPTIONS, threads: 1 };

testBackend("CpuBackend", (model, changed) => loadCpu(model, { ...options, ...changed }));

const BOX = [32, 24, 32, 16];

function classNames(count: number): Record<string, string> {
  return { stride: "32", names: `{${Array.from({ length: count }, (_, id) => `${id}: 'c${id}'`).join(", ")}}` };
}

test("loadCpu() finds the shapes of outputs that declare none, and what they are: YOLOv5, YOLOv9, one class", async () => {
  const row = (count: number): number[] =>
    Array.from({ length: count }, (_, at) => (at === 1 || count === 1 ? 0.9 : 0.1));
  const yolov5 = openDetector({ row: [...BOX, 0.5, ...row(7)], perCell: 3, metadata: classNames(7) });
  const yolov9 = openDetector({ row: [...BOX, ...row(7)], isTransposed: true, metadata: classNames(7) });
  const declared = ["batch", "anchors", 6];
  const single = openDetector({ row: [...BOX, 0.5, 0.9], perCell: 3, metadata: classNames(1), declared });
  const found = async (model: Uint8Array, head?: string): Promise<[string, unknown]> => {
    const backend = await loadCpu(model, { ...options, head });
    const slot = backend.createSlot();
    try {
      const selection = { threshold: 0.3, iou: 0.5, maxDetections: 5, classAgnostic: false, classIds: undefined };
      // At another size than the shapes were found at.
      const [block] = await slot.run([flatImage(128, 128, 255)], [128, 128], selection);
      expect([...block!.boxes.subarray(0, 4)]).toEqual([16, 16, 48, 32]);
      return [backend.task.spec.reason, [block!.count, block!.classIds[0], block!.scores[0]!.toFixed(2)]];
    } finally {
      slot.close();
      backend.close();
    }
  };
  expect(await found(yolov5)).toEqual(["output0: f32 [?, 252, 12] at 64x64; 7 class names", [1, 1, "0.45"]]);
  expect(await found(yolov5, "yolo-objectness")).toEqual([expect.stringContaining("[?, 252, 12]"), [1, 1, "0.45"]]);
  expect(await found(yolov9)).toEqual(["output0: f32 [?, 11, 84] at 64x64; 7 class names", [1, 1, "0.90"]]);
  // One class of YOLOv5 is not trained: its objectness is the score.
  expect(await found(single)).toEqual(["output0: f32 [?, 252, 6] at 64x64; 1 class name", [1, 0, "0.50"]]);
  // Without names the rows tell as well.
  expect(await found(openDetector({ row: [...BOX, 0.5, ...row(80)], perCell: 3 }))).toEqual([
    expect.stringContaining("[?, 252, 85]"),
    [1, 1, "0.45"],
  ]);
});

test("loadCpu() says why shapes cannot be found, and ends the run that looks for them when it is told to", async () => {
  const lines: string[] = [];
  const former = setLogSink((level, text) => lines.push(`${level}: ${text}`));
  try {
    // The image's row has as many values as no other: it cannot be spread over 31 columns.
    const broken = openDetector({ row: [...BOX, 0.5, 0.9], columns: 31 });
    await expect(loadCpu(broken, options)).rejects.toThrow(ModelError);
  } finally {
    setLogSink(former);
  }
  expect(lines).toEqual([
    expect.stringMatching(
      /^warn: Cannot find the shapes of output0: f32 \[\?, \?, \?\] of the model from bytes by a run at 64x64: /,
    ),
  ]);
  const signal = AbortSignal.abort(new Error("no longer"));
  const build = { ...options.build, signal };
  await expect(loadCpu(openDetector({ row: BOX }), { ...options, build })).rejects.toThrow("no longer");
});

test("CpuBackend names ONNX Runtime and its threads", async () => {
  const backend = await loadCpu(toyDetector(), options);
  expect(backend.description).toMatch(/^ONNX Runtime \d+\.\d+\.\d+, CPU, 1 thread$/);
  backend.close();
});

test("loadCpu() leaves nothing open when the head is unknown", async () => {
  const load = loadCpu(toyDetector({ metadata: { task: "classify" } }), options);
  await expect(load).rejects.toThrow(ModelError);
});

test("CpuSlot keeps a few input shapes, however many images of other shapes come", async () => {
  const backend = await loadCpu(toyDetector({ side: "height" }), options);
  const slot = backend.createSlot();
  const selection = { threshold: 0.1, iou: 0.5, maxDetections: 5, classAgnostic: false, classIds: undefined };
  for (let step = 0; step < 12; step++) {
    const [block] = await slot.run([flatImage(64, 64, 255)], [32 * (1 + (step % 6)), 64], selection);
    expect(block!.count).toBe(3);
  }
  slot.close();
  backend.close();
});

test("CpuSlot leaves nothing open when memory does not suffice for its input", async () => {
  const backend = await loadCpu(toyDetector({ side: "height" }), options);
  const slot = backend.createSlot();
  expect(() => slot.preprocess([flatImage(8, 8, 255)], [2 ** 24, 2 ** 24])).toThrow("Cannot allocate memory");
  slot.close();
  backend.close();
});

test("CpuSlot.decode() waits for the images of its batch where the decoder of another cannot be made", async () => {
  const backend = await loadCpu(toyDetector(), options);
  const slot = backend.createSlot();
  const { create } = ImageDecoder;
  let made = 0;
  const spy = spyOn(ImageDecoder, "create").mockImplementation((decoderOptions) => {
    if (++made === 2) throw new Error("no memory for a decoder");
    return create.call(ImageDecoder, decoderOptions);
  });
  try {
    const files = ["first", "second"].map((name) => ({ name, bytes: new TextEncoder().encode(`no image: ${name}`) }));
    const outcomes = await slot.decode(files);
    expect(outcomes).toEqual([{ error: expect.any(ImageError) }, { error: new Error("no memory for a decoder") }]);
  } finally {
    spy.mockRestore();
    slot.close();
    backend.close();
  }
});
