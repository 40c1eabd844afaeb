import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gpuUnavailable } from "../../src/accelerators/tensorrt/gpu-backend.ts";
import { Detector } from "../../src/api/detector.ts";
import type { DetectorOptions } from "../../src/api/detector-config.ts";
import { ClosedError, ImageError, ModelError, OptionError, UnavailableError } from "../../src/core/errors.ts";
import { setLogSink } from "../../src/core/log.ts";
import type { Image } from "../../src/image/image.ts";
import { encodeImage } from "../../src/image/image-file.ts";
import { flatImage } from "../support/flat-image.ts";
import { identityModel } from "../support/onnx-models.ts";
import { toyDetector } from "../support/toy-detector.ts";

const white = flatImage(64, 64, 255);
const notAImage = new TextEncoder().encode("this is no image at all");

test("Detector.detect() names the classes and gives boxes in source pixels", async () => {
  await using detector = await Detector.load(toyDetector());
  const { detections, width, height, dropped, timing } = await detector.detect(flatImage(128, 128, 255));
  expect(detections.map(({ label, classId }) => [label, classId])).toEqual([
    ["cat", 0],
    ["dog", 1],
    ["dog", 1],
  ]);
  expect(detections[0]?.score).toBeCloseTo(0.9, 5);
  expect(detections[0]?.box).toEqual([16, 16, 80, 80]);
  expect([width, height, dropped]).toEqual([128, 128, 0]);
  expect(timing.total).toBeGreaterThanOrEqual(timing.preprocess + timing.infer + timing.postprocess);
});

test("Detector.labels cannot be changed: what is sorted for a menu would rename what every later image shows", async () => {
  await using detector = await Detector.load(toyDetector(), { backend: "cpu" });
  const labels = [...detector.labels];
  expect(() => (detector.labels as string[]).reverse()).toThrow(TypeError);
  expect(detector.labels).toEqual(labels);
  const own = ["c", "b"];
  await using named = await Detector.load(toyDetector(), { backend: "cpu", labels: own });
  own.sort();
  expect(named.labels).toEqual(["c", "b"]);
});

test("Detector.detect() takes pixels without a format and a pitch for tight RGB, as imageOf() does", async () => {
  await using detector = await Detector.load(toyDetector(), { backend: "cpu" });
  const { data, width, height } = white;
  const { detections } = await detector.detect({ data, width, height } as Image);
  expect(detections).toEqual((await detector.detect(white)).detections);
  expect(detections.length).toBe(3);
});

test("Detector.detect() decodes the bytes of a file", async () => {
  await using detector = await Detector.load(toyDetector());
  const png = await encodeImage(flatImage(32, 32, 255), { format: "png" });
  const { detections, width, timing } = await detector.detect(png);
  expect(detections.length).toBe(3);
  expect(width).toBe(32);
  expect(timing.decode).toBeGreaterThan(0);
});

test("Detector.detect() takes what a server gets and a client fetches, and can still draw on it", async () => {
  await using detector = await Detector.load(toyDetector());
  const png = await encodeImage(flatImage(32, 32, 255), { format: "png" });
  const url = `data:image/png;base64,${png.toBase64()}`;
  const body = new Blob([png]).stream();
  const request = new Request("http://localhost/", { method: "POST", body: png });
  for (const source of [url, new Response(png), request, body, new File([png], "a.png")]) {
    const result = await detector.detect(source);
    expect(result.detections.length).toBe(3);
    expect((await result.draw()).width).toBe(32);
  }
  await expect(detector.detect(request)).rejects.toThrow("Cannot decode a Request: its body has been read already");
});

test("Detector.detect() gives up a body that never ends when its signal is aborted, and its slot is free again", async () => {
  await using detector = await Detector.load(toyDetector());
  let cancelled: unknown;
  const endless = new ReadableStream<Uint8Array>({
    pull: () => new Promise(() => {}),
    cancel(reason) {
      cancelled = reason;
    },
  });
  const abort = new AbortController();
  const waiting = detector.detect(endless, { signal: abort.signal }).catch((error: unknown) => error);
  await Bun.sleep(5);
  abort.abort();
  expect(await waiting).toBe(abort.signal.reason);
  expect((await detector.detect(white)).detections.length).toBe(3);
  expect(cancelled).toBe(abort.signal.reason);
});

test("Detector takes options at load and overrides them at each call", async () => {
  await using detector = await Detector.load(toyDetector(), { threshold: 0.65, classes: ["dog"] });
  expect((await detector.detect(white)).detections.map((one) => one.label)).toEqual(["dog"]);
  const all = await detector.detect(white, { threshold: 0.1, classes: ["cat", 1], iou: 0.99 });
  expect(all.detections.length).toBe(4);
  expect((await detector.detect(white)).detections.length).toBe(1);
});

test("Detector names a misspelt option, a class that the model has not, and what is out of range", async () => {
  const model = toyDetector();
  await expect(Detector.load(model, { treshold: 0.5 } as object)).rejects.toThrow('Did you mean "threshold"?');
  await expect(Detector.load(model, { classes: ["dgo"] })).rejects.toThrow('Did you mean "dog"?');
  await expect(Detector.load(model, { threshold: 2 })).rejects.toThrow(OptionError);
  await expect(Detector.load(model, { size: [64, 0] })).rejects.toThrow(OptionError);
  await using detector = await Detector.load(model);
  await expect(detector.detect(white, { clases: [1] } as object)).rejects.toThrow('Did you mean "classes"?');
  await expect(detector.detect(white, { classes: [2] })).rejects.toThrow("Unknown class 2\nHint: the classes are ");
});

test("Detector.load() tells of options that a model of fixed size or batch has no room for, and of sizes beside the grid", async () => {
  const told = async (model: Uint8Array, options: DetectorOptions): Promise<string[]> => {
    const lines: string[] = [];
    const former = setLogSink((level, text) => void (level === "warn" && lines.push(text)));
    try {
      await using _detector = await Detector.load(model, { backend: "cpu", ...options });
    } finally {
      setLogSink(former);
    }
    return lines;
  };
  const fixed = toyDetector({ batch: 1 });
  expect(await told(fixed, { size: 96, batch: 4 })).toEqual([
    "Ignoring `size`: the input of the model from bytes is fixed at 64x64",
    "Reduced `batch` from 4 to 1, the most the model from bytes accepts",
  ]);
  expect(await told(fixed, { rectangular: true })).toEqual([
    "Ignoring `rectangular`: the input of the model from bytes is fixed at 64x64",
  ]);
  expect(await told(fixed, { size: [64, 64], batch: 1 })).toEqual([]);
  const open = toyDetector({ side: "height" });
  expect(await told(open, { size: 96, rectangular: true, batch: 4 })).toEqual([]);
  expect(await told(open, { size: [97, 64], rectangular: true })).toEqual([]); // made into a multiple
  expect(await told(open, { size: [97, 64] })).toEqual([
    "Using 97x64 for `size`, with which the model from bytes may fail: most models take only multiples of their stride, here 32, such as 128x64",
  ]);
  expect(await told(open, { batchWaitMs: 5 })).toEqual(["Ignoring `batchWaitMs`: it needs a `batch` above 1"]);
});

test("Detector.load() tells of options of another accelerator where the choice was open", async () => {
  const { BUN_TENSORRT_BACKEND: former } = process.env;
  const lines: string[] = [];
  const formerSink = setLogSink((level, text) => void (level === "warn" && lines.push(text)));
  process.env.BUN_TENSORRT_BACKEND = "cpu";
  try {
    const heeded = {
      jpeg: "cpu",
      zeroCopy: false,
      streams: "auto",
      wait: "auto",
      precision: "fp32",
      threads: 1,
    } as const;
    (await Detector.load(toyDetector(), heeded)).close();
    expect(lines).toEqual([]);
    const asked = { streams: "one", tensorrt: { zeroCopy: true, jpeg: "gpu" }, device: 1 } as const;
    (await Detector.load(toyDetector(), asked)).close();
    expect(lines).toEqual(["Ignoring `streams`, `jpeg`, `zeroCopy`, `device`: the model runs on the CPU"]);
  } finally {
    setLogSink(formerSink);
    if (former === undefined) delete process.env.BUN_TENSORRT_BACKEND;
    else process.env.BUN_TENSORRT_BACKEND = former;
  }
});

test("Detector.load() refuses what is no model, and says what it is", async () => {
  await expect(Detector.load("no-such-model.onnx")).rejects.toThrow(ModelError);
  await expect(Detector.load(new Uint8Array(0))).rejects.toThrow("it is empty");
  for (const [wrong, received] of [
    [undefined, "undefined"],
    [null, "null"],
    [{}, "object"],
  ] as const) {
    await expect(Detector.load(wrong as unknown as string)).rejects.toThrow(
      `Cannot load a model: it must be a path, a URL, bytes, a Blob or a name of the catalogue, got ${received}\nHint: `,
    );
  }
  await expect(Detector.load(notAImage)).rejects.toThrow(ModelError);
  await expect(Detector.load(new URL("ftp://localhost/model.onnx"))).rejects.toThrow(
    "the URL must begin with https:// or file://, got ftp://",
  );
  for (const [text, found] of [
    ["http://", '"http://" is not a valid URL\nHint: '],
    // On Windows that is a file of another machine.
    ...(process.platform === "win32"
      ? []
      : [["file://elsewhere/a.onnx", '"file://elsewhere/a.onnx" is not a path ('] as const]),
  ] as const) {
    const load = Detector.load(text);
    await expect(load).rejects.toThrow(ModelError);
    await expect(load).rejects.toThrow(found);
  }
});

test("Detector.load() takes a model in whatever holds its bytes", async () => {
  const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-forms-"));
  try {
    const model = toyDetector();
    const path = join(folder, "toy.onnx");
    writeFileSync(path, model);
    const file = Bun.file(path);
    for (const form of [
      model,
      model.slice().buffer,
      new Blob([model]),
      new File([model], "a.onnx"),
      file,
      file.slice(),
    ]) {
      await using detector = await Detector.load(form, { backend: "cpu" });
      expect((await detector.detect(white)).detections.length).toBe(3);
    }
    const sized = Detector.load(new File([toyDetector({ batch: 1 })], "a.onnx"), { backend: "cpu", batch: 2 });
    await using detector = await sized;
    expect(detector.backend.maxBatch).toBe(1);
    await expect(Detector.load(Bun.file(join(folder, "gone.onnx")))).rejects.toThrow("there is no such file");
    await expect(Detector.load(new Blob([]))).rejects.toThrow("it is empty");
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("Detector.load() suggests a name, and the way to ONNX from other formats", async () => {
  const names = "yolo11n, yolo11n-seg, yolo11n-pose, yolov8n, yolov8s, yolov8m";
  const load = (name: string | URL): Promise<string> =>
    Detector.load(name).then(
      () => "",
      (error) => (error instanceof ModelError ? error.message : ""),
    );
  expect(await load("yolo11s")).toBe(
    `Unknown model "yolo11s". Did you mean "yolo11n"?\n` +
      `Hint: the catalogue has ${names}; export others to ONNX: yolo export model=yolo11s.pt format=onnx`,
  );
  // One of another task is not what was meant, however few letters differ.
  expect(await load("yolo11n-obb")).toStartWith('Unknown model "yolo11n-obb"\nHint: the catalogue has ');
  expect(await load("none/yolo11n-cls.onnx")).toEndWith("; to export it: yolo export model=yolo11n-cls.pt format=onnx");
  expect(await load("none/yolo11n-sg.onnx")).toEndWith("; or did you mean the catalogue's yolo11n-seg?");
  expect(await load("street-signs")).toBe(
    `Unknown model "street-signs"\nHint: the catalogue has ${names}; else give the path of an ONNX file or a plan`,
  );
  const cases: readonly (readonly [name: string | URL, is: string, hint: string])[] = [
    [
      "models/yolo11s.pt",
      "a PyTorch checkpoint",
      "yolo export model=yolo11s.pt format=onnx; others by torch.onnx.export",
    ],
    ["a.PTH", "a PyTorch checkpoint", "yolo export model=a.pt format=onnx"],
    [
      "model.safetensors",
      "a file of weights without the model's graph",
      "optimum-cli export onnx --model FOLDER onnx/",
    ],
    [
      "a.torchscript.pt",
      "a TorchScript model",
      'torch.onnx.export(torch.jit.load("a.torchscript.pt"), example, "a.onnx")',
    ],
    ["a.torchscript", "a TorchScript model", "yolo export model=a.pt format=onnx"],
    ["a.tflite", "a TensorFlow Lite model", "python -m tf2onnx.convert --tflite a.tflite --output a.onnx"],
    ["saved_model.pb", "a TensorFlow graph", "tf2onnx.convert --saved-model FOLDER --output saved_model.onnx"],
    ["a.keras", "a Keras model", 'keras.models.load_model("a.keras").export("a.onnx", format="onnx")'],
    ["yolo11n.mlpackage", "a Core ML model", "export the model it was made from, with Ultralytics: yolo export"],
    ["a_openvino_model/a.xml", "an OpenVINO model", "there is no way back to ONNX"],
    [new URL("https://localhost/yolo11s.pt"), "a PyTorch checkpoint", "yolo export model=yolo11s.pt format=onnx"],
  ];
  for (const [name, is, hint] of cases) {
    const text = await load(name);
    expect(text).toContain(`: it is ${is}, and ONNX files and TensorRT plans are loaded\nHint: `);
    expect(text).toContain(hint);
  }
});

test("Detector.load() takes an ONNX file by whatever ending", async () => {
  const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-ending-"));
  try {
    const path = join(folder, "old.pb");
    writeFileSync(path, toyDetector());
    await using detector = await Detector.load(path, { backend: "cpu" });
    expect(detector.task).toBe("detect");
    writeFileSync(path, Uint8Array.of(8, 1, 18, 0));
    await expect(Detector.load(path)).rejects.toThrow("it is a TensorFlow graph");
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("Detector.load() says which model it does not know", async () => {
  const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-unknown-"));
  try {
    const path = join(folder, "pairs.onnx");
    writeFileSync(path, identityModel("f32", [1, 2, 8, 8]));
    const told = `Cannot use ${JSON.stringify(path)} as a detector: no input takes a batch of images`;
    await expect(Detector.load(path, { backend: "cpu" })).rejects.toThrow(told);
  } finally {
    rmSync(folder, { recursive: true });
  }
  const bytes = identityModel("f32", [1, 2, 8, 8]);
  await expect(Detector.load(bytes, { backend: "cpu" })).rejects.toThrow(
    "Cannot use the model from bytes as a detector",
  );
});

test("Detector.load() refuses a model whose input is declared with no elements", async () => {
  for (const [options, shape] of [
    [{ side: 0 }, "[?, 3, 0, 0]"],
    [{ batch: 0 }, "[0, 3, 64, 64]"],
  ] as const) {
    const loading = Detector.load(toyDetector(options), { backend: "cpu" });
    await expect(loading).rejects.toThrow(ModelError);
    await expect(loading).rejects.toThrow(`${shape}) has room for no image`);
  }
});

test("Detector.detectBatch() gives one result an image, in order, in runs of the batch", async () => {
  await using detector = await Detector.load(toyDetector(), { batch: 3, inFlight: 2, threshold: 0 });
  const levels = [255, 204, 153, 102, 51, 255, 204];
  const results = await detector.detectBatch(levels.map((level) => flatImage(64, 64, level)));
  expect(results.map(({ detections }) => Number(detections[0]?.score.toFixed(3)))).toEqual(
    levels.map((level) => Number(((0.9 * level) / 255).toFixed(3))),
  );
  expect(await detector.detectBatch([])).toEqual([]);
});

test("Detector.detectBatch() rejects with the first bad image's error", async () => {
  await using detector = await Detector.load(toyDetector(), { batch: 4 });
  await expect(detector.detectBatch([white, notAImage, white])).rejects.toThrow(ImageError);
  expect((await detector.detectBatch([white, white])).length).toBe(2);
});

test("Detector.stream() yields in order, and reads no image before a slot is free for it", async () => {
  await using detector = await Detector.load(toyDetector(), { inFlight: 2, threshold: 0 });
  let taken = 0;
  let yielded = 0;
  let ahead = 0;
  async function* frames(): AsyncGenerator<Image> {
    for (let level = 255; level > 5; level -= 10) {
      taken += 1;
      ahead = Math.max(ahead, taken - yielded);
      yield flatImage(64, 64, level);
    }
  }
  const scores: number[] = [];
  for await (const { detections } of detector.stream(frames())) {
    yielded += 1;
    scores.push(detections[0]!.score);
  }
  expect(scores.length).toBe(25);
  expect(scores).toEqual([...scores].sort((a, b) => b - a));
  expect(ahead).toBeLessThanOrEqual(3);
});

test("Detector.stream() hands bad images to onError and goes on", async () => {
  await using detector = await Detector.load(toyDetector(), { inFlight: 2, batch: 2 });
  const bad: number[] = [];
  const onError = (error: unknown, index: number): void => {
    expect(error).toBeInstanceOf(ImageError);
    bad.push(index);
  };
  let good = 0;
  const sources = [white, notAImage, white, "no-such-file.jpg", white];
  for await (const { detections } of detector.stream(sources, { onError })) {
    expect(detections.length).toBe(3);
    good += 1;
  }
  expect(bad).toEqual([1, 3]);
  expect(good).toBe(3);
});

test("Detector.stream() without onError ends with the first error, and the detector goes on", async () => {
  await using detector = await Detector.load(toyDetector(), { inFlight: 2 });
  const run = async (): Promise<void> => {
    for await (const _ of detector.stream([white, notAImage, white, white]));
  };
  await expect(run()).rejects.toThrow(ImageError);
  expect((await detector.detect(white)).detections.length).toBe(3);
});

test("Detector.stream() closes its source when the caller breaks off", async () => {
  await using detector = await Detector.load(toyDetector(), { inFlight: 2 });
  let isClosed = false;
  function* frames(): Generator<Image> {
    try {
      while (true) yield white;
    } finally {
      isClosed = true;
    }
  }
  for await (const _ of detector.stream(frames())) break;
  expect(isClosed).toBe(true);
});

test("Detector.staged() runs the stages one by one, in order", async () => {
  await using detector = await Detector.load(toyDetector());
  using batch = await detector.staged([white, flatImage(32, 16, 255)]);
  expect(() => batch.placements).toThrow("preprocess must have run before");
  await batch.preprocess();
  expect((await batch.input()).shape).toEqual([2, 3, 64, 64]);
  expect(batch.placements[1]).toMatchObject({ padY: 16, scaleX: 2 });
  await expect(batch.postprocess()).rejects.toThrow("infer must have run before");
  await batch.infer();
  expect((await batch.outputs()).get("output0")?.shape).toEqual([2, 6, 84]);
  const [first, second] = await batch.postprocess({ threshold: 0.1 });
  expect(first?.length).toBe(3);
  expect(second?.[0]?.box).toEqual([4, 0, 20, 12]);
  const [strict] = await batch.postprocess({ threshold: 0.85 });
  expect(strict?.length).toBe(1);
});

test("StagedBatch refuses a stage, or a look at the tensors, while another stage of it runs", async () => {
  await using detector = await Detector.load(toyDetector());
  using batch = await detector.staged([white]);
  await batch.preprocess();
  const running = batch.infer();
  const seconds = [batch.preprocess(), batch.infer(), (async () => batch.input())(), (async () => batch.placements)()];
  for (const outcome of await Promise.allSettled(seconds)) {
    const { reason } = outcome as PromiseRejectedResult;
    expect(reason?.message).toContain("it takes one call at a time, and infer is running");
  }
  await running;
  // Looks do not get in each other's way, and what was refused has changed nothing.
  const [input, outputs] = await Promise.all([batch.input(), batch.outputs()]);
  expect([input.shape, outputs.get("output0")?.shape]).toEqual([
    [1, 3, 64, 64],
    [1, 6, 84],
  ]);
  const [first] = await batch.postprocess();
  expect(first?.length).toBe(3);
});

test("StagedBatch.infer() needs the stage before it anew once that has been run again", async () => {
  await using detector = await Detector.load(toyDetector());
  using batch = await detector.staged([white]);
  await batch.preprocess();
  await batch.infer();
  await batch.preprocess();
  await expect(batch.postprocess()).rejects.toThrow("infer must have run before");
  await batch.infer();
  expect((await batch.postprocess())[0]?.length).toBe(3);
});

test("StagedBatch.close() during a stage keeps the slot from others until the stage has ended", async () => {
  await using detector = await Detector.load(toyDetector(), { backend: "cpu", inFlight: 1 });
  for (const stages of [0, 1, 2]) {
    const batch = await detector.staged([white]);
    await batch.preprocess();
    if (stages > 1) await batch.infer();
    const running = stages === 0 ? batch.preprocess() : stages === 1 ? batch.infer() : batch.postprocess();
    batch.close();
    expect((await detector.detect(white)).detections.length).toBe(3);
    await running;
  }
});

test("Detector.staged() gives the slot back, also when an image is bad", async () => {
  await using detector = await Detector.load(toyDetector());
  await expect(detector.staged([notAImage])).rejects.toThrow(ImageError);
  await expect(detector.staged([])).rejects.toThrow("it takes 1 to Infinity images, got 0");
  const batch = await detector.staged([white]);
  const waiting = detector.detect(white);
  batch.close();
  expect((await waiting).detections.length).toBe(3);
});

test("Detector.close() waits for running calls, refuses new ones, and may be called again", async () => {
  const detector = await Detector.load(toyDetector());
  const running = [detector.detect(white), detector.detect(white), detector.detect(white)];
  const closing = detector.close();
  await expect(detector.detect(white)).rejects.toThrow(ClosedError);
  expect(() => detector.stream([white])).toThrow(ClosedError);
  expect((await Promise.all(running)).map(({ detections }) => detections.length)).toEqual([3, 3, 3]);
  await closing;
  await detector.close();
});

test("Detector gives a dynamic model a square, or the frame's own ratio", async () => {
  const model = toyDetector({ side: "height", metadata: { imgsz: "[64, 64]" } });
  const shapeFor = async (options: { rectangular?: boolean; size?: number }): Promise<readonly number[]> => {
    await using detector = await Detector.load(model, options);
    using batch = await detector.staged([flatImage(200, 100, 255)]);
    await batch.preprocess();
    return (await batch.input()).shape;
  };
  expect(await shapeFor({})).toEqual([1, 3, 64, 64]);
  expect(await shapeFor({ size: 96 })).toEqual([1, 3, 96, 96]);
  expect(await shapeFor({ rectangular: true })).toEqual([1, 3, 32, 64]);
});

test("Detector counts rows that are not numbers, and drops them", async () => {
  await using detector = await Detector.load(toyDetector());
  using batch = await detector.staged([white]);
  await batch.preprocess();
  const input = await batch.input();
  (input.data as Float32Array).fill(Number.NaN);
  await batch.infer();
  expect(await batch.postprocess({ threshold: 0 })).toEqual([[]]);
});

test("Detector.load() refuses a plan on the CPU, which cannot run it", async () => {
  const plan = new Uint8Array(64);
  plan.set(new TextEncoder().encode("ftrt"));
  new DataView(plan.buffer).setBigUint64(8, 2n, true);
  await expect(Detector.load(plan, { backend: "cpu" })).rejects.toThrow("a plan needs a GPU");
  await expect(Detector.load("model.engine", { backend: "cpu" })).rejects.toThrow("a plan needs a GPU");
});

test.skipIf(gpuUnavailable() === undefined)("Detector.load() says why the GPU cannot be used", async () => {
  const fault = gpuUnavailable()!;
  expect(fault).not.toContain("none of these paths"); // which would be missing in one line
  const failed = await Detector.load(toyDetector(), { backend: "gpu" }).catch((error: unknown) => error);
  expect(failed).toBeInstanceOf(UnavailableError);
  expect(failed).toBeInstanceOf(OptionError);
  expect((failed as UnavailableError).message).toStartWith(
    `Cannot load a detector on the GPU: ${fault}\nHint: bunx bun-tensorrt doctor `,
  );
});

test("Detector.load() takes the machine of BUN_TENSORRT_BACKEND where the choice is left open", async () => {
  const former = process.env.BUN_TENSORRT_BACKEND;
  try {
    process.env.BUN_TENSORRT_BACKEND = "cpu";
    await using detector = await Detector.load(toyDetector());
    expect(detector.backend.kind).toBe("cpu");
    process.env.BUN_TENSORRT_BACKEND = "tpu";
    await expect(Detector.load(toyDetector())).rejects.toThrow(
      'BUN_TENSORRT_BACKEND must be auto, onnxruntime, cpu, tensorrt or gpu, got "tpu"\nHint: unset BUN_TENSORRT_BACKEND, or set it to one of them',
    );
  } finally {
    if (former === undefined) delete process.env.BUN_TENSORRT_BACKEND;
    else process.env.BUN_TENSORRT_BACKEND = former;
  }
});

test("Detector.warmUp() runs pixels and a JPEG of the size to come through every slot, and says how long that took", async () => {
  const lines: string[] = [];
  setLogSink((level, text) => lines.push(`${level}: ${text}`));
  try {
    await using detector = await Detector.load(toyDetector(), { backend: "cpu", inFlight: 3, maxPixels: 10_000 });
    await detector.warmUp();
    await detector.warmUp({ size: [1, 10_000] });
    expect(lines.filter((line) => /^debug: Warmed up .*, 3 in flight, in \d+ ms$/.test(line)).length).toBe(2);
    expect((await detector.detect(white)).detections.length).toBe(3);
    await expect(detector.warmUp({ size: [101, 100] })).rejects.toThrow(
      'Option "size" must have at most 10000 pixels, as the images, got 101x100\nHint: ',
    );
    await expect(detector.warmUp({ size: [0, 1] })).rejects.toThrow(OptionError);
    await expect(detector.warmUp({ sizes: [1, 1] } as object)).rejects.toThrow('Did you mean "size"?');
    await detector.close();
    await expect(detector.warmUp()).rejects.toThrow(ClosedError);
  } finally {
    setLogSink(undefined);
  }
});

/** An image whose run has begun, on a model whose runs never end. */
async function endlessRun(signal?: AbortSignal): Promise<{ detector: Detector; running: Promise<unknown> }> {
  const detector = await Detector.load(toyDetector({ isEndless: true }), { backend: "cpu", inFlight: 1 });
  const running = detector.detect(white, signal === undefined ? {} : { signal }).catch((error: unknown) => error);
  await Bun.sleep(20);
  return { detector, running };
}

test("Detector.detect() with a signal ends the run of the model as well, where nobody else waits for it", async () => {
  const abort = new AbortController();
  const { detector, running } = await endlessRun(abort.signal);
  const reason = new Error("enough");
  abort.abort(reason);
  expect(await running).toBe(reason);
  // The slot comes back: the next image gets it, and is ended the same way.
  const next = new AbortController();
  const second = detector.detect(white, { signal: next.signal }).catch((error: unknown) => error);
  await Bun.sleep(20);
  next.abort(reason);
  expect(await second).toBe(reason);
  await detector.close();
});

test("Detector.close({ force }) ends runs that never end, and refuses what waits", async () => {
  const { detector, running } = await endlessRun();
  const waiting = detector.detect(white).catch((error: unknown) => error);
  const closing = detector.close();
  await detector.close({ force: true });
  await closing;
  expect(await running).toBeInstanceOf(ClosedError);
  expect(await waiting).toBeInstanceOf(ClosedError);
});

test("an aborted image does not end the run of those beside it", async () => {
  const model = toyDetector({ isEndless: true });
  const detector = await Detector.load(model, { backend: "cpu", inFlight: 1, batch: 2 });
  const abort = new AbortController();
  const aborted = detector.detect(white, { signal: abort.signal }).catch((error: unknown) => error);
  const kept = detector.detect(white).catch((error: unknown) => error);
  await Bun.sleep(20);
  abort.abort();
  expect(await aborted).toBe(abort.signal.reason);
  // A run that is told to end does so within milliseconds; this one goes on until the detector is closed.
  await Bun.sleep(50);
  await detector.close({ force: true });
  expect(await kept).toBeInstanceOf(ClosedError);
});
