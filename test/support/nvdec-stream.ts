/** @module NvdecStream: the stream that the stand-in for libnvcuvid decodes (nvcuvid.c), and what programs of tests look at. */

import { dlopen } from "bun:ffi";
import { nativeView } from "../../src/ffi/memory.ts";
import type { DecodedFrame } from "../../src/nvdec/nvdec.ts";
import type { NvdecDecoder } from "../../src/nvdec/nvdec-decoder.ts";

/** A sequence of the made-up stream. */
export interface StandInSequence {
  /** As coded. */
  readonly width: number;
  readonly height: number;
  readonly bits?: number;
  /** That the parser asks for. */
  readonly surfaces?: number;
  /** Number of `cudaVideoChromaFormat`. */
  readonly chroma?: number;
  /** 1: full. */
  readonly range?: number;
  /** `matrix_coefficients` */
  readonly matrix?: number;
  /** What is cut off: left, top, right, bottom. */
  readonly crop?: readonly [number, number, number, number];
}

const START = "\0\0\x01";

function bytesOf(text: string): Uint8Array {
  return Buffer.from(START + text, "latin1");
}

/** The header of a sequence. */
export function sequence(form: StandInSequence): Uint8Array {
  const { width, height, bits = 8, surfaces = 4, chroma = 1, range = 0, matrix = 2, crop = [0, 0, 0, 0] } = form;
  return bytesOf(`S ${[width, height, bits, surfaces, chroma, range, matrix, ...crop].join(" ")}`);
}

/** What is special about a picture. */
export const PICTURE = { concealed: 1, refused: 2, late: 4, hidden: 8 } as const;

/** A picture whose Y are `value` and up to 3 more. */
export function picture(value: number, flags = 0): Uint8Array {
  return bytesOf(`P ${value} ${flags}`);
}

/** Shows the picture that was hidden. */
export function shownAgain(): Uint8Array {
  return bytesOf("E");
}

/** What is left of the stand-in's objects, and how many decoders were made. */
export function standIn(): { decoders: number; parsers: number; mapped: number; locks: number; made: number } {
  const number = { args: [], returns: "i32" } as const;
  const { symbols } = dlopen(process.env.BUN_TENSORRT_NVCUVID!, {
    standInDecoders: number,
    standInParsers: number,
    standInMapped: number,
    standInLocks: number,
    standInMade: number,
  });
  return {
    decoders: symbols.standInDecoders(),
    parsers: symbols.standInParsers(),
    mapped: symbols.standInMapped(),
    locks: symbols.standInLocks(),
    made: symbols.standInMade(),
  };
}

/** The value of a frame's picture; -1 where any of its samples is not what the stand-in writes. */
export function pictureOf(frame: DecodedFrame): number {
  const { width, height, pitchBytes, chromaPitchBytes } = frame;
  const Samples = frame.format === "NV12" ? Uint8Array : Uint16Array;
  const { BYTES_PER_ELEMENT: bytes } = Samples;
  const shift = bytes === 1 ? 0 : 8;
  const plane = (address: number, pitch: number, rows: number): Uint8Array | Uint16Array =>
    new Samples(nativeView(address, pitch * (rows - 1) + width * bytes));
  const luma = plane(frame.pixels, pitchBytes, height);
  const chroma = plane(frame.chroma, chromaPitchBytes, Math.ceil(height / 2));
  const corner = (luma[0]! >> shift) & ~3;
  const phase = (luma[0]! >> shift) - corner;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (luma[(y * pitchBytes) / bytes + x]! >> shift !== corner + ((x + y + phase) % 4)) return -1;
      if (y % 2 === 0 && chroma[((y / 2) * chromaPitchBytes) / bytes + x]! >> shift !== corner + 1 + (x % 2)) return -1;
    }
  }
  return corner;
}

/** Every frame up to the end of the stream, looked at and released. */
export async function drain(decoder: NvdecDecoder): Promise<(readonly [value: number, timestampUs: number])[]> {
  const seen: (readonly [number, number])[] = [];
  for (let frame = await decoder.next(); frame !== undefined; frame = await decoder.next()) {
    seen.push([pictureOf(frame), frame.timestampUs]);
    frame.release();
  }
  return seen;
}
