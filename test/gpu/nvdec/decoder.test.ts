import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { UnsupportedVideoError } from "../../../src/core/errors.ts";
import { BufferView } from "../../../src/cuda/buffers.ts";
import { copyToHost } from "../../../src/cuda/copy.ts";
import { type DecodedFrame, Nvdec, nvdecUnavailable } from "../../../src/nvdec/nvdec.ts";
import { NvdecDecoder } from "../../../src/nvdec/nvdec-decoder.ts";
import { sequenceHeaderOf } from "../../../src/nvdec/sequence-header.ts";
import { Gpu, isGpuMissing, isOnCpu, leastLost, SLOW_TEST_MS } from "../../support/gpu.ts";
import { docstringSnippets } from "../../support/snippets.ts";
import { type ReadStream, readStream, streamNames } from "../../support/video-streams.ts";

setDefaultTimeout(SLOW_TEST_MS);

const isMissing = isGpuMissing || isOnCpu || nvdecUnavailable() !== undefined;
const names = streamNames();
const root = join(import.meta.dir, "../../..");

/** A device, its engines, and a stream that frames are copied on. */
class Rig implements Disposable {
  readonly gpu = new Gpu();
  readonly nvdec = this.gpu.own(Nvdec.open(this.gpu.device));
  readonly #on = { stream: this.gpu.stream };

  /** A frame without gaps, as ffmpeg writes it. */
  pixels(frame: DecodedFrame): Uint8Array {
    const bytes = frame.format === "NV12" ? 1 : 2;
    const planes = [
      [frame.pixels, frame.pitchBytes, frame.width * bytes, frame.height],
      [frame.chroma, frame.chromaPitchBytes, 2 * Math.ceil(frame.width / 2) * bytes, Math.ceil(frame.height / 2)],
    ] as const;
    const rowsOf = planes.flatMap(([address, pitch, rowBytes, rows]) => {
      const host = new Uint8Array(pitch * (rows - 1) + rowBytes);
      copyToHost(host, BufferView.wrap(address, "u8", [host.length]), this.#on);
      return Array.from({ length: rows }, (_, row) => host.subarray(row * pitch, row * pitch + rowBytes));
    });
    return Buffer.concat(rowsOf);
  }

  /** MD5 of a frame without gaps, as ffmpeg's framemd5 tells it. */
  hash(frame: DecodedFrame): string {
    return new Bun.CryptoHasher("md5").update(this.pixels(frame)).digest("hex");
  }

  /** Time stamps and hashes of every frame up to the end. */
  async drain(decoder: NvdecDecoder): Promise<(readonly [number, string])[]> {
    const seen: (readonly [number, string])[] = [];
    for (let frame = await decoder.next(); frame !== undefined; frame = await decoder.next()) {
      seen.push([frame.timestampUs, this.hash(frame)]);
      frame.release(this.gpu.stream);
    }
    return seen;
  }

  [Symbol.dispose](): void {
    this.gpu[Symbol.dispose]();
  }
}

async function feed(decoder: NvdecDecoder, stream: ReadStream, offsetUs = 0): Promise<void> {
  for (const [at, packet] of stream.data.entries()) await decoder.decode(packet, stream.packets[at]![0] + offsetUs);
}

async function feedAll(decoder: NvdecDecoder, streams: readonly ReadStream[]): Promise<void> {
  for (const [at, stream] of streams.entries()) await feed(decoder, stream, at * 1e9);
  await decoder.flush();
}

/** What differs of two lists of frames, for a failure that can be read. */
function difference(
  seen: readonly (readonly [number, string])[],
  wanted: readonly (readonly [number, string])[],
): string {
  const places = wanted.flatMap(([timestampUs, hash], at) =>
    seen[at]?.[0] === timestampUs && seen[at][1] === hash ? [] : [at],
  );
  if (places.length === 0 && seen.length === wanted.length) return "none";
  const [first = 0] = places;
  const times = seen.map(([timestampUs]) => timestampUs).join();
  const at = `the first is ${first}: ${seen[first]} for ${wanted[first]}`;
  return `${seen.length} frames for ${wanted.length}, ${places.length} differ, ${at}; at ${times}`;
}

/** How far samples lie from those that they should be. */
function distance(seen: Uint8Array, wanted: Uint8Array): { most: number; mean: number } {
  let most = 0;
  let sum = 0;
  for (let at = 0; at < wanted.length; at++) {
    const one = Math.abs(seen[at]! - wanted[at]!);
    most = Math.max(most, one);
    sum += one;
  }
  return { most, mean: sum / wanted.length };
}

test.skipIf(isMissing)("Nvdec tells what the card decodes, and refuses the rest", () => {
  using rig = new Rig();
  const caps = rig.nvdec.caps({ codec: "h264" });
  expect(caps.isSupported).toBe(true);
  expect(caps.engines).toBeGreaterThan(0);
  expect(caps.formats).toContain("NV12");
  const tooLarge = { codec: "h264", width: caps.maxWidth * 2, height: 1080 } as const;
  expect(rig.nvdec.refusal(tooLarge)).toContain(`up to ${caps.maxWidth}x${caps.maxHeight}`);
  const refusal = rig.nvdec.refusal({ codec: "av1" });
  if (refusal !== undefined)
    expect(() => NvdecDecoder.open(rig.nvdec, { codec: "av1" })).toThrow(UnsupportedVideoError);
});

describe.skipIf(isMissing || names.length === 0)("NvdecDecoder with the streams of scripts/video-streams.ts", () => {
  /** Of no whole blocks, which engines do not decode to the bit. */
  const cutVp8 = names.filter((one) => /^vp8-(odd|cropped)$/.test(one));

  for (const name of cutVp8) {
    test(`${name}: refused, as soon as the stream tells its size`, async () => {
      using rig = new Rig();
      if (rig.nvdec.refusal({ codec: "vp8" }) !== undefined) return;
      using decoder = NvdecDecoder.open(rig.nvdec, { codec: "vp8" });
      const fed = feedAll(decoder, [readStream(name)]).catch(() => {});
      expect(await rig.drain(decoder).catch((error: unknown) => error)).toBeInstanceOf(UnsupportedVideoError);
      await fed;
    });
  }

  for (const name of names.filter((one) => readStream(one).exactness === "same" && !cutVp8.includes(one))) {
    test(`${name}: every frame is ffmpeg's to the bit, at its time`, async () => {
      using rig = new Rig();
      const stream = readStream(name);
      const refusal = rig.nvdec.refusal({ codec: stream.codec, bits: stream.bits });
      if (refusal !== undefined) return console.warn(`${name}: ${refusal}`);
      using decoder = NvdecDecoder.open(rig.nvdec, { codec: stream.codec });
      const fed = feedAll(decoder, [stream]);
      const seen = await rig.drain(decoder);
      await fed;
      expect(difference(seen, stream.frames)).toBe("none");
      expect(decoder.counts).toMatchObject({ packets: stream.packets.length, damaged: 0, refused: 0 });
    });
  }

  for (const name of names.filter((one) => readStream(one).exactness === "close")) {
    test(`${name}: frames are ffmpeg's but for the rounding of the transform`, async () => {
      using rig = new Rig();
      const stream = readStream(name);
      const refusal = rig.nvdec.refusal({ codec: stream.codec, bits: stream.bits });
      if (refusal !== undefined) return console.warn(`${name}: ${refusal}`);
      using decoder = NvdecDecoder.open(rig.nvdec, { codec: stream.codec });
      const fed = feedAll(decoder, [stream]);
      const times: number[] = [];
      const far: { most: number; mean: number }[] = [];
      let end = 0;
      for (let frame = await decoder.next(); frame !== undefined; frame = await decoder.next()) {
        times.push(frame.timestampUs);
        const pixels = rig.pixels(frame);
        frame.release(rig.gpu.stream);
        if (end === stream.pixels.length) continue;
        end += pixels.length;
        far.push(distance(pixels, stream.pixels.subarray(end - pixels.length, end)));
      }
      await fed;
      console.log(`${name}: ${far.map(({ most, mean }) => `${most} (${mean.toFixed(3)})`).join(", ")}`);
      expect(times).toEqual(stream.frames.map(([timestampUs]) => timestampUs));
      expect(end).toBe(stream.pixels.length);
      expect(far.length).toBeGreaterThan(1);
      // ffmpeg's own transforms are this far apart: mean 0.25, most 2 in a key frame, and it adds up in those after it.
      expect(far[0]!.most).toBeLessThanOrEqual(2);
      expect(Math.max(...far.map(({ most }) => most))).toBeLessThanOrEqual(3);
      expect(Math.max(...far.map(({ mean }) => mean))).toBeLessThanOrEqual(0.4);
      expect(decoder.counts).toMatchObject({ packets: stream.packets.length, damaged: 0, refused: 0 });
    });
  }

  for (const name of names) {
    const stream = readStream(name);
    const header = sequenceHeaderOf(stream.codec, stream.data[0]!);
    if (header === undefined) continue;
    test(`${name}: expected by its header, without a delay: made once, before the first packet, and in order`, async () => {
      using rig = new Rig();
      if (rig.nvdec.refusal({ codec: stream.codec, bits: stream.bits }) !== undefined) return;
      const { tellsOrder, ...expected } = header;
      using decoder = NvdecDecoder.open(rig.nvdec, { codec: stream.codec, delay: tellsOrder ? 0 : 1, expected });
      await decoder.ready();
      expect(decoder.counts.created).toBe(1);
      const fed = feedAll(decoder, [stream]);
      const seen = await rig.drain(decoder);
      await fed;
      expect(difference(seen, stream.frames)).toBe("none");
      expect(decoder.counts).toMatchObject({ created: 1, reconfigured: 0 });
    });
  }

  for (const name of ["h264-camera", "hevc-camera"]) {
    test(`${name}: without a delay, each frame is there before the next packet`, async () => {
      using rig = new Rig();
      const stream = readStream(name);
      using decoder = NvdecDecoder.open(rig.nvdec, { codec: stream.codec, delay: 0 });
      const seen: (readonly [number, string])[] = [];
      for (const [at, packet] of stream.data.entries()) {
        await decoder.decode(packet, stream.packets[at]![0]);
        const frame = await Promise.race([decoder.next(), Bun.sleep(5000)]);
        if (frame === undefined) throw new Error(`Frame ${at} waits for a later packet`);
        seen.push([frame.timestampUs, rig.hash(frame)]);
        frame.release(rig.gpu.stream);
      }
      expect(difference(seen, stream.frames)).toBe("none");
    });
  }

  test("a stream that is cut anywhere gives the same frames", async () => {
    using rig = new Rig();
    const stream = readStream("h264-1080p");
    using decoder = NvdecDecoder.open(rig.nvdec, { codec: "h264", wholePackets: false });
    const bytes = Buffer.concat(stream.data);
    const fed = (async () => {
      for (let at = 0; at < bytes.length; at += 4099) await decoder.decode(bytes.subarray(at, at + 4099), 0);
      await decoder.flush();
    })();
    const seen = await rig.drain(decoder);
    await fed;
    expect(seen.map(([, hash]) => hash)).toEqual(stream.frames.map(([, hash]) => hash));
  });

  test("the size changes within a stream; the decoder is kept for the next", async () => {
    using rig = new Rig();
    const streams = ["h264-1080p", "h264-vtest", "h264-cropped", "h264-1080p"].map((name) => readStream(name));
    const wanted = streams.flatMap(({ frames }, at) => {
      return frames.map(([timestampUs, hash]) => [timestampUs + at * 1e9, hash] as const);
    });
    for (let round = 0; round < 2; round++) {
      using decoder = NvdecDecoder.open(rig.nvdec, { codec: "h264" });
      const fed = feedAll(decoder, streams);
      const seen = await rig.drain(decoder);
      await fed;
      expect(difference(seen, wanted)).toBe("none");
      if (round > 0) expect(decoder.counts.created).toBe(0);
    }
  });

  test("after an end the same decoder goes on", async () => {
    using rig = new Rig();
    const stream = readStream("h264-vtest");
    using decoder = NvdecDecoder.open(rig.nvdec, { codec: "h264" });
    for (let round = 0; round < 3; round++) {
      const fed = feedAll(decoder, [stream]);
      const seen = await rig.drain(decoder);
      await fed;
      expect(difference(seen, stream.frames)).toBe("none");
    }
    expect(decoder.counts.created).toBe(1);
  });

  test("the examples of the docstrings run", () => {
    const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-nvdec-"));
    try {
      mkdirSync(join(folder, "node_modules"));
      symlinkSync(root, join(folder, "node_modules/bun-tensorrt"));
      writeFileSync(join(folder, "street.h264"), Buffer.concat(readStream("h264-vtest").data));
      const snippets = docstringSnippets().filter(({ code }) => code.includes('"bun-tensorrt/nvdec"'));
      expect(snippets.length).toBe(2);
      for (const { code } of snippets) {
        writeFileSync(join(folder, "app.ts"), code);
        const pipes = { cwd: folder, stdout: "pipe", stderr: "pipe" } as const;
        const { exitCode, stdout, stderr } = Bun.spawnSync([process.execPath, "app.ts"], pipes);
        expect(stderr.toString()).toBe("");
        expect(exitCode).toBe(0);
        expect(stdout.toString()).not.toBe("");
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test("64 streams at once: all frames of each, in order", async () => {
    using rig = new Rig();
    const stream = readStream("h264-vtest");
    const counts = await Promise.all(
      Array.from({ length: 64 }, async () => {
        using decoder = NvdecDecoder.open(rig.nvdec, { codec: "h264" });
        const fed = feedAll(decoder, [stream]);
        let count = 0;
        for (let frame = await decoder.next(); frame !== undefined; frame = await decoder.next()) {
          if (frame.timestampUs === stream.frames[count]![0]) count += 1;
          frame.release();
        }
        await fed;
        return count;
      }),
    );
    expect(counts).toEqual(Array<number>(64).fill(stream.frames.length));
  });

  test("damaged packets are decoded as far as they go, counted, and the frames after the next key frame are right", async () => {
    using rig = new Rig();
    const stream = readStream("h264-1080p");
    using decoder = NvdecDecoder.open(rig.nvdec, { codec: "h264" });
    const damaged = stream.data.map((packet, at) => {
      const copy = Uint8Array.from(packet);
      if (at > 4 && at % 7 === 0) copy.fill(0xa5, Math.floor(copy.length / 3), Math.floor(copy.length / 2));
      return copy;
    });
    const fed = feedAll(decoder, [{ ...stream, data: damaged }, stream]);
    const seen = await rig.drain(decoder);
    await fed;
    const { counts } = decoder;
    console.log(`damaged stream: ${seen.length} frames of ${2 * stream.frames.length}`, counts);
    const after = stream.frames.map(([timestampUs, hash]) => [timestampUs + 1e9, hash] as const);
    expect(difference(seen.slice(-after.length), after)).toBe("none");
    expect(counts.frames).toBe(seen.length);
  });

  test("decoders that are opened and closed leave no memory behind", async () => {
    using gpu = new Gpu();
    const stream = readStream("h264-cropped");
    const lost = await leastLost(gpu.device, 1024 * 1024, async () => {
      using nvdec = Nvdec.open(gpu.device, { idle: 0 });
      for (let round = 0; round < 5; round++) {
        using decoder = NvdecDecoder.open(nvdec, { codec: "h264" });
        const fed = feedAll(decoder, [stream]);
        for (let frame = await decoder.next(); frame !== undefined; frame = await decoder.next()) frame.release();
        await fed;
      }
    });
    expect(lost).toBeLessThanOrEqual(1024 * 1024);
  });
});
