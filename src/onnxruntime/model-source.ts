/** @module Model source: a file or bytes a session is made from, and what to say when they are no model. */

import { closeSync, openSync, readSync, statSync } from "node:fs";
import { open } from "node:fs/promises";
import { ModelError, message, type OnnxRuntimeError } from "../core/errors.ts";
import { kindOf } from "../core/paths.ts";
import { ELEMENT_TYPES } from "../core/tensor.ts";
import { elementTypes, isOnnxOperator } from "../onnx/element-types.ts";
import { createNode, type OnnxNode, OnnxTensor } from "../onnx/messages.ts";
import { OnnxModel } from "../onnx/model.ts";

/** What other kinds of file begin with. */
const LOOKALIKES: readonly (readonly [head: string, kind: string, hint: string])[] = [
  ["version https://git-lfs", "a Git LFS pointer", "fetch the file itself: git lfs pull"],
  ["PK\u0003\u0004", "a ZIP archive, as PyTorch's .pt files are", "export the model to ONNX first"],
  ["<!DOCTYPE", "an HTML page", "download the file itself, not the page about it"],
  ["<html", "an HTML page", "download the file itself, not the page about it"],
  ["ftrt", "a TensorRT plan", "load it on the GPU backend"],
];

/** What to do about a refusal, by what ONNX Runtime says; it has one code for most of them. */
const HINTS: readonly (readonly [pattern: RegExp, hint: string])[] = [
  [/protobuf parsing failed/i, "the file is not an ONNX model, or it is truncated: get it again"],
  [
    /not a registered function\/op|No Op registered/,
    "ONNX Runtime does not know this operator, which is mostly a TensorRT plugin: export the model without it",
  ],
  [/Unsupported model IR version/, "save the model with an older version of the onnx package"],
  [/Opset \d+ is under development/, "export the model with an older opset"],
  [
    /external data|GetFileLength for .* failed|cannot get file size|model_path must not be empty/i,
    "its weights lie in files of their own: load it by its path, with those files where it says",
  ],
  [/External initializer: .* (out of bounds|in full)/, "a file of its weights is truncated: get it again"],
  [/ORT_NOT_IMPLEMENTED/, "export the model with operators and element types ONNX Runtime has on the CPU"],
];

/** What is done with a model, for messages. */
export function loadAction(source: string): string {
  return `load the model ${JSON.stringify(source)}`;
}

/** An error about a model, with the action filled in. */
export function modelError(source: string, found: string, hint?: string, cause?: unknown): ModelError {
  const text = message(loadAction(source), found, hint);
  return new ModelError(text, source, cause === undefined ? undefined : { cause });
}

/** The first bytes of a file, as Latin-1. */
function headOf(path: string): string {
  const bytes = Buffer.alloc(64);
  const file = openSync(path, "r");
  try {
    return bytes.toString("latin1", 0, readSync(file, bytes));
  } finally {
    closeSync(file);
  }
}

/**
 * Look at a file before ONNX Runtime does.
 *
 * @returns its first bytes
 * @throws {ModelError} If it is not there, a folder, a pipe or device, empty or not readable
 */
export function inspectModelFile(path: string): string {
  try {
    const stats = statSync(path);
    if (stats.isDirectory()) throw modelError(path, "it is a folder", "name the .onnx file in it");
    if (!stats.isFile()) throw modelError(path, `it is ${kindOf(stats)}`, "write the model to a file first");
    if (stats.size === 0) throw modelError(path, "it is empty", "get the file again");
    return headOf(path);
  } catch (error) {
    if (error instanceof ModelError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    if (code === "ENOENT") throw modelError(path, "there is no such file", "check the path", error);
    throw modelError(path, `it cannot be read (${code})`, undefined, error);
  }
}

const QUANTISER = "QuantizeLinear";
const PIECE_BYTES = 4 * 2 ** 20;

/** True if a file has a quantiser, which most models have not: it is read in pieces. False too where it cannot be read. */
async function hasQuantiser(path: string): Promise<boolean> {
  const file = await open(path).catch(() => undefined);
  if (file === undefined) return false;
  try {
    const overlap = QUANTISER.length - 1;
    const piece = Buffer.alloc(overlap + PIECE_BYTES);
    for (;;) {
      const { bytesRead } = await file.read(piece, overlap, PIECE_BYTES);
      if (bytesRead === 0) return false;
      if (piece.subarray(0, overlap + bytesRead).includes(QUANTISER)) return true;
      piece.copyWithin(0, bytesRead, bytesRead + overlap);
    }
  } finally {
    await file.close();
  }
}

/**
 * A model whose quantisers ONNX Runtime would run wrongly, made right: those that read FP16 cut fractions off (1.28), while those of
 * FP32 round to the nearest. They read FP32 instead. It also takes a Relu away that stands before a QuantizeLinear of FP8, as if that
 * had no numbers below zero: a Max with zero stays.
 *
 * @param model a path, or bytes
 * @returns `undefined` for a model that it runs as it is
 */
export async function withRightQuantisers(model: string | Uint8Array): Promise<Uint8Array | undefined> {
  const isPath = typeof model === "string";
  if (
    isPath
      ? !(await hasQuantiser(model))
      : !Buffer.from(model.buffer, model.byteOffset, model.length).includes(QUANTISER)
  )
    return undefined;
  const onnx = OnnxModel.readIf(isPath ? await Bun.file(model).bytes() : model);
  if (onnx === undefined) return undefined;
  const { graph } = onnx;
  const types = elementTypes(graph);
  const taken = new Set(types.keys());
  let count = 0;
  const asFloat = (name: string): readonly [OnnxNode, string] => {
    let free = `${name}_rounded`;
    while (taken.has(free)) free = `${free}_`;
    taken.add(free);
    count++;
    return [createNode("Cast", [name], [free], { to: ELEMENT_TYPES.indexOf("f32") }), free];
  };
  const producers = graph.producers();
  const isQuantiser = (node: OnnxNode): boolean => node.op === QUANTISER && isOnnxOperator(node);
  const isToFp8 = (node: OnnxNode): boolean => types.get(node.inputs[2]!)?.startsWith("f8") === true;
  const toFp8 = graph.nodes.filter((node) => isQuantiser(node) && isToFp8(node));
  const relus = new Set(toFp8.map(({ inputs }) => producers.get(inputs[0]!)).filter((node) => node?.op === "Relu"));
  const zeroLike = (tensor: string): string => {
    const isHalf = types.get(tensor) === "f16";
    const name = isHalf ? "zero_of_max_f16" : "zero_of_max";
    const [dtype, zero] = isHalf ? (["f16", new Float16Array(1)] as const) : (["f32", new Float32Array(1)] as const);
    graph.initializers.set(name, OnnxTensor.of(name, dtype, [], zero));
    return name;
  };
  graph.nodes = graph.nodes.flatMap((node) => {
    const { inputs } = node;
    if (relus.has(node)) {
      count++;
      return [createNode("Max", [inputs[0]!, zeroLike(inputs[0]!)], node.outputs)];
    }
    const isHalf = types.get(inputs[0]!) === "f16" && types.get(inputs[1]!) === "f16";
    if (!isQuantiser(node) || !isHalf) return [node];
    const [tensor, read] = asFloat(inputs[0]!);
    const [scale, scaled] = asFloat(inputs[1]!);
    inputs.splice(0, 2, read, scaled);
    return [tensor, scale, node];
  });
  return count === 0 ? undefined : onnx.write();
}

/**
 * Say why ONNX Runtime refused a model.
 *
 * @param head  first bytes of the model, as Latin-1
 * @param cause ONNX Runtime's error about {@linkcode loadAction}
 */
export function refusedModel(source: string, head: string, cause: OnnxRuntimeError): ModelError {
  const lookalike = LOOKALIKES.find(([start]) => head.startsWith(start));
  if (lookalike !== undefined) return modelError(source, `it is ${lookalike[1]}`, lookalike[2], cause);
  const [found = ""] = cause.message.slice(message(loadAction(source), "").length).split("\n");
  const hint = HINTS.find(([pattern]) => pattern.test(cause.message))?.[1];
  return modelError(source, found, hint, cause);
}
