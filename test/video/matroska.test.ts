import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { $ } from "bun";
import { FRAME_HEADER_BYTES, matroskaHeader, writeFrameHeader } from "../../src/video/containers.ts";
import { findFfmpeg } from "../../src/video/ffmpeg.ts";
import { isFfmpegMissing } from "../support/videos.ts";

interface Packet {
  readonly pts_time: string;
  readonly duration_time: string;
  readonly size: string;
  readonly flags: string;
}

test.skipIf(isFfmpegMissing)(
  "writeFrameHeader() tells when a frame is shown, for how long, and that it is whole",
  async () => {
    const times = [
      [0, 40],
      [40, 1.5],
      [50.5, 500],
      // Beyond 32 bits of ticks, as a camera gets to in five days.
      [500_000_000, 3_600_000],
    ] as const;
    const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-matroska-"));
    try {
      const parts: Uint8Array<ArrayBuffer>[] = [Uint8Array.from(matroskaHeader(3, 5, { format: "RGB" }))];
      for (const [timestampMs, durationMs] of times) {
        const header = new Uint8Array(FRAME_HEADER_BYTES);
        writeFrameHeader(header, 45, timestampMs, durationMs);
        parts.push(header, new Uint8Array(45));
      }
      const path = join(folder, "frames.mkv");
      await Bun.write(path, new Blob(parts));
      const { packets } = (await $`${findFfmpeg("ffprobe")} -v error -show_packets -of json ${path}`.json()) as {
        readonly packets: readonly Packet[];
      };
      expect(packets.map((one) => [Number(one.pts_time) * 1000, Number(one.duration_time) * 1000])).toEqual(
        times.map((pair) => pair.map((time) => expect.closeTo(time, 3))),
      );
      expect(packets.map(({ size, flags }) => [size, flags[0]])).toEqual(times.map(() => ["45", "K"]));
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
);
