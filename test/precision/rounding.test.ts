import { expect, test } from "bun:test";
import { Session } from "../../src/onnxruntime/session.ts";
import { fp8Code, fp8Value, largestOf, quantiseAlong, scaleOf } from "../../src/precision/rounding.ts";
import { onnxModel } from "../support/onnx-writer.ts";

test("fp8Code() and fp8Value() are each other's inverse, and numbers between two codes go to the nearest, halves to the even one", () => {
  const codes = Array.from({ length: 256 }, (_, code) => code).filter((code) => (code & 0x7f) !== 0x7f);
  for (const code of codes) expect(fp8Code(fp8Value(code))).toBe(code);
  for (let code = 0; code < 0x7e; code++) {
    const [low, high] = [fp8Value(code), fp8Value(code + 1)];
    const middle = (low + high) / 2;
    const even = code % 2 === 0 ? code : code + 1;
    expect([fp8Code(middle), fp8Code(-middle)]).toEqual([even, even | 0x80]);
    expect(fp8Code(Math.fround(low + (high - low) * 0.49))).toBe(code);
    expect(fp8Code(Math.fround(low + (high - low) * 0.51))).toBe(code + 1);
  }
  expect([449, 1e30, Number.POSITIVE_INFINITY, -1e30].map(fp8Code)).toEqual([0x7e, 0x7e, 0x7e, 0xfe]);
  expect(fp8Value(fp8Code(Number.NaN))).toBeNaN();
});

test("scaleOf() is the largest magnitude over that of the type; for FP16 the next number that it has, upwards", () => {
  expect(scaleOf(127, 127, false)).toBe(1);
  expect(scaleOf(1, 127, false)).toBe(Math.fround(1 / 127));
  expect([scaleOf(0, 127, false), scaleOf(0, 127, true)]).toEqual([1, 1]);
  for (const largest of [0.008, 1, 3.7, 100, 9000]) {
    const scale = scaleOf(largest, 127, true);
    expect(Math.f16round(scale)).toBe(scale);
    expect(scale).toBeGreaterThanOrEqual(Math.fround(largest / 127));
    expect(scale - largest / 127).toBeLessThanOrEqual((largest / 127) * 2 ** -10);
  }
  // Of a channel of next to no weights, as yolo11n-seg has one: no subnormal number, whose reciprocal FP16 has not.
  for (const largest of [1e-12, 1e-6, 0.004]) expect(scaleOf(largest, 127, true)).toBe(2 ** -14);
});

/** Numbers of all sizes, some halfway between two codes. */
function numbers(count: number): Float32Array<ArrayBuffer> {
  let chance = 7;
  return Float32Array.from({ length: count }, (_, at) => {
    chance = (Math.imul(chance, 1_664_525) + 1_013_904_223) >>> 0;
    const unit = chance / 2 ** 31 - 1;
    return at % 5 === 0 ? Math.round(unit * 200) / 16 : unit * 10 ** ((at % 7) - 3);
  });
}

test("quantiseAlong() rounds as ONNX Runtime's QuantizeLinear does, to the bit, along every axis", async () => {
  const shape = [6, 10, 4];
  const elements = numbers(240);
  for (const axis of [undefined, 0, 1, 2]) {
    const scales = Float32Array.from(largestOf(elements, shape, axis), (one) => scaleOf(one, 127, false));
    expect(scales.length).toBe(axis === undefined ? 1 : shape[axis]!);
    const model = onnxModel({
      inputs: [{ name: "x", dtype: "f32", shape }],
      outputs: [{ name: "y", dtype: "i8", shape }],
      initializers: [
        { name: "scale", dtype: "f32", shape: axis === undefined ? [] : [scales.length], data: scales },
        {
          name: "zero",
          dtype: "i8",
          shape: axis === undefined ? [] : [scales.length],
          data: new Int8Array(scales.length),
        },
      ],
      nodes: [
        { op: "QuantizeLinear", inputs: ["x", "scale", "zero"], outputs: ["y"], attributes: { axis: axis ?? 0 } },
      ],
    });
    await using session = await Session.fromBytes(model, "a quantiser");
    const { data } = (await session.run({ x: { dtype: "f32", shape, data: elements } })).get("y")!;
    expect([...quantiseAlong(elements, shape, axis, scales, "int8")]).toEqual([...(data as Int8Array)]);
  }
});

test("largestOf() keeps a NaN, wherever it is", () => {
  const elements = Float32Array.of(1, Number.NaN, -3, 2);
  expect([...largestOf(elements, [2, 2], 0)]).toEqual([Number.NaN, 3]);
  expect([...largestOf(elements, [2, 2], 1)]).toEqual([3, Number.NaN]);
});
