/** @module AssertRecognised: recognises a model before an engine is built of it. */

import { inShort, LibraryLoadError, ModelError } from "../../core/errors.ts";
import { logger } from "../../core/log.ts";
import { needsShapes } from "../../model/open-shapes.ts";
import { recogniseModel } from "../../model/registry.ts";
import { Session } from "../../onnxruntime/session.ts";
import type { BackendOptions } from "../backend.ts";
import { describedModel } from "../cpu/described-model.ts";
import type { ModelFile } from "./model-file.ts";

/** ONNX Runtime's view of a model; `undefined` where it has none, as of TensorRT's own operators. */
async function openSession({ bytes, path, source }: ModelFile): Promise<Session | undefined> {
  const options = { optimization: "disable" } as const;
  try {
    return path === undefined ? await Session.fromBytes(bytes, source, options) : await Session.load(path, options);
  } catch (error) {
    if (!(error instanceof LibraryLoadError || error instanceof ModelError)) throw error;
    logger.debug(`The layout of ${source} is looked at after the build: ${inShort(error)}`);
    return undefined;
  }
}

/**
 * Recognise a model that is about to be built, so that minutes are not spent on one whose layout is unknown. What only the
 * engine can tell is left to it.
 *
 * @throws {ModelError} If it is of no known layout
 */
export async function assertRecognised(file: ModelFile, options: BackendOptions): Promise<void> {
  await using session = await openSession(file);
  if (session === undefined) return;
  const { source } = file;
  const model = await describedModel(session, { size: options.size, source, signal: options.build.signal });
  if (!needsShapes(model)) recogniseModel(model, { ...options, source, isSilent: true });
}
