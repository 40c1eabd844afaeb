/** @module Session handle: an OrtSession that outlives its owner's close until the last running call has settled. */

import { openOnnxRuntime } from "../ffi/onnxruntime.ts";
import type { Environment } from "./environment.ts";

/** An `OrtSession *` with its environment, counted by the calls that are running on it. */
export class SessionHandle {
  /** `OrtSession *` */
  readonly pointer: number;
  readonly #environment: Environment;
  readonly #freed: PromiseWithResolvers<void> = Promise.withResolvers();
  #running = 0;
  #dropped = false;

  /** @param environment owned from now on */
  constructor(pointer: number, environment: Environment) {
    this.pointer = pointer;
    this.#environment = environment;
  }

  /** Settles once the session has been freed. */
  get freed(): Promise<void> {
    return this.#freed.promise;
  }

  /** A call begins: nothing is freed before its {@linkcode SessionHandle.leave}. */
  enter(): void {
    this.#running += 1;
  }

  /** A call has settled. */
  leave(): void {
    this.#running -= 1;
    if (this.#dropped && this.#running === 0) this.#free();
  }

  /** The owner closes: free now, or when the last running call settles. Called once. */
  drop(): void {
    this.#dropped = true;
    if (this.#running === 0) this.#free();
  }

  #free(): void {
    openOnnxRuntime().api.ReleaseSession(this.pointer);
    this.#environment.close();
    this.#freed.resolve();
  }
}
