/** @module Small files that cost a lot to decode: what a stranger may send. */

function marker(code: number, ...body: readonly number[]): Buffer {
  const length = body.length + 2;
  return Buffer.from([0xff, code, length >> 8, length & 255, ...body]);
}

/** SVG that is blurred with a radius as large as itself, which librsvg works on for ever. */
export function blurredSvg(head = ""): Buffer {
  const blur = '<filter id="b"><feGaussianBlur stdDeviation="4000"/></filter>';
  const rect = '<rect width="100%" height="100%" filter="url(#b)"/>';
  return Buffer.from(`${head}<svg xmlns="http://www.w3.org/2000/svg" width="8000" height="8000">${blur}${rect}</svg>`);
}

/** A progressive JPEG of grey pixels whose scans are a few bytes each: no block has a coefficient. */
export function manyScans(side: number, scans: number): Buffer {
  const size = [side >> 8, side & 255, side >> 8, side & 255];
  const table = Array.from({ length: 65 }, (_, at) => (at === 0 ? 0 : 1));
  // One code, a single 0: 2^14 blocks without coefficients, and as many as the next 14 bits say.
  const codes = [0x10, 1, ...Array.from({ length: 15 }, () => 0), 0xe0];
  const scanHeader = marker(0xda, 1, 1, 0, 1, 63, 0);
  const runs = Math.ceil((side / 8) ** 2 / 32_767);
  let bits = "";
  for (let run = 0; run < runs; run++) bits += `0${"1".repeat(14)}`;
  const data: number[] = [];
  for (let at = 0; at < bits.length; at += 8) {
    const byte = Number.parseInt(bits.slice(at, at + 8).padEnd(8, "1"), 2);
    data.push(byte);
    if (byte === 0xff) data.push(0);
  }
  const scan = Buffer.concat([scanHeader, Buffer.from(data)]);
  return Buffer.concat([
    Buffer.from([0xff, 0xd8]),
    marker(0xdb, ...table),
    marker(0xc2, 8, ...size, 1, 1, 0x11, 0),
    marker(0xc4, ...codes),
    ...Array.from({ length: scans }, () => scan),
    Buffer.from([0xff, 0xd9]),
  ]);
}

/** A whole lossless WebP of 34 bytes in one colour, of up to 16383x16383 pixels. */
export function flatWebp(width: number, height: number): Buffer {
  const file = Buffer.alloc(34);
  file.write("RIFF\x1a\0\0\0WEBPVP8L\x0d\0\0\0\x2f", 0, "latin1");
  file.writeUInt32LE(((height - 1) * 2 ** 14 + (width - 1)) >>> 0, 21);
  // No transform and no cache; five codes of one symbol each, which takes no bits.
  file.set([0x88, 0x88, 0x08], 25);
  return file;
}

/** A TIFF whose tags are these, of type LONG and one value each; nothing follows them. */
export function bareTiff(tags: readonly (readonly [tag: number, value: number])[]): Buffer {
  const file = Buffer.alloc(8 + 2 + tags.length * 12 + 4);
  file.write("II*\0\x08\0\0\0", 0, "latin1");
  file.writeUInt16LE(tags.length, 8);
  for (const [index, [tag, value]] of tags.entries()) {
    const at = 10 + index * 12;
    file.writeUInt16LE(tag, at);
    file.writeUInt16LE(4, at + 2);
    file.writeUInt32LE(1, at + 4);
    file.writeUInt32LE(value, at + 8);
  }
  return file;
}

/** A TIFF of 4x4 grey pixels, and further directories of 18 bytes each. */
export function pagedTiff(pages: number): Buffer {
  const strip = [
    [273, 8],
    [277, 1],
    [278, 4],
    [279, 16],
  ] as const;
  const first = bareTiff([[256, 4], [257, 4], ...GREY_TAGS, ...strip]);
  const file = Buffer.concat([first, Buffer.alloc((pages - 1) * 18)]);
  for (let page = 1, at = first.length; page < pages; page++, at += 18) {
    file.writeUInt32LE(at, at - 4);
    file.writeUInt16LE(1, at);
    file.writeUInt32LE(256 + 3 * 2 ** 16, at + 2);
    file.writeUInt32LE(1, at + 6);
    file.writeUInt32LE(1, at + 10);
  }
  return file;
}

const GREY_TAGS = [
  [258, 8],
  [259, 1],
  [262, 1],
] as const;

/** A TIFF of one grey strip. */
export function stripTiff(width: number, height: number): Buffer {
  const strip = [
    [273, 8],
    [277, 1],
    [278, height],
    [279, width * height],
  ] as const;
  return bareTiff([[256, width], [257, height], ...GREY_TAGS, ...strip]);
}

/** A TIFF of few pixels in one large tile. */
export function tiledTiff(side: number): Buffer {
  const tile = [
    [277, 1],
    [322, side],
    [323, side],
    [324, 8],
    [325, side],
  ] as const;
  return bareTiff([[256, 16], [257, 16], ...GREY_TAGS, ...tile]);
}
