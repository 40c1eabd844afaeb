import { expect, test } from "bun:test";
import { ArgumentError, ShapeError } from "../../src/core/errors.ts";
import {
  allocate,
  bytesPerElement,
  createTensor,
  DTYPES,
  fitsShape,
  formatShape,
  formatTensorInfo,
  isDynamic,
  packVectors,
  sameShape,
  tensorOf,
  unpackVectors,
  vectorVolume,
  viewOf,
  volume,
} from "../../src/core/tensor.ts";
import { formatBytes, formatDuration } from "../../src/core/units.ts";

test("allocate() gives zeroed arrays of the dtype's width over their own buffer", () => {
  for (const dtype of DTYPES) {
    const array = allocate(dtype, 3);
    expect(array.BYTES_PER_ELEMENT).toBe(bytesPerElement(dtype));
    expect(array.buffer.byteLength).toBe(3 * bytesPerElement(dtype));
    expect(Number(array[2])).toBe(0);
  }
});

test("viewOf() shares memory", () => {
  const buffer = new ArrayBuffer(16);
  viewOf("f32", buffer, 4, 2)[0] = 1.5;
  expect(viewOf("f32", buffer, 0, 4)[1]).toBe(1.5);
});

test("shapes: volume, dynamic dimensions, equality, printing", () => {
  expect(volume([])).toBe(1);
  expect(volume([2, 3, 0])).toBe(0);
  expect(() => volume([-1, 3])).toThrow("Cannot count the elements of [?, 3]: a dimension is dynamic");
  expect(isDynamic([1, -1])).toBe(true);
  expect(sameShape([1, 2], [1, 2])).toBe(true);
  expect(sameShape([1, 2], [1, 2, 1])).toBe(false);
  expect(fitsShape([4, 3, 320, 640], [-1, 3, -1, -1])).toBe(true);
  expect(fitsShape([4, 1, 320, 640], [-1, 3, -1, -1])).toBe(false);
  expect(formatShape([1, -1])).toBe("[1, ?]");
});

test("tensors check their number of elements", () => {
  expect(createTensor("f32", [2, 3]).data.length).toBe(6);
  expect(() => tensorOf("f32", [2, 3], new Float32Array(5))).toThrow(ShapeError);
  expect(formatTensorInfo({ name: "images", dtype: "f32", shape: [-1, 3, 640, 640] })).toBe(
    "images: f32 [?, 3, 640, 640]",
  );
});

test("sizes and times print with their unit", () => {
  expect(formatBytes(512)).toBe("512 B");
  expect(formatBytes(6.25 * 1024 * 1024)).toBe("6.25 MiB");
  expect(formatDuration(0.4512)).toBe("0.451 ms");
  expect(formatDuration(4200)).toBe("4.20 s");
  expect(formatDuration(192_000)).toBe("3 min 12 s");
  // Just below a unit it is the next one's.
  expect(formatDuration(999.4)).toBe("999 ms");
  expect(formatDuration(999.6)).toBe("1.00 s");
  expect(formatDuration(59_996)).toBe("1 min 0 s");
  expect(formatDuration(119_700)).toBe("2 min 0 s");
});

test("allocate() says how much memory there is not", () => {
  expect(() => allocate("f32", 2 ** 50)).toThrow(ArgumentError);
  expect(() => allocate("f32", 2 ** 50)).toThrow(
    "Cannot allocate memory: there is none for 4096.00 TiB in one piece\nHint: ",
  );
});

test("vectors of channels: where each element of TensorRT's formats lies, and back", () => {
  const shape = [2, 3, 2, 5];
  const tensor = tensorOf(
    "f16",
    shape,
    Float16Array.from({ length: 60 }, (_, at) => at + 1),
  );
  // As nvinfer1::TensorFormat describes them: kLINEAR, kCHW2, kHWC, kCHW4 and kHWC8.
  const places: Record<number, (n: number, c: number, h: number, w: number) => number> = {
    1: (n, c, h, w) => ((n * 3 + c) * 2 + h) * 5 + w,
    2: (n, c, h, w) => (((n * 2 + Math.floor(c / 2)) * 2 + h) * 5 + w) * 2 + (c % 2),
    3: (n, c, h, w) => ((n * 2 + h) * 5 + w) * 3 + c,
    4: (n, c, h, w) => ((n * 2 + h) * 5 + w) * 4 + c,
    8: (n, c, h, w) => ((n * 2 + h) * 5 + w) * 8 + c,
  };
  for (const [text, place] of Object.entries(places)) {
    const vector = Number(text);
    const packed = allocate("f16", vectorVolume(shape, vector)).fill(7);
    packVectors(packed, tensor, vector);
    const expected = allocate("f16", packed.length);
    for (const [at, value] of tensor.data.entries()) {
      const [w, h, c, n] = [at % 5, Math.floor(at / 5) % 2, Math.floor(at / 10) % 3, Math.floor(at / 30)];
      expected[place(n, c, h, w)] = value;
    }
    expect(packed).toEqual(expected);
    const back = createTensor("f16", shape);
    unpackVectors(back, packed, vector);
    expect(back).toEqual(tensor);
  }
  const rows = tensorOf("i64", [2, 3], BigInt64Array.of(1n, 2n, 3n, 4n, 5n, 6n));
  const same = allocate("i64", 6);
  packVectors(same, rows, 1);
  expect(same).toEqual(rows.data);
  expect(vectorVolume([1, 64, 20, 20], 16)).toBe(25_600);
  expect(() => vectorVolume([1, 84, 8400], 2)).toThrow("Cannot lay out [1, 84, 8400] in vectors");
});
