/**
 * @module DetectDesk: requests to results, so many at once and so many waiting, within the server's limits, counted and
 * measured.
 */

import type { Detector } from "../api/detector.ts";
import type { Classifier, DepthEstimator, SemanticSegmenter } from "../api/whole-image-models.ts";
import { ClosedError, RequestError } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { untilAborted } from "../core/resource.ts";
import { formatDuration } from "../core/units.ts";
import type { Image } from "../image/image.ts";
import type { ServiceMetrics } from "../service/metrics.ts";
import { type AskedDetector, type AskOptions, ask, isOfWhole, servedForms } from "../service/served-model.ts";
import type { ResultForms, TaskResult, TensorForm, TensorTraits } from "../tasks/task-result.ts";
import { busyError, closedModelError, drainingError, refusal } from "./failure.ts";
import type { HandlerConfig } from "./serve-config.ts";
import { BodyBudget, type BodyHold, readRequestBody } from "./upload.ts";

/** The part of a {@linkcode Detector}, or of a model that says more of its objects, that is served. */
export interface ServedDetector
  extends AskedDetector,
    Pick<Detector, "labels" | "model" | "backend" | "backends" | "stalledMs"> {
  readonly recognition: Pick<Detector["recognition"], "head"> & TensorTraits;
}

/** What a server answers with: a model that finds objects, a classifier, or a model of maps. */
export type ServedModel = ServedDetector | Classifier | SemanticSegmenter | DepthEstimator;

/** The last part of the address that images are sent to. */
export type AskRoute = "detect" | "classify" | "semantic" | "depth";

function routeOf({ task = "detect" }: ServedModel): AskRoute {
  return isOfWhole(task) ? task : "detect";
}

/** What of a model that finds objects decides the form of its answers; nothing of others. */
export function traitsOf(model: ServedModel): Partial<ServedDetector["recognition"]> {
  const { task } = model;
  return task === "classify" || task === "semantic" || task === "depth" ? {} : model.recognition;
}

/** Labels of a model; of depth there are none. */
export function labelsOf(model: ServedModel): readonly string[] {
  return "labels" in model ? model.labels : [];
}

/** Frames in flight on all devices of a model. */
export function framesInFlight({ backends }: Pick<ServedModel, "backends">): number {
  return backends.reduce((sum, { inFlight }) => sum + inFlight, 0);
}

/** How much is let in. */
interface AdmissionOptions {
  /** Pieces of work at once, at least 1. */
  readonly concurrency: number;
  /** Requests that may wait, 0 or more. */
  readonly queue: number;
  /**
   * How long work may go on after its signal, in milliseconds: if it has not ended then, it may never, and somebody else
   * gets its place. At most `concurrency` such pieces are let run on, so that what they hold in memory stays bounded.
   */
  readonly graceMs: number;
}

/** Weight of the newest duration in the mean. */
const NEWEST = 0.1;

/** Lets work in, first come first served. */
export class Admission {
  readonly #options: AdmissionOptions;
  /** What lets those in that wait for their turn. */
  readonly #waiting: (() => void)[] = [];
  /** Pieces of work that run. */
  running = 0;
  /** Pieces of work whose place was given to others, and that have not ended since. */
  stray = 0;
  #endedAt = performance.now();
  /** Of the recent pieces of work, in milliseconds. */
  #meanMs = 0;

  constructor(options: AdmissionOptions) {
    this.#options = options;
  }

  /** For how long all places have been taken without one getting free, in milliseconds; 0 while there is a free one. */
  get stalledMs(): number {
    return this.running < this.#options.concurrency ? 0 : performance.now() - this.#endedAt;
  }

  /** Requests that wait for their turn. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /**
   * Do a piece of work in its turn. When the signal ends the wait for it, the work goes on and keeps its place until it
   * is done, or for `graceMs`: what is running stays counted.
   *
   * @param signal its reason is thrown, whether the turn had come or not
   * @throws {RequestError} 429 if too many wait already; `Retry-After` says when there may be room
   */
  async run<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    await this.#enter(signal);
    const started = performance.now();
    const { graceMs, concurrency } = this.#options;
    let isStray = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const giveUp = (): void => {
      if (this.stray >= concurrency) return;
      isStray = true;
      this.stray += 1;
      logger.error(
        `A request was still running ${Math.round(graceMs / 1000)} s after its time was up, and its place is given to others`,
      );
      this.#next();
    };
    const onAbort = (): void => {
      timer = setTimeout(giveUp, graceMs);
      timer.unref();
    };
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) onAbort();
    const running = work().finally(() => {
      signal.removeEventListener("abort", onAbort);
      clearTimeout(timer);
      if (isStray) this.stray -= 1;
      else this.#leave(performance.now() - started);
    });
    return await untilAborted(running, signal);
  }

  #enter(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const { concurrency, queue } = this.#options;
    if (this.running < concurrency) {
      this.running += 1;
      this.#endedAt = performance.now();
      return Promise.resolve();
    }
    if (this.#waiting.length >= queue) {
      const found = `${concurrency} requests are running and ${this.#waiting.length} are waiting`;
      return Promise.reject(busyError(found, { "Retry-After": String(this.#retryAfterSeconds()) }));
    }
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        this.#waiting.splice(this.#waiting.indexOf(enter), 1);
        reject(signal.reason);
      };
      const enter = (): void => {
        signal.removeEventListener("abort", onAbort);
        resolve();
      };
      signal.addEventListener("abort", onAbort, { once: true });
      this.#waiting.push(enter);
    });
  }

  #leave(elapsedMs: number): void {
    this.#meanMs += (elapsedMs - this.#meanMs) * (this.#meanMs === 0 ? 1 : NEWEST);
    this.#next();
  }

  /** Give a place that is free now to who has waited longest. */
  #next(): void {
    this.#endedAt = performance.now();
    const enter = this.#waiting.shift();
    if (enter === undefined) this.running -= 1;
    else enter();
  }

  /** Until half of those that wait now have had their turn, in whole seconds. */
  #retryAfterSeconds(): number {
    const rounds = (this.#waiting.length / 2 + 1) / this.#options.concurrency;
    return Math.min(60, Math.max(1, Math.ceil((rounds * this.#meanMs) / 1000)));
  }
}

/** Asks the model about one image while the turn lasts. */
export type DetectOne = (image: Uint8Array | Image, options: AskOptions | undefined) => Promise<TaskResult>;

/** Where requests hand in their bodies and wait for their turn at the model. */
export class DetectDesk {
  readonly detector: ServedModel;
  /** Of the model's task. */
  readonly forms: ResultForms;
  /** What clients ask for. */
  readonly route: AskRoute;
  /** Outputs of the Open Inference Protocol. */
  readonly tensorForms: readonly TensorForm[];
  readonly config: HandlerConfig;
  readonly metrics: ServiceMetrics;
  readonly #admission: Admission;
  readonly #bodies: BodyBudget;
  /** Ends of the turns and bodies that are waited for. */
  readonly #ends = new Set<AbortController>();
  #receiving = 0;
  /** From then on no request is let in; those that have been are finished. */
  isDraining = false;
  /** A request has found that the model is closed, and the server is not: none can be answered any more. */
  isModelClosed = false;

  constructor(detector: ServedModel, config: HandlerConfig, metrics: ServiceMetrics) {
    this.detector = detector;
    this.forms = servedForms(detector);
    this.route = routeOf(detector);
    this.tensorForms = this.forms.tensorForms(traitsOf(detector));
    this.config = config;
    this.metrics = metrics;
    const { concurrency = Math.max(4, 2 * framesInFlight(detector)), queue } = config;
    this.#admission = new Admission({ concurrency, queue, graceMs: config.timeoutMs });
    this.#bodies = new BodyBudget(config.maxBodiesBytes);
  }

  /** Requests that wait for their turn. */
  get waiting(): number {
    return this.#admission.waiting;
  }

  /**
   * For how long nothing has been finished though everything is taken, in milliseconds: all slots of the detector by runs, or
   * all places by requests. 0 while there is room.
   */
  get stalledMs(): number {
    return Math.max(this.detector.stalledMs, this.#admission.stalledMs);
  }

  /** Give up those that have been let in as well: each is answered with 503. */
  abandon(): void {
    this.isDraining = true;
    for (const end of this.#ends) end.abort(drainingError());
  }

  /**
   * Let a request in, take its body, and do its work in its turn: nothing is made of the body before.
   *
   * When the client goes, its `AbortError` is thrown, and work that has not begun never does.
   *
   * @param work  what is done; it may detect several images. Its signal is aborted when nobody waits for it any more
   * @param check refuses what costs nothing to refuse, before the turn
   * @throws {RequestError} 503 if the server is draining or the time is up, 429 if too many bodies are on their way, too many
   *   of their bytes in memory, or too many requests waiting
   */
  async serve<T>(
    request: Request,
    work: (body: Uint8Array, detect: DetectOne, signal: AbortSignal) => Promise<T>,
    check: (body: Uint8Array) => void = () => {},
  ): Promise<T> {
    if (this.isDraining) throw drainingError();
    const end = new AbortController();
    const onGone = (): void => end.abort(new DOMException("The client has gone", "AbortError"));
    const hold = this.#bodies.hold((error) => end.abort(error));
    request.signal.addEventListener("abort", onGone, { once: true });
    if (request.signal.aborted) onGone();
    this.#ends.add(end);
    try {
      const body = await this.#receive(request, hold, end.signal);
      check(body);
      return await this.#turn(end, request.signal, (detect) => {
        hold.isPinned = true;
        // It may go on after its time, and holds its body then.
        return work(body, detect, end.signal).finally(() => hold.release());
      });
    } catch (error) {
      if (error instanceof RequestError && error.code === "busy") this.metrics.drop("busy");
      if (!(error instanceof ClosedError)) throw error;
      if (this.isDraining) throw drainingError();
      this.isModelClosed = true;
      throw closedModelError();
    } finally {
      if (!hold.isPinned) hold.release();
      request.signal.removeEventListener("abort", onGone);
      this.#ends.delete(end);
    }
  }

  async #receive(request: Request, hold: BodyHold, signal: AbortSignal): Promise<Uint8Array> {
    if (this.#receiving >= this.config.maxReceiving) {
      throw busyError(`${this.#receiving} bodies are on their way`);
    }
    const started = performance.now();
    this.#receiving += 1;
    try {
      const received = await readRequestBody(request, this.config, hold, signal);
      this.metrics.observe("receive", performance.now() - started);
      return received;
    } finally {
      this.#receiving -= 1;
    }
  }

  async #turn<T>(end: AbortController, client: AbortSignal, work: (detect: DetectOne) => Promise<T>): Promise<T> {
    const { timeoutMs } = this.config;
    const timer = setTimeout(() => {
      const found = `the request took longer than ${formatDuration(timeoutMs)}`;
      end.abort(refusal(503, "timed-out", found, "ask again later, or send fewer images", { "Retry-After": "1" }));
    }, timeoutMs);
    try {
      const detect: DetectOne = (image, options) => this.#detect(image, { ...options, signal: end.signal });
      return await this.#admission.run(end.signal, () => work(detect));
    } catch (error) {
      const isBusy = error instanceof RequestError && error.code === "busy";
      if (end.signal.aborted && !isBusy) this.metrics.drop(client.aborted ? "gone" : "expired");
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  async #detect(image: Uint8Array | Image, { slices, ...options }: AskOptions): Promise<TaskResult> {
    this.metrics.addInFlight(1);
    try {
      const { maxSlices } = this.config;
      const limited = slices ? { slices: { ...slices, maxSlices } } : slices === false ? { slices } : {};
      const result = await ask(this.detector, image, { ...options, ...limited });
      this.metrics.frame("ok");
      this.metrics.observeTiming(result.timing);
      return result;
    } catch (error) {
      this.metrics.frame("error");
      throw error;
    } finally {
      this.metrics.addInFlight(-1);
    }
  }
}
