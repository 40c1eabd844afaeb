/** @module Router: from a request's address and method to what answers it. */

import { type ServiceMetrics, STALLED_MS } from "../service/metrics.ts";
import type { DetectDesk } from "./detect-desk.ts";
import { detectRoute } from "./detect-route.ts";
import { drainingError, refusal, stalledError } from "./failure.ts";
import { checkModel, inferRoute, modelMetadata, serverMetadata } from "./inference-routes.ts";
import { pageResponse } from "./page.ts";
import type { ServeConfig } from "./serve-config.ts";
import { modelCard, type ServedDetector } from "./served-detector.ts";

/** What all routes work with. */
export interface RouterParts {
  readonly detector: ServedDetector;
  readonly config: ServeConfig;
  readonly desk: DetectDesk;
  readonly metrics: ServiceMetrics;
}

/** What answers a request. */
export interface Route {
  /** For metrics: a word of a small fixed set. */
  readonly label: string;
  readonly method: "GET" | "POST";
  /** True where no token is asked: for probes, and the page, which holds nothing. */
  readonly isOpen?: boolean;
  /** True if pictures go through it. */
  readonly isWork?: boolean;
  handle(request: Request, url: URL): Response | Promise<Response>;
}

const MODEL_PATH = /^\/v2\/models\/([^/]+)(?:\/versions\/([^/]+))?(\/ready|\/infer)?$/;

/** True for the addresses whose errors are the Open Inference Protocol's. */
export function isProtocolPath(path: string): boolean {
  return path === "/v2" || path.startsWith("/v2/");
}

/** Finds the route of a request. */
export class Router {
  readonly #routes: ReadonlyMap<string, Route>;
  readonly #modelRoutes: Readonly<Record<"metadata" | "ready" | "infer", Route>>;
  readonly #parts: RouterParts;

  constructor(parts: RouterParts) {
    this.#parts = parts;
    const { detector, config, desk, metrics } = parts;
    const { name } = config;
    const protocol = { detector, name, desk, metrics };
    const moving = (body: object, withinMs: number): Response => {
      const { stalledMs } = desk;
      if (stalledMs > withinMs) throw stalledError(stalledMs);
      return Response.json(body);
    };
    const ready = (body: object): Response => {
      if (desk.isDraining) throw drainingError();
      return moving(body, config.timeoutMs);
    };
    // A run may be slow; one that is as slow as this will not end, and starting the process again is all that helps.
    const live = (body: object): Response => moving(body, Math.max(STALLED_MS, 2 * config.timeoutMs));
    const open = { method: "GET", isOpen: true } as const;
    this.#routes = new Map<string, Route>([
      ["/", { label: "page", ...open, handle: pageResponse }],
      ["/healthz", { label: "healthz", ...open, handle: () => live({ status: "ok" }) }],
      ["/readyz", { label: "readyz", ...open, handle: () => ready({ status: "ready" }) }],
      ["/metrics", { label: "metrics", method: "GET", handle: () => metricsResponse(metrics) }],
      ["/model", { label: "model", method: "GET", handle: () => Response.json(modelCard(detector, name)) }],
      [
        "/detect",
        {
          label: "detect",
          method: "POST",
          isWork: true,
          handle: (request, url) => detectRoute(request, url, { ...config, desk, metrics }),
        },
      ],
      ["/v2", { label: "v2", method: "GET", handle: serverMetadata }],
      ["/v2/health/live", { label: "v2-live", ...open, handle: () => live({ live: true }) }],
      ["/v2/health/ready", { label: "v2-ready", ...open, handle: () => ready({ ready: true }) }],
    ]);
    this.#modelRoutes = {
      metadata: { label: "v2-model", method: "GET", handle: () => modelMetadata(protocol) },
      ready: {
        label: "v2-model-ready",
        method: "GET",
        handle: () => ready({ name, ready: true }),
      },
      infer: { label: "v2-infer", method: "POST", isWork: true, handle: (request) => inferRoute(request, protocol) },
    };
  }

  /**
   * Find what answers an address.
   *
   * @throws {RequestError} 404 if nothing does
   */
  find(path: string): Route {
    const route = this.#routes.get(path) ?? this.#findModelRoute(path);
    if (route !== undefined) return route;
    const paths = [...this.#routes.keys(), `/v2/models/${this.#parts.config.name}/infer`].join(", ");
    throw refusal(404, "no-such-route", `there is nothing at ${JSON.stringify(path)}`, `there are ${paths}`);
  }

  #findModelRoute(path: string): Route | undefined {
    const match = MODEL_PATH.exec(path);
    if (match === null) return undefined;
    const [, model = "", version, action] = match;
    checkModel(this.#parts.config.name, model, version);
    if (action === undefined) return this.#modelRoutes.metadata;
    return action === "/ready" ? this.#modelRoutes.ready : this.#modelRoutes.infer;
  }
}

/** @throws {RequestError} 405 if the route takes another method */
export function checkMethod(route: Route, method: string): void {
  if (method === route.method || (method === "HEAD" && route.method === "GET")) return;
  const allow = allowedMethods(route);
  throw refusal(405, "wrong-method", `${method} is not answered here`, `use ${route.method}`, { Allow: allow });
}

/** For the header field `Allow`. */
export function allowedMethods({ method }: Route): string {
  return method === "GET" ? "GET, HEAD" : method;
}

async function metricsResponse(metrics: ServiceMetrics): Promise<Response> {
  return new Response(await metrics.text(), { headers: { "content-type": metrics.contentType } });
}
