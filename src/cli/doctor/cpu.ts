/** @module CPU libraries: what `doctor` says of ONNX Runtime, libturbojpeg and sharp. */

import { LibraryLoadError } from "../../core/errors.ts";
import { openOnnxRuntime } from "../../ffi/onnxruntime.ts";
import { findTurboJpeg as searchTurboJpeg } from "../../ffi/turbojpeg.ts";
import { loadSharp } from "../../image/sharp-library.ts";
import { plural } from "../format-table.ts";
import type { Finding } from "./finding.ts";
import { installCommand, type SystemPackageNames, thisSystem } from "./system-package.ts";

const TURBOJPEG: SystemPackageNames = {
  debian: "libturbojpeg0",
  ubuntu: "libturbojpeg",
  fedora: "turbojpeg",
  arch: "libjpeg-turbo",
  alpine: "libjpeg-turbo",
  macos: "jpeg-turbo",
};

/** ONNX Runtime: detection on the CPU needs it. */
export function findOnnxRuntime(): Finding {
  const name = "ONNX Runtime";
  try {
    const { version, path } = openOnnxRuntime();
    return { name, state: "ok", found: `${version} at ${path}` };
  } catch (error) {
    if (!(error instanceof LibraryLoadError)) throw error;
    const found = `not found, or not usable: ${plural(error.tried.length, "path")} tried`;
    return { name, state: "broken", found, fix: "bun add onnxruntime-node" };
  }
}

/** libturbojpeg: without it JPEG decodes at about half the speed. */
export function findTurboJpeg(): Finding {
  const name = "libturbojpeg";
  const found = searchTurboJpeg();
  if (!(found instanceof LibraryLoadError)) return { name, state: "ok", found: found.path };
  const fix = installCommand(TURBOJPEG, thisSystem()) ?? "install libturbojpeg";
  return { name, state: "absent", found: "not found: JPEG is decoded by sharp, more slowly", fix };
}

/** sharp: every format but JPEG, and drawing, need it. */
export async function findSharp(): Promise<Finding> {
  const name = "sharp";
  try {
    const { versions } = await loadSharp();
    return { name, state: "ok", found: `${versions.sharp}, libvips ${versions.vips}` };
  } catch (error) {
    if (!(error instanceof LibraryLoadError)) throw error;
    return { name, state: "broken", found: error.message.split("\n", 1)[0]!, fix: "bun add sharp" };
  }
}
