/** @module WatchFolder: new images in a folder, each once it is complete. */

import { type Dirent, readdirSync, type Stats, statSync, watch } from "node:fs";
import { extname, join } from "node:path";
import { message, VideoError } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { isLossyPath } from "../core/paths.ts";

/** Options of {@linkcode watchFolder}. */
export interface WatchFolderOptions {
  /** Extensions of images, with the dot, in small letters. */
  readonly extensions: readonly string[];
  /** True: images that are there already come first. Default false. */
  readonly existing?: boolean | undefined;
  /** A file is complete when its size has not changed for this long, in milliseconds. Default 200. */
  readonly settleMs?: number | undefined;
  /** Ends the watch. */
  readonly signal?: AbortSignal | undefined;
}

/** Size and time of a file, by which one that is written again is known. */
function stampOf({ size, mtimeMs }: Stats): string {
  return `${size}:${mtimeMs}`;
}

/** The files of one folder, and which of them have settled. */
class FolderState {
  readonly #folder: string;
  readonly #options: WatchFolderOptions;
  /** Files that may still be written, and when each was last found changed. */
  readonly #growing = new Map<string, { readonly stamp: string; readonly size: number; readonly since: number }>();
  /** Files that have settled. */
  readonly #seen = new Map<string, string>();
  readonly #unreadable = new Set<string>();

  constructor(folder: string, options: WatchFolderOptions) {
    this.#folder = folder;
    this.#options = options;
    const found = this.#images();
    if (options.existing === true) return;
    for (const [name, stats] of found) this.#seen.set(name, stampOf(stats));
  }

  /** True while a file is still being written. An empty one may stay so: what is written into it will be news. */
  get isGrowing(): boolean {
    return this.#growing.values().some(({ size }) => size > 0);
  }

  /** Look at the folder: the names of files that have settled, in order. */
  settled(now: number): string[] {
    const { settleMs = 200 } = this.#options;
    const found = this.#images();
    const ready: string[] = [];
    for (const [name, stats] of found) {
      const { size } = stats;
      const stamp = stampOf(stats);
      if (this.#seen.get(name) === stamp) continue;
      const known = this.#growing.get(name);
      if (known?.stamp !== stamp) this.#growing.set(name, { stamp, size, since: now });
      else if (size > 0 && now - known.since >= settleMs) {
        this.#growing.delete(name);
        this.#seen.set(name, stamp);
        ready.push(name);
      }
    }
    for (const known of [this.#seen, this.#growing]) {
      for (const name of known.keys()) if (!found.has(name)) known.delete(name);
    }
    return ready;
  }

  #images(): Map<string, Stats> {
    const { extensions } = this.#options;
    let entries: Dirent[];
    try {
      entries = readdirSync(this.#folder, { withFileTypes: true });
    } catch (error) {
      const { message: why } = error as Error;
      const text = message(`watch the folder ${JSON.stringify(this.#folder)}`, why, "create it, or make it readable");
      throw new VideoError(text, this.#folder, { cause: error });
    }
    const found = new Map<string, Stats>();
    for (const entry of entries) {
      // A name with a dot in front is how many programs write a file they rename when it is whole.
      if (entry.isDirectory() || entry.name.startsWith(".")) continue;
      if (!extensions.includes(extname(entry.name).toLowerCase())) continue;
      const stats = this.#statsOf(entry.name);
      if (stats?.isFile()) found.set(entry.name, stats);
    }
    return new Map([...found].sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  /** `undefined` for what has gone, and for what cannot be looked at, such as a link to itself: told of once. */
  #statsOf(name: string): Stats | undefined {
    const path = join(this.#folder, name);
    try {
      const stats = statSync(path, { throwIfNoEntry: false });
      if (stats === undefined && isLossyPath(path))
        this.#skip(name, `the name of ${JSON.stringify(name)} is not UTF-8`);
      return stats;
    } catch (error) {
      this.#skip(name, (error as Error).message);
      return undefined;
    }
  }

  #skip(name: string, why: string): void {
    if (!this.#unreadable.has(name)) logger.warn(`Skipped a file in ${JSON.stringify(this.#folder)}: ${why}`);
    this.#unreadable.add(name);
  }
}

/**
 * Watch a folder for new images, and for those that are written again. What comes after the call is new, however late
 * the iteration begins.
 *
 * @returns paths, each when its file has stopped growing; ends with the signal
 * @throws {VideoError} If the folder cannot be read, at once; from the iteration, if it has gone
 *
 * @example
 * ```ts
 * import { Detector } from "bun-tensorrt";
 * import { watchFolder } from "bun-tensorrt/video";
 *
 * await using detector = await Detector.load("yolo11n");
 * const signal = AbortSignal.timeout(2000);
 * for await (const path of watchFolder("incoming", { extensions: [".jpg"], existing: true, signal })) {
 *   console.log(path, (await detector.detect(path)).detections.length);
 * }
 * ```
 */
export function watchFolder(folder: string, options: WatchFolderOptions): AsyncGenerator<string, void, undefined> {
  return settledFiles(folder, options, new FolderState(folder, options));
}

async function* settledFiles(
  folder: string,
  options: WatchFolderOptions,
  state: FolderState,
): AsyncGenerator<string, void, undefined> {
  const { settleMs = 200, signal } = options;
  let wake: (() => void) | undefined;
  let hasNews = true;
  const onNews = (): void => {
    hasNews = true;
    wake?.();
  };
  const watcher = watch(folder, onNews);
  watcher.on("error", (error) => {
    logger.warn(`Watching ${folder}: ${error.message}`);
    onNews();
  });
  signal?.addEventListener("abort", onNews);
  try {
    while (signal?.aborted !== true) {
      hasNews = false;
      for (const name of state.settled(performance.now())) {
        yield join(folder, name);
        if (signal?.aborted) return;
      }
      if (hasNews && !state.isGrowing) continue;
      const { promise, resolve } = Promise.withResolvers<void>();
      wake = resolve;
      // Without news a folder on the network, which tells none, is still looked at every now and then.
      const timer = setTimeout(resolve, state.isGrowing ? settleMs / 4 : 1000);
      if (signal?.aborted) resolve();
      await promise;
      clearTimeout(timer);
      // A file that is being written makes news by the hundred.
      if (state.isGrowing) await Bun.sleep(settleMs / 4);
    }
  } finally {
    signal?.removeEventListener("abort", onNews);
    watcher.close();
  }
}
