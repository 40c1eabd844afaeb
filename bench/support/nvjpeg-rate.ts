/** @module NvjpegRate: how many images per second nvJPEG decodes with nothing else to do, by this library and by torchvision. */

import { Device } from "../../src/cuda/device.ts";
import { JpegSurface, NvJpegDecoder, nvJpegUnavailable } from "../../src/nvjpeg/nvjpeg-decoder.ts";
import { ScriptPeer } from "../peers/python-peer.ts";
import { windowRates } from "./drive.ts";

/** Images under way: several batches of the decoding engines of any card. */
const IN_FLIGHT = 32;
const WARM_UP_MS = 300;

/** Images per second in windows, or why there is no figure, in a clause. */
type DecodingRate = readonly number[] | string;

/** By this library's decoder, straight into device memory. */
export async function nvjpegRate(bytes: Uint8Array, durationMs: number): Promise<DecodingRate> {
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
    const work = async (surface: JpegSurface): Promise<void> => {
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
