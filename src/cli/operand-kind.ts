/** @module OperandKind: what the operands of `detect` are: pictures, videos or standard input. Pure. */

import { extname } from "node:path";
import { isCamera, isNetworkAddress } from "../video/address.ts";
import { isPictureName } from "./pictures.ts";

/** Extensions of files that are taken for videos. */
const VIDEO_EXTENSIONS: readonly string[] = [
  ...[".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".flv", ".wmv"],
  ...[".3gp", ".ogv", ".vob", ".y4m", ".mjpg", ".mjpeg", ".h264", ".264", ".h265", ".265", ".hevc", ".m3u8", ".mpd"],
];

/** What an operand stands for. */
export type OperandKind = "pictures" | "video" | "stdin";

/** By its form and its extension alone. An http address without an extension is a picture: `--video` says otherwise. */
export function operandKind(operand: string): OperandKind {
  if (operand === "-") return "stdin";
  if (isCamera(operand)) return "video";
  const isAddress = isNetworkAddress(operand);
  const isHttp = /^https?:/i.test(operand);
  if (isAddress && !isHttp) return "video";
  const name = isHttp && URL.canParse(operand) ? new URL(operand).pathname : operand;
  if (isPictureName(name)) return "pictures";
  return VIDEO_EXTENSIONS.includes(extname(name).toLowerCase()) ? "video" : "pictures";
}
