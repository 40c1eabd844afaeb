/** @module Write model: a converted model as files that appear complete or not at all; weights of other files are streamed. */

import { closeSync, fstatSync, openSync, readSync, renameSync, writeSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { ModelError, message } from "../core/errors.ts";
import { discard, temporaryPath, writeError, writeFileWhole } from "../core/whole-file.ts";
import { halvesOf, type PendingWeights } from "../onnx/float16.ts";
import { FP16_MAX } from "../onnx/float16-choice.ts";
import { OnnxTensor } from "../onnx/messages.ts";
import { externalDataFiles, externalDataPaths, type OnnxModel } from "../onnx/model.ts";

/** What is read of weights at once: a multiple of every element's width. */
const PIECE_BYTES = 16 * 2 ** 20;
/** Where weights begin in their file: TensorRT and ONNX Runtime map it. */
const ALIGNMENT = 4096;

/** A model that is written. */
interface WrittenModel {
  readonly onnx: OnnxModel;
  /** Weights of other files that become FP16. */
  readonly pending: readonly PendingWeights[];
  /** The file that the model was read from; `undefined` for bytes. */
  readonly source: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called with bytes of weights. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** Where elements lie in a file. */
interface Stretch {
  readonly name: string;
  readonly path: string;
  readonly offset: number;
  readonly length: number;
  readonly isHalved: boolean;
}

/** Bytes of a tensor in another file. @throws {ModelError} If the file lies elsewhere, or the tensor says it wrongly */
function stretchOf(name: string, tensor: OnnxTensor, source: string, isHalved: boolean): Stretch {
  const { location = "", offset = "0", length } = tensor.external;
  const path = join(dirname(resolve(source)), location);
  const start = Number(offset);
  const bytes = length === undefined ? Bun.file(path).size - start : Number(length);
  if (Number.isSafeInteger(start) && Number.isSafeInteger(bytes) && start >= 0 && bytes >= 0) {
    return { name, path, offset: start, length: bytes, isHalved };
  }
  const found = `its weights ${JSON.stringify(name)} lie at ${offset}, ${length} bytes long`;
  throw new ModelError(message(`convert ${JSON.stringify(source)}`, found), source);
}

/** Read a part of a file. @throws {ModelError} If the file is shorter */
function readPart(descriptor: number, { path, name }: Stretch, at: number, length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  for (let read = 0; read < length; ) {
    const count = readSync(descriptor, bytes, read, length - read, at + read);
    if (count === 0) {
      const found = `${JSON.stringify(path)} ends within its weights ${JSON.stringify(name)}`;
      throw new ModelError(message("convert a model", found, "copy the file again"), path);
    }
    read += count;
  }
  return bytes;
}

/** Elements of weights that lie in another file, as FP32. @throws {ModelError} If they cannot be read */
export function readExternalFloats(tensor: OnnxTensor, source: string): Float32Array {
  const stretch = stretchOf(tensor.name, tensor, source, false);
  const descriptor = openSync(stretch.path, "r");
  try {
    const { buffer } = readPart(descriptor, stretch, stretch.offset, stretch.length);
    return tensor.elementType === "f16" ? Float32Array.from(new Float16Array(buffer)) : new Float32Array(buffer);
  } finally {
    closeSync(descriptor);
  }
}

/** Write all of some bytes. @throws {BunTensorRtError} If there is no room */
function writeAll(descriptor: number, bytes: Uint8Array, path: string): void {
  try {
    for (let at = 0; at < bytes.length; ) at += writeSync(descriptor, bytes, at);
  } catch (error) {
    throw writeError(JSON.stringify(path), error);
  }
}

/** Weights as FP16. @throws {ModelError} If it has not all of them */
function fittingHalves(floats: Float32Array, { name, path }: Stretch): Float16Array<ArrayBuffer> {
  for (let at = 0; at < floats.length; at++) {
    if (Math.abs(floats[at]!) <= FP16_MAX) continue;
    const found = `its weights ${JSON.stringify(name)} hold ${floats[at]}, which FP16 has not`;
    throw new ModelError(message("convert a model to FP16", found, "leave out their layer with `exclude`"), path);
  }
  return halvesOf(floats);
}

/** The weights of other files, one after the other in a file of their own, piece by piece. */
async function copyWeights(
  stretches: readonly Stretch[],
  target: number,
  path: string,
  { signal, onProgress }: Pick<WrittenModel, "signal" | "onProgress">,
): Promise<Map<string, { offset: number; length: number }>> {
  const places = new Map<string, { offset: number; length: number }>();
  const total = stretches.reduce((sum, { length }) => sum + length, 0);
  let done = 0;
  for (const stretch of stretches) {
    const { size } = fstatSync(target);
    const padding = (ALIGNMENT - (size % ALIGNMENT)) % ALIGNMENT;
    writeAll(target, new Uint8Array(padding), path);
    const source = openSync(stretch.path, "r");
    try {
      for (let at = 0; at < stretch.length; at += PIECE_BYTES) {
        signal?.throwIfAborted();
        const bytes = readPart(source, stretch, stretch.offset + at, Math.min(PIECE_BYTES, stretch.length - at));
        const halves = stretch.isHalved ? fittingHalves(new Float32Array(bytes.buffer), stretch) : undefined;
        writeAll(target, halves === undefined ? bytes : new Uint8Array(halves.buffer), path);
        done += bytes.length;
        onProgress?.(done, total);
        // Others have their turn between two pieces.
        await Bun.sleep(0);
      }
    } finally {
      closeSync(source);
    }
    const offset = size + padding;
    places.set(stretch.name, { offset, length: fstatSync(target).size - offset });
  }
  return places;
}

/**
 * Write a model. Weights that lay in other files go into one beside it, `model.onnx.data`.
 *
 * @returns bytes that were written
 * @throws {BunTensorRtError} If it cannot be written: nothing is left behind then
 */
export async function writeModel(path: string, model: WrittenModel): Promise<number> {
  const { onnx, pending, source } = model;
  const { initializers } = onnx.graph;
  const halved = new Map(pending.map((one) => [one.name, one.source]));
  const external = [...initializers].filter(([name, tensor]) => tensor.isExternal || halved.has(name));
  if (external.length === 0 || source === undefined) {
    const bytes = onnx.write();
    await writeFileWhole(path, bytes);
    return bytes.length;
  }
  externalDataPaths(await Bun.file(source).bytes(), source);
  const stretches = external.map(([name, tensor]) =>
    stretchOf(name, halved.get(name) ?? tensor, source, halved.has(name)),
  );
  const data = `${path}.data`;
  const temporary = temporaryPath(dirname(path));
  try {
    const target = openForWriting(temporary, path);
    let places: Awaited<ReturnType<typeof copyWeights>>;
    let size: number;
    try {
      places = await copyWeights(stretches, target, path, model);
      ({ size } = fstatSync(target));
    } finally {
      closeSync(target);
    }
    for (const [name, { elementType, shape }] of external) {
      initializers.set(
        name,
        OnnxTensor.elsewhere(name, elementType, shape, { location: basename(data), ...places.get(name)! }),
      );
    }
    const bytes = onnx.write();
    refuseNested(bytes, basename(data), path, source);
    renameSync(temporary, data);
    await writeFileWhole(path, bytes).catch((error: unknown) => {
      discard(data);
      throw error;
    });
    return bytes.length + size;
  } finally {
    discard(temporary);
  }
}

function openForWriting(temporary: string, path: string): number {
  try {
    return openSync(temporary, "wx");
  } catch (error) {
    throw writeError(JSON.stringify(path), error);
  }
}

/** Weights of branches and loops stay in their files, which are found beside the model only. */
function refuseNested(bytes: Uint8Array, data: string, path: string, source: string): void {
  const others = externalDataFiles(bytes).filter((location) => location !== data);
  if (others.length === 0 || dirname(resolve(path)) === dirname(resolve(source))) return;
  const found = `weights of its branches lie in ${JSON.stringify(others[0])}`;
  const hint = `write it beside ${JSON.stringify(source)}`;
  throw new ModelError(message(`write ${JSON.stringify(path)}`, found, hint), path);
}
