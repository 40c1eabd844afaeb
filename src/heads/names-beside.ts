/** @module Names beside: the class names of a file beside a model, where they are of this model. */

import { ModelError } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { plural } from "../core/units.ts";
import type { ModelInfo } from "../model/model-info.ts";
import type { ModelSpec, RecogniseOptions } from "./head.ts";
import { huggingFace } from "./hugging-face.ts";

/** What transformers writes beside its models. */
const TRANSFORMERS_FILE = "config.json";

/** What is read, or `undefined` where the model is refused. */
function attempt<Spec>(read: () => Spec): Spec | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof ModelError) return undefined;
    throw error;
  }
}

/**
 * Read a model with the class names of a file beside it, if neither the caller nor the model has any. They name classes, and settle
 * what is else open; where they would make another head of it, or do not fit, they are not of this model.
 */
export function withNamesBeside<Spec extends ModelSpec>(
  { metadata }: ModelInfo,
  options: RecogniseOptions,
  read: (options: RecogniseOptions) => Spec,
): Spec {
  const { namesBeside: beside, labels, isSilent, source = "the model" } = options;
  if (beside === undefined || (labels?.length ?? 0) > 0 || metadata.names !== undefined) return read(options);
  const named = { ...options, labels: beside.names };
  const plain = attempt(() => read({ ...options, isSilent: true }));
  const found = attempt(() => read({ ...named, isSilent: true }));
  const file = JSON.stringify(beside.file);
  // Of several models in its folder it is of those of transformers only.
  const isOfOthers = found?.head.startsWith(huggingFace.name) !== true && beside.isOfOne !== true;
  if (beside.file === TRANSFORMERS_FILE && isOfOthers) return read(options);
  if (found === undefined || (plain !== undefined && plain.head !== found.head)) {
    if (plain !== undefined && isSilent !== true) {
      const count = plural(beside.names.length, "class name");
      logger.warn(`Ignoring the ${count} of ${file} beside ${source}, which do not fit: give \`labels\``);
    }
    return read(options);
  }
  const spec = read(named);
  return { ...spec, reason: `${spec.reason}, of ${file} beside it` };
}
