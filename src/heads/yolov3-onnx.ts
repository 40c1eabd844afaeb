/** @module Head `yolov3-onnx`: boxes, the scores of every class, and the triples that an NMS inside chose: the ONNX zoo's YOLOv3. */

import type { TensorInfo } from "../core/tensor.ts";
import { YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import type { Candidates } from "../model/rows.ts";
import { type DecodeInput, defineHead, type Head } from "./head.ts";
import type { ChosenPlan } from "./host-plan.ts";
import { classIdOf, NumberSlice, outputTensor, refuseOutput } from "./outputs.ts";
import { FLOATS, INTEGERS, isFloat } from "./traits.ts";

/** The input that wants the height and width of the image. */
const SIZE_INPUT = "image_shape";

function isTriples({ dtype, shape }: TensorInfo): boolean {
  const last = shape.at(-1);
  return INTEGERS.includes(dtype) && (shape.length === 2 || shape.length === 3) && (last === 3 || last === -1);
}

/**
 * YOLOv3 and Tiny YOLOv3 of the ONNX zoo, which keras2onnx made. Boxes are y1, x1, y2, x2 of the size that the second input tells,
 * which is the model's own.
 *
 * @see https://github.com/onnx/models (vision/object_detection_segmentation/yolov3, tiny-yolov3)
 */
export const yolov3Onnx: Head<ChosenPlan> = defineHead(
  "yolov3-onnx",
  "inputs image and image_shape [N, 2]; outputs boxes [N, boxes, 4], scores [N, classes, boxes], chosen triples [n, 3] (YOLOv3 of the ONNX zoo)",
  decodeChosen,
  (traits) => {
    const { inputs, outputs } = traits.model;
    const size = inputs.find(({ name, shape }) => shape.length === 2 && (traits.forced || name === SIZE_INPUT));
    if (size === undefined || outputs.length !== 3 || size.dtype !== "f32") return undefined;
    const triples = outputs.find(isTriples);
    const rows = outputs.filter((info) => isFloat(info) && info.shape.length === 3);
    const isBoxes = ({ name, shape }: TensorInfo): boolean => shape[2] === 4 || /box|ExpandDims_1:0$/i.test(name);
    const boxes = rows.find(isBoxes);
    const scores = rows.find((info) => info !== boxes);
    if (triples === undefined || boxes === undefined || scores === undefined) return undefined;
    const classes = scores.shape[1]!;
    if (classes > 0 && traits.classes !== undefined && traits.classes !== classes) return undefined;
    return {
      outputs: [boxes, scores, triples],
      sizeInputs: [{ name: size.name, dtype: "f32", content: "height-width" }],
      preprocessing: { ...YOLO_PREPROCESSING, resize: "bicubic", pad: [128, 128, 128] },
      ...(classes > 0 && { classes }),
      preferredSize: [416, 416],
      needsNms: false,
      plan: { kind: "chosen", boxes: boxes.name, scores: scores.name, indices: triples.name },
    };
  },
);

const boxes: NumberSlice = new NumberSlice();
const scores: NumberSlice = new NumberSlice();
const chosen: NumberSlice = new NumberSlice();

/** Append the chosen boxes of the image whose score reaches the threshold, in the order in which they were chosen. */
function decodeChosen(plan: ChosenPlan, input: DecodeInput, candidates: Candidates): void {
  const { index } = input;
  const boxTensor = outputTensor(input, plan.boxes, FLOATS, index + 1, -1, 4);
  const rows = boxTensor.shape[1]!;
  boxes.load(boxTensor, index * rows * 4, rows * 4);
  const scoreTensor = outputTensor(input, plan.scores, FLOATS, index + 1, -1, rows);
  const classes = scoreTensor.shape[1]!;
  scores.load(scoreTensor, index * classes * rows, classes * rows);
  const isFlat = input.outputs.get(plan.indices)?.shape.length === 2;
  const triples = isFlat
    ? outputTensor(input, plan.indices, INTEGERS, 0, 3)
    : outputTensor(input, plan.indices, INTEGERS, 1, -1, 3);
  const count = triples.shape[isFlat ? 0 : 1]!;
  chosen.load(triples, 0, count * 3);
  const threshold = Math.fround(input.threshold);
  for (let at = chosen.offset, end = at + count * 3; at < end; at += 3) {
    if (chosen.data[at] !== index) continue;
    const classId = classIdOf(chosen.data[at + 1]!, plan.indices);
    const row = chosen.data[at + 2]!;
    if (classId >= classes || row < 0 || row >= rows) {
      refuseOutput(plan.indices, `numbers of ${classes} classes and ${rows} boxes`, triples);
    }
    const score = scores.data[scores.offset + classId * rows + row]!;
    if (score < threshold) continue;
    const box = boxes.offset + row * 4;
    const { data } = boxes;
    candidates.push(data[box + 1]!, data[box]!, data[box + 3]!, data[box + 2]!, score, classId, classId * rows + row);
  }
}
