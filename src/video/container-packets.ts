/** @module ContainerPackets: the packets of a video file where there is no ffmpeg, read by mediabunny, for a GPU to decode. */

import { inShort, LibraryLoadError, message, VideoError } from "../core/errors.ts";
import type { VideoCodec } from "../nvdec/nvdec-options.ts";
import { AnnexB, type SequenceHeader, sequenceHeaderOf } from "../nvdec/sequence-header.ts";
import type { VideoAddress } from "./address.ts";
import { type FilePatch, fileShape, isEncrypted } from "./containers.ts";
import type { DecodeJob, RunEnd } from "./decode-run.ts";
import type { PacketSource, VideoPacket } from "./device-run.ts";
import type { VideoInfo } from "./probe.ts";
import type { Rational } from "./video-frame.ts";

/** What is read of mediabunny, https://mediabunny.dev; it is not installed with the package. */
interface Mediabunny {
  readonly ALL_FORMATS: unknown;
  readonly FilePathSource: new (path: string) => unknown;
  readonly CustomSource: new (options: {
    getSize(): number;
    read(start: number, end: number): Promise<Uint8Array>;
  }) => unknown;
  readonly Input: new (options: { source: unknown; formats: unknown }) => Input;
  readonly EncodedPacketSink: new (track: Track) => PacketSink;
}

interface Input {
  canRead(): Promise<boolean>;
  getFirstTimestamp(): Promise<number>;
  getFormat(): Promise<{ readonly name: string }>;
  getPrimaryVideoTrack(): Promise<Track | null>;
  dispose(): void;
}

interface Track {
  readonly codec: string | null;
  readonly codedWidth: number;
  readonly codedHeight: number;
  readonly rotation: number;
  getFirstTimestamp(): Promise<number>;
  computeDuration(): Promise<number>;
  computePacketStats(packets: number): Promise<{ readonly averagePacketRate: number }>;
  getDecoderConfig(): Promise<{ readonly codec: string; readonly description?: Uint8Array } | null>;
}

interface Packet {
  readonly data: Uint8Array;
  /** Seconds. */
  readonly timestamp: number;
  readonly type: "key" | "delta";
}

interface PacketSink {
  getFirstPacket(): Promise<Packet | null>;
  getKeyPacket(seconds: number): Promise<Packet | null>;
  packets(
    first?: Packet,
    end?: Packet,
    options?: { readonly metadataOnly: boolean },
  ): AsyncGenerator<Packet, void, unknown>;
}

/** ffmpeg's names of codecs. */
const CODECS: Readonly<Record<string, VideoCodec>> = { avc: "h264", hevc: "hevc", vp8: "vp8", vp9: "vp9", av1: "av1" };
/** Packets by which the rate is told. */
const RATE_PACKETS = 250;

async function mediabunny(name: string, cause: LibraryLoadError): Promise<Mediabunny> {
  // In a variable, so that no bundler looks for what is not installed.
  const specifier = "mediabunny";
  try {
    return (await import(specifier)) as Mediabunny;
  } catch (error) {
    const found = `neither ffmpeg nor mediabunny is installed (${inShort(error as Error)})`;
    const hint =
      "install ffmpeg, or bun add mediabunny, which is enough for MP4, MKV and WebM files that the GPU decodes";
    throw new LibraryLoadError(message(`read ${JSON.stringify(name)}`, found, hint), cause.library, cause.tried);
  }
}

/** As a fraction: that of NTSC where it is near one. */
function rateOf(perSecond: number): Rational | undefined {
  if (!(perSecond > 0)) return undefined;
  const whole = Math.round(perSecond);
  if (Math.abs(perSecond - whole) < 1e-4 * whole) return { numerator: whole, denominator: 1 };
  const thousandths = Math.round(perSecond * 1.001);
  if (Math.abs(perSecond * 1.001 - thousandths) < 1e-4 * thousandths)
    return { numerator: thousandths * 1000, denominator: 1001 };
  return { numerator: Math.round(perSecond * 1000), denominator: 1000 };
}

/** ffmpeg's name of the pixels. @param parameters such as `vp09.00.10.08`, `av01.0.04M.10` */
function pixelFormatOf(codec: VideoCodec, parameters: string, header: SequenceHeader | undefined): string {
  const depth = codec === "vp9" || codec === "av1" ? Number(parameters.split(".")[3] ?? 8) : (header?.bits ?? 8);
  const chroma = header === undefined || header.chroma === "mono" ? "420" : header.chroma.replaceAll(":", "");
  return header?.chroma === "mono" ? "gray" : `yuv${chroma}p${depth === 8 ? "" : `${depth}le`}`;
}

/**
 * Seconds from where an edit list lets a video begin, between two images, to the second of them: with that it begins, as with ffmpeg.
 */
async function gapOf(sink: PacketSink, first: Packet): Promise<number> {
  if (first.timestamp >= 0) return 0;
  let gap = Number.POSITIVE_INFINITY;
  let looked = 0;
  for await (const { timestamp } of sink.packets(first, undefined, { metadataOnly: true })) {
    if (timestamp >= 0) gap = Math.min(gap, timestamp);
    if (gap === 0 || ++looked === RATE_PACKETS) break;
  }
  return Number.isFinite(gap) ? gap : 0;
}

/** A file that is open, as its packets are read. */
interface OpenContainer {
  readonly name: string;
  readonly input: Input;
  readonly sink: PacketSink;
  /** Where the file's times begin. */
  readonly startSeconds: number;
  /** What its packets leave out, as `avcC` of MP4 does. */
  readonly record: Uint8Array | undefined;
  readonly isCutShort: boolean;
}

/** The packets of a file from one place on. */
class ContainerPackets implements PacketSource {
  readonly zeroMs: number = 0;
  readonly #container: OpenContainer;
  readonly #packets: AsyncGenerator<Packet, void, unknown>;
  readonly #form: AnnexB | undefined;
  #isStopped = false;

  constructor(container: OpenContainer, packets: AsyncGenerator<Packet, void, unknown>, form: AnnexB | undefined) {
    this.#container = container;
    this.#packets = packets;
    this.#form = form;
  }

  async next(): Promise<VideoPacket | undefined> {
    if (this.#isStopped) return undefined;
    try {
      const { value: packet } = await this.#packets.next();
      if (!packet) return undefined;
      const timestampUs = Math.round((packet.timestamp - this.#container.startSeconds) * 1e6);
      // What an edit list cuts off has a time before the beginning.
      return { bytes: this.#form?.convert(packet.data) ?? packet.data, timestampUs, isHidden: packet.timestamp < 0 };
    } catch (error) {
      const text = message(
        `read the video ${JSON.stringify(this.#container.name)} to its end`,
        inShort(error as Error),
        "copy or record it again",
      );
      throw new VideoError(text, this.#container.name);
    }
  }

  stop(): void {
    this.#isStopped = true;
  }

  finish(): Promise<RunEnd> {
    return Promise.resolve({ code: 0, error: undefined, isTruncated: this.#container.isCutShort });
  }

  close(): void {
    this.#isStopped = true;
    // What a packet is waited for is told to who waits.
    void this.#packets.return().catch(() => {});
  }
}

/** A file that is open. */
export class ContainerFile implements Disposable {
  readonly info: VideoInfo;
  readonly #container: OpenContainer;

  private constructor(info: VideoInfo, container: OpenContainer) {
    this.info = info;
    this.#container = container;
  }

  /**
   * Look at a file.
   *
   * @param cause why ffmpeg does not
   * @throws {LibraryLoadError} If mediabunny is not installed either
   * @throws {VideoError} If it is no video of a codec that a GPU may decode
   */
  static async open({ name, input: named }: VideoAddress, cause: LibraryLoadError): Promise<ContainerFile> {
    const { ALL_FORMATS, CustomSource, EncodedPacketSink, FilePathSource, Input } = await mediabunny(name, cause);
    const path = named.replace(/^file:/, "");
    const { isCutShort, patch } = fileShape(path);
    const source = patch === undefined ? new FilePathSource(path) : new CustomSource(patchedFile(path, patch));
    const input = new Input({ source, formats: ALL_FORMATS });
    const refuse = (found: string): VideoError => {
      const text = message(
        `open the video ${JSON.stringify(name)} without ffmpeg`,
        found,
        "install ffmpeg, which reads other formats and codecs",
      );
      return new VideoError(text, name);
    };
    try {
      const track = (await input.canRead()) ? await input.getPrimaryVideoTrack() : null;
      if (track === null) throw refuse("mediabunny finds no video stream in it");
      const codec = CODECS[track.codec ?? ""];
      const config = await track.getDecoderConfig();
      if (codec === undefined || config === null) throw refuse(`its codec is ${track.codec ?? "unknown"}`);
      const { description } = config;
      const sink = new EncodedPacketSink(track);
      const first = await sink.getFirstPacket();
      if (first === null) throw refuse("it holds no frame");
      const header = sequenceHeaderOf(codec, description ?? first.data);
      const rate = rateOf((await track.computePacketStats(RATE_PACKETS)).averagePacketRate);
      const startSeconds = Math.max(0, await input.getFirstTimestamp()) + (await gapOf(sink, first));
      const firstSeconds = Math.max(startSeconds, await track.getFirstTimestamp());
      const seconds = (await track.computeDuration()) - firstSeconds;
      const isTurned = track.rotation % 180 === 90;
      const info: VideoInfo = {
        width: isTurned ? track.codedHeight : track.codedWidth,
        height: isTurned ? track.codedWidth : track.codedHeight,
        rate,
        hasConstantRate: false,
        frames: rate && Math.round((seconds * rate.numerator) / rate.denominator),
        startMs: (firstSeconds - startSeconds) * 1000,
        durationMs: seconds * 1000,
        hasTimes: true,
        codec,
        container: (await input.getFormat()).name,
        rotation: track.rotation,
        isLive: false,
        // The frames tell.
        yuvMatrix: undefined,
        tellsMatrix: false,
        yuvRange: "limited",
        pixelFormat: pixelFormatOf(codec, config.codec, header),
      };
      return new ContainerFile(info, { name, input, sink, startSeconds, record: description, isCutShort });
    } catch (error) {
      input.dispose();
      if (error instanceof VideoError) throw error;
      if (isEncrypted(path)) throw encrypted(name);
      throw refuse(`mediabunny gave up (${inShort(error as Error)})`);
    }
  }

  /** Its packets from the key frame on that is at the place a job seeks, or in front of it. */
  async start({ info, seekSeconds }: Pick<DecodeJob, "info" | "seekSeconds">): Promise<PacketSource> {
    const { sink, startSeconds, record } = this.#container;
    const first = seekSeconds > 0 ? await sink.getKeyPacket(seekSeconds + startSeconds) : undefined;
    const form = record && AnnexB.of(info.codec, record);
    return new ContainerPackets(this.#container, sink.packets(first ?? undefined), form);
  }

  [Symbol.dispose](): void {
    this.#container.input.dispose();
  }
}

/** A file, some of whose bytes are others. */
function patchedFile(
  path: string,
  { size, at, bytes }: FilePatch,
): ConstructorParameters<Mediabunny["CustomSource"]>[0] {
  const file = Bun.file(path);
  return {
    getSize: () => size,
    read: async (start, end) => {
      const read = await file.slice(start, end).bytes();
      for (const [offset, byte] of bytes.entries()) {
        const place = at + offset - start;
        if (place >= 0 && place < read.length) read[place] = byte;
      }
      return read;
    },
  };
}

function encrypted(name: string): VideoError {
  const hint = "decrypt it, or install ffmpeg and give it the key by the option `inputArguments`, -decryption_key";
  return new VideoError(message(`open the video ${JSON.stringify(name)}`, "its images are encrypted", hint), name);
}
