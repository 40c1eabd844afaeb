import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { VideoError } from "../../src/core/errors.ts";
import { inputWords, isCamera, videoAddress } from "../../src/video/address.ts";
import { VideoSource } from "../../src/video/video-source.ts";
import { FAST, ffmpeg, isFfmpegMissing, testVideo } from "../support/videos.ts";

setDefaultTimeout(120_000);

let folder = "";
let server: Bun.Server<undefined>;
const requests: string[] = [];
const path = (name: string): string => join(folder, name);

function playlist(segment: string): string {
  return `#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n${segment}\n#EXT-X-ENDLIST\n`;
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-allowed-"));
  if (!isFfmpegMissing) {
    await testVideo(path("clip.mp4"), "64x48", 10);
    await ffmpeg("-i", path("clip.mp4"), ...FAST, path("clip.ts"));
  }
  server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch(request) {
      const { pathname } = new URL(request.url);
      requests.push(pathname);
      if (pathname === "/clip.ts") return new Response(readFileSync(path("clip.ts")));
      return new Response(playlist("/clip.ts"), { headers: { "content-type": "application/vnd.apple.mpegurl" } });
    },
  });
});

afterAll(() => {
  void server.stop(true);
  rmSync(folder, { recursive: true });
});

async function countOf(source: string, inputArguments: readonly string[] = []): Promise<number> {
  requests.length = 0;
  await using video = await VideoSource.open(source, { live: false, inputArguments });
  for await (using _ of video);
  return video.read;
}

test.skipIf(isFfmpegMissing)(
  "a playlist that is called a video opens no other file and no address",
  async () => {
    const address = `${server.url.href}clip.ts`;
    const dash = `<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>${address}</BaseURL></Representation></AdaptationSet></Period></MPD>`;
    for (const [name, content] of [
      ["local.mp4", playlist(`file:${path("clip.ts")}`)],
      ["remote.mp4", playlist(address)],
      ["remote.ts", playlist(address)],
      ["dash.mp4", dash],
      ["concat.mp4", `ffconcat version 1.0\nfile '${path("clip.ts")}'\n`],
      ["concat.mkv", `ffconcat version 1.0\nfile '${address}'\n`],
    ] as const) {
      writeFileSync(path(name), content);
      const error = await countOf(path(name)).catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(VideoError);
      expect((error as Error).message).toContain(`${name}": it is a playlist`);
      expect((error as Error).message).toContain("\nHint: only what is named .m3u8, .mpd, .ffconcat or .sdp");
      expect(requests).toEqual([]);
    }
    for (const [name, content] of [
      ["remote.m3u8", playlist(address)],
      ["remote.ffconcat", `ffconcat version 1.0\nfile '${address}'\n`],
    ] as const) {
      writeFileSync(path(name), content);
      const error = await countOf(path(name)).catch((reason: unknown) => reason);
      expect((error as Error).message).toContain("\nHint: name files by relative paths in it");
      expect(requests).toEqual([]);
    }
  },
  120_000,
);

test.skipIf(isFfmpegMissing)(
  "a playlist plays where its name or the caller says that it is one",
  async () => {
    writeFileSync(path("local.m3u8"), playlist("clip.ts"));
    expect(await countOf(path("local.m3u8"))).toBe(10);
    writeFileSync(path("parts.ffconcat"), "ffconcat version 1.0\nfile clip.ts\nfile clip.ts\n");
    expect(await countOf(path("parts.ffconcat"))).toBe(20);
    writeFileSync(path("forced.txt"), playlist("clip.ts"));
    expect(await countOf(path("forced.txt"), ["-f", "hls"])).toBe(10);
    // Not even then does one on the disk reach out.
    writeFileSync(path("remote.m3u8"), playlist(`${server.url.href}clip.ts`));
    await expect(countOf(path("remote.m3u8"))).rejects.toBeInstanceOf(VideoError);
    expect(requests).toEqual([]);
  },
  120_000,
);

test.skipIf(isFfmpegMissing)(
  "an address plays as a playlist only where it is named like one",
  async () => {
    expect(await countOf(`${server.url.href}live.m3u8`)).toBe(10);
    expect(await countOf(`${server.url.href}clip.ts`)).toBe(10);
    await expect(countOf(`${server.url.href}camera`)).rejects.toThrow("it is a playlist");
    expect(requests.includes("/clip.ts")).toBe(false);
  },
  120_000,
);

test("each scheme opens its own protocols", () => {
  const protocols = (address: string): string => {
    const words = inputWords(videoAddress(address), []);
    return words[words.indexOf("-protocol_whitelist") + 1]!;
  };
  expect(protocols("http://a.test/x.mp4")).toBe("http,https,httpproxy,tcp,tls");
  expect(protocols("udp://239.0.0.1:5000")).toBe("udp");
  expect(protocols("RTSP://a.test/x").split(",")).toContain("rtp");
  for (const address of [
    "http://a.test/x.m3u8?x=1",
    "rtsp://a.test/x",
    "rtmp://a.test/x",
    "srt://a.test:1",
    "mmsh://a.test/x",
  ])
    expect(protocols(address).split(",")).not.toContain("file");
});

test("cameras are named and opened as each system has them", () => {
  const own = Object.getOwnPropertyDescriptor(process, "platform")!;
  const on = (platform: NodeJS.Platform, text: string): string => {
    Object.defineProperty(process, "platform", { ...own, value: platform });
    try {
      expect(isCamera(text)).toBe(true);
      const { name, input, words, kind } = videoAddress(text);
      expect([name, kind]).toEqual([text, "camera"]);
      return [...words, "-i", input].join(" ");
    } catch (error) {
      return (error as Error).message;
    } finally {
      Object.defineProperty(process, "platform", own);
    }
  };
  expect(on("win32", "dshow:Integrated Camera")).toBe("-f dshow -i video=Integrated Camera");
  expect(on("darwin", "avfoundation:0")).toBe("-f avfoundation -i 0");
  expect(on("win32", "/dev/video87")).toContain('there is no such camera\nHint: name it as in "dshow:');
  expect(on("darwin", "/dev/video87")).toContain("there is no such camera\nHint: name it as in avfoundation:0");
  expect(on("linux", "/dev/video87")).toContain("there is no such camera\nHint: ls /dev/video*");
  expect(isCamera("dshow:Integrated Camera")).toBe(process.platform === "win32");
});
