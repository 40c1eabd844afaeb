/** @module ServiceMetrics: what a service counts and measures, in the text form Prometheus reads. */

import { Counter, Gauge, Histogram, Registry } from "prom-client";
import { logger } from "../core/log.ts";
import type { GpuUsage } from "../nvml/gpu-usage.ts";
import type { BackendInfo } from "../runtime/backend.ts";
import type { Timing } from "../tasks/task-result.ts";

/** A service that has made no headway for longer is reported as dead, so that it is started again; milliseconds. */
export const STALLED_MS = 120_000;

/** A part of a frame's way through a service; `total` is all of it. */
export type ServiceStage =
  | "receive"
  | "decode"
  | "preprocess"
  | "infer"
  | "postprocess"
  | "serialise"
  | "send"
  | "total";

/** One GPU at one moment. */
export interface GpuSample {
  /** Number of the GPU, as a label. */
  readonly gpu: string;
  /** Share of the time that a kernel was running, 0–1; `undefined` where the GPU does not report it. */
  readonly utilisation: number | undefined;
  readonly memoryUsedBytes: number;
  readonly memoryTotalBytes: number;
}

/** Asked once a scrape; an empty list where there is no GPU. */
export type GpuSampler = () => readonly GpuSample[];

/** What {@linkcode ServiceMetrics} is made with. */
export interface ServiceMetricsOptions {
  /** Default: no GPU. */
  readonly gpu?: GpuSampler | undefined;
  /** Asked once a scrape: a model on its devices. Default: no engines. */
  readonly backends?: (() => readonly Pick<BackendInfo, "engine">[]) | undefined;
}

/** Upper bounds in seconds: 0.1 ms to 10 s. */
const BUCKETS: number[] = [
  0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
];

const PREFIX = "bun_tensorrt";

/** A GPU that cannot be read, such as one that was lost, must not take the other metrics along. */
function gpuGauges(registry: Registry, sampler: GpuSampler): void {
  const options = { labelNames: ["gpu"], registers: [registry] };
  // A scrape collects in the order of registration: the first gauge asks for all three.
  const utilisation = new Gauge({
    ...options,
    name: `${PREFIX}_gpu_utilisation_ratio`,
    help: "Share of the time that a kernel was running, 0 to 1",
    collect() {
      for (const gauge of [utilisation, used, total]) gauge.reset();
      try {
        for (const { gpu, utilisation: share, memoryUsedBytes, memoryTotalBytes } of sampler()) {
          if (share !== undefined) utilisation.set({ gpu }, share);
          used.set({ gpu }, memoryUsedBytes);
          total.set({ gpu }, memoryTotalBytes);
        }
      } catch (error) {
        logger.warn(
          `Skipped the GPU metrics (utilisation, memory). ${String((error as Error).message).split("\n", 1)[0]}`,
        );
      }
    },
  });
  const used = new Gauge({
    ...options,
    name: `${PREFIX}_gpu_memory_used_bytes`,
    help: "Memory of the GPU in use, by all processes",
  });
  const total = new Gauge({ ...options, name: `${PREFIX}_gpu_memory_total_bytes`, help: "Memory of the GPU" });
}

/** Nothing where no engine was built for the model. */
function engineGauge(registry: Registry, backends: () => readonly Pick<BackendInfo, "engine">[]): void {
  new Gauge({
    name: `${PREFIX}_engines`,
    help: "Devices by the engine that runs: quick, until the full one has taken its place",
    labelNames: ["engine"],
    registers: [registry],
    collect() {
      this.reset();
      for (const { engine } of backends()) if (engine !== undefined) this.inc({ engine });
    },
  });
}

function processGauges(registry: Registry): void {
  const startedAt = Date.now() / 1000 - process.uptime();
  const gauge = (name: string, help: string, value: () => number): void => {
    new Gauge({
      name: `process_${name}`,
      help,
      registers: [registry],
      collect() {
        this.set(value());
      },
    });
  };
  gauge("resident_memory_bytes", "Resident memory of the process", () => process.memoryUsage.rss());
  gauge("start_time_seconds", "When the process started, since 1970", () => startedAt);
}

/**
 * The metrics of one service, in a registry of its own. Names start with `bun_tensorrt_`; times are in seconds there,
 * and in milliseconds here.
 */
export class ServiceMetrics {
  /** For metrics of one service, such as the lag of a queue. */
  readonly registry: Registry = new Registry();
  /** By how they ended: with a result (`ok`), with an `error` of their own, or `dropped` without having been tried. */
  readonly #frames: Counter<"outcome">;
  readonly #stages: Histogram<"stage">;
  readonly #drops: Counter<"reason">;
  readonly #errors: Counter<"code">;
  readonly #inFlight: Gauge;

  constructor(options: ServiceMetricsOptions = {}) {
    const registers = [this.registry];
    const counter = <Label extends string>(name: string, label: Label, help: string): Counter<Label> =>
      new Counter({ name: `${PREFIX}_${name}`, help, labelNames: [label], registers });
    this.#frames = counter("frames_total", "outcome", "Frames by how they ended: ok, error, dropped");
    this.#stages = new Histogram({
      name: `${PREFIX}_stage_seconds`,
      help: "Time of each stage of a frame",
      labelNames: ["stage"],
      buckets: BUCKETS,
      registers,
    });
    this.#drops = counter("drops_total", "reason", "Frames that were not tried, by reason");
    this.#errors = counter("errors_total", "code", "Errors by code");
    this.#inFlight = new Gauge({ name: `${PREFIX}_frames_in_flight`, help: "Frames that are worked on", registers });
    for (const outcome of ["ok", "error", "dropped"]) this.#frames.inc({ outcome }, 0);
    processGauges(this.registry);
    if (options.gpu !== undefined) gpuGauges(this.registry, options.gpu);
    if (options.backends !== undefined) engineGauge(this.registry, options.backends);
  }

  /** Media type of {@linkcode text}. */
  get contentType(): string {
    return this.registry.contentType;
  }

  /** Count frames that have ended. A dropped one is counted by `drop`. */
  frame(outcome: "ok" | "error", count: number = 1): void {
    this.#frames.inc({ outcome }, count);
  }

  /** Count frames that are not tried. @param reason a word of a small fixed set: `busy`, `latest`, `expired` */
  drop(reason: string, count: number = 1): void {
    this.#drops.inc({ reason }, count);
    this.#frames.inc({ outcome: "dropped" }, count);
  }

  /** Count an error. @param code a word of a small fixed set: `not-an-image`, `body-too-large`, `redis` */
  error(code: string): void {
    this.#errors.inc({ code });
  }

  /** Add one measurement. @param milliseconds how long the stage took */
  observe(stage: ServiceStage, milliseconds: number): void {
    this.#stages.observe({ stage }, milliseconds / 1000);
  }

  /** Add the detector's own stages of one result; `total` is the service's to measure. */
  observeTiming(timing: Timing): void {
    for (const stage of ["decode", "preprocess", "infer", "postprocess"] as const) this.observe(stage, timing[stage]);
  }

  /** Add to the number of frames worked on; negative when they end. */
  addInFlight(count: number): void {
    this.#inFlight.inc(count);
  }

  /** Everything, as `/metrics` answers. Asks the GPU sampler. */
  text(): Promise<string> {
    return this.registry.metrics();
  }
}

/** Reads all GPUs at every scrape; none where there are none, or once they are closed. @param usage stays its owner's */
export function gpuSampler(usage: GpuUsage | undefined): GpuSampler {
  return () =>
    usage === undefined || usage.closed
      ? []
      : usage.read().map(({ index, ...reading }) => ({ gpu: String(index), ...reading }));
}
