/** @module NvjpegRate: how many images a second nvJPEG decodes with nothing else to do, by this library and by torchvision. */

import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Resource } from "../../src/core/resource.ts";
import { Device } from "../../src/cuda/device.ts";
import { ScriptPeer } from "../peers/python-peer.ts";
import { windowRates } from "./drive.ts";

/** The library's decoder, which builds before it lack. */
const MODULE = join(import.meta.dir, "../../src/nvjpeg/index.ts");

/** Images under way: several batches of the decoding engines of any card. */
const IN_FLIGHT = 32;
const WARM_UP_MS = 300;

interface Decoder extends Resource {
  decode(bytes: Uint8Array, surface: Resource): Promise<unknown>;
}

interface NvJpegModule {
  readonly NvJpegDecoder: { create(device: Device): Promise<Decoder> };
  readonly JpegSurface: { create(device: Device): Resource };
  readonly nvJpegUnavailable: () => string | undefined;
}

/** Images a second in windows, or why there is no figure, in a clause. */
export type DecodingRate = readonly number[] | string;

/** By this library's decoder, straight into device memory. */
export async function nvjpegRate(bytes: Uint8Array, durationMs: number): Promise<DecodingRate> {
  if (!existsSync(MODULE)) return "this build of the library has no nvJPEG";
  const { NvJpegDecoder, JpegSurface, nvJpegUnavailable } = (await import(MODULE)) as NvJpegModule;
  const fault = nvJpegUnavailable();
  if (fault !== undefined) return fault;
  using device = Device.open(0);
  using decoder = await NvJpegDecoder.create(device);
  using owned = new DisposableStack();
  const surfaces = Array.from({ length: IN_FLIGHT }, () => owned.use(JpegSurface.create(device)));
  const ends: number[] = [];
  const keepBusy = async (limitMs: number): Promise<void> => {
    ends.length = 0;
    const started = performance.now();
    const work = async (surface: Resource): Promise<void> => {
      while (performance.now() - started < limitMs) {
        await decoder.decode(bytes, surface);
        ends.push(performance.now() - started);
      }
    };
    await Promise.all(surfaces.map(work));
  };
  await keepBusy(WARM_UP_MS);
  await keepBusy(durationMs);
  return windowRates(ends, durationMs);
}

/** By torchvision, in batches. */
export async function torchvisionRate(python: string, image: string, durationMs: number): Promise<DecodingRate> {
  const peer = await ScriptPeer.start(python, "nvjpeg_torchvision.py", { image, batch: IN_FLIGHT });
  if (typeof peer === "string") return peer;
  await using _owned = peer;
  await peer.run(3);
  const rates: number[] = [];
  for (const started = performance.now(); performance.now() - started < durationMs; ) {
    const { ms } = await peer.run(1);
    rates.push((IN_FLIGHT * 1000) / ms[0]!);
  }
  return rates;
}
