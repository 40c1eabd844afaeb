/** @module HealthServer: whether a worker lives, whether it works, and its metrics, over HTTP. */

import { Counter, Gauge } from "prom-client";
import { logger } from "../core/log.ts";
import { pause } from "../core/settle.ts";
import type { GpuUsage } from "../nvml/gpu-usage.ts";
import { ALLOW_HOST_HINT, foreignHostText, listenError, OwnHosts } from "../service/listen.ts";
import { gpuSampler, ServiceMetrics } from "../service/metrics.ts";
import type { Broker, StreamLag } from "./broker.ts";

/** What is asked of the worker. */
export interface HealthSource {
  /** Why it should be started again, or `undefined` if it lives. */
  readonly fault: string | undefined;
  /** `running` if frames are being read, else why not. */
  readonly state: string;
  /** Media type of {@linkcode metrics}. */
  readonly metricsType: string;
  metrics(): Promise<string>;
}

/** Where to listen. */
export interface HealthAddress {
  readonly port: number;
  readonly host: string;
  /** Further names that lead to it: what `Host` may say. */
  readonly allowHost: readonly string[];
}

function answer(status: number, text: string, headers: Readonly<Record<string, string>> = {}): Response {
  return Response.json({ status: text }, { status, headers: { "cache-control": "no-store", ...headers } });
}

type Answerer = (request: Request) => Response | Promise<Response>;

/** A route that is only read, and only under the server's own names. */
function readOnly(hosts: OwnHosts, work: () => Response | Promise<Response>): Answerer {
  return ({ method, headers }) => {
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
export function startHealthServer(address: HealthAddress, source: HealthSource): Bun.Server<undefined> {
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
        "/healthz": readOnly(hosts, () => answer(source.fault === undefined ? 200 : 503, source.fault ?? "ok")),
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
  readonly #deadLetters: Counter<"reason">;
  readonly #claimed: Counter;
  readonly #trimmed: Counter;
  readonly #superseded: Counter;
  readonly #reconnects: Gauge;
  readonly #connected: Gauge;
  readonly #unread: Gauge<"stream">;
  readonly #pending: Gauge<"stream">;
  readonly #broker: Broker;

  /** @param gpu read at every scrape; stays its owner's */
  constructor(broker: Broker, gpu: GpuUsage | undefined) {
    this.#broker = broker;
    this.service = new ServiceMetrics({ gpu: gpuSampler(gpu) });
    const registers = [this.service.registry];
    const name = (short: string): string => `bun_tensorrt_worker_${short}`;
    this.#deadLetters = new Counter({
      name: name("dead_letters_total"),
      help: "Frames put on the dead-letter stream, by reason",
      labelNames: ["reason"],
      registers,
    });
    this.#claimed = new Counter({
      name: name("claimed_total"),
      help: "Frames taken over from silent workers",
      registers,
    });
    this.#trimmed = new Counter({
      name: name("trimmed_total"),
      help: "Frames that were trimmed off their stream before they were answered",
      registers,
    });
    this.#superseded = new Counter({
      name: name("superseded_total"),
      help: "Answers that were not written, as another worker had answered before",
      registers,
    });
    this.#reconnects = new Gauge({
      name: name("reconnects"),
      help: "Connections made again since the start",
      registers,
    });
    this.#connected = new Gauge({ name: name("connected"), help: "1 while the server answers", registers });
    this.#unread = new Gauge({
      name: name("queue_unread"),
      help: "Frames on the stream that no worker of the group has read",
      labelNames: ["stream"],
      registers,
    });
    this.#pending = new Gauge({
      name: name("queue_pending"),
      help: "Frames that workers of the group have read and not answered",
      labelNames: ["stream"],
      registers,
    });
  }

  /** Count a frame put on the dead-letter stream. @param reason `bad-frame`, `failed` or `unanswered` */
  buried(reason: string): void {
    this.#deadLetters.inc({ reason });
  }

  /** Count frames taken over, and those that were lost before they could be. */
  claimed(count: number, lost: number): void {
    this.#claimed.inc(count);
    this.#trimmed.inc(lost);
  }

  /** Count an answer somebody else had given already. */
  superseded(): void {
    this.#superseded.inc();
  }

  /** Everything in the text form of Prometheus. Asks the server how much is queued. */
  async text(): Promise<string> {
    this.#reconnects.set(this.#broker.reconnects);
    this.#connected.set(this.#broker.isConnected ? 1 : 0);
    await this.#readLag();
    return this.service.text();
  }

  async #readLag(): Promise<void> {
    const lag = await this.#lag();
    this.#unread.reset();
    this.#pending.reset();
    for (const { stream, unread, pending } of lag) {
      if (unread !== undefined) this.#unread.set({ stream }, unread);
      this.#pending.set({ stream }, pending);
    }
  }

  /** What the server tells of the queues in time; nothing without it. */
  async #lag(): Promise<readonly StreamLag[]> {
    if (!this.#broker.isConnected) return [];
    const ended = new AbortController();
    const late = pause(LAG_TIMEOUT_MS, ended.signal).then(() => undefined);
    try {
      const lag = await Promise.race([this.#broker.lag(), late]);
      if (lag !== undefined) return lag;
      logger.warn(`Skipped the lag of the streams. The server did not report it within ${LAG_TIMEOUT_MS / 1000} s`);
    } catch (error) {
      logger.warn(`Skipped the lag of the streams. ${(error as Error).message}`);
    } finally {
      ended.abort();
    }
    return [];
  }
}
