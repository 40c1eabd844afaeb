/** @module Probe: everything that is looked for on this machine. */

import { logger, setLogSink } from "../../core/log.ts";
import { hasCard } from "../../cuda/device.ts";
import { BACKEND_VARIABLE, choiceOf, type Finding, type FindingState, type GpuFindings } from "./finding.ts";
import { findCudaRuntime, findDriver, findGpus, findNvJpeg, findShim, findTensorRt, findVideoEngines } from "./gpu.ts";
import {
  findBoard,
  findBun,
  findCache,
  findOnnxRuntime,
  findProcessor,
  findSharp,
  findTurboJpeg,
  findVideoTools,
} from "./host.ts";

type Probe = () => Finding | readonly Finding[] | Promise<Finding>;

/** What one search found. A search that fails in an unforeseen way is a finding as well: the report goes on. */
async function probe(name: string, find: Probe, unforeseen: FindingState = "broken"): Promise<readonly Finding[]> {
  try {
    const found = await find();
    return "name" in found ? [found] : found;
  } catch (error) {
    const [found = ""] = String(error instanceof Error ? error.message : error).split("\n", 1);
    logger.info(`doctor: ${name}: ${Bun.inspect(error)}`);
    return [{ name, state: unforeseen, found, ...(unforeseen === "broken" ? { fix: "bun install" } : {}) }];
  }
}

/** Everything a GPU takes, in the order in which one thing needs the other. Detection works without. */
async function probeGpu(): Promise<GpuFindings> {
  const one = async (name: string, find: () => Finding): Promise<Finding> => (await probe(name, find, "absent"))[0]!;
  const driver = await one("NVIDIA driver", findDriver);
  const runtime = await one("CUDA runtime", findCudaRuntime);
  const gpus = await probe("NVIDIA GPU", findGpus, "absent");
  const shim = await one("TensorRT shim", findShim);
  const tensorRt = [
    await one("TensorRT", () => findTensorRt("TensorRT")),
    await one("TensorRT-RTX", () => findTensorRt("TensorRT-RTX")),
  ];
  const nvJpeg = await one("nvJPEG", findNvJpeg);
  return { gpus, driver, runtime, shim, tensorRt, nvJpeg, videoEngines: await one("NVDEC", findVideoEngines) };
}

/** What is passed over is a finding; a line about it, several times over, would only be noise. */
function quietly(): Disposable {
  const former = setLogSink((level, text) => {
    former?.(level === "warn" ? "info" : level, text);
  });
  return { [Symbol.dispose]: () => void setLogSink(former) };
}

/** Look for everything, in the order of the report. */
export async function findAll(): Promise<readonly Finding[]> {
  using _quiet = quietly();
  const gpu = await probeGpu();
  const host = [
    ...(await probe("Bun", findBun)),
    ...(await probe("CPU", findProcessor)),
    ...(await probe("board", findBoard, "absent")),
    ...(await probe("ONNX Runtime", findOnnxRuntime)),
    ...(await probe("sharp", findSharp)),
    ...(await probe("libturbojpeg", findTurboJpeg)),
    ...(await probe("ffmpeg", findVideoTools, "absent")),
  ];
  const wanted = process.env[BACKEND_VARIABLE] ?? "";
  const cache = await probe("cache folder", findCache);
  return [...host, ...choiceOf(gpu, hasCard(), [...host, ...cache], wanted), ...cache];
}
