/** @module HealthServer: whether a worker lives, whether it works, and its metrics, over HTTP. */

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
}

function answer(isGood: boolean, status: string): Response {
  return Response.json({ status }, { status: isGood ? 200 : 503, headers: { "cache-control": "no-store" } });
}

/**
 * Listen: `GET /healthz` (200 as long as the process makes headway), `GET /readyz` (200 while frames are read) and
 * `GET /metrics`. Its owner stops it.
 *
 * @throws {Error} If the port is taken
 */
export function startHealthServer({ port, host }: HealthAddress, source: HealthSource): Bun.Server<undefined> {
  return Bun.serve({
    port,
    hostname: host,
    routes: {
      "/healthz": { GET: () => answer(source.fault === undefined, source.fault ?? "ok") },
      "/readyz": { GET: () => answer(source.state === "running", source.state) },
      "/metrics": {
        GET: async () => new Response(await source.metrics(), { headers: { "content-type": source.metricsType } }),
      },
    },
    fetch: () => Response.json({ status: "not found" }, { status: 404 }),
  });
}
