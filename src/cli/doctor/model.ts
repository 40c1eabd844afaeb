/** @module Model: what a model is taken for, how sure that is, and what of it would run where on this machine. */

import { chooseAccelerator } from "../../accelerators/accelerator.ts";
import { LibraryLoadError, UnavailableError } from "../../core/errors.ts";
import { nvJpegLibrary } from "../../ffi/nvjpeg.ts";
import { findTurboJpeg } from "../../ffi/turbojpeg.ts";
import { type AnySpec, hostPartOf, type ModelRuns, taskOf } from "../format-inspection.ts";

/** What decodes JPEG files; sharp decodes the rest. */
function jpegDecoder(isGpu: boolean): string {
  const onCpu = findTurboJpeg() instanceof LibraryLoadError ? "sharp" : "libturbojpeg";
  if (!isGpu) return onCpu;
  try {
    nvJpegLibrary();
    return "nvJPEG";
  } catch (error) {
    if (!(error instanceof LibraryLoadError)) throw error;
    return onCpu;
  }
}

/** What is chosen where nothing else is said; `undefined` where the environment asks for what this machine has not. */
async function usualChoice() {
  try {
    return await chooseAccelerator("auto");
  } catch (error) {
    if (!(error instanceof UnavailableError)) throw error;
    return undefined;
  }
}

/** Where the parts of a model run with `--backend auto`; `undefined` where it runs nowhere. */
export async function runsOf(spec: AnySpec): Promise<ModelRuns | undefined> {
  const choice = await usualChoice();
  if (choice === undefined) return undefined;
  const { registration, fault } = choice;
  const task = taskOf(spec);
  const kept = hostPartOf(spec)?.what;
  const isGpu = registration.machine === "GPU" && kept === undefined;
  const why = kept === undefined ? fault?.reason : `${kept} has no part for a GPU`;
  const isOwn = "plan" in spec && spec.plan.kind === "own";
  const isFinishedByHost = !isGpu || isOwn || ["classify", "semantic", "depth"].includes(task);
  return {
    decode: `JPEG: ${jpegDecoder(isGpu)}; others: sharp`,
    preprocess: isGpu ? "GPU" : "CPU",
    model: isGpu ? "GPU: TensorRT" : "CPU: ONNX Runtime",
    postprocess: isFinishedByHost ? "CPU" : "GPU",
    ...(isGpu || why === undefined ? {} : { why }),
  };
}
