/** @module LoadDetector: a model for a command, with what is to be seen of it: where it runs and why, and the building of its engine. */

import { basename } from "node:path";
import { Detector } from "../detector/detector.ts";
import type { DetectorOptions } from "../detector/detector-config.ts";
import { ImageModel } from "../detector/image-model.ts";
import type { ImageModelOptions } from "../detector/image-model-config.ts";
import { chooseAccelerator } from "../pipeline/accelerator.ts";
import { readModelFile } from "../pipeline/gpu/model-file.ts";
import { refuse } from "./args.ts";
import { BuildProgressView } from "./build-progress.ts";
import type { CommandContext } from "./command.ts";

/** For whom a model is loaded. */
export interface LoadDetectorOptions {
  /** Name of the command, for messages. */
  readonly command: string;
  /** Show nothing. */
  readonly isQuiet: boolean;
}

type BackendChoice = NonNullable<DetectorOptions["backend"]>;

/** `yolo11n` of `models/yolo11n.onnx`: what to call a model on the screen. */
export function modelTitle(path: string): string {
  return basename(path).replace(/\.onnx$/i, "");
}

/** True if a file is an engine rather than an ONNX model. @throws {ModelError} If it is missing or empty */
export async function isPlanFile(path: string): Promise<boolean> {
  return !/\.onnx$/i.test(path) && (await readModelFile(path)).isPlan;
}

/** Where it will run. Whoever looks on is told why it is not the GPU. */
async function chooseBackend(
  path: string,
  wanted: BackendChoice,
  { terminal }: CommandContext,
  { command, isQuiet }: LoadDetectorOptions,
): Promise<BackendChoice> {
  if (await isPlanFile(path)) {
    if (wanted !== "cpu") return "gpu";
    const hint = "leave --backend out, or give the ONNX model it was built from";
    throw refuse(command, "backend", `${JSON.stringify(path)} is a plan, which runs on a GPU alone`, hint);
  }
  if (wanted !== "auto" || isQuiet || !terminal.isTerminal) return wanted;
  const { registration, fault } = await chooseAccelerator(wanted);
  if (fault !== undefined) {
    const note = `Running on the ${registration.machine}, as the ${fault.machine} cannot be used: ${fault.reason}`;
    terminal.line(terminal.paint("dim", note));
  }
  return registration.names.includes("gpu") ? "gpu" : "cpu";
}

/**
 * Load a detector. While an engine is built for it, the build is shown, and Ctrl-C cancels it.
 *
 * @param path of an ONNX model or a plan
 * @throws as {@linkcode Detector.load} does
 */
export function loadDetector(
  path: string,
  options: DetectorOptions,
  context: CommandContext,
  look: LoadDetectorOptions,
): Promise<Detector> {
  return loadShown(path, options.backend, context, look, (shown) => Detector.load(path, { ...options, ...shown }));
}

/** Load an image model, as {@linkcode loadDetector} does a detector. @throws as {@linkcode ImageModel.load} does */
export function loadImageModel(
  path: string,
  options: ImageModelOptions,
  context: CommandContext,
  look: LoadDetectorOptions,
): Promise<ImageModel> {
  return loadShown(path, options.backend, context, look, (shown) => ImageModel.load(path, { ...options, ...shown }));
}

/** What is settled here of a model's options. */
type ShownOptions = Required<Pick<DetectorOptions, "backend" | "signal" | "onBuildProgress">>;

async function loadShown<Model>(
  path: string,
  wanted: BackendChoice | undefined,
  context: CommandContext,
  look: LoadDetectorOptions,
  load: (options: ShownOptions) => Promise<Model>,
): Promise<Model> {
  const { terminal, signal } = context;
  const backend = await chooseBackend(path, wanted ?? "auto", context, look);
  const isShown = !look.isQuiet && backend !== "cpu";
  using view = isShown ? new BuildProgressView(terminal, modelTitle(path), signal) : undefined;
  return await load({ backend, signal, onBuildProgress: (progress) => view?.update(progress) });
}
