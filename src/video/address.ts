/** @module Address: what a video is opened by, as ffmpeg wants it spelt, and as it may be shown. Pure but for one look at the file. */

import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { message, VideoError } from "../core/errors.ts";
import { passwordHint, redact } from "../core/shown.ts";
import { missingFile, statsOf } from "../core/stats-of.ts";
import { allowedForAddress, allowedForFile } from "./allowed-input.ts";

/** Where a video comes from. */
export interface VideoAddress {
  /** What was given, without a password. */
  readonly name: string;
  /** What stands after `-i`. */
  readonly input: string;
  /** Input options that such a source needs. */
  readonly words: readonly string[];
  readonly kind: "file" | "network" | "camera";
}

const CAMERA = /^\/dev\/video\d+$/;

/** Options before `-i`: those that the source needs, and what the caller gives. A format that is forced is allowed. */
export function inputWords({ words }: VideoAddress, inputArguments: readonly string[]): string[] {
  const forced = inputArguments.includes("-f") ? words.indexOf("-format_whitelist") : -1;
  return [...(forced < 0 ? words : words.toSpliced(forced, 2)), ...inputArguments];
}

/** True for text that is an address rather than the path of a file. */
export function isNetworkAddress(text: string): boolean {
  return /^(https?|rtsps?|rtmps?|udp|tcp|srt|rtp|mms[ht]?|hls):\/\//i.test(text);
}

/** True for a device of video4linux. */
export function isCamera(text: string): boolean {
  return CAMERA.test(text);
}

function checkFile(path: string): void {
  const stats = statsOf(path);
  const refusal = (found: string, hint: string): VideoError =>
    new VideoError(message(`open the video ${JSON.stringify(path)}`, found, hint), path);
  if (stats === undefined && isCamera(path)) throw refusal("there is no such camera", "ls /dev/video* shows them");
  if (stats === undefined) {
    const { found, hint } = missingFile(path);
    throw refusal(found, hint);
  }
  if (stats.isDirectory()) throw refusal("it is a folder", "give the path of one video");
  if (stats.isFile() && stats.size === 0) throw refusal("it is empty: 0 bytes", "copy or record it again");
}

/**
 * Sort out a path, `file:` URL, network address or camera.
 *
 * @throws {VideoError} If it is the path of a file that is not there, or is empty, or an address that is none because of its password
 */
export function videoAddress(source: string | URL): VideoAddress {
  const text = source instanceof URL ? source.href : source;
  if (isNetworkAddress(text)) {
    const hint = passwordHint(text);
    const name = redact(text);
    if (hint !== undefined) {
      throw new VideoError(message(`open the video ${JSON.stringify(name)}`, "it is no valid URL", hint), name);
    }
    // Over UDP, which is ffmpeg's first choice, lost packets become grey pictures.
    const transport = /^rtsps?:/i.test(text) ? ["-rtsp_transport", "tcp"] : [];
    const words = [...allowedForAddress(text), ...transport];
    return { name, input: text, words, kind: "network" };
  }
  if (isCamera(text)) {
    checkFile(text);
    return { name: text, input: text, words: ["-f", "v4l2"], kind: "camera" };
  }
  const path = /^file:/i.test(text) ? fileURLToPath(text) : text;
  checkFile(path);
  // With the prefix a name with a colon in it is no protocol.
  return { name: path, input: `file:${resolve(path)}`, words: allowedForFile(path), kind: "file" };
}
