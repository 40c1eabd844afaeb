/** @module Service: the loop of a detector service, per stage: decode, detect, serialise, send. */

import type { Study } from "../study.ts";
import { keep } from "../support/keep.ts";
import { Loopback } from "../support/loopback.ts";
import { medianOf } from "../support/samples.ts";
import { formatWithUnit } from "../support/units.ts";

const STAGES = ["decode", "prepare", "infer", "boxes", "serialise", "send", "JS between"] as const;

/** A JPEG comes in, JSON goes out over a Unix socket. */
export const service: Study = {
  name: "service",
  title: "Service: JPEG in, JSON out",
  question:
    "In the loop of a detector service, which stage takes how long, and what is left for the rest of the server?",
  needs: ["model"],
  async run(context, output) {
    const { kind, options, image } = context;
    const count = kind === "gpu" ? (options.isQuick ? 300 : 2000) : options.isQuick ? 15 : 120;
    await using detector = await context.load({ inFlight: 1 });
    await using loopback = await Loopback.open();
    const stages = new Map<string, number[]>(STAGES.map((name) => [name, []]));
    const whole: number[] = [];
    let bytes = 0;
    for (let at = -Math.min(count, 20); at < count; at++) {
      if (at > 0 && (at & 15) === 0) context.progress(at / count, `${at} of ${count}`);
      if (at > 10 && context.isOver()) break;
      const started = performance.now();
      const { detections, timing } = await detector.detect(image.bytes);
      const detected = performance.now();
      const text = JSON.stringify({ detections });
      const serialised = performance.now();
      await loopback.send(text);
      const sent = performance.now();
      if (at < 0) continue;
      bytes = text.length;
      whole.push(sent - started);
      const known = timing.decode + timing.preprocess + timing.infer + timing.postprocess;
      const parts = [
        timing.decode,
        timing.preprocess,
        timing.infer,
        timing.postprocess,
        serialised - detected,
        sent - serialised,
        Math.max(0, detected - started - known),
      ];
      for (const [stage, name] of STAGES.entries()) stages.get(name)!.push(parts[stage]!);
    }
    keep(output, "whole", "JPEG in, JSON acknowledged", "ms", whole);
    for (const [name, samples] of stages) keep(output, `stage-${name}`, name, "ms", samples);
    output.blocks.push({
      kind: "stages",
      title: "One request",
      note: `Medians, one request at a time. The JSON has ${bytes} bytes; "send" is until the reader at the other end of a Unix socket has said that it has all of it.`,
      unit: "ms",
      bars: [
        { name: "a request", parts: [...stages].map(([stage, samples]) => ({ stage, value: medianOf(samples) })) },
      ],
    });
    output.blocks.push({
      kind: "distribution",
      title: "How even it is",
      note: "Whole requests: the tail is what a client that waits for its slowest request sees.",
      measurements: ["whole"],
    });
    const rest = medianOf(stages.get("serialise")!) + medianOf(stages.get("send")!);
    output.findings.push(
      `Serialising and sending take ${formatWithUnit(rest / medianOf(whole), "share")} of a request.`,
    );
  },
};
