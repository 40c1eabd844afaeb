/** @module Worker: a detector behind the streams of a Redis server, one of several that share them, and its options from a file. */

import { extname } from "node:path";
import { type DetectConfig, parseDetectorOptions } from "../api/detector-config.ts";
import { servedModel } from "../api/model.ts";
import type { Classifier, DepthEstimator, SemanticSegmenter } from "../api/whole-image-models.ts";
import { message, OptionError, RedisError } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { pause } from "../core/resource.ts";
import { findGpuUsage, type GpuUsage } from "../nvml/gpu-usage.ts";
import type { BackendInfo } from "../runtime/backend.ts";
import { STALLED_MS } from "../service/metrics.ts";
import { type AskedDetector, warmStart } from "../service/served-model.ts";
import type { Broker, StreamEntry } from "./broker.ts";
import { Dispatcher } from "./dispatcher.ts";
import { startHealthServer, WorkerMetrics } from "./health.ts";
import { rulesOf } from "./held-frame.ts";
import { connect, Intake } from "./intake.ts";
import { RedisBroker } from "./redis/redis-broker.ts";
import { redisAddress } from "./redis/redis-connection.ts";
import { parseWorkerOptions, type WorkerConfig, type WorkerOptions } from "./worker-config.ts";

/** What a worker does with its detector. */
export interface WorkerDetector extends AskedDetector {
  /** For how long every slot has been taken without a run ending, milliseconds; left out: not known. */
  readonly stalledMs?: number;
  readonly labels: readonly string[];
  readonly backends: readonly Pick<BackendInfo, "kind" | "inFlight" | "maxBatch" | "engine">[];
  /** Called before the first frame is read. */
  warmUp(): Promise<void>;
  /** Free it. */
  close(): Promise<void>;
}

/** What a worker works with: one that finds objects, a classifier, or a model of maps. */
export type WorkerModel = WorkerDetector | Classifier | SemanticSegmenter | DepthEstimator;

/** What `Worker.create` makes unless it is given; the worker owns it from then on. */
export interface WorkerParts {
  /** Default: the Redis server of the options. */
  readonly broker?: Broker | undefined;
  /** Default: the model of the options, loaded. A function is called once the server is reached. */
  readonly detector?: WorkerModel | (() => Promise<WorkerModel>) | undefined;
  /** Ends `create` before it is done; its reason is thrown. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Where a worker is in its life; `failing`: connected to a server that refuses what it asks; `stalled`: its detector finishes
 * nothing, and no frames are read.
 */
export type WorkerState = "starting" | "running" | "disconnected" | "failing" | "stalled" | "draining" | "stopped";

/** Options that count when the worker starts and not afterwards; so does `claim.idleMs`. */
const FIXED = [
  "redis",
  "input",
  "group",
  "consumer",
  "start",
  "model",
  "detector",
  "timeoutMs",
  "connectTimeoutMs",
  "http",
] as const satisfies readonly (keyof WorkerConfig)[];

/** How long handing back frames and freeing everything may take after the drain, milliseconds. */
const LAST_MS = 1200;

/** The wanted options; what is fixed stays as it was, with a log line that names it where it was to change. */
function keepFixed(wanted: WorkerConfig, former: WorkerConfig): WorkerConfig {
  const changed: string[] = FIXED.filter((name) => !Bun.deepEquals(wanted[name], former[name]));
  if (wanted.claim.idleMs !== former.claim.idleMs) changed.push("claim.idleMs");
  for (const path of changed) logger.warn(`Option "${path}" cannot change at runtime; restart the worker to apply it`);
  const fixed = Object.fromEntries(FIXED.map((name) => [name, former[name]]));
  return { ...wanted, ...fixed, claim: { ...wanted.claim, idleMs: former.claim.idleMs } };
}

/**
 * Reads frames from Redis streams, detects, and writes what it found. Workers of one group share the frames.
 *
 * @example
 * ```ts
 * import { Worker } from "bun-tensorrt/worker";
 *
 * await using worker = await Worker.create({ redis: "redis://127.0.0.1:6379", input: "frames", model: "yolo11n" });
 * process.once("SIGTERM", () => worker.stop());
 * await worker.run();
 * ```
 */
export class Worker {
  readonly #broker: Broker;
  readonly #detector: WorkerModel;
  readonly #gpu: GpuUsage | undefined;
  readonly #metrics: WorkerMetrics;
  readonly #dispatcher: Dispatcher;
  readonly #intake: Intake;
  /** Aborted when nothing more is read. */
  readonly #stopping = new AbortController();
  /** Aborted when frames in flight are left as they are. */
  readonly #leaving = new AbortController();
  readonly #detect: DetectConfig;
  #config: WorkerConfig;
  #running: Promise<void> | undefined;
  #isOpen = false;
  #isStopped = false;
  /** When frames in flight are left, by `performance.now()`; set when the worker is told to stop. */
  #leaveAt = Number.POSITIVE_INFINITY;
  #server: Bun.Server<undefined> | undefined;

  private constructor(config: WorkerConfig, detect: DetectConfig, broker: Broker, detector: WorkerModel) {
    this.#config = config;
    this.#detect = detect;
    const rules = rulesOf(config, detect, detector);
    this.#broker = broker;
    this.#detector = detector;
    this.#gpu = detector.backends.some(({ kind }) => kind === "gpu") ? findGpuUsage() : undefined;
    const metrics = new WorkerMetrics(broker, this.#gpu, () => detector.backends);
    this.#metrics = metrics;
    this.#dispatcher = new Dispatcher({ broker, detector, metrics, signal: this.#leaving.signal }, rules);
    const parts = { broker, metrics, dispatcher: this.#dispatcher, signal: this.#stopping.signal };
    this.#intake = new Intake(parts, rules);
  }

  /**
   * Check the options, connect, load the model and warm it up; nothing is read yet.
   *
   * @throws {OptionError} If an option is unknown or out of range, or a class none of the model's
   * @throws {RedisError} If the server cannot be reached within `connectTimeoutMs`, or refuses the password, the database or the
   *   group
   * @throws as `Detector.load` does
   */
  static async create(options: WorkerOptions = {}, parts: WorkerParts = {}): Promise<Worker> {
    const config = parseWorkerOptions(options);
    const { detect } = parseDetectorOptions(config.detector);
    const { input, group, consumer, start, claim, timeoutMs } = config;
    const redis = { address: redisAddress(config.redis), streams: input, group, consumer, start };
    const broker = parts.broker ?? new RedisBroker({ ...redis, claimIdleMs: claim.idleMs, timeoutMs });
    let detector: WorkerModel | undefined;
    try {
      if (typeof parts.detector === "object") detector = parts.detector;
      if (parts.broker === undefined) await connect(broker, config, parts.signal);
      if (typeof parts.detector === "function") detector = await parts.detector();
      detector ??= await servedModel.load(config.model, { ...config.detector, signal: parts.signal });
      // Before the worker has anything else to close.
      await warmStart(detector);
      return new Worker(config, detect, broker, detector);
    } catch (error) {
      await detector?.close();
      if (parts.broker === undefined) await broker.close();
      throw error;
    }
  }

  /** Name in the group. */
  get consumer(): string {
    return this.#config.consumer;
  }

  /** Where it is in its life. */
  get state(): WorkerState {
    if (this.#isStopped) return "stopped";
    if (this.#stopping.signal.aborted) return "draining";
    if (!this.#isOpen) return "starting";
    if (!this.#broker.isConnected) return "disconnected";
    if (this.#intake.isFailing || this.#dispatcher.isFailing) return "failing";
    return this.#dispatcher.isStalled ? "stalled" : "running";
  }

  /** The option in force. */
  get drainMs(): number {
    return this.#config.drainMs;
  }

  /** Address of health, readiness and metrics, while `run` runs; `undefined` without `http`. */
  get url(): URL | undefined {
    return this.#server?.url;
  }

  /** Everything it has counted, in the text form of Prometheus. */
  metrics(): Promise<string> {
    return this.#metrics.text();
  }

  /**
   * Read and answer frames until `stop`. Connects first where `create` has not, and waits for a server that is away.
   *
   * @throws {RedisError} If the server refuses the password, the database or the group
   * @throws {BunTensorRtError} If the HTTP port is taken
   */
  run(): Promise<void> {
    this.#running ??= this.#run();
    return this.#running;
  }

  /**
   * Read nothing more, answer the frames in flight for as long as `drainMs` allows, hand the others back to the group,
   * and free everything. It settles within 1.2 s after `drainMs`, whatever hangs: the server, or a run of the model, which is
   * then left behind. Calling it again waits as well. With `now`, all frames are handed back at once.
   */
  async stop({ now = false }: { readonly now?: boolean | undefined } = {}): Promise<void> {
    if (!this.#stopping.signal.aborted) this.#leaveAt = performance.now() + this.#config.drainMs;
    this.#stopping.abort();
    if (now) this.#leaving.abort();
    this.#dispatcher.nudge();
    try {
      await this.#broker.wake();
    } catch (error) {
      // The read ends by itself within a second.
      if (!(error instanceof RedisError)) throw error;
      logger.debug(error.message);
    }
    this.#running ??= this.#end();
    const lastMs = (now ? 0 : Math.max(0, this.#leaveAt - performance.now())) + LAST_MS;
    // What went wrong with it, `run` has told.
    if (await settlesWithin(this.#running, lastMs)) return;
    logger.error("Stopped with work left behind. The server, or a run of the model, did not end in time");
  }

  /** Stops it at the end of an `await using` block. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  /**
   * Take other options, for frames that are read from now on: rules of sources, outputs, dead letters, numbers of
   * frames in flight, intervals. What cannot change while it runs stays, with a log line that names it.
   *
   * @throws {OptionError} If they are refused; nothing changes then
   */
  reload(options: WorkerOptions): void {
    const former = this.#config;
    // A name that was made up stays.
    const config = keepFixed(parseWorkerOptions({ ...options, consumer: options.consumer ?? former.consumer }), former);
    const rules = rulesOf(config, this.#detect, this.#detector);
    this.#config = config;
    this.#dispatcher.setRules(rules);
    this.#intake.setRules(rules);
    for (const name of ["output", "deadLetter"] as const) {
      const [was, is] = [former[name].stream, config[name].stream];
      if (was !== is)
        logger.warn(`Writes to ${JSON.stringify(is)} from now on, and no longer to ${JSON.stringify(was)}`);
    }
    logger.info("Applied the new configuration");
  }

  async #run(): Promise<void> {
    const worker = this;
    const { http } = this.#config;
    try {
      if (http !== undefined) {
        this.#server = startHealthServer(http, {
          get fault() {
            return worker.#fault();
          },
          get state() {
            return worker.state;
          },
          get engines() {
            return worker.#detector.backends.flatMap(({ engine }) => engine ?? []);
          },
          metricsType: this.#metrics.service.contentType,
          metrics: () => this.metrics(),
        });
      }
      await this.#intake.open();
      this.#isOpen = true;
      await this.#intake.run();
      await this.#drain();
    } finally {
      await this.#end();
    }
  }

  /** Why the process should be started again. */
  #fault(): string | undefined {
    const { stalledMs } = this.#dispatcher;
    const { frameTimeoutMs } = this.#config;
    if (stalledMs > Math.max(STALLED_MS, 2 * frameTimeoutMs))
      return `the detector has finished no frame for ${Math.round(stalledMs / 1000)} s`;
    const turnMs = this.#isOpen ? this.#intake.stalledMs : 0;
    const { timeoutMs, reconnect } = this.#config;
    if (turnMs <= STALLED_MS + timeoutMs + reconnect.mostMs) return undefined;
    return `no frame was asked for for ${Math.round(turnMs / 1000)} s`;
  }

  /** Wait for the frames in flight, which stay this worker's meanwhile. */
  async #drain(): Promise<void> {
    const { idleMs } = this.#config.claim;
    while (this.#dispatcher.held > 0 && !this.#leaving.signal.aborted) {
      const leftMs = this.#leaveAt - performance.now();
      if (leftMs <= 0) return;
      await this.#dispatcher.changed(Math.min(leftMs, Math.max(1, idleMs / 3)));
      // Not waited for: the limit holds whatever the server does.
      this.#intake.keepHeld().catch((error: unknown) => {
        if (!(error instanceof RedisError)) throw error;
        logger.debug(error.message);
      });
    }
  }

  async #end(): Promise<void> {
    if (this.#isStopped) return;
    this.#stopping.abort();
    this.#leaving.abort();
    const entries = this.#dispatcher.entries();
    if (entries.length > 0) await this.#handBack(entries);
    await this.#broker.close();
    await this.#server?.stop(true);
    this.#isStopped = true;
    // Frames that are still at the detector are somebody else's now, so nobody waits for them.
    const closing = this.#detector.close();
    if (entries.length === 0) await closing;
    else closing.catch((error: Error) => logger.error(error.message));
    this.#gpu?.close();
  }

  async #handBack(entries: readonly StreamEntry[]): Promise<void> {
    let why = "There is no connection to the server";
    try {
      if (this.#broker.isConnected) return await this.#broker.handBack(entries);
    } catch (error) {
      if (!(error instanceof RedisError)) throw error;
      why = error.message;
    }
    logger.warn(`Other workers take over the ${entries.length} frames in flight only after claim.idleMs. ${why}`);
  }
}

/** Wait for a promise, but no longer than so. @returns whether it has settled */
async function settlesWithin(promise: Promise<unknown>, milliseconds: number): Promise<boolean> {
  const settled = new AbortController();
  promise.finally(() => settled.abort()).catch(() => {});
  await pause(milliseconds, settled.signal);
  return settled.signal.aborted;
}

/** What reads a configuration, by its extension. */
const PARSERS: Readonly<Record<string, { parse(text: string): unknown }>> = {
  ".toml": Bun.TOML,
  ".yaml": Bun.YAML,
  ".yml": Bun.YAML,
  ".json": Bun.JSONC,
  ".jsonc": Bun.JSONC,
};

function refusedFile(path: string, found: string, hint: string, options: ErrorOptions = {}): OptionError {
  return new OptionError(message(`read the configuration ${JSON.stringify(path)}`, found, hint), "config", options);
}

/**
 * Read a file; what is in it is checked by `Worker.create` and `Worker.reload`.
 *
 * @param path its extension tells the format
 * @throws {OptionError} If it is missing, in no known format, or broken
 *
 * @example
 * ```ts
 * import { readConfigFile } from "bun-tensorrt/worker";
 *
 * const options = await readConfigFile("worker.toml");
 * console.log(options.input, options.threshold);
 * ```
 */
export async function readConfigFile(path: string): Promise<WorkerOptions> {
  const extension = extname(path).toLowerCase();
  const parser = PARSERS[extension];
  if (parser === undefined) {
    const known = Object.keys(PARSERS).join(", ");
    throw refusedFile(path, `its extension must be one of ${known}, got ${JSON.stringify(extension)}`, "rename it");
  }
  let text: string;
  try {
    text = await Bun.file(path).text();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    throw refusedFile(path, `it cannot be read (${code})`, "check the path and its permissions", { cause: error });
  }
  let parsed: unknown;
  try {
    parsed = parser.parse(text);
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    const found = `it is not valid ${extension.slice(1).toUpperCase()} (${error.message})`;
    throw refusedFile(path, found, "correct it", { cause: error });
  }
  // An empty YAML or JSON file stands for no options.
  const options = parsed ?? {};
  if (typeof options !== "object" || Array.isArray(options)) {
    throw refusedFile(path, "it must hold options by name", 'such as model = "yolo11n"');
  }
  return options as WorkerOptions;
}
