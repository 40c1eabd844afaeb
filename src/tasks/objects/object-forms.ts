/** @module ObjectForms: objects with key points, angles or masks as text, JSON, tensors and drawings. */

import { message, OptionError } from "../../core/errors.ts";
import { round } from "../../core/units.ts";
import { type Canvas, type Colour, strokeLine } from "../../image/canvas.ts";
import {
  BOX_TENSORS,
  boxValues,
  DETECT_FORMS,
  type Detection,
  type DetectionResult,
  labelLine,
  yoloSides,
} from "../detect/detection.ts";
import { drawShapes, type LabelledShape, paintShapes } from "../detect/draw.ts";
import { type Mask, wordsOf } from "../segment/mask.ts";
import {
  type MaskForm,
  type ResultForms,
  type ResultTensor,
  type TaskResult,
  type TensorForm,
  type TensorTraits,
  tensorsOf,
} from "../task-result.ts";
import {
  COCO_KEYPOINTS,
  COCO_SKELETON,
  DRAWN_KEYPOINT_SCORE,
  type Keypoint,
  type ObjectOfTask,
  type ObjectsOf,
  type PoseObject,
} from "./objects.ts";

/** What one kind of object has beside label, score and box. */
interface Details<Object extends Detection> {
  /** Titles of further columns of the table, and their cells. */
  readonly columns: readonly string[];
  cells(object: Object): string[];
  /** Titles of further columns of a CSV file, and their cells. */
  readonly csvColumns: readonly string[];
  csvCells(object: Object, image: TaskResult): (number | string)[];
  json(object: Object, masks: MaskForm): object;
  /** Further keys of a results file as pycocotools reads it. */
  coco(object: Object, image: TaskResult, masks: MaskForm): object;
  /** What a line of DOTA's Task1 files ends with. */
  readonly dota?: (object: Object) => string;
  /** What a label file has of it between class and score, as fractions of the image's width and height. */
  yolo(object: Object, image: TaskResult, hasScores: boolean): readonly number[];
  /** Further outputs of the Open Inference Protocol. */
  tensorForms(model: TensorTraits): readonly TensorForm[];
  /** The values of an object in each of them. */
  tensors(object: Object): readonly ResultTensor["values"][];
  /** What is drawn of it beside its label. @param line width of lines in pixels */
  shape(object: Object, image: TaskResult): Pick<LabelledShape, "paint" | "isFramed">;
}

/** What a label says of a key point that is seen; 0 is one that nobody marked. */
const VISIBLE = 2;

/** Of a side of the image. */
function fraction(at: number, side: number): number {
  return Math.min(Math.max(at / side, 0), 1);
}

function roundedPoints({ keypoints }: PoseObject): number[][] {
  return keypoints.map(({ x, y, score }) => [round(x, 3), round(y, 3), round(score, 4)]);
}

const DETAILS: { readonly [Name in keyof ObjectOfTask]: Details<ObjectOfTask[Name]> } = {
  obb: {
    columns: ["angle"],
    cells: ({ angle }) => [`${((angle * 180) / Math.PI).toFixed(1)}°`],
    csvColumns: ["cx", "cy", "width", "height", "angle"],
    csvCells: ({ xywhr: [cx, cy, width, height, angle] }) => [
      ...[cx, cy, width, height].map((side) => round(side, 3)),
      round(angle, 6),
    ],
    json: ({ corners, angle }) => ({
      corners: corners.map((corner) => corner.map((side) => round(side, 3))),
      angle: round(angle, 6),
    }),
    coco: ({ corners }) => ({ segmentation: [corners.flat().map((side) => round(side, 3))] }),
    dota: ({ score, corners }) => [score.toFixed(6), ...corners.flat().map((side) => side.toFixed(2))].join(" "),
    yolo: ({ corners }, { width, height }) => corners.flatMap(([x, y]) => [x / width, y / height]),
    tensorForms: () => [
      { name: "corners", datatype: "FP32", shape: [-1, 4, 2] },
      { name: "angles", datatype: "FP32", shape: [-1] },
    ],
    tensors: ({ corners, angle }) => [corners.flat(), [angle]],
    shape: ({ corners }) => ({
      isFramed: false,
      paint(canvas, colour, line, { boxes }) {
        if (!boxes) return;
        const points = corners.map(([x, y]) => ({ x, y }));
        for (const [at, point] of points.entries()) strokeLine(canvas, point, points[(at + 1) % 4]!, line, colour);
      },
    }),
  },
  pose: {
    columns: ["points"],
    cells: ({ keypoints }) => {
      const seen = keypoints.filter(({ score }) => score >= DRAWN_KEYPOINT_SCORE).length;
      return [`${seen}/${keypoints.length}`];
    },
    csvColumns: ["keypoints"],
    csvCells: (object) => [roundedPoints(object).flat().join(" ")],
    json: (object) => ({ keypoints: roundedPoints(object) }),
    coco: (object) => ({ keypoints: roundedPoints(object).flat() }),
    yolo: (object, image, hasScores) => [
      ...yoloSides(object, image),
      // Ultralytics refuses files with points beyond the edge.
      ...object.keypoints.flatMap(({ x, y, score }) => {
        const visibility = score >= DRAWN_KEYPOINT_SCORE ? VISIBLE : 0;
        return [fraction(x, image.width), fraction(y, image.height), hasScores ? score : visibility];
      }),
    ],
    tensorForms: ({ keypoints }) => [{ name: "keypoints", datatype: "FP32", shape: [-1, keypoints?.count ?? -1, 3] }],
    tensors: ({ keypoints }) => [keypoints.flatMap(({ x, y, score }) => [x, y, score])],
    shape: ({ keypoints }) => ({
      paint(canvas, colour, line, { skeleton }) {
        if (!skeleton) return;
        const isDrawn = (at: number): boolean => keypoints[at]!.score >= DRAWN_KEYPOINT_SCORE;
        for (const [from, to] of keypoints.length === COCO_KEYPOINTS.length ? COCO_SKELETON : []) {
          if (isDrawn(from) && isDrawn(to)) strokeLine(canvas, keypoints[from]!, keypoints[to]!, line, colour);
        }
        for (const [at, point] of keypoints.entries()) if (isDrawn(at)) paintPoint(canvas, point, line, colour);
      },
    }),
  },
  segment: {
    columns: ["pixels"],
    cells: ({ mask }) => [`${mask.area}`],
    csvColumns: ["area"],
    csvCells: ({ mask }, image) => [ofImage(mask, image).area],
    json({ mask }, form) {
      if (form === "none") return {};
      const { height, width } = mask;
      return {
        mask: form === "rle" ? mask.toJSON() : { size: [height, width], polygons: mask.toPolygons({ kind: "edges" }) },
      };
    },
    coco(object, image, form) {
      if (form === "none") return {};
      const mask = ofImage(object.mask, image);
      return {
        segmentation: form === "rle" ? mask.toJSON() : edgesOf(mask).map(joined),
      };
    },
    yolo: ({ mask: found }, image, hasScores) => {
      const mask = ofImage(found, image);
      // Results are as Ultralytics writes them; a dataset has the very pixels.
      const outline = hasScores ? joinedContours(mask) : joined(edgesOf(mask).flat());
      return outline.map((side, at) => side / (at % 2 === 0 ? image.width : image.height));
    },
    tensorForms: () => [
      { name: "masks", datatype: "BYTES", shape: [-1] },
      { name: "mask_sizes", datatype: "INT64", shape: [-1, 2] },
    ],
    tensors({ mask }) {
      const { counts, size } = mask.toJSON();
      return [[counts], size];
    },
    shape: ({ mask: found }, image) => ({
      paint(canvas, colour, _, { masks, opacity }) {
        if (!masks) return;
        const mask = ofImage(found, image);
        const { x, y, width, height } = mask.bounds;
        const coverage = coverOf(mask, Math.round(opacity * 255));
        canvas.stamp({ width, height, advance: width, coverage }, x, y, colour);
      },
    }),
  },
};

/** @throws {OptionError} If a mask is of another size than its image: nothing tells where it lies there */
function ofImage(mask: Mask, { width, height }: TaskResult): Mask {
  if (mask.width === width && mask.height === height) return mask;
  const found = `they have ${mask.width}x${mask.height} pixels and the image ${width}x${height}`;
  throw new OptionError(
    message(
      "place masks in an image",
      found,
      'load the model with `maskSize: "image"`, on the command line --mask-size image',
    ),
    "maskSize",
  );
}

/** The rings along the edges of each part of a mask: the one around it, then its holes. */
function edgesOf(mask: Mask): (readonly number[])[][] {
  return mask.toPolygons({ kind: "edges" }).map(({ outer, holes }) => [outer, ...holes]);
}

/** The contours of all parts of a mask as one. */
function joinedContours(mask: Mask): number[] {
  const contours = mask.toPolygons({ kind: "opencv" }).map(({ outer }) => outer);
  const rings = contours.filter((ring) => ring.length >= MIN_RING);
  return joined(rings.length > 0 ? rings : edgesOf(mask).map(([outer = []]) => outer));
}

/**
 * Several rings as one, x and y in turns: from the first point of the first to each of the others, and back the same way. Who
 * fills it by crossings sees nothing of these ways: parts stay parts, and holes stay holes.
 */
function joined(rings: readonly (readonly number[])[]): number[] {
  const [[startX = 0, startY = 0] = []] = rings;
  return rings.flatMap((ring, at) => {
    if (rings.length === 1) return [...ring];
    const closed = [...ring, ring[0]!, ring[1]!];
    return at === 0 ? closed : [...closed, startX, startY];
  });
}

/** Three points: fewer enclose nothing. */
const MIN_RING = 6;

/** The mask as what is laid on the pixels below it. @param level how much of its colour covers them, of 255 */
function coverOf({ bits, bounds: { width, height } }: Mask, level: number): Uint8Array {
  const cover = new Uint8Array(width * height);
  const words = wordsOf(width);
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at++) {
      if (((bits[y * words + (x >>> 5)]! >>> (x & 31)) & 1) === 1) cover[at] = level;
    }
  }
  return cover;
}

/** A square on a point, so that it stands out of the lines that meet there. */
function paintPoint(canvas: Canvas, { x, y }: Keypoint, line: number, colour: Colour): void {
  const [left, top] = [Math.round(x) - line, Math.round(y) - line];
  canvas.fillRect(left, top, left + 2 * line + 1, top + 2 * line + 1, colour);
}

/** What a detector would have said. */
function plain<Name extends keyof ObjectOfTask>({ objects, ...result }: ObjectsOf<Name>): DetectionResult {
  return { ...result, detections: objects };
}

function formsOf<Name extends keyof ObjectOfTask>(task: Name): ResultForms<ObjectsOf<Name>> {
  const details: Details<ObjectOfTask[Name]> = DETAILS[task];
  const { dota } = details;
  const shapes = (result: ObjectsOf<Name>): LabelledShape[] =>
    result.objects.map((object) => ({ ...object, ...details.shape(object, result) }));
  return {
    noun: DETECT_FORMS.noun,
    count: ({ objects }) => objects.length,
    doubts: (result) => DETECT_FORMS.doubts(plain(result)),
    columns: [...DETECT_FORMS.columns, ...details.columns],
    rows: (result) =>
      DETECT_FORMS.rows(plain(result)).map((cells, at) => [...cells, ...details.cells(result.objects[at]!)]),
    csvColumns: [...DETECT_FORMS.csvColumns, ...details.csvColumns],
    csvRows: (result) =>
      DETECT_FORMS.csvRows(plain(result)).map((cells, at) => [
        ...cells,
        ...details.csvCells(result.objects[at]!, result).map(String),
      ]),
    json(result, masks = "rle") {
      const { width, height, detections, ...rest } = DETECT_FORMS.json(plain(result)) as DetectionResult;
      const objects = detections.map((found, at) => ({ ...found, ...details.json(result.objects[at]!, masks) }));
      return { task, width, height, objects, ...rest };
    },
    yolo: (result, hasScores = true) =>
      result.objects.map((object) => labelLine(object, details.yolo(object, result, hasScores), hasScores)).join(""),
    coco: (result, imageId, categoryId, masks = "rle") =>
      result.objects.flatMap((object) =>
        DETECT_FORMS.coco({ ...plain(result), detections: [object] }, imageId, categoryId).map((entry) => ({
          ...entry,
          ...details.coco(object, result, masks),
        })),
      ),
    ...(dota && {
      dota: ({ objects }) => objects.map((object) => ({ label: object.label, line: dota(object) })),
    }),
    deepstack: (result) => DETECT_FORMS.deepstack!(plain(result)),
    cutOuts: (image, result) => DETECT_FORMS.cutOuts!(image, plain(result)),
    tensorForms: (model) => [...BOX_TENSORS, ...details.tensorForms(model)],
    tensors({ objects }, forms) {
      const values = objects.map((object) => details.tensors(object));
      const further = forms.slice(BOX_TENSORS.length).map((_, at) => values.flatMap((row) => row[at]!));
      return tensorsOf(forms, objects.length, [...boxValues(objects), ...further]);
    },
    draw: (image, result, options) => drawShapes(image, shapes(result), options),
    paint: (image, result, options) => paintShapes(image, shapes(result), options),
  };
}

const FORMS: Readonly<Record<"detect" | keyof ObjectOfTask, ResultForms>> = {
  detect: DETECT_FORMS,
  obb: formsOf("obb"),
  pose: formsOf("pose"),
  segment: formsOf("segment"),
};

/** Results of a detector, or of a model that says more of its objects. */
export function formsFor(task: "detect" | keyof ObjectOfTask): ResultForms {
  return FORMS[task];
}
