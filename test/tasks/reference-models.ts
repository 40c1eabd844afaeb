/** @module Reference models: runs of the shared models as Ultralytics runs them, and the results it gave. */

import { readFileSync } from "node:fs";
import { createTensor } from "../../src/core/tensor.ts";
import { place, pointsToSource, type Region, rectangularSize } from "../../src/image/geometry.ts";
import { decodeImage } from "../../src/image/image-file.ts";
import { YOLO_PREPROCESSING } from "../../src/image/preprocessing.ts";
import { Preprocessor } from "../../src/image/preprocessor.ts";
import { Session } from "../../src/onnxruntime/session.ts";
import { isMissing, sharedFile, sharedPath } from "../support/shared.ts";

/** What a reference file says of an object. */
export interface ReferenceObject {
  readonly classId: number;
  readonly score: number;
  /** x1, y1, x2, y2 in pixels of the image. */
  readonly box: readonly number[];
  /** Of `native`: at the image's size. */
  readonly mask?: { readonly size: readonly [number, number]; readonly counts: string };
  /** Of `detections`: at the input's size. */
  readonly maskInput?: { readonly size: readonly [number, number]; readonly counts: string };
  readonly xywhr?: readonly number[];
  readonly corners?: readonly (readonly [number, number])[];
  readonly envelope?: readonly number[];
}

/** What a reference file says of an image. */
export interface ReferenceImage {
  readonly detections: readonly ReferenceObject[];
  readonly native?: readonly ReferenceObject[];
  readonly inputMaskSize?: readonly [height: number, width: number] | null;
}

/** A model and how it was run. */
export interface ReferenceModel {
  /** Below `models/tasks`. */
  readonly model: string;
  /** Below `reference`, without `.json`. */
  readonly reference: string;
  /** Longer side of the input. */
  readonly size: number;
  /** True if the input had the ratio of the image, as Ultralytics runs models of any size. */
  readonly isRectangular?: boolean;
  /** How many of its images are run: all of them but for the time that it takes. */
  readonly images?: number;
}

/** One image, run. */
export interface ReferenceRun {
  readonly name: string;
  readonly want: ReferenceImage;
  readonly region: Region;
  /** Its rows, one after the other, whichever way round they lie in the output. */
  readonly rows: Float32Array;
  readonly rowLength: number;
  /** f32 [channels, height, width] and its shape, of a model for masks. */
  readonly prototypes: { readonly data: Float32Array; readonly shape: readonly number[] } | undefined;
}

/** True if a model, or what it gave, is not there. */
export function isMissingModel({ model, reference }: ReferenceModel): boolean {
  return isMissing("models", "tasks", `${model}.onnx`) || isMissing("reference", `${reference}.json`);
}

function imagePath(name: string): string | undefined {
  const folders = [
    ["images", "photos"],
    ["images", "coco_val2017"],
    ["reference", "rotated"],
  ];
  return folders.map((folder) => sharedFile(...folder, name)).find((path) => path !== undefined);
}

/** Run a model on each image of its reference file. */
export async function* runReference(model: ReferenceModel): AsyncGenerator<ReferenceRun> {
  const file = readFileSync(sharedPath("reference", `${model.reference}.json`), "utf8");
  const images = (JSON.parse(file) as { pictures: Record<string, ReferenceImage> }).pictures;
  const preprocessor = new Preprocessor(YOLO_PREPROCESSING);
  await using session = await Session.load(sharedPath("models", "tasks", `${model.model}.onnx`));
  for (const [name, want] of Object.entries(images).slice(0, model.images)) {
    const path = imagePath(name);
    if (path === undefined) continue;
    const image = await decodeImage(path);
    const [width, height] = model.isRectangular
      ? rectangularSize(image.width, image.height, { longSide: model.size, stride: 32 })
      : [model.size, model.size];
    const region = place(image.width, image.height, width, height, "letterbox");
    const input = createTensor("f32", [1, 3, height, width]);
    preprocessor.run(image, input, 0, region);
    const outputs = await session.run({ [session.inputs[0]!.name]: input });
    const { data, shape } = outputs.get("output0")!;
    const prototypes = outputs.get("output1");
    const [, first, second] = shape as [number, number, number];
    const isRaw = first < 200 && second > first * 2;
    const rowLength = isRaw ? first : second;
    const rows = data as Float32Array;
    yield {
      name,
      want,
      region,
      rows: isRaw ? rows.map((_, at) => rows[(at % first) * second + Math.floor(at / first)]!) : rows.slice(),
      rowLength,
      prototypes: prototypes && { data: (prototypes.data as Float32Array).slice(), shape: prototypes.shape },
    };
  }
}

/** Boxes of the input in pixels of the image, clipped to it. */
export function boxesToSource(boxes: Float32Array, count: number, region: Region): Float32Array<ArrayBuffer> {
  const mapped = boxes.slice(0, count * 4);
  pointsToSource(mapped, count * 2, region, "clip");
  return mapped;
}
