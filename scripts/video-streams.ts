/**
 * @module Elementary streams for the tests and measurements of `bun-tensorrt/nvdec` on a card, where there may be no ffmpeg: the
 * packets of short clips made with it, and the hash of each frame that it decodes, as NV12 or P010.
 *
 * Usage: `bun scripts/video-streams.ts [FOLDER]`, by default `out/video-streams`; then name the folder in
 * `$BUN_TENSORRT_NVDEC_STREAMS`. The clips are those of `../shared/videos`.
 */

import { mkdirSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import type { RecordedStream } from "../test/support/video-streams.ts";
import { root, run } from "./generated.ts";

const videos = resolve(root, "../shared/videos");
const folder = resolve(process.argv[2] ?? join(root, "out/video-streams"));

/** How one stream is made; without more said, of 8 bits, from bikes.mp4 in its own size, and the same to the bit everywhere. */
interface Recipe extends Pick<RecordedStream, "name" | "codec">, Partial<Pick<RecordedStream, "bits" | "exactness">> {
  readonly clip?: "vtest.avi";
  /** Words of ffmpeg in front of the encoder's. */
  readonly filter?: string;
  readonly frames: number;
  readonly encoder: string;
}

/** Frames whose pixels are kept where decoders may differ. */
const KEPT_FRAMES = 10;

const HD = "scale=1920:1080:flags=bilinear";
const SMALL = "scale=320:136";
const ODD = "crop=321:241:exact=1";
const H264 = "libx264 -preset veryfast -threads 2";
const HEVC = "libx265 -preset ultrafast -x265-params log-level=error:pools=2";

const RECIPES: readonly Recipe[] = [
  { name: "h264-1080p", codec: "h264", filter: HD, frames: 60, encoder: `${H264} -crf 27 -bf 3` },
  { name: "hevc-1080p", codec: "hevc", filter: HD, frames: 60, encoder: `${HEVC} -crf 30` },
  {
    ...{ name: "hevc10-1080p", codec: "hevc", bits: 10, filter: HD, frames: 20 },
    encoder: `${HEVC} -crf 30 -pix_fmt yuv420p10le`,
  },
  // As cameras send it: no frame waits for a later one.
  { name: "h264-camera", codec: "h264", filter: HD, frames: 30, encoder: `${H264} -crf 30 -tune zerolatency` },
  { name: "hevc-camera", codec: "hevc", filter: HD, frames: 30, encoder: `${HEVC} -crf 32 -tune zerolatency` },
  // With hidden images beside shown ones.
  {
    ...{ name: "vp9-1080p", codec: "vp9", filter: HD, frames: 30 },
    encoder: "libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 3M",
  },
  // Its own size, references of B frames, colours told.
  {
    ...{ name: "h264-vtest", codec: "h264", clip: "vtest.avi", frames: 100 },
    encoder: `${H264} -crf 30 -bf 3 -colorspace bt709 -color_range tv -color_primaries bt709 -color_trc bt709`,
  },
  // Cropped to an even size that is no multiple of 16, without B frames, full range.
  {
    ...{ name: "h264-cropped", codec: "h264", frames: 20 },
    filter: "crop=322:242,scale=in_range=tv:out_range=pc",
    encoder: `${H264} -crf 24 -bf 0 -pix_fmt yuv420p -color_range pc`,
  },
  {
    ...{ name: "h264-interlaced", codec: "h264", clip: "vtest.avi", filter: "scale=640:480", frames: 20 },
    encoder: `${H264} -crf 28 -flags +ilme+ildct -x264-params tff=1`,
  },
  { name: "mpeg4", codec: "mpeg4", filter: SMALL, frames: 20, encoder: "mpeg4 -q:v 6 -bf 0", exactness: "close" },
  { name: "mpeg2", codec: "mpeg2video", filter: SMALL, frames: 20, encoder: "mpeg2video -q:v 6", exactness: "close" },
  { name: "vp8", codec: "vp8", frames: 20, encoder: "libvpx -b:v 800k" },
  // A size of no whole blocks, and odd ones: half a sample of chroma hangs over.
  { name: "vp8-cropped", codec: "vp8", filter: "crop=322:242", frames: 10, encoder: "libvpx -b:v 300k" },
  { name: "vp8-odd", codec: "vp8", filter: ODD, frames: 10, encoder: "libvpx -b:v 300k" },
  { name: "vp9-odd", codec: "vp9", filter: ODD, frames: 10, encoder: "libvpx-vp9 -deadline realtime -b:v 300k" },
];

/** What makes the packets of a container those of an elementary stream. */
const FILTERS: Readonly<Record<string, string>> = {
  h264: "h264_mp4toannexb",
  hevc: "hevc_mp4toannexb",
  mpeg4: "dump_extra=freq=keyframe",
};

function ffmpeg(words: string): void {
  run(["ffmpeg", "-v", "error", "-y", ...words.split(" ").filter((word) => word !== "")], folder);
}

/** Lines of ffmpeg's framecrc and framemd5: time in microseconds, bytes, hash. */
async function listed(file: string): Promise<readonly (readonly [timestampUs: number, bytes: number, hash: string])[]> {
  const lines = (await Bun.file(join(folder, file)).text()).trim().split("\n");
  const [, numerator, denominator] = /^#tb 0: (\d+)\/(\d+)$/m.exec(lines.join("\n"))!;
  const unit = (Number(numerator) / Number(denominator)) * 1e6;
  return lines
    .filter((line) => !line.startsWith("#"))
    .map((line) => {
      const [, , pts = "", , bytes, hash = ""] = line.split(",").map((word) => word.trim());
      return [Math.round(Number(pts) * unit), Number(bytes), hash] as const;
    });
}

rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });
let total = 0;
for (const recipe of RECIPES) {
  const { name, codec, bits = 8, exactness = "same", clip = "bikes.mp4", filter = "null", frames, encoder } = recipe;
  ffmpeg(`-i ${join(videos, clip)} -an -vf ${filter} -frames:v ${frames} -c:v ${encoder} made.mkv`);
  const copied = `-map 0:v -c copy ${FILTERS[codec] === undefined ? "" : `-bsf:v ${FILTERS[codec]}`}`;
  ffmpeg(`-copyts -i made.mkv ${copied} -f rawvideo ${name}.bits ${copied} -f framecrc packets.txt`);
  // Full range stays that: otherwise ffmpeg makes limited range of it.
  const decoded = `-map 0:v -vsync passthrough -vf scale=in_range=full:out_range=full -pix_fmt ${bits === 8 ? "nv12" : "p010le"}`;
  ffmpeg(`-copyts -i made.mkv ${decoded} -f framemd5 frames.txt`);
  if (exactness === "close") ffmpeg(`-i made.mkv ${decoded} -frames:v ${KEPT_FRAMES} -f rawvideo ${name}.nv12`);
  const stream: RecordedStream = {
    ...{ name, codec, bits, exactness },
    packets: (await listed("packets.txt")).map(([timestampUs, bytes]) => [timestampUs, bytes]),
    frames: (await listed("frames.txt")).map(([timestampUs, , hash]) => [timestampUs, hash]),
  };
  const { size } = Bun.file(join(folder, `${name}.bits`));
  const told = stream.packets.reduce((sum, [, bytes]) => sum + bytes, 0);
  if (told !== size) throw new Error(`${name}: the packets have ${told} bytes, the file ${size}`);
  await Bun.write(join(folder, `${name}.json`), JSON.stringify(stream));
  total += size;
  console.log(`${name}  ${stream.packets.length} packets  ${stream.frames.length} frames  ${size} bytes`);
}
for (const file of ["made.mkv", "packets.txt", "frames.txt"]) rmSync(join(folder, file));
console.log(`${folder}  ${total} bytes`);
