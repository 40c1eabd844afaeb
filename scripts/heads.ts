/** @module Writes the table of heads in docs/models.md from the heads themselves. `bun scripts/heads.ts` after a head has changed. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { TensorInfo } from "../src/core/tensor.ts";
import type { Head } from "../src/heads/head.ts";
import { isHostPlan } from "../src/heads/host-plan.ts";
import { recogniseModel } from "../src/heads/recognition.ts";
import { HEADS, OBJECT_HEADS } from "../src/heads/registry.ts";

const root = join(import.meta.dir, "..");
const PAGE = join(root, "docs/models.md");

/** What exports models of a head, where one command does. */
const COMMANDS: Readonly<Record<string, string>> = {
  yolo: "yolo export format=onnx",
  "yolo-objectness": "python export.py --include onnx",
  "yolo-end-to-end": "yolo export format=onnx nms=True",
  "rtdetr-ultralytics-rows": "yolo export model=rtdetr-l.pt format=onnx",
  "yolov7-rows": "python export.py --grid --end2end --max-wh 640",
  yolox: "python export_onnx.py",
  "yolox-decoded": "python export_onnx.py --decode_in_inference",
  nanodet: "python export_onnx.py",
  rtdetr: "python export_onnx.py --check",
  "rf-detr": "model.export()",
  "hugging-face": "optimum-cli export onnx",
  "hugging-face-softmax": "optimum-cli export onnx",
  "paddle-rtdetr": "paddle2onnx",
  "paddle-detection": "paddle2onnx",
  mmdet: "python deploy.py (mmdeploy)",
  mmrotate: "python deploy.py (mmdeploy)",
  rtmo: "python deploy.py (mmdeploy)",
  "mask-rcnn-mmdeploy": "python deploy.py (mmdeploy)",
  torchvision: "torch.onnx.export",
  retinanet: "odtk export model.pth model.onnx",
  "mask-rcnn": "torch.onnx.export",
  "keypoint-rcnn": "torch.onnx.export",
  "tf-detection": "python -m tf2onnx.convert --saved-model",
  "tflite-detection": "python -m tf2onnx.convert --tflite",
};

/** A head's golden case, as far as it says which plan the head makes. */
interface GoldenCase {
  readonly head: string;
  readonly labels: readonly string[] | null;
  readonly inputs: readonly TensorInfo[];
  readonly outputs: readonly TensorInfo[];
  readonly anchors?: string;
}

/** A cell of a table, in which some signs have a meaning of their own. */
function cell(text: string): string {
  return text.replaceAll("|", "\\|").replaceAll("<", "&lt;");
}

/** What a summary says in its last brackets, and what stands before them. */
function partsOf({ name, summary }: Head): readonly [family: string, outputs: string] {
  const [, outputs = summary, family = "", rest = ""] =
    /^(.*) \(([^()]*)\)(; never recognised, name it)?$/.exec(summary) ?? [];
  return [family || name, `${outputs}${rest}`];
}

/** Where the numbers that a head is tested with come from. */
function testOf(name: string, golden: ReadonlyMap<string, GoldenCase>): string {
  if (golden.has(name)) return "`test/model/golden.jsonl`";
  const files = [...new Bun.Glob("test/{objects,model}/*.test.ts").scanSync(root)].sort();
  const file = files.find((path) => readFileSync(join(root, path), "utf8").includes(`"${name}"`));
  return file === undefined ? "" : `\`${file}\``;
}

/** True if its plan is one that a GPU decodes by. Those of objects that are told by their outputs are decoded on the CPU. */
function runsOnGpu(one: GoldenCase | undefined): boolean {
  if (one === undefined) return false;
  const { head, labels, inputs, outputs, anchors } = one;
  const options = { head, labels: labels ?? undefined, anchors, isSilent: true };
  return !isHostPlan(recogniseModel({ inputs, outputs, metadata: {} }, options).plan);
}

/** The table, a line each. */
export function headTable(): string {
  const lines = readFileSync(join(root, "test/model/golden.jsonl"), "utf8").trimEnd().split("\n");
  const golden = new Map(lines.map((line) => JSON.parse(line) as GoldenCase).map((one) => [one.head, one]));
  const tasks = new Map<string, string[]>();
  const heads = new Map<string, Head>();
  for (const head of [...HEADS, ...OBJECT_HEADS]) {
    if (head.name.endsWith("-fractions")) continue;
    if (!heads.has(head.name)) heads.set(head.name, head);
    const known = tasks.get(head.name) ?? [];
    const task = head.task ?? "detect";
    tasks.set(head.name, known.includes(task) ? known : [...known, task]);
  }
  const rows = [...heads.values()].map((head) => {
    const [family, outputs] = partsOf(head);
    const command = COMMANDS[head.name];
    const machine = runsOnGpu(golden.get(head.name)) ? "CPU, GPU" : "CPU";
    const cells = [family, `\`${head.name}\``, tasks.get(head.name)!.join(", "), machine, outputs];
    return `| ${[...cells.map(cell), command === undefined ? "" : `\`${command}\``, testOf(head.name, golden)].join(" | ")} |`;
  });
  const title = ["family", "head", "task", "decoded on", "outputs", "exported by", "tested with"];
  return [`| ${title.join(" | ")} |`, `| ${title.map(() => "---").join(" | ")} |`, ...rows].join("\n");
}

const FROM = "<!-- made by bun scripts/heads.ts -->";
const TO = "<!-- end -->";

/** The page with the table as it is now. */
export function modelsPage(): string {
  const page = readFileSync(PAGE, "utf8");
  const [before, rest = ""] = page.split(FROM);
  return `${before}${FROM}\n\n${headTable()}\n\n${TO}${rest.split(TO)[1]}`;
}

/** Names of heads that have a command and are none, for the test. */
export function strayCommands(): string[] {
  const names = new Set([...HEADS, ...OBJECT_HEADS].map(({ name }) => name));
  return Object.keys(COMMANDS).filter((name) => !names.has(name));
}

if (import.meta.main) await Bun.write(PAGE, modelsPage());
