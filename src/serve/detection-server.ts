/** @module DetectionServer: a detector behind HTTP, at an address of its own. */

import { message, OptionError } from "../core/errors.ts";
import { listenError, OwnHosts, removeStaleSocket } from "../service/listen.ts";
import type { ServiceMetrics } from "../service/metrics.ts";
import type { ServedModel } from "./detect-desk.ts";
import { DetectionHandler, LAST_ANSWERS_MS } from "./handler.ts";
import { parseServeOptions, type ServeConfig, type ServeOptions } from "./serve-config.ts";

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
