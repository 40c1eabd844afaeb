/** @module VideoStreams: what `scripts/video-streams.ts` has prepared for a card: packets of streams, and ffmpeg's frames. */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { VideoCodec } from "../../src/nvdec/nvdec-options.ts";

/** A stream as it lies in the folder, beside a file of its packets. */
export interface RecordedStream {
  readonly name: string;
  readonly codec: VideoCodec;
  readonly bits: 8 | 10;
  /** "close": the codec does not prescribe every bit of its transform, and pixels of the first frames lie beside it. */
  readonly exactness: "same" | "close";
  /** In the order of the stream. */
  readonly packets: readonly (readonly [timestampUs: number, bytes: number])[];
  /** In the order they are shown: MD5 of NV12, or P010, without gaps. */
  readonly frames: readonly (readonly [timestampUs: number, hash: string])[];
}

/** A stream and the bytes of its packets. */
export interface ReadStream extends RecordedStream {
  readonly data: readonly Uint8Array[];
  /** NV12 of the first frames, one after the other; empty where every bit is prescribed. */
  readonly pixels: Uint8Array;
}

/** The folder of the streams; `undefined` where none was prepared. */
export function streamsFolder(): string | undefined {
  const named = process.env.BUN_TENSORRT_NVDEC_STREAMS ?? "";
  const folder = named === "" ? join(import.meta.dir, "../../out/video-streams") : named;
  return existsSync(folder) ? folder : undefined;
}

/** Names of the streams that were prepared. */
export function streamNames(): string[] {
  const folder = streamsFolder();
  if (folder === undefined) return [];
  return readdirSync(folder).flatMap((file) => (file.endsWith(".json") ? [file.slice(0, -5)] : []));
}

/** Read one of them. */
export function readStream(name: string): ReadStream {
  const folder = streamsFolder()!;
  const stream = JSON.parse(readFileSync(join(folder, `${name}.json`), "utf8")) as RecordedStream;
  const bits = readFileSync(join(folder, `${name}.bits`));
  let end = 0;
  const data = stream.packets.map(([, bytes]) => {
    end += bytes;
    return bits.subarray(end - bytes, end);
  });
  const pixels = stream.exactness === "close" ? readFileSync(join(folder, `${name}.nv12`)) : new Uint8Array(0);
  return { ...stream, data, pixels };
}
