/** @module ReloadConfig: the configuration of a worker that runs, read again as often as it is asked for. */

import { message, OptionError } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import type { WorkerOptions } from "../worker/worker-config.ts";

/** Where options come from, and who takes them. */
export interface ReloadParts {
  /** What the file holds now. */
  readonly read: () => Promise<WorkerOptions>;
  /** @throws {OptionError} If they are refused */
  readonly take: (options: WorkerOptions) => void;
  /** Name of the file; `undefined` where all options are flags. */
  readonly config: string | undefined;
}

/** A file that is empty for a moment is being written: its defaults would send the answers elsewhere. */
function refuseEmpty(options: WorkerOptions, config: string | undefined): void {
  if (config === undefined || Object.keys(options).length > 0) return;
  const found = `it holds no option: ${JSON.stringify(config)}`;
  throw new OptionError(message("read the configuration again", found, "write it whole, then send SIGHUP"), "config");
}

/** Reads a file and hands it on, one read after the other: what was asked for last is what counts in the end. */
export class ConfigReload {
  readonly #parts: ReloadParts;
  #last: Promise<void> = Promise.resolve();

  constructor(parts: ReloadParts) {
    this.#parts = parts;
  }

  /**
   * Read again, once the reads that were asked for before have ended. What is refused is told in the log.
   *
   * @throws what is no fault of the configuration
   */
  request(): Promise<void> {
    this.#last = this.#last.then(() => this.#reload());
    return this.#last;
  }

  async #reload(): Promise<void> {
    const { read, take, config } = this.#parts;
    try {
      const options = await read();
      refuseEmpty(options, config);
      take(options);
    } catch (error) {
      if (!(error instanceof OptionError)) throw error;
      logger.error(`Kept the former configuration. ${error.message}`);
    }
  }
}
