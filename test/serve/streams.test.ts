import { beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import type { Detector } from "../../src/api/detector.ts";
import { setLogSink } from "../../src/core/log.ts";
import type { ServedDetector } from "../../src/serve/detect-desk.ts";
import { parseServeOptions, SERVE_OPTIONS } from "../../src/serve/serve-config.ts";
import { fileFolder } from "../support/folder.ts";
import { serveRtsp } from "../support/rtsp-server.ts";
import { ToyServer } from "../support/serving.ts";
import { toyClassifier } from "../support/toy-classifier.ts";
import { childrenNamed, FAST, ffmpeg, isFfmpegMissing } from "../support/videos.ts";

setDefaultTimeout(120_000);

const inFolder = fileFolder("streams");
let clip = new Uint8Array(0);

beforeAll(async () => {
  if (isFfmpegMissing) return;
  const white = ["-f", "lavfi", "-i", "color=white:size=64x64:rate=30", "-frames:v", "30"];
  await ffmpeg(...white, ...FAST, "-g", "5", "-f", "mpegts", inFolder("white.ts"));
  clip = readFileSync(inFolder("white.ts"));
});

interface Event {
  readonly kind: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/** Server-sent events, as they come. */
async function* eventsOf(response: Response): AsyncGenerator<Event, void, undefined> {
  let text = "";
  for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
      const [, kind, data] = /^event: (\w+)\ndata: (.*)$/.exec(text.slice(0, end)) ?? [];
      text = text.slice(end + 2);
      if (kind !== undefined) yield { kind, data: JSON.parse(data!) };
    }
  }
}

const half = {
  name: "left",
  polygon: [
    [0, 0],
    [0.5, 0],
    [0.5, 1],
    [0, 1],
  ],
} as const;

test.skipIf(isFfmpegMissing)(
  "GET /streams/NAME/events tells of tracks and zones of a camera, as long as it lasts",
  async () => {
    setLogSink(() => {});
    try {
      using camera = serveRtsp(clip, { seconds: 0.3 });
      const reconnect = { firstDelayMs: 10, longestDelayMs: 100 };
      await using toy = await ToyServer.open({
        token: "secret",
        streams: {
          gate: { source: camera.url, reconnect, zones: { units: "fractions", zones: [half] } },
          // A camera that is never there is tried again, and holds up nobody.
          yard: { source: "rtsp://127.0.0.1:9/live", reconnect },
          lost: inFolder("missing.mp4"),
        },
      });
      expect((await toy.get("/streams/gate/events")).status).toBe(401);
      const init = { headers: { Authorization: "Bearer secret" } };
      const response = await toy.get("/streams/gate/events", init);
      expect([response.status, response.headers.get("content-type")]).toEqual([
        200,
        "text/event-stream; charset=utf-8",
      ]);
      const found: Event[] = [];
      const reading = (async () => {
        for await (const event of eventsOf(response)) found.push(event);
      })();
      const frames = (): Event[] => found.filter(({ kind }) => kind === "frame");
      while (frames().length < 40) await Bun.sleep(20);
      const { data } = frames().at(-1)!;
      expect([data.source, typeof data.index, data.width]).toEqual(["gate", "number", 64]);
      const detections = data.detections as { readonly trackId: number }[];
      expect(detections.map(({ trackId }) => trackId).sort()).toEqual([1, 2, 3]);
      expect(data.zones).toEqual({ occupancy: { left: expect.any(Number) } });
      const indices = frames().map((event) => event.data.index as number);
      expect(indices).toEqual(indices.toSorted((a, b) => a - b));
      const list = (await (await toy.get("/streams", init)).json()) as {
        name: string;
        frames: number;
        ended?: string;
      }[];
      expect(list.map(({ name }) => name)).toEqual(["gate", "yard", "lost"]);
      expect(list[0]!.frames).toBeGreaterThanOrEqual(40);
      expect(list[1]).toEqual({ name: "yard", frames: 0 });
      expect(list[2]!.ended).toContain("missing.mp4");
      const ended = await Array.fromAsync(eventsOf(await toy.get("/streams/lost/events", init)));
      expect(ended.map(({ kind }) => kind)).toEqual(["end"]);
      const unknown = await toy.get("/streams/none/events", init);
      expect([unknown.status, await unknown.text()]).toEqual([
        404,
        expect.stringContaining("there are gate, yard, lost"),
      ]);
      const started = performance.now();
      await toy.server.close();
      await reading;
      expect(performance.now() - started).toBeLessThan(5000);
      // Whoever was in a zone leaves it, and the end says why.
      expect(found.some(({ kind, data: event }) => kind === "zone" && event.source === "gate")).toBe(true);
      expect(found.at(-1)).toEqual({ kind: "end", data: { source: "gate", reason: "the server is shutting down" } });
      expect(childrenNamed("ffmpeg")).toEqual([]);
    } finally {
      setLogSink(undefined);
    }
  },
  120_000,
);

/** What a toy finds, with names so long that connections fill up. */
function wordy({ labels, model, recognition, backend, backends }: Detector): ServedDetector {
  async function* stream(frames: AsyncIterable<unknown>): AsyncGenerator<object, void, undefined> {
    const object = { label: "x".repeat(2 ** 20), classId: 0, score: 0.9, box: [1, 1, 9, 9] };
    for await (const _ of frames) yield { width: 64, height: 64, detections: [{ ...object }], timing: {} };
  }
  const detect = (): never => {
    throw new Error("nobody asks");
  };
  return { labels, model, recognition, backend, backends, stalledMs: 0, detect, stream } as never;
}

test.skipIf(isFfmpegMissing)(
  "clients of events outlast the limit of idle connections; one that takes nothing holds up no end",
  async () => {
    setLogSink(() => {});
    try {
      using camera = serveRtsp(clip, { seconds: 1 });
      const gate = { source: camera.url, reconnect: { firstDelayMs: 10, longestDelayMs: 100 } };
      await using toy = await ToyServer.open({ idleTimeoutMs: 1000, streams: { gate } }, wordy);
      const stuck = connect(Number(toy.server.url.port), "127.0.0.1").on("error", () => {});
      stuck.pause();
      stuck.write("GET /streams/gate/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
      let frames = 0;
      let last = "";
      const listening = (async () => {
        for await (const { kind } of eventsOf(await toy.get("/streams/gate/events"))) {
          if (kind === "frame") frames += 1;
          last = kind;
        }
      })();
      // Bun looks for idle connections every 4 s.
      await Bun.sleep(4500);
      const seen = frames;
      while (frames < seen + 20) await Bun.sleep(20);
      const started = performance.now();
      await toy.server.close();
      await listening;
      expect(last).toBe("end");
      // Not as long as requests may take to be finished.
      expect(performance.now() - started).toBeLessThan(8000);
      stuck.destroy();
    } finally {
      setLogSink(undefined);
    }
  },
  120_000,
);

test("streams: what is said of one is checked before any is followed", async () => {
  const refused = (gate: object): Promise<ToyServer> =>
    ToyServer.open({ streams: { gate: { source: "x.mp4", ...gate } } });
  await expect(refused({ fsp: 5 })).rejects.toThrow('Cannot follow the stream "gate": unknown option "fsp"');
  await expect(refused({ tracker: "byte" })).rejects.toThrow('option "tracker" must be bytetrack');
  await expect(refused({ zones: { zones: [] } })).rejects.toThrow("at least one zone");
});

test("streams: names and sources are checked, a file names them, and a classifier has none", async () => {
  const wrong = (streams: unknown, text: string): void =>
    expect(() => parseServeOptions({ streams } as never)).toThrow(text);
  wrong({ "a b": "x.mp4" }, "names of letters, digits");
  wrong({ a: 7 }, "an address, or an object with a source");
  wrong("none.json", "cameras by names");
  expect(() => SERVE_OPTIONS.streams!.fromText!("none.json")).toThrow('streams of "none.json": it cannot be read');
  const path = inFolder("streams.json");
  writeFileSync(path, "{ gate: ");
  expect(() => SERVE_OPTIONS.streams!.fromText!(path)).toThrow("it is not valid JSON");
  writeFileSync(path, '{"gate": "rtsp://gate.local/live", "yard": {"source": "yard.mp4", "fps": 5}}');
  const streams = SERVE_OPTIONS.streams!.fromText!(path);
  expect(parseServeOptions({ streams } as never).streams).toEqual({
    gate: { source: "rtsp://gate.local/live" },
    yard: { source: "yard.mp4", fps: 5 },
  });
  const refused = ToyServer.serving(toyClassifier(), { streams: { gate: "x.mp4" } });
  await expect(refused).rejects.toThrow("Cannot follow streams: the model finds no objects");
});
