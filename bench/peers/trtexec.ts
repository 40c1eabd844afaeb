/** @module Trtexec: NVIDIA's own measuring tool on the same plan. */

import { peerEnvironment } from "./python-peer.ts";

/** How it runs. */
export interface TrtexecOptions {
  readonly streams: number;
  readonly hasGraph: boolean;
  /** Whether input and output tensors are copied each time. */
  readonly hasTransfers: boolean;
  readonly seconds: number;
}

/** What it reports. */
export interface TrtexecReport {
  /** Inferences per second. */
  readonly rate: number;
  /** Median GPU compute time in milliseconds. */
  readonly computeMs: number;
  /** Median latency, transfers included where there are any, in milliseconds. */
  readonly latencyMs: number;
}

/** Read its report. @throws {Error} If a figure is not in it */
export function readTrtexecReport(text: string): TrtexecReport {
  const figure = (pattern: RegExp): number => {
    const value = pattern.exec(text)?.[1];
    if (value === undefined)
      throw new Error(`trtexec reported no ${pattern.source.split(":", 1)[0]}:\n${text.slice(-1500)}`);
    return Number(value);
  };
  return {
    rate: figure(/Throughput: ([\d.]+) qps/),
    computeMs: figure(/GPU Compute Time:.*?median = ([\d.]+) ms/),
    latencyMs: figure(/Latency:.*?median = ([\d.]+) ms/),
  };
}

/**
 * Run it on a plan.
 *
 * @throws {Error} If it fails, with what it printed last
 */
export async function runTrtexec(path: string, plan: string, options: TrtexecOptions): Promise<TrtexecReport> {
  const { streams, hasGraph, hasTransfers, seconds } = options;
  const words = [
    path,
    `--loadEngine=${plan}`,
    `--infStreams=${streams}`,
    `--duration=${seconds}`,
    "--useSpinWait",
    ...(hasGraph ? ["--useCudaGraph"] : []),
    ...(hasTransfers ? [] : ["--noDataTransfers"]),
  ];
  const child = Bun.spawn(words, { stdout: "pipe", stderr: "pipe", env: peerEnvironment() });
  const [output, errors, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  if (code !== 0) throw new Error(`trtexec ended with ${code}:\n${(output + errors).slice(-1500)}`);
  return readTrtexecReport(output + errors);
}
