/** @module Convert command: a model of FP32 in, one of FP16, INT8 or FP8 out. */

import { existsSync } from "node:fs";
import { BunTensorRtError } from "../../core/errors.ts";
import { printable, printableJson } from "../../core/shown.ts";
import { formatBytes, plural } from "../../core/units.ts";
import { Device } from "../../cuda/device.ts";
import { convert } from "../../precision/precision.ts";
import type { Conversion, Sensitivity } from "../../precision/precision-config.ts";
import { warnOfSlowFp8 } from "../../tensorrt/fp16-network.ts";
import { openTensorRt } from "../../tensorrt/library.ts";
import { type ParsedArguments, refuse } from "../args.ts";
import { type CommandContext, EXIT_OK } from "../command.ts";
import { Complaints } from "../images.ts";
import { findModel, modelTitle } from "../load-detector.ts";
import { parseConvertFlags } from "../precision-flags.ts";
import { Progress } from "../progress.ts";

/** `fp16: 12.3 MiB to 6.23 MiB; 223 layers in fp16, 8 in fp32 (8 box arithmetic), 4 casts`. Pure. */
function formatConversion({ precision, byteLength, layers, casts, calibration }: Conversion): string {
  const counts = new Map<string, number>();
  const reasons = new Map<string, number>();
  for (const { type, reason } of layers) {
    counts.set(type, (counts.get(type) ?? 0) + 1);
    const [short] = type === "fp32" ? (reason?.split(":", 1) ?? []) : [];
    if (short !== undefined) reasons.set(short, (reasons.get(short) ?? 0) + 1);
  }
  const why = [...reasons].map(([reason, count]) => `${count} ${reason}`).join(", ");
  const types = [...counts].map(([type, count], at) => {
    const named = at === 0 ? `${plural(count, "layer")} in ${type}` : `${count} in ${type}`;
    return type === "fp32" && why !== "" ? `${named} (${why})` : named;
  });
  const size = `${formatBytes(byteLength.before)} to ${formatBytes(byteLength.after)}`;
  const skipped = calibration?.skipped.length ?? 0;
  const images = calibration && `; ${plural(calibration.images, "image")}${skipped > 0 ? `, ${skipped} skipped` : ""}`;
  return `${precision}: ${size}; ${types.join(", ")}; ${plural(casts, "cast")}${images ?? ""}`;
}

/** `loss 0.0312 with all layers quantised, 0.0080 of 0.01 allowed with 5 in float: /model.2 (4 layers, 0.0210), conv1 21.3 dB, …`. Pure. */
function formatSensitivity({ lossBefore, loss, maxLoss, layers, blocks }: Sensitivity): string {
  const kept = layers.filter(({ isKept }) => isKept);
  const before = `loss ${lossBefore.toFixed(4)} with all layers quantised`;
  if (kept.length === 0) return `${before}, of ${maxLoss} allowed`;
  const together = blocks.filter(({ isKept }) => isKept);
  const inBlocks = new Set(together.flatMap((block) => block.layers));
  const named = [
    ...together.map((one) => `${printable(one.name)} (${plural(one.layers.length, "layer")}, ${one.cost.toFixed(4)})`),
    ...kept
      .filter(({ name }) => !inBlocks.has(name))
      .map(({ name, sqnr }) => `${printable(name)} ${sqnr.toFixed(1)} dB`),
  ].join(", ");
  return `${before}, ${loss.toFixed(4)} of ${maxLoss} allowed with ${kept.length} in float: ${named}`;
}

/** Say it where this machine would run FP8 slower than FP16. */
function warnOfFp8Here(): void {
  try {
    using device = Device.open();
    warnOfSlowFp8(openTensorRt(), device);
  } catch (error) {
    // Without TensorRT or a GPU there is nothing to say of them.
    if (!(error instanceof BunTensorRtError)) throw error;
  }
}

/** Run `convert`. @returns the exit code */
export async function run(parsed: ParsedArguments, context: CommandContext): Promise<number> {
  const { output, terminal, signal } = context;
  const { options, isJson, isQuiet } = parseConvertFlags(parsed);
  const [word, ...others] = parsed.operands;
  if (word === undefined || others.length > 0) {
    const found = `Expected one model, got ${parsed.operands.length}`;
    throw refuse("model", found, "bunx bun-tensorrt convert yolo11n --precision fp16");
  }
  const path = await findModel(word, context);
  const title = modelTitle(path);
  // Of a model from elsewhere the place is a cache.
  const place = existsSync(word) ? options.output : (options.output ?? `${title}.${options.precision}.onnx`);
  const complaints = new Complaints(terminal);
  let phase = "";
  let progress: Progress | undefined;
  try {
    const conversion = await convert(path, {
      ...options,
      output: place,
      signal,
      onError: (error) => complaints.tell(error),
      onProgress: (state) => {
        if (isQuiet) return;
        if (state.phase !== phase) {
          progress?.close();
          const unit = state.phase === "write" ? "bytes" : "images";
          progress = new Progress(terminal, state.phase === "rank" ? `${title}, layers ranked` : title, unit);
          ({ phase } = state);
        }
        progress?.update(state.done, state.total);
      },
    });
    progress?.close();
    if (!isQuiet) terminal.line(terminal.paint("dim", formatConversion(conversion)));
    if (!isQuiet && conversion.sensitivity !== undefined) terminal.line(formatSensitivity(conversion.sensitivity));
    if (!isQuiet && conversion.report !== undefined) terminal.line(`Report: ${printable(conversion.report.path)}`);
    if (options.precision === "fp8") warnOfFp8Here();
    await output.write(isJson ? `${printableJson(conversion, 2)}\n` : `${conversion.path}\n`);
    return EXIT_OK;
  } finally {
    progress?.close();
  }
}
