/** @module Sharp: loaded with the first picture that needs it, so that importing the package loads nothing. */

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { LibraryLoadError, message } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { cacheFolder } from "../core/paths.ts";
import { writeWhole } from "../core/whole-file.ts";
import { setNativeDefault } from "../ffi/native-environment.ts";

/** The function that sharp exports. */
export type Sharp = typeof import("sharp").default;

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

async function load(): Promise<Sharp> {
  if (process.platform === "linux") setNativeDefault("FONTCONFIG_FILE", fontsFile());
  try {
    const { default: sharp } = await import("sharp");
    if (isConfined) {
      sharp.block({ operation: ["VipsForeignLoad"] });
      sharp.unblock({ operation: [...LOADERS] });
    }
    return sharp;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const text = message("load the library sharp", `its addon does not open: ${reason}`, "run `bun add sharp` again");
    throw new LibraryLoadError(text, "sharp", ["sharp"], { cause: error });
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
export async function withVectors<T>(work: (sharp: Sharp) => Promise<T>): Promise<T> {
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
 * Block every loader of libvips that `decodeImage` does not use: SVG, PDF, OpenSlide, ImageMagick and others, whatever the
 * libvips of this machine was built with. That holds for the whole process, which may use sharp itself: so it is for
 * programs of our own, to be called before sharp is loaded. Elsewhere the kind of each file is checked alone.
 */
export function confineSharp(): void {
  isConfined = true;
}
