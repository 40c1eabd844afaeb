import { expect, test } from "bun:test";
import { Detector } from "../../src/api/detector.ts";
import { createHandler, type DetectionHandler } from "../../src/serve/handler.ts";
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
