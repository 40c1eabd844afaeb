/** @module Doctor command: what was found on this machine, and how to get what is missing. */

import { logger } from "../../core/log.ts";
import type { ParsedArguments } from "../args.ts";
import { type Command, type CommandContext, EXIT_FAILED, EXIT_OK } from "../command.ts";
import { findOnnxRuntime, findSharp, findTurboJpeg } from "../doctor/cpu.ts";
import { type Finding, formatFindings, isHealthy } from "../doctor/finding.ts";
import { findCudaRuntime, findDriver, findGpu, findTensorRt } from "../doctor/gpu.ts";
import { findBun, findCache, findProcessor } from "../doctor/host.ts";
import { paintOf } from "../terminal.ts";

/** What one search found. A search that fails in an unforeseen way is a finding as well: the report goes on. */
async function probe(name: string, find: () => Finding | Promise<Finding>): Promise<Finding> {
  try {
    return await find();
  } catch (error) {
    const [found = ""] = String(error instanceof Error ? error.message : error).split("\n", 1);
    logger.info(`doctor: ${name}: ${Bun.inspect(error)}`);
    return { name, state: "broken", found, fix: "bun install" };
  }
}

async function run({ flags }: ParsedArguments, { output }: CommandContext): Promise<number> {
  const gpu = await probe("NVIDIA GPU", findGpu);
  const gpuLibraries = [
    await probe("NVIDIA driver", findDriver),
    await probe("CUDA runtime", findCudaRuntime),
    await probe("TensorRT", findTensorRt),
  ];
  const findings: readonly Finding[] = [
    await probe("Bun", findBun),
    await probe("CPU", findProcessor),
    await probe("ONNX Runtime", findOnnxRuntime),
    await probe("sharp", findSharp),
    await probe("libturbojpeg", findTurboJpeg),
    gpu,
    // Without a card nothing would be won by installing its libraries.
    ...gpuLibraries.map(({ fix, ...rest }) => (gpu.state === "ok" && fix !== undefined ? { ...rest, fix } : rest)),
    await probe("cache folder", findCache),
  ];
  const text =
    flags.json === true
      ? `${JSON.stringify(findings, null, 2)}\n`
      : formatFindings(findings, paintOf(output.hasColour));
  await output.write(text);
  return isHealthy(findings) ? EXIT_OK : EXIT_FAILED;
}

/** `doctor`. */
export const doctor: Command = {
  name: "doctor",
  summary: "Show what was found on this machine, and the command that fixes what is missing.",
  usage: ["doctor [--json]"],
  flags: [{ name: "json", summary: "as JSON: an array of {name, state, found, fix}" }],
  notes: [
    "ok: there and working. absent: not there, detection works without. broken: detection fails because of it.",
    "The exit code is 1 if anything is broken.",
  ],
  examples: ["doctor", "doctor --json"],
  run,
};
