/** @module DetectRoute: `POST /detect`. */

import { ImageError } from "../core/errors.ts";
import type { DetectionResult } from "../detector/detection.ts";
import type { DetectOptions } from "../detector/detector-config.ts";
import { decodeImage } from "../image/decode.ts";
import { DETECTED_DECODING } from "../image/decode-limits.ts";
import { encodeImage } from "../image/encode.ts";
import type { EncodedFormat } from "../image/encode-options.ts";
import { freePixels } from "../image/image.ts";
import { drawDetections } from "../image/paint.ts";
import { pictureKind } from "../image/picture-kind.ts";
import type { ServiceMetrics } from "../service/metrics.ts";
import { type ResultJson, resultJson } from "../service/result-json.ts";
import type { DetectDesk, DetectOne } from "./detect-desk.ts";
import { parseDetectQuery } from "./detect-query.ts";
import { failureOf, refusal } from "./failure.ts";
import { checkUploadLength, checkUploadType, type Upload, type UploadedPicture, uploadOf } from "./upload.ts";

/** What the route works with. */
export interface DetectRouteParts {
  readonly desk: DetectDesk;
  readonly metrics: ServiceMetrics;
  /** Most files in a form. */
  readonly maxFiles: number;
  /** Most pixels of a picture with `format=image`. */
  readonly maxDrawnPixels: number;
}

/** What becomes of one file of a form: its result, or why there is none. */
type FileJson =
  | ({ readonly file: string } & ResultJson)
  | {
      readonly file: string;
      readonly error: { readonly code: string; readonly message: string; readonly hint: string };
    };

/** PNG and WebP stay what they are, everything else becomes JPEG. */
function answerFormat(bytes: Uint8Array): EncodedFormat {
  const kind = pictureKind(bytes)?.name;
  if (kind === "PNG") return "png";
  return kind === "WebP" ? "webp" : "jpeg";
}

/** Above so many pixels pictures are drawn on one at a time: they take six bytes a pixel, and an encoder more. */
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

async function drawn(bytes: Uint8Array, { detections }: DetectionResult): Promise<Response> {
  const format = answerFormat(bytes);
  const picture = await decodeImage(bytes, DETECTED_DECODING);
  const copy = await drawDetections(picture, detections);
  freePixels(picture.data);
  const file = await encodeImage(copy, { format });
  freePixels(copy.data);
  return new Response(file as Uint8Array<ArrayBuffer>, { headers: { "content-type": `image/${format}` } });
}

async function annotated(
  bytes: Uint8Array,
  result: DetectionResult,
  maxDrawnPixels: number,
  signal: AbortSignal,
): Promise<Response> {
  const pixels = result.width * result.height;
  if (pixels > maxDrawnPixels) {
    const found = `format=image takes at most ${maxDrawnPixels} pixels, got ${result.width}x${result.height}`;
    throw refusal(
      413,
      "too-many-pixels",
      found,
      "leave format out and draw the boxes yourself, or send a smaller picture",
    );
  }
  if (pixels <= LARGE_PIXELS) return await drawn(bytes, result);
  return await oneAfterTheOther(signal, () => drawn(bytes, result));
}

async function detectFile(
  { name: file, bytes }: UploadedPicture,
  detect: DetectOne,
  options: DetectOptions | undefined,
): Promise<{ readonly json: FileJson; readonly error?: unknown }> {
  try {
    return { json: { file, ...resultJson(await detect(bytes, options)) } };
  } catch (error) {
    // A picture's fault is told beside the others' results; everything else concerns them all.
    if (!(error instanceof ImageError)) throw error;
    const { code, message, hint } = failureOf(error);
    return { json: { file, error: { code, message, hint } }, error };
  }
}

/** One after the other: a form has one turn, however many files it brings. */
async function detectForm(
  pictures: readonly UploadedPicture[],
  detect: DetectOne,
  options: DetectOptions | undefined,
): Promise<FileJson[]> {
  const results: FileJson[] = [];
  let firstError: unknown;
  let good = 0;
  for (const picture of pictures) {
    const { json, error } = await detectFile(picture, detect, options);
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

/** Called with the result of one picture that came as the whole body. */
function answerOne(result: DetectionResult, metrics: ServiceMetrics): Response {
  return jsonResponse(resultJson(result), metrics);
}

async function answer(
  upload: Upload,
  detect: DetectOne,
  options: DetectOptions | undefined,
  metrics: ServiceMetrics,
): Promise<Response> {
  const { isForm, pictures } = upload;
  if (isForm) return jsonResponse(await detectForm(pictures, detect, options), metrics);
  return answerOne(await detect(pictures[0]!.bytes, options), metrics);
}

/**
 * Find the objects in the pictures of a request.
 *
 * @returns for a picture as the body its result; for a form a list of `{file, …}`, in its order; the annotated picture
 *   with `format=image`
 * @throws {RequestError} or the picture's error: see {@linkcode failureOf}
 */
export async function detectRoute(request: Request, parts: DetectRouteParts): Promise<Response> {
  const { desk, metrics, maxFiles, maxDrawnPixels } = parts;
  const { options, format } = parseDetectQuery(new URLSearchParams(/\?.*/s.exec(request.url)?.[0]));
  checkUploadType(request);
  return await desk.serve(
    request,
    async (body, detect, signal) => {
      const upload = await uploadOf(request, body, maxFiles);
      if (format === "json") return await answer(upload, detect, options, metrics);
      if (upload.pictures.length !== 1) {
        const found = `option "format" with "image" takes one image, got ${upload.pictures.length}`;
        throw refusal(400, "too-many-pictures", found, "send one, or leave format out");
      }
      const { bytes } = upload.pictures[0]!;
      // The detector reads it first: what it refuses, its limit of pixels included, is not decoded here.
      return await annotated(bytes, await detect(bytes, options), maxDrawnPixels, signal);
    },
    checkUploadLength,
  );
}
