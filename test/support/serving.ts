/** @module A server for a test, and requests that no proper client would send. */

import sharp, { type Sharp } from "sharp";
import { Detector } from "../../src/api/detector.ts";
import { servedModel } from "../../src/api/model.ts";
import type { ServedDetector } from "../../src/serve/detect-desk.ts";
import { type DetectionServer, serve } from "../../src/serve/detection-server.ts";
import type { ServeOptions } from "../../src/serve/serve-config.ts";
import { toyDetector } from "./toy-detector.ts";

/** What a served test may put between the server and the toy detector. */
export type Wrap = (detector: Detector) => ServedDetector;

/** A toy behind a server on a free port. Owns both. */
export class ToyServer implements AsyncDisposable {
  readonly server: DetectionServer;
  readonly #model: { close(): Promise<void> };

  private constructor(server: DetectionServer, model: { close(): Promise<void> }) {
    this.server = server;
    this.#model = model;
  }

  /** A model of any task, by its file or bytes. */
  static async serving(source: string | Uint8Array, options: ServeOptions = {}): Promise<ToyServer> {
    const model = await servedModel.load(source, { backend: "cpu", threads: 1 });
    try {
      return new ToyServer(await serve(model, { port: 0, name: "toy", ...options }), model);
    } catch (error) {
      await model.close();
      throw error;
    }
  }

  static async open(options: ServeOptions = {}, wrap: Wrap = (detector) => detector): Promise<ToyServer> {
    const detector = await Detector.load(toyDetector(), { backend: "cpu", threads: 1, maxPixels: 1_000_000 });
    try {
      const address = options.unix === undefined ? { port: 0 } : {};
      return new ToyServer(await serve(wrap(detector), { ...address, name: "toy", ...options }), detector);
    } catch (error) {
      await detector.close();
      throw error;
    }
  }

  get(path: string, init: RequestInit = {}): Promise<Response> {
    return fetch(new URL(path, this.server.url), init);
  }

  post(
    path: string,
    body: NonNullable<RequestInit["body"]> | null,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<Response> {
    return fetch(new URL(path, this.server.url), { method: "POST", body, headers: { ...headers } });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server.close();
    await this.#model.close();
  }
}

/** `422 not-an-image`: status and code of an answer, after a look at its form. */
export async function failureOf(answer: Promise<Response> | Response): Promise<string> {
  const response = await answer;
  const { error } = (await response.json()) as {
    error: Record<"code" | "message", unknown> & { readonly hint?: string };
  };
  const { message, hint } = error;
  if (typeof message !== "string" || message === "" || hint === "") throw new Error(Bun.inspect(error));
  return `${response.status} ${error.code}`;
}

/** A white image, to be encoded. */
export function white(width: number, height: number): Sharp {
  return sharp({ create: { width, height, channels: 3, background: "white" } });
}

/** A white JPEG of 64x64 pixels, in which the toy finds a cat and two dogs. */
export const WHITE_JPEG: Buffer<ArrayBuffer> = (await white(64, 64).jpeg().toBuffer()) as Buffer<ArrayBuffer>;

/** Lets frames through only when it is told to. */
export interface HeldDetector {
  readonly detector: ServedDetector;
  /** Frames that are held back. */
  readonly held: () => number;
  /** Let all frames through, now and later. */
  readonly release: () => void;
}

/** A detector whose frames wait; frames that are aborted fail. */
export function heldDetector(detector: Detector): HeldDetector {
  const gate = Promise.withResolvers<void>();
  let held = 0;
  const waiting: ServedDetector = {
    labels: detector.labels,
    model: detector.model,
    recognition: detector.recognition,
    backend: detector.backend,
    backends: detector.backends,
    stalledMs: 0,
    detect: async (source, options) => {
      held += 1;
      const { promise: aborted, reject } = Promise.withResolvers<never>();
      const onAbort = (): void => reject(options?.signal?.reason);
      options?.signal?.addEventListener("abort", onAbort);
      try {
        await Promise.race([gate.promise, aborted]);
        return await detector.detect(source);
      } finally {
        options?.signal?.removeEventListener("abort", onAbort);
        held -= 1;
      }
    },
  };
  return { detector: waiting, held: () => held, release: gate.resolve };
}

/** Wait until something is so. @throws {Error} After five seconds */
export async function until(condition: () => boolean): Promise<void> {
  for (const end = performance.now() + 60_000; performance.now() < end; await Bun.sleep(2)) if (condition()) return;
  throw new Error(`Never true: ${condition}`);
}

/** A connection that sends what it is told, byte for byte. */
export class RawConnection {
  readonly #socket: Bun.Socket;
  readonly #closed: Promise<void>;
  readonly #received: { text: string };
  /** True once the server, or `cut`, has closed it. */
  isClosed = false;

  private constructor(socket: Bun.Socket, closed: Promise<void>, received: { text: string }) {
    closed.then(() => {
      this.isClosed = true;
    });
    this.#socket = socket;
    this.#closed = closed;
    this.#received = received;
  }

  static async open({ hostname, port }: URL): Promise<RawConnection> {
    const closed = Promise.withResolvers<void>();
    const received = { text: "" };
    const socket = await Bun.connect({
      hostname,
      port: Number(port),
      socket: {
        data: (_, data) => {
          received.text += data.toString("latin1");
        },
        close: () => closed.resolve(),
        error: () => closed.resolve(),
      },
    });
    return new RawConnection(socket, closed.promise, received);
  }

  /** Everything that came so far. */
  get received(): string {
    return this.#received.text;
  }

  send(data: string | Uint8Array): void {
    this.#socket.write(data);
  }

  /** The head of a POST. */
  post(path: string, headers: Readonly<Record<string, string | number>>): void {
    const lines = Object.entries({ Host: "localhost", ...headers }).map(([name, value]) => `${name}: ${value}\r\n`);
    this.send(`POST ${path} HTTP/1.1\r\n${lines.join("")}\r\n`);
  }

  /** Status of the first answer. @throws {Error} If none comes in five seconds */
  async status(): Promise<number> {
    await until(() => /^HTTP\/1\.1 \d{3}[\s\S]*\r\n\r\n/.test(this.received));
    return Number(this.received.slice(9, 12));
  }

  /** Wait until the server closes it. */
  async closed(): Promise<void> {
    await Promise.race([this.#closed, Bun.sleep(60_000).then(() => Promise.reject(new Error("still open")))]);
  }

  /** Cut it, as a client that crashes. */
  cut(): void {
    this.#socket.terminate();
  }
}
