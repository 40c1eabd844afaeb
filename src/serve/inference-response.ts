/** @module InferenceResponse: a result as the Open Inference Protocol answers it. */

import type { DetectionResult } from "../detector/detection.ts";
import { HEADER_LENGTH, type InferenceRequest } from "./inference-request.ts";
import { badInference, type ProtocolTensor, tensorBytes } from "./protocol-tensor.ts";

/** The outputs of the served model; N rows, best score first. */
export const INFERENCE_OUTPUTS = [
  { name: "boxes", datatype: "FP32", shape: [-1, 4] },
  { name: "scores", datatype: "FP32", shape: [-1] },
  { name: "classes", datatype: "INT64", shape: [-1] },
  { name: "labels", datatype: "BYTES", shape: [-1] },
] as const;

/** Who answers. */
export interface Answerer {
  readonly model: string;
  readonly version: string;
}

function outputTensors({ detections }: DetectionResult): ProtocolTensor[] {
  const rows = detections.length;
  const values: Readonly<Record<string, readonly (number | string)[]>> = {
    boxes: detections.flatMap(({ box }) => box),
    scores: detections.map(({ score }) => score),
    classes: detections.map(({ classId }) => classId),
    labels: detections.map(({ label }) => label),
  };
  return INFERENCE_OUTPUTS.map(({ name, datatype, shape }) => ({
    name,
    datatype,
    shape: shape.length === 2 ? [rows, 4] : [rows],
    values: values[name]!,
  }));
}

/** Refuse names that the model has not, before anything is run. @throws {RequestError} 400 */
export function checkOutputs({ outputs }: InferenceRequest): void {
  const names = INFERENCE_OUTPUTS.map(({ name }): string => name);
  for (const name of outputs?.keys() ?? []) {
    if (names.includes(name)) continue;
    throw badInference(`output ${JSON.stringify(name)} is unknown`, `the outputs are ${names.join(", ")}`);
  }
}

/** The answer, with the tensors in the JSON, or as bytes behind it where they were asked for so. */
export function inferenceResponse(result: DetectionResult, request: InferenceRequest, answerer: Answerer): Response {
  const blocks: Uint8Array[] = [];
  const outputs = outputTensors(result)
    .filter(({ name }) => request.outputs?.has(name) ?? true)
    .map((tensor) => {
      const { name, datatype, shape, values } = tensor;
      const head = { name, datatype, shape };
      if (!(request.outputs?.get(name) ?? request.isBinary)) return { ...head, data: values };
      const bytes = tensorBytes(tensor);
      blocks.push(bytes);
      return { ...head, parameters: { binary_data_size: bytes.length } };
    });
  const { width, height, timing } = result;
  const json = {
    model_name: answerer.model,
    model_version: answerer.version,
    ...(request.id === undefined ? {} : { id: request.id }),
    parameters: { width, height, total_ms: timing.total, infer_ms: timing.infer },
    outputs,
  };
  if (blocks.length === 0) return Response.json(json);
  const head = Buffer.from(JSON.stringify(json));
  return new Response(Buffer.concat([head, ...blocks]), {
    headers: { "content-type": "application/octet-stream", [HEADER_LENGTH]: String(head.length) },
  });
}
