/** @module Study: one question a bench run answers, and what it is given to answer it. */

import type { Detector } from "../src/api/detector.ts";
import type { DetectorOptions } from "../src/api/detector-config.ts";
import type { Image } from "../src/image/image.ts";
import type { BenchOptions } from "./args.ts";
import type { Block, Check, Measurement, StudyResult } from "./result.ts";

/** What a study cannot do without; it is skipped by name where that is missing. */
export type Need = "gpu" | "model";

/** The image every study works on. */
export interface BenchImage {
  readonly path: string;
  /** The file: a JPEG. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Its pixels, RGB, in ordinary memory. */
  readonly image: Image;
}

/** What a study says. */
export interface StudyOutput {
  readonly findings: string[];
  readonly leftOut: string[];
  readonly checks: Check[];
  readonly measurements: Measurement[];
  readonly blocks: Block[];
}

/** What a study works with. */
export interface StudyContext {
  readonly options: BenchOptions;
  /** Where detectors run. */
  readonly kind: "cpu" | "gpu";
  readonly image: BenchImage;
  /** What {@linkcode load} loads: an engine for this GPU, or the ONNX model; `undefined` where there is neither. */
  readonly source: string | undefined;
  /** The ONNX model, where there is one. */
  readonly model: string | undefined;
  /** Studies that ran before. */
  readonly earlier: readonly StudyResult[];
  /** Load the model; the first build of an engine shows its progress. */
  load(options?: DetectorOptions): Promise<Detector>;
  /** Say how far the study is. @param fraction 0–1 */
  progress(fraction: number, text: string): void;
  /** True once `--max-minutes` are over: what is still to come is left out. */
  isOver(): boolean;
  /** Milliseconds a measurement of throughput takes. */
  readonly durationMs: number;
}

/** One question, and how it is answered. */
export interface Study {
  /** What it is asked for by on the command line. */
  readonly name: string;
  readonly title: string;
  /** One sentence. */
  readonly question: string;
  readonly needs: readonly Need[];
  /** False of one that reads what others measured, which takes no time; it runs even when the minutes are over. */
  readonly isMeasuring?: boolean;
  /** Measure. What is filled in before an error is kept. */
  run(context: StudyContext, output: StudyOutput): Promise<void>;
}

/** An output that says nothing yet. */
export function createOutput(): StudyOutput {
  return { findings: [], leftOut: [], checks: [], measurements: [], blocks: [] };
}
