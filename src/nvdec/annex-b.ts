/** @module AnnexB: H.264 and HEVC as decoders take them, of packets as MP4 and Matroska hold them. Pure. */

import { grownLength } from "../core/units.ts";

/** True for an `avcC` or `hvcC`, rather than a stream in the Annex B form. */
export function isRecord(bytes: Uint8Array, isHevc: boolean): boolean {
  return bytes[0] === 1 && bytes.length > (isHevc ? 22 : 6);
}

/** Units of a stream in the Annex B form. */
export function* unitsOf(stream: Uint8Array): Generator<Uint8Array, void, undefined> {
  let from = -1;
  for (let at = 0; at + 3 <= stream.length; at++) {
    if (stream[at] !== 0 || stream[at + 1] !== 0 || stream[at + 2] !== 1) continue;
    if (from >= 0) yield stream.subarray(from, at);
    from = at + 3;
    at += 2;
  }
  if (from >= 0) yield stream.subarray(from);
}

/** Units of an `avcC` or `hvcC`, as files hold them: each behind its length of two bytes. */
export function* unitsOfRecord(record: Uint8Array, isHevc: boolean): Generator<Uint8Array, void, undefined> {
  const view = new DataView(record.buffer, record.byteOffset, record.byteLength);
  let at = isHevc ? 23 : 5;
  let lists = isHevc ? record[22]! : 2;
  while (lists-- > 0 && at + 3 <= record.length) {
    let units = isHevc ? view.getUint16(at + 1) : record[at]! & (at === 5 ? 31 : 255);
    at += isHevc ? 3 : 1;
    while (units-- > 0 && at + 2 <= record.length) {
      const length = view.getUint16(at);
      yield record.subarray(at + 2, at + 2 + length);
      at += 2 + length;
    }
  }
}

const START = Uint8Array.of(0, 0, 0, 1);

/** Turns packets of one stream into the Annex B form. */
export class AnnexB {
  readonly #isHevc: boolean;
  /** Bytes that a unit's length takes. */
  readonly #lengthBytes: number;
  /** Parameter sets, each behind a start code. */
  readonly #sets: Uint8Array;
  #memory: Uint8Array = new Uint8Array(0);
  #length = 0;

  private constructor(record: Uint8Array, isHevc: boolean) {
    this.#isHevc = isHevc;
    this.#lengthBytes = (record[isHevc ? 21 : 4]! & 3) + 1;
    this.#sets = Buffer.concat([...unitsOfRecord(record, isHevc)].flatMap((unit) => [START, unit]));
  }

  /** @param record what the file holds beside the packets @returns `undefined` where its packets need no other form */
  static of(codec: string, record: Uint8Array): AnnexB | undefined {
    const isHevc = codec === "hevc";
    if (!isHevc && codec !== "h264") return undefined;
    return isRecord(record, isHevc) ? new AnnexB(record, isHevc) : undefined;
  }

  /** @returns the packet, with parameter sets where decoding may begin; valid until the next one is converted */
  convert(packet: Uint8Array): Uint8Array {
    const view = new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
    this.#length = 0;
    let needsSets = true;
    for (let at = 0; at + this.#lengthBytes <= packet.length; ) {
      let length = 0;
      for (let byte = 0; byte < this.#lengthBytes; byte++) length = length * 256 + view.getUint8(at++);
      const unit = packet.subarray(at, at + length);
      at += length;
      if (unit.length === 0) continue;
      if (this.#isSet(unit)) needsSets = false;
      if (needsSets && this.#beginsDecoding(unit)) {
        this.#append(this.#sets);
        needsSets = false;
      }
      this.#append(START);
      this.#append(unit);
    }
    return this.#memory.subarray(0, this.#length);
  }

  #isSet(unit: Uint8Array): boolean {
    return this.#isHevc ? unit[0]! >> 1 === 33 : (unit[0]! & 31) === 7;
  }

  /** IDR of H.264; IRAP of HEVC. */
  #beginsDecoding(unit: Uint8Array): boolean {
    const kind = this.#isHevc ? unit[0]! >> 1 : unit[0]! & 31;
    return this.#isHevc ? kind >= 16 && kind <= 23 : kind === 5;
  }

  #append(bytes: Uint8Array): void {
    const needed = this.#length + bytes.length;
    if (needed > this.#memory.length) {
      const larger = new Uint8Array(new ArrayBuffer(grownLength(needed)));
      larger.set(this.#memory.subarray(0, this.#length));
      this.#memory = larger;
    }
    this.#memory.set(bytes, this.#length);
    this.#length = needed;
  }
}
