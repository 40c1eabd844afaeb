/** @module Complaints: what is said of pictures and videos that cannot be read, where the others are done nevertheless. */

import { printable } from "../core/shown.ts";
import type { Terminal } from "./terminal.ts";

const HINT = "Hint: ";

/** Tells of one error after the other in a line each; a hint that holds for many is given once. */
export class Complaints {
  readonly #terminal: Terminal;
  readonly #given = new Set<string>();

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
  }

  /** Tell of one. */
  tell(error: Error): void {
    const [first = "", ...others] = error.message.split("\n");
    this.#terminal.line(`${this.#terminal.paint("red", "error:")} ${printable(first)}`);
    const hint = others.findLast((line) => line.startsWith(HINT));
    if (hint === undefined || this.#given.has(hint)) return;
    this.#given.add(hint);
    this.#terminal.line(printable(hint));
  }
}
