import { expect, setDefaultTimeout, test } from "bun:test";
import { sequenceHeaderOf } from "../../src/nvdec/sequence-header.ts";
import { ffmpeg, isFfmpegMissing } from "../support/videos.ts";

setDefaultTimeout(120_000);

const SOURCE = ["-f", "lavfi", "-i", "testsrc2=s=322x242:r=25:d=0.2"];

/** The beginning of a stream that ffmpeg writes. */
async function streamOf(format: string, ...words: string[]): Promise<Uint8Array> {
  const path = `${process.env.TMPDIR ?? "/tmp"}/sequence-${process.pid}.${format}`;
  await ffmpeg(...SOURCE, ...words, "-f", format, path);
  const bytes = await Bun.file(path).bytes();
  await Bun.file(path).delete();
  return bytes;
}

test.skipIf(isFfmpegMissing)(
  "sequence headers of H.264 are read by profile, order and what the stream keeps",
  async () => {
    const read = async (...words: string[]) =>
      sequenceHeaderOf("h264", await streamOf("h264", "-c:v", "libx264", "-threads", "1", ...words));
    const coded = { width: 336, height: 256, chroma: "4:2:0", bits: 8 } as const;
    expect(await read("-tune", "zerolatency", "-x264-params", "ref=1")).toEqual({
      ...coded,
      images: 1,
      tellsOrder: true,
    });
    expect(await read("-bf", "3", "-x264-params", "ref=4:b-pyramid=normal")).toEqual({
      ...{ ...coded, images: 4 },
      tellsOrder: true,
    });
    expect(
      await read(
        "-vf",
        "crop=320:240",
        "-flags",
        "+ilme+ildct",
        "-x264-params",
        "ref=3:bframes=0:nal-hrd=vbr:vbv-maxrate=900:vbv-bufsize=900",
      ),
    ).toEqual({
      // Two fields of whole blocks.
      ...{ ...coded, width: 320, images: 3 },
      tellsOrder: true,
    });
    expect(await read("-pix_fmt", "yuv444p10le", "-x264-params", "ref=2:bframes=0:cqm=jvt")).toEqual({
      ...{ ...coded, chroma: "4:4:4", bits: 10, images: 2 },
      tellsOrder: true,
    });
  },
);

test("a stream without a restriction tells its order by its profile or kind, and keeps what its level allows", () => {
  // Baseline, level 1.3, 320x240, two references, no VUI: 42 00 0d, then the fields.
  const baseline = Uint8Array.of(0, 0, 0, 1, 0x67, 0x42, 0x00, 0x0d, 0xf6, 0x0a, 0x0f, 0xc8);
  const told = sequenceHeaderOf("h264", baseline);
  expect(told).toEqual({ width: 320, height: 240, chroma: "4:2:0", bits: 8, images: 7, tellsOrder: true });
  const main = baseline.with(5, 0x4d);
  expect(sequenceHeaderOf("h264", main)).toEqual({ ...told!, tellsOrder: false });
});

/** `ue(v)` */
function unsigned(value: number): string {
  const bits = (value + 1).toString(2);
  return "0".repeat(bits.length - 1) + bits;
}

/** A stream of baseline with one reference and no VUI. */
function streamOfLevel(level: number, columns: number, rows: number): Uint8Array {
  const fields = [0, 0, 2, 1].map(unsigned).join("");
  const size = `0${unsigned(columns - 1)}${unsigned(rows - 1)}`;
  // Whole frames, nothing cropped off, no VUI, and the bit that ends it.
  const bits = `${fields}${size}11001`;
  const bytes = bits.match(/.{1,8}/g)!.map((byte) => Number.parseInt(byte.padEnd(8, "0"), 2));
  return Uint8Array.of(0, 0, 1, 0x67, 0x42, 0, level, ...bytes);
}

test("H.264 without a restriction keeps as many images as table A-1 says of its level", () => {
  const imagesOf = (level: number, columns: number, rows: number): number | undefined =>
    sequenceHeaderOf("h264", streamOfLevel(level, columns, rows))?.images;
  expect([10, 11, 12, 13, 20].map((level) => imagesOf(level, 11, 9))).toEqual([4, 9, 16, 16, 16]);
  expect([20, 21, 22, 30, 31].map((level) => imagesOf(level, 45, 36))).toEqual([1, 2, 5, 5, 11]);
  expect([31, 32, 40, 41, 42, 50].map((level) => imagesOf(level, 120, 68))).toEqual([2, 2, 4, 4, 4, 13]);
  expect([50, 51, 52, 60, 62].map((level) => imagesOf(level, 240, 135))).toEqual([3, 5, 5, 16, 16]);
});

test.skipIf(isFfmpegMissing)("sequence headers of HEVC are read; what is none of them is nothing", async () => {
  const x265 = ["-c:v", "libx265", "-x265-params", "log-level=error:pools=1"];
  const eight = await streamOf("hevc", ...x265);
  expect(sequenceHeaderOf("hevc", eight)).toMatchObject({ chroma: "4:2:0", bits: 8, tellsOrder: true });
  const ten = sequenceHeaderOf("hevc", await streamOf("hevc", ...x265, "-pix_fmt", "yuv420p10le"))!;
  expect([ten.width >= 322, ten.height >= 242, ten.bits, ten.images > 4]).toEqual([true, true, 10, true]);
  expect(sequenceHeaderOf("vp9", eight)).toBeUndefined();
  expect(sequenceHeaderOf("h264", new Uint8Array(0))).toBeUndefined();
  // Cut off within it.
  expect(sequenceHeaderOf("h264", Uint8Array.of(0, 0, 1, 0x67, 0x64, 0))).toBeUndefined();
});
