/** @module Dispatcher: frames from the streams through the detector to their answers, several at a time. */

import { DecodeStalledError, ImageError } from "../core/errors.ts";
import { logger, RepeatedLine } from "../core/log.ts";
import { formatDuration } from "../core/units.ts";
import { type AskedModel, ask } from "../service/served-model.ts";
import type { TaskResult } from "../tasks/task-result.ts";
import { type Broker, type Destination, type Field, Retries, type StreamEntry } from "./broker.ts";
import type { WorkerMetrics } from "./health.ts";
import { type DispatchRules, FrameQueue, type HeldFrame, keyOf, titleOf } from "./held-frame.ts";
import {
  type AnswerTimings,
  answerFields,
  type FrameMessage,
  imageFrom,
  NO_TIMINGS,
  readFrame,
  UNREADABLE_FRAME,
  unreadableFrame,
} from "./messages.ts";

/** The one thing a worker needs of a model. */
type FrameModel = AskedModel & {
  /** For how long every slot has been taken without a run ending, milliseconds; left out: not known. */
  readonly stalledMs?: number;
};

/** What a dispatcher works with; all of it stays its owner's. */
export interface DispatcherParts {
  readonly broker: Broker;
  readonly detector: FrameModel;
  readonly metrics: WorkerMetrics;
  /** Aborted when frames in flight are to be left as they are. */
  readonly signal: AbortSignal;
}

/** Share of `claim.idleMs` within which a frame is surely given to nobody else. */
const SURE_SHARE = 0.75;
/** What is kept of a dead letter's own fields: the answering script takes no more than some thousands. */
const BURIED_FIELDS = 1_000;

/** Holds the frames that were read and not answered. */
export class Dispatcher {
  readonly #parts: DispatcherParts;
  #rules: DispatchRules;
  readonly #queue = new FrameQueue();
  readonly #held = new Map<string, HeldFrame>();
  /** Of frames at the detector: since when, and what gives them up. */
  readonly #runs = new Map<AbortController, number>();
  readonly #retries: Retries;
  #running = 0;
  #progressAt = performance.now();
  #change = Promise.withResolvers<void>();
  /** Of single frames the log names one now and then; the metrics count them all. */
  readonly #refused = new RepeatedLine((text) => logger.warn(text));
  readonly #failed = new RepeatedLine((text) => logger.error(text));
  readonly #buried = new RepeatedLine((text) => logger.warn(text));

  constructor(parts: DispatcherParts, rules: DispatchRules) {
    this.#parts = parts;
    this.#rules = rules;
    this.#retries = new Retries(parts.signal, (action, error, failures) => {
      parts.metrics.service.error("redis");
      if (failures === 1) logger.warn(`Trying again to ${action}. ${error.message}`);
      return this.#rules.config.reconnect;
    });
  }

  /** Frames held: waiting, at the detector, or being answered. */
  get held(): number {
    return this.#held.size;
  }

  /** How many more frames may be read. With the policy `latest` those that wait make room for newer ones. */
  get room(): number {
    const replaceable = this.#queue.length - this.#queue.fixedLength;
    return this.#rules.maxHeld - (this.#held.size - replaceable);
  }

  /** Take other rules, for frames that are read from now on. */
  setRules(rules: DispatchRules): void {
    this.#rules = rules;
    this.#pump();
  }

  /** Take in what was read. Frames that are held already are passed over. */
  admit(entries: readonly StreamEntry[]): void {
    const dropped: HeldFrame[] = [];
    for (const entry of entries) {
      if (this.#held.has(keyOf(entry))) continue;
      const pushedOut = this.#admitOne(entry);
      if (pushedOut !== undefined) dropped.push(pushedOut);
    }
    if (dropped.length > 0) void this.#drop(dropped);
    this.#pump();
  }

  /** Wait until a frame leaves the detector or is held no longer, until a nudge, or for so long at most. */
  async changed(withinMs: number): Promise<void> {
    const timer = setTimeout(() => this.nudge(), withinMs);
    await this.#change.promise;
    clearTimeout(timer);
  }

  /** Let everyone go on who waits for a change. */
  nudge(): void {
    const former = this.#change;
    this.#change = Promise.withResolvers<void>();
    former.resolve();
  }

  /** For how long the detector has been at work without finishing a frame, milliseconds. */
  get stalledMs(): number {
    const ownMs = this.#running === 0 ? 0 : performance.now() - this.#progressAt;
    // Frames that were given up are none of those that are counted here, and may still hold its slots.
    return Math.max(ownMs, this.#parts.detector.stalledMs ?? 0);
  }

  /** True while the detector finishes nothing in the time that one frame has: frames that are read now would wait in vain. */
  get isStalled(): boolean {
    return this.stalledMs > this.#rules.config.frameTimeoutMs;
  }

  /** True while the server refuses to take answers, or cannot be reached with them. */
  get isFailing(): boolean {
    return this.#retries.waiting > 0;
  }

  /** Give up the frames that have been at the detector for too long. */
  giveUpLate(): void {
    const { frameTimeoutMs } = this.#rules.config;
    const now = performance.now();
    for (const [end, startedAt] of this.#runs) {
      if (now - startedAt < frameTimeoutMs || end.signal.aborted) continue;
      const text = `The detector did not finish it within ${formatDuration(frameTimeoutMs)}`;
      end.abort(new DOMException(text, "TimeoutError"));
    }
  }

  /** Let go of the frames that wait for the detector. @returns their entries, for others */
  dropWaiting(): StreamEntry[] {
    const entries: StreamEntry[] = [];
    for (let frame = this.#queue.shift(); frame !== undefined; frame = this.#queue.shift()) {
      entries.push(frame.entry);
      this.#release(frame);
    }
    return entries;
  }

  /** Frames that the server has not heard of for a while. They count as heard of from now on. */
  takeSilent(forMs: number): StreamEntry[] {
    const now = performance.now();
    const silent = [...this.#held.values()].filter(({ keptAt }) => now - keptAt >= forMs);
    for (const frame of silent) frame.keptAt = now;
    return silent.map(({ entry }) => entry);
  }

  /** The server has been told, no earlier than `at` by `performance.now()`, that these are being worked on. */
  heard(entries: readonly StreamEntry[], at: number): void {
    for (const entry of entries) {
      const frame = this.#held.get(keyOf(entry));
      if (frame !== undefined) frame.heardAt = this.#isOurs(frame, at) ? at : Number.NEGATIVE_INFINITY;
    }
  }

  /** Entries of all frames held. */
  entries(): StreamEntry[] {
    return [...this.#held.values()].map(({ entry }) => entry);
  }

  /** Whether nobody else can have been given the frame. The last part of the time is left to the network. */
  #isOurs({ heardAt }: HeldFrame, now: number): boolean {
    return now - heardAt < this.#rules.config.claim.idleMs * SURE_SHARE;
  }

  /** Take a frame apart and line it up. @returns a frame that is to be dropped */
  #admitOne(entry: StreamEntry): HeldFrame | undefined {
    const started = performance.now();
    const { config, book } = this.#rules;
    let message: FrameMessage = UNREADABLE_FRAME;
    let fault: ImageError | undefined;
    try {
      message = readFrame(entry.fields, titleOf(entry));
    } catch (error) {
      if (!(error instanceof ImageError)) throw error;
      fault = error;
      message = unreadableFrame(entry.fields);
    }
    const readyAt = performance.now();
    const receiveMs = entry.receiveMs + readyAt - started;
    const rule = book.of(message.sourceId);
    const told = { keptAt: readyAt, heardAt: entry.askedAt ?? Number.NEGATIVE_INFINITY };
    const frame: HeldFrame = { key: keyOf(entry), entry, message, rule, readyAt, receiveMs, ...told };
    this.#held.set(frame.key, frame);
    this.#parts.metrics.service.addInFlight(1);
    if (fault !== undefined) {
      void this.#refuse(frame, fault);
      return undefined;
    }
    const { maxDeliveries } = config.deadLetter;
    if (entry.deliveries > maxDeliveries) {
      const reason = `it was delivered ${entry.deliveries - 1} times and never answered, so it may crash workers`;
      void this.#bury(frame, "unanswered", reason);
      return undefined;
    }
    return this.#queue.push(frame);
  }

  #pump(): void {
    while (this.#running < this.#rules.concurrency && !this.#parts.signal.aborted) {
      const frame = this.#queue.shift();
      if (frame === undefined) return;
      if (this.#running === 0) this.#progressAt = performance.now();
      this.#running += 1;
      this.#work(frame).catch((error: unknown) => this.#fail(frame, error));
    }
  }

  async #work(frame: HeldFrame): Promise<void> {
    const { detector, metrics } = this.#parts;
    const startedAt = performance.now();
    const end = new AbortController();
    const { signal } = end;
    let result: TaskResult;
    this.#runs.set(end, startedAt);
    try {
      const image = imageFrom(frame.message, titleOf(frame.entry));
      result = await ask(detector, image, { ...frame.rule.detectOptions, signal });
    } catch (error) {
      this.#ranOne(end, !signal.aborted);
      if (error instanceof ImageError) await this.#refuse(frame, error);
      else await this.#fail(frame, error);
      return;
    }
    this.#ranOne(end, true);
    metrics.service.observeTiming(result.timing);
    const { receiveMs, readyAt } = frame;
    const { decode, preprocess, infer, postprocess } = result.timing;
    const timings: AnswerTimings = {
      receive: receiveMs,
      wait: startedAt - readyAt,
      decode,
      preprocess,
      infer,
      postprocess,
      total: performance.now() - readyAt + receiveMs,
    };
    const filtered = this.#rules.format.messages.filtered(result, frame.rule);
    await this.#answer(frame, filtered, timings, result.damage ?? "");
  }

  /** @param isProgress false for a frame that was given up */
  #ranOne(end: AbortController, isProgress: boolean): void {
    this.#runs.delete(end);
    this.#running -= 1;
    if (isProgress) this.#progressAt = performance.now();
    this.#pump();
    this.nudge();
  }

  /** A frame that is no image: it will be none the next time either. */
  async #refuse(frame: HeldFrame, error: ImageError): Promise<void> {
    const { metrics } = this.#parts;
    metrics.service.error("bad-frame");
    const [reason = ""] = error.message.split("\n", 1);
    this.#refused.tell(`Refused ${titleOf(frame.entry)}. ${reason}`);
    const { config, format } = this.#rules;
    if (config.deadLetter.badFrames === "bury") await this.#bury(frame, "bad-frame", reason);
    else await this.#answer(frame, format.messages.nothing, NO_TIMINGS, reason);
  }

  /** The model or the machine failed: the frame stays pending, and is tried again when it is claimed. */
  async #fail(frame: HeldFrame, error: unknown): Promise<void> {
    const { metrics, signal } = this.#parts;
    if (signal.aborted) return;
    metrics.service.error("detector");
    const { deliveries } = frame.entry;
    const { maxDeliveries } = this.#rules.config.deadLetter;
    const [reason = ""] = String((error as Error).message).split("\n", 1);
    this.#failed.tell(`Failed at ${titleOf(frame.entry)}, delivery ${deliveries} of ${maxDeliveries}. ${reason}`);
    // It may have waited behind others that hang: if it hangs itself, no worker answers its last delivery.
    const isLate = error instanceof DecodeStalledError || (error as Error).name === "TimeoutError";
    if (deliveries >= maxDeliveries && !isLate) await this.#bury(frame, "failed", reason);
    else this.#release(frame);
  }

  async #answer(frame: HeldFrame, result: TaskResult, timings: AnswerTimings, error: string): Promise<void> {
    const { metrics } = this.#parts;
    const { config, format } = this.#rules;
    const { message, entry } = frame;
    const startedAt = performance.now();
    const answer = { frame: message, stream: entry.stream, entryId: entry.id, result, timings, error };
    const fields = answerFields(answer, format);
    const sendFrom = performance.now();
    const isWritten = await this.#write(frame, fields, config.output);
    const now = performance.now();
    if (isWritten === true) {
      const { service } = metrics;
      service.frame(error === "" ? "ok" : "error");
      service.observe("receive", frame.receiveMs);
      service.observe("serialise", sendFrom - startedAt);
      service.observe("send", now - sendFrom);
      service.observe("total", now - frame.readyAt + frame.receiveMs);
    }
    if (isWritten === false) metrics.superseded.inc();
    this.#settle(frame, isWritten);
  }

  /** Put a frame on the dead-letter stream. @param reason for whoever reads it */
  async #bury(frame: HeldFrame, kind: "bad-frame" | "failed" | "unanswered", reason: string): Promise<void> {
    const { metrics } = this.#parts;
    const { config, format } = this.#rules;
    const { entry } = frame;
    const about: Field[] = [
      ["dead_reason", reason],
      ["dead_kind", kind],
      ["dead_stream", entry.stream],
      ["dead_entry_id", entry.id],
      ["dead_deliveries", String(entry.deliveries)],
      ["dead_worker", format.worker],
    ];
    const own = [...entry.fields].slice(0, BURIED_FIELDS);
    const isWritten = await this.#write(frame, [...about, ...own], config.deadLetter);
    if (isWritten === true) {
      metrics.deadLetters.inc({ reason: kind });
      metrics.service.frame("error");
      this.#buried.tell(`Moved ${titleOf(entry)} to ${JSON.stringify(config.deadLetter.stream)}. ${reason}`);
    }
    this.#settle(frame, isWritten);
  }

  async #drop(frames: readonly HeldFrame[]): Promise<void> {
    const { broker, metrics } = this.#parts;
    const isDone = await this.#retries.until("drop frames", async () => {
      const count = await broker.acknowledge(frames.map(({ entry }) => entry));
      // Those that others have answered meanwhile are none of them.
      if (count > 0) metrics.service.drop("latest", count);
      return true;
    });
    for (const frame of frames) this.#settle(frame, isDone);
  }

  /** @returns whether it was written or somebody else had been faster; `undefined` if the frame is left as it is */
  #write(
    frame: HeldFrame,
    fields: readonly Field[],
    { stream, maxLength }: Pick<Destination, "stream" | "maxLength">,
  ): Promise<boolean | undefined> {
    const { entry } = frame;
    const { deleteAnswered } = this.#rules.config;
    let isFirst = true;
    return this.#retries.until(`answer ${titleOf(entry)}`, () => {
      // A first try may have been written without our learning of it.
      const isOurs = isFirst && this.#isOurs(frame, performance.now());
      isFirst = false;
      return this.#parts.broker.answer(entry, fields, { stream, maxLength, deletesEntry: deleteAnswered, isOurs });
    });
  }

  /** Let go of a frame, unless it was left unanswered so that it can be handed back. */
  #settle(frame: HeldFrame, isWritten: boolean | undefined): void {
    if (isWritten === undefined && this.#parts.signal.aborted) return;
    this.#release(frame);
  }

  #release(frame: HeldFrame): void {
    if (!this.#held.delete(frame.key)) return;
    this.#parts.metrics.service.addInFlight(-1);
    this.nudge();
  }
}
