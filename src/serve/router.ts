/**
 * @module Routes: what answers at each address, and by which method; below `/v1/vision` as clients of DeepStack and
 * CodeProject.AI ask.
 */

import { createHash } from "node:crypto";
import type { RequestError } from "../core/errors.ts";
import { formatTensorInfo } from "../core/tensor.ts";
import { type ServiceMetrics, STALLED_MS } from "../service/metrics.ts";
import { COCO_KEYPOINTS, COCO_SKELETON, keypointNames } from "../tasks/objects/objects.ts";
import { type DetectDesk, labelsOf, traitsOf } from "./detect-desk.ts";
import { detectRoute } from "./detect-route.ts";
import { bearerOf, checkToken, closedModelError, drainingError, refusal, stalledError } from "./failure.ts";
import { checkModel, inferRoute, modelMetadata, serverMetadata } from "./inference.ts";
import type { IdleLimit, LiveStreams } from "./live-streams.ts";
import page from "./page.html" with { type: "text" };
import { addField, readForm, typeOf, type UploadedForm } from "./upload.ts";

/** What stands in an address where its route has `:model`, `:version` or `:stream`. */
type RouteParams = Readonly<Partial<Record<string, string>>>;

/** What answers a request. */
export interface Route {
  /** For metrics: a word of a small fixed set. */
  readonly label: string;
  readonly method: "GET" | "POST";
  /** True where no token is asked: for probes, and the page, which holds nothing; and where the route asks for it itself. */
  readonly isOpen?: boolean;
  /** True if images go through it. */
  readonly isWork?: boolean;
  /** @param limitIdle for an answer that goes on after it has begun */
  handle(request: Request, params: RouteParams, limitIdle: IdleLimit): Response | Promise<Response>;
}

/** All routes, by address; `:model` and `:version` stand for one part of it. */
function routesOf(desk: DetectDesk, streams: LiveStreams): Readonly<Record<string, Route>> {
  const { name, timeoutMs } = desk.config;
  const moving = (body: object, withinMs: number): Response => {
    const { stalledMs } = desk;
    if (stalledMs > withinMs) throw stalledError(stalledMs);
    return Response.json(body);
  };
  const ready = (body: object): Response => {
    if (desk.isDraining) throw drainingError();
    if (desk.isModelClosed) throw closedModelError();
    return moving(body, timeoutMs);
  };
  // A run may be slow; one that is as slow as this will not end, and starting the process again is all that helps.
  const live = (body: object): Response => moving(body, Math.max(STALLED_MS, 2 * timeoutMs));
  const get = { method: "GET" } as const;
  const open = { ...get, isOpen: true } as const;
  const work = { method: "POST", isWork: true } as const;
  const ofModel = (handle: (request: Request) => Response | Promise<Response>): Route["handle"] => {
    return (request, { model = "", version }) => {
      checkModel(desk, model, version);
      return handle(request);
    };
  };
  const metadata: Route = { label: "v2-model", ...get, handle: ofModel(() => modelMetadata(desk)) };
  const modelReady: Route = { label: "v2-model-ready", ...get, handle: ofModel(() => ready({ name, ready: true })) };
  const infer: Route = { label: "v2-infer", ...work, handle: ofModel((request) => inferRoute(request, desk)) };
  const deepstack = (kind: DeepstackKind): Route => ({
    label: `deepstack-${kind}`,
    ...work,
    isOpen: true,
    handle: (request, { model }) => deepstackRoute(request, desk, kind, model),
  });
  return {
    "/": { label: "page", ...open, handle: pageResponse },
    "/healthz": { label: "healthz", ...open, handle: () => live({ status: "ok", ...enginesOf(desk.detector) }) },
    "/readyz": { label: "readyz", ...open, handle: () => ready({ status: "ready" }) },
    "/metrics": { label: "metrics", ...get, handle: () => metricsResponse(desk.metrics) },
    "/model": { label: "model", ...get, handle: () => Response.json(modelCard(desk)) },
    "/streams": { label: "streams", ...get, handle: () => Response.json(streams.list()) },
    "/streams/:stream/events": {
      label: "events",
      ...get,
      handle: (_, { stream = "" }, limitIdle) => streams.events(stream, limitIdle),
    },
    "/detect": { label: "detect", ...work, handle: (request) => detectRoute(request, desk, "detect") },
    "/classify": { label: "classify", ...work, handle: (request) => detectRoute(request, desk, "classify") },
    "/semantic": { label: "semantic", ...work, handle: (request) => detectRoute(request, desk, "semantic") },
    "/depth": { label: "depth", ...work, handle: (request) => detectRoute(request, desk, "depth") },
    "/v1/vision/detection": deepstack("objects"),
    "/v1/vision/face": deepstack("face"),
    "/v1/vision/scene": deepstack("scene"),
    "/v1/vision/custom/:model": deepstack("custom"),
    "/v1/vision/custom/list": {
      label: "deepstack-list",
      method: "POST",
      isOpen: true,
      handle: (request) => deepstackModels(request, desk),
    },
    "/v2": { label: "v2", ...get, handle: serverMetadata },
    "/v2/health/live": { label: "v2-live", ...open, handle: () => live({ live: true }) },
    "/v2/health/ready": { label: "v2-ready", ...open, handle: () => ready({ ready: true }) },
    "/v2/models/:model": metadata,
    "/v2/models/:model/ready": modelReady,
    "/v2/models/:model/infer": infer,
    "/v2/models/:model/versions/:version": metadata,
    "/v2/models/:model/versions/:version/ready": modelReady,
    "/v2/models/:model/versions/:version/infer": infer,
  };
}

/** A part of an address as it was meant; as it is where it is no text. */
function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** Finds the route of an address. */
export class Router {
  readonly #fixed = new Map<string, Route>();
  readonly #patterns: { readonly pattern: RegExp; readonly route: Route }[] = [];

  constructor(desk: DetectDesk, streams: LiveStreams) {
    for (const [address, route] of Object.entries(routesOf(desk, streams))) {
      const pattern = address.replace(/:(\w+)/g, "(?<$1>[^/]+)");
      if (pattern === address) this.#fixed.set(address, route);
      else this.#patterns.push({ pattern: new RegExp(`^${pattern}$`), route });
    }
  }

  /** Addresses in which nothing is left open. */
  get paths(): string[] {
    return [...this.#fixed.keys()];
  }

  /** @param path of an address, without its query. @returns `undefined` where nothing is there */
  find(path: string): { readonly route: Route; readonly params: RouteParams } | undefined {
    const fixed = this.#fixed.get(path);
    if (fixed !== undefined) return { route: fixed, params: {} };
    for (const { pattern, route } of this.#patterns) {
      const groups = pattern.exec(path)?.groups;
      if (groups === undefined) continue;
      return { route, params: Object.fromEntries(Object.entries(groups).map(([key, part]) => [key, decoded(part)])) };
    }
    return undefined;
  }
}

/** 404: there is nothing at an address. @param name of the model */
export function noRoute(path: string, paths: readonly string[], basePath: string, name: string): RequestError {
  const there = [...paths, `/v2/models/${name}/infer`].map((known) => basePath + known).join(", ");
  return refusal(404, "no-such-route", `there is nothing at ${JSON.stringify(path)}`, `there are ${there}`);
}

/** @throws {RequestError} 405 if the route takes another method */
export function checkMethod(route: Route, method: string): void {
  if (method === route.method || (method === "HEAD" && route.method === "GET")) return;
  const allow = allowedMethods(route);
  throw refusal(405, "wrong-method", `${method} is not answered here`, `use ${route.method}`, { Allow: allow });
}

/** For the header field `Allow`. */
export function allowedMethods({ method }: Route): string {
  return method === "GET" ? "GET, HEAD" : method;
}

/** The engine of each device that has one that was built for the model; nothing where none has. */
function enginesOf({ backends }: Pick<DetectDesk["detector"], "backends">): { readonly engines?: readonly string[] } {
  const engines = backends.map(({ engine }) => engine).filter((engine) => engine !== undefined);
  return engines.length === 0 ? {} : { engines };
}

/** What the model is, for people and programs. */
function modelCard({ detector, config }: DetectDesk): object {
  const { task = "detect", backend, model } = detector;
  const { head, keypoints } = traitsOf(detector);
  return {
    name: config.name,
    task,
    ...(head === undefined ? {} : { head }),
    labels: labelsOf(detector),
    ...(keypoints && {
      keypoints: keypointNames(keypoints),
      // Pairs of their places in the list, which are joined by lines.
      skeleton: keypoints.count === COCO_KEYPOINTS.length ? COCO_SKELETON : [],
    }),
    backend: { kind: backend.kind, description: backend.description, ...enginesOf(detector) },
    // `images: f32 [1, 3, 640, 640]`; `?` where the model leaves a dimension open.
    inputs: model.inputs.map(formatTensorInfo),
    outputs: model.outputs.map(formatTensorInfo),
  };
}

async function metricsResponse(metrics: ServiceMetrics): Promise<Response> {
  return new Response(await metrics.text(), { headers: { "content-type": metrics.contentType } });
}

// Bun's types take every imported page for a bundle; as text it is a string.
const html: string = page as unknown as string;

/** `'sha256-…'` of the page's only element of that kind, for its Content-Security-Policy. */
function sourceHash(element: "style" | "script"): string {
  const text = new RegExp(`<${element}>([\\s\\S]*?)</${element}>`).exec(html)?.[1] ?? "";
  return `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
}

let policy: string | undefined;

/** The page. It loads nothing from elsewhere, and is not let to. */
function pageResponse(): Response {
  policy ??= [
    "default-src 'none'",
    `script-src ${sourceHash("script")}`,
    `style-src ${sourceHash("style")}`,
    "img-src blob: data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join("; ");
  return new Response(html, {
    headers: { "content-type": "text/html; charset=utf-8", "content-security-policy": policy },
  });
}

/** What is asked for. */
type DeepstackKind = "objects" | "face" | "scene" | "custom";

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
async function deepstackRoute(
  request: Request,
  desk: DetectDesk,
  kind: DeepstackKind,
  model: string | undefined,
): Promise<Response> {
  const check = (): void => {
    if (model !== undefined) checkModel(desk, model, undefined);
    checkKind(desk, kind);
  };
  // What the model is, and its name, is for those who have the token; whether they have it the form may say.
  if (desk.config.token === undefined) check();
  return await desk.serve(request, async (body, detect) => {
    const { images, fields } = await formOf(request, body, desk);
    check();
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
async function deepstackModels(request: Request, desk: DetectDesk): Promise<Response> {
  return await desk.serve(request, async (body) => {
    await formOf(request, body, desk);
    return Response.json({ success: true, models: desk.route === "detect" ? [desk.config.name] : [], code: 200 });
  });
}
