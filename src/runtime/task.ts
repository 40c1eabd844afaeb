/**
 * @module Task: what a model's answer means. The contract between tasks, which say what goes into a model and what comes of
 * its outputs, and accelerators, which run it and know neither boxes nor images of images.
 */

import { message, UnavailableError } from "../core/errors.ts";
import type { DType, Shape, Tensor, TensorInfo } from "../core/tensor.ts";
import type { ModelSpec as HeadSpec, SizeInput } from "../heads/head.ts";
import type { Region, Size } from "../image/geometry.ts";
import type { Image } from "../image/image.ts";
import type { ImageDecodeOptions } from "../image/image-decoder.ts";
import type { Preprocessing } from "../image/preprocessing.ts";
import type { InputTensor, Preprocessor } from "../image/preprocessor.ts";
import type { ModelInfo } from "../model/model-info.ts";

/** Size of an image in pixels. */
export interface PixelSize {
  readonly width: number;
  readonly height: number;
}

/** The input that takes the images: [N, channels, height, width] or [N, height, width, channels]. */
export interface InputForm {
  readonly name: string;
  readonly dtype: DType & ("f32" | "f16" | "u8" | "u16");
  readonly layout: "NCHW" | "NHWC";
  readonly channels: number;
  /** Samples of 16 bits that count as the levels 0 and 255, where an image does not say. */
  readonly levels?: Preprocessing["levels"];
}

/** Shape of the input. @param size in pixels */
export function inputShape(
  { layout, channels }: Pick<InputForm, "layout" | "channels">,
  batch: number,
  size: Size,
): number[] {
  const [width, height] = size;
  return layout === "NCHW" ? [batch, channels, height, width] : [batch, height, width, channels];
}

/** A model that an accelerator has opened, before a task has said what it is. */
export interface OpenedModel {
  readonly model: ModelInfo;
  /** For messages. */
  readonly source: string;
  /**
   * What the model declares. Outputs whose axes are open get the shapes they have for one size of the input, where that can
   * be found out; else they stay open, with a line in the log.
   *
   * @param size `undefined` for the model's preferred one
   */
  described(size: Size | undefined): Promise<ModelInfo>;
  /** Ranges of an input that an engine was built for; `undefined` where the model alone limits it. */
  rangeOf(input: string): { readonly min: Shape; readonly max: Shape } | undefined;
  /**
   * The outputs with the shapes they have for one shape of an input; a run on zeros where nothing else tells.
   *
   * @throws {NativeError} If the model does not take the shape
   */
  outputsFor(input: string, dtype: DType, shape: Shape): Promise<readonly TensorInfo[]>;
  /**
   * What the model says of an input, its only one; `undefined` where it cannot be run before it is loaded.
   *
   * @throws {OnnxRuntimeError} If it does not take it
   */
  sample?(input: string, tensor: Tensor): Promise<ReadonlyMap<string, Tensor>>;
  /** What the model was recognised as of the engine whose place this one takes: what was reported then is not reported again. */
  readonly former?: Pick<TaskModel<unknown, unknown, unknown>, "guard"> | undefined;
}

/** A model that a task has recognised: everything an accelerator needs to know to run it. */
export interface TaskModel<ModelSpec, Params, Output> {
  /** Name of the task. */
  readonly task: string;
  readonly spec: ModelSpec;
  readonly input: InputForm;
  /** Further inputs that are filled with the input's own size. */
  readonly sizeInputs: readonly SizeInput[];
  /** The outputs that are read; `undefined` for all. */
  readonly outputs: readonly string[] | undefined;
  /** How image files are decoded for it. */
  readonly decodeOptions: ImageDecodeOptions;
  /** Rows of a run at most where the model leaves it open; `undefined` for what the accelerator does best. */
  readonly rows: number | undefined;
  /**
   * Rows that a device's run of so many regions has, where the model leaves them open: more where their number changes all the
   * time, as each has memory and a graph of its own. Default: as many.
   */
  readonly rowsFor?: (regions: number) => number;
  /** Most images of a call that are run as one; `Infinity` for as many as the model takes. */
  readonly mostImages: number;
  /** Size of the input for an image of no particular size: what is measured and warmed up with. */
  readonly usualSize: Size;
  /** Parameters that find nothing in noise: what is measured with. */
  readonly idleParams: Params;
  /** Size of the input for images that share a run. @param images at least one @param params default: the idle ones */
  sizeFor(images: readonly PixelSize[], params?: Params): Size;
  /** Most images of a call with such parameters that are run as one; left out where they do not matter. */
  mostWith?(params: Params): number;
  /** Parameters like these, of images that are made up; left out where the task makes nothing of the difference. */
  madeUp?(params: Params): Params;
  /** What looks at the model's values and reports what is odd of them once; left out where nothing does. */
  readonly guard?: object;
  /** True if two calls may share a run. */
  sameParams(a: Params, b: Params): boolean;
  /** What is done around the model where its tensors lie in host memory. */
  host(): Promise<HostTask<Params, Output>>;
  /** Likewise in the memory of a device, by its kind, such as `cuda`; the accelerators for it know the type. */
  readonly device: Readonly<Record<string, () => Promise<unknown>>>;
}

/**
 * Why what has no part for a device is not run there. Where the choice is open, the next accelerator is taken for it.
 *
 * @param help what makes it run there
 */
export function noDevicePart(what: string, action: string, help?: string): UnavailableError {
  const hint = help === undefined ? 'run it with backend "cpu"' : `${help}, or run it with backend "cpu"`;
  return new UnavailableError(message(action, `${what} does not run on a GPU`, hint), "backend");
}

/** How a device resizes images. */
export type DeviceResize = Exclude<Preprocessing["resize"], "lanczos4">;

/** @throws {UnavailableError} If images are to be resized in a way that only the CPU has */
export function assertDeviceResize(
  resize: Preprocessing["resize"] | undefined,
  action: string,
): asserts resize is DeviceResize | undefined {
  if (resize === "lanczos4") throw noDevicePart(`the resize "${resize}"`, action);
}

/** Shapes of an engine: up to so many images of such sizes. They count for nothing where the model fixes its own. */
export interface EngineShapes {
  readonly batch: { readonly min: number; readonly opt: number; readonly max: number };
  readonly size: Size | { readonly min: Size; readonly opt: Size; readonly max: Size };
}

/** A model as its file declares it. */
export type DeclaredModel = Pick<OpenedModel, "model" | "source">;

/** A model, and what it was recognised as. */
export interface RecognisedModel {
  readonly model: ModelInfo;
  readonly spec: HeadSpec;
}

/** A task with what the caller says of the model. */
export interface Task<ModelSpec, Params, Output> {
  /** `detect`. */
  readonly name: string;
  /** For messages: `load a detector`. */
  readonly action: string;
  /**
   * Say what a model is.
   *
   * @throws {ModelError} If it is not one of this task's
   */
  recognise(opened: OpenedModel): Promise<TaskModel<ModelSpec, Params, Output>>;
  /**
   * Say whether a model is one, without a word in the log, before an engine is built of it. What only the engine can tell is
   * left to it.
   *
   * @throws {ModelError} If it is not one of this task's
   */
  check?(opened: OpenedModel): Promise<void>;
  /**
   * What a model is recognised as that may be cut at the maps of its head, without a word in the log; `undefined` for one that
   * is run as it was exported. Left out by tasks that read outputs as they are.
   */
  forShaping?(opened: OpenedModel): Promise<RecognisedModel | undefined>;
  /**
   * Shapes that an engine is built for where the model leaves them open.
   *
   * @param declared the ONNX model
   */
  engineShapes(declared: DeclaredModel): EngineShapes;
}

/** A task that is found out with the model. @param otherwise for messages */
export function chosenTask(
  otherwise: Task<unknown, unknown, unknown>,
  taskFor: (declared: DeclaredModel) => Task<unknown, unknown, unknown>,
): Task<unknown, unknown, unknown> {
  return {
    name: otherwise.name,
    action: otherwise.action,
    recognise: async (opened) => taskFor(opened).recognise(opened),
    async check(opened) {
      const task = taskFor(opened);
      await (task.check?.(opened) ?? task.recognise(opened));
    },
    forShaping: async (opened) => taskFor(opened).forShaping?.(opened),
    engineShapes: (declared) => taskFor(declared).engineShapes(declared),
  };
}

/** The tensors of one run. */
export interface HostTensors {
  /** The outputs of the last run, by name. */
  readonly outputs: ReadonlyMap<string, Tensor>;
  /**
   * Write an image into its row of the input. Padding that the row has from the image before is not written again.
   *
   * @param preprocessor the same with every call
   * @param placement    what it returned for this image
   * @throws {ShapeError} If the image has another size than the placement's
   */
  fill(preprocessor: Preprocessor, image: Image, row: number, placement: Region): void;
  /** The input itself, to be read or written. Its rows are padded anew from now on. */
  lend(): InputTensor;
}

/** A task's part of every slot of a loaded model. */
export interface HostTask<Params, Output> {
  /** Make the part of one slot. */
  createWork(): HostWork<Params, Output>;
}

/** A task's part of one slot. A batch is `begin`, then `fill` and `finish` for each of its regions, then `end`. */
export interface HostWork<Params, Output> {
  /** Where each image of the batch lies in the input, where the task has one region an image. */
  readonly placements: readonly Region[];
  /**
   * Take a batch. The images are kept until `end`.
   *
   * @param params `undefined` for stages that are run one by one
   * @returns its regions: rows of the input it needs in all, in one or several runs
   */
  begin(images: readonly Image[], size: Size, params?: Params): number;
  /** Most rows of a run of the batch; left out for as many as the model takes. */
  readonly rows?: number | undefined;
  /** Write a region into a row of the input. */
  fill(tensors: HostTensors, region: number, row: number): void;
  /** Take what the model said of a region. @throws {ShapeError} If an output is not what was recognised */
  finish(tensors: HostTensors, region: number, row: number, params: Params): void;
  /** What came of each image; valid until the next batch. */
  end(): readonly Output[];
}
