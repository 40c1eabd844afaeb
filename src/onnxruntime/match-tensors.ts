/** @module Match tensors: a caller's tensors against what a model declares, before any native call. */

import { message, ShapeError } from "../core/errors.ts";
import { nearestWord } from "../core/options.ts";
import { fitsShape, formatShape, formatTensorInfo, type Tensor, type TensorInfo } from "../core/tensor.ts";
import type { BoundInput } from "./inference.ts";

function refuseName(name: string, infos: readonly TensorInfo[], role: "input" | "output", label: string): never {
  const names = infos.map((info) => info.name);
  const near = nearestWord(name, names);
  const expected = `${role}s ${names.join(", ") || "none"}`;
  const hint = near === undefined ? `its ${expected}` : `did you mean ${JSON.stringify(near)}?`;
  throw new ShapeError(message(`run ${label}`, `it has no ${role} ${JSON.stringify(name)}`, hint), {
    tensor: name,
    expected,
    actual: name,
  });
}

function hintFor({ dtype, shape }: Tensor, info: TensorInfo): string | undefined {
  if (dtype !== info.dtype) return `convert the elements to ${info.dtype}`;
  const [n = 0, h = 0, w = 0, c = 0] = shape;
  const isChannelsLast = shape.length === 4 && fitsShape([n, c, h, w], info.shape);
  return isChannelsLast ? "the model wants CHW, this looks like HWC" : undefined;
}

/**
 * Pair each input of a model with the tensor of its name. Whether dimensions of the same symbol agree is ONNX Runtime's
 * to say; an input declared without dimensions may have any.
 *
 * @throws {ShapeError} If a name is unknown or missing, or a tensor has another dtype or shape than declared
 */
export function matchInputs(
  infos: readonly TensorInfo[],
  tensors: Readonly<Record<string, Tensor>>,
  label: string,
): BoundInput[] {
  for (const name of Object.keys(tensors)) {
    if (!infos.some((info) => info.name === name)) refuseName(name, infos, "input", label);
  }
  return infos.map((info) => {
    const tensor = Object.hasOwn(tensors, info.name) ? tensors[info.name] : undefined;
    const expected = `${info.dtype} ${formatShape(info.shape)}`;
    if (tensor === undefined) {
      const given = Object.keys(tensors).join(", ") || "none";
      const text = message(`run ${label}`, `input ${formatTensorInfo(info)} is missing, got ${given}`);
      throw new ShapeError(text, { tensor: info.name, expected, actual: "missing" });
    }
    const fits = info.shape.length === 0 || fitsShape(tensor.shape, info.shape);
    if (tensor.dtype === info.dtype && fits) return { info, tensor };
    const actual = `${tensor.dtype} ${formatShape(tensor.shape)}`;
    const found = `input ${JSON.stringify(info.name)} must be ${expected}, got ${actual}`;
    const text = message(`run ${label}`, found, hintFor(tensor, info));
    throw new ShapeError(text, { tensor: info.name, expected, actual });
  });
}

/** The outputs a caller wants, in the caller's order; all by default. @throws {ShapeError} If a name is unknown */
export function matchOutputs(
  infos: readonly TensorInfo[],
  wanted: readonly string[] | undefined,
  label: string,
): readonly TensorInfo[] {
  if (wanted === undefined) return infos;
  return [...new Set(wanted)].map(
    (name) => infos.find((info) => info.name === name) ?? refuseName(name, infos, "output", label),
  );
}
