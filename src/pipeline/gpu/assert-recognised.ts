/** @module AssertRecognised: recognises a model before an engine is built of it. */

import { inShort, LibraryLoadError, ModelError } from "../../core/errors.ts";
import { logger } from "../../core/log.ts";
import { Session } from "../../onnxruntime/session.ts";
import { openedSession } from "../cpu/described-model.ts";
import type { Task } from "../task.ts";
import type { ModelFile } from "./model-file.ts";

/** ONNX Runtime's view of a model; `undefined` where it has none, as of TensorRT's own operators. */
async function openSession({ bytes, path, source }: ModelFile): Promise<Session | undefined> {
  const options = { optimization: "disable" } as const;
  try {
    return path === undefined ? await Session.fromBytes(bytes, source, options) : await Session.load(path, options);
  } catch (error) {
    if (!(error instanceof LibraryLoadError || error instanceof ModelError)) throw error;
    logger.debug(`What ${source} is is looked at after the build: ${inShort(error)}`);
    return undefined;
  }
}

/**
 * Let a task look at a model that is about to be built, so that minutes are not spent on one that is not its own.
 *
 * @throws {ModelError} If it is not
 */
export async function assertRecognised(
  file: ModelFile,
  task: Pick<Task<unknown, unknown, unknown>, "check">,
  signal: AbortSignal | undefined,
): Promise<void> {
  if (task.check === undefined) return;
  await using session = await openSession(file);
  if (session !== undefined) await task.check(openedSession(session, file.source, signal));
}
