/** @module BodyBudget: the bytes of all bodies in memory together; where they are too many, the largest gives way. */

import { formatBytes } from "../core/units.ts";
import { refusal } from "./failure.ts";

/** Counts the bytes of bodies that are on their way, waiting or worked on. */
export class BodyBudget {
  readonly #mostBytes: number;
  readonly #holds = new Set<BodyHold>();
  #bytes = 0;

  constructor(mostBytes: number) {
    this.#mostBytes = mostBytes;
  }

  /** Bytes that are held. */
  get bytes(): number {
    return this.#bytes;
  }

  /** A body of no bytes yet. @param giveWay called with the refusal if its bytes are needed for smaller bodies */
  hold(giveWay: (refusal: Error) => void): BodyHold {
    const hold = new BodyHold(this, giveWay);
    this.#holds.add(hold);
    return hold;
  }

  /** @internal called by a hold. @throws {RequestError} 429 if there is no room, and no larger body to make some */
  add(hold: BodyHold, bytes: number): void {
    hold.bytes += bytes;
    this.#bytes += bytes;
    while (this.#bytes > this.#mostBytes) {
      let largest = hold;
      for (const other of this.#holds) if (!other.isPinned && other.bytes > largest.bytes) largest = other;
      const found = `Too many bytes of request bodies are in memory: at most ${formatBytes(this.#mostBytes)}`;
      const error = refusal(429, "busy", found, "ask again after the time in Retry-After", {
        "Retry-After": "1",
        Connection: "close",
      });
      this.drop(largest);
      if (largest === hold) throw error;
      largest.giveWay(error);
    }
  }

  /** @internal called by a hold. */
  drop(hold: BodyHold): void {
    if (!this.#holds.delete(hold)) return;
    this.#bytes -= hold.bytes;
  }
}

/** The bytes of one body. Whoever made it releases it. */
export class BodyHold {
  readonly #budget: BodyBudget;
  readonly giveWay: (refusal: Error) => void;
  bytes = 0;
  /** True once it is worked on: it stays then. */
  isPinned = false;

  constructor(budget: BodyBudget, giveWay: (refusal: Error) => void) {
    this.#budget = budget;
    this.giveWay = giveWay;
  }

  /** Count bytes before they are there. @throws {RequestError} 429 if there is no room for them */
  add(bytes: number): void {
    this.#budget.add(this, bytes);
  }

  /** Its bytes are nobody's any more. */
  release(): void {
    this.#budget.drop(this);
  }
}
