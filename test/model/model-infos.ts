/** @module Model infos: declarations of models for tests of recognition. */

import type { DType, TensorInfo } from "../../src/core/tensor.ts";
import type { ModelInfo } from "../../src/model/model-info.ts";

/** `["output0", [1, 84, 8400]]`, f32 unless a dtype is added. */
export type Declared = readonly [name: string, shape: readonly number[], dtype?: DType];

/** A tensor's declaration. */
export function info([name, shape, dtype = "f32"]: Declared): TensorInfo {
  return { name, shape, dtype };
}

/** What {@linkcode model} takes beside the outputs. */
export interface ModelParts {
  /** Default: `images` f32 [1, 3, 640, 640]. */
  readonly inputs?: readonly Declared[];
  readonly metadata?: Readonly<Record<string, string>>;
}

/** A model with these outputs. */
export function model(outputs: readonly Declared[], parts: ModelParts = {}): ModelInfo {
  const { inputs = [["images", [1, 3, 640, 640]]], metadata = {} } = parts;
  return { inputs: inputs.map(info), outputs: outputs.map(info), metadata };
}

/** Python's repr of a dict of `count` names, as Ultralytics writes it. */
export function namesMetadata(count: number): string {
  return `{${Array.from({ length: count }, (_, id) => `${id}: 'thing ${id}'`).join(", ")}}`;
}

/** Metadata of an Ultralytics export. */
export function ultralytics(count: number, more: Readonly<Record<string, string>> = {}): Record<string, string> {
  return {
    description: "Ultralytics YOLO11n model trained on coco.yaml",
    author: "Ultralytics",
    task: "detect",
    stride: "32",
    imgsz: "[640, 640]",
    names: namesMetadata(count),
    ...more,
  };
}

/** An input whose batch, height and width are open. */
export const DYNAMIC_IMAGES: Declared = ["images", [-1, 3, -1, -1]];
