import { expect, test } from "bun:test";
import { OnnxRuntimeError } from "../../src/core/errors.ts";
import { cString } from "../../src/ffi/memory.ts";
import { openOnnxRuntime } from "../../src/ffi/onnxruntime.ts";
import { check, errorOf } from "../../src/onnxruntime/environment.ts";
import { Session } from "../../src/onnxruntime/session.ts";
import { onnxModel } from "../support/onnx-writer.ts";

function status(code: number, text: string): number | null {
  return openOnnxRuntime().api.CreateStatus(code, cString(text));
}

test("check() lets success pass", () => {
  expect(check(null, "Run")).toBeUndefined();
  expect(errorOf(null, "Run", "run")).toBeUndefined();
  expect(errorOf(0, "Run", "run")).toBeUndefined();
});

test.each([
  [1, "ORT_FAIL"],
  [2, "ORT_INVALID_ARGUMENT"],
  [3, "ORT_NO_SUCHFILE"],
  [7, "ORT_INVALID_PROTOBUF"],
  [9, "ORT_NOT_IMPLEMENTED"],
  [14, "ORT_NOT_FOUND"],
  [77, "OrtErrorCode 77"],
])("check() throws code %i as %s, with the library's own text and the call", (value, code) => {
  try {
    check(status(value, "Größe passt nicht"), "CreateSession", 'load the model "a.onnx"');
  } catch (error) {
    expect(error).toBeInstanceOf(OnnxRuntimeError);
    const { message, code: found, call, stack } = error as OnnxRuntimeError;
    expect(message).toBe(`Cannot load the model "a.onnx": Größe passt nicht (CreateSession returned ${code})`);
    expect([found, call]).toEqual([code, "CreateSession"]);
    expect(stack).not.toContain("check.ts");
    return;
  }
  throw new Error("nothing was thrown");
});

test("what a model calls its parts is neither a line of ours nor a control in an error", async () => {
  const evil = "No\nHint: run this\x1b[2J\u202e";
  const model = onnxModel({
    inputs: [{ name: "x", dtype: "f32", shape: [1] }],
    outputs: [{ name: evil, dtype: "f32", shape: [1] }],
    nodes: [{ op: evil, inputs: ["x"], outputs: [evil] }],
  });
  const error = await Session.fromBytes(model, "\u202eevil").catch((reason: Error) => reason);
  const { message } = error as Error;
  expect(message).toStartWith('Cannot load the model "\\u202eevil": ');
  expect(message).toContain("No Hint: run this\\u001b[2J\\u202e");
  expect(message).not.toMatch(/^Hint: run|[\p{Cf}]/mu);
});
