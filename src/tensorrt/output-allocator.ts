/** @module OutputAllocator: memory for an output whose size is known only after the inference. */

import { Resource } from "../core/resource.ts";
import type { Shape } from "../core/shape.ts";
import type { DeviceMemory } from "../cuda/buffer-view.ts";
import { shim } from "../ffi/shim.ts";
import type { ExecutionContext } from "./execution-context.ts";
import { destroyObserver } from "./ring.ts";
import { ShapeCells } from "./shape-cells.ts";

/**
 * Grants TensorRT memory of the caller. Where it is too small the inference fails; {@linkcode OutputAllocator.requestedBytes}
 * then says what is needed.
 */
export class OutputAllocator extends Resource {
  readonly #handle: number;
  readonly #cells = new ShapeCells();
  readonly #context: ExecutionContext;
  readonly #output: string;

  private constructor(context: ExecutionContext, output: string) {
    super(`OutputAllocator of ${JSON.stringify(output)}`, context);
    this.#context = context;
    this.#output = output;
    this.#handle = shim().bt_allocator_create()!;
  }

  /**
   * Make an allocator and let it place an output.
   *
   * @param output name of an output whose shape depends on the data
   * @throws {RangeError} If the engine has no such tensor
   */
  static create(context: ExecutionContext, output: string): OutputAllocator {
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
    this.#context.retire(() => destroyObserver(this.#handle));
  }
}
