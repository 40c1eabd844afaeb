/**
 * @module Backend: the contract of the machine a model runs on, which each folder of accelerators/ implements; and how the images of a
 * batch become pixels in a slot of it, each failing alone.
 */

import { message, NativeError, ShapeError } from "../core/errors.ts";
import type { Tensor } from "../core/tensor.ts";
import type { Region, Size } from "../image/geometry.ts";
import { byteLengthOf, checked, type Image, isImage } from "../image/image.ts";
import type { DecodedImage, JpegCounts, ResidentImage } from "../image/image-decoder.ts";
import { type ImageSource, isReadOnce, readSource, type SourceBytes } from "../image/source.ts";
import type { ModelInfo } from "../model/model-info.ts";
import type { Task, TaskModel } from "./task.ts";

export type { Size } from "../image/geometry.ts";

/** An image that a slot takes: pixels on the host, or what the slot itself decoded on its device. */
export type SlotImage = Image | DecodedImage | ResidentImage;

/** A decoded image, or why there is none. */
export type DecodeOutcome<Picture> = { readonly image: Picture } | { readonly error: unknown };

/**
 * Everything one batch in flight owns: buffers at fixed addresses, grown only when a larger batch or input comes.
 * One call at a time; the stages run in the order preprocess, infer, postprocess, or all at once by `run`.
 */
export interface Slot<Params, Output> {
  /**
   * Turn image files into pixels, in memory the slot owns until it decodes again: on its device where that decodes JPEG.
   * No other slot takes what is there. `timings.decode` is how long it took.
   *
   * @param files the images of a batch: JPEG, PNG, WebP, …
   * @returns one outcome a file, in order; an `ImageError` where the bytes are no image, truncated, or over the size limit
   */
  decode(files: readonly SourceBytes[]): Promise<DecodeOutcome<SlotImage>[]>;
  /** As `decode`, with the pixels on the host. */
  decodeToHost(files: readonly SourceBytes[]): Promise<DecodeOutcome<DecodedImage>[]>;
  /**
   * Resize, pad and normalise images into the input tensor, for a batch that one run is enough for.
   *
   * @param images 1 to `maxBatch` images, of any sizes; results are mapped to the source size of a decoded one
   * @param size     size of the input; all images of a batch share it
   */
  preprocess(images: readonly SlotImage[], size: Size): Promise<void>;
  /** Run the model on what was pre-processed. */
  infer(): Promise<void>;
  /** Work out what comes of each image: valid until the slot's next call. */
  postprocess(params: Params): Promise<readonly Output[]>;
  /**
   * Make what these images need in an input of this size, which on a GPU takes a while. `run` then has read host pixels,
   * or has enqueued that, before it first gives way to other code.
   *
   * @returns `undefined` if all is there
   */
  prepare(images: readonly SlotImage[], size: Size, params: Params): Promise<void> | undefined;
  /**
   * All stages, for all regions of the images; the GPU replays a run of the model as one graph.
   *
   * @returns one output an image, in order; valid until the slot's next call
   */
  run(images: readonly SlotImage[], size: Size, params: Params): Promise<readonly Output[]>;
  /** Nobody waits for the run in flight any more: it is ended, and rejects. Slots whose machine cannot do that have none. */
  interrupt?(): void;
  /** Where each source image of the batch lies in the input. */
  readonly placements: readonly Region[];
  /** The input tensor, for reading; copied from the device on the GPU. */
  readInput(): Promise<Tensor>;
  /** The outputs by name, for reading; copied from the device on the GPU. */
  readOutputs(): Promise<ReadonlyMap<string, Tensor>>;
  /** Milliseconds of each stage of the last batch; overwritten by the next. */
  readonly timings: StageTimings;
  /** Free the buffers. No call may be running. */
  close(): void;
}

/** What every machine is loaded with. */
export interface MachineOptions {
  /** Batches in flight, each with its own slot; `undefined` for as many as keep the machine busy. */
  readonly inFlight: number | undefined;
  /** Number of the GPU. */
  readonly device: number;
  /** What is said of accelerators, by their own names: each takes what is under its own. */
  readonly accelerators: Readonly<Record<string, object>>;
  /** How an engine is built for the GPU where there is none yet. */
  readonly build: EngineBuild;
  /** Told when each batch was copied in, computed and copied out on the GPU. Default: none. */
  readonly trace?: FrameTrace | undefined;
}

/** What holds where the caller says nothing. */
export const DEFAULT_MACHINE_OPTIONS: MachineOptions = {
  inFlight: undefined,
  device: 0,
  accelerators: {},
  build: { precision: undefined, onProgress: undefined, signal: undefined },
};

/** How an engine is built. */
export interface EngineBuild {
  /** `undefined` for FP16. */
  readonly precision: "fp32" | "fp16" | undefined;
  /** False: of the model as it was exported, which is not cut at the maps of its head. */
  readonly shape?: boolean | undefined;
  /** Of images and raw maps; `undefined` for the fastest. */
  readonly ioFormat?: "auto" | "model" | "fp16" | "hwc8" | undefined;
  /** Told a few times a second while an engine is built; 0–1, and the phase in TensorRT's words. */
  readonly onProgress: ((progress: BuildProgress) => void) | undefined;
  /** Ends the build; its reason is thrown. */
  readonly signal: AbortSignal | undefined;
}

/** How far the building of an engine is. */
export interface BuildProgress {
  /** 0–1; the steps differ in length. */
  readonly fraction: number;
  /** In TensorRT's words. */
  readonly phase: string;
  /** The build that this one waits for, as builds on a GPU take turns: the progress is that one's. */
  readonly waitsFor?: string | undefined;
}

/** The machine a model runs on. */
export interface BackendInfo {
  /** Kind of machine: `cpu`, `gpu`. */
  readonly kind: string;
  /** For people: `ONNX Runtime 1.30.0, CPU, 2 threads`. */
  readonly description: string;
  /** Number of the GPU; `undefined` elsewhere. */
  readonly device?: number | undefined;
  /** Most rows of one run; `Infinity` where the model's batch is dynamic. A slot pads a batch that must be full. */
  readonly maxBatch: number;
  /** Batches in flight: as many as were asked for, or as keep the machine busy. */
  readonly inFlight: number;
  /**
   * The engine that runs, where it is one that was built for the model: `quick` until the `full` one, which is built in the
   * background, has taken its place; `undefined` elsewhere.
   */
  readonly engine?: "quick" | "full" | undefined;
  /** How JPEG files were decoded on the device so far; `undefined` where none was. */
  readonly jpeg?: JpegCounts | undefined;
  /** Batches of which a part was run again, as there was too little room for what came of them; `undefined` where none ever is. */
  readonly reruns?: number;
}

/** A model loaded on a machine. Closing it while slots are open is refused. */
export interface Backend<ModelSpec, Params, Output> extends BackendInfo {
  readonly model: ModelInfo;
  /** What the task made of the model. */
  readonly task: TaskModel<ModelSpec, Params, Output>;
  /** Make the buffers of one batch in flight; a child of the backend. */
  createSlot(): Slot<Params, Output>;
  /**
   * Make a faster backend of the same model meanwhile, with as many slots, which then takes this one's place; left out where
   * there is none.
   *
   * @param signal ends it, soon
   * @returns `undefined` if it was ended
   */
  improve?(signal: AbortSignal): Promise<Backend<ModelSpec, Params, Output> | undefined>;
  close(): void;
}

/** A model as an accelerator takes it: a path, bytes, or what it has read of one before. */
type ModelInput = string | Uint8Array | { readonly isRead: true };

/** Something that runs models: a library, for one kind of processor. */
export interface Accelerator {
  /** Why it cannot be used on this machine, in one line; `undefined` where it can. Opens its libraries. */
  unavailable(): string | undefined;
  /**
   * Load a model, and let a task recognise it.
   *
   * @throws {ModelError} If it is no model, or none of the task's
   */
  open<ModelSpec, Params, Output>(
    source: ModelInput,
    task: Task<ModelSpec, Params, Output>,
    options: MachineOptions,
  ): Promise<Backend<ModelSpec, Params, Output>>;
  /** Read a model that will be loaded on each of several devices; left out where there is only one device. */
  read?(source: string | Uint8Array): Promise<ModelInput>;
}

/** Milliseconds of each stage of one batch; a stage that did not run is 0. */
export interface StageTimings {
  decode: number;
  preprocess: number;
  infer: number;
  postprocess: number;
}

/** All stages at 0. */
export function createStageTimings(): StageTimings {
  return { decode: 0, preprocess: 0, infer: 0, postprocess: 0 };
}

/** Begin and end in milliseconds of `performance.now()`. */
export type Span = readonly [startMs: number, endMs: number];

/**
 * One batch, from the call to its rows. GPU times are measured by events and put on the clock of `performance.now()`, to
 * some 10 µs: spans of one record may be compared with each other to about 1 µs, and with host times to about 20 µs.
 */
export interface FrameRecord {
  /** Number of the slot it ran in, from 0 on in the order the slots were made. */
  readonly slot: number;
  /** Images in it. */
  readonly batch: number;
  /** When `detect` was called: pixels decoded, nothing enqueued. */
  readonly submittedMs: number;
  /** When everything was enqueued. */
  readonly enqueuedMs: number;
  /** When the JS thread learnt that the GPU had finished. */
  readonly settledMs: number;
  /** Pixels to the device; about empty where kernels read them in place. */
  readonly copyInMs: Span;
  /** Tables, pre-processing, engine, decoding and selection. */
  readonly computeMs: Span;
  /** Kept rows to the host. */
  readonly copyOutMs: Span;
  /** True if it ran as a graph; the first batch of a shape does not. */
  readonly isGraph: boolean;
}

/**
 * Told of every batch that ran through `Slot.detect`, before its call settles. Costs nothing where there is none. With one,
 * the copy of the rows leaves the graph and each batch records six events: some 10 µs more. Machines without a GPU do not call it.
 */
export interface FrameTrace {
  /** Must not throw, and do little: the frame waits for it. The record is new for each batch and may be kept. */
  frame(record: FrameRecord): void;
}

/** One image's result while its slot is held. Everything in it is overwritten once `succeed` has returned. */
export interface FrameResult<Output> {
  readonly output: Output;
  /** Size of the image in pixels. */
  readonly width: number;
  readonly height: number;
  /** Of the whole batch. */
  readonly timings: StageTimings;
  /** Why some of the image's pixels are not those of its file; `undefined` where all are. */
  readonly damage: string | undefined;
}

/** An image of a run, and who is told what came of it: `succeed` or `fail`, once. */
export interface Job<Output> {
  readonly source: ImageSource;
  /** Nobody waits for it any more: it is left out if it has not been decoded yet. */
  readonly isSettled: boolean;
  /** Ends the reading of its source. */
  readonly signal?: AbortSignal | undefined;
  /** Its source could be read but once, and has been: these bytes stand for it from now on. */
  keep?(bytes: Uint8Array): void;
  /** Copies the result out. */
  succeed(result: FrameResult<Output>): void;
  fail(error: unknown): void;
}

/**
 * Leave out of a batch, after a wait, the images that nobody waits for any more, as their pixels may be somebody else's by
 * now, and those whose pixels are gone: these are told.
 */
export function keepUsable<Output>(images: SlotImage[], jobs: Job<Output>[]): void {
  let kept = 0;
  for (let index = 0; index < jobs.length; index++) {
    const job = jobs[index]!;
    const image = images[index]!;
    if (job.isSettled) continue;
    if ("data" in image && image.resident === undefined && image.data.length < byteLengthOf(image)) {
      job.fail(goneError(image));
      continue;
    }
    images[kept] = image;
    jobs[kept] = job;
    kept += 1;
  }
  images.length = kept;
  jobs.length = kept;
}

function goneError(image: Image): ShapeError {
  const [needed, found] = [byteLengthOf(image), image.data.length];
  const hint = "neither transfer nor resize the buffer before the result is there";
  const text = message("read an image", `its pixels are gone, ${found} of ${needed} bytes are left`, hint);
  return new ShapeError(text, { tensor: "image", expected: `${needed} bytes`, actual: `${found} bytes` });
}

/** Read and decode files as one batch; whose file is none is told. @throws {CudaError} If the device has failed for good */
export async function decodeFiles<Params, Output>(
  slot: Slot<Params, Output>,
  jobs: readonly Job<Output>[],
  images: SlotImage[],
  decoded: Job<Output>[],
): Promise<void> {
  const read: SourceBytes[] = [];
  const waiting: Job<Output>[] = [];
  const settled = await Promise.allSettled(
    jobs.map(({ source, signal }) => readSource(source as Exclude<ImageSource, Image>, { signal })),
  );
  for (const [index, result] of settled.entries()) {
    const job = jobs[index]!;
    if (result.status === "rejected") job.fail(result.reason);
    else if (!job.isSettled) {
      if (isReadOnce(job.source)) job.keep?.(result.value.bytes);
      read.push(result.value);
      waiting.push(job);
    }
  }
  if (read.length === 0) return;
  const outcomes = await slot.decode(read);
  for (const outcome of outcomes) {
    if ("error" in outcome && outcome.error instanceof NativeError && outcome.error.isDeviceLost) throw outcome.error;
  }
  for (const [index, outcome] of outcomes.entries()) {
    if ("error" in outcome) waiting[index]!.fail(outcome.error);
    else {
      images.push(outcome.image);
      decoded.push(waiting[index]!);
    }
  }
}

/**
 * Pixels of some sources on the host, in memory of the slot unless they were decoded already.
 *
 * @throws {ImageError} The first source's that is missing, or no image
 */
export async function hostImages<Params, Output>(
  slot: Slot<Params, Output>,
  sources: readonly ImageSource[],
): Promise<Image[]> {
  const files: SourceBytes[] = [];
  for (const source of sources) if (!isImage(source)) files.push(await readSource(source));
  const decoded = await slot.decodeToHost(files);
  let next = 0;
  return sources.map((source) => {
    if (isImage(source)) return checked(source);
    const outcome = decoded[next++]!;
    if ("error" in outcome) throw outcome.error;
    return outcome.image;
  });
}
