/** @module Address: what a video is opened by, as ffmpeg wants it spelt, and as it may be shown. Pure but for one look at the file. */

import { extname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { openablePath } from "../core/embedded.ts";
import { message, VideoError } from "../core/errors.ts";
import { passwordHint, redact } from "../core/log.ts";
import { missingFile, statsOf } from "../core/paths.ts";

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

/** Options before `-i`: those that the source needs, and what the caller gives. A format that is forced is allowed. */
export function inputWords({ words }: VideoAddress, inputArguments: readonly string[]): string[] {
  const list = inputArguments.includes("-f") ? words.indexOf("-format_whitelist") : -1;
  return [...(list < 0 ? words : words.toSpliced(list, 2)), ...inputArguments];
}

/** True for text that is an address rather than the path of a file. */
export function isNetworkAddress(text: string): boolean {
  return /^(https?|rtsps?|rtmps?|udp|tcp|srt|rtp|mms[ht]?|hls):\/\//i.test(text);
}

/** How a system's cameras are named, and opened by ffmpeg. */
interface CameraNames {
  /** The group is its name. */
  readonly pattern: RegExp;
  readonly format: string;
  /** What stands before its name behind `-i`. */
  readonly prefix: string;
  readonly hint: string;
}

const V4L2: CameraNames = {
  pattern: /^(\/dev\/video\d+)$/,
  format: "v4l2",
  prefix: "",
  hint: "ls /dev/video* shows them",
};

const CAMERAS: Readonly<Partial<Record<NodeJS.Platform, CameraNames>>> = {
  linux: V4L2,
  win32: {
    pattern: /^dshow:(.+)$/,
    format: "dshow",
    prefix: "video=",
    hint: 'name it as in "dshow:Integrated Camera"; ffmpeg -list_devices true -f dshow -i dummy shows them',
  },
  darwin: {
    pattern: /^avfoundation:(.+)$/,
    format: "avfoundation",
    prefix: "",
    hint: 'name it as in avfoundation:0; ffmpeg -f avfoundation -list_devices true -i "" shows them',
  },
};

/** What to do where a camera cannot be opened. */
export function cameraHint(): string {
  return (CAMERAS[process.platform] ?? V4L2).hint;
}

/** True for a camera of this system: of video4linux, DirectShow or AVFoundation. */
export function isCamera(text: string): boolean {
  return V4L2.pattern.test(text) || CAMERAS[process.platform]?.pattern.test(text) === true;
}

function checkFile(path: string): void {
  const stats = statsOf(path);
  const refusal = ({ found, hint }: ReturnType<typeof missingFile>): VideoError =>
    new VideoError(message(`open the video ${JSON.stringify(path)}`, found, hint), path);
  if (stats === undefined && isCamera(path)) {
    throw refusal({ found: "there is no such camera", hint: cameraHint() });
  }
  if (stats === undefined) throw refusal(missingFile(path));
  if (stats.isDirectory()) throw refusal({ found: "it is a folder", hint: "give the path of one video" });
  if (stats.isFile() && stats.size === 0) {
    throw refusal({ found: "it is empty (0 bytes)", hint: "copy or record it again" });
  }
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
    // Over UDP, which is ffmpeg's first choice, lost packets become grey images.
    const transport = /^rtsps?:/i.test(text) ? ["-rtsp_transport", "tcp"] : [];
    const words = [...allowedForAddress(text), ...transport];
    return { name, input: text, words, kind: "network" };
  }
  if (isCamera(text)) {
    const { pattern, format, prefix } = CAMERAS[process.platform] ?? V4L2;
    // Only those of Linux are files.
    if (V4L2.pattern.test(text)) checkFile(text);
    const input = `${prefix}${pattern.exec(text)?.[1] ?? text}`;
    return { name: text, input, words: ["-f", format], kind: "camera" };
  }
  const path = /^file:/i.test(text) ? fileURLToPath(text) : text;
  checkFile(path);
  // With the prefix a name with a colon in it is no protocol.
  return { name: path, input: `file:${resolve(openablePath(path))}`, words: allowedForFile(path), kind: "file" };
}

/** Formats that hold their images themselves, by ffmpeg's names. None names another file or address. */
const CONTAINERS: readonly string[] = [
  ...["mov", "matroska", "avi", "mpegts", "mpeg", "flv", "live_flv", "asf", "ogg", "mxf", "nut", "dv", "gxf", "wtv"],
  ...["rm", "nsv", "nuv", "ivf", "gif", "apng", "yuv4mpegpipe", "swf", "vivo", "roq", "bink", "smjpeg", "dhav"],
  ...["mjpeg", "mpjpeg", "mjpeg_2000", "h261", "h263", "h264", "hevc", "vvc", "evc", "m4v", "mpegvideo", "obu"],
  ...["av1", "cavsvideo", "avs2", "avs3", "dirac", "vc1", "vc1test", "dnxhd"],
  ...["jpeg_pipe", "png_pipe", "webp_pipe", "bmp_pipe", "tiff_pipe"],
  // Sound alone: to be told so.
  ...["aac", "ac3", "eac3", "mp3", "wav", "flac", "aiff", "caf", "w64"],
];

/** A format that names other files or addresses. */
interface Playlist {
  readonly format: string;
  /** Of the files that are named so on purpose. */
  readonly extensions: readonly string[];
  /** What a local one may open. */
  readonly protocols: readonly string[];
}

const PLAYLISTS: readonly Playlist[] = [
  { format: "hls", extensions: [".m3u8", ".m3u"], protocols: ["file", "crypto", "data"] },
  { format: "dash", extensions: [".mpd"], protocols: ["file", "crypto", "data"] },
  { format: "concat", extensions: [".ffconcat"], protocols: ["file"] },
  { format: "sdp", extensions: [".sdp"], protocols: ["file", "rtp", "srtp", "udp"] },
];

const HTTP: readonly string[] = ["http", "https", "httpproxy", "tcp", "tls"];
const RTMP: readonly string[] = ["rtmp", "rtmpe", "rtmps", "rtmpt", "rtmpte", "rtmpts", "ffrtmphttp", "ffrtmpcrypt"];

/** Protocols by the scheme of an address: its own, and those below it. */
function protocolsOf(scheme: string): readonly string[] {
  if (scheme.startsWith("http")) return HTTP;
  if (scheme.startsWith("rtsp")) return ["rtsp", "rtsps", "rtp", "srtp", "udp", "satip", ...HTTP];
  if (scheme.startsWith("rtmp")) return [...RTMP, ...HTTP];
  if (scheme.startsWith("mms")) return ["mmsh", "mmst", ...HTTP];
  if (scheme === "hls") return ["hls", "crypto", "data", ...HTTP];
  return scheme === "rtp" ? ["rtp", "srtp", "udp"] : [scheme];
}

/** Words before `-i`. */
function whitelist(formats: readonly string[], protocols: readonly string[]): string[] {
  return ["-format_whitelist", formats.join(","), "-protocol_whitelist", protocols.join(",")];
}

/** What a file may be: what holds its images itself, and a playlist where its name says so. */
function allowedForFile(path: string): string[] {
  const playlist = PLAYLISTS.find(({ extensions }) => extensions.includes(extname(path).toLowerCase()));
  if (playlist === undefined) return whitelist(CONTAINERS, ["file"]);
  return whitelist([playlist.format, "webvtt", ...CONTAINERS], playlist.protocols);
}

/** The same of an address; its scheme says by which protocols it is opened. */
function allowedForAddress(address: string): string[] {
  const [scheme = "", rest = ""] = address.toLowerCase().split("://", 2);
  const protocols = protocolsOf(scheme);
  if (scheme !== "hls" && !scheme.startsWith("http")) {
    return whitelist([...CONTAINERS, "rtsp", "rtp", "sap"], protocols);
  }
  // Such as /live.m3u8?token=1, /master?format=m3u8, /manifest(format=mpd-time-csf).
  const named = rest.slice(rest.indexOf("/"));
  const isHls = scheme === "hls" || /\bm3u8?\b/.test(named);
  const playlists = [...(isHls ? ["hls"] : []), ...(/\bmpd\b/.test(named) ? ["dash"] : [])];
  if (playlists.length === 0) return whitelist(CONTAINERS, protocols);
  return whitelist([...playlists, "webvtt", ...CONTAINERS], [...protocols, "crypto", "data"]);
}
