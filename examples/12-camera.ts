/**
 * @module The camera of a browser: JPEG frames come over a WebSocket, boxes go back, and of frames that come too fast the newest
 * wins: `bun examples/12-camera.ts [PORT]`
 */

import { join } from "node:path";
import { Detector } from "bun-tensorrt";

/** What is kept of each browser: where its frames go. */
interface Camera {
  frames?: ReadableStreamDefaultController<Uint8Array>;
}

await using detector = await Detector.load("yolo11n", { inFlight: 2, maxPixels: 2 ** 22 });

/** Detect in a browser's frames until it goes. A frame that is overtaken while all slots are taken is dropped. */
async function detectIn(socket: Bun.ServerWebSocket<Camera>): Promise<void> {
  let dropped = 0;
  const frames = new ReadableStream<Uint8Array>({
    start: (controller) => {
      socket.data.frames = controller;
    },
  });
  const results = detector.stream(frames, {
    policy: "latest",
    onDrop: () => {
      dropped += 1;
    },
    onError: (error, index) => console.log(`frame ${index}: ${error instanceof Error ? error.message : error}`),
  });
  for await (const { index, width, height, detections, timing } of results) {
    socket.send(JSON.stringify({ index, width, height, detections, dropped, ms: timing.total }));
  }
}

/** Of the browsers that are there; each ends when its browser goes. */
const running = new Set<Promise<void>>();

const server = Bun.serve({
  hostname: "localhost", // browsers give their camera to https: and to localhost only
  port: Number(process.argv[2] ?? 8080),
  routes: {
    "/": new Response(Bun.file(join(import.meta.dir, "12-camera.html"))),
    "/frames": (request, server) => {
      // Pages of elsewhere can open a WebSocket to this machine, too.
      const isOwn = request.headers.get("origin") === server.url.origin;
      if (isOwn && server.upgrade(request, { data: {} })) return undefined;
      return new Response("a WebSocket of this server's page", { status: 403 });
    },
  },
  websocket: {
    data: {} as Camera,
    maxPayloadLength: 2 ** 22,
    open: (socket) => {
      const run = detectIn(socket).finally(() => running.delete(run));
      running.add(run);
    },
    message: (socket, frame) => {
      if (typeof frame !== "string") socket.data.frames?.enqueue(frame);
    },
    close: (socket) => socket.data.frames?.close(),
  },
});
console.log(`open ${server.url}`);

await new Promise((resolve) => process.once("SIGINT", resolve));
await server.stop(true);
await Promise.all(running); // before the detector is closed
