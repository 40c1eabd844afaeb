/** @module JsonBounds: what JSON from a stranger would take in memory and time, counted before it is parsed. */

import { setImmediate } from "node:timers/promises";
import { refusal } from "./failure.ts";

/** Most elements in a request's JSON: the numbers of a picture of 1672x1672. They are parsed in a quarter of a second. */
const MOST_VALUES = 2 ** 23;
/** Most lists: where each pixel is one, as in nested data. */
const MOST_LISTS = 2 ** 22;
/** Most texts, objects and fields: a request has some ten. */
const MOST_NAMES = 2_000;
/** Most lists and objects within each other. */
const MOST_DEPTH = 16;
/** Bytes that are looked at before others have their turn. */
const SLICE = 2 ** 20;

const [QUOTE, COMMA, COLON, BACKSLASH] = [0x22, 0x2c, 0x3a, 0x5c];
const [OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT] = [0x5b, 0x5d, 0x7b, 0x7d];

/** Position of the quote that ends a text, or the length where there is none. @param from behind its first quote */
function endOfText(json: Buffer, from: number): number {
  for (let at = json.indexOf(QUOTE, from); at >= 0; at = json.indexOf(QUOTE, at + 1)) {
    let slashes = 0;
    while (at - 1 - slashes >= from && json[at - 1 - slashes] === BACKSLASH) slashes += 1;
    if (slashes % 2 === 0) return at;
  }
  return json.length;
}

/**
 * Look through JSON, without parsing it, for more than a request can need. Whether it is JSON is the parser's to say.
 *
 * @param json UTF-8
 * @throws {RequestError} 413 if it has too many values or names, or is nested too deeply
 */
export async function checkJsonBounds(json: Uint8Array): Promise<void> {
  const bytes = Buffer.from(json.buffer, json.byteOffset, json.length);
  let [values, lists, names, depth] = [0, 0, 0, 0];
  let pauseAt = SLICE;
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at]!;
    if (byte === COMMA) values += 1;
    else if (byte === QUOTE) {
      names += 1;
      at = endOfText(bytes, at + 1);
    } else if (byte === COLON) names += 1;
    else if (byte === OPEN_LIST || byte === OPEN_OBJECT) {
      depth += 1;
      if (byte === OPEN_OBJECT) names += 1;
      else lists += 1;
      if (depth > MOST_DEPTH) throw tooMuch(MOST_DEPTH, "lists within lists");
    } else if (byte === CLOSE_LIST || byte === CLOSE_OBJECT) depth -= 1;
    if (names > MOST_NAMES) throw tooMuch(MOST_NAMES, "texts and names");
    if (values > MOST_VALUES) throw tooMuch(MOST_VALUES, "values");
    if (lists > MOST_LISTS) throw tooMuch(MOST_LISTS, "lists");
    if (at < pauseAt) continue;
    pauseAt = at + SLICE;
    await setImmediate();
  }
}

function tooMuch(most: number, what: string): Error {
  const hint = "send the picture as a file, or as bytes behind the JSON with binary_data_size";
  return refusal(413, "too-much-json", `The JSON of a request may have at most ${most} ${what}`, hint);
}
