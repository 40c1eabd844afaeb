import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { anyDetector, Model, servedModel } from "../../src/api/model.ts";
import { ModelError } from "../../src/core/errors.ts";
import type { DType, TensorInfo } from "../../src/core/tensor.ts";
import type { RecogniseOptions } from "../../src/heads/head.ts";
import { recogniseModel } from "../../src/heads/recognition.ts";
import { HEADS } from "../../src/heads/registry.ts";
import type { ModelInfo } from "../../src/model/model-info.ts";
import { type FixedOutput, fixedModel } from "../support/fixed-model.ts";

interface GoldenCase {
  readonly name: string;
  readonly inputs: readonly TensorInfo[];
  readonly outputs: readonly TensorInfo[];
  readonly anchors?: string;
}

const cases = readFileSync(join(import.meta.dir, "golden.jsonl"), "utf8")
  .trimEnd()
  .split("\n")
  .map((line) => JSON.parse(line) as GoldenCase);

/** With tensors under other names, and sides that are open, which tell less. */
function* less({ inputs, outputs }: GoldenCase): Generator<ModelInfo> {
  const plain = (infos: readonly TensorInfo[]): TensorInfo[] =>
    infos.map(({ name, dtype, shape }) => ({ name, dtype, shape }));
  const model = { inputs: plain(inputs), outputs: plain(outputs), metadata: {} };
  yield model;
  yield { ...model, outputs: model.outputs.map((info, at) => ({ ...info, name: `output_${at}` })) };
  for (let axis = 1; axis < 4; axis++) {
    const open = (shape: readonly number[]): number[] => shape.map((side, at) => (at === axis ? -1 : side));
    yield { ...model, outputs: model.outputs.map((info) => ({ ...info, shape: open(info.shape) })) };
  }
  // Of a class or two, whose numbers of channels are those of other heads.
  for (const classes of [1, 2, 79, 80, 81, 85, 91]) {
    for (const extra of [4, 5]) {
      const [first, ...others] = model.outputs;
      if (first?.shape.length !== 3 || others.length > 0) continue;
      for (const axis of [1, 2]) {
        const shape = first.shape.map((side, at) => (at === axis ? classes + extra : at === 0 ? side : 126));
        yield { ...model, outputs: [{ ...first, shape }] };
      }
    }
  }
}

function told(model: ModelInfo, options: RecogniseOptions): string | undefined {
  try {
    recogniseModel(model, { ...options, isSilent: true });
    return undefined;
  } catch (error) {
    expect(error).toBeInstanceOf(ModelError);
    return (error as ModelError).message;
  }
}

test("where tensors fit several heads the error has what each wants, and with one named the model is read by it", () => {
  const pairs = new Set<string>();
  const tried = new Set<string>();
  for (const one of cases) {
    for (const model of less(one)) {
      const options: RecogniseOptions = { anchors: one.anchors };
      const text = told(model, options);
      if (text === undefined || !/its tensors fit \d+ heads, and nothing tells which/.test(text)) continue;
      const names = [...text.matchAll(/^ {2}([a-z0-9-]+): /gm)]
        .map((match) => match[1]!)
        .filter((name) => HEADS.some((head) => head.name === name));
      const hint = text.slice(text.lastIndexOf("\nHint: "));
      expect(names.length, text).toBeGreaterThan(1);
      const found = hint.slice(0, hint.indexOf("; if it has none of these"));
      pairs.add(names.filter((name) => new RegExp(`["\`: ]${name}["\`)]`).test(found)).join(" "));
      const key = `${one.name} ${names.join()}`;
      if (tried.has(key)) continue;
      tried.add(key);
      for (const name of names) {
        expect(text).toContain(`  ${name}: ${HEADS.find((head) => head.name === name)!.summary}`);
        expect(hint).toMatch(new RegExp(`["\`: ]${name}["\`)]`));
        expect(recogniseModel(model, { ...options, head: name, isSilent: true }).head, one.name).toBe(name);
      }
      // No two say the same: what they want tells them apart.
      expect(new Set(names.map((name) => HEADS.find((head) => head.name === name)!.summary)).size).toBe(names.length);
    }
  }
  expect([...pairs]).toContain("yolo-transposed yolox");
  expect(pairs.size).toBeGreaterThan(4);
}, 60_000);

/** Rows of all cells of 640 pixels, before NMS. */
function rowsOf(channels: number, output: string): ModelInfo {
  return {
    inputs: [{ name: "images", dtype: "f32", shape: [1, 3, 640, 640] }],
    outputs: [{ name: output, dtype: "f32", shape: [1, 8400, channels] }],
    metadata: {},
  };
}

test("where tensors fit several heads, those that are only read where they are named are among what they are said to be", () => {
  const text = told(rowsOf(9, "output"), {})!;
  expect(text).toContain("  yolox-decoded: as yolox, exported with --decode_in_inference");
  expect(text).toMatch(/by `head: "yolo-transposed"`.* or "yolox"; if it has none of these, by .*"yolox-decoded"/);
  expect(recogniseModel(rowsOf(9, "output"), { head: "yolox-decoded", isSilent: true }).head).toBe("yolox-decoded");
});

test("names of tensors tell ModelScope's rows only where their channels may be a box and classes, and that is said", () => {
  const found = recogniseModel(rowsOf(9, "pred"), { isSilent: true });
  expect([found.head, found.assumptions.join()]).toEqual([
    "damo-yolo-rows",
    expect.stringContaining("yolo-transposed"),
  ]);
  expect(recogniseModel(rowsOf(85, "pred"), { isSilent: true }).head).toBe("yolox");
  const labels = ["plate"];
  expect(recogniseModel(rowsOf(6, "pred"), { labels, isSilent: true }).head).not.toBe("damo-yolo-rows");
});

test("metadata that anyone may write, a task or class names, is no evidence of Ultralytics: the shapes decide, or the ambiguity is told", () => {
  const names = JSON.stringify(["a", "b", "c", "d", "e"]);
  for (const metadata of [{ task: "detect" }, { description: "a detector" }, { stride: "32" }]) {
    expect(told({ ...rowsOf(9, "output"), metadata }, {})).toMatch(/"yolox"[\s\S]*"yolox-decoded"/);
  }
  for (const metadata of [{ names }, { task: "detect", names }]) {
    const headOf = (channels: number): string =>
      recogniseModel({ ...rowsOf(channels, "output"), metadata }, { isSilent: true }).head;
    expect([headOf(10), headOf(9)]).toEqual(["yolox", "yolo-transposed"]);
  }
  const metadata = { task: "detect" };
  expect(recogniseModel({ ...rowsOf(9, "pred"), metadata }, { isSilent: true }).head).toBe("damo-yolo-rows");
  for (const evidence of [
    { author: "Ultralytics" },
    { description: "Ultralytics YOLO26n model" },
    { stride: "32", names },
  ]) {
    const model = { ...rowsOf(9, "output"), metadata: { ...metadata, ...evidence } };
    expect(recogniseModel(model, { isSilent: true }).head).toBe("yolo-transposed");
  }
});

test("few rows of an input of open size may be a grid's: they are no queries by their number", () => {
  const open = (rows: number, output: string, metadata = {}): ModelInfo => ({
    inputs: [{ name: "images", dtype: "f32", shape: [1, 3, -1, -1] }],
    outputs: [{ name: output, dtype: "f32", shape: [1, rows, 9] }],
    metadata,
  });
  for (const [rows, output] of [
    [126, "output0"],
    [126, "output"],
    [425, "dets"],
  ] as const) {
    expect(told(open(rows, output), {})).toMatch(/fit 3 heads[\s\S]*"yolox"/);
  }
  for (const rows of [100, 300, 900]) {
    expect(recogniseModel(open(rows, "output0"), { isSilent: true }).head).toBe("rtdetr-ultralytics");
  }
  // Of a size that is told 126 rows are no cells.
  const sized = open(126, "output0", { imgsz: "[320, 320]" });
  expect(recogniseModel(sized, { isSilent: true }).head).toBe("rtdetr-ultralytics");
});

test("where the names of several outputs are lost, a head that is named is read by their shapes", () => {
  const lost = (outputs: readonly (readonly [DType, readonly number[]])[]): ModelInfo => ({
    inputs: [{ name: "x", dtype: "f32", shape: [1, 3, 640, 640] }],
    outputs: outputs.map(([dtype, shape], at) => ({ name: `${900 + at}`, dtype, shape })),
    metadata: {},
  });
  const queries = [
    ["f32", [1, 100, 92]],
    ["f32", [1, 100, 4]],
  ] as const;
  const triple = (rows: number): ModelInfo =>
    lost([
      ["i64", [1, rows]],
      ["f32", [1, rows, 4]],
      ["f32", [1, rows]],
    ]);
  const cases: readonly (readonly [string, ModelInfo, object])[] = [
    ["hugging-face", lost(queries), { logits: "900", boxes: "901" }],
    ["hugging-face-softmax", lost(queries.toReversed()), { logits: "901", boxes: "900" }],
    ["rf-detr", lost(queries), { logits: "900", boxes: "901" }],
    ["ssd", triple(200), { classes: "900", boxes: "901", scores: "902" }],
    ["qualcomm", triple(8400), { classes: "900", boxes: "901", scores: "902" }],
    [
      "ssd-pytorch",
      lost([
        ["f32", [1, 3000, 4]],
        ["f32", [1, 3000, 21]],
      ]),
      { boxes: "900", output: "901" },
    ],
    [
      "mmdet",
      lost([
        ["i64", [1, 100]],
        ["f32", [1, 100, 5]],
      ]),
      { boxes: { output: "901" }, classes: { output: "900" } },
    ],
    [
      "efficient-nms",
      lost([
        ["f32", [1, 100]],
        ["i32", [1, 1]],
        ["i32", [1, 100]],
        ["f32", [1, 100, 4]],
      ]),
      { scores: "900", counts: "901", classes: "902", boxes: "903" },
    ],
  ];
  for (const [head, model, plan] of cases) {
    expect(recogniseModel(model, { head, isSilent: true })).toMatchObject({ head, plan });
    // Boxes and scores of more rows than queries are said to be split.
    if (head !== "ssd-pytorch") expect(told(model, {})).toContain(JSON.stringify(head));
  }
  // Scores and classes in floats look alike.
  const floats = lost([
    ["f32", [1, 20, 4]],
    ["f32", [1, 20]],
    ["f32", [1, 20]],
    ["f32", [1]],
  ]);
  expect(told(floats, { head: "tf-detection" })).toMatch(/detection_scores.*\nHint: .*names/s);
});

test("a model of several heads is told so where its task is open too: by `serve`'s loader and by `Model`, with what to say", async () => {
  const map = (side: number, name: string): FixedOutput => {
    const values = Array.from({ length: side * side * 3 * 85 }, (_, at) => (at % 85 < 4 ? 1 : 0.01));
    return { name, shape: [1, side, side, 3, 85], values };
  };
  const zoo = fixedModel([map(8, "Identity:0"), map(4, "Identity_1:0"), map(2, "Identity_2:0")], { side: 64 });
  const named =
    /yolov3-maps: [\s\S]* yolov4-maps: [\s\S]*\nHint: .*`head: "yolov3-maps"` \(`--head yolov3-maps`\), or "yolov4-maps"/;
  const load = Model.load(zoo, { backend: "cpu" });
  await expect(load).rejects.toThrow(named);
  await expect(load).rejects.toThrow("; load it with the façade of its task, such as Detector");
  for (const facade of [anyDetector, servedModel]) {
    await expect(facade.load(zoo, { backend: "cpu" })).rejects.toThrow(named);
    await using asked = await facade.load(zoo, { backend: "cpu", head: "yolov4-maps" });
    expect(asked.task).toBe("detect");
  }
});
