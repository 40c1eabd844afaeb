/** @module Python literal: reads the values that exporters write into metadata, as Python's repr() or as JSON. */

/** What a literal stands for. Keys of a dict are strings or numbers, as written. */
export type Literal = string | number | boolean | null | Literal[] | Map<string | number, Literal>;

const WORDS: ReadonlyMap<string, Literal> = new Map<string, Literal>([
  ["True", true],
  ["true", true],
  ["False", false],
  ["false", false],
  ["None", null],
  ["null", null],
]);

const ESCAPES: Readonly<Record<string, string>> = { n: "\n", t: "\t", r: "\r", b: "\b", f: "\f", "0": "\0", "\n": "" };

/** White space of Python and of JSON. */
const SPACE: ReadonlySet<string> = new Set(" \t\n\r\f\v");

/** Digits after \x, \u and \U. */
const HEX_LENGTH: Readonly<Record<string, number>> = { x: 2, u: 4, U: 8 };

/** Deeper nesting than any exporter writes is refused, so that a hostile file cannot exhaust the stack. */
const MAX_DEPTH = 16;

/** Longer than the names of 100,000 classes. */
const MAX_LENGTH = 1 << 22;

/** One pass over the text; every method leaves the position behind what it read. */
class Reader {
  readonly #text: string;
  #at = 0;
  #depth = 0;

  constructor(text: string) {
    this.#text = text;
  }

  /** The whole text as one literal. */
  read(): Literal {
    const value = this.#value();
    if (this.#peek() !== "") throw new SyntaxError("text after the literal");
    return value;
  }

  /** The next character that is no space; empty at the end. */
  #peek(): string {
    while (SPACE.has(this.#text[this.#at] ?? "")) this.#at += 1;
    return this.#text[this.#at] ?? "";
  }

  #value(): Literal {
    const first = this.#peek();
    if (first === "{" || first === "[" || first === "(") return this.#nested(first);
    if (first === "'" || first === '"') return this.#string(first);
    const word = /^[\w.+-]+/.exec(this.#text.slice(this.#at, this.#at + 40))?.[0] ?? "";
    this.#at += word.length;
    const known = WORDS.get(word);
    if (known !== undefined) return known;
    const number = Number(word);
    if (word === "" || Number.isNaN(number)) throw new SyntaxError("neither a word nor a number");
    return number;
  }

  #nested(first: "{" | "[" | "("): Literal {
    if (this.#depth === MAX_DEPTH) throw new SyntaxError("nested too deep");
    this.#depth += 1;
    const value = first === "{" ? this.#dict() : this.#list(first === "[" ? "]" : ")");
    this.#depth -= 1;
    return value;
  }

  #list(end: string): Literal[] {
    const items: Literal[] = [];
    this.#at += 1;
    while (this.#peek() !== end) {
      items.push(this.#value());
      this.#separator(end);
    }
    this.#at += 1;
    return items;
  }

  #dict(): Map<string | number, Literal> {
    const entries = new Map<string | number, Literal>();
    this.#at += 1;
    while (this.#peek() !== "}") {
      const key = this.#value();
      if (typeof key !== "string" && typeof key !== "number") throw new SyntaxError("a key is a string or a number");
      if (this.#peek() !== ":") throw new SyntaxError("a colon is missing");
      this.#at += 1;
      entries.set(key, this.#value());
      this.#separator("}");
    }
    this.#at += 1;
    return entries;
  }

  /** A comma, also a trailing one, or the end that is left for the caller. */
  #separator(end: string): void {
    const next = this.#peek();
    if (next === ",") this.#at += 1;
    else if (next !== end) throw new SyntaxError("a comma is missing");
  }

  #string(quote: string): string {
    let value = "";
    for (this.#at += 1; ; this.#at += 1) {
      const char = this.#text[this.#at];
      if (char === undefined) throw new SyntaxError("a string does not end");
      if (char === quote) {
        this.#at += 1;
        return value;
      }
      value += char === "\\" ? this.#escape() : char;
    }
  }

  /** Called at the backslash; leaves the position at the last character of the escape. */
  #escape(): string {
    this.#at += 1;
    const char = this.#text[this.#at] ?? "";
    const digits = HEX_LENGTH[char];
    if (digits === undefined) return ESCAPES[char] ?? char;
    const hex = this.#text.slice(this.#at + 1, this.#at + 1 + digits);
    const code = Number.parseInt(hex, 16);
    if (!/^[\da-f]+$/i.test(hex) || hex.length !== digits || code > 0x10ffff) throw new SyntaxError("a bad escape");
    this.#at += digits;
    return digits === 8 ? String.fromCodePoint(code) : String.fromCharCode(code);
  }
}

/**
 * Read a Python literal (dict, list, tuple, string, number, True, False, None) or JSON.
 *
 * @returns `undefined` if the text is neither, or longer than 4 Mi letters
 */
export function parseLiteral(text: string): Literal | undefined {
  if (text.length > MAX_LENGTH) return undefined;
  try {
    return new Reader(text).read();
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
