/** @module InferenceRoutes: the REST routes of the Open Inference Protocol, version 2. */

import manifest from "../../package.json" with { type: "json" };
import type { ServiceMetrics } from "../service/metrics.ts";
import type { DetectDesk } from "./detect-desk.ts";
import { refusal } from "./failure.ts";
import { HEADER_LENGTH, INFERENCE_INPUTS, parseInferenceRequest } from "./inference-request.ts";
import { checkOutputs, INFERENCE_OUTPUTS, inferenceResponse } from "./inference-response.ts";
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
    const result = await detect(wanted.picture, wanted.options);
    const serialising = performance.now();
    const response = inferenceResponse(result, wanted, { model: name, version: VERSION });
    metrics.observe("serialise", performance.now() - serialising);
    return response;
  });
}
