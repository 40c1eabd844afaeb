import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Shape, TensorInfo } from "../../src/core/tensor.ts";
import type { RecogniseOptions } from "../../src/heads/head.ts";
import { evidentFacade, recogniseAny } from "../../src/heads/object-reading.ts";
import { evidentMap, findClassScores, findMap } from "../../src/heads/traits.ts";
import { COCO_80, needsShapes, withShapes } from "../../src/model/model-info.ts";

/** What a family's exports are, by their exporter. */
interface Wanted {
  readonly task: string;
  /** Of models of objects. */
  readonly head?: string;
  readonly classes?: number;
  readonly nms?: boolean;
  readonly fit?: string;
  readonly scale?: number;
  readonly mean?: readonly number[];
  readonly std?: readonly number[];
}

/** Exports of random weights that tell the same of themselves, as exports.py wrote it down. */
interface Export {
  readonly package: string;
  readonly exports: readonly (readonly [version: string, model: string, given: Readonly<Record<string, unknown>>])[];
  readonly wanted: Wanted;
  readonly inputs: readonly TensorInfo[];
  readonly outputs: readonly TensorInfo[];
  readonly metadata: Readonly<Record<string, string>>;
  /** Where shapes are open: the size of a run on zeros, and those that it gave, as loading finds them. */
  readonly at?: readonly [width: number, height: number];
  readonly found?: Readonly<Record<string, Shape>>;
}

/** What transformers saves beside a model that was never trained. */
function configBeside(row: Export): RecogniseOptions {
  const { classes = 0 } = row.wanted;
  const names = Array.from({ length: classes }, (_, id) => `LABEL_${id}`);
  if (!/transformers|optimum/.test(row.package) || classes === 0) return {};
  return { namesBeside: { file: "config.json", names }, labelsBeside: names };
}

const rows = readFileSync(join(import.meta.dir, "exports.jsonl"), "utf8")
  .trimEnd()
  .split("\n")
  .map((line) => JSON.parse(line) as Export);

const IMAGENET = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };

/** True for transformers' models whose processors take ImageNet's mean and deviation: all but RT-DETR and D-FINE. */
function isNormalised(model: string): boolean {
  return /^(detr|mask2former|yolos|table-transformer|conditional-detr|deformable-detr)/.test(model);
}

const COCO = `{${COCO_80.map((name, id) => `${id}: ${JSON.stringify(name)}`).join(", ")}}`;

test("the exports are of every family, and more than the 309 of before", () => {
  const models = rows.flatMap((row) => row.exports.map(([, model]) => `${row.package} ${model}`));
  expect(models.length).toBeGreaterThan(309);
  const families = [
    ...["v3", "v5n", "v6", "v8n", "v9", "v10", "11n", "12n", "26n"].map((version) => `ultralytics yolo${version}`),
    ...[
      "ultralytics rtdetr",
      "yolov5 yolov5n",
      "optimum-onnx d-fine",
      "transformers detr",
      "timm vit",
      "torchvision ssd",
    ],
  ];
  expect(families.filter((family) => !models.some((model) => model.startsWith(family)))).toEqual([]);
});

for (const [at, row] of rows.entries()) {
  const { package: from, exports, wanted, inputs, outputs, metadata: told } = row;
  const [[version, model, given] = ["", "", {}], ...others] = exports;
  const also = others.length === 0 ? "" : ` and ${others.length} more`;
  test(`${at + 1}: ${from} ${version} ${model} ${JSON.stringify(given)}${also}: read as what it is`, () => {
    const metadata = { ...told, ...(told.names === "-coco-" ? { names: COCO } : {}) };
    const declared = { inputs, outputs, metadata };
    const isOpen = needsShapes(declared) && row.found !== undefined;
    const described = isOpen ? withShapes(declared, new Map(Object.entries(row.found!)), row.at!) : declared;
    expect(evidentFacade(described, configBeside(row))?.task ?? "detect").toBe(wanted.task);
    if (wanted.task === "classify") {
      expect(findClassScores(described)?.shape[1]).toBe(wanted.classes);
      return;
    }
    if (wanted.task === "semantic" || wanted.task === "depth") {
      expect(evidentMap(described)).toBe(wanted.task);
      expect(findMap(described, wanted.task)).toBe(described.outputs[0]!);
      return;
    }
    // Shapes do not tell the DETRs with a sigmoid apart: without their weights' names, what is assumed is said.
    const weightsOf = isNormalised(model) ? "detr" : "rtdetr";
    const isOfSigmoid = wanted.head === "hugging-face";
    const beside = { isSilent: true, ...configBeside(row) };
    const spec = recogniseAny(described, { ...beside, ...(isOfSigmoid && { weightsOf }) });
    if (isOfSigmoid) {
      expect(spec.assumptions).toEqual([]);
      expect(recogniseAny(described, beside).assumptions.join()).toMatch(/look alike.*preprocessor_config\.json/);
    }
    expect(spec.head).toBe(wanted.head!);
    expect("task" in spec ? spec.task : "detect").toBe(wanted.task);
    expect([spec.unexplained, spec.sizeInputs.map(({ content }) => content)]).toEqual([[], expect.any(Array)]);
    expect(spec.needsNms).toBe(wanted.nms!);
    if (wanted.classes !== undefined) expect(spec.labels.length).toBe(wanted.classes);
    if (wanted.fit !== undefined) expect(spec.preprocessing.fit as string).toBe(wanted.fit);
    const levels = isNormalised(model) ? IMAGENET : { mean: [0, 0, 0], std: [1, 1, 1] };
    const { mean, std, scale = 1 / 255 } = { ...levels, ...wanted };
    expect(spec.preprocessing).toMatchObject({ scale, mean, std, colour: "RGB", layout: "NCHW" });
  });
}
