/** @module JPEG: from the bytes of a file to boxes, with the image decoded here or there, against the rate of inference. */

import type { Detector } from "../../src/api/detector.ts";
import type { DetectorOptions } from "../../src/api/detector-config.ts";
import { ImageDecoder } from "../../src/image/image-decoder.ts";
import type { ImageSource } from "../../src/image/source.ts";
import type { Study, StudyContext, StudyOutput } from "../study.ts";
import { drive } from "../support/drive.ts";
import { keep, promise } from "../support/keep.ts";
import { nvjpegRate, torchvisionRate } from "../support/nvjpeg-rate.ts";
import { pageLocked } from "../support/page-locked.ts";
import { inRounds, timeCalls } from "../support/rounds.ts";
import { medianOf } from "../support/samples.ts";
import { formatWithUnit } from "../support/units.ts";

const ROUNDS = 3;
/** nvJPEG is set up with the first file, which takes a second and a half; then every slot takes its memory. */
const GPU_WARM_UP_MS = 2000;
const LEAST_OF_NVJPEG = 0.9;
const LEAST_OF_INFERENCE = 0.95;

interface Way {
  readonly id: string;
  readonly name: string;
  readonly source: ImageSource;
  readonly options: DetectorOptions;
}

/** @param frames the image as decoded; page-locked for the GPU */
function waysFor(context: StudyContext, frames: ImageSource): Way[] {
  const { kind, options, image } = context;
  const frame = { id: "frames", name: "decoded frames", source: frames };
  if (kind === "cpu") {
    const one = { inFlight: 1 };
    return [
      { ...frame, options: one },
      { id: "cpu", name: "JPEG, CPU", source: image.bytes, options: one },
      {
        id: "scaled",
        name: "JPEG, CPU, scaled while decoding",
        source: image.bytes,
        options: { ...one, scaledDecoding: true },
      },
    ];
  }
  const way = (id: string, name: string, of: DetectorOptions): Way => {
    return {
      id: `${id}-${of.inFlight}`,
      name: `${name}, ${of.inFlight} in flight`,
      source: image.bytes,
      options: of,
    };
  };
  const counts = options.isQuick ? [32] : [8, 32, 64, 128];
  return [
    ...(options.isQuick ? [32] : [8, 32]).map((inFlight) => {
      return { ...way(frame.id, frame.name, { inFlight }), source: frames };
    }),
    ...counts.map((inFlight) => way("gpu", "JPEG, nvJPEG", { inFlight, jpeg: "gpu" })),
    way("unchecked", "JPEG, nvJPEG, data not checked", { inFlight: counts.at(-1)!, jpeg: "gpu", jpegCheck: false }),
    way("cpu", "JPEG, CPU", { inFlight: 8, jpeg: "cpu" }),
  ];
}

/** The promise rests on the faster of two ways to ask nvJPEG alone. */
async function besideNvjpeg(
  context: StudyContext,
  output: StudyOutput,
  ours: { readonly rate: number; readonly inference: number },
): Promise<void> {
  const { options, image, durationMs } = context;
  const alone = [
    ["nvjpeg", "nvJPEG alone, by this library", await nvjpegRate(image.bytes, durationMs)],
    [
      "torchvision",
      "nvJPEG alone, by torchvision",
      options.hasPeers ? await torchvisionRate(options.python, image.path, durationMs) : "--no-peers was given",
    ],
  ] as const;
  const medians: number[] = [];
  for (const [id, name, rates] of alone) {
    if (typeof rates === "string") {
      output.leftOut.push(`${name}: ${rates}`);
      continue;
    }
    keep(output, id, name, "fps", rates);
    medians.push(medianOf(rates));
  }
  if (medians.length === 0) return;
  const limit = Math.min(Math.max(...medians) * LEAST_OF_NVJPEG, ours.inference * LEAST_OF_INFERENCE);
  const claim = "JPEG bytes to boxes: 90 % of nvJPEG's own rate or 95 % of the inference rate, whichever is lower";
  promise(output, claim, ours.rate, { least: limit, unit: "fps" });
}

/** JPEG bytes to boxes. */
export const jpeg: Study = {
  name: "jpeg",
  title: "JPEG: bytes to boxes",
  question: "How near does detection of JPEG bytes come to the rate of inference, decoding on the CPU and by nvJPEG?",
  needs: ["model"],
  async run(context, output) {
    using owned = new DisposableStack();
    const { image } = context.image;
    const frames = context.kind === "gpu" ? pageLocked(image, owned) : image;
    const ways = waysFor(context, frames);
    const rates = new Map<string, number[]>();
    await using stack = new AsyncDisposableStack();
    const loaded: { way: Way; detector: Detector }[] = [];
    for (const way of ways) {
      try {
        loaded.push({ way, detector: stack.use(await context.load(way.options)) });
        rates.set(way.id, []);
      } catch (error) {
        output.leftOut.push(`${way.name}: ${(error as Error).message.split("\n", 1)[0]}`);
      }
    }
    if (context.kind === "gpu") {
      for (const { way, detector } of loaded) {
        await drive(detector, way.source, { inFlight: way.options.inFlight!, durationMs: GPU_WARM_UP_MS, warmUp: 1 });
      }
    }
    const contestants = loaded.map(({ way, detector }) => ({
      run: async () => {
        const inFlight = way.options.inFlight ?? 1;
        const driven = await drive(detector, way.source, {
          inFlight,
          durationMs: context.durationMs / ROUNDS,
          warmUp: 2,
        });
        rates.get(way.id)!.push(...driven.rates);
      },
    }));
    await inRounds(contestants, ROUNDS, (round) => {
      context.progress(round / ROUNDS, `round ${round + 1} of ${ROUNDS}`);
      return !context.isOver() || round === 0;
    });
    for (const { way } of loaded) keep(output, `rate-${way.id}`, way.name, "fps", rates.get(way.id)!);
    {
      using decoder = ImageDecoder.create();
      const { bytes, path } = context.image;
      const decoding = await timeCalls(() => decoder.decode(bytes, path), {
        warmUp: 2,
        count: context.options.isQuick ? 10 : 60,
      });
      keep(output, "decode", "CPU decoding alone", "ms", decoding);
      output.findings.push(
        `On the CPU decoding alone takes ${formatWithUnit(medianOf(decoding), "ms")} an image at the median, one at a time.`,
      );
    }
    const ofFrames = loaded.filter(({ way }) => way.source === frames).map(({ way }) => medianOf(rates.get(way.id)!));
    const inference = Math.max(...ofFrames);
    // What counts is what everybody gets: whole pixels, and files that are looked at.
    const jpegs = loaded.filter(({ way: { id, source } }) => source !== frames && !/^(?:scaled|unchecked)/.test(id));
    const best = jpegs.toSorted((a, b) => medianOf(rates.get(b.way.id)!) - medianOf(rates.get(a.way.id)!))[0];
    if (best !== undefined && ofFrames.length > 0) {
      const rate = medianOf(rates.get(best.way.id)!);
      output.findings.push(
        `${best.way.name}: ${formatWithUnit(rate, "fps")}, ${formatWithUnit(rate / inference, "share")} of the rate with decoded frames.`,
      );
      if (context.kind === "gpu") await besideNvjpeg(context, output, { rate, inference });
    }
    output.blocks.push({
      kind: "distribution",
      title: "Images per second",
      note: "Each figure is of 50 ms worth of frames, or of five; ways to boxes in turns, nvJPEG alone after them. Decoded frames show what inference alone could do.",
      measurements: output.measurements.filter(({ unit }) => unit === "fps").map(({ id }) => id),
    });
  },
};
