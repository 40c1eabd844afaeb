/** @module Session options: what callers may set of an ONNX Runtime session, checked once. */

import { z } from "zod";
import { parseOptions } from "../core/options.ts";
import { physicalCores } from "./physical-cores.ts";

/** How far the graph is rewritten when it is loaded. */
export type Optimization = "disable" | "basic" | "extended" | "all";

/**
 * Options of `Session.load`.
 *
 * @see onnxruntime.ai/docs/performance/tune-performance/threading.html
 */
export interface SessionOptions {
  /** Threads of one operator, the calling one included. Default: the physical cores this process may use. */
  readonly intraOpThreads?: number;
  /** Operators run at the same time; more than 1 helps only graphs with wide branches. Default 1. */
  readonly interOpThreads?: number;
  /** Default `"all"`. */
  readonly optimization?: Optimization;
  /** False: give memory back to the system after each run, which takes up to twice the time. Default true. */
  readonly arena?: boolean;
  /**
   * True: after a run the threads keep their cores busy for some 20 ms or more, waiting for the next, which then starts
   * sooner. False leaves the cores to others. Default true.
   */
  readonly spinning?: boolean;
}

/** Complete options of a session. */
export type SessionConfig = Required<SessionOptions>;

const threads = z.int().min(1, "at least 1 thread").max(1024, "at most 1024 threads");

const schema = z.strictObject({
  intraOpThreads: threads.default(() => physicalCores()),
  interOpThreads: threads.default(1),
  optimization: z.enum(["disable", "basic", "extended", "all"], "disable, basic, extended or all").default("all"),
  arena: z.boolean("true or false").default(true),
  spinning: z.boolean("true or false").default(true),
});

/** Check options and fill in the defaults. @throws {OptionError} If one is unknown or out of range */
export function parseSessionOptions(options: SessionOptions): SessionConfig {
  return parseOptions(schema, options, "create a session");
}
