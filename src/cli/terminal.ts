/** @module Terminal: what standard output and standard error can show, and colours where they can. */

import { shown, shownInColour } from "../core/shown.ts";
import { isClosedPipe, type Output, writeError } from "../core/whole-file.ts";

/** A look of text. */
export type Style = "bold" | "dim" | "red" | "green" | "yellow" | "cyan";

const CODES: Readonly<Record<Style, readonly [on: number, off: number]>> = {
  bold: [1, 22],
  dim: [2, 22],
  red: [31, 39],
  green: [32, 39],
  yellow: [33, 39],
  cyan: [36, 39],
};

/** Give text a look, or leave it as it is. */
export type Paint = (style: Style, text: string) => string;

/** The paint of a stream with or without colours. */
export function paintOf(hasColour: boolean): Paint {
  if (!hasColour) return (_, text) => text;
  return (style, text) => `\x1b[${CODES[style][0]}m${text}\x1b[${CODES[style][1]}m`;
}

/** What makes text safe for a terminal; the looks of a {@linkcode Paint} stay where it has colours. */
function safeText(hasColour: boolean): (text: string) => string {
  return hasColour ? shownInColour : shown;
}

/** A stream people may be looking at. */
interface TerminalStream {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

/** Whether a stream gets colours: only a terminal does, and not where `NO_COLOR` is set or the terminal is dumb. */
export function hasColour(stream: TerminalStream, environment: Readonly<Record<string, string | undefined>>): boolean {
  return stream.isTTY === true && !environment.NO_COLOR && environment.TERM !== "dumb";
}

/**
 * The process's standard output.
 *
 * @param beforeWrite called before text goes to a terminal, to take a status line out of its way
 */
export function standardOutput(stream: NodeJS.WriteStream, beforeWrite: () => void): Output {
  // Without a listener a closed pipe would end the process; the write's own callback reports it.
  stream.on("error", () => {});
  const isColoured = hasColour(stream, process.env);
  const safe = safeText(isColoured);
  return {
    hasColour: isColoured,
    write: (text) =>
      new Promise((resolve, reject) => {
        if (stream.isTTY) beforeWrite();
        // What is piped is data: each format makes its own texts safe.
        stream.write(stream.isTTY ? safe(text) : text, (error) => {
          if (error) reject(isClosedPipe(error) ? error : writeError("standard output", error));
          else resolve();
        });
      }),
    finish: async () => {},
    close: () => {},
  };
}

/** Standard error: lines for people, and one line at the bottom that is drawn over and over. */
export class Terminal {
  /** True where somebody looks, and a line can be wiped: a dumb terminal is a file that is read at once. */
  readonly isTerminal: boolean;
  readonly paint: Paint;
  readonly #stream: TerminalStream;
  readonly #safe: (text: string) => string;
  #hasStatus = false;

  constructor(stream: TerminalStream, paint: Paint, environment: Readonly<Record<string, string | undefined>> = {}) {
    this.#stream = stream;
    this.isTerminal = stream.isTTY === true && environment.TERM !== "dumb";
    this.paint = paint;
    this.#safe = safeText(paint("bold", " ") !== " ");
  }

  /** Width in characters; 80 where the terminal does not tell. */
  get columns(): number {
    return this.#stream.columns || 80;
  }

  /** True while a status line is shown. */
  get hasStatus(): boolean {
    return this.#hasStatus;
  }

  /** Write a line, or several; it goes above the status line. Nothing in it but {@linkcode Paint} reaches the terminal. */
  line(text: string): void {
    this.clearStatus();
    this.#stream.write(`${this.#safe(text)}\n`);
  }

  /** Draw the status line anew. Nothing is drawn where nobody looks. */
  status(text: string): void {
    if (!this.isTerminal) return;
    this.#stream.write(`\r\x1b[K${this.#safe(text)}`);
    this.#hasStatus = true;
  }

  /** Wipe the status line. */
  clearStatus(): void {
    if (!this.#hasStatus) return;
    this.#stream.write("\r\x1b[K");
    this.#hasStatus = false;
  }
}

/** Which side of its column a cell's text lies on. */
export type Alignment = "left" | "right";

/**
 * Align cells by the widest of each column, two blanks between columns, none at the end of a line. Colours do not count.
 *
 * @param rows       all of the same length
 * @param alignments one a column; left where there is none
 */
export function alignRows(
  rows: readonly (readonly string[])[],
  alignments: readonly (Alignment | undefined)[] = [],
): string[] {
  const columns = Math.max(0, ...rows.map((row) => row.length));
  const widths = Array.from({ length: columns }, (_, at) =>
    Math.max(...rows.map((row) => Bun.stringWidth(row[at] ?? ""))),
  );
  return rows.map((row) => {
    const cells = row.map((cell, at) => {
      const blanks = " ".repeat(widths[at]! - Bun.stringWidth(cell));
      return alignments[at] === "right" ? blanks + cell : cell + blanks;
    });
    return cells.join("  ").trimEnd();
  });
}

/** Lines, two blanks in, below a title; nothing where there are none. */
export function section(title: string, lines: readonly string[]): string[] {
  return lines.length === 0 ? [] : [title, ...lines.map((line) => `  ${line}`)];
}
