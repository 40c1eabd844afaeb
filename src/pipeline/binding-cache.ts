/** @module BindingCache: the few input shapes whose memory a slot keeps, the newest being the one in use. */

import { BunTensorRtError, message } from "../core/errors.ts";
import type { Size } from "./backend.ts";

/** What is made once for a batch size and an input size. */
export interface ShapeBinding {
  readonly batch: number;
  readonly size: Size;
  close(): void;
}

/** Shapes that are kept: a few for mixed batches, not one for every picture of a folder. */
const MOST = 4;

/** Bindings by shape; the one that was not used for longest makes room. Owns them. */
export class BindingCache<Binding extends ShapeBinding> {
  /** Newest last. */
  readonly #kept: Binding[] = [];

  /** The binding of a shape, which becomes the current one; `undefined` if it has to be made. */
  find(batch: number, [width, height]: Size): Binding | undefined {
    const kept = this.#kept;
    const last = kept.length - 1;
    for (let at = last; at >= 0; at--) {
      const binding = kept[at]!;
      if (binding.batch !== batch || binding.size[0] !== width || binding.size[1] !== height) continue;
      // In place: frames of mixed batches come by here each time.
      for (let next = at; next < last; next++) kept[next] = kept[next + 1]!;
      kept[last] = binding;
      return binding;
    }
    return undefined;
  }

  /** Keep a new binding, which becomes the current one. */
  add(binding: Binding): Binding {
    this.#kept.push(binding);
    if (this.#kept.length > MOST) this.#kept.shift()!.close();
    return binding;
  }

  /**
   * The one that was found or added last.
   *
   * @param action for the message: `infer`
   * @throws {BunTensorRtError} If there is none yet
   */
  current(action: string): Binding {
    const binding = this.#kept.at(-1);
    if (binding === undefined) throw new BunTensorRtError(message(action, "nothing has been pre-processed yet"));
    return binding;
  }

  /** Close them all, each whatever happens to the others. */
  close(): void {
    using stack = new DisposableStack();
    for (const binding of this.#kept) stack.defer(() => binding.close());
    this.#kept.length = 0;
  }
}
