/** @module HeldFrame: a frame from when it was read until it is answered, dropped or left. */

import type { StreamEntry } from "./broker.ts";
import type { FrameMessage } from "./frame-message.ts";
import type { SourceRule } from "./source-book.ts";

/** A frame this worker is responsible for. */
export interface HeldFrame {
  /** Stream and entry id. */
  readonly key: string;
  readonly entry: StreamEntry;
  readonly message: FrameMessage;
  readonly rule: SourceRule;
  /** When it was taken apart, and how long receiving and that took; milliseconds. */
  readonly readyAt: number;
  readonly receiveMs: number;
  /** When the server was last told, or was to be told, that it is being worked on. */
  keptAt: number;
  /** Nobody else is given the frame before `claim.idleMs` has passed since; -Infinity: somebody may have been. */
  heardAt: number;
}

/** The key of an entry. */
export function keyOf({ stream, id }: Pick<StreamEntry, "stream" | "id">): string {
  return `${stream}\0${id}`;
}

/** What to call an entry in messages. */
export function titleOf({ stream, id }: Pick<StreamEntry, "stream" | "id">): string {
  return `frame ${id} of ${JSON.stringify(stream)}`;
}
