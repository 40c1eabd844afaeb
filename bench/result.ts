/** @module Result: what a bench run leaves behind, as data. */

/** Names the form of the file; another form has another number. */
export const RESULT_SCHEMA = "bun-tensorrt-bench/1";

/** What the numbers of a measurement are; `share` is 0–1. */
export type Unit = "ms" | "us" | "ns" | "fps" | "bytes" | "share" | "count";

/** One thing that was measured, with every sample in the order it was taken. */
export interface Measurement {
  /** Its own within a study. */
  readonly id: string;
  readonly name: string;
  readonly unit: Unit;
  readonly better: "lower" | "higher";
  readonly samples: readonly number[];
}

interface Head {
  readonly title: string;
  /** One sentence or two: what one sees. */
  readonly note: string;
}

/** Histograms of measurements of one unit. */
export interface DistributionBlock extends Head {
  readonly kind: "distribution";
  /** Ids. */
  readonly measurements: readonly string[];
}

/** Stacked bars. */
export interface StagesBlock extends Head {
  readonly kind: "stages";
  readonly unit: Unit;
  readonly bars: readonly {
    readonly name: string;
    readonly parts: readonly { readonly stage: string; readonly value: number }[];
  }[];
}

/** A point of a line, and where measurements of it scatter. */
export interface LinePoint {
  readonly x: number;
  readonly y: number;
  readonly low?: number | undefined;
  readonly high?: number | undefined;
}

/** A line, and the `x` from which more hardly pays. */
export interface Line {
  readonly name: string;
  readonly points: readonly LinePoint[];
  readonly knee?: number | undefined;
}

/** Lines over a common axis. */
export interface LinesBlock extends Head {
  readonly kind: "lines";
  readonly x: { readonly label: string; readonly scale: "linear" | "log2" };
  readonly y: { readonly label: string; readonly unit: Unit };
  readonly lines: readonly Line[];
}

/** What a lane did from when to when, in milliseconds from the timeline's own start. */
export interface TimelineSpan {
  readonly lane: number;
  readonly name: string;
  readonly frame: number;
  readonly start: number;
  readonly end: number;
}

/** Streams and threads side by side. */
export interface TimelineBlock extends Head {
  readonly kind: "timeline";
  readonly lanes: readonly string[];
  readonly spans: readonly TimelineSpan[];
}

/** A cell of a table; `null` where there is no figure. */
export type Cell = string | number | null;

/** A table as the study made it. */
export interface TableBlock extends Head {
  readonly kind: "table";
  readonly columns: readonly string[];
  readonly rows: readonly (readonly Cell[])[];
}

/** A chart or table of a study. */
export type Block = DistributionBlock | StagesBlock | LinesBlock | TimelineBlock | TableBlock;

/** One thing that is promised, and whether this run kept it. */
export interface Check {
  readonly claim: string;
  readonly found: string;
  readonly wanted: string;
  readonly isMet: boolean;
}

/** What became of one study. */
export interface StudyResult {
  readonly name: string;
  readonly title: string;
  readonly question: string;
  readonly status: "done" | "skipped" | "failed";
  /** Why it was skipped, or what failed. */
  readonly reason?: string | undefined;
  readonly seconds: number;
  /** What it says, a sentence each. */
  readonly findings: readonly string[];
  /** What was left out, by name and with the reason. */
  readonly leftOut: readonly string[];
  readonly checks: readonly Check[];
  readonly measurements: readonly Measurement[];
  readonly blocks: readonly Block[];
}

/** A file a run worked on. */
export interface FileFacts {
  readonly name: string;
  readonly bytes: number;
  readonly sha256: string;
}

/** The card, and its state as nvidia-smi gave it. */
export interface GpuFacts {
  readonly name: string;
  readonly driver: string;
  readonly memory: string;
  readonly before: Readonly<Record<string, string>>;
  readonly after: Readonly<Record<string, string>>;
}

/** Where and on what a run was made. */
export interface EnvironmentFacts {
  readonly date: string;
  readonly commit: string;
  readonly command: string;
  readonly bun: string;
  readonly system: string;
  readonly cpu: string;
  readonly cores: number;
  readonly load: number;
  readonly runtime: string;
  readonly cuda: string;
  readonly gpu: GpuFacts | null;
  readonly model: FileFacts | null;
  readonly engine: FileFacts | null;
  readonly image: FileFacts & { readonly width: number; readonly height: number };
  readonly isQuick: boolean;
}

/** A whole run. */
export interface BenchResult {
  readonly schema: typeof RESULT_SCHEMA;
  /** False while studies are still to come: a run that was cut off. */
  readonly isComplete: boolean;
  readonly environment: EnvironmentFacts;
  readonly studies: readonly StudyResult[];
}
