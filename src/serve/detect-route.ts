/** @module DetectRoute: `POST /detect`, and `/classify`, `/semantic` and `/depth` of other models. */

import { classesIn, type SliceOptions } from "../api/call-options.ts";
import { DETECTOR_OPTIONS } from "../api/detector-config.ts";
import { CLASSIFIER_OPTIONS } from "../api/whole-image-config.ts";
import { ImageError, OptionError } from "../core/errors.ts";
import { aliasOf, nearestWord, type OptionTable, unknownWord } from "../core/options.ts";
import { MAP_TASKS } from "../heads/traits.ts";
import { DETECTED_DECODING, imageKind } from "../image/decode-limits.ts";
import { freePixels } from "../image/image.ts";
import { decodeImage, encodeImage } from "../image/image-file.ts";
import type { EncodedFormat } from "../image/image-options.ts";
import type { AskOptions } from "../service/served-model.ts";
import type { MaskForm, TaskResult } from "../tasks/task-result.ts";
import type { AskRoute, DetectDesk, DetectOne } from "./detect-desk.ts";
import { failureOf, refusal } from "./failure.ts";
import { checkUploadLength, checkUploadType, type UploadedImage, uploadOf } from "./upload.ts";

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

async function drawn(bytes: Uint8Array, result: TaskResult, { forms }: DetectDesk): Promise<Response> {
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
  desk: DetectDesk,
  signal: AbortSignal,
): Promise<Response> {
  const { maxDrawnPixels } = desk.config;
  const pixels = result.width * result.height;
  if (pixels > maxDrawnPixels) {
    const found = `format=image takes at most ${maxDrawnPixels} pixels, got ${result.width}x${result.height}`;
    const hint = "leave format out and draw the boxes yourself, or send a smaller image";
    throw refusal(413, "too-many-pixels", found, hint);
  }
  if (pixels <= LARGE_PIXELS) return await drawn(bytes, result, desk);
  return await oneAfterTheOther(signal, () => drawn(bytes, result, desk));
}

/**
 * Detect in the files of a form, one after the other: it has one turn, however many it brings.
 *
 * @returns for each its result, or why there is none
 * @throws what is no image's fault; the first image's fault if none is good
 */
async function detectForm(
  images: readonly UploadedImage[],
  json: (bytes: Uint8Array) => Promise<object>,
): Promise<object[]> {
  const results: object[] = [];
  const faults: ImageError[] = [];
  for (const { name: file, bytes } of images) {
    try {
      results.push({ file, ...(await json(bytes)) });
    } catch (error) {
      if (!(error instanceof ImageError)) throw error;
      const { code, message, hint } = failureOf(error);
      results.push({ file, error: { code, message, hint } });
      faults.push(error);
    }
  }
  if (faults.length === images.length) throw faults[0];
  return results;
}

/**
 * Find the objects in the images of a request, or the classes they are of.
 *
 * @param route the one that was asked for
 * @returns for an image as the body its result; for a form a list of `{file, …}`, in its order; the annotated image
 *   with `format=image`
 * @throws {RequestError} or the image's error: see {@linkcode failureOf}
 */
export async function detectRoute(request: Request, desk: DetectDesk, route: AskRoute): Promise<Response> {
  if (route !== desk.route) {
    throw refusal(404, "wrong-task", `the model is ${NOUNS[desk.route]}`, `send images to /${desk.route}`);
  }
  const { options, format, masks, map } = parseQuery(route, new URLSearchParams(/\?.*/s.exec(request.url)?.[0]));
  checkUploadType(request);
  const work = async (body: Uint8Array, detect: DetectOne, signal: AbortSignal): Promise<Response> => {
    const { isForm, images } = await uploadOf(request, body, desk.config.maxFiles);
    const { bytes } = images[0]!;
    if (format === "image") {
      if (images.length !== 1) {
        const found = `option "format" with "image" takes one image, got ${images.length}`;
        throw refusal(400, "too-many-images", found, "send one, or leave format out");
      }
      // The detector reads it first: what it refuses, its limit of pixels included, is not decoded here.
      return await annotated(bytes, await inRequestWords(detect(bytes, options)), desk, signal);
    }
    const jsonOf = async (one: Uint8Array): Promise<object> => {
      const result = await inRequestWords(detect(one, options));
      return { ...desk.forms.json(result, masks), ...(map === "f32" && desk.forms.mapJson?.(result)) };
    };
    const json = isForm ? await detectForm(images, jsonOf) : await jsonOf(bytes);
    const started = performance.now();
    const response = Response.json(json);
    desk.metrics.observe("serialise", performance.now() - started);
    return response;
  };
  return await desk.serve(request, work, checkUploadLength);
}

function wrong(name: string, value: unknown, rule: string): OptionError {
  return new OptionError(`Option ${JSON.stringify(name)} must be ${rule}, got ${JSON.stringify(value)}`, name);
}

function numberOf(name: string, value: unknown): number {
  const number = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
  if (typeof number !== "number" || !Number.isFinite(number)) throw wrong(name, value, "a number");
  return number;
}

function flagOf(name: string, value: unknown): boolean {
  if (value === true || value === "true" || value === "1" || value === "") return true;
  if (value === false || value === "false" || value === "0") return false;
  throw wrong(name, value, "true or false");
}

function classesOf(name: string, value: unknown): (string | number)[] {
  if (typeof value !== "string" && typeof value !== "number")
    throw wrong(name, value, "names or ids of classes, such as person,dog or 0,16");
  const classes = classesIn(String(value));
  if (classes !== undefined) return classes;
  throw wrong(name, value, 'names or ids of classes; a quoted name ends with a quote: "lamp, red",person');
}

function sizeOf(name: string, value: unknown): SliceOptions | false {
  if (value === false || value === "false" || value === "0" || value === 0) return false;
  if (value === true || value === "true" || value === "") return {};
  const [, width, height = width] = /^(\d{1,6})(?:x(\d{1,6}))?$/.exec(String(value)) ?? [];
  if (width === undefined) throw wrong(name, value, "a size such as 640 or 1280x720, or false");
  return { size: [Number(width), Number(height)] };
}

function wordOf(name: string, value: unknown): string {
  if (typeof value !== "string") throw wrong(name, value, "a text");
  return value;
}

type Reader = (name: string, value: unknown) => unknown;

/** What a request may say of slices beside their size: the option it is, and how its value is read. */
const SLICE_READERS: Readonly<Record<string, readonly [option: keyof SliceOptions, read: Reader]>> = {
  overlap: ["overlap", numberOf],
  whole: ["whole", flagOf],
  sliceMerge: ["merge", wordOf],
  sliceMetric: ["metric", wordOf],
  sliceThreshold: ["threshold", numberOf],
  sliceEdges: ["edges", wordOf],
};

/**
 * A result, or what the model says of an option by the name that a request has for it: `sliceMerge`, not `slices.merge`.
 *
 * @throws {OptionError} what it is rejected with, in a request's words
 */
export async function inRequestWords(result: Promise<TaskResult>): Promise<TaskResult> {
  try {
    return await result;
  } catch (error) {
    const [, option] = error instanceof OptionError ? (/^slices\.(\w+)/.exec(error.option) ?? []) : [];
    if (option === undefined) throw error;
    const { option: former, message: text } = error as OptionError;
    const [name = "slice"] = Object.entries(SLICE_READERS).find(([, [own]]) => own === option) ?? [];
    throw new OptionError(text.replace(JSON.stringify(former), JSON.stringify(name)), name, { cause: error });
  }
}

/** What a request may say of each route's images, and how its value is read. */
const READERS: Readonly<Record<AskRoute, Readonly<Record<string, Reader>>>> = {
  detect: {
    ...{ threshold: numberOf, iou: numberOf, maxDetections: numberOf, classes: classesOf, classAgnostic: flagOf },
    slice: sizeOf,
    ...Object.fromEntries(Object.entries(SLICE_READERS).map(([name, [, read]]) => [name, read])),
  },
  classify: { top: numberOf },
  semantic: {},
  depth: {},
};

/** How a route answers: the first of each unless a request says otherwise. */
const ANSWERS = {
  detect: { format: ["json", "image"], masks: ["rle", "polygon", "none"] },
  classify: { format: ["json", "image"] },
  semantic: { format: ["json", "image"], masks: ["rle", "polygon", "none"] },
  depth: { format: ["json", "image"], map: ["none", "f32"] },
} as const;
const OPTIONS: Readonly<Record<AskRoute, OptionTable>> = {
  detect: DETECTOR_OPTIONS,
  classify: CLASSIFIER_OPTIONS,
  semantic: {},
  depth: {},
};
/** What a model is that is asked at each route. */
const NOUNS: Readonly<Record<AskRoute, string>> = {
  detect: "a model of objects",
  classify: "a classifier",
  semantic: MAP_TASKS.semantic.noun,
  depth: MAP_TASKS.depth.noun,
};

/**
 * Options of one request from names and values; ranges are the model's to check.
 *
 * @param values texts of a query, or the parameters of an inference request
 * @param others names that the caller takes besides, for hints
 * @returns `undefined` where there are none
 * @throws {OptionError} If a name is unknown, or a value of another type
 */
export function askOptionsOf(
  route: AskRoute,
  values: ReadonlyMap<string, unknown>,
  others: readonly string[] = [],
): AskOptions | undefined {
  const readers = READERS[route];
  const options = [...values].map(([name, value]) => {
    if (Object.hasOwn(readers, name)) return [name, readers[name]!(name, value)];
    const names = [...Object.keys(readers), ...others];
    const alias = aliasOf(name, OPTIONS[route]);
    const near = alias !== undefined && names.includes(alias) ? alias : nearestWord(name, names);
    throw new OptionError(unknownWord("option", name, names, near), name);
  });
  return options.length === 0 ? undefined : withSlices(Object.fromEntries(options));
}

/** What was said of slices, as the option of a call. @throws {OptionError} If rules are given for slices that are not wanted */
function withSlices({ slice, ...values }: Record<string, unknown>): AskOptions {
  const rules: [keyof SliceOptions, unknown][] = [];
  for (const [name, [option]] of Object.entries(SLICE_READERS)) {
    if (values[name] === undefined) continue;
    if (slice === false) throw wrong(name, values[name], "left out where slice is false");
    rules.push([option, values[name]]);
    delete values[name];
  }
  if (slice === undefined && rules.length === 0) return values;
  return {
    ...values,
    slices: slice !== false && { ...(slice as SliceOptions | undefined), ...Object.fromEntries(rules) },
  };
}

/** How a request is answered. */
interface Answer {
  /** As JSON, or the image with what was found drawn on it. */
  readonly format: "json" | "image";
  /** What masks become in JSON. */
  readonly masks: MaskForm | undefined;
  /** Whether JSON holds the numbers of a map. */
  readonly map: "none" | "f32" | undefined;
}

/**
 * Read the query of a route. `classes` may be given several times, the others once.
 *
 * @returns options, where any are given, and how results are answered
 * @throws {OptionError} If something in it is unknown, given twice, or of another type
 */
function parseQuery(route: AskRoute, query: URLSearchParams): Answer & { readonly options: AskOptions | undefined } {
  const values = new Map<string, unknown>();
  for (const name of new Set(query.keys())) {
    // Unknown names are refused below; there may be thousands.
    if (values.size > Object.keys(READERS[route]).length + 2) break;
    const all = query.getAll(name);
    if (all.length > 1 && name !== "classes") throw new OptionError(`Option "${name}" is given twice`, name);
    values.set(name, all.join(","));
  }
  const answer = Object.entries(ANSWERS[route]).map(([name, choices]: [string, readonly string[]]) => {
    const value = values.get(name) ?? choices[0];
    if (!choices.includes(value as string)) throw wrong(name, value, choices.join(" or "));
    values.delete(name);
    return [name, value];
  });
  return { options: askOptionsOf(route, values, Object.keys(ANSWERS[route])), ...Object.fromEntries(answer) };
}
