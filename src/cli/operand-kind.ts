/** @module OperandKind: what the operands of `detect` are: pictures, videos or standard input. */

import { closeSync, openSync, readSync } from "node:fs";
import { extname } from "node:path";
import { statsOf } from "../core/stats-of.ts";
import { isCamera, isNetworkAddress } from "../video/address.ts";
import { isPictureName } from "./pictures.ts";

/** Extensions of files that are taken for videos. */
const VIDEO_EXTENSIONS: readonly string[] = [
  ...[".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".flv", ".wmv"],
  ...[".3gp", ".ogv", ".vob", ".y4m", ".mjpg", ".mjpeg", ".h264", ".264", ".h265", ".265", ".hevc", ".m3u8", ".mpd"],
];

/** What an operand stands for. */
export type OperandKind = "pictures" | "video" | "stdin";

/** Every packet of an MPEG transport stream begins with it; no program in TypeScript does. */
const SYNC_BYTE = 0x47;

function isTransportStream(path: string): boolean {
  if (!statsOf(path)?.isFile()) return false;
  const descriptor = openSync(path, "r");
  const first = new Uint8Array(1);
  try {
    return readSync(descriptor, first) === 1 && first[0] === SYNC_BYTE;
  } finally {
    closeSync(descriptor);
  }
}

/** By its form and its extension; what ends in `.ts` by its first byte as well. An http address without an extension is a picture: `--video` says otherwise. */
export function operandKind(operand: string): OperandKind {
  if (operand === "-") return "stdin";
  if (isCamera(operand)) return "video";
  const isAddress = isNetworkAddress(operand);
  const isHttp = /^https?:/i.test(operand);
  if (isAddress && !isHttp) return "video";
  const name = isHttp && URL.canParse(operand) ? new URL(operand).pathname : operand;
  if (isPictureName(name)) return "pictures";
  const extension = extname(name).toLowerCase();
  if (extension === ".ts" && !isHttp && !isTransportStream(operand)) return "pictures";
  return VIDEO_EXTENSIONS.includes(extension) ? "video" : "pictures";
}
