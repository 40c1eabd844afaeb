/** @module The only file that defines error classes, and the one form every message takes. All messages are safe to look at. */

import { shown } from "./log.ts";

/** What a failed call into a native library carries. */
export interface NativeErrorOptions extends ErrorOptions {
  /** The library's own name for the failure, such as `"ORT_NO_SUCHFILE"`. */
  readonly code: string;
  /** The native function that failed, in its C spelling. */
  readonly call: string;
}

/**
 * Put an error message into the project's form.
 *
 * @param action what was tried, without "Cannot": `load the model "a.onnx"`
 * @param found  the rule and what was found instead: `it must have 4 axes, got 3`
 * @param hint   the fix, one sentence; omit when there is none
 * @returns `Cannot <action>: <found>` and, on a second line, `Hint: <hint>`, safe to look at as {@linkcode shown} says
 */
export function message(action: string, found: string, hint?: string): string {
  const first = `Cannot ${action}: ${found}`;
  return shown(hint === undefined ? first : `${first}\nHint: ${hint}`);
}

/** An error in one line, without the list of what was tried: `libcuda was not found`. */
export function inShort(error: Error): string {
  const [first = ""] = error.message.split("\n", 1);
  return first.replace(/^Cannot load the library (\S+): it was found at none of these paths:?$/, "$1 was not found");
}

/** The error that came first, where what was closed after it failed as well: `using` throws both in one without a message. */
export function firstError(error: unknown): unknown {
  return error instanceof SuppressedError ? firstError(error.suppressed) : error;
}

/**
 * The base of every error that this package throws on purpose.
 *
 * @example
 * ```ts
 * import { BunTensorRtError, Detector } from "bun-tensorrt";
 *
 * try {
 *   await using detector = await Detector.load("no-such-file.onnx");
 *   console.log(detector.labels);
 * } catch (error) {
 *   if (!(error instanceof BunTensorRtError)) throw error;
 *   console.log(error.message);
 * }
 * ```
 */
export class BunTensorRtError extends Error {
  override readonly name: string = "BunTensorRtError";
  constructor(text: string, options?: ErrorOptions) {
    super(shown(text), options);
  }
}

/** An argument of a call has the wrong type, or a value out of its range. */
export class ArgumentError extends BunTensorRtError {
  override readonly name: string = "ArgumentError";
}

/** A library below us failed. */
export class NativeError extends BunTensorRtError {
  override readonly name: string = "NativeError";
  readonly code: string;
  readonly call: string;
  /** True for a fault inside a device's own work, after which every later call on that device fails as well. */
  readonly isDeviceLost: boolean = false;
  constructor(text: string, options: NativeErrorOptions) {
    super(text, options);
    this.code = options.code;
    this.call = options.call;
  }
}

/** ONNX Runtime returned a status; `message` holds its own text. */
export class OnnxRuntimeError extends NativeError {
  override readonly name: string = "OnnxRuntimeError";
}

/** What a failed CUDA call carries. */
export interface CudaErrorOptions extends NativeErrorOptions {
  /** The number the call returned; the runtime and the driver share their numbering. */
  readonly status: number;
}

/** Statuses of CUDA that tell of a fault in work enqueued earlier; after most of them the context is lost. */
const ASYNCHRONOUS: ReadonlySet<number> = new Set([214, 220, 700, 702, 710, 714, 715, 716, 717, 718, 719, 721]);

/** A call into CUDA failed, or the GPU failed at work that was enqueued earlier. `code` is CUDA's name for it. */
export class CudaError extends NativeError {
  override readonly name: string = "CudaError";
  readonly status: number;
  override readonly isDeviceLost: boolean;
  constructor(text: string, options: CudaErrorOptions) {
    super(text, options);
    this.status = options.status;
    this.isDeviceLost = isAsynchronousFault(options.status);
  }
}

/** True if a status of CUDA is a fault of work enqueued earlier rather than of the call that returned it. */
export function isAsynchronousFault(status: number): boolean {
  return ASYNCHRONOUS.has(status);
}

/** Device memory, or page-locked host memory, has run out. */
export class OutOfMemoryError extends CudaError {
  override readonly name: string = "OutOfMemoryError";
  readonly requestedBytes: number;
  /** Of the device, when the call failed. */
  readonly freeBytes: number;
  readonly totalBytes: number;
  constructor(
    text: string,
    options: CudaErrorOptions & { requestedBytes: number; freeBytes: number; totalBytes: number },
  ) {
    super(text, options);
    this.requestedBytes = options.requestedBytes;
    this.freeBytes = options.freeBytes;
    this.totalBytes = options.totalBytes;
  }
}

/** What a failed TensorRT call carries. */
export interface TensorRtErrorOptions extends NativeErrorOptions {
  /** The error lines TensorRT logged since the failure before, oldest first. */
  readonly log: readonly string[];
}

/** TensorRT refused a call. `code` is its name for the error where it told one, such as `"INVALID_ARGUMENT"`. */
export class TensorRtError extends NativeError {
  override readonly name: string = "TensorRtError";
  readonly log: readonly string[];
  constructor(text: string, options: TensorRtErrorOptions) {
    super(text, options);
    this.log = options.log;
  }
}

/** A plan was built by another version of TensorRT, or for another GPU. */
export class PlanMismatchError extends TensorRtError {
  override readonly name: string = "PlanMismatchError";
  /** What the plan was built with: `TensorRT 10.6.0.26`, `compute capability 9.0`. */
  readonly built: string;
  /** What there is. */
  readonly found: string;
  constructor(text: string, options: { built: string; found: string } & ErrorOptions) {
    super(text, { ...options, code: "PLAN_MISMATCH", call: "IRuntime::deserializeCudaEngine", log: [] });
    this.built = options.built;
    this.found = options.found;
  }
}

/** A shared library was not found, or has not the symbols that are needed. */
export class LibraryLoadError extends BunTensorRtError {
  override readonly name: string = "LibraryLoadError";
  /** The library's name, such as `"onnxruntime"`. */
  readonly library: string;
  /** Every path that was tried, in order, with what was wrong with it. */
  readonly tried: readonly string[];
  constructor(text: string, library: string, tried: readonly string[], options?: ErrorOptions) {
    super(text, options);
    this.library = library;
    this.tried = tried;
  }
}

/** A tensor or image has another shape or dtype than the one asked for. */
export class ShapeError extends BunTensorRtError {
  override readonly name: string = "ShapeError";
  /** Name of the tensor. */
  readonly tensor: string;
  /** Formatted, such as `"f32 [1, 3, 640, 640]"`. */
  readonly expected: string;
  readonly actual: string;
  constructor(text: string, details: { tensor: string; expected: string; actual: string }) {
    super(text);
    this.tensor = details.tensor;
    this.expected = details.expected;
    this.actual = details.actual;
  }
}

/** A resource was used after `close()`. */
export class ClosedError extends BunTensorRtError {
  override readonly name: string = "ClosedError";
  /** Label of the resource. */
  readonly resource: string;
  constructor(action: string, resource: string) {
    super(message(action, `${resource} is closed`, "create a new one, or close it later"));
    this.resource = resource;
  }
}

/** A file or a stream of bytes is not an image that can be decoded. */
export class ImageError extends BunTensorRtError {
  override readonly name: string = "ImageError";
  /** Path, URL or a description of the bytes. */
  readonly source: string;
  constructor(text: string, source: string, options?: ErrorOptions) {
    super(text, options);
    this.source = source;
  }
}

/** An image has more pixels than allowed; nothing of it was decoded. */
export class ImageSizeError extends ImageError {
  override readonly name: string = "ImageSizeError";
  readonly maxPixels: number;
  constructor(text: string, source: string, maxPixels: number) {
    super(text, source);
    this.maxPixels = maxPixels;
  }
}

/** Decoding an image took longer than allowed. */
export class DecodeTimeoutError extends ImageError {
  override readonly name: string = "DecodeTimeoutError";
  readonly timeoutMs: number;
  constructor(text: string, source: string, timeoutMs: number) {
    super(text, source);
    this.timeoutMs = timeoutMs;
  }
}

/** No image can be decoded, as every thread is held by one that has taken longer than allowed: no image's own fault. */
export class DecodeStalledError extends BunTensorRtError {
  override readonly name: string = "DecodeStalledError";
}

/** A video cannot be opened, read or written; `message` holds what ffmpeg said. */
export class VideoError extends BunTensorRtError {
  override readonly name: string = "VideoError";
  /** Path or URL, without a password. */
  readonly source: string;
  constructor(text: string, source: string, options?: ErrorOptions) {
    super(text, options);
    this.source = source;
  }
}

/** The GPU does not decode a video: its codec, chroma, bits or size. The CPU may. */
export class UnsupportedVideoError extends BunTensorRtError {
  override readonly name: string = "UnsupportedVideoError";
  /** What it does not decode, in one clause. */
  readonly reason: string;
  constructor(text: string, reason: string, options?: ErrorOptions) {
    super(text, options);
    this.reason = reason;
  }
}

/** A Redis server refused a command, or the connection to it is gone. */
export class RedisError extends BunTensorRtError {
  override readonly name: string = "RedisError";
  /** First word of the server's refusal, such as `"NOGROUP"`; `"CONNECTION"` where there is no connection. */
  readonly code: string;
  constructor(text: string, code: string, options?: ErrorOptions) {
    super(text, options);
    this.code = code;
  }
}

/** A file is not a model that can be loaded, or its tensors fit no known layout. */
export class ModelError extends BunTensorRtError {
  override readonly name: string = "ModelError";
  /** Path, or a description of the bytes. */
  readonly source: string;
  /** The class that loads it, where it is a model of another task, and that is known. */
  readonly facade: string | undefined;
  /** Heads that may be named for it, where nothing tells which it has; mostly none. */
  readonly readings: readonly string[];
  constructor(
    text: string,
    source: string,
    {
      facade,
      readings = [],
      ...options
    }: ErrorOptions & { readonly facade?: string; readonly readings?: readonly string[] } = {},
  ) {
    super(text, options);
    this.source = source;
    this.facade = facade;
    this.readings = readings;
  }
}

/** A catalogue entry could not be fetched, checked or stored. */
export class CatalogueError extends BunTensorRtError {
  override readonly name: string = "CatalogueError";
  /** Name of the entry. */
  readonly entry: string;
  constructor(text: string, entry: string, options?: ErrorOptions) {
    super(text, options);
    this.entry = entry;
  }
}

/** A transfer broke off, or what came of it is damaged: another try may help. */
export class TransferError extends BunTensorRtError {
  override readonly name: string = "TransferError";
}

/** A request that a server refuses, with what it answers. */
export class RequestError extends BunTensorRtError {
  override readonly name: string = "RequestError";
  /** HTTP status, 400–599. */
  readonly status: number;
  /** A word for programs, such as `"body-too-large"`. */
  readonly code: string;
  /** Header fields of the answer, such as `Retry-After`. */
  readonly headers: Readonly<Record<string, string>>;
  constructor(
    text: string,
    status: number,
    code: string,
    options: ErrorOptions & { headers?: Readonly<Record<string, string>> } = {},
  ) {
    super(text, options);
    this.status = status;
    this.code = code;
    this.headers = options.headers ?? {};
  }
}

/** An option is unknown, misspelt, or has a value out of its range; `cause` is the ZodError where there is one. */
export class OptionError extends BunTensorRtError {
  override readonly name: string = "OptionError";
  /** Path of the option, such as `"nms.iou"`. */
  readonly option: string;
  constructor(text: string, option: string, options?: ErrorOptions) {
    super(text, options);
    this.option = option;
  }
}

/** An option asks for what this machine has not, such as a GPU: another machine would take it. */
export class UnavailableError extends OptionError {
  override readonly name: string = "UnavailableError";
}
