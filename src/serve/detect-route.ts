/** @module DetectRoute: `POST /detect`. */

import { classesIn } from "../api/classes.ts";
import { DETECTOR_OPTIONS, type DetectOptions } from "../api/detector-config.ts";
import { ImageError, OptionError } from "../core/errors.ts";
import { aliasOf, nearestWord, unknownWord } from "../core/options.ts";
import { decodeImage } from "../image/decode.ts";
import { DETECTED_DECODING } from "../image/decode-limits.ts";
import { encodeImage } from "../image/encode.ts";
import type { EncodedFormat } from "../image/encode-options.ts";
import { freePixels } from "../image/image.ts";
import { imageKind } from "../image/image-kind.ts";
import type { ServiceMetrics } from "../service/metrics.ts";
import type { ResultForms, TaskResult } from "../tasks/task-result.ts";
import type { DetectDesk, DetectOne } from "./detect-desk.ts";
import { failureOf, refusal } from "./failure.ts";
import { checkUploadLength, checkUploadType, type Upload, type UploadedImage, uploadOf } from "./upload.ts";

/** What the route works with. */
export interface DetectRouteParts {
  /** Of the model's task. */
  readonly forms: ResultForms;
  readonly desk: DetectDesk;
  readonly metrics: ServiceMetrics;
  /** Most files in a form. */
  readonly maxFiles: number;
  /** Most pixels of an image with `format=image`. */
  readonly maxDrawnPixels: number;
}

/** PNG and WebP stay what they are, everything else becomes JPEG. */
function answerFormat(bytes: Uint8Array): EncodedFormat {
  const kind = imageKind(bytes)?.name;
  if (kind === "PNG") return "png";
  return kind === "WebP" ? "webp" : "jpeg";
}

/** Above so many pixels images are drawn on one at a time: they take six bytes a pixel, and an encoder more. */
const LARGE_PIXELS = 2 ** 22;

let lastLarge: Promise<void> = Promise.resolve();

/** Do a piece of work when those before it have ended. @param signal once aborted, work that has not begun never does */
async function oneAfterTheOther<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  const before = lastLarge;
  const { promise, resolve } = Promise.withResolvers<void>();
  lastLarge = promise;
  await before;
  try {
    signal.throwIfAborted();
    return await work();
  } finally {
    resolve();
  }
}

async function drawn(bytes: Uint8Array, result: TaskResult, forms: ResultForms): Promise<Response> {
  const format = answerFormat(bytes);
  const image = await decodeImage(bytes, DETECTED_DECODING);
  const copy = await forms.draw(image, result);
  freePixels(image.data);
  const file = await encodeImage(copy, { format });
  freePixels(copy.data);
  return new Response(file as Uint8Array<ArrayBuffer>, { headers: { "content-type": `image/${format}` } });
}

async function annotated(
  bytes: Uint8Array,
  result: TaskResult,
  { forms, maxDrawnPixels }: DetectRouteParts,
  signal: AbortSignal,
): Promise<Response> {
  const pixels = result.width * result.height;
  if (pixels > maxDrawnPixels) {
    const found = `format=image takes at most ${maxDrawnPixels} pixels, got ${result.width}x${result.height}`;
    throw refusal(
      413,
      "too-many-pixels",
      found,
      "leave format out and draw the boxes yourself, or send a smaller image",
    );
  }
  if (pixels <= LARGE_PIXELS) return await drawn(bytes, result, forms);
  return await oneAfterTheOther(signal, () => drawn(bytes, result, forms));
}

/** @returns what becomes of one file of a form: its result, or why there is none */
async function detectFile(
  { name: file, bytes }: UploadedImage,
  detect: DetectOne,
  options: DetectOptions | undefined,
  forms: ResultForms,
): Promise<{ readonly json: object; readonly error?: unknown }> {
  try {
    return { json: { file, ...forms.json(await detect(bytes, options)) } };
  } catch (error) {
    // An image's fault is told beside the others' results; everything else concerns them all.
    if (!(error instanceof ImageError)) throw error;
    const { code, message, hint } = failureOf(error);
    return { json: { file, error: { code, message, hint } }, error };
  }
}

/** One after the other: a form has one turn, however many files it brings. */
async function detectForm(
  images: readonly UploadedImage[],
  detect: DetectOne,
  options: DetectOptions | undefined,
  forms: ResultForms,
): Promise<object[]> {
  const results: object[] = [];
  let firstError: unknown;
  let good = 0;
  for (const image of images) {
    const { json, error } = await detectFile(image, detect, options, forms);
    results.push(json);
    if (error === undefined) good += 1;
    firstError ??= error;
  }
  if (good === 0) throw firstError;
  return results;
}

function jsonResponse(value: unknown, metrics: ServiceMetrics): Response {
  const started = performance.now();
  const response = Response.json(value);
  metrics.observe("serialise", performance.now() - started);
  return response;
}

async function answer(
  upload: Upload,
  detect: DetectOne,
  options: DetectOptions | undefined,
  { forms, metrics }: DetectRouteParts,
): Promise<Response> {
  const { isForm, images } = upload;
  if (isForm) return jsonResponse(await detectForm(images, detect, options, forms), metrics);
  const result = await detect(images[0]!.bytes, options);
  return jsonResponse(forms.json(result), metrics);
}

/**
 * Find the objects in the images of a request.
 *
 * @returns for an image as the body its result; for a form a list of `{file, …}`, in its order; the annotated image
 *   with `format=image`
 * @throws {RequestError} or the image's error: see {@linkcode failureOf}
 */
export async function detectRoute(request: Request, parts: DetectRouteParts): Promise<Response> {
  const { desk, maxFiles } = parts;
  const { options, format } = parseDetectQuery(new URLSearchParams(/\?.*/s.exec(request.url)?.[0]));
  checkUploadType(request);
  return await desk.serve(
    request,
    async (body, detect, signal) => {
      const upload = await uploadOf(request, body, maxFiles);
      if (format === "json") return await answer(upload, detect, options, parts);
      if (upload.images.length !== 1) {
        const found = `option "format" with "image" takes one image, got ${upload.images.length}`;
        throw refusal(400, "too-many-images", found, "send one, or leave format out");
      }
      const { bytes } = upload.images[0]!;
      // The detector reads it first: what it refuses, its limit of pixels included, is not decoded here.
      return await annotated(bytes, await detect(bytes, options), parts, signal);
    },
    checkUploadLength,
  );
}

/** How results are answered: JSON, or the image with its boxes drawn. */
export type AnswerFormat = "json" | "image";

/** What the query says. */
export interface DetectQuery {
  /** `undefined` where nothing was said: the detector's own options hold. */
  readonly options: DetectOptions | undefined;
  readonly format: AnswerFormat;
}

const NUMBERS = ["threshold", "iou", "maxDetections"] as const;
const NAMES = [...NUMBERS, "classes", "classAgnostic"];

function received(name: string, value: unknown, rule: string): OptionError {
  return new OptionError(`Option ${JSON.stringify(name)} must be ${rule}, got ${JSON.stringify(value)}`, name);
}

function numberOf(name: string, value: unknown): number {
  const number = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
  if (typeof number !== "number" || !Number.isFinite(number)) throw received(name, value, "a number");
  return number;
}

function flagOf(name: string, value: unknown): boolean {
  if (value === true || value === "true" || value === "1" || value === "") return true;
  if (value === false || value === "false" || value === "0") return false;
  throw received(name, value, "true or false");
}

function classesOf(value: unknown): (string | number)[] {
  if (typeof value !== "string" && typeof value !== "number")
    throw received("classes", value, "names or ids of classes, such as person,dog or 0,16");
  const classes = classesIn(String(value));
  if (classes === undefined)
    throw received("classes", value, 'names or ids of classes; a quoted name ends with a quote: "lamp, red",person');
  return classes;
}

/**
 * Options of one request from names and values; ranges are the detector's to check.
 *
 * @param values texts of a query, or the parameters of an inference request
 * @param others names that the caller takes besides, for hints
 * @returns `undefined` where there are none
 * @throws {OptionError} If a name is unknown, or a value of another type
 */
export function detectOptionsOf(
  values: ReadonlyMap<string, unknown>,
  others: readonly string[] = [],
): DetectOptions | undefined {
  const options: { -readonly [Key in keyof DetectOptions]: DetectOptions[Key] } = {};
  for (const [name, value] of values) {
    if (name === "classes") options.classes = classesOf(value);
    else if (name === "classAgnostic") options.classAgnostic = flagOf(name, value);
    else if ((NUMBERS as readonly string[]).includes(name)) {
      options[name as (typeof NUMBERS)[number]] = numberOf(name, value);
    } else {
      const names = [...NAMES, ...others];
      const alias = aliasOf(name, DETECTOR_OPTIONS);
      const near = alias !== undefined && names.includes(alias) ? alias : nearestWord(name, names);
      throw new OptionError(unknownWord("option", name, names, near), name);
    }
  }
  return values.size === 0 ? undefined : options;
}

/**
 * Read the query of `/detect`. `classes` may be given several times, the others once.
 *
 * @throws {OptionError} If something in it is unknown, given twice, or of another type
 */
export function parseDetectQuery(query: URLSearchParams): DetectQuery {
  const values = new Map<string, unknown>();
  for (const name of new Set(query.keys())) {
    // Unknown names are told of below; there may be thousands.
    if (values.size > NAMES.length + 1) break;
    const all = query.getAll(name);
    if (all.length > 1 && name !== "classes") throw new OptionError(`Option "${name}" is given twice`, name);
    values.set(name, all.join(","));
  }
  const format = values.get("format") ?? "json";
  if (format !== "json" && format !== "image") throw received("format", format, "json or image");
  values.delete("format");
  return { options: detectOptionsOf(values, ["format"]), format };
}
