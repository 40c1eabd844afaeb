/** @module DeepStack: the routes below `/v1/vision`, as clients of DeepStack and CodeProject.AI ask for them. */

import { bearerOf, checkToken } from "./admission.ts";
import { type DetectDesk, labelsOf } from "./detect-desk.ts";
import { refusal } from "./failure.ts";
import { checkModel } from "./inference.ts";
import { addField, readForm, typeOf, type UploadedForm } from "./upload.ts";

/** What is asked for. */
export type DeepstackKind = "objects" | "face" | "scene" | "custom";

/** What DeepStack says where it was started without one. */
const ABSENT: Readonly<Record<DeepstackKind, string>> = {
  objects: "Detection endpoint not activated",
  face: "Face endpoints not activated",
  scene: "Scene endpoint not activated",
  custom: "Custom vision endpoint not activated",
};

/** @throws {RequestError} 403 if the model gives nothing of the kind */
function checkKind({ route, detector }: DetectDesk, kind: DeepstackKind): void {
  const labels = labelsOf(detector);
  const isFaces = labels.length === 1 && labels[0]!.toLowerCase() === "face";
  if (kind === "scene" ? route === "classify" : route === "detect" && (kind !== "face" || isFaces)) return;
  const own = route === "detect" ? "/v1/vision/detection" : route === "classify" ? "/v1/vision/scene" : `/${route}`;
  const hint = `the model is asked at ${own}`;
  throw refusal(403, "wrong-task", ABSENT[kind], hint);
}

/** Most bytes of a form without a file. */
const LONGEST_FIELDS = 4096;

/** The form, once its key is the token. @throws {RequestError} 401, or what a form is refused with */
async function formOf(request: Request, body: Uint8Array, { config }: DetectDesk): Promise<Required<UploadedForm>> {
  const { token, maxFiles } = config;
  const form: Required<UploadedForm> = { images: [], fields: new Map() };
  const type = typeOf(request);
  if (type === "multipart/form-data") await readForm(request, body, maxFiles, form);
  // Without a file that is what clients send.
  else if (type === "application/x-www-form-urlencoded" && body.length <= LONGEST_FIELDS) {
    for (const [name, text] of new URLSearchParams(Buffer.from(body).toString())) addField(form.fields, name, text);
  }
  if (token !== undefined) checkToken(token, bearerOf(request) ?? form.fields.get("api_key"));
  return form;
}

/** @returns `undefined` where none is given: the model has its own. @throws {RequestError} 400 if it is no confidence */
function confidenceOf(fields: ReadonlyMap<string, string>): number | undefined {
  const text = fields.get("min_confidence")?.trim() ?? "";
  if (text === "") return undefined;
  const confidence = Number(text);
  if (confidence >= 0 && confidence <= 1) return confidence;
  const found = `Option "min_confidence" must be a number from 0 to 1, got ${JSON.stringify(text.slice(0, 100))}`;
  throw refusal(400, "invalid-option", found, "45 % is 0.45");
}

/**
 * `POST /v1/vision/detection`, `…/face`, `…/scene` and `…/custom/NAME`: what is in the file of a form.
 *
 * @param model of the address
 * @throws {RequestError} see {@linkcode failureResponse} for what becomes of it
 */
export async function deepstackRoute(
  request: Request,
  desk: DetectDesk,
  kind: DeepstackKind,
  model: string | undefined,
): Promise<Response> {
  if (model !== undefined) checkModel(desk, model, undefined);
  checkKind(desk, kind);
  return await desk.serve(request, async (body, detect) => {
    const { images, fields } = await formOf(request, body, desk);
    const [image] = images;
    if (images.length > 1) {
      const hint = "ask once for each image, or send several to /detect";
      throw refusal(400, "too-many-images", `the form may hold one image, got ${images.length}`, hint);
    }
    if (image === undefined) {
      const hint = "send multipart/form-data with a file as image: curl -F image=@street.jpg";
      throw refusal(400, "no-image", "the form holds no image", hint);
    }
    const threshold = confidenceOf(fields);
    const isObjects = desk.route === "detect" && threshold !== undefined;
    const result = await detect(image.bytes, isObjects ? { threshold } : undefined);
    const { infer, total } = result.timing;
    return Response.json({
      success: true,
      ...desk.forms.deepstack?.(result),
      inferenceMs: Math.round(infer),
      processMs: Math.round(total),
      code: 200,
      duration: 0,
    });
  });
}

/** `POST /v1/vision/custom/list`: names of models, as CodeProject.AI has it. */
export async function deepstackModels(request: Request, desk: DetectDesk): Promise<Response> {
  return await desk.serve(request, async (body) => {
    await formOf(request, body, desk);
    return Response.json({ success: true, models: desk.route === "detect" ? [desk.config.name] : [], code: 200 });
  });
}
