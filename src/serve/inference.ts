/**
 * @module InferenceRoutes: the REST routes of the Open Inference Protocol, version 2: from the body of `…/infer` to an image and
 * what is wanted of it, and its answer.
 */

import { setImmediate } from "node:timers/promises";
import manifest from "../../package.json" with { type: "json" };
import { type Image, imageOf } from "../image/image.ts";
import type { AskOptions } from "../service/served-model.ts";
import type { ResultTensor, TaskResult } from "../tasks/task-result.ts";
import type { AskRoute, DetectDesk } from "./detect-desk.ts";
import { askOptionsOf, inRequestWords } from "./detect-route.ts";
import { refusal } from "./failure.ts";
import {
  badInference,
  type InferenceInput,
  type InferenceJson,
  MOST_SIDES,
  parseInferenceJson,
} from "./inference-options.ts";

/** The inputs of the served model: a request has exactly one of them. */
const INFERENCE_INPUTS = [
  { name: "image", datatype: "BYTES", shape: [1] },
  { name: "pixels", datatype: "UINT8", shape: [-1, -1, 3] },
] as const;

/** One inference that is asked for. */
interface InferenceRequest {
  readonly id: string | undefined;
  /** An image file, or RGB pixels. */
  readonly image: Uint8Array | Image;
  readonly options: AskOptions | undefined;
  /** Outputs by name, and whether as bytes; `undefined` for all. */
  readonly outputs: ReadonlyMap<string, boolean> | undefined;
  /** For outputs that do not say. */
  readonly isBinary: boolean;
}

/** The header field that says how long the JSON before the bytes is. */
const HEADER_LENGTH = "Inference-Header-Content-Length";

/** What Triton's clients say of its schedulers and of models with a memory: this model has none, and one queue. */
const WITHOUT_EFFECT: readonly string[] = ["priority", "timeout", "sequence_id", "sequence_start", "sequence_end"];

const INPUT_HINT = 'send "image" (BYTES, [1]: an image file) or "pixels" (UINT8, [height, width, 3]: RGB)';

/**
 * The one element of a BYTES tensor in the binary extension. Copies nothing.
 *
 * @throws {RequestError} 400 if it is not exactly one
 */
function onlyElement(name: string, bytes: Uint8Array): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bytes.length >= 4 && view.getUint32(0, true) === bytes.length - 4) return bytes.subarray(4);
  const found = `input ${JSON.stringify(name)} must be one element, four bytes of length and then as many, got ${bytes.length} bytes`;
  throw badInference(found, "send one image a request");
}

/**
 * Numbers of a JSON tensor, flat or nested, as u8.
 *
 * @throws {RequestError} 400 if one is no whole number from 0 to 255, or their count is another
 */
function jsonUint8(name: string, data: readonly unknown[], length: number): Uint8Array {
  const values = data.flat(MOST_SIDES);
  if (values.length !== length) {
    const found = `input ${JSON.stringify(name)} must have ${length} elements by its shape, got ${values.length}`;
    throw badInference(found, "check shape and data");
  }
  const pixels = new Uint8Array(length);
  for (let at = 0; at < length; at++) {
    const value = values[at];
    if (!(Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 255)) {
      const isHolder = typeof value === "object" && value !== null;
      const shown = isHolder ? "a list or an object" : JSON.stringify(value).slice(0, 40);
      const found = `input ${JSON.stringify(name)} must hold whole numbers from 0 to 255, got ${shown}`;
      throw badInference(found, "send pixels as UINT8");
    }
    pixels[at] = value as number;
  }
  return pixels;
}

function encodedImage({ name, shape, data }: InferenceInput, bytes: Uint8Array | undefined): Uint8Array {
  if (shape.reduce((product, side) => product * side, 1) !== 1) {
    throw badInference(`input "image" must have one element, got the shape [${shape.join(", ")}]`, INPUT_HINT);
  }
  if (bytes !== undefined) return onlyElement(name, bytes);
  const elements = (data ?? []).flat(MOST_SIDES);
  if (elements.length > 1) {
    throw badInference(`input "image" must have one element, got ${elements.length} in data`, INPUT_HINT);
  }
  if (elements.length === 0) throw badInference('input "image" has no data', INPUT_HINT);
  const [text] = elements;
  if (typeof text === "string") return fromBase64(text);
  throw notBase64(typeof text === "object" && text !== null ? "a list or an object" : JSON.stringify(text));
}

/** Bytes of base64, in either alphabet. @throws {RequestError} 400 if the text is none */
function fromBase64(text: string): Uint8Array {
  try {
    return Uint8Array.fromBase64(text, { alphabet: /[-_]/.test(text) ? "base64url" : "base64" });
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw notBase64(JSON.stringify(text.slice(0, 40)));
  }
}

function notBase64(shown: string): Error {
  const hint =
    "encode the image file as base64, without data: before it, or send it behind the JSON with binary_data_size";
  return badInference(`input "image" must be base64 in JSON, got ${shown}`, hint);
}

function decodedImage({ name, shape, data }: InferenceInput, bytes: Uint8Array | undefined): Image {
  const sides = shape.length === 4 && shape[0] === 1 ? shape.slice(1) : shape;
  const [height = 0, width = 0, channels] = sides;
  if (sides.length !== 3 || channels !== 3 || height < 1 || width < 1) {
    throw badInference(`input "pixels" must be [height, width, 3], got [${shape.join(", ")}]`, INPUT_HINT);
  }
  const length = height * width * 3;
  const pixels = bytes ?? jsonUint8(name, data ?? [], length);
  if (pixels.length !== length) {
    throw badInference(`input "pixels" must have ${length} bytes, got ${pixels.length}`, INPUT_HINT);
  }
  return imageOf(pixels, { width, height });
}

function imageFrom(input: InferenceInput, bytes: Uint8Array | undefined): Uint8Array | Image {
  const known = INFERENCE_INPUTS.find(({ name }) => name === input.name);
  if (known === undefined) throw badInference(`input ${JSON.stringify(input.name)} is unknown`, INPUT_HINT);
  if (known.datatype !== input.datatype) {
    const found = `input "${known.name}" is ${known.datatype}, got ${JSON.stringify(input.datatype)}`;
    throw badInference(found, INPUT_HINT);
  }
  return known.name === "image" ? encodedImage(input, bytes) : decodedImage(input, bytes);
}

/** The bytes behind the JSON that belong to the only input; `undefined` where its data is in the JSON. */
function inputBytes(input: InferenceInput, rest: Uint8Array): Uint8Array | undefined {
  const size = input.parameters.binary_data_size;
  if (size === undefined && rest.length === 0) return undefined;
  if (size === rest.length && input.data === undefined) return rest;
  const said = size === undefined ? "says no binary_data_size" : `has the binary_data_size ${JSON.stringify(size)}`;
  const found = `input ${JSON.stringify(input.name)} ${said}${input.data === undefined ? "" : " and data"}, and ${rest.length} bytes follow`;
  throw badInference(found, `check binary_data_size and ${HEADER_LENGTH}`);
}

function headerLength(header: string | null, byteLength: number): number {
  if (header === null) return byteLength;
  const length = /^\d+$/.test(header) ? Number(header) : Number.NaN;
  if (length <= byteLength) return length;
  const found = `${HEADER_LENGTH} is ${JSON.stringify(header)} of ${byteLength} bytes`;
  throw badInference(found, "it is the length of the JSON in bytes");
}

/** Whether an output is wanted as bytes. @throws {RequestError} 400 if the parameter says neither */
function isBinaryBy(name: string, value: unknown): boolean {
  if (typeof value === "boolean") return value;
  throw badInference(`${name} must be true or false, got ${JSON.stringify(value)}`, "without it outputs come as JSON");
}

/** What Triton makes of a tensor that has it: another one, or one elsewhere. Whoever asks for that would misread the answer. */
const NOT_TAKEN = /^(?:classification|shared_memory_.*)$/;

function checkTaken({ inputs, outputs = [] }: InferenceJson): void {
  for (const { name, parameters } of [...inputs, ...outputs]) {
    const other = Object.keys(parameters).find((key) => NOT_TAKEN.test(key));
    if (other === undefined) continue;
    throw badInference(
      `parameter ${JSON.stringify(other)} of ${JSON.stringify(name)} is not supported`,
      "leave it out",
    );
  }
}

function wantedOutputs({ outputs }: InferenceJson, isBinary: boolean): Map<string, boolean> | undefined {
  if (outputs === undefined || outputs.length === 0) return undefined;
  return new Map(
    outputs.map(({ name, parameters }) => {
      const where = `parameter "binary_data" of ${JSON.stringify(name)}`;
      return [name, isBinaryBy(where, parameters.binary_data ?? isBinary)];
    }),
  );
}

/**
 * Read an inference request, with its tensors in the JSON or as bytes behind it. A header length of 0 means that the
 * whole body is the image file.
 *
 * @param header value of `Inference-Header-Content-Length`
 * @param route  that of the model, which says what the parameters may be
 * @throws {RequestError} 400 if it is not what the protocol or the model says, 413 if its JSON is more than that needs
 * @throws {OptionError} If a parameter is unknown or of another type
 */
async function parseInferenceRequest(
  body: Uint8Array,
  header: string | null,
  route: AskRoute,
): Promise<InferenceRequest> {
  const length = headerLength(header, body.length);
  if (header !== null && length === 0) {
    return { id: undefined, image: body, options: undefined, outputs: undefined, isBinary: true };
  }
  await checkJsonBounds(body.subarray(0, length));
  const json = parseInferenceJson(Buffer.from(body.buffer, body.byteOffset, length).toString("utf8"));
  const [input, ...others] = json.inputs;
  if (input === undefined || others.length > 0) {
    throw badInference(`a request takes one input, got ${json.inputs.length}`, INPUT_HINT);
  }
  checkTaken(json);
  const { binary_data_output: asBytes = false, ...said } = json.parameters;
  const isBinary = isBinaryBy('parameter "binary_data_output"', asBytes);
  const options = Object.entries(said).filter(([name]) => !WITHOUT_EFFECT.includes(name));
  return {
    id: json.id,
    image: imageFrom(input, inputBytes(input, body.subarray(length))),
    options: askOptionsOf(route, new Map(options)),
    outputs: wantedOutputs(json, isBinary),
    isBinary,
  };
}

/** Most elements in a request's JSON: the numbers of an image of 1672x1672. They are parsed in a quarter of a second. */
const MOST_VALUES = 2 ** 23;
/** Most lists: where each pixel is one, as in nested data. */
const MOST_LISTS = 2 ** 22;
/** Most texts, objects and fields: a request has some ten. */
const MOST_NAMES = 2_000;
/** Most lists and objects within each other. */
const MOST_DEPTH = 16;
/** Bytes that are looked at before others have their turn. */
const SLICE = 2 ** 20;

const [QUOTE, COMMA, COLON, BACKSLASH] = [0x22, 0x2c, 0x3a, 0x5c];
const [OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT] = [0x5b, 0x5d, 0x7b, 0x7d];

/** Position of the quote that ends a text, or the length where there is none. @param from behind its first quote */
function endOfText(json: Buffer, from: number): number {
  for (let at = json.indexOf(QUOTE, from); at >= 0; at = json.indexOf(QUOTE, at + 1)) {
    let slashes = 0;
    while (at - 1 - slashes >= from && json[at - 1 - slashes] === BACKSLASH) slashes += 1;
    if (slashes % 2 === 0) return at;
  }
  return json.length;
}

/**
 * Look through JSON, without parsing it, for more than a request can need. Whether it is JSON is the parser's to say.
 *
 * @param json UTF-8
 * @throws {RequestError} 413 if it has too many values or names, or is nested too deeply
 */
export async function checkJsonBounds(json: Uint8Array): Promise<void> {
  const bytes = Buffer.from(json.buffer, json.byteOffset, json.length);
  let [values, lists, names, depth] = [0, 0, 0, 0];
  let pauseAt = SLICE;
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at]!;
    if (byte === COMMA) values += 1;
    else if (byte === QUOTE) {
      names += 1;
      at = endOfText(bytes, at + 1);
    } else if (byte === COLON) names += 1;
    else if (byte === OPEN_LIST || byte === OPEN_OBJECT) {
      depth += 1;
      if (byte === OPEN_OBJECT) names += 1;
      else lists += 1;
      if (depth > MOST_DEPTH) throw tooMuch(MOST_DEPTH, "lists within lists");
    } else if (byte === CLOSE_LIST || byte === CLOSE_OBJECT) depth -= 1;
    if (names > MOST_NAMES) throw tooMuch(MOST_NAMES, "texts and names");
    if (values > MOST_VALUES) throw tooMuch(MOST_VALUES, "values");
    if (lists > MOST_LISTS) throw tooMuch(MOST_LISTS, "lists");
    if (at < pauseAt) continue;
    pauseAt = at + SLICE;
    await setImmediate();
  }
}

function tooMuch(most: number, what: string): Error {
  const hint = "send the image as a file, or as bytes behind the JSON with binary_data_size";
  return refusal(413, "too-much-json", `The JSON of a request may have at most ${most} ${what}`, hint);
}

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
    const result = await inRequestWords(detect(wanted.image, wanted.options));
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
