/** @module InferenceRoutes: the REST routes of the Open Inference Protocol, version 2. */

import manifest from "../../package.json" with { type: "json" };
import type { ServiceMetrics } from "../service/metrics.ts";
import type { DetectionResult } from "../tasks/detect/detection.ts";
import type { DetectDesk } from "./detect-desk.ts";
import { refusal } from "./failure.ts";
import { HEADER_LENGTH, INFERENCE_INPUTS, type InferenceRequest, parseInferenceRequest } from "./inference-request.ts";
import { badInference, type ProtocolTensor, tensorBytes } from "./protocol-tensor.ts";
import type { ServedDetector } from "./served-detector.ts";

/** The only version of the only model. */
const VERSION = "1";

/** What the routes work with. */
export interface InferenceRouteParts {
  readonly detector: ServedDetector;
  readonly name: string;
  readonly desk: DetectDesk;
  readonly metrics: ServiceMetrics;
}

/** `GET /v2`. */
export function serverMetadata(): Response {
  return Response.json({ name: "bun-tensorrt", version: manifest.version, extensions: ["binary_tensor_data"] });
}

/** @throws {RequestError} 404 if the address names another model or version */
export function checkModel(name: string, model: string, version: string | undefined): void {
  if (model !== name) {
    throw refusal(404, "no-such-model", `there is no model ${JSON.stringify(model)}`, `the model is ${name}`);
  }
  if (version !== undefined && version !== VERSION) {
    const found = `model ${name} has no version ${JSON.stringify(version)}`;
    throw refusal(404, "no-such-version", found, `its version is ${VERSION}`);
  }
}

/** `GET /v2/models/NAME[/versions/1]`. */
export function modelMetadata({ detector, name }: InferenceRouteParts): Response {
  return Response.json({
    name,
    versions: [VERSION],
    platform: detector.backend.kind === "gpu" ? "tensorrt_plan" : "onnxruntime_onnx",
    inputs: INFERENCE_INPUTS,
    outputs: INFERENCE_OUTPUTS,
  });
}

/** `POST /v2/models/NAME[/versions/1]/infer`. */
export async function inferRoute(request: Request, parts: InferenceRouteParts): Promise<Response> {
  const { desk, metrics, name } = parts;
  return await desk.serve(request, async (body, detect) => {
    const wanted = await parseInferenceRequest(body, request.headers.get(HEADER_LENGTH));
    checkOutputs(wanted);
    const result = await detect(wanted.image, wanted.options);
    const serialising = performance.now();
    const response = inferenceResponse(result, wanted, { model: name, version: VERSION });
    metrics.observe("serialise", performance.now() - serialising);
    return response;
  });
}

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
