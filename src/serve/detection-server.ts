/** @module DetectionServer: requests to answers, for any server to mount, or at an address of their own. */

import { Counter, Gauge } from "prom-client";
import { message, OptionError } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { listenError, OwnHosts, removeStaleSocket } from "../service/listen.ts";
import { ServiceMetrics } from "../service/metrics.ts";
import type { TaskResult } from "../tasks/task-result.ts";
import type { FrameDetector } from "../video/detect-video.ts";
import { DetectDesk, type ServedModel } from "./detect-desk.ts";
import { addCors, bearerOf, checkSite, checkToken, failureOf, failureResponse, preflight } from "./failure.ts";
import { type IdleLimit, LiveStreams } from "./live-streams.ts";
import { allowedMethods, checkMethod, noRoute, type Route, Router } from "./router.ts";
import {
  type HandlerConfig,
  type HandlerOptions,
  parseHandlerOptions,
  parseServeOptions,
  type ServeConfig,
  type ServeOptions,
} from "./serve-config.ts";

/** How often a draining handler looks whether it is done, in milliseconds. */
const DRAIN_POLL_MS = 10;
/** How long the answers to given-up requests may take to go out, and connections to close; in milliseconds. */
const LAST_ANSWERS_MS = 400;
/** Bun looks for idle connections every 4 s: a shorter limit that is set anew would pass all the same. */
const LEAST_LIVE_SECONDS = 8;

/** What follows the host: it is the client's word, and need not be one; of HTTP/1.0 there is none. */
function addressOf(url: string): string {
  if (url.startsWith("/")) return url;
  const at = url.indexOf("/", url.indexOf("://") + 3);
  return at < 0 ? "/" : url.slice(at);
}

/** The part of `Bun.serve`'s server that is used: what comes with a request may be another framework's. */
interface TimeoutSetter {
  timeout(request: Request, seconds: number): void;
}

function isTimeoutSetter(server: unknown): server is TimeoutSetter {
  return typeof (server as Partial<TimeoutSetter> | null | undefined)?.timeout === "function";
}

/** @throws {OptionError} If there are streams, and the model finds no objects */
function streamsOf(
  detector: ServedModel,
  { forms }: DetectDesk,
  { streams, idleTimeoutMs }: HandlerConfig,
): LiveStreams {
  const isTracking = "detect" in detector && "stream" in detector;
  if (!isTracking && Object.keys(streams).length > 0) {
    throw new OptionError(message("follow streams", "the model finds no objects", "leave `streams` out"), "streams");
  }
  // Before a proxy, or Bun, takes the connection for dead.
  const beatMs = Math.min(5000, idleTimeoutMs / 3);
  return new LiveStreams(detector as unknown as FrameDetector<TaskResult>, forms, streams, beatMs);
}

/** Answers requests with a model until it is closed; made by {@linkcode createHandler}. The model stays its caller's. */
export class DetectionHandler implements AsyncDisposable {
  /** What it counts and measures; add to its registry what should be in `/metrics` as well. */
  readonly metrics: ServiceMetrics;
  /**
   * Answer a request. It is a function by itself, which can be handed on.
   *
   * @param server of `Bun.serve`, if the request came by one: its idle timeout is lifted while the request is worked on, as the
   *   handler has limits of its own, and is `idleTimeoutMs` afterwards
   */
  readonly fetch: (request: Request, server?: unknown) => Promise<Response>;
  /** For `routes` of `Bun.serve`: everything below `basePath`. */
  readonly routes: Readonly<Record<string, (request: Request, server: unknown) => Promise<Response>>>;
  readonly #config: HandlerConfig;
  readonly #desk: DetectDesk;
  readonly #router: Router;
  readonly #streams: LiveStreams;
  readonly #hosts: OwnHosts;
  readonly #requests: Counter<"route" | "status">;
  readonly #idleSeconds: number;
  #pending = 0;
  #closed: Promise<void> | undefined;

  /** @internal called by {@linkcode createHandler} and `serve`. */
  constructor(detector: ServedModel, config: HandlerConfig, hosts: OwnHosts) {
    this.#config = config;
    this.metrics = new ServiceMetrics({ gpu: config.gpu, backends: () => detector.backends });
    const desk = new DetectDesk(detector, config, this.metrics);
    this.#desk = desk;
    const registers = [this.metrics.registry];
    this.#requests = new Counter({
      name: "bun_tensorrt_http_requests_total",
      help: "Requests by route and status",
      labelNames: ["route", "status"],
      registers,
    });
    new Gauge({
      name: "bun_tensorrt_requests_waiting",
      help: "Requests that wait for their turn",
      registers,
      collect() {
        this.set(desk.waiting);
      },
    });
    this.#streams = streamsOf(detector, desk, config);
    this.#router = new Router(desk, this.#streams);
    this.#hosts = hosts;
    this.#idleSeconds = Math.max(1, Math.ceil(config.idleTimeoutMs / 1000));
    this.fetch = (request, server) => this.#counted(request, isTimeoutSetter(server) ? server : undefined);
    const { basePath } = config;
    this.routes = { ...(basePath === "" ? {} : { [basePath]: this.fetch }), [`${basePath}/*`]: this.fetch };
  }

  /**
   * Let no request in any more (503), finish those that are running, and give up on them after `drainTimeoutMs`: each is
   * answered with 503. The routes that need no model go on answering; `/readyz` says that it drains. Calling it again waits as well.
   */
  close(): Promise<void> {
    return this.drain(() => this.#pending);
  }

  /** Closes it at the end of an `await using` block. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** @internal as `close`. @param pending requests that have not been answered */
  drain(pending: () => number): Promise<void> {
    this.#closed ??= this.#drain(pending);
    return this.#closed;
  }

  async #drain(pending: () => number): Promise<void> {
    const untilIdle = async (timeoutMs: number): Promise<void> => {
      const end = performance.now() + timeoutMs;
      while (pending() > 0 && performance.now() < end) await Bun.sleep(DRAIN_POLL_MS);
    };
    this.#desk.isDraining = true;
    await this.#streams.close();
    await untilIdle(this.#config.drainTimeoutMs);
    if (pending() === 0) return;
    logger.warn(`Gave up on ${pending()} requests that were still running`);
    this.#desk.abandon();
    await untilIdle(LAST_ANSWERS_MS);
  }

  async #counted(request: Request, server: TimeoutSetter | undefined): Promise<Response> {
    this.#pending += 1;
    // The body and the work have limits of their own, and end with an answer; Bun's would only cut the connection.
    server?.timeout(request, 0);
    let idleSeconds = this.#idleSeconds;
    const limitIdle: IdleLimit = (seconds = Math.max(idleSeconds, LEAST_LIVE_SECONDS)) => {
      idleSeconds = seconds;
      server?.timeout(request, seconds);
    };
    try {
      return await this.#answer(request, limitIdle);
    } finally {
      this.#pending -= 1;
      server?.timeout(request, idleSeconds);
    }
  }

  async #answer(request: Request, limitIdle: IdleLimit): Promise<Response> {
    const started = performance.now();
    const address = addressOf(request.url);
    const { basePath, cors, name, token } = this.#config;
    const full = address.split("?", 1)[0]!;
    const isBelow = full === basePath || full.startsWith(`${basePath}/`);
    const path = isBelow ? full.slice(basePath.length) || "/" : full;
    let route: Route | undefined;
    let response: Response;
    try {
      checkSite(request, this.#hosts, cors);
      const found = isBelow ? this.#router.find(path) : undefined;
      // Whoever asks for nothing has not shown the token.
      if (found === undefined) throw noRoute(full, this.#router.paths, basePath, token === undefined ? name : "NAME");
      route = found.route;
      const asked = preflight(request, cors, allowedMethods(route));
      if (asked === undefined) {
        checkMethod(route, request.method);
        if (!route.isOpen && token !== undefined) checkToken(token, bearerOf(request));
      }
      response = asked ?? (await route.handle(request, found.params, limitIdle));
    } catch (error) {
      const failure = failureOf(error);
      this.metrics.error(failure.code);
      response = failureResponse(failure, path);
    }
    const { headers } = response;
    addCors(headers, request, cors);
    headers.set("X-Content-Type-Options", "nosniff");
    if (!headers.has("cache-control")) headers.set("Cache-Control", "no-store");
    const elapsedMs = performance.now() - started;
    if (route?.isWork) this.metrics.observe("total", elapsedMs);
    this.#requests.inc({ route: route?.label ?? "none", status: response.status });
    logger.debug(`${request.method} ${address} ${response.status} ${elapsedMs.toFixed(1)} ms`);
    return response;
  }
}

/**
 * What answers requests with a model as {@linkcode serve} does, for a server that is there already: `Bun.serve`, Hono, Elysia, or
 * anything else that takes a function from `Request` to `Response`.
 *
 * @param detector a `Detector`, `Segmenter`, `PoseEstimator`, `OrientedDetector`, `Classifier`, `SemanticSegmenter` or
 * `DepthEstimator`; stays its caller's: close it after the handler
 * @throws {OptionError} If an option is unknown or out of range
 *
 * @example
 * ```ts
 * import { Detector } from "bun-tensorrt";
 * import { createHandler } from "bun-tensorrt/serve";
 *
 * await using detector = await Detector.load("yolo11n");
 * await using vision = createHandler(detector, { basePath: "/vision" });
 * await using server = Bun.serve({ port: 0, routes: { "/": new Response("my app"), ...vision.routes } });
 * const answer = await fetch(new URL("/vision/detect", server.url), { method: "POST", body: Bun.file("street.jpg") });
 * console.log(await answer.json());
 * ```
 */
export function createHandler(detector: ServedModel, options: HandlerOptions = {}): DetectionHandler {
  const config = parseHandlerOptions(options);
  // Where it listens is the server's business; on all networks any name is its own, unless they are listed.
  return new DetectionHandler(detector, config, new OwnHosts({ host: "0.0.0.0", allowHost: config.allowHost }));
}

/** Read at once, so that a missing file is named. */
async function readTls(tls: ServeConfig["tls"]): Promise<{ cert: string; key: string } | undefined> {
  if (tls === undefined) return undefined;
  const read = async (path: string, option: string): Promise<string> => {
    try {
      return await Bun.file(path).text();
    } catch (error) {
      const found = `${JSON.stringify(path)} cannot be read (${(error as NodeJS.ErrnoException).code ?? error})`;
      throw new OptionError(message("serve", found, "give the path of a PEM file"), option, { cause: error });
    }
  };
  return { cert: await read(tls.cert, "tls.cert"), key: await read(tls.key, "tls.key") };
}

/** What TLS says of a certificate and a key; `undefined` for other errors. */
function tlsRefusal(error: unknown): OptionError | undefined {
  const { code = "", message: said } = error as NodeJS.ErrnoException;
  if (!code.startsWith("ERR_OSSL_")) return undefined;
  const hint = "the one is a certificate chain and the other its private key, both in PEM";
  return new OptionError(message("serve", `certificate and key are refused (${said})`, hint), "tls", {
    cause: error,
  });
}

function listen(
  handler: DetectionHandler,
  config: ServeConfig,
  tls: { cert: string; key: string } | undefined,
): Bun.Server<undefined> {
  const { unix, host: hostname, port } = config;
  const idleTimeout = Math.max(1, Math.ceil(config.idleTimeoutMs / 1000));
  const common = {
    development: false,
    // Longer bodies are refused by the handler, in JSON; Bun's own answer would be empty.
    maxRequestBodySize: Number.MAX_SAFE_INTEGER,
    fetch: handler.fetch,
    ...(tls === undefined ? {} : { tls }),
  };
  try {
    // Two servers that share a port would share its requests by chance.
    return unix === undefined
      ? Bun.serve({ ...common, hostname, port, reusePort: false, idleTimeout })
      : Bun.serve({ ...common, unix });
  } catch (error) {
    throw tlsRefusal(error) ?? listenError("serve", config, error);
  }
}

/** A server that answers until it is closed; made by {@linkcode serve}. The detector stays its caller's. */
export class DetectionServer implements AsyncDisposable {
  readonly #handler: DetectionHandler;
  readonly #server: Bun.Server<undefined>;
  readonly #basePath: string;
  #closed: Promise<void> | undefined;

  private constructor(handler: DetectionHandler, server: Bun.Server<undefined>, basePath: string) {
    this.#handler = handler;
    this.#server = server;
    this.#basePath = basePath;
  }

  /** Called by {@linkcode serve}. */
  static async open(detector: ServedModel, options: ServeOptions): Promise<DetectionServer> {
    const config = parseServeOptions(options);
    if (config.unix !== undefined) await removeStaleSocket(config.unix);
    const tls = await readTls(config.tls);
    const handler = new DetectionHandler(detector, config, new OwnHosts(config));
    return new DetectionServer(handler, listen(handler, config, tls), config.basePath);
  }

  /** What it counts and measures; add to its registry what should be in `/metrics` as well. */
  get metrics(): ServiceMetrics {
    return this.#handler.metrics;
  }

  /** Where it listens: `http://127.0.0.1:8080/`, with `basePath` behind it, or `unix:///run/detector.sock`. */
  get url(): URL {
    const { url } = this.#server;
    return url.protocol === "unix:" ? url : new URL(`${this.#basePath}/`, url);
  }

  /**
   * Let no request in any more (503), finish those that are running, give up on them after `drainTimeoutMs`, and stop
   * listening. It settles within 1.5 s after that, whatever hangs. Calling it again waits as well.
   */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  /** Closes it at the end of an `await using` block. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    // Those whose answer is on its way count as well.
    await this.#handler.drain(() => this.#server.pendingRequests);
    for (const isForced of [false, true]) {
      await Promise.race([this.#server.stop(isForced), Bun.sleep(LAST_ANSWERS_MS)]);
    }
  }
}

/**
 * Answer over HTTP with a model: `POST /detect`, or `POST /classify` of a classifier, a page at `/`, health, metrics, and the
 * Open Inference Protocol. {@linkcode createHandler} does the same within a server of yours.
 *
 * @param detector a `Detector`, `Segmenter`, `PoseEstimator`, `OrientedDetector`, `Classifier`, `SemanticSegmenter` or
 * `DepthEstimator`; stays its caller's: close it after the server
 * @throws {OptionError} If an option is unknown or out of range
 * @throws {BunTensorRtError} If the address is taken
 *
 * @example
 * ```ts
 * import { Detector } from "bun-tensorrt";
 * import { serve } from "bun-tensorrt/serve";
 *
 * await using detector = await Detector.load("yolo11n");
 * await using server = await serve(detector, { port: 0 });
 * const answer = await fetch(new URL("/detect", server.url), { method: "POST", body: Bun.file("street.jpg") });
 * console.log(await answer.json());
 * ```
 */
export function serve(detector: ServedModel, options: ServeOptions = {}): Promise<DetectionServer> {
  return DetectionServer.open(detector, options);
}
