import { beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { LibraryLoadError } from "../../src/core/errors.ts";
import { unitsOf } from "../../src/nvdec/sequence-header.ts";
import { videoAddress } from "../../src/video/address.ts";
import { ContainerFile } from "../../src/video/container-packets.ts";
import { frameForm } from "../../src/video/decode-run.ts";
import { PacketRun, type PacketSource } from "../../src/video/device-run.ts";
import { probeVideo } from "../../src/video/probe.ts";
import { parseVideoOptions } from "../../src/video/video-options.ts";
import { fakeCudaTest } from "../support/fake-cuda.ts";
import { fileFolder } from "../support/folder.ts";
import { sharedFile } from "../support/shared.ts";
import { FAST, ffmpeg, isFfmpegMissing } from "../support/videos.ts";

setDefaultTimeout(120_000);

const bikes = sharedFile("videos/bikes.mp4");
const config = parseVideoOptions({});
const missing = new LibraryLoadError("Cannot run ffprobe: it is not on the PATH", "ffprobe", []);
const file = fileFolder("container");
const cut = ["front.mp4", "parts.mp4", "late.mkv", "endless.mkv", "vp9.webm"];

beforeAll(async () => {
  if (isFfmpegMissing) return;
  const source = ["-f", "lavfi", "-i", "testsrc2=size=192x108:rate=30000/1001", "-frames:v", "75"];
  await ffmpeg(...source, "-c:v", "libx264", "-preset", "veryfast", "-bf", "3", "-g", "25", file("h264.mp4"));
  await ffmpeg("-i", file("h264.mp4"), "-c", "copy", "-output_ts_offset", "3", file("late.mkv"));
  await ffmpeg(
    "-i",
    file("h264.mp4"),
    "-c:v",
    "libx265",
    "-x265-params",
    "log-level=error:keyint=25",
    file("hevc.mp4"),
  );
  await ffmpeg(
    "-i",
    file("h264.mp4"),
    "-c:v",
    "libvpx-vp9",
    "-deadline",
    "realtime",
    "-cpu-used",
    "8",
    file("vp9.webm"),
  );
  await ffmpeg(
    "-i",
    file("h264.mp4"),
    ...FAST,
    "-vf",
    "select='not(mod(n,3))'",
    "-fps_mode",
    "vfr",
    file("variable.mkv"),
  );
  await ffmpeg("-i", file("h264.mp4"), "-c:v", "mpeg4", file("mpeg4.mp4"));
  // Begins between two images, by an edit list.
  await ffmpeg("-ss", "1.31", "-i", file("h264.mp4"), "-c", "copy", file("edited.mp4"));
  await ffmpeg("-i", file("h264.mp4"), "-c", "copy", "-movflags", "+faststart", file("front.mp4"));
  await ffmpeg("-i", file("h264.mp4"), "-c", "copy", "-movflags", "frag_keyframe+empty_moov", file("parts.mp4"));
  await ffmpeg("-i", file("h264.mp4"), "-c", "copy", "-f", "matroska", "-live", "1", file("endless.mkv"));
  const secret = ["-encryption_key", "76a6c65c5ea762046bd749a2e632ccbb", "-encryption_kid", "a".repeat(32)];
  await ffmpeg(
    "-i",
    file("h264.mp4"),
    "-c",
    "copy",
    "-encryption_scheme",
    "cenc-aes-ctr",
    ...secret,
    file("secret.mp4"),
  );
  for (const name of cut) {
    const whole = await Bun.file(file(name)).bytes();
    await Bun.write(file(`short-${name}`), whole.subarray(0, Math.floor(whole.length * 0.6)));
  }
});

/** Packets by their times, and their units: start codes have three bytes or four, which decoders do not look at. */
async function packetsOf(
  source: PacketSource,
  codec: string,
): Promise<{ readonly us: number; readonly hash: string }[]> {
  const found: { readonly us: number; readonly hash: string }[] = [];
  const isAnnexB = codec === "h264" || codec === "hevc";
  for (let packet = await source.next(); packet !== undefined; packet = await source.next()) {
    const hasher = new Bun.CryptoHasher("md5");
    // A zero behind a unit is the first of the next start code.
    const units = isAnnexB
      ? [...unitsOf(packet.bytes)].map((unit) =>
          Buffer.from(unit)
            .toString("hex")
            .replace(/(00)+$/, ""),
        )
      : [];
    hasher.update(isAnnexB ? units.join() : packet.bytes);
    found.push({ us: source.zeroMs * 1000 + packet.timestampUs, hash: hasher.digest("hex") });
  }
  await source.finish();
  source.close();
  return found;
}

const names = ["bikes", "h264.mp4", "late.mkv", "hevc.mp4", "vp9.webm", "variable.mkv", "edited.mp4"];
for (const name of names) {
  const isMissing = isFfmpegMissing || (name === "bikes" && bikes === undefined);
  test.skipIf(isMissing)(`${name}: without ffmpeg the same packets, times and facts as with it`, async () => {
    const path = name === "bikes" ? bikes! : file(name);
    const address = videoAddress(path);
    const told = await probeVideo(address, config);
    using container = await ContainerFile.open(address, missing);
    const { info } = container;
    const { codec, width, height, rotation, pixelFormat, isLive, hasTimes } = told;
    expect(info).toMatchObject({ codec, width, height, rotation, pixelFormat, isLive, hasTimes });
    expect(Math.abs(info.startMs - told.startMs)).toBeLessThan(1);
    // ffmpeg counts the time in front of a late file's first frame as well.
    if (name !== "late.mkv") expect(Math.abs(info.durationMs! - told.durationMs!)).toBeLessThan(50);
    if (!/variable|late|edited/.test(name)) expect(Math.abs(info.frames! - told.frames!)).toBeLessThanOrEqual(1);
    for (const seekSeconds of [0, 1]) {
      const job = { address, info: told, config, form: frameForm(told, config), seekSeconds };
      const wanted = await packetsOf(await PacketRun.start(job), codec);
      const found = await packetsOf(await container.start(job), codec);
      expect(found.map(({ hash }) => hash)).toEqual(wanted.map(({ hash }) => hash));
      expect(found.length).toBeGreaterThan(seekSeconds === 0 ? 20 : 5);
      // Clocks of files tick by a millisecond, and by less.
      expect(Math.max(...found.map(({ us }, at) => Math.abs(us - wanted[at]!.us)))).toBeLessThanOrEqual(1);
    }
  });
}

test.skipIf(isFfmpegMissing)(
  "a file that stops before its end says so behind its packets, as with ffmpeg",
  async () => {
    for (const name of cut.flatMap((one) => [one, `short-${one}`])) {
      const address = videoAddress(file(name));
      const told = await probeVideo(address, config);
      const job = { address, info: told, config, form: frameForm(told, config), seekSeconds: 0 };
      const wanted = await packetsOf(await PacketRun.start(job), told.codec);
      using container = await ContainerFile.open(address, missing);
      const packets = await container.start({ info: container.info, seekSeconds: 0 });
      const found = await packetsOf(packets, told.codec);
      const { code, isTruncated } = await packets.finish();
      const isShort = name.startsWith("short-");
      // ffmpeg gives the part of a packet that is there, where MP4 tells how long it is.
      if (isShort && name.endsWith(".mp4")) wanted.length = Math.max(found.length, wanted.length - 1);
      expect(
        found.map(({ hash }) => hash),
        name,
      ).toEqual(wanted.map(({ hash }) => hash));
      expect([code, isTruncated, found.length === 75, found.length > 40], name).toEqual([0, isShort, !isShort, true]);
    }
  },
);

test.skipIf(isFfmpegMissing)(
  "a recording that a loss of power filled up or holed has the packets that ffmpeg finds",
  async () => {
    const damage: Readonly<Record<string, (bytes: Uint8Array) => void>> = {
      filled: (bytes) => bytes.fill(0, bytes.length * 0.6),
      noise: (bytes) => bytes.fill(0xa7, bytes.length * 0.6),
      holed: (bytes) => bytes.fill(0, bytes.length * 0.5, bytes.length * 0.5 + 500),
      // Where the last cluster begins.
      headless: (bytes) => {
        const buffer = Buffer.from(bytes.buffer);
        const cluster = Buffer.from([0x1f, 0x43, 0xb6, 0x75]);
        bytes.fill(0, buffer.lastIndexOf(cluster), buffer.lastIndexOf(cluster) + 6);
      },
    };
    for (const name of ["late.mkv", "endless.mkv"]) {
      for (const [kind, harm] of Object.entries(damage)) {
        const path = file(`${kind}-${name}`);
        const bytes = new Uint8Array(await Bun.file(file(name)).arrayBuffer());
        harm(bytes);
        await Bun.write(path, bytes);
        const address = videoAddress(path);
        const told = await probeVideo(address, config);
        const job = { address, info: told, config, form: frameForm(told, config), seekSeconds: 0 };
        const wanted = await packetsOf(await PacketRun.start(job), told.codec);
        using container = await ContainerFile.open(address, missing);
        const packets = await container.start({ info: container.info, seekSeconds: 0 });
        const found = await packetsOf(packets, told.codec);
        expect([path, found.length]).toEqual([path, wanted.length]);
        expect(found.length).toBeWithin(20, 75);
        expect((await packets.finish()).isTruncated).toBe(false);
      }
    }
  },
);

test.skipIf(isFfmpegMissing)("what mediabunny does not read is refused with its reason", async () => {
  const refused = async (path: string): Promise<string> => {
    return await ContainerFile.open(videoAddress(path), missing).then(
      () => "nothing",
      ({ name, message }: Error) => `${name}: ${message.replaceAll(file(), "")}`,
    );
  };
  expect(await refused(file("mpeg4.mp4"))).toStartWith(
    'VideoError: Cannot open the video "/mpeg4.mp4" without ffmpeg: its codec is ',
  );
  expect(await refused(file("secret.mp4"))).toStartWith(
    'VideoError: Cannot open the video "/secret.mp4": its images are encrypted\nHint: decrypt it, or install ffmpeg',
  );
  await Bun.write(file("text.mp4"), "no video at all");
  expect(await refused(file("text.mp4"))).toBe(
    'VideoError: Cannot open the video "/text.mp4" without ffmpeg: mediabunny finds no video stream in it\nHint: install ffmpeg, which reads other formats and codecs',
  );
});

const bikesTest: typeof fakeCudaTest = bikes === undefined ? (name) => test.skip(name, () => {}) : fakeCudaTest;
bikesTest(
  "without ffmpeg a GPU gets a file's packets by mediabunny, and the CPU's route says what is missing",
  async (run) => {
    const code = `
    import { VideoSource } from "./src/video/video-source.ts";
    const told = [];
    const read = async (decode) => {
      await using video = await VideoSource.open(${JSON.stringify(bikes)}, { decode, startMs: 4000 });
      const times = [];
      let colours;
      for await (using frame of video) {
        times.push(frame.timestampMs);
        colours = frame.yuvStandard;
      }
      return [colours, times.length, Math.min(...times), Math.max(...times), video.decoder, video.copied].join(" ");
    };
    for (const decode of ["gpu", "cpu", "auto"]) told.push(await read(decode).catch((error) => error.name + ": " + error.message.split("\\n")[0]));
    console.log(JSON.stringify(told));
  `;
    const output = await run(code, { PATH: "/nowhere", FAKE_NVDEC_SIZE: "640x272" });
    const absent = /^LibraryLoadError: Cannot run ff(probe|mpeg): it is not on the PATH$/;
    expect(JSON.parse(output)).toEqual([
      // The stream tells its colours, where nobody has looked at them before.
      "BT.709 150 4000 9960 gpu 0",
      expect.stringMatching(absent),
      expect.stringMatching(absent),
    ]);
  },
);
