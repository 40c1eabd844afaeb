import { afterAll, beforeAll, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ModelError, OptionError } from "../../src/core/errors.ts";
import { tensorOf } from "../../src/core/tensor.ts";
import { externalDataPaths } from "../../src/onnx/declared.ts";
import { OnnxModel } from "../../src/onnx/model.ts";
import { Session } from "../../src/onnxruntime/session.ts";
import { convert } from "../../src/precision/convert.ts";
import { onnxModel } from "../support/onnx-writer.ts";
import { tinyModel } from "../support/tensorrt.ts";

let folder = "";
const path = (...names: string[]): string => join(folder, ...names);

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "convert-"));
  writeFileSync(path("tiny.onnx"), tinyModel({ metadata: { names: "{0: 'a'}" } }));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

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
  const before = readdirSync(folder);
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
  expect(readdirSync(folder).sort()).toEqual([...before, "empty"].sort());
});

test.skipIf(process.getuid?.() === 0)("convert() says at once that a folder cannot be written", async () => {
  mkdirSync(path("fixed"));
  chmodSync(path("fixed"), 0o500);
  const error = await failure(convert(path("tiny.onnx"), { precision: "fp16", output: path("fixed/half.onnx") }));
  expect(error.message).toContain("Cannot write");
});
