/** @module ModelFile: the bytes of a model, and whether they are a plan or an ONNX model. */

import { isEmbedded } from "../../core/embedded.ts";
import { inspectModelFile } from "../../onnxruntime/model-source.ts";
import { readPlan } from "../../tensorrt/plan-file.ts";

/** Endings of plans. */
const PLAN_FILE = /\.(plan|engine|trt)$/i;

/** A model as it was given. */
export interface ModelFile {
  readonly bytes: Uint8Array;
  /** `undefined` for bytes, and for a file inside an executable. */
  readonly path: string | undefined;
  /** For messages. */
  readonly source: string;
  readonly isPlan: boolean;
  readonly isRead: true;
}

/**
 * True if a path is named like a plan, or the bytes begin like one.
 *
 * @param bytes where they are known; a path alone is judged by its ending
 */
export function isPlan(bytes: Uint8Array | undefined, path: string | undefined): boolean {
  if (path !== undefined && PLAN_FILE.test(path)) return true;
  if (bytes === undefined || bytes.length === 0 || (path !== undefined && /\.onnx$/i.test(path))) return false;
  const { header, origin } = readPlan(bytes, path ?? "the model");
  return header !== undefined || origin !== undefined;
}

/** True if a model is a plan, by its name or its bytes. */
export function isPlanSource(source: string | Uint8Array): boolean {
  return typeof source === "string" ? isPlan(undefined, source) : isPlan(source, undefined);
}

/**
 * Read a model.
 *
 * @throws {ModelError} If the file is missing, a folder, empty or not readable
 */
export async function readModelFile(model: string | Uint8Array): Promise<ModelFile> {
  if (typeof model !== "string") {
    const source = "the model from bytes";
    return { bytes: model, path: undefined, source, isPlan: isPlan(model, undefined), isRead: true };
  }
  const isFile = !isEmbedded(model);
  if (isFile) inspectModelFile(model);
  const bytes = await Bun.file(model).bytes();
  const path = isFile ? model : undefined;
  return { bytes, path, source: model, isPlan: isPlan(bytes, model), isRead: true };
}
