/** @module RTSP server for tests: plays one MPEG transport stream to each client, interleaved in the connection. */

import type { Socket } from "bun";

/** Bytes of a packet of a transport stream. */
const PACKET_BYTES = 188;
const PACKETS_A_MESSAGE = 7;
/** Ticks of an RTP clock of MPEG a second. */
const CLOCK = 90_000;

/** What a server has seen and where it is. */
export interface RtspServer extends Disposable {
  readonly url: string;
  /** Clients that asked to play. */
  readonly plays: number;
}

/** What the server does. */
export interface RtspServerOptions {
  /** Of the stream in seconds: it is sent in about this time, evenly. */
  readonly seconds: number;
  /** Hang up after the stream. Default true; else the connection stays, and nothing comes. */
  readonly hangsUp?: boolean;
  /** Clients that are answered; nobody is afterwards. Default: all. */
  readonly clients?: number;
}

interface Session {
  text: string;
  timer: Timer | undefined;
  /** Bytes that the socket did not take yet. */
  rest: Uint8Array;
}

/** RTP packets of a transport stream, each behind the four bytes that tell it from text. */
function rtpOf(stream: Uint8Array, seconds: number): Uint8Array[] {
  const messages: Uint8Array[] = [];
  const step = PACKET_BYTES * PACKETS_A_MESSAGE;
  for (let at = 0; at < stream.length; at += step) {
    const payload = stream.subarray(at, at + step);
    const bytes = new Uint8Array(16 + payload.length);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, 0x24000000 + 12 + payload.length);
    // Version 2, payload type 33: an MPEG transport stream.
    view.setUint16(4, 0x8021);
    view.setUint16(6, messages.length & 0xffff);
    view.setUint32(8, Math.floor((at / stream.length) * seconds * CLOCK));
    view.setUint32(12, 0x1234);
    bytes.set(payload, 16);
    messages.push(bytes);
  }
  return messages;
}

const DESCRIPTION = [
  "v=0",
  "o=- 1 1 IN IP4 127.0.0.1",
  "s=test",
  "t=0 0",
  "m=video 0 RTP/AVP 33",
  "a=control:track1",
  "",
];

/** Serve a stream on a free port until it is disposed. */
export function serveRtsp(
  stream: Uint8Array,
  { seconds, hangsUp = true, clients = Number.POSITIVE_INFINITY }: RtspServerOptions,
): RtspServer {
  const messages = rtpOf(stream, seconds);
  let plays = 0;
  let connections = 0;

  function flush(socket: Socket<Session>): void {
    const { data } = socket;
    if (data.rest.length > 0) data.rest = data.rest.subarray(socket.write(data.rest));
  }

  function send(socket: Socket<Session>, bytes: Uint8Array): void {
    socket.data.rest = Buffer.concat([socket.data.rest, bytes]);
    flush(socket);
  }

  function play(socket: Socket<Session>): void {
    plays += 1;
    let next = 0;
    const started = performance.now();
    socket.data.timer = setInterval(() => {
      const due = Math.ceil(((performance.now() - started) / 1000 / seconds) * messages.length);
      while (next < Math.min(due, messages.length)) send(socket, messages[next++]!);
      if (next < messages.length || socket.data.rest.length > 0) return;
      clearInterval(socket.data.timer);
      if (hangsUp) socket.end();
    }, 10);
  }

  function answer(socket: Socket<Session>, request: string): void {
    const [method = ""] = request.split(" ", 1);
    const sequence = /^CSeq: *(\d+)/im.exec(request)?.[1] ?? "0";
    const head = ["RTSP/1.0 200 OK", `CSeq: ${sequence}`];
    const transport = /^Transport: *(.*)$/im.exec(request)?.[1]?.trim() ?? "";
    if (method === "OPTIONS") head.push("Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER");
    if (method === "SETUP" && !transport.includes("TCP")) head[0] = "RTSP/1.0 461 Unsupported Transport";
    if (method === "SETUP") head.push(`Transport: ${transport}`);
    if (method === "SETUP" || method === "PLAY") head.push("Session: 1");
    const body = method === "DESCRIBE" ? DESCRIPTION.join("\r\n") : "";
    if (method === "DESCRIBE") head.push("Content-Type: application/sdp", `Content-Length: ${body.length}`);
    send(socket, Buffer.from(`${head.join("\r\n")}\r\n\r\n${body}`));
    if (method === "PLAY") play(socket);
    if (method === "TEARDOWN") socket.end();
  }

  const server = Bun.listen<Session>({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      open(socket) {
        socket.data = { text: "", timer: undefined, rest: new Uint8Array(0) };
        connections += 1;
        if (connections > clients) socket.end();
      },
      data(socket, bytes) {
        // Reports of the client are binary, and of no interest here.
        if (bytes[0] === 0x24) return;
        socket.data.text += bytes.toString("latin1");
        for (let end = socket.data.text.indexOf("\r\n\r\n"); end >= 0; end = socket.data.text.indexOf("\r\n\r\n")) {
          const request = socket.data.text.slice(0, end);
          socket.data.text = socket.data.text.slice(end + 4);
          answer(socket, request);
        }
      },
      drain: flush,
      close(socket) {
        clearInterval(socket.data.timer);
      },
    },
  });
  return {
    url: `rtsp://user:secret@127.0.0.1:${server.port}/live`,
    get plays() {
      return plays;
    },
    [Symbol.dispose]: () => void server.stop(true),
  };
}
