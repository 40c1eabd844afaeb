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

/**
 * What fontconfig, inside sharp, is set up by: as the system has it, but what it learns of the fonts goes into our cache rather
 * than `/var/cache` or `~/.cache`. The first folder that can be written is the one that is.
 */
function fontsFile(): string {
  return join(cacheFolder(), "fonts.conf");
}

let loading: Promise<Sharp> | undefined;
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
    return (await import("sharp")).default;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const text = message(
      "load the library sharp",
      `as its addon does not open: ${reason}`,
      "run `bun add sharp` again",
    );
    throw new LibraryLoadError(text, "sharp", ["sharp"], { cause: error });
  }
}

/** sharp. @throws {LibraryLoadError} If its addon is not installed for this machine */
export function loadSharp(): Promise<Sharp> {
  loading ??= load();
  return loading;
}
