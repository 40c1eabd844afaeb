/** @module HealthServer: whether a worker lives, whether it works, and its metrics, over HTTP. */

import { logger } from "../core/log.ts";
import { listenError } from "../service/listen.ts";
import { ALLOW_HOST_HINT, foreignHostText, OwnHosts } from "../service/own-hosts.ts";

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
