/** @module Subject: the model and the image a run measures, as asked for or the best there is. */

import { existsSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { findEntry } from "../src/catalogue/catalogue.ts";
import { pull } from "../src/catalogue/pull.ts";
import { message, OptionError } from "../src/core/errors.ts";
import { cacheFolder } from "../src/core/paths.ts";
import { ImageDecoder } from "../src/image/image-decoder.ts";
import type { BenchOptions } from "./args.ts";
import type { BenchImage } from "./study.ts";

const SHARED = process.env.BUN_TENSORRT_SHARED ?? join(import.meta.dir, "../../shared");

const DEFAULT_MODEL = "models/yolov8n_640.onnx";
const DEFAULT_IMAGE = "images/photos/street_1920x1080.jpg";

/** The model for who cannot have {@linkcode DEFAULT_MODEL}. */
const CATALOGUE_MODEL = "yolo11n";

/** Path of a file below `../shared`, or `undefined` where there is none. */
export function sharedFile(path: string): string | undefined {
  const file = join(SHARED, path);
  return existsSync(file) ? file : undefined;
}

function checkFile(option: string, path: string): string {
  if (existsSync(path)) return path;
  const hint = `paths are relative to ${process.cwd()}`;
  const found = `--${option} names no file: ${JSON.stringify(path)}`;
  throw new OptionError(message("run the bench", found, hint), option);
}

/** What is measured. */
export interface Subject {
  readonly model: string | undefined;
  readonly engine: string | undefined;
  /** Why there is no model, where there is none. */
  readonly fault: string | undefined;
}

/**
 * Find the model and the engine.
 *
 * @throws {OptionError} If one that was named is not there
 */
export async function findSubject(
  options: Pick<BenchOptions, "model" | "engine"> & Partial<Pick<BenchOptions, "exportedEngine">>,
): Promise<Subject> {
  if (options.exportedEngine !== undefined) checkFile("exported-engine", options.exportedEngine);
  const engine = options.engine === undefined ? undefined : checkFile("engine", options.engine);
  const name = options.model ?? sharedFile(DEFAULT_MODEL) ?? CATALOGUE_MODEL;
  const entry = findEntry(name);
  if (entry === undefined || existsSync(name)) return { model: checkFile("model", name), engine, fault: undefined };
  try {
    return { model: await pull(entry), engine, fault: undefined };
  } catch (error) {
    if (options.model !== undefined) throw error;
    return {
      model: undefined,
      engine,
      fault: `${name} cannot be fetched: ${(error as Error).message.split("\n", 1)[0]}`,
    };
  }
}

/** A 1920x1080 JPEG with some texture, made once, for where no photograph is at hand. */
async function generatedImage(): Promise<string> {
  const path = join(cacheFolder(), "bench-1920x1080.jpg");
  if (existsSync(path)) return path;
  const data = new Uint8Array(1920 * 1080 * 3);
  for (let at = 0; at < data.length; at++) {
    const x = (at / 3) % 1920;
    const y = at / 5760;
    data[at] = 128 + 80 * Math.sin(x / 37 + (at % 3)) * Math.cos(y / 23) + (Math.imul(at, 2654435761) >>> 27);
  }
  const jpeg = await sharp(data, { raw: { width: 1920, height: 1080, channels: 3 } })
    .jpeg({ quality: 90 })
    .toBuffer();
  await Bun.write(path, jpeg);
  return path;
}

/**
 * Find and decode the image.
 *
 * @throws {OptionError} If one that was named is not there
 * @throws {ImageError} If it is no image
 */
export async function findImage(options: Pick<BenchOptions, "image">): Promise<BenchImage> {
  const named = options.image === undefined ? undefined : checkFile("image", options.image);
  const path = named ?? sharedFile(DEFAULT_IMAGE) ?? (await generatedImage());
  const bytes = await Bun.file(path).bytes();
  using decoder = ImageDecoder.create();
  const decoded = await decoder.decode(bytes, path);
  // The decoder's memory goes with it.
  return { path, bytes, image: { ...decoded, data: decoded.data.slice() } };
}
