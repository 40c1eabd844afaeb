/** @module FrameTimes: the times of frames out of what ffmpeg's metadata filter prints, one after the other. */

const LINE = /^frame:\d+\s+pts:(-?\d+|\S+)/;

/** Reads lines such as `frame:3 pts:100000 pts_time:0.1`, no faster than it is asked. */
export class FrameTimes {
  readonly #reader: { read(): Promise<{ readonly done: boolean; readonly value?: Uint8Array | undefined }> };
  readonly #decoder = new TextDecoder();
  readonly #times: number[] = [];
  #at = 0;
  #rest = "";

  constructor(stream: ReadableStream<Uint8Array>) {
    this.#reader = stream.getReader();
  }

  /**
   * The time of the next frame, which is then on its way.
   *
   * @returns microseconds, NaN for a frame without a time, `undefined` after the last frame
   */
  async next(): Promise<number | undefined> {
    while (this.#at === this.#times.length) {
      this.#times.length = 0;
      this.#at = 0;
      const { done, value } = await this.#reader.read();
      if (done || value === undefined) return undefined;
      this.#parse(this.#decoder.decode(value, { stream: true }));
    }
    return this.#times[this.#at++];
  }

  #parse(text: string): void {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) {
      const match = LINE.exec(line);
      if (match !== null) this.#times.push(Number(match[1]));
    }
  }
}
