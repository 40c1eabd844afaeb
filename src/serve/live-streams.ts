/** @module LiveStreams: cameras and videos that a server follows, and those who listen to what is found in them. */

import { inShort, OptionError, type RequestError } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import type { ResultForms, TaskResult } from "../tasks/task-result.ts";
import { objectsOf } from "../track/tracked-stream.ts";
import { parseTrackerOptions } from "../track/tracker-options.ts";
import type { ZonesOptions } from "../track/zone-options.ts";
import { Zones } from "../track/zones.ts";
import { isCamera, isNetworkAddress } from "../video/address.ts";
import { detectVideos, type FrameDetector, type VideoInput } from "../video/detect-video.ts";
import { parseVideoOptions } from "../video/video-options.ts";
import { busyError, refusal } from "./failure.ts";

/** A camera or a video that a server follows. */
export interface LiveStream extends Omit<VideoInput, "name"> {
  /** Zones and lines whose events are told. */
  readonly zones?: ZonesOptions | undefined;
}

/** Events that wait for a client before further ones are dropped for it. */
const MOST_WAITING = 64;
/** Clients of all streams. */
const MOST_CLIENTS = 256;

/** Lets a connection be idle for so many seconds from now on; without a number as long as is usual. */
export type IdleLimit = (seconds?: number) => void;

/** Who listens. */
interface Client {
  readonly controller: ReadableStreamDefaultController<Uint8Array>;
  /** Of its connection: Bun cuts it after that time, whatever is sent meanwhile. */
  readonly limitIdle: IdleLimit;
}

/** True if it takes what is sent. */
function keepsUp({ controller }: Client): boolean {
  return (controller.desiredSize ?? 0) > 0;
}

/** One stream, and who listens to it. */
interface Channel {
  readonly name: string;
  readonly zones: Zones | undefined;
  readonly clients: Set<Client>;
  frames: number;
  /** Why it has ended; `undefined` while it goes on. */
  end: string | undefined;
}

const encoder = new TextEncoder();

/** An event of the kind that browsers read with `EventSource`. */
function eventOf(kind: string, data: object): Uint8Array {
  return encoder.encode(`event: ${kind}\ndata: ${JSON.stringify(data)}\n\n`);
}

/** A camera has no end: it is tried again where it cannot be opened either. */
function isEndless(source: string | URL): boolean {
  const text = String(source);
  return isCamera(text) || (isNetworkAddress(text) && !/^https?:/i.test(text));
}

/** Check what is said of a stream before it is followed. @returns its zones @throws {OptionError} If an option is refused */
function checkedZones(name: string, { zones, tracker, source: _, ...video }: LiveStream): Zones | undefined {
  try {
    parseVideoOptions(video);
    parseTrackerOptions(tracker);
    return zones && new Zones(zones);
  } catch (error) {
    if (!(error instanceof OptionError)) throw error;
    const text = error.message.replace(/^[A-Z]/, (letter) => letter.toLowerCase());
    throw new OptionError(`Cannot follow the stream ${JSON.stringify(name)}: ${text}`, "streams", { cause: error });
  }
}

/** Follows streams from its making on, until it is closed. */
export class LiveStreams {
  readonly #channels: ReadonlyMap<string, Channel>;
  readonly #forms: ResultForms;
  readonly #closing = new AbortController();
  readonly #heartbeat: Timer | undefined;
  readonly #running: Promise<void>;
  #clients = 0;

  /**
   * @param streams by name
   * @param beatMs  pause after which clients of a silent stream hear that the connection is alive
   * @throws {OptionError} If an option of a stream is unknown or out of range
   */
  constructor(
    detector: FrameDetector<TaskResult>,
    forms: ResultForms,
    streams: Readonly<Record<string, LiveStream>>,
    beatMs: number,
  ) {
    this.#forms = forms;
    const names = Object.keys(streams);
    this.#channels = new Map(
      names.map((name): [string, Channel] => {
        const zones = checkedZones(name, streams[name]!);
        return [name, { name, zones, clients: new Set<Client>(), frames: 0, end: undefined }];
      }),
    );
    const inputs = names.map((name): VideoInput => {
      const { zones: _, live = isEndless(streams[name]!.source) || undefined, ...input } = streams[name]!;
      return { ...input, live, name };
    });
    if (names.length > 0) this.#heartbeat = setInterval(() => this.#beat(), beatMs).unref();
    this.#running = names.length === 0 ? Promise.resolve() : this.#follow(detector, inputs);
  }

  /** What is known of each. */
  list(): object[] {
    return [...this.#channels.values()].map(({ name, frames, end }) => ({
      name,
      frames,
      ...(end === undefined ? {} : { ended: end }),
    }));
  }

  /**
   * What is found from now on.
   *
   * @param limitIdle called again and again while the client takes what is sent
   * @throws {RequestError} If there is no such stream, or too many listen
   */
  events(name: string, limitIdle: IdleLimit): Response {
    const channel = this.#channels.get(name);
    if (channel === undefined) throw this.#unknown(name);
    if (this.#clients >= MOST_CLIENTS) throw busyError(`${MOST_CLIENTS} clients listen to streams`);
    let client: Client;
    const body = new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          client = { controller, limitIdle };
          // Its head goes out at once.
          controller.enqueue(encoder.encode(": listening\n\n"));
          if (channel.end !== undefined) {
            controller.enqueue(eventOf("end", { source: name, reason: channel.end }));
            controller.close();
            return;
          }
          limitIdle();
          channel.clients.add(client);
          this.#clients += 1;
        },
        cancel: () => this.#leave(channel, client),
      },
      new CountQueuingStrategy({ highWaterMark: MOST_WAITING }),
    );
    return new Response(body, { headers: { "content-type": "text/event-stream; charset=utf-8" } });
  }

  /** End every stream, and what its clients hear. */
  async close(): Promise<void> {
    this.#closing.abort();
    clearInterval(this.#heartbeat);
    for (const channel of this.#channels.values()) this.#end(channel, "the server is shutting down");
    await this.#running;
  }

  async #follow(detector: FrameDetector<TaskResult>, inputs: readonly VideoInput[]): Promise<void> {
    const { signal } = this.#closing;
    let end = "the video has ended";
    const onError = (error: unknown, name: string, index: number | undefined): void => {
      logger.warn(`Stream ${JSON.stringify(name)}: ${(error as Error).message}`);
      if (index === undefined) this.#end(this.#channels.get(name)!, inShort(error as Error));
    };
    try {
      const results = detectVideos(detector, inputs, { tracker: "bytetrack", signal, onError });
      for await (const { source, frame, ...result } of results) {
        this.#tell(this.#channels.get(source)!, frame, result as unknown as TaskResult);
      }
    } catch (error) {
      end = inShort(error as Error);
      if (!signal.aborted) logger.error(`The streams have ended: ${(error as Error).message}`);
    }
    for (const channel of this.#channels.values()) this.#end(channel, end);
  }

  #tell(
    channel: Channel,
    frame: { readonly index: number; readonly timestampMs: number; readonly width: number; readonly height: number },
    result: TaskResult,
  ): void {
    const { name: source, zones, clients } = channel;
    channel.frames += 1;
    const { index, timestampMs } = frame;
    const events = zones?.update(objectsOf(result), frame) ?? [];
    if (clients.size === 0) return;
    for (const event of events) this.#send(channel, eventOf("zone", { source, ...event }));
    const place = { source, index, timestampMs: Math.round(timestampMs * 1000) / 1000 };
    const counted = zones && { zones: { occupancy: zones.occupancy } };
    this.#send(channel, eventOf("frame", { ...place, ...this.#forms.json(result), ...counted }));
  }

  /** A client that does not keep up misses events; it holds up nobody. */
  #send({ clients }: Channel, bytes: Uint8Array): void {
    for (const client of clients) if (keepsUp(client)) client.controller.enqueue(bytes);
  }

  /** The connection of a client that takes nothing runs into its limit, and its place is free again. */
  #beat(): void {
    const bytes = encoder.encode(": alive\n\n");
    for (const channel of this.#channels.values()) {
      for (const client of channel.clients) if (keepsUp(client)) client.limitIdle();
      this.#send(channel, bytes);
    }
  }

  #end(channel: Channel, reason: string): void {
    if (channel.end !== undefined) return;
    channel.end = reason;
    for (const event of channel.zones?.finish() ?? []) {
      this.#send(channel, eventOf("zone", { source: channel.name, ...event }));
    }
    this.#send(channel, eventOf("end", { source: channel.name, reason }));
    for (const client of channel.clients) {
      this.#leave(channel, client);
      // Nobody waits for one that takes nothing.
      if (!keepsUp(client)) client.limitIdle(1);
      client.controller.close();
    }
  }

  #leave(channel: Channel, client: Client): void {
    if (channel.clients.delete(client)) this.#clients -= 1;
  }

  #unknown(name: string): RequestError {
    const names = [...this.#channels.keys()].join(", ");
    const hint = names === "" ? "name streams when the server is started" : `there are ${names}`;
    return refusal(404, "no-such-stream", `there is no stream ${JSON.stringify(name)}`, hint);
  }
}
