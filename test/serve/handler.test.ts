import { expect, test } from "bun:test";
import { Elysia } from "elysia";
import { Hono } from "hono";
import { Detector } from "../../src/api/detector.ts";
import { createHandler, type DetectionHandler } from "../../src/serve/detection-server.ts";
import type { HandlerOptions } from "../../src/serve/serve-config.ts";
import { failureOf, type HeldDetector, heldDetector, until, WHITE_JPEG } from "../support/serving.ts";
import { toyDetector } from "../support/toy-detector.ts";

/** A handler in a server of somebody else's, with its detector. */
class Mounted implements AsyncDisposable {
  readonly handler: DetectionHandler;
  readonly held: HeldDetector;
  readonly server: Bun.Server<undefined>;
  readonly #detector: Detector;

  private constructor(handler: DetectionHandler, held: HeldDetector, server: Bun.Server<undefined>, own: Detector) {
    this.handler = handler;
    this.held = held;
    this.server = server;
    this.#detector = own;
  }

  /** @param isHeld frames wait until they are let through */
  static async open(options: HandlerOptions = {}, isHeld: boolean = false): Promise<Mounted> {
    const detector = await Detector.load(toyDetector(), { backend: "cpu", threads: 1 });
    const held = heldDetector(detector);
    const handler = createHandler(isHeld ? held.detector : detector, { name: "toy", ...options });
    const server = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      idleTimeout: 1,
      routes: { "/": new Response("the app's own"), ...handler.routes },
      fetch: () => new Response("the app's 404", { status: 404 }),
    });
    return new Mounted(handler, held, server, detector);
  }

  ask(path: string, init: RequestInit = {}): Promise<Response> {
    return fetch(new URL(path, this.server.url), init);
  }

  post(path: string, headers: Record<string, string> = {}): Promise<Response> {
    return this.ask(path, { method: "POST", body: WHITE_JPEG, headers });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.held.release();
    await this.handler.close();
    await this.server.stop(true);
    await this.#detector.close();
  }
}

test("a handler answers below its base path with all that serve has, and leaves the rest to the app", async () => {
  await using app = await Mounted.open({ basePath: "/vision" });
  expect(await (await app.ask("/")).text()).toBe("the app's own");
  expect(await (await app.ask("/visions")).text()).toBe("the app's 404");
  const { detections } = (await (await app.post("/vision/detect?threshold=0.65")).json()) as { detections: object[] };
  expect(detections).toHaveLength(2);
  expect(await (await app.ask("/vision/model")).json()).toMatchObject({ name: "toy", task: "detect" });
  expect(await (await app.ask("/vision/v2/models/toy/versions/1/ready")).json()).toEqual({ name: "toy", ready: true });
  expect(await (await app.ask("/vision/readyz")).json()).toEqual({ status: "ready" });
  for (const path of ["/vision", "/vision/"]) expect(await (await app.ask(path)).text()).toStartWith("<!doctype html>");
  const missing = await app.ask("/vision/nothing");
  expect(missing.status).toBe(404);
  const { error } = (await missing.json()) as { error: { message: string; hint: string } };
  expect(error.message).toBe('There is nothing at "/vision/nothing"');
  expect(error.hint).toContain("/vision/detect, ");
  expect(await (await app.ask("/vision/metrics")).text()).toMatch(
    /bun_tensorrt_http_requests_total\{route="detect",status="200"\} 1/,
  );
  // What the Open Inference Protocol says of errors holds below a base path, too.
  expect(await (await app.ask("/vision/v2/models/other")).json()).toEqual({
    error: 'There is no model "other". Hint: the model is toy',
  });
});

test("without a base path a handler takes every address, by fetch alone", async () => {
  await using app = await Mounted.open();
  const { fetch: answer } = app.handler;
  expect((await answer(new Request("http://any.example/model"))).status).toBe(200);
  expect(Object.keys(app.handler.routes)).toEqual(["/*"]);
  const detect = new Request("http://any.example/detect", { method: "POST", body: WHITE_JPEG });
  expect((await answer(detect)).status).toBe(200);
  // A handler of its own path gives nothing of another.
  await using below = await Mounted.open({ basePath: "/a/b" });
  for (const path of ["/model", "/a/bmodel", "/a", "/a/b/model/", "/a/b//model"]) {
    expect(await failureOf(below.handler.fetch(new Request(`http://any.example${path}`)))).toBe("404 no-such-route");
  }
});

test("token, limits and sites are asked for as by serve", async () => {
  await using app = await Mounted.open({ basePath: "/vision", token: "secret", maxBodyBytes: 100 });
  expect(await failureOf(app.post("/vision/detect"))).toBe("401 unauthorized");
  expect(await failureOf(app.post("/vision/detect", { authorization: "Bearer secret" }))).toBe("413 body-too-large");
  expect((await app.ask("/vision/healthz")).status).toBe(200);
  expect(await failureOf(app.post("/vision/detect", { origin: "https://evil.example" }))).toBe("403 cross-site");
  await using named = await Mounted.open({ allowHost: "detector.example" });
  expect(await failureOf(named.ask("/healthz", { headers: { host: "evil.example" } }))).toBe("421 foreign-host");
  expect((await named.ask("/healthz", { headers: { host: "detector.example" } })).status).toBe(200);
});

test("close() finishes what is running and gives up on the rest; the app goes on", async () => {
  await using app = await Mounted.open({ basePath: "/vision", concurrency: 1, queue: 1 }, true);
  const running = app.post("/vision/detect");
  await until(() => app.held.held() === 1);
  const closed = app.handler.close();
  expect(await failureOf(app.post("/vision/detect"))).toBe("503 draining");
  expect(await failureOf(app.ask("/vision/readyz"))).toBe("503 draining");
  expect((await app.ask("/")).status).toBe(200);
  app.held.release();
  await closed;
  expect((await running).status).toBe(200);
  expect((await app.ask("/vision/healthz")).status).toBe(200);

  await using late = await Mounted.open({ drainTimeoutMs: 20 }, true);
  const stuck = late.post("/detect");
  await until(() => late.held.held() === 1);
  await late.handler.close();
  expect(await failureOf(stuck)).toBe("503 draining");
});

test("a model that was closed under its handler is said to be closed, and the handler is not ready any more", async () => {
  const detector = await Detector.load(toyDetector(), { backend: "cpu", threads: 1 });
  await using handler = createHandler(detector);
  const ask = (path: string, body?: Uint8Array<ArrayBuffer>): Promise<Response> =>
    handler.fetch(new Request(`http://any.example${path}`, body === undefined ? {} : { method: "POST", body }));
  await detector.close();
  const answer = await ask("/detect", WHITE_JPEG);
  expect([answer.status, answer.headers.get("retry-after"), await answer.json()]).toEqual([
    503,
    null,
    {
      error: {
        code: "model-closed",
        message: "The model of this server has been closed",
        hint: "give the server a new model: only its operator can",
      },
    },
  ]);
  expect(await failureOf(ask("/readyz"))).toBe("503 model-closed");
  expect((await ask("/healthz")).status).toBe(200);
});

test("the idle timeout of the server that a request came by is lifted while it is worked on", async () => {
  await using app = await Mounted.open({ idleTimeoutMs: 2500 }, true);
  const { handler, held } = app;
  const seconds: number[] = [];
  const server = { timeout: (_: Request, timeout: number): number => seconds.push(timeout) };
  const request = (): Request => new Request("http://any.example/detect", { method: "POST", body: WHITE_JPEG });
  const answer = handler.fetch(request(), server);
  await until(() => held.held() === 1);
  expect(seconds).toEqual([0]);
  held.release();
  expect((await answer).status).toBe(200);
  expect(seconds).toEqual([0, 3]);
  // What other frameworks hand on beside a request is none of Bun's servers.
  for (const other of [undefined, null, {}, { timeout: 5 }, "env"]) {
    expect((await handler.fetch(request(), other)).status).toBe(200);
  }
});

test("createHandler refuses what only a server has, and base paths that are none", async () => {
  await using app = await Mounted.open();
  const made = (options: object): (() => unknown) => {
    return () => createHandler(app.held.detector, options as HandlerOptions);
  };
  expect(made({ port: 8080 })).toThrow('Unknown option "port"');
  for (const basePath of ["vision", "/vision/", "/", "/a//b", "/a?b", "/:name"]) {
    expect(made({ basePath })).toThrow('Option "basePath" must be a path without a slash at its end, such as /vision');
  }
  expect(made({ maxBodyBytes: 1000, maxBodiesBytes: 10 })).toThrow('Option "maxBodiesBytes" must be at least');
});

/** Servers of other people's frameworks, with the handler below `/vision`, and whether they strip that. */
const FRAMEWORKS: readonly [string, basePath: string, (handler: DetectionHandler) => Bun.Server<unknown>][] = [
  [
    "Hono, all()",
    "/vision",
    ({ fetch: answer }) => {
      const app = new Hono().all("/vision/*", (context) => answer(context.req.raw, context.env));
      return Bun.serve({ port: 0, fetch: app.fetch });
    },
  ],
  [
    "Elysia, all()",
    "/vision",
    ({ fetch: answer }) => {
      const app = new Elysia();
      for (const path of ["/vision", "/vision/*"]) {
        app.all(path, ({ request, server }) => answer(request, server), { parse: "none" });
      }
      return app.listen(0).server!;
    },
  ],
  ["Elysia, mount()", "", ({ fetch: answer }) => new Elysia().mount("/vision", answer).listen(0).server!],
];

for (const [name, basePath, start] of FRAMEWORKS) {
  test(`${name}: what nobody waits for any more is not worked for`, async () => {
    await using detector = await Detector.load(toyDetector(), { backend: "cpu", threads: 1 });
    const held = heldDetector(detector);
    await using handler = createHandler(held.detector, { basePath, concurrency: 1 });
    const server = start(handler);
    const ask = (signal: AbortSignal | null = null): Promise<Response> =>
      fetch(`http://localhost:${server.port}/vision/detect`, { method: "POST", body: WHITE_JPEG, signal });
    const waiting = async (): Promise<boolean> => (await handler.metrics.text()).includes("_requests_waiting 1\n");
    try {
      const running = ask();
      await until(() => held.held() === 1);
      const gone = new AbortController();
      const given = ask(gone.signal).catch((error: Error) => error.name);
      while (!(await waiting())) await Bun.sleep(2);
      gone.abort();
      expect(await given).toBe("AbortError");
      while (await waiting()) await Bun.sleep(2);
      held.release();
      expect((await running).status).toBe(200);
      expect(await handler.metrics.text()).toContain('bun_tensorrt_drops_total{reason="gone"} 1');
    } finally {
      held.release();
      await server.stop(true);
    }
  });

  test(`${name}: images, forms, streams, refusals and the page are as by serve`, async () => {
    await using detector = await Detector.load(toyDetector(), { backend: "cpu", threads: 1 });
    await using handler = createHandler(detector, { basePath, name: "toy", maxBodyBytes: 2000 });
    const server = start(handler);
    const { port } = server;
    const ask = (path: string, init: RequestInit = {}): Promise<Response> =>
      fetch(`http://localhost:${port}/vision${path}`, init);
    const post = (body: NonNullable<RequestInit["body"]>): Promise<Response> =>
      ask("/detect", { method: "POST", body });
    try {
      const found = { width: 64, height: 64, detections: { length: 3 } };
      expect(await (await post(WHITE_JPEG)).json()).toMatchObject(found);
      const form = new FormData();
      form.append("image", new File([WHITE_JPEG], "a.jpg"));
      expect(await (await post(form)).json()).toMatchObject([{ file: "a.jpg", ...found }]);
      expect(await (await post(new Blob([WHITE_JPEG]).stream())).json()).toMatchObject(found);
      expect(await failureOf(post(new Uint8Array(2001)))).toBe("413 body-too-large");
      expect(await failureOf(post("no image"))).toBe("422 not-an-image");
      expect(await failureOf(ask("/nothing"))).toBe("404 no-such-route");
      const wrong = await ask("/detect", { headers: { origin: `http://localhost:${port}` } });
      expect([wrong.status, wrong.headers.get("allow")]).toEqual([405, "POST"]);
      expect((await ask("/v2/models/toy/versions/1")).status).toBe(200);
      expect(await (await ask("")).text()).toStartWith("<!doctype html>");
    } finally {
      await server.stop(true);
    }
  });
}
