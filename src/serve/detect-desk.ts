/** @module DetectDesk: requests to results, within the server's limits, counted and measured. */

import { RequestError } from "../core/errors.ts";
import { formatDuration } from "../core/units.ts";
import type { DetectionResult } from "../detector/detection.ts";
import type { DetectOptions } from "../detector/detector-config.ts";
import type { Image } from "../image/image.ts";
import type { ServiceMetrics } from "../service/metrics.ts";
import { Admission } from "./admission.ts";
import { drainingError, refusal } from "./failure.ts";
import type { ServeConfig } from "./serve-config.ts";
import { framesInFlight, type ServedDetector } from "./served-detector.ts";

/** Detects one picture while the turn lasts. */
export type DetectOne = (picture: Uint8Array | Image, options: DetectOptions | undefined) => Promise<DetectionResult>;

/** Where requests hand in their bodies and wait for their turn at the detector. */
export class DetectDesk {
  readonly #detector: ServedDetector;
  readonly #config: ServeConfig;
  readonly #metrics: ServiceMetrics;
  readonly #admission: Admission;
  /** Ends of the turns and bodies that are waited for. */
  readonly #ends = new Set<AbortController>();
  #receiving = 0;
  #isDraining = false;

  constructor(detector: ServedDetector, config: ServeConfig, metrics: ServiceMetrics) {
    this.#detector = detector;
    this.#config = config;
    this.#metrics = metrics;
    const { concurrency = Math.max(4, 2 * framesInFlight(detector)), queue } = config;
    this.#admission = new Admission({ concurrency, queue });
  }

  /** True once `drain` has been called. */
  get isDraining(): boolean {
    return this.#isDraining;
  }

  /** Requests that wait for their turn. */
  get waiting(): number {
    return this.#admission.waiting;
  }

  /** From now on no request is let in; those that have been are finished. */
  drain(): void {
    this.#isDraining = true;
  }

  /** Give up those that have been let in as well: each is answered with 503. */
  abandon(): void {
    this.#isDraining = true;
    for (const end of this.#ends) end.abort(drainingError());
  }

  /**
   * Let a request in, and take its body.
   *
   * @param read ends early when its signal is aborted
   * @throws {RequestError} 503 if the server is draining, 429 if too many bodies are on their way
   */
  async receive<T>(read: (signal: AbortSignal) => Promise<T>): Promise<T> {
    if (this.#isDraining) throw drainingError();
    if (this.#receiving >= this.#config.maxReceiving) {
      this.#metrics.drop("busy");
      const found = `as ${this.#receiving} bodies are on their way`;
      throw refusal(429, "busy", found, "ask again after the time in Retry-After", { "Retry-After": "1" });
    }
    const end = new AbortController();
    const started = performance.now();
    this.#ends.add(end);
    this.#receiving += 1;
    try {
      const received = await read(end.signal);
      this.#metrics.observe("receive", performance.now() - started);
      return received;
    } finally {
      this.#receiving -= 1;
      this.#ends.delete(end);
    }
  }

  /**
   * Do a request's work in its turn.
   *
   * @param client aborted when the client has gone: its reason is thrown, and work that has not begun never does
   * @param work   what is done; it may detect several pictures
   * @throws {RequestError} 429 if too many wait, 503 if the time is up or the server can wait no longer
   */
  async turn<T>(client: AbortSignal, work: (detect: DetectOne) => Promise<T>): Promise<T> {
    const end = new AbortController();
    const onGone = (): void => end.abort(new DOMException("The client has gone", "AbortError"));
    const timer = setTimeout(() => end.abort(this.#timeoutError()), this.#config.timeoutMs);
    client.addEventListener("abort", onGone, { once: true });
    if (client.aborted) onGone();
    this.#ends.add(end);
    try {
      const detect: DetectOne = (picture, options) => this.#detect(picture, { ...options, signal: end.signal });
      return await this.#admission.run(end.signal, () => work(detect));
    } catch (error) {
      if (error instanceof RequestError && error.code === "busy") this.#metrics.drop("busy");
      else if (end.signal.aborted) this.#metrics.drop(client.aborted ? "gone" : "expired");
      throw error;
    } finally {
      clearTimeout(timer);
      client.removeEventListener("abort", onGone);
      this.#ends.delete(end);
    }
  }

  #timeoutError(): Error {
    const found = `as it took longer than ${formatDuration(this.#config.timeoutMs)}`;
    return refusal(503, "timed-out", found, "ask again later, or send fewer pictures", { "Retry-After": "1" });
  }

  async #detect(picture: Uint8Array | Image, options: DetectOptions): Promise<DetectionResult> {
    this.#metrics.addInFlight(1);
    try {
      const result = await this.#detector.detect(picture, options);
      this.#metrics.frame("ok");
      this.#metrics.observeTiming(result.timing);
      return result;
    } catch (error) {
      this.#metrics.frame("error");
      throw error;
    } finally {
      this.#metrics.addInFlight(-1);
    }
  }
}
