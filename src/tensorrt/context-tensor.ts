/** @module ContextTensor: one input or output of a context, with its name encoded once. */

import { ClosedError, message, ShapeError } from "../core/errors.ts";
import { Resource } from "../core/resource.ts";
import { formatShape, type Shape } from "../core/tensor.ts";
import type { DeviceMemory } from "../cuda/device-buffer.ts";
import { cString } from "../ffi/memory.ts";
import { SHIM_STATUS, type Shim, shim } from "../ffi/shim.ts";
import type { NativeObject } from "./native-object.ts";
import { type EngineTensor, ShapeCells, vectorOf } from "./tensor-info.ts";

/** An input or output of one context. Its calls allocate nothing; look it up once and keep it. */
export class ContextTensor {
  readonly info: EngineTensor;
  readonly #context: NativeObject & { readonly profile: number };
  readonly #name: Uint8Array;
  readonly #cells = new ShapeCells();
  readonly #native: Shim = shim();

  /** @internal */
  constructor(context: NativeObject & { readonly profile: number }, info: EngineTensor) {
    this.#context = context;
    this.info = info;
    this.#name = cString(info.name);
  }

  /**
   * Say where the tensor lies. The memory stays the caller's, and is used by every enqueue from now on.
   *
   * @param address in device memory, on the host for tensors whose `location` is "host"; large enough for the shape in use,
   *   aligned to 256 bytes
   * @throws {TensorRtError} If TensorRT refuses it
   */
  setAddress(address: number): void {
    const { library, handle } = this.#context;
    const status = this.#native.bt_context_set_tensor_address(library.handle, handle, this.#name, address);
    if (status !== SHIM_STATUS.ok) {
      throw library.failure(`bind ${JSON.stringify(this.info.name)}`, "ExecutionContext.setTensorAddress", status);
    }
  }

  /**
   * Set the shape of an input.
   *
   * @throws {ShapeError} If the profile in use does not allow it
   */
  setShape(shape: Shape): void {
    const { library, handle } = this.#context;
    const rank = this.#cells.write(shape);
    const cells = this.#cells.cells;
    const status = this.#native.bt_context_set_input_shape(library.handle, handle, this.#name, cells, rank);
    if (status !== SHIM_STATUS.ok) this.#refuse(shape);
  }

  /** The shape in use; -1 where it is not known yet. */
  get shape(): Shape {
    const { library, handle } = this.#context;
    const rank = this.#native.bt_context_tensor_shape(library.handle, handle, this.#name, this.#cells.cells);
    return this.#cells.read(library.check(rank, "ExecutionContext.getTensorShape"));
  }

  /**
   * Channels side by side under the shape in use: `vector` of the memory that is bound to it. 1 for row-major memory.
   *
   * @throws {ShapeError} If its format is one that no such number tells
   */
  get vector(): number {
    const { format, name, formatText } = this.info;
    const { shape } = this;
    const vector = vectorOf(format, shape);
    if (vector !== undefined) return vector;
    const expected = "linear, or of four dimensions with their channels in vectors or last";
    const found = `its format must be ${expected}, got ${JSON.stringify(formatText)} for ${formatShape(shape)}`;
    const text = message(`lay out ${JSON.stringify(name)}`, found, "build the plan with linear inputs and outputs");
    throw new ShapeError(text, { tensor: name, expected, actual: formatText });
  }

  /** Elements between neighbours along each axis. */
  get strides(): Shape {
    const { library, handle } = this.#context;
    const rank = this.#native.bt_context_tensor_strides(library.handle, handle, this.#name, this.#cells.cells);
    return this.#cells.read(library.check(rank, "ExecutionContext.getTensorStrides"));
  }

  /** Upper bound of an output's bytes for the input shapes in use, also where its shape depends on the data. */
  get maxBytes(): number {
    const { library, handle } = this.#context;
    return library.call(handle, "ExecutionContext.getMaxOutputSize", this.#name);
  }

  /** Let an allocator place an output whose shape depends on the data; `undefined` takes it away. */
  setAllocator(allocator: OutputAllocator | undefined): void {
    const { library, handle } = this.#context;
    const address = allocator?.handle ?? 0;
    const status = this.#native.bt_context_set_output_allocator(library.handle, handle, this.#name, address);
    library.check(status, "ExecutionContext.setOutputAllocator", `place ${JSON.stringify(this.info.name)}`);
  }

  #refuse(shape: Shape): never {
    const { library, profile, closed, label } = this.#context;
    const { name } = this.info;
    if (closed) throw new ClosedError(`set the shape of ${JSON.stringify(name)}`, label);
    const { lines } = library.log.takeErrors();
    const range = this.info.profiles[profile];
    const expected =
      range === undefined
        ? formatShape(this.info.shape)
        : `within ${formatShape(range.min)} and ${formatShape(range.max)} of profile ${profile}`;
    const actual = formatShape(shape);
    const why = lines.length === 0 ? "" : ` (${lines.join("; ")})`;
    throw new ShapeError(
      message(`set the shape of ${JSON.stringify(name)}`, `it must be ${expected}, got ${actual}${why}`),
      { tensor: name, expected, actual },
    );
  }
}

/** The context whose outputs are asked for. */
export interface AllocatingContext extends NativeObject {
  /** A tensor of it, by name. */
  tensor(name: string): ContextTensor;
  /** Free something with the context. */
  retire(free: () => void): void;
}

/**
 * Grants TensorRT memory of the caller. Where it is too small the inference fails; {@linkcode OutputAllocator.requestedBytes}
 * then says what is needed.
 */
export class OutputAllocator extends Resource {
  readonly #handle: number;
  readonly #cells = new ShapeCells();
  readonly #context: AllocatingContext;
  readonly #output: string;

  private constructor(context: AllocatingContext, output: string) {
    super(`OutputAllocator of ${JSON.stringify(output)}`, context);
    this.#context = context;
    this.#output = output;
    this.#handle = shim().bt_allocator_create()!;
  }

  /**
   * Make an allocator and let it place an output.
   *
   * @param output name of an output whose shape depends on the data
   * @throws {ArgumentError} If the engine has no such tensor
   */
  static create(context: AllocatingContext, output: string): OutputAllocator {
    const tensor = context.tensor(output);
    const allocator = new OutputAllocator(context, output);
    try {
      tensor.setAllocator(allocator);
    } catch (error) {
      allocator.close();
      throw error;
    }
    return allocator;
  }

  /** Address of the IOutputAllocator. Borrowed: valid while it is open. @throws {ClosedError} If it is closed */
  get handle(): number {
    this.assertOpen("use an OutputAllocator");
    return this.#handle;
  }

  /** Give it memory, which stays the caller's and outlives the inferences. At `tensor.maxBytes` it always fits. */
  setMemory(memory: DeviceMemory): void {
    shim().bt_allocator_set_memory(this.handle, memory.pointer, memory.byteLength);
  }

  /** Largest request in bytes since the memory was given. */
  get requestedBytes(): number {
    return shim().bt_allocator_requested(this.handle);
  }

  /** Shape of the last inference that was enqueued; `undefined` before the first. */
  get shape(): Shape | undefined {
    const rank = shim().bt_allocator_shape(this.handle, this.#cells.cells);
    return rank < 0 ? undefined : this.#cells.read(rank);
  }

  protected override release(): void {
    this.#context.tensor(this.#output).setAllocator(undefined);
    this.#context.retire(() => shim().bt_observer_destroy(this.#handle));
  }
}
