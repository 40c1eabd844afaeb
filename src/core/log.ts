/**
 * @module Log: the only way the library speaks, silent unless a sink is set; and text that is not ours, made fit to be
 * seen: names of files, tensors and nodes, what native libraries, servers and other programs say. It can neither take over a terminal nor reverse a line, and no address in it holds a password.
 */

/** Controls of C0 and C1, what reverses, joins or hides text (bidirectional, zero-width), line separators, half characters. */
const UNSAFE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;
const ESC = "\x1b";
/** The looks that the command line gives text itself. */
const LOOKS_OR_UNSAFE = new RegExp(`${ESC}\\[(?:[12]|22|3[1236]|39)m|${UNSAFE.source}`, "gu");

function escaped(character: string): string {
  let text = "";
  for (let at = 0; at < character.length; at++) {
    text += `\\u${character.charCodeAt(at).toString(16).padStart(4, "0")}`;
  }
  return text;
}

/** A name, or another text that is one line: what is unsafe becomes `\u001b`, also line breaks. */
export function printable(text: string): string {
  return text.replace(UNSAFE, (character) => (character === "\n" ? "\\n" : escaped(character)));
}

/** What a library says, as one line: names of the model are in it, which could pass for lines of ours. */
export function oneLine(text: string): string {
  return text.trim().replace(/\s*[\r\n]\s*/g, " ");
}

function escapedInLines(match: string): string {
  return match === "\n" || match === "\t" ? match : escaped(match);
}

/** A message of several lines: as {@linkcode printable}, and passwords in its addresses are left out. */
export function shown(text: string): string {
  return redactWithin(text).replace(UNSAFE, escapedInLines);
}

/** As {@linkcode shown}, for a terminal with colours: those of our own stay. */
export function shownInColour(text: string): string {
  return redactWithin(text).replace(LOOKS_OR_UNSAFE, (match) => (match.length > 2 ? match : escapedInLines(match)));
}

/** JSON of the same value that is safe on a terminal. @param indent blanks a level; without, all is one line */
export function printableJson(value: unknown, indent?: number): string {
  // Outside of strings there is no such character but the line break.
  return JSON.stringify(value, null, indent).replace(UNSAFE, escapedInLines);
}

/** No longer than schemes are, so that long words cost no more than their length. */
const SCHEME = "[a-z][a-z\\d+.-]{0,15}://";
/** Addresses in a text: in quotes up to the next one, elsewhere up to a blank. */
const ADDRESSES = new RegExp(
  `(?<=")${SCHEME}(?:\\\\.|[^"\\\\${ESC}])*(?=")|${SCHEME}(?:\\\\\\S|[^\\s"\\\\${ESC}])*`,
  "gi",
);
/** Parameters whose values let somebody in; some cameras put them into the path. */
const SECRETS =
  /([?&;/_](?:pass(?:word|wd|phrase)?|pwd|(?:[\w-]{0,32}[-_])?(?:token|secret|key|sig|signature|credential)|apikey|auth)=)[^&;#]*/gi;
const FILE_NAME = /^[^/:?#]*\.(?:jpe?g|png|webp|avif|gif|tiff?)$/i;
const HOST = /^(?:\[[\da-f:.]+\]|[\w-]+(?:\.[\w-]+)*)(?::\d+)?(?:\/|$)/i;

/** Where the name and password end: the place of their `@` in what follows the scheme; -1 where there are none. */
function credentialsEnd(scheme: string, rest: string): number {
  const first = rest.search(/[/?#\\]/);
  const authority = first < 0 ? rest : rest.slice(0, first);
  const inside = authority.lastIndexOf("@");
  // A password with an unescaped slash or question mark in it ends at a later one. Nothing but `name:` can begin one.
  if (!/[:@]/.test(authority)) return -1;
  if (!/^https?:/i.test(scheme) || !URL.canParse(scheme + authority)) return Math.max(inside, rest.lastIndexOf("@"));
  const path = rest.split(/[?#]/, 1)[0]!;
  const last = path.lastIndexOf("@");
  const after = path.slice(last + 1);
  return last > inside && HOST.test(after) && !FILE_NAME.test(after) ? last : inside;
}

/**
 * An address without the passwords in it: `rtsp://admin:***@camera.local/stream`, `http://host/a.jpg?token=***`. Where it
 * cannot be told whether a part belongs to a password, such as in `rtsp://admin:12/34@camera`, it is taken for one.
 *
 * @param address any text; what is no address with `://` is returned as it is
 */
export function redact(address: string): string {
  const [scheme] = /^[a-z][a-z\d+.-]*:\/\//i.exec(address) ?? [];
  if (scheme === undefined) return address;
  const rest = address.slice(scheme.length);
  const end = credentialsEnd(scheme, rest);
  const place = rest.slice(end + 1).replace(SECRETS, "$1***");
  // Before an `@` that is the first character, as addresses of multicast have it, there is nobody.
  if (end <= 0) return scheme + rest.slice(0, end + 1) + place;
  const colon = rest.indexOf(":");
  // A name alone is a token as often as not.
  const user = colon >= 0 && colon < end ? `${rest.slice(0, colon)}:` : "";
  return `${scheme}${user}***@${place}`;
}

/** The way out for an address that is none because of the password in it; `undefined` where that is not the reason. */
export function passwordHint(address: string): string | undefined {
  if (URL.canParse(address) || !redact(address).includes("***@")) return undefined;
  return "in a password write / as %2F, @ as %40, ? as %3F and # as %23";
}

/** {@linkcode redact}, for every address in a text. */
export function redactWithin(text: string): string {
  return text.includes("://") ? text.replace(ADDRESSES, redact) : text;
}

/** Severity of a line, least important first. */
export type LogLevel = "debug" | "info" | "warn" | "error";

/** Where the lines go. Control characters in them are escaped. Called on the JS thread. */
export type LogSink = (level: LogLevel, text: string) => void;

/** Where lines go, and what has been said without being asked. */
interface Voice {
  sink: LogSink | undefined;
  /** Somebody has said where lines go, or that they go nowhere. */
  isChosen: boolean;
  /** Warnings that standard error has had. */
  readonly told: Set<string>;
}

/**
 * Of the process rather than of this file, which `bun --hot` evaluates anew: a former evaluation that held a sink would hold what
 * the program had around it, and so its detectors, which nobody could collect.
 */
const VOICE = Symbol.for("bun-tensorrt.log");
const voices = globalThis as { [VOICE]?: Voice };
voices[VOICE] ??= { sink: undefined, isChosen: false, told: new Set() };
const common: Voice = voices[VOICE];

function voice(level: LogLevel): (text: string) => void {
  return (text) => common.sink?.(level, shown(text));
}

/** The library's voice: lines go to the sink that {@linkcode setLogSink} installed, and nowhere without one. */
export const logger: Readonly<Record<LogLevel, (text: string) => void>> = {
  debug: voice("debug"),
  info: voice("info"),
  warn: voice("warn"),
  error: voice("error"),
};

/**
 * A warning that nobody must miss: where no sink was ever chosen it goes to standard error, each text once.
 */
export function warnAloud(text: string): void {
  if (common.isChosen) logger.warn(text);
  if (common.isChosen || common.told.has(text)) return;
  common.told.add(text);
  process.stderr.write(`bun-tensorrt: ${shown(text)}\n`);
}

/**
 * Choose where the library's log lines go; by default nowhere, but for warnings that nobody must miss on standard error: a GPU
 * that stays unused, a model from an address that nothing pins.
 *
 * @param sink called for every line, or `undefined` for silence
 * @returns the sink that was installed before
 *
 * @example
 * ```ts
 * import { setLogSink } from "bun-tensorrt";
 *
 * setLogSink((level, text) => {
 *   if (level !== "debug") console.error(level, text);
 * });
 * ```
 */
export function setLogSink(sink: LogSink | undefined): LogSink | undefined {
  const former = common.sink;
  common.sink = sink;
  common.isChosen = true;
  return former;
}

/** So many lines in so many milliseconds. */
const MOST_LINES = 10;
const INTERVAL_MS = 5_000;

/** Tells the first lines of an interval; the first line of the next says how many were left out. */
export class RepeatedLine {
  readonly #tell: (text: string) => void;
  readonly #now: () => number;
  #since = Number.NEGATIVE_INFINITY;
  #count = 0;

  /**
   * @param tell writes a line
   * @param now milliseconds
   */
  constructor(tell: (text: string) => void, now: () => number = () => performance.now()) {
    this.#tell = tell;
    this.#now = now;
  }

  /** Tell, or count. */
  tell(text: string): void {
    const now = this.#now();
    const leftOut = this.#count - MOST_LINES;
    const isNext = now - this.#since >= INTERVAL_MS;
    if (isNext) {
      this.#since = now;
      this.#count = 0;
    }
    this.#count += 1;
    if (this.#count > MOST_LINES) return;
    this.#tell(isNext && leftOut > 0 ? `${text} (${leftOut} more like it before)` : text);
  }
}
