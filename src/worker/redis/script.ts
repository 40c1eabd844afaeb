/** @module Script: commands the server runs as one. */

/** What the server runs as one. */
export interface Script {
  readonly text: string;
  /** SHA-1 of the text: what the server knows it by. */
  readonly digest: string;
}

/** A script in Lua. */
export function scriptOf(text: string): Script {
  return { text, digest: new Bun.CryptoHasher("sha1").update(text).digest("hex") };
}
