/** @module MessageLog: what an ffmpeg process says on standard error, passed on to the log, the first lines of it loudly. */

import { logger } from "../core/log.ts";

/** Words for `-loglevel` that this reads. */
export const LOG_LEVEL = "level+warning";

/** A broken stream complains of every packet: after this many lines the rest is only counted. */
const LOUD_LINES = 10;
const KEPT_ERRORS = 6;
/** What is said of a file that stops before its end: by the readers of MP4 and Matroska, by HTTP's, and of a read that failed. */
const TRUNCATED =
  /partial file|end(?:s|ed) prematurely|: (?:Input\/output error|Connection reset by peer|Connection timed out)$/i;

const LINE = /^(?:\[[^\]]* @ 0x[0-9a-f]+\] )*\[(panic|fatal|error|warning)\] (.*)$/;

/** Reads the standard error of one process, line by line, until it closes. */
export class MessageLog {
  readonly #title: string;
  readonly #input: string;
  readonly #loudLines: number;
  readonly #errors: string[] = [];
  #count = 0;
  #isTruncated = false;
  /** Resolves when the process has closed its standard error. */
  readonly ended: Promise<void>;

  /**
   * @param title     what the lines are about: `clip.mp4`
   * @param input     what ffmpeg calls it, which may hold a password: replaced by the title wherever it is said
   * @param loudLines errors that go to the log as warnings; the others as details. Default 10
   */
  constructor(stderr: ReadableStream<Uint8Array>, title: string, input: string, loudLines: number = LOUD_LINES) {
    this.#title = title;
    this.#input = input;
    this.#loudLines = loudLines;
    this.ended = this.#read(stderr);
  }

  /** The last lines of level error and above, oldest first. */
  get errors(): readonly string[] {
    return this.#errors;
  }

  /** Lines of level error and above so far. */
  get count(): number {
    return this.#count;
  }

  /** True if the process said that its input stops before its end. */
  get isTruncated(): boolean {
    return this.#isTruncated;
  }

  /** The last error, as a clause; `otherwise` where there was none. */
  last(otherwise: string): string {
    return this.#errors.at(-1) ?? otherwise;
  }

  async #read(stderr: ReadableStream<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder();
    let rest = "";
    for await (const chunk of stderr) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split(/[\r\n]+/);
      rest = lines.pop() ?? "";
      for (const line of lines) this.#take(line);
    }
    this.#take(rest);
    const hidden = this.#count - this.#loudLines;
    if (hidden > 0 && this.#loudLines > 0) logger.warn(`${this.#title}: ${hidden} further messages of ffmpeg`);
  }

  #take(said: string): void {
    const line = said.replaceAll(this.#input, this.#title);
    const [, level, text] = LINE.exec(line) ?? [];
    if (level === undefined || text === undefined || level === "warning") {
      if (line.trim() !== "") logger.debug(`${this.#title}: ${line}`);
      return;
    }
    this.#count += 1;
    if (TRUNCATED.test(text)) this.#isTruncated = true;
    if (this.#errors.push(text) > KEPT_ERRORS) this.#errors.shift();
    if (this.#count <= this.#loudLines) logger.warn(`${this.#title}: ${text}`);
    else logger.debug(`${this.#title}: ${text}`);
  }
}
