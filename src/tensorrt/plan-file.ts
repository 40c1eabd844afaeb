/**
 * @module PlanFile: what can be read of a plan without TensorRT: metadata in front of it, and who built it.
 *
 * Two headers may precede the engine itself:
 * 1. Ultralytics' export writes a little-endian 32-bit length and that many bytes of JSON. This package writes the same,
 *    with its own facts under the key `bun_tensorrt`.
 * 2. TensorRT's. It is not documented; observed in plans of TensorRT 10.6.0.26 and TensorRT-RTX 1.7.1.116, little-endian:
 *    0 "ftrt" (TensorRT) or "vtrt" (RTX) · 4 zero · 8 u64 2 · 16 u64 length of the plan · 24 major, minor, patch and
 *    build, one byte each. Then TensorRT-RTX has at 32 a u32 with one bit a GPU that it was built for, and TensorRT 10.6,
 *    further on, the properties of its GPU as tagged values, beginning with the compute capability. Whatever looks
 *    otherwise counts as unknown, and TensorRT decides.
 */

import { ModelError, message, PlanMismatchError } from "../core/errors.ts";
import { type Beside, isBeside } from "../onnx/beside.ts";
import type { IoFormat } from "./build-options.ts";
import type { TensorRtFamily, TensorRtVersion } from "./version.ts";

/** Compute capability of a GPU: `[9, 0]`. */
export type ComputeCapability = readonly [major: number, minor: number];

/** What TensorRT's own header tells. */
export interface PlanHeader {
  readonly family: TensorRtFamily;
  /** `10.6.0` */
  readonly release: string;
  readonly build: number;
  /** Which it was built for; empty where the header does not tell. */
  readonly computeCapabilities: readonly ComputeCapability[];
}

/** What a plan's images and maps are, and what each form that was measured took. */
export interface PlanIo {
  readonly format: IoFormat;
  /** Milliseconds of one inference, the median. */
  readonly measuredMs?: Readonly<Partial<Record<IoFormat, number>>>;
}

/** What this package notes of a plan it built. */
export interface PlanOrigin {
  /** `TensorRT 10.6.0` */
  readonly tensorRt: string;
  /** Name of the GPU it was built on. */
  readonly gpu?: string;
  /** Of the GPU it was built on, or those it was built for. */
  readonly computeCapabilities?: readonly ComputeCapability[];
  /** `ampere-plus`, where it runs on other GPUs as well. */
  readonly hardwareCompatibility?: string;
  readonly precision?: string;
  /** Images and raw maps that are not as the model was exported, or might have been: what they are, and what each form took. */
  readonly io?: PlanIo;
  /** Nodes of the model that an FP16 engine computes in FP32. */
  readonly fp32Layers?: readonly string[];
  /** What is known of the ONNX model that is not in it, or not in its plan: files that lay beside it, of which family its weights are. */
  readonly beside?: Beside;
}

/** A plan, taken apart. */
export interface PlanFile {
  /** What the model says of itself: `names`, `task`, `stride`, … Values that are not text are JSON. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Of plans that this package built. */
  readonly origin: PlanOrigin | undefined;
  /** `undefined` where its form is unknown. */
  readonly header: PlanHeader | undefined;
  /** The engine, a view of the bytes. */
  readonly plan: Uint8Array;
}

const FAMILIES: Readonly<Record<string, TensorRtFamily>> = { ftrt: "TensorRT", vtrt: "TensorRT-RTX" };
const HEADER_BYTES = 40;
const VERSION_OFFSET = 24;
const RTX_GPUS_OFFSET = 32;
const FORMAT = 2n;
/** Longest JSON header: Ultralytics' have a few kilobytes, but models may bring much. A plan alone begins with a larger number. */
const LONGEST_JSON = 1 << 26;
const ORIGIN_KEY = "bun_tensorrt";
/** The plan begins at a multiple of it, so that it can be passed on where it lies. */
const ALIGNMENT = 16;

/** The GPUs of TensorRT-RTX 1.7, lowest bit first: seen by building for each, and for two at a time. */
const RTX_GPUS: readonly ComputeCapability[] = [
  [7, 5],
  [8, 0],
  [8, 6],
  [8, 9],
  [12, 0],
  [12, 1],
];

/** Tags before the two numbers, and between them, in plans of TensorRT 10.6: the device's properties and an i32. */
const DEVICE_TAGS = Buffer.from("128001001080010007800100", "hex");
const I32_TAG = Buffer.from("07800100", "hex");
/** The properties follow within it. */
const SEARCHED_BYTES = 512;

/**
 * Take a plan apart. Copies nothing.
 *
 * @param source path, for messages
 * @throws {ModelError} If the bytes are empty, are fewer than the header says, or have metadata that is damaged
 *
 * @example
 * ```ts
 * import { readPlan } from "bun-tensorrt/tensorrt";
 *
 * const { header, metadata } = readPlan(await Bun.file("yolo11n.plan").bytes(), "yolo11n.plan");
 * console.log(header, metadata);
 * ```
 */
export function readPlan(bytes: Uint8Array, source: string): PlanFile {
  if (bytes.byteLength === 0) throw damaged(source, "it is empty");
  const { json, plan } = splitJson(bytes, source);
  const { [ORIGIN_KEY]: own, ...rest } = json;
  const metadata = Object.fromEntries(
    Object.entries(rest).map(([key, value]) => [key, typeof value === "string" ? value : JSON.stringify(value)]),
  );
  const origin = own === undefined ? undefined : originIn(own, source);
  return { metadata, origin, header: readHeader(plan, source), plan };
}

function damaged(source: string, found: string, options?: ErrorOptions): ModelError {
  return new ModelError(message(`load ${source}`, found, "copy or build it again"), source, options);
}

function isText(value: unknown): boolean {
  return value === undefined || typeof value === "string";
}

function isCapability(value: unknown): boolean {
  return Array.isArray(value) && value.length === 2 && value.every(Number.isInteger);
}

function isPlanIo(value: unknown): boolean {
  if (value === undefined) return true;
  const { format, measuredMs = {} } = (value ?? {}) as { readonly format?: unknown; readonly measuredMs?: unknown };
  const isRecord = typeof measuredMs === "object" && measuredMs !== null;
  return typeof format === "string" && isRecord && Object.values(measuredMs).every(Number.isFinite);
}

/** Others build on these facts, so their form is checked; what else a plan tells stays as it is. */
const ORIGIN_FORMS: Readonly<Record<keyof PlanOrigin, (value: unknown) => boolean>> = {
  tensorRt: (value) => typeof value === "string",
  gpu: isText,
  computeCapabilities: (value) => value === undefined || (Array.isArray(value) && value.every(isCapability)),
  hardwareCompatibility: isText,
  precision: isText,
  io: isPlanIo,
  fp32Layers: (value) => value === undefined || (Array.isArray(value) && value.every((one) => typeof one === "string")),
  beside: (value) => value === undefined || isBeside(value),
};

function originIn(own: unknown, source: string): PlanOrigin {
  const facts = typeof own === "object" && own !== null ? (own as Readonly<Record<string, unknown>>) : undefined;
  const wrong = Object.entries(ORIGIN_FORMS).find(([key, isRight]) => !isRight(facts?.[key]))?.[0];
  if (facts !== undefined && wrong === undefined) return facts as unknown as PlanOrigin;
  const [value, where] = facts === undefined ? [own, ""] : [facts[wrong!], `.${wrong}`];
  throw damaged(source, `its metadata holds ${JSON.stringify(value)} as ${ORIGIN_KEY}${where}`);
}

function splitJson(bytes: Uint8Array, source: string): { json: Record<string, unknown>; plan: Uint8Array } {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = buffer.byteLength < 5 ? 0 : buffer.readUInt32LE(0);
  const isJson = length >= 2 && length <= LONGEST_JSON && buffer[4] === 0x7b;
  if (!isJson) return { json: {}, plan: bytes };
  if (4 + length >= buffer.byteLength) {
    throw damaged(source, `it is cut short, it must have more than ${4 + length} bytes, got ${buffer.byteLength}`);
  }
  try {
    return { json: JSON.parse(buffer.toString("utf8", 4, 4 + length)), plan: bytes.subarray(4 + length) };
  } catch (cause) {
    throw damaged(source, `its metadata is no JSON (${(cause as Error).message})`, { cause });
  }
}

function readHeader(plan: Uint8Array, source: string): PlanHeader | undefined {
  const buffer = Buffer.from(plan.buffer, plan.byteOffset, plan.byteLength);
  if (buffer.byteLength < HEADER_BYTES) return undefined;
  const family = FAMILIES[buffer.toString("latin1", 0, 4)];
  if (family === undefined || buffer.readUInt32LE(4) !== 0 || buffer.readBigUInt64LE(8) !== FORMAT) return undefined;
  const expected = Number(buffer.readBigUInt64LE(16));
  if (expected > buffer.byteLength) {
    throw damaged(source, `it is cut short, its engine must have ${expected} bytes, got ${buffer.byteLength}`);
  }
  const [major, minor, patch, build] = buffer.subarray(VERSION_OFFSET);
  const computeCapabilities = family === "TensorRT" ? capabilitiesIn(buffer) : rtxCapabilitiesIn(buffer);
  return { family, release: `${major}.${minor}.${patch}`, build: build!, computeCapabilities };
}

function rtxCapabilitiesIn(buffer: Buffer): ComputeCapability[] {
  const bits = buffer.readUInt32LE(RTX_GPUS_OFFSET);
  return bits >= 1 << RTX_GPUS.length ? [] : RTX_GPUS.filter((_, bit) => (bits & (1 << bit)) !== 0);
}

function capabilitiesIn(buffer: Buffer): ComputeCapability[] {
  const at = buffer.subarray(0, SEARCHED_BYTES).indexOf(DEVICE_TAGS) + DEVICE_TAGS.length;
  if (at < DEVICE_TAGS.length || at + 12 > buffer.byteLength) return [];
  const isNumber = I32_TAG.equals(buffer.subarray(at + 4, at + 8));
  const major = buffer.readInt32LE(at);
  const minor = buffer.readInt32LE(at + 8);
  return isNumber && major >= 5 && major < 30 && minor >= 0 && minor < 10 ? [[major, minor]] : [];
}

/**
 * Put metadata in front of a plan, as Ultralytics does and reads.
 *
 * @param plan     what the builder made
 * @param metadata of the model
 * @param origin   what it was built with
 * @throws {ModelError} If the metadata are longer than a reader takes
 */
export function writePlan(
  plan: Uint8Array,
  metadata: Readonly<Record<string, string>>,
  origin: PlanOrigin,
): Uint8Array<ArrayBuffer> {
  const json = Buffer.from(JSON.stringify({ ...metadata, [ORIGIN_KEY]: origin }), "utf8");
  const start = Math.ceil((4 + json.byteLength) / ALIGNMENT) * ALIGNMENT;
  if (start - 4 > LONGEST_JSON) {
    const found = `the model's metadata must have at most ${LONGEST_JSON} bytes as JSON, got ${json.byteLength}`;
    throw new ModelError(message("write a plan", found, "export the model without them"), "the plan");
  }
  const file = Buffer.from(new ArrayBuffer(start + plan.byteLength)) as Buffer<ArrayBuffer>;
  file.writeUInt32LE(start - 4, 0);
  file.set(json, 4);
  // White space after JSON is JSON.
  file.fill(" ", 4 + json.byteLength, start);
  file.set(plan, start);
  return new Uint8Array(file.buffer, 0, file.byteLength);
}

/** A plan that carries this of its model in its metadata; the same bytes where it does already, or where another program built it. */
export function withBeside(
  bytes: Uint8Array<ArrayBuffer>,
  source: string,
  beside: Beside | undefined,
): Uint8Array<ArrayBuffer> {
  const { metadata, origin, plan } = readPlan(bytes, source);
  if (origin === undefined || Bun.deepEquals(beside, origin.beside)) return bytes;
  const { beside: _, ...facts } = origin;
  return writePlan(plan, metadata, { ...facts, ...(beside && { beside }) });
}

/**
 * What this package noted of a plan; `undefined` of other plans, and of other files. Reads no more of a file than the metadata in front.
 *
 * @param model path or bytes
 */
export async function readPlanOrigin(model: string | Uint8Array): Promise<PlanOrigin | undefined> {
  const part = async (start: number, end: number): Promise<Buffer> =>
    Buffer.from(typeof model === "string" ? await Bun.file(model).slice(start, end).bytes() : model.slice(start, end));
  try {
    const start = await part(0, 5);
    const length = start.byteLength < 5 ? 0 : start.readUInt32LE(0);
    if (length < 2 || length > LONGEST_JSON || start[4] !== 0x7b) return undefined;
    const own = (JSON.parse((await part(4, 4 + length)).toString("utf8")) as Record<string, unknown>)[ORIGIN_KEY];
    return own === undefined ? undefined : originIn(own, "the plan");
  } catch {
    // Who loads it says what is wrong with it.
    return undefined;
  }
}

/** What a plan is to run on. */
interface PlanTarget {
  /** `undefined` where it is not known: the GPU is not compared then. */
  readonly computeCapability?: ComputeCapability | undefined;
  /** Plans of other versions may load, as they bring their own runtime. */
  readonly versionCompatible: boolean;
  /** Plans of other GPUs may load. */
  readonly hardwareCompatible: boolean;
}

function formatCapability([major, minor]: ComputeCapability): string {
  return `${major}.${minor}`;
}

/**
 * Compare a plan with what is to run it, as far as the headers tell.
 *
 * @throws {PlanMismatchError} If it was built by another version, or for another GPU
 */
export function checkPlan(file: PlanFile, version: TensorRtVersion, target: PlanTarget, source: string): void {
  const { header, origin } = file;
  if (header !== undefined) checkVersion(header, version, target, source);
  if (target.computeCapability === undefined || target.hardwareCompatible) return;
  if ((origin?.hardwareCompatibility ?? "none") !== "none") return;
  const built = origin?.computeCapabilities ?? header?.computeCapabilities ?? [];
  const found = formatCapability(target.computeCapability);
  if (built.length === 0 || built.some((one) => formatCapability(one) === found)) return;
  const expected = `compute capability ${built.map(formatCapability).join(" or ")}`;
  const gpu = origin?.gpu === undefined ? "" : ` (${origin.gpu})`;
  const hint =
    "build it on this machine; if it was built hardware-compatible, load it by `Runtime.deserialize` with `hardwareCompatible: true`";
  const text = message(`load ${source}`, `it was built for ${expected}${gpu}, this GPU has ${found}`, hint);
  throw new PlanMismatchError(text, { built: expected, found: `compute capability ${found}` });
}

function checkVersion(header: PlanHeader, version: TensorRtVersion, target: PlanTarget, source: string): void {
  const isOne = header.family === version.family;
  // A plan of a newer release may need what an older runtime lacks, and brings nothing for it.
  const isNewer = header.release.localeCompare(version.release, "en", { numeric: true }) > 0;
  if (isOne && (header.release === version.release || (target.versionCompatible && !isNewer))) return;
  const built = `${header.family} ${header.release}.${header.build}`;
  let hint = "TensorRT and TensorRT-RTX cannot read each other's plans: build it with this one";
  if (isOne && isNewer) {
    hint = "build it with this version, or run it with that one or a newer one: a plan never runs on an older release";
  } else if (isOne) {
    hint =
      "build it with this version; if it was built version-compatible, create the runtime with `hostCodeAllowed: true`";
  }
  const text = message(`load ${source}`, `it was built by ${built}, this is ${version.text}`, hint);
  throw new PlanMismatchError(text, { built, found: version.text });
}
