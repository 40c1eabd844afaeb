/** @module InferenceRoutes: the REST routes of the Open Inference Protocol, version 2. */

import manifest from "../../package.json" with { type: "json" };
import type { ResultTensor, TaskResult } from "../tasks/task-result.ts";
import type { DetectDesk } from "./detect-desk.ts";
import { refusal } from "./failure.ts";
import { badInference } from "./inference-options.ts";
import { HEADER_LENGTH, INFERENCE_INPUTS, type InferenceRequest, parseInferenceRequest } from "./inference-request.ts";

/** The only version of the only model. */
const VERSION = "1";

/** `GET /v2`. */
export function serverMetadata(): Response {
  return Response.json({ name: "bun-tensorrt", version: manifest.version, extensions: ["binary_tensor_data"] });
}

/** @throws {RequestError} 404 if the address names another model or version */
export function checkModel({ config: { name } }: DetectDesk, model: string, version: string | undefined): void {
  if (model !== name) {
    throw refusal(404, "no-such-model", `there is no model ${JSON.stringify(model)}`, `the model is ${name}`);
  }
  if (version !== undefined && version !== VERSION) {
    const found = `model ${name} has no version ${JSON.stringify(version)}`;
    throw refusal(404, "no-such-version", found, `its version is ${VERSION}`);
  }
}

/** `GET /v2/models/NAME[/versions/1]`. */
export function modelMetadata({ detector, tensorForms, config }: DetectDesk): Response {
  return Response.json({
    name: config.name,
    versions: [VERSION],
    platform: detector.backend.kind === "gpu" ? "tensorrt_plan" : "onnxruntime_onnx",
    inputs: INFERENCE_INPUTS,
    outputs: tensorForms,
  });
}

/** `POST /v2/models/NAME[/versions/1]/infer`. */
export async function inferRoute(request: Request, desk: DetectDesk): Promise<Response> {
  return await desk.serve(request, async (body, detect) => {
    const wanted = await parseInferenceRequest(body, request.headers.get(HEADER_LENGTH), desk.route);
    checkOutputs(wanted, desk);
    const result = await detect(wanted.image, wanted.options);
    const serialising = performance.now();
    const response = inferenceResponse(result, wanted, desk);
    desk.metrics.observe("serialise", performance.now() - serialising);
    return response;
  });
}

/** Refuse names that the model has not, before anything is run. @throws {RequestError} 400 */
function checkOutputs({ outputs }: InferenceRequest, { tensorForms }: DetectDesk): void {
  const names = tensorForms.map(({ name }) => name);
  for (const name of outputs?.keys() ?? []) {
    if (names.includes(name)) continue;
    throw badInference(`output ${JSON.stringify(name)} is unknown`, `the outputs are ${names.join(", ")}`);
  }
}

/**
 * Bytes of a tensor for the binary extension: little-endian, row-major; a text is its length in four bytes and UTF-8.
 *
 * @see https://github.com/kserve/open-inference-protocol (binary tensor data extension)
 */
function tensorBytes({ datatype, values }: ResultTensor): Uint8Array {
  switch (datatype) {
    case "FP32":
      return new Uint8Array(Float32Array.from(values as readonly number[]).buffer);
    case "INT64":
      return new Uint8Array(BigInt64Array.from(values as readonly number[], BigInt).buffer);
    case "UINT8":
      return Uint8Array.from(values as readonly number[]);
    case "BYTES":
      return Buffer.concat(
        (values as readonly string[]).flatMap((text) => {
          const bytes = Buffer.from(text);
          const length = Buffer.alloc(4);
          length.writeUInt32LE(bytes.length);
          return [length, bytes];
        }),
      );
  }
}

/** The answer, with the tensors in the JSON, or as bytes behind it where they were asked for so. */
function inferenceResponse(
  result: TaskResult,
  request: InferenceRequest,
  { forms, tensorForms, config }: DetectDesk,
): Response {
  const blocks: Uint8Array[] = [];
  const outputs = forms
    .tensors(result, tensorForms)
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
    model_name: config.name,
    model_version: VERSION,
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
