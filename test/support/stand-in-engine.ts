/**
 * @module StandInEngine: what slots ask of a TensorRT engine, answered with given outputs, so that everything around a model on a
 * GPU can be run where there is no TensorRT: on the CPU's executor (cpu-cuda.ts), or on a card.
 */

import type { LoadedModel } from "../../src/accelerators/tensorrt/gpu-model.ts";
import { KernelLibrary } from "../../src/accelerators/tensorrt/kernels.ts";
import { Resource } from "../../src/core/resource.ts";
import {
  bytesPerElement,
  packVectors,
  type Shape,
  type Tensor,
  type TensorInfo,
  vectorVolume,
  volume,
} from "../../src/core/tensor.ts";
import { type DeviceMemory, PinnedBuffer } from "../../src/cuda/buffers.ts";
import { copyOnDevice, copyToDevice } from "../../src/cuda/copy.ts";
import type { Device } from "../../src/cuda/device.ts";
import { EventWaits } from "../../src/cuda/event-waits.ts";
import type { Stream } from "../../src/cuda/stream.ts";
import type { TaskModel } from "../../src/runtime/task.ts";
import type { Engine } from "../../src/tensorrt/engine.ts";
import { type EngineTensor, type TensorFormat, vectorOf } from "../../src/tensorrt/tensor-info.ts";

/** An engine whose outputs are whatever it was given when a batch runs; or one output, which is its input, byte for byte. */
export class StandInEngine extends Resource {
  readonly outputs: readonly TensorInfo[];
  /** How often it was enqueued, captures included. */
  runs = 0;
  /** Set by {@linkcode standInModel}. */
  input: Pick<TensorInfo, "dtype"> | undefined;
  readonly #sources: ReadonlyMap<string, PinnedBuffer>;

  readonly #echoed: string | undefined;
  readonly #formats: Readonly<Record<string, TensorFormat>>;

  /**
   * @param echoed  name of the input that is given back; the first axis of the output may then be open
   * @param formats of tensors that are not row-major, by name
   */
  constructor(
    device: Device,
    outputs: readonly TensorInfo[],
    {
      echoed,
      formats = {},
    }: { readonly echoed?: string; readonly formats?: Readonly<Record<string, TensorFormat>> } = {},
  ) {
    super("StandInEngine", device);
    this.outputs = outputs;
    this.#echoed = echoed;
    this.#formats = formats;
    const given = echoed === undefined ? outputs : [];
    this.#sources = new Map(
      given.map(({ name, dtype, shape }) => {
        const length = vectorVolume(shape, vectorOf(formats[name] ?? "linear", shape)!);
        return [name, PinnedBuffer.create(dtype, [length], device)] as const;
      }),
    );
  }

  /** What the next runs give. */
  give(outputs: ReadonlyMap<string, Tensor>): void {
    for (const [name, source] of this.#sources) {
      const tensor = outputs.get(name)!;
      packVectors(source.data, tensor, vectorOf(this.#formats[name] ?? "linear", tensor.shape)!);
    }
  }

  tensor(name: string): Pick<EngineTensor, "dtype" | "format"> {
    const { dtype } = this.outputs.find((output) => output.name === name) ?? this.input!;
    return { dtype, format: this.#formats[name] ?? "linear" };
  }

  deviceMemoryBytes(): number {
    return 1;
  }

  createContext(): Promise<object> {
    const addresses = new Map<string, number>();
    let shape: Shape = [];
    const memory = (name: string, byteLength: number): DeviceMemory =>
      ({ pointer: addresses.get(name)!, byteLength }) as DeviceMemory;
    const context = {
      setDeviceMemory() {},
      tensor: (name: string) => ({
        shape: this.outputs
          .find((output) => output.name === name)
          ?.shape.map((side, axis) => (side < 0 ? shape[axis]! : side)),
        setShape: (given: Shape) => {
          shape = given;
        },
        setAddress: (address: number) => addresses.set(name, address),
      }),
      enqueue: (stream: Stream) => {
        this.runs += 1;
        for (const [name, source] of this.#sources) {
          copyToDevice(memory(name, source.byteLength), source, { stream });
        }
        if (this.#echoed === undefined) return;
        const [{ name, dtype, shape: made }] = this.outputs as [TensorInfo];
        const byteLength = shape[0]! * volume(made.slice(1)) * bytesPerElement(dtype);
        copyOnDevice(memory(name, byteLength), memory(this.#echoed, byteLength), { stream });
      },
      close() {},
      [Symbol.dispose]() {},
    };
    return Promise.resolve(context);
  }

  protected release(): void {
    for (const source of this.#sources.values()) source.close();
  }
}

/** A model on such an engine, as its slots share it. @param rows of every batch */
export function standInModel(
  engine: StandInEngine,
  device: Device,
  task: TaskModel<unknown, unknown, unknown>,
  rows: number,
  owned: DisposableStack,
): LoadedModel {
  engine.input = task.input;
  return {
    device,
    kernels: owned.use(KernelLibrary.create(device)),
    engine: engine as unknown as Engine,
    task,
    fixedBatch: rows,
    zeroCopy: false,
    rows,
    jpeg: undefined,
    hasGraph: true,
    waits: new EventWaits("poll", device),
    reruns: { count: 0 },
  };
}

/** A tensor of given numbers. */
export function tensorOf({ dtype, shape }: TensorInfo, value: (at: number) => number): Tensor<"f32"> {
  if (dtype !== "f32") throw new Error(`Cannot fill ${dtype} with numbers`);
  return { dtype, shape, data: Float32Array.from({ length: volume(shape) }, (_, at) => value(at)) };
}
