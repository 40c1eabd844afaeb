/** @module DroppedModel: models that are dropped without `close` are reported, and freed once the collector has found them. */

import { logger } from "../core/log.ts";

/** What becomes of a model: the pipeline that owns it, and the line of images in front of that. */
interface Remains {
  readonly label: string;
  /** Where the caller loaded it. */
  readonly loadedAt: string | undefined;
  readonly pipeline: { close(): Promise<void> };
  readonly batcher: { flush(): void };
}

/**
 * Of the process rather than of this file, which `bun --hot` evaluates anew: what was registered before must not be forgotten.
 *
 * It holds the pipelines with all they own, so that no native part is collected while another works. They end as by `close`, in
 * a turn of the event loop, once their frames have ended.
 */
const DROPPED = Symbol.for("bun-tensorrt.dropped");
const registries = globalThis as { [DROPPED]?: FinalizationRegistry<() => void> };
/** A change under `bun --hot` has dropped the models of the former evaluation. */
const isEvaluatedAgain = registries[DROPPED] !== undefined;
registries[DROPPED] ??= new FinalizationRegistry((end) => end());
const dropped = registries[DROPPED];

/** Free a model when its façade is collected. @param remains must not hold the façade */
export function watchDropped(facade: object, { label, loadedAt, pipeline, batcher }: Remains): void {
  const end = (): void => {
    const place = loadedAt === undefined ? "" : `: it was loaded at ${loadedAt}`;
    logger.warn(`Closing ${label}, dropped without close()${place}\nHint: bind it by \`await using\`, or close it`);
    batcher.flush();
    pipeline.close().catch((error: Error) => logger.error(`Cannot close ${label}: ${error.message}`));
  };
  dropped.register(facade, end, facade);
}

/** It is closed by its owner. */
export function forgetDropped(facade: object): void {
  dropped.unregister(facade);
}

/** Before a model is loaded: the collector sees no native memory, and would let those of many reloads lie. */
export function collectReloaded(): void {
  if (isEvaluatedAgain) Bun.gc(true);
}

/** The line of whoever called a façade's `load`, of the stack in that call; `undefined` where the stack does not tell. */
export function callerOfLoad(stack: string = ""): string | undefined {
  const lines = stack.split("\n");
  const at = lines.findIndex((line) => /^\s*at (?:async )?(?:\w+\.)?load\b/.test(line));
  return at < 0 ? undefined : lines[at + 1]?.trim().replace(/^at (?:async )?/, "");
}
