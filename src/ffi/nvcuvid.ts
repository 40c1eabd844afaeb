/** @module Nvcuvid: libnvcuvid, which comes with NVIDIA's driver and decodes video, found and opened with the first call to it. */

import { cudaRuntime } from "./cuda-runtime.ts";
import { DRIVER_FOLDERS, type LibrarySpec } from "./discovery.ts";
import { openLibrary } from "./library.ts";
import { OutCells } from "./memory.ts";

/** Where libnvcuvid may lie: where libcuda does. */
export const NVCUVID_SPEC: LibrarySpec = {
  name: "libnvcuvid",
  variable: "BUN_TENSORRT_NVCUVID",
  files: process.platform === "win32" ? ["nvcuvid.dll"] : ["libnvcuvid.so.1"],
  folders: [...DRIVER_FOLDERS, "", "/usr/local/nvidia/lib64"],
  hint: "NVIDIA's driver brings it; inside a container, set NVIDIA_DRIVER_CAPABILITIES=compute,utility,video",
};

/** libnvcuvid, from driver 525 on. In the order in which the shim takes them. */
const NVCUVID_SYMBOLS = {
  cuvidGetDecoderCaps: { args: ["ptr"], returns: "i32" }, // pdc
  cuvidCreateDecoder: { args: ["ptr", "ptr"], returns: "i32" }, // phDecoder, pdci
  cuvidDestroyDecoder: { args: ["ptr"], returns: "i32" }, // hDecoder
  cuvidDecodePicture: { args: ["ptr", "ptr"], returns: "i32" }, // hDecoder, pPicParams
  cuvidGetDecodeStatus: { args: ["ptr", "i32", "ptr"], returns: "i32" }, // hDecoder, nPicIdx, pDecodeStatus
  cuvidReconfigureDecoder: { args: ["ptr", "ptr"], returns: "i32" }, // hDecoder, pDecReconfigParams
  // hDecoder, nPicIdx, pDevPtr, pPitch, pVPP
  cuvidMapVideoFrame64: { args: ["ptr", "i32", "ptr", "ptr", "ptr"], returns: "i32" },
  cuvidUnmapVideoFrame64: { args: ["ptr", "u64"], returns: "i32" }, // hDecoder, DevPtr
  cuvidCtxLockCreate: { args: ["ptr", "ptr"], returns: "i32" }, // pLock, ctx
  cuvidCtxLockDestroy: { args: ["ptr"], returns: "i32" }, // lck
  cuvidCreateVideoParser: { args: ["ptr", "ptr"], returns: "i32" }, // pObj, pParams
  cuvidParseVideoData: { args: ["ptr", "ptr"], returns: "i32" }, // obj, pPacket
  cuvidDestroyVideoParser: { args: ["ptr"], returns: "i32" }, // obj
} as const;

/** Functions that the shim calls to decode, by their places; the last two are libcudart's. */
export const VIDEO_CALLS: readonly string[] = [
  ...Object.keys(NVCUVID_SYMBOLS),
  "cudaStreamSynchronize",
  "cudaEventSynchronize",
];

/** libnvcuvid, opened. */
interface NvcuvidLibrary {
  readonly path: string;
  /** Addresses of the {@linkcode VIDEO_CALLS}, as the shim takes them. */
  readonly functions: OutCells;
}

let known: NvcuvidLibrary | undefined;

function open(): NvcuvidLibrary {
  const { path, symbols } = openLibrary(NVCUVID_SPEC, NVCUVID_SYMBOLS);
  const { cudaStreamSynchronize, cudaEventSynchronize } = cudaRuntime();
  const calls = [...Object.values(symbols), cudaStreamSynchronize, cudaEventSynchronize];
  const functions = new OutCells(calls.length);
  for (const [at, call] of calls.entries()) functions.setPointer(at, call.ptr);
  return { path, functions };
}

/**
 * libnvcuvid. The first call opens it; no device is touched.
 *
 * @throws {LibraryLoadError} If it is nowhere, as in a container that was not given the video part of the driver
 */
export function nvcuvidLibrary(): NvcuvidLibrary {
  known ??= open();
  return known;
}
