/** @module BuildTurn: builds on a GPU take turns, those of other processes included, and each sees how far the other is. */

import { mkdirSync, readFileSync, statSync } from "node:fs";
import { constants } from "node:os";
import { dirname, join, toNamespacedPath } from "node:path";
import { BunTensorRtError, inShort, message } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { cacheFolder, readIfThere } from "../core/paths.ts";
import { Resource } from "../core/resource.ts";
import { discard, writeWholeSync } from "../core/whole-file.ts";
import type { Device } from "../cuda/device.ts";
import { cString } from "../ffi/memory.ts";
import { SHIM_STATUS, shim } from "../ffi/shim.ts";
import type { TensorRtLibrary } from "./library.ts";

/** How often a held lock is asked for again. */
const POLL_MS = 100;

/** For how long a lock may be held by who only looks whether it is. */
const PROBE_MS = 5;

/** `ENOENT` of -2: the C library's numbers, where those of Bun are others on Windows. */
function errnoName(status: number): string {
  const known = Object.entries(constants.errno).find(([, value]) => value === -status);
  return known?.[0] ?? `error ${status}`;
}

/** Why a file cannot be locked: it cannot be made, or its file system has no locks. */
function lockError(path: string, code: string): BunTensorRtError {
  return new BunTensorRtError(message(`lock ${path}`, code, "set BUN_TENSORRT_CACHE to a folder on a local disk"));
}

/** What the holder wrote of itself; the file may be gone, or not yet written. */
function holderOf(path: string): string {
  return readIfThere(path)?.trim() || "unknown";
}

function tellHeld(path: string): (isFirst: boolean) => void {
  return (isFirst) => {
    if (isFirst) logger.info(`Waiting for process ${holderOf(path)}, which holds ${path}`);
  };
}

function makeFolder(path: string): void {
  try {
    mkdirSync(dirname(path), { recursive: true });
  } catch (error) {
    throw lockError(path, (error as NodeJS.ErrnoException).code ?? (error as Error).message);
  }
}

/** A lock that this process holds until it is closed. */
export class FileLock extends Resource {
  readonly #descriptor: number;

  private constructor(path: string, descriptor: number) {
    super(`FileLock ${path}`);
    this.#descriptor = descriptor;
  }

  /**
   * Take a lock if it is free.
   *
   * @param path of a file that is made if need be, and left behind
   * @returns `undefined` if another process, or another part of this one, holds it
   * @throws {BunTensorRtError} If the file cannot be made, or not be locked
   */
  static tryAcquire(path: string): FileLock | undefined {
    // Windows knows paths of more than 259 characters by a prefix, which Bun puts there itself.
    const descriptor = shim().bt_file_lock(cString(toNamespacedPath(path)));
    if (descriptor >= 0) return new FileLock(path, descriptor);
    if (descriptor === SHIM_STATUS.failed) return undefined;
    throw lockError(path, errnoName(descriptor));
  }

  /**
   * Wait for a lock. Its folder is made where it is not there, or not any more.
   *
   * @param signal ends the waiting; its reason is thrown
   * @param onHeld called each time that another holds it; default: a line in the log the first time
   * @throws {BunTensorRtError} If the file cannot be made, or not be locked
   */
  static async acquire(
    path: string,
    signal?: AbortSignal,
    onHeld: (isFirst: boolean) => void = tellHeld(path),
  ): Promise<FileLock> {
    for (let tries = 0; ; tries++) {
      signal?.throwIfAborted();
      makeFolder(path);
      const lock = FileLock.tryAcquire(path);
      if (lock !== undefined) return lock;
      // Builds in the background look whether it is held, and hold it for that moment.
      if (tries > 0) onHeld(tries === 1);
      await Bun.sleep(tries === 0 ? PROBE_MS : POLL_MS);
    }
  }

  protected override release(): void {
    const status = shim().bt_file_unlock(this.#descriptor);
    if (status !== SHIM_STATUS.ok) throw new BunTensorRtError(message(`free ${this.label}`, errnoName(status)));
  }
}

/** The build that is waited for. */
export interface BuildWait {
  /** Number of its process, as that sees it: another one in another container. */
  readonly process: string;
  /** What is built; `undefined` where nobody knows. */
  readonly source: string | undefined;
  /** 0–1, and the step in TensorRT's words; `undefined` before it has begun. */
  readonly progress: { readonly fraction: number; readonly phase: string } | undefined;
}

/** `process 4242, which builds yolov8n.onnx`: for messages. */
export function formatHolder({ process: holder, source }: BuildWait): string {
  return `process ${holder}${source === undefined ? "" : `, which builds ${source}`}`;
}

/** `process 4242, which builds yolov8n.onnx: 38 %, Timing graph nodes`: for messages. */
export function formatWait(wait: BuildWait): string {
  const { progress } = wait;
  const how = progress === undefined ? "" : `: ${Math.floor(progress.fraction * 100)} %, ${progress.phase}`;
  return `${formatHolder(wait)}${how}`;
}

/** What a turn is taken for. */
export interface TurnRequest {
  readonly library: TensorRtLibrary;
  /** Without one nothing is measured on a GPU: only builds of the same library take turns then. */
  readonly device: Device | undefined;
  /** What is built, for those who wait. */
  readonly source: string;
  readonly signal?: AbortSignal | undefined;
  /** Called some times a second while another build runs. */
  readonly onWait?: ((wait: BuildWait) => void) | undefined;
  /**
   * Give way: begin when nobody else builds on the GPU, and pause while somebody does. A build of this process that wants the
   * library ends it.
   */
  readonly isBackground?: boolean | undefined;
}

/** Why a build in the background was ended: another one of this process wants the library. It is begun again afterwards. */
export const GIVEN_WAY: unique symbol = Symbol("bun-tensorrt.given-way");

/** Times between two notes of the progress, and between two looks for whom to give way to. */
const NOTE_MS = 500;

/** What is in the file beside a lock. */
interface Note extends Partial<Omit<BuildWait, "process">> {
  readonly process: string;
}

/** What the holder of a lock wrote beside it; one that was killed leaves its note, which is older than the next one's lock. */
function readNote(lock: string): Note | undefined {
  const path = noteOf(lock);
  try {
    if (statSync(path).mtimeMs < statSync(lock).mtimeMs) return undefined;
    return JSON.parse(readFileSync(path, "utf8")) as Note;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT")
      logger.debug(`Cannot read ${path}: ${(error as Error).message}`);
    return undefined;
  }
}

/** A file that others may read at any time. */
function writeNote(path: string, note: Note): void {
  try {
    writeWholeSync(path, JSON.stringify(note));
  } catch (error) {
    // Whoever waits sees no progress; the build is none the worse.
    logger.debug(`Cannot write ${path}: ${(error as Error).message}`);
  }
}

/** The right to build on a GPU, until it is disposed of. It ends with the process that has it, however that ends. */
export class BuildTurn implements Disposable {
  readonly #owned: DisposableStack;
  /** Of builds in front; `undefined` without a GPU. */
  readonly #lock: string | undefined;
  readonly #note: Note;
  readonly #isBackground: boolean;
  readonly #controller: AbortController;
  #notedAt = 0;
  #lookedAt = 0;
  #mustWait = false;

  private constructor(
    request: TurnRequest,
    { owned, lock, controller }: { owned: DisposableStack; lock: string | undefined; controller: AbortController },
  ) {
    this.#owned = owned;
    this.#lock = lock;
    this.#isBackground = request.isBackground === true;
    this.#controller = controller;
    this.#note = { process: String(process.pid), source: request.source };
  }

  /**
   * Wait until no other build runs on a GPU, in whichever process, and none of the library in this one. GPUs are told apart by
   * their own numbers, so that containers that share a cache folder agree.
   *
   * @throws the signal's reason
   */
  static async take(request: TurnRequest): Promise<BuildTurn> {
    const { library, device, isBackground = false } = request;
    const controller = new AbortController();
    const signals = [controller.signal, ...(request.signal === undefined ? [] : [request.signal])];
    const signal = AbortSignal.any(signals);
    using owned = new DisposableStack();
    const lock = device === undefined ? undefined : lockOf(device, isBackground);
    if (lock !== undefined) {
      if (isBackground) await waitQuietly(lock, owned, signal);
      else owned.use(await acquireInFront(lock, request));
    }
    const giveWay = (): void => controller.abort(GIVEN_WAY);
    owned.use(await library.builds.take(signal, isBackground ? giveWay : undefined));
    const turn = new BuildTurn(request, { owned: owned.move(), lock, controller });
    turn.report(undefined);
    return turn;
  }

  /** Ends the build where it must give way for good; only those in the background do. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Note how far the build is, for those who wait. */
  report(progress: BuildWait["progress"]): void {
    const now = performance.now();
    if (this.#lock === undefined || this.#isBackground || (progress !== undefined && now - this.#notedAt < NOTE_MS))
      return;
    this.#notedAt = now;
    writeNote(noteOf(this.#lock), { ...this.#note, progress });
  }

  /** Whether the build must pause, as another one wants the GPU; asks now and then. */
  get mustWait(): boolean {
    const now = performance.now();
    if (this.#lock === undefined || !this.#isBackground || now - this.#lookedAt < NOTE_MS) return this.#mustWait;
    this.#lookedAt = now;
    this.#mustWait = isHeld(this.#lock);
    return this.#mustWait;
  }

  [Symbol.dispose](): void {
    using _owned = this.#owned;
    if (this.#lock !== undefined && !this.#isBackground) discard(noteOf(this.#lock));
  }
}

function noteOf(lock: string): string {
  return lock.replace(/\.lock$/, ".json");
}

/** The lock of builds on a GPU; `undefined` where none can be made, so that builds do not take turns. */
function lockOf(device: Device, isBackground: boolean): string | undefined {
  // With the engines, as containers may share no more than that folder.
  const folder = join(cacheFolder(), "engines");
  try {
    mkdirSync(folder, { recursive: true });
    const path = join(folder, `gpu-${device.uuid()}.lock`);
    for (const one of isBackground ? [path, behindOf(path)] : [path]) FileLock.tryAcquire(one)?.close();
    return path;
  } catch (error) {
    logger.debug(`Builds on ${device.name} do not take turns: ${inShort(error as Error)}`);
    return undefined;
  }
}

/** The lock of the one build in the background that waits or builds. */
function behindOf(lock: string): string {
  return lock.replace(/\.lock$/, ".background.lock");
}

/** Whether somebody builds in front. What cannot be looked at any more holds nobody up. */
function isHeld(path: string): boolean {
  try {
    const lock = FileLock.tryAcquire(path);
    lock?.close();
    return lock === undefined;
  } catch (error) {
    logger.debug((error as Error).message);
    return false;
  }
}

function acquireInFront(path: string, { device, signal, onWait }: TurnRequest): Promise<FileLock> {
  return FileLock.acquire(path, signal, (isFirst) => {
    const holder = holderOf(path);
    const note = readNote(path);
    const { source, progress } = note?.process === holder ? note : { source: undefined, progress: undefined };
    const wait: BuildWait = { process: holder, source, progress };
    if (isFirst) logger.info(`Waiting for ${formatWait(wait)}; builds on ${device!.name} take turns`);
    onWait?.(wait);
  });
}

/** Wait, and let the process end meanwhile. */
function idle(milliseconds: number): Promise<void> {
  return new Promise((resolve) => void setTimeout(resolve, milliseconds).unref());
}

/** One build in the background at a time, when nobody else builds. */
async function waitQuietly(path: string, owned: DisposableStack, signal: AbortSignal): Promise<void> {
  const behind = behindOf(path);
  for (let lock = FileLock.tryAcquire(behind); ; lock = FileLock.tryAcquire(behind)) {
    signal.throwIfAborted();
    if (lock !== undefined) {
      owned.use(lock);
      break;
    }
    await idle(NOTE_MS);
  }
  while (isHeld(path)) {
    signal.throwIfAborted();
    await idle(NOTE_MS);
  }
}
