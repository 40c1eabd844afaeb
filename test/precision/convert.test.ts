import { beforeAll, expect, test } from "bun:test";
import {
  chmodSync,
  closeSync,
  existsSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { ModelError, OptionError } from "../../src/core/errors.ts";
import { setLogSink } from "../../src/core/log.ts";
import { tensorOf } from "../../src/core/tensor.ts";
import { externalDataPaths, OnnxModel } from "../../src/onnx/model.ts";
import { Session } from "../../src/onnxruntime/session.ts";
import { convert } from "../../src/precision/precision.ts";
import { fileFolder } from "../support/folder.ts";
import { onnxModel } from "../support/onnx-writer.ts";
import { tinyModel } from "../support/tensorrt.ts";

const inFolder = fileFolder("convert");
const path = (...names: string[]): string => inFolder(...names);

beforeAll(() => {
  writeFileSync(path("tiny.onnx"), tinyModel({ metadata: { names: "{0: 'a'}" } }));
});

async function failure(made: Promise<unknown>): Promise<Error> {
  return (await made.then(
    () => new Error("it was converted"),
    (error: unknown) => error,
  )) as Error;
}

test("convert() writes a model of FP16 beside the model, with its metadata, and says what each layer is", async () => {
  const conversion = await convert(path("tiny.onnx"), { precision: "fp16" });
  expect(conversion).toMatchObject({
    path: path("tiny.fp16.onnx"),
    precision: "fp16",
    casts: 2,
    layers: [
      { name: "Conv_0", op: "Conv", type: "fp16" },
      { name: "Relu_1", op: "Relu", type: "fp16" },
    ],
  });
  const bytes = readFileSync(conversion.path);
  expect(bytes.length).toBe(conversion.byteLength.after);
  const { metadata, graph } = OnnxModel.read(bytes);
  expect(Object.fromEntries(metadata)).toEqual({ names: "{0: 'a'}", bun_tensorrt_precision: "fp16" });
  expect([...graph.initializers.values()].map(({ elementType }) => elementType)).toEqual(["f16"]);
  const again = await failure(convert(conversion.path, { precision: "fp16" }));
  expect(again).toBeInstanceOf(ModelError);
  expect(again.message).toContain("it was converted to FP16 already\nHint: give the model it was made from");
});

test("convert() streams weights of other files into one of its own", async () => {
  const [rows, columns] = [300, 128];
  const weights = Float32Array.from({ length: rows * columns }, (_, at) => Math.sin(at));
  const before = new Uint8Array(64);
  writeFileSync(path("weights.bin"), Buffer.concat([before, new Uint8Array(weights.buffer)]));
  const data = { location: "weights.bin", offset: 64, length: weights.byteLength };
  const large = onnxModel({
    nodes: [{ op: "MatMul", inputs: ["x", "weights"], outputs: ["y"] }],
    inputs: [{ name: "x", dtype: "f32", shape: [1, rows] }],
    outputs: [{ name: "y", dtype: "f32", shape: [1, columns] }],
    initializers: [{ name: "weights", dtype: "f32", shape: [rows, columns], data }],
  });
  writeFileSync(path("large.onnx"), large);
  mkdirSync(path("elsewhere"));
  const seen: number[] = [];
  const output = path("elsewhere/half.onnx");
  const { byteLength } = await convert(path("large.onnx"), {
    precision: "fp16",
    output,
    onProgress: ({ done, total }) => seen.push(done / total),
  });
  expect(externalDataPaths(readFileSync(output), output)).toEqual([path("elsewhere/half.onnx.data")]);
  expect(readdirSync(path("elsewhere")).sort()).toEqual(["half.onnx", "half.onnx.data"]);
  expect(readFileSync(path("elsewhere/half.onnx.data")).length).toBe(weights.byteLength / 2);
  expect([byteLength.before > weights.byteLength, byteLength.after < weights.byteLength]).toEqual([true, true]);
  expect(seen.at(-1)).toBe(1);
  const x = tensorOf(
    "f32",
    [1, rows],
    Float32Array.from({ length: rows }, (_, at) => Math.cos(at)),
  );
  const results = await Promise.all(
    [path("large.onnx"), output].map(async (model) => {
      await using session = await Session.load(model);
      return (await session.run({ x })).get("y")!.data as Float32Array;
    }),
  );
  for (const [at, value] of results[1]!.entries()) expect(Math.abs(value - results[0]![at]!)).toBeLessThan(0.05);

  writeFileSync(path("weights.bin"), new Uint8Array(100));
  const short = await failure(convert(path("large.onnx"), { precision: "fp16", output: path("elsewhere/short.onnx") }));
  expect(short).toBeInstanceOf(ModelError);
  expect(readdirSync(path("elsewhere")).sort()).toEqual(["half.onnx", "half.onnx.data"]);
});

test("convert() refuses what cannot be done, and leaves nothing behind", async () => {
  const tiny = path("tiny.onnx");
  const before = readdirSync(inFolder());
  const missing = await failure(convert(tiny, { precision: "int8" }));
  expect(missing).toBeInstanceOf(OptionError);
  expect(missing.message).toBe(
    "INT8 needs `calibration`: images like those that the model will see\nHint: give a folder of 64 to 512 of them",
  );
  mkdirSync(path("empty"));
  const empty = await failure(convert(tiny, { precision: "fp16", calibration: path("empty") }));
  expect(empty.message).toContain("there is no image in");
  writeFileSync(path("empty/broken.jpg"), "no image");
  const broken: string[] = [];
  const unread = await failure(
    convert(tiny, { precision: "fp16", calibration: path("empty"), onError: (_, file) => broken.push(file) }),
  );
  expect([broken, unread.message.includes("the image cannot be read")]).toEqual([[path("empty/broken.jpg")], true]);
  expect((await failure(convert(tiny, { precision: "fp16", output: tiny }))).message).toContain("would overwrite");
  expect((await failure(convert(tinyModel(), { precision: "fp16" }))).message).toContain("`output` is missing");
  const within = await failure(convert(tiny, { precision: "fp16", output: path("tiny.onnx/half.onnx") }));
  expect(within.message).toContain("Cannot write");
  const half = await failure(convert(tinyModel({ dtype: "f16" }), { precision: "fp16", output: path("no.onnx") }));
  expect(half.message).toContain("its weights are FP16");
  const unknown = await failure(convert(tiny, { precision: "fp16", exclude: ["nothing"] }));
  expect(unknown).toBeInstanceOf(OptionError);
  expect(unknown.message).toContain('got "nothing"');
  const none = await failure(convert(new Uint8Array(9), { precision: "fp16", output: path("no.onnx") }));
  expect(none).toBeInstanceOf(ModelError);
  const wrong = await failure(convert(tiny, { precision: "int4" as "int8" }));
  expect(wrong.message).toContain("precision");
  const ended = AbortSignal.abort(new Error("enough"));
  expect((await failure(convert(tiny, { precision: "fp16", signal: ended, output: path("no.onnx") }))).message).toBe(
    "enough",
  );
  expect(existsSync(path("no.onnx"))).toBe(false);
  expect(readdirSync(inFolder()).sort()).toEqual([...before, "empty"].sort());
});

test("convert() refuses a model that is too old to be quantised before it reads an image", async () => {
  const data = Float32Array.from({ length: 32 * 32 * 9 }, (_, at) => Math.sin(at));
  const names = ["x", "a", "b", "c", "y"];
  const old = onnxModel({
    nodes: names.slice(1).map((output, at) => ({
      op: "Conv",
      inputs: [names[at]!, "weights"],
      outputs: [output],
      attributes: { pads: [1, 1, 1, 1], strides: at === 0 ? [8, 8] : [1, 1] },
    })),
    inputs: [{ name: "x", dtype: "f32", shape: [1, 32, 64, 64] }],
    outputs: [{ name: "y", dtype: "f32", shape: [1, 32, 8, 8] }],
    initializers: [{ name: "weights", dtype: "f32", shape: [32, 32, 3, 3], data }],
    opset: 9,
  });
  writeFileSync(path("old.onnx"), old);
  // The folder is not there: whoever looks into it says so.
  const error = await failure(convert(path("old.onnx"), { precision: "int8", calibration: path("nowhere") }));
  expect(error).toBeInstanceOf(ModelError);
  expect(error.message).toContain(
    "from opset 9 to 19: rules are known from opset 11 on\nHint: export it with opset 19",
  );
});

test.skipIf(process.getuid?.() === 0)("convert() says at once that a folder cannot be written", async () => {
  mkdirSync(path("fixed"));
  chmodSync(path("fixed"), 0o500);
  const error = await failure(convert(path("tiny.onnx"), { precision: "fp16", output: path("fixed/half.onnx") }));
  expect(error.message).toContain("Cannot write");
});

/** A product of `x` by weights, in the file or elsewhere. */
function product(weights: Float32Array<ArrayBuffer>, columns: number): Uint8Array {
  const rows = weights.length / columns;
  return onnxModel({
    nodes: [{ op: "MatMul", inputs: ["x", "weights"], outputs: ["y"] }],
    inputs: [{ name: "x", dtype: "f32", shape: [1, rows] }],
    outputs: [{ name: "y", dtype: "f32", shape: [1, columns] }],
    initializers: [{ name: "weights", dtype: "f32", shape: [rows, columns], data: weights }],
  });
}

test("convert() refuses weights that are no numbers, and says what it checks only with images", async () => {
  const lines: string[] = [];
  const former = setLogSink((level, text) => void lines.push(`${level} ${text}`));
  try {
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY]) {
      writeFileSync(path("bad.onnx"), product(Float32Array.of(1, value, 3, 4), 2));
      const refused = await failure(convert(path("bad.onnx"), { precision: "fp16" }));
      expect(refused).toBeInstanceOf(ModelError);
      expect(refused.message).toEndWith(`to FP16: its weights "weights" hold ${value}\nHint: export it again`);
    }
    expect(lines).toEqual([]);
    await convert(path("tiny.onnx"), { precision: "fp16", output: path("unchecked.onnx") });
  } finally {
    setLogSink(former);
  }
  const said = `info Converting "${path("tiny.onnx")}" without images: whether its tensors stay within FP16 was not checked`;
  expect(lines).toEqual([said]);
});

test("convert() refuses weights of other files that FP16 has not", async () => {
  for (const value of [Number.NaN, 70_000]) {
    writeFileSync(path("bad.bin"), new Uint8Array(Float32Array.of(1, 2, value, 4).buffer));
    const data = { location: "bad.bin", offset: 0, length: 16 };
    const model = onnxModel({
      nodes: [{ op: "MatMul", inputs: ["x", "weights"], outputs: ["y"] }],
      inputs: [{ name: "x", dtype: "f32", shape: [1, 2] }],
      outputs: [{ name: "y", dtype: "f32", shape: [1, 2] }],
      initializers: [{ name: "weights", dtype: "f32", shape: [2, 2], data }],
    });
    writeFileSync(path("outside.onnx"), model);
    const refused = await failure(convert(path("outside.onnx"), { precision: "fp16", output: path("never.onnx") }));
    expect(refused.message).toContain(`its weights "weights" hold ${value}, which FP16 has not\nHint: `);
    expect(readdirSync(inFolder()).filter((name) => name.startsWith("never"))).toEqual([]);
  }
});

// It writes 1.2 GB and takes half a minute: BUN_TENSORRT_LARGE=1 runs it.
test.skipIf(process.env.BUN_TENSORRT_LARGE === undefined)(
  "convert() streams weights of 2.2 GB",
  async () => {
    const [rows, columns] = [16_384, 33_600];
    const length = rows * columns * 4;
    // A file with a hole: zeros but for what is written here, beyond 2 GB too.
    const at = [0, 1, rows * columns - 1];
    const file = openSync(path("huge.bin"), "w");
    ftruncateSync(file, length);
    for (const one of at)
      writeSync(file, new Uint8Array(Float32Array.of(one === 0 ? 0.5 : -3.25).buffer), 0, 4, one * 4);
    closeSync(file);
    const data = { location: "huge.bin", offset: 0, length };
    const huge = onnxModel({
      nodes: [{ op: "MatMul", inputs: ["x", "weights"], outputs: ["y"] }],
      inputs: [{ name: "x", dtype: "f32", shape: [1, rows] }],
      outputs: [{ name: "y", dtype: "f32", shape: [1, columns] }],
      initializers: [{ name: "weights", dtype: "f32", shape: [rows, columns], data }],
    });
    writeFileSync(path("huge.onnx"), huge);
    const { byteLength } = await convert(path("huge.onnx"), { precision: "fp16", output: path("huge16.onnx") });
    expect(byteLength.before).toBeGreaterThan(2.2e9);
    const halves = openSync(path("huge16.onnx.data"), "r");
    const read = at.map((one) => {
      const half = new Float16Array(1);
      readSync(halves, new Uint8Array(half.buffer), 0, 2, one * 2);
      return half[0];
    });
    closeSync(halves);
    expect([Bun.file(path("huge16.onnx.data")).size, read]).toEqual([length / 2, [0.5, -3.25, -3.25]]);
  },
  300_000,
);
