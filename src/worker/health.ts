/** @module HealthServer: whether a worker lives, whether it works, and its metrics, over HTTP. */

import { Counter, Gauge } from "prom-client";
import { logger } from "../core/log.ts";
import { pause } from "../core/resource.ts";
import type { GpuUsage } from "../nvml/gpu-usage.ts";
import { ALLOW_HOST_HINT, foreignHostText, listenError, OwnHosts } from "../service/listen.ts";
import { gpuSampler, ServiceMetrics, type ServiceMetricsOptions } from "../service/metrics.ts";
import type { Broker, StreamLag } from "./broker.ts";
import type { HttpConfig } from "./worker-config.ts";

/** What is asked of the worker. */
export interface HealthSource {
  /** Why it should be started again, or `undefined` if it lives. */
  readonly fault: string | undefined;
  /** `running` if frames are being read, else why not. */
  readonly state: string;
  /** The engine of each device that has one that was built for the model. */
  readonly engines?: readonly string[] | undefined;
  /** Media type of {@linkcode metrics}. */
  readonly metricsType: string;
  metrics(): Promise<string>;
}

function answer(
  status: number,
  text: string,
  headers: Readonly<Record<string, string>> = {},
  facts: object = {},
): Response {
  return Response.json({ status: text, ...facts }, { status, headers: { "cache-control": "no-store", ...headers } });
}

/** A route that is only read, and only under the server's own names. */
function readOnly(hosts: OwnHosts, work: () => Response | Promise<Response>) {
  return ({ method, headers }: Request): Response | Promise<Response> => {
    const host = headers.get("host");
    if (!hosts.has(host)) return answer(421, `${foreignHostText(host)}: ${ALLOW_HOST_HINT}`);
    if (method === "GET" || method === "HEAD") return work();
    return answer(405, `${method} is not answered here`, { Allow: "GET, HEAD" });
  };
}

/**
 * Listen: `GET /healthz` (200 as long as the process makes headway), `GET /readyz` (200 while frames are read) and
 * `GET /metrics`. Its owner stops it.
 *
 * @throws {BunTensorRtError} If the port is taken, or the address none of this machine
 */
export function startHealthServer(address: HttpConfig, source: HealthSource): Bun.Server<undefined> {
  const { port, host } = address;
  const hosts = new OwnHosts(address);
  const metrics = async (): Promise<Response> =>
    new Response(await source.metrics(), { headers: { "content-type": source.metricsType } });
  try {
    return Bun.serve({
      port,
      hostname: host,
      development: false,
      // Otherwise two workers would share a port, and be asked by chance.
      reusePort: false,
      routes: {
        "/healthz": readOnly(hosts, () => {
          const { fault, engines = [] } = source;
          return answer(fault === undefined ? 200 : 503, fault ?? "ok", {}, engines.length === 0 ? {} : { engines });
        }),
        "/readyz": readOnly(hosts, () => answer(source.state === "running" ? 200 : 503, source.state)),
        "/metrics": readOnly(hosts, metrics),
      },
      fetch: () => answer(404, "not found"),
      error: (error) => {
        logger.error(`A request for health or metrics failed. ${error.stack ?? error.message}`);
        return answer(500, "something failed inside the worker: see its log");
      },
    });
  } catch (error) {
    throw listenError("serve health and metrics", { host, port }, error);
  }
}

/** How long a scrape waits for the server to tell how much is queued, milliseconds. */
const LAG_TIMEOUT_MS = 2_000;

/** Metrics of one worker. */
export class WorkerMetrics {
  readonly service: ServiceMetrics;
  /** By reason: `bad-frame`, `failed` or `unanswered`. */
  readonly deadLetters: Counter<"reason">;
  readonly claimed: Counter;
  readonly trimmed: Counter;
  readonly superseded: Counter;
  readonly #unread: Gauge<"stream">;
  readonly #pending: Gauge<"stream">;
  readonly #broker: Broker;

  /** @param gpu read at every scrape; stays its owner's @param backends of the model, likewise */
  constructor(broker: Broker, gpu: GpuUsage | undefined, backends?: ServiceMetricsOptions["backends"]) {
    this.#broker = broker;
    this.service = new ServiceMetrics({ gpu: gpuSampler(gpu), backends });
    const registers = [this.service.registry];
    const named = <Label extends string>(name: string, help: string, ...labelNames: Label[]) => ({
      name: `bun_tensorrt_worker_${name}`,
      help,
      labelNames,
      registers,
    });
    this.deadLetters = new Counter(
      named("dead_letters_total", "Frames put on the dead-letter stream, by reason", "reason"),
    );
    this.claimed = new Counter(named("claimed_total", "Frames taken over from silent workers"));
    this.trimmed = new Counter(
      named("trimmed_total", "Frames that were trimmed off their stream before they were answered"),
    );
    this.superseded = new Counter(
      named("superseded_total", "Answers that were not written, as another worker had answered before"),
    );
    new Gauge({
      ...named("reconnects", "Connections made again since the start"),
      collect() {
        this.set(broker.reconnects);
      },
    });
    new Gauge({
      ...named("connected", "1 while the server answers"),
      collect() {
        this.set(broker.isConnected ? 1 : 0);
      },
    });
    this.#unread = new Gauge(
      named("queue_unread", "Frames on the stream that no worker of the group has read", "stream"),
    );
    this.#pending = new Gauge(
      named("queue_pending", "Frames that workers of the group have read and not answered", "stream"),
    );
  }

  /** Everything in the text form of Prometheus. Asks the server how much is queued. */
  async text(): Promise<string> {
    const lags = await this.#lag();
    this.#unread.reset();
    this.#pending.reset();
    for (const { stream, unread, pending } of lags) {
      if (unread !== undefined) this.#unread.set({ stream }, unread);
      this.#pending.set({ stream }, pending);
    }
    return this.service.text();
  }

  /** What the server tells of the queues in time; nothing without it. */
  async #lag(): Promise<readonly StreamLag[]> {
    if (!this.#broker.isConnected) return [];
    const ended = new AbortController();
    const late = pause(LAG_TIMEOUT_MS, ended.signal).then(() => undefined);
    try {
      const lags = await Promise.race([this.#broker.lag(), late]);
      if (lags !== undefined) return lags;
      logger.warn(`Skipped the lag of the streams. The server did not report it within ${LAG_TIMEOUT_MS / 1000} s`);
    } catch (error) {
      logger.warn(`Skipped the lag of the streams. ${(error as Error).message}`);
    } finally {
      ended.abort();
    }
    return [];
  }
}
