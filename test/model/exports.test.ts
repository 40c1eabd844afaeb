import { expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { TensorInfo } from "../../src/core/tensor.ts";
import { evidentFacade, recogniseAny } from "../../src/heads/object-reading.ts";
import { COCO_80 } from "../../src/model/labels.ts";

/** An export of random weights, as exports.py wrote it down. */
interface Export {
  readonly package: string;
  readonly version: string;
  readonly model: string;
  readonly arguments: Readonly<Record<string, unknown>>;
  readonly inputs: readonly TensorInfo[];
  readonly outputs: readonly TensorInfo[];
  readonly metadata: Readonly<Record<string, string>>;
}

const path = join(import.meta.dir, "exports.jsonl");
const exports = (existsSync(path) ? readFileSync(path, "utf8").trimEnd().split("\n") : []).map(
  (line) => JSON.parse(line) as Export,
);

const COCO = `{${COCO_80.map((name, id) => `${id}: ${JSON.stringify(name)}`).join(", ")}}`;

/** What a model is by its name, and by how it was exported. */
function wanted({
  package: from,
  model,
  arguments: given,
  metadata,
}: Export): readonly [task: string, head: string | undefined] {
  const [, word = ""] = /-(cls|obb|pose|seg|sem|depth)\b/.exec(model) ?? [];
  const task = { cls: "classify", obb: "obb", pose: "pose", seg: "segment", sem: "semantic", depth: "depth" }[word];
  if (from === "transformers") {
    if (model === "vit") return ["classify", undefined];
    if (model === "segformer") return ["semantic", undefined];
    return ["detect", model === "detr" || model === "yolos" ? "hugging-face-softmax" : "hugging-face"];
  }
  if (task === "classify" || task === "semantic" || task === "depth") return [task, undefined];
  if (model.startsWith("rtdetr")) return ["detect", "rtdetr-ultralytics-rows"];
  // Since 8.4, v10 and 26 are end to end with `nms=False` only, and the metadata says so.
  const isFinal = given.nms === true || metadata.end2end === "True";
  return [task ?? "detect", isFinal ? "yolo-end-to-end" : "yolo"];
}

test("the exports are of every family", () => {
  for (const family of [
    "yolov3",
    "yolov5",
    "yolov6",
    "yolov8",
    "yolov9",
    "yolov10",
    "yolo11",
    "yolo12",
    "yolo26",
    "rtdetr",
  ]) {
    expect(exports.filter(({ model }) => model.startsWith(family)).length, family).toBeGreaterThan(0);
  }
});

for (const one of exports) {
  const { package: from, model, version } = one;
  test(`${from} ${version}: ${model} ${JSON.stringify(one.arguments)} is read as what it is`, () => {
    const [task, head] = wanted(one);
    const metadata = { ...one.metadata, ...(one.metadata.names === "-coco-" ? { names: COCO } : {}) };
    const described = { inputs: one.inputs, outputs: one.outputs, metadata };
    expect(evidentFacade(described)?.task ?? "detect").toBe(task);
    if (head === undefined) return;
    const spec = recogniseAny(described, { isSilent: true });
    expect(spec.head).toBe(head);
    expect("task" in spec ? spec.task : "detect").toBe(task);
    expect([spec.unexplained, spec.sizeInputs]).toEqual([[], []]);
    expect(spec.needsNms).toBe(head === "yolo");
    if (metadata.names !== undefined)
      expect(spec.labels.length).toBe(one.metadata.names === "-coco-" ? 80 : spec.labels.length);
    expect(spec.preprocessing.fit).toBe(head === "yolo" || head === "yolo-end-to-end" ? "letterbox" : "stretch");
  });
}
