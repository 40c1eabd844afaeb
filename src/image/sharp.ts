/** @module sharp decode: any image file to RGB pixels through sharp, upright, first frame only. */

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { addonError, installedFile, loadAddon, nativePart, nativeParts } from "../core/embedded.ts";
import { LibraryLoadError } from "../core/errors.ts";
import { logger, type RepeatedLine } from "../core/log.ts";
import { cacheFolder } from "../core/paths.ts";
import { writeWhole } from "../core/whole-file.ts";
import { setNativeDefault } from "../ffi/libc.ts";
import { preload } from "../ffi/library.ts";
import { preloadByName } from "../ffi/shim.ts";
import {
  assertJpegScans,
  assertLongEnough,
  assertTiffBlocks,
  type ImageKind,
  imageError,
  imageKind,
  tooLargeError,
  undecodableError,
} from "./decode-limits.ts";
import { firstTiffPage } from "./exif.ts";
import { type Image, imageOf, type PackedImage } from "./image.ts";
import { DAMAGED_DATA, rescuedJpeg } from "./jpeg-decoder.ts";
import { isDataDamaged, isGifDamaged, type JpegMarkers, readJpegMarkers } from "./jpeg-markers.ts";

/** The reason in sharp's message: its first line without what sharp puts in front. */
function reasonOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  const line = text.split("\n")[0] ?? "";
  return line.replace(/^Input (buffer|Bit Array) (has corrupt header: |)/, "").trim();
}

/**
 * Types of samples whose black and white are known. Others are measurements (float, signed or 32-bit TIFF): libvips would
 * cut them to 0–255, which leaves most of them black.
 */
const DEPTHS: readonly (string | undefined)[] = ["uchar", "ushort"];

/** What libvips calls the loaders of the kinds that are decoded, by our name. */
const FORMATS: Readonly<Record<string, string>> = {
  JPEG: "jpeg",
  PNG: "png",
  WebP: "webp",
  GIF: "gif",
  AVIF: "heif",
  TIFF: "tiff",
  SVG: "svg",
};

/** What libjpeg says of data that is not that of its pixels; other texts are about files it cannot decode at all. */
const DATA_WARNING = /corrupt jpeg data|premature end/i;

/** How an image is decoded. */
interface SharpDecodeOptions {
  /** Refused before any pixel is allocated. */
  readonly maxPixels: number;
  /** `keep`: a file with an alpha channel gives RGBA. */
  readonly alpha: "drop" | "keep";
  /** `keep`: a grey file of 16 bits gives GREY16, one with alpha that is kept RGBA16. */
  readonly depth: "drop" | "keep";
  /** `take`: what is left of a damaged JPEG or GIF comes, marked. */
  readonly damaged: "refuse" | "take";
  /** Whether SVG is rendered. */
  readonly vectors: boolean;
  /** When libvips is to stop, where it looks at the clock. */
  readonly timeoutMs: number;
  /** Told of what is wrong with an image that is whole nevertheless. */
  readonly warnings: RepeatedLine;
}

/** An image, and what is wrong with it. */
interface SharpImage extends Image {
  /** Why some of its pixels are not those of the file; `undefined` where all are. */
  readonly damage?: string;
}

/** How strict libvips is: `warning` stops at any of libjpeg's warnings, `error` only at what libvips calls an error. */
type Strictness = "warning" | "error" | "none";

async function pixels(
  sharp: Sharp,
  bytes: Uint8Array,
  strictness: Strictness,
  hasAlpha: boolean,
  timeoutMs: number,
): Promise<PackedImage> {
  const upright = sharp(bytes, { failOn: strictness, limitInputPixels: false, ignoreIcc: true }).autoOrient();
  const { data, info } = await (hasAlpha ? upright.ensureAlpha() : upright.removeAlpha())
    .toColourspace("srgb")
    .raw({ depth: "uchar" })
    .timeout({ seconds: Math.min(3600, Math.ceil(timeoutMs / 1000)) })
    .toBuffer({ resolveWithObject: true })
    .finally(() => emptySharpCache(sharp));
  return imageOf(data, { width: info.width, height: info.height, format: hasAlpha ? "RGBA" : "RGB" });
}

/** What is kept of a file of 16 bits: of colours their fourth channel, or nothing. */
function samplesOf(channels: number, isRgba: boolean): "GREY16" | "RGBA16" | undefined {
  if (channels <= 2) return isRgba ? undefined : "GREY16";
  return isRgba ? "RGBA16" : undefined;
}

/** The samples of a file of 16 bits as they are. */
async function words(sharp: Sharp, bytes: Uint8Array, format: "GREY16" | "RGBA16", timeoutMs: number): Promise<Image> {
  const upright = sharp(bytes, { failOn: "error", limitInputPixels: false, ignoreIcc: true }).autoOrient();
  const { data, info } = await (format === "GREY16" ? upright.removeAlpha() : upright.ensureAlpha())
    .toColourspace(format === "GREY16" ? "grey16" : "rgb16")
    .raw({ depth: "ushort" })
    .timeout({ seconds: Math.min(3600, Math.ceil(timeoutMs / 1000)) })
    .toBuffer({ resolveWithObject: true })
    .finally(() => emptySharpCache(sharp));
  return imageOf(data, { width: info.width, height: info.height, format });
}

/**
 * A JPEG, if all of its pixels are there: libvips stops reading with its last row, and never sees what is left over.
 *
 * @throws what libvips says of it, or would
 */
async function wholeJpeg(
  sharp: Sharp,
  bytes: Uint8Array,
  markers: JpegMarkers,
  timeoutMs: number,
): Promise<PackedImage> {
  const image = await pixels(sharp, bytes, "warning", false, timeoutMs);
  if (!(await isDataDamaged(bytes, markers))) return image;
  throw new Error("Corrupt JPEG data: its values are no samples, or bytes are left over");
}

async function jpegPixels(
  sharp: Sharp,
  bytes: Uint8Array,
  source: string,
  { damaged, timeoutMs, warnings }: SharpDecodeOptions,
): Promise<SharpImage> {
  const markers = readJpegMarkers(bytes);
  try {
    return await wholeJpeg(sharp, bytes, markers, timeoutMs);
  } catch (fault) {
    const { image, damage } = await rescuedJpeg(bytes, markers, {
      source,
      warnings,
      decodeWhole: (copy) => wholeJpeg(sharp, copy, readJpegMarkers(copy), timeoutMs).catch(() => undefined),
      decodeDamaged: (found) => {
        if (!DATA_WARNING.test(reasonOf(fault))) throw fault;
        if (damaged === "refuse") throw new Error(found, { cause: fault });
        return pixels(sharp, bytes, "none", false, timeoutMs);
      },
    });
    return damage === undefined ? image : { ...image, damage };
  }
}

/** @throws {ImageError} If it is nothing that is decoded, or SVG, and that is not asked for */
function assertDecodable(bytes: Uint8Array, source: string, kind: ImageKind | undefined, vectors: boolean): void {
  if (bytes.length === 0 || kind?.isDecodable === false) throw undecodableError(bytes, source, "");
  if (vectors) return;
  const head =
    kind === undefined ? Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, 4096)) : undefined;
  if (kind?.name === "SVG" || head?.includes("<svg") === true) throw vectorError(source);
  // libvips knows an SVG whatever stands in front of it: only what is certainly none of its kind gets there.
  if (kind === undefined) throw undecodableError(bytes, source, "");
}

function vectorError(source: string): Error {
  const hint = "set vectors to true (--vectors) if you trust it: a few bytes of SVG can keep a core busy for ever";
  return imageError(source, "it is SVG, and vector images are not asked for", hint);
}

/**
 * Decode an image through sharp, off the JS thread.
 *
 * @param bytes  the whole file, not to be changed until the promise settles
 * @param source what to call it in messages
 * @returns RGB or RGBA, tight rows, over memory of its own
 * @throws {ImageError} If the bytes are not an image, cut short, damaged, or have more pixels than allowed
 * @throws {LibraryLoadError} If sharp's addon is not installed for this machine
 */
export async function decodeWithSharp(
  bytes: Uint8Array,
  source: string,
  decode: SharpDecodeOptions,
): Promise<SharpImage> {
  const kind = imageKind(bytes);
  assertDecodable(bytes, source, kind, decode.vectors);
  if (kind?.name === "TIFF") assertTiffBlocks(bytes, source, decode.maxPixels);
  const isVector = kind === undefined || kind.name === "SVG";
  if (isVector) await prepareFonts();
  if (isVector) return withVectors((sharp) => decodeBy(sharp, bytes, source, kind, decode));
  const file = kind.name === "TIFF" ? firstTiffPage(bytes) : bytes;
  return decodeBy(await loadSharp(), file, source, kind, decode);
}

async function decodeBy(
  sharp: Sharp,
  bytes: Uint8Array,
  source: string,
  kind: ImageKind | undefined,
  decode: SharpDecodeOptions,
): Promise<SharpImage> {
  const { maxPixels, alpha, vectors, timeoutMs } = decode;
  const orRefuse = (error: unknown): never => {
    throw undecodableError(bytes, source, reasonOf(error), { cause: error });
  };
  const header = await sharp(bytes, { failOn: "error", limitInputPixels: false }).metadata().catch(orRefuse);
  const { width, height, pageHeight = height, hasAlpha, depth, format } = header;
  // The loader that libvips chose, whatever the first bytes look like.
  if (format === "svg" && !vectors) throw vectorError(source);
  if (format !== FORMATS[kind?.name ?? "SVG"]) throw undecodableError(bytes, source, `libvips takes it for ${format}`);
  if (!DEPTHS.includes(depth)) {
    const found = `its samples must be whole numbers of 8 or 16 bits from 0 on, got ${depth}`;
    throw imageError(source, found, "convert it to 8 or 16 bits first: only you know which values are black and white");
  }
  if (width * pageHeight > maxPixels) throw tooLargeError(source, width, pageHeight, maxPixels);
  if (kind?.name === "JPEG") {
    assertJpegScans(bytes, readJpegMarkers(bytes), [width, height], source, maxPixels);
    return jpegPixels(sharp, bytes, source, decode).catch(orRefuse);
  }
  if (format !== "svg") assertLongEnough(source, bytes.length, width * pageHeight, `${width}x${pageHeight} pixels`);
  const isDamaged = format === "gif" && (await isGifDamaged(bytes));
  if (isDamaged && decode.damaged === "refuse") throw undecodableError(bytes, source, DAMAGED_DATA);
  const strictness = isDamaged ? "none" : "error";
  const isRgba = hasAlpha && alpha === "keep";
  const samples = decode.depth === "keep" && depth === "ushort" ? samplesOf(header.channels, isRgba) : undefined;
  const image = await (samples === undefined
    ? pixels(sharp, bytes, strictness, isRgba, timeoutMs)
    : words(sharp, bytes, samples, timeoutMs)
  ).catch(orRefuse);
  if (!isDamaged) return image;
  decode.warnings.tell(`Accepted damaged image ${source}: ${DAMAGED_DATA}`);
  return { ...image, damage: DAMAGED_DATA };
}

/** The function that sharp exports. */
type Sharp = typeof import("sharp").default;

/** The loaders of libvips for what `decodeImage` decodes. */
const LOADERS: readonly string[] = ["Jpeg", "Png", "Webp", "Nsgif", "Heif", "Tiff"].map(
  (name) => `VipsForeignLoad${name}`,
);
const VECTOR_LOADER = "VipsForeignLoadSvg";

let loading: Promise<Sharp> | undefined;
let isConfined = false;
/** Pieces of work that need the loader of SVG just now. */
let vectorUsers = 0;
/**
 * What fontconfig, inside sharp, is set up by: as the system has it, but what it learns of the fonts goes into our cache rather
 * than `/var/cache` or `~/.cache`. The first folder that can be written is the one that is.
 */
function fontsFile(): string {
  return join(cacheFolder(), "fonts.conf");
}

let fonts: Promise<void> | undefined;

async function writeFontsFile(): Promise<void> {
  const folder = join(cacheFolder(), "fontconfig").replace(/[&<>]/g, (character) => `&#${character.charCodeAt(0)};`);
  const text = `<fontconfig><cachedir>${folder}</cachedir><include ignore_missing="yes">/etc/fonts/fonts.conf</include></fontconfig>\n`;
  try {
    await mkdir(cacheFolder(), { recursive: true });
    await writeWhole(fontsFile(), text);
  } catch (error) {
    logger.debug(`Fonts are set up by the system alone: ${(error as Error).message}`);
  }
}

/** To be waited for before sharp draws letters by the system's fonts. */
export function prepareFonts(): Promise<void> {
  if (process.platform !== "linux") return Promise.resolve();
  fonts ??= writeFontsFile();
  return fonts;
}

/** The addon has no folder of its own where it would look: the linker then takes what is in the process already. */
function preloadVips(path: string): void {
  if (process.platform !== "win32") {
    preload(path, "vips_shutdown");
    return;
  }
  const refused = preloadByName(path);
  if (refused !== undefined) throw new Error(refused);
}

async function importSharp(): Promise<Sharp> {
  const libvips = nativePart("libvips");
  if (libvips !== undefined) {
    preloadVips(libvips);
    return loadAddon(nativeParts.sharp!) as Sharp;
  }
  const installed = installedFile("sharp");
  if (installed === undefined) throw addonError("sharp");
  return ((await import(installed)) as typeof import("sharp")).default;
}

async function load(): Promise<Sharp> {
  if (process.platform === "linux") setNativeDefault("FONTCONFIG_FILE", fontsFile());
  try {
    const sharp = await importSharp();
    if (isConfined) {
      sharp.block({ operation: ["VipsForeignLoad"] });
      sharp.unblock({ operation: [...LOADERS] });
    }
    return sharp;
  } catch (error) {
    throw error instanceof LibraryLoadError ? error : addonError("sharp", error);
  }
}

/** sharp. @throws {LibraryLoadError} If its addon is not installed for this machine */
export function loadSharp(): Promise<Sharp> {
  loading ??= load();
  return loading;
}

/**
 * Work with SVG that a caller asked for. Where loaders are blocked, that of SVG is not meanwhile.
 *
 * @throws {LibraryLoadError} If sharp's addon is not installed for this machine
 */
async function withVectors<T>(work: (sharp: Sharp) => Promise<T>): Promise<T> {
  const sharp = await loadSharp();
  vectorUsers += 1;
  if (isConfined) sharp.unblock({ operation: [VECTOR_LOADER] });
  try {
    return await work(sharp);
  } finally {
    vectorUsers -= 1;
    if (isConfined && vectorUsers === 0) sharp.block({ operation: [VECTOR_LOADER] });
  }
}

/**
 * Empty libvips' cache of operations, and leave its limits as they are. Of a GIF or an AVIF it keeps all pixels, which it
 * does not count: up to a hundred images, of any size. A file that is given as bytes it never finds again.
 */
function emptySharpCache(sharp: Sharp): void {
  const { memory, files, items } = sharp.cache();
  sharp.cache(false);
  sharp.cache({ memory: memory.max, files: files.max, items: items.max });
}

/**
 * Block every loader of libvips that `decodeImage` does not use: SVG, PDF, OpenSlide, ImageMagick and others, whatever the
 * libvips of this machine was built with. That holds for the whole process, which may use sharp itself: so it is for
 * programs of our own, to be called before sharp is loaded. Elsewhere the kind of each file is checked alone.
 */
export function confineSharp(): void {
  isConfined = true;
}
