/** @module ONNX Runtime self-test: the version, a status and a tensor there and back, before anything relies on them. */

import { readCString } from "./cstring.ts";
import { type BoundTable, bindTable } from "./function-table.ts";
import { ORT_API, ORT_API_BASE, ORT_API_VERSION } from "./onnxruntime-symbols.ts";
import { addressOf } from "./pointer.ts";
import { OutCells } from "./scratch.ts";
import { selfTest } from "./self-test.ts";

const ORT_INVALID_ARGUMENT = 2;
const FLOAT = 1;
const DEVICE_ALLOCATOR = 0;
const DEFAULT_MEMORY = 0;

type Api = BoundTable<typeof ORT_API>;

/** A status made from a code and a text gives both back. */
function echoStatus(api: Api): string {
  const text = new TextEncoder().encode("bun-tensorrt self-test\0");
  const status = api.CreateStatus(ORT_INVALID_ARGUMENT, text);
  const found = `${api.GetErrorCode(status)} ${readCString(api.GetErrorMessage(status))}`;
  api.ReleaseStatus(status);
  return found;
}

/**
 * A tensor over memory of ours, seven arguments with sizes and enums among the pointers, gives back what was put in.
 *
 * @param byteLength of the data that is claimed to be there
 */
function echoTensor(api: Api, byteLength: number): string {
  const out = new OutCells(4);
  const data = new Float32Array(new ArrayBuffer(24));
  const shape = new BigInt64Array([2n, 3n]);
  const failed = (status: number | null): string => {
    const found = `code ${api.GetErrorCode(status)}`;
    api.ReleaseStatus(status);
    return found;
  };
  let status = api.CreateCpuMemoryInfo(DEVICE_ALLOCATOR, DEFAULT_MEMORY, out.cells);
  if (status !== null) return failed(status);
  const memory = out.pointer();
  status = api.CreateTensorWithDataAsOrtValue(memory, data, byteLength, shape, 2, FLOAT, out.cells);
  api.ReleaseMemoryInfo(memory);
  if (status !== null) return failed(status);
  const value = out.pointer();
  status = api.GetTensorMutableData(value, out.cells);
  if (status !== null) return failed(status);
  const isSame = out.pointer() === addressOf(data);
  status = api.GetTensorTypeAndShape(value, out.cells);
  if (status !== null) return failed(status);
  const info = out.pointer();
  out.clear();
  status = api.GetTensorElementType(info, out.cells);
  if (status !== null) return failed(status);
  const type = out.i32();
  status = api.GetDimensions(info, out.cells, 2);
  if (status !== null) return failed(status);
  const found = `type ${type} [${out.pointer(0)}, ${out.pointer(1)}] ${isSame ? "in place" : "elsewhere"}`;
  api.ReleaseTensorTypeAndShapeInfo(info);
  api.ReleaseValue(value);
  return found;
}

/**
 * Prove an ONNX Runtime that was just opened; takes microseconds.
 *
 * @param base address of its OrtApiBase, `null` for NULL
 * @returns what is wrong, one clause; `undefined` if nothing is
 */
export function testOnnxRuntime(base: number | null): string | undefined {
  if (base === null) return "OrtGetApiBase returned NULL";
  const { GetApi, GetVersionString } = bindTable(base, ORT_API_BASE);
  const version = readCString(GetVersionString());
  const [, major, minor] = /^(\d+)\.(\d+)\.\d+/.exec(version) ?? [];
  if (major === undefined) return `its version has an unknown form: ${JSON.stringify(version)}`;
  if (major !== "1" || Number(minor) < ORT_API_VERSION) {
    return `it must be version 1.${ORT_API_VERSION} or newer, below 2: ${version}`;
  }
  const address = GetApi(ORT_API_VERSION);
  if (address === null) return `version ${version} has no API ${ORT_API_VERSION}`;
  const api = bindTable(address, ORT_API);
  return selfTest([
    {
      what: "CreateStatus, GetErrorCode and GetErrorMessage echo a code and a text",
      expected: `${ORT_INVALID_ARGUMENT} bun-tensorrt self-test`,
      run: () => echoStatus(api),
    },
    {
      what: "CreateTensorWithDataAsOrtValue makes a tensor over memory of ours",
      expected: "type 1 [2, 3] in place",
      run: () => echoTensor(api, 24),
    },
    {
      what: "CreateTensorWithDataAsOrtValue refuses memory that is too short",
      expected: /^code [1-9]/,
      run: () => echoTensor(api, 20),
    },
  ]);
}
