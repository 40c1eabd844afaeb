/** @module Resource: a native handle with one owner, and the ledger that knows which are open; and waits that leave no work behind. */

import { BunTensorRtError, ClosedError, message } from "./errors.ts";
import { logger } from "./log.ts";

interface LedgerEntry {
  readonly label: string;
  /** Where it was created; recorded only while `ledger.traceStacks` is on. */
  readonly stack: string | undefined;
}

/** Counts the open resources of the process. It keeps labels, never the resources themselves. */
class Ledger {
  readonly #open = new Map<number, LedgerEntry>();
  #next = 1;

  /** Record the stack of every creation: costly, for tests and for hunting a leak. */
  traceStacks = false;

  readonly #finalizer = new FinalizationRegistry<number>((id) => {
    const entry = this.#open.get(id);
    if (entry === undefined) return;
    this.#open.delete(id);
    logger.warn(`Leaked ${entry.label}: it was garbage-collected without close()${entry.stack ?? ""}`);
  });

  /** Number of open resources. */
  get size(): number {
    return this.#open.size;
  }

  /** Labels of the open resources, oldest first. */
  labels(): string[] {
    return [...this.#open.values()].map((entry) => entry.label + (entry.stack ?? ""));
  }

  /** Note a new resource. Called by {@linkcode Resource} alone. */
  open(resource: object, label: string): number {
    const id = this.#next++;
    const stack = this.traceStacks ? `, created at\n${new Error().stack ?? ""}` : undefined;
    this.#open.set(id, { label, stack });
    this.#finalizer.register(resource, id, resource);
    return id;
  }

  /** Strike a resource off. Called by {@linkcode Resource} alone. */
  close(resource: object, id: number): void {
    this.#open.delete(id);
    this.#finalizer.unregister(resource);
  }
}

/** The one ledger of the process. Empty whenever everything that was opened has been closed. */
export const ledger: Ledger = new Ledger();

/**
 * A native handle with exactly one owner. Bind it with `using`, or close it.
 *
 * A parent refuses to close while children are open, so the order of frees is always right. Garbage collection frees
 * nothing: it only reports a leak, because it cannot see native memory and runs finalisers in no order.
 */
export abstract class Resource implements Disposable {
  /** What this is, for messages: `Session "yolo11n.onnx"`. */
  readonly label: string;
  readonly #id: number;
  readonly #parent: Resource | undefined;
  #children = 0;
  #closed = false;

  protected constructor(label: string, parent?: Resource) {
    parent?.assertOpen(`create ${label}`);
    this.label = label;
    this.#parent = parent;
    if (parent !== undefined) parent.#children += 1;
    this.#id = ledger.open(this, label);
  }

  /** True once `close()` has been called. */
  get closed(): boolean {
    return this.#closed;
  }

  /**
   * Free the native handle. Calling it again does nothing.
   *
   * @throws {BunTensorRtError} If resources made from this one are still open; nothing is freed then
   */
  close(): void {
    if (this.#closed) return;
    if (this.#children > 0) {
      throw new BunTensorRtError(
        message(
          `close ${this.label}`,
          `resources made from it are still open (${this.#children})`,
          "close those first; `using` does so in the right order",
        ),
      );
    }
    this.#closed = true;
    ledger.close(this, this.#id);
    try {
      this.release();
    } finally {
      if (this.#parent !== undefined) this.#parent.#children -= 1;
    }
  }

  /** Closes it at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** Free the handle; runs once. */
  protected abstract release(): void;

  /**
   * Refuse to go on with a closed resource.
   *
   * @param action what the caller wants: `run "yolo11n.onnx"`
   * @throws {ClosedError} If `close()` has been called
   */
  assertOpen(action: string): void {
    if (this.#closed) throw new ClosedError(action, this.label);
  }
}

/** A resource made of others, which close with it: the last one first, each whatever happens to the others. */
export abstract class Owner extends Resource {
  protected readonly owned: DisposableStack;

  /** @param owned what it is made of so far */
  protected constructor(label: string, parent: Resource | undefined, owned: DisposableStack = new DisposableStack()) {
    super(label, parent);
    this.owned = owned;
  }

  protected release(): void {
    this.owned.dispose();
  }
}

/**
 * As `Promise.all`, but it settles once all of them have: what they use may be freed then.
 *
 * @throws the first one's reason, in their order
 */
export async function allEnded<T>(running: readonly Promise<T>[]): Promise<T[]> {
  const outcomes = await Promise.allSettled(running);
  return outcomes.map((outcome) => {
    if (outcome.status === "rejected") throw outcome.reason;
    return outcome.value;
  });
}

/** Wait so many milliseconds, or until the signal is aborted. Throws nothing, and leaves neither timer nor listener. */
export async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  const end = (): void => resolve();
  const timer = setTimeout(end, milliseconds);
  signal.addEventListener("abort", end);
  await promise;
  clearTimeout(timer);
  signal.removeEventListener("abort", end);
}

/** A promise's outcome, or the reason of a signal that is aborted before; the promise then goes on unseen. */
export async function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = (): void => reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
