/** @module DetectionServer: a detector behind HTTP. */

import type { BunRequest } from "bun";
import { Counter, Gauge } from "prom-client";
import { message, OptionError } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { listenError, OwnHosts, removeStaleSocket } from "../service/listen.ts";
import { ServiceMetrics } from "../service/metrics.ts";
import { addCors, checkSite, preflight, tokenCheck } from "./admission.ts";
import { DetectDesk, type ServedModel } from "./detect-desk.ts";
import { failureOf, failureResponse } from "./failure.ts";
import { allowedMethods, checkMethod, noRoute, type Route, type RouteParams, routesOf } from "./router.ts";
import { parseServeOptions, type ServeConfig, type ServeOptions } from "./serve-config.ts";

/** How often a draining server looks whether it is done, in milliseconds. */
const DRAIN_POLL_MS = 10;
/** How long the answers to given-up requests may take to go out, and connections to close; in milliseconds. */
const LAST_ANSWERS_MS = 400;

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

/** What follows the host: it is the client's word, and need not be one; of HTTP/1.0 there is none. */
function addressOf(url: string): string {
  if (url.startsWith("/")) return url;
  const at = url.indexOf("/", url.indexOf("://") + 3);
  return at < 0 ? "/" : url.slice(at);
}

/** A server that answers until it is closed; made by {@linkcode serve}. The detector stays its caller's. */
export class DetectionServer implements AsyncDisposable {
  /** What it counts and measures; add to its registry what should be in `/metrics` as well. */
  readonly metrics: ServiceMetrics;
  readonly #config: ServeConfig;
  readonly #desk: DetectDesk;
  readonly #routes: Readonly<Record<string, Route>>;
  readonly #checkToken: ((request: Request) => void) | undefined;
  readonly #hosts: OwnHosts;
  readonly #requests: Counter<"route" | "status">;
  readonly #idleSeconds: number;
  readonly #server: Bun.Server<undefined>;
  #closed: Promise<void> | undefined;

  private constructor(detector: ServedModel, config: ServeConfig, tls: { cert: string; key: string } | undefined) {
    this.#config = config;
    this.metrics = new ServiceMetrics(config.gpu === undefined ? {} : { gpu: config.gpu });
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
    this.#routes = routesOf(desk);
    this.#checkToken = config.token === undefined ? undefined : tokenCheck(config.token);
    this.#hosts = new OwnHosts(config);
    this.#idleSeconds = Math.max(1, Math.ceil(config.idleTimeoutMs / 1000));
    this.#server = this.#listen(tls);
  }

  /** Called by {@linkcode serve}. */
  static async open(detector: ServedModel, options: ServeOptions): Promise<DetectionServer> {
    const config = parseServeOptions(options);
    if (config.unix !== undefined) await removeStaleSocket(config.unix);
    return new DetectionServer(detector, config, await readTls(config.tls));
  }

  /** Where it listens: `http://127.0.0.1:8080/`, or `unix:///run/detector.sock`. */
  get url(): URL {
    return this.#server.url;
  }

  /**
   * Let no request in any more (503), finish those that are running, give up on them after `drainTimeoutMs`, and stop
   * listening. It settles within 1.5 s after that, whatever hangs. Calling it again waits as well.
   */
  close(): Promise<void> {
    this.#closed ??= this.#drain();
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #listen(tls: { cert: string; key: string } | undefined): Bun.Server<undefined> {
    const { unix, host: hostname, port } = this.#config;
    const routes = Object.fromEntries(
      Object.entries(this.#routes).map(([address, route]) => {
        return [
          address,
          (request: BunRequest, server: Bun.Server<undefined>) => this.#answer(request, server, route, request.params),
        ];
      }),
    );
    const common = {
      development: false,
      // Longer bodies are refused by the routes, in JSON; Bun's own answer would be empty.
      maxRequestBodySize: Number.MAX_SAFE_INTEGER,
      routes,
      fetch: (request: Request, server: Bun.Server<undefined>) => this.#answer(request, server),
      ...(tls === undefined ? {} : { tls }),
    };
    try {
      // Two servers that share a port would share its requests by chance.
      return unix === undefined
        ? Bun.serve({ ...common, hostname, port, reusePort: false, idleTimeout: this.#idleSeconds })
        : Bun.serve({ ...common, unix });
    } catch (error) {
      throw tlsRefusal(error) ?? listenError("serve", this.#config, error);
    }
  }

  /** @param route that of the address; where there is none, nothing is there */
  async #answer(
    request: Request,
    server: Bun.Server<undefined>,
    route?: Route,
    params: RouteParams = {},
  ): Promise<Response> {
    const started = performance.now();
    // The body and the work have limits of their own, and end with an answer; Bun's would only cut the connection.
    server.timeout(request, 0);
    const address = addressOf(request.url);
    const path = address.split("?", 1)[0]!;
    let reached: Route | undefined;
    let response: Response;
    try {
      checkSite(request, this.#hosts, this.#config.cors);
      if (route === undefined) throw noRoute(path, this.#routes, this.#config.name);
      reached = route;
      const asked = preflight(request, this.#config.cors, allowedMethods(route));
      if (asked === undefined) {
        checkMethod(route, request.method);
        if (!route.isOpen) this.#checkToken?.(request);
      }
      response = asked ?? (await route.handle(request, params));
    } catch (error) {
      const failure = failureOf(error);
      this.metrics.error(failure.code);
      response = failureResponse(failure, path);
    }
    const { headers } = response;
    addCors(headers, request, this.#config.cors);
    headers.set("X-Content-Type-Options", "nosniff");
    if (!headers.has("cache-control")) headers.set("Cache-Control", "no-store");
    server.timeout(request, this.#idleSeconds);
    const elapsedMs = performance.now() - started;
    if (reached?.isWork) this.metrics.observe("total", elapsedMs);
    this.#requests.inc({ route: reached?.label ?? "none", status: response.status });
    logger.debug(`${request.method} ${address} ${response.status} ${elapsedMs.toFixed(1)} ms`);
    return response;
  }

  async #drain(): Promise<void> {
    this.#desk.isDraining = true;
    await this.#untilIdle(this.#config.drainTimeoutMs);
    if (this.#server.pendingRequests > 0) {
      logger.warn(`Gave up on ${this.#server.pendingRequests} requests that were still running`);
      this.#desk.abandon();
      await this.#untilIdle(LAST_ANSWERS_MS);
    }
    for (const isForced of [false, true]) {
      await Promise.race([this.#server.stop(isForced), Bun.sleep(LAST_ANSWERS_MS)]);
    }
  }

  async #untilIdle(timeoutMs: number): Promise<void> {
    const end = performance.now() + timeoutMs;
    while (this.#server.pendingRequests > 0 && performance.now() < end) await Bun.sleep(DRAIN_POLL_MS);
  }
}

/**
 * Answer over HTTP with a model: `POST /detect`, or `POST /classify` of a classifier, a page at `/`, health, metrics, and the
 * Open Inference Protocol.
 *
 * @param detector a `Detector`, `Segmenter`, `PoseEstimator`, `OrientedDetector` or `Classifier`; stays its caller's: close it
 * after the server
 * @throws {OptionError} If an option is unknown or out of range
 * @throws {BunTensorRtError} If the address is taken
 *
 * @example
 * ```ts
 * await using detector = await Detector.load("yolo11n");
 * await using server = await serve(detector, { port: 0 });
 * const answer = await fetch(new URL("/detect", server.url), { method: "POST", body: Bun.file("street.jpg") });
 * ```
 */
export function serve(detector: ServedModel, options: ServeOptions = {}): Promise<DetectionServer> {
  return DetectionServer.open(detector, options);
}
