/**
 * @module bun-tensorrt/embed: `import "bun-tensorrt/embed"` puts ONNX Runtime, koffi, sharp and libvips into what
 * `bun build` makes. Where nothing is built, it does nothing.
 *
 * @example
 * ```ts
 * import "bun-tensorrt/embed";
 * import { Detector } from "bun-tensorrt";
 * ```
 */

/// <reference path="./models.d.ts" preserve="true" />

import { addonError, IS_BUNDLED, nativeParts } from "../core/embedded.ts";

/*
 * `bun build` makes a path of the `require` of a library, and an error of one that is not installed where a `try` is around it.
 * Platform and processor are written into an executable, and the branches of others are dropped.
 */

function onnxruntime(): string | undefined {
  try {
    if (process.platform === "linux" && process.arch === "x64") {
      return require("onnxruntime-node/bin/napi-v6/linux/x64/libonnxruntime.so.1");
    }
    if (process.platform === "linux" && process.arch === "arm64") {
      return require("onnxruntime-node/bin/napi-v6/linux/arm64/libonnxruntime.so.1");
    }
  } catch {
    // Only those have it who have added it.
  }
  try {
    if (process.platform === "linux" && process.arch === "x64")
      return require("sherpa-onnx-linux-x64/libonnxruntime.so");
    if (process.platform === "linux" && process.arch === "arm64")
      return require("sherpa-onnx-linux-arm64/libonnxruntime.so");
  } catch {
    // Not installed for this platform: whoever needs it is told so.
  }
  return undefined;
}

function libvips(): string | undefined {
  try {
    if (process.platform === "linux" && process.arch === "x64") return require("@img/sharp-libvips-linux-x64/binary");
    if (process.platform === "linux" && process.arch === "arm64") {
      return require("@img/sharp-libvips-linux-arm64/binary");
    }
  } catch {
    // As above.
  }
  return undefined;
}

function koffi(): unknown {
  try {
    // koffi's own module around the addon only looks for it, and warns of old names.
    if (process.platform === "linux" && process.arch === "x64") {
      return require("@koromix/koffi-linux-x64/linux_x64/koffi.node");
    }
    if (process.platform === "linux" && process.arch === "arm64") {
      return require("@koromix/koffi-linux-arm64/linux_arm64/koffi.node");
    }
    return undefined;
  } catch (error) {
    throw addonError("koffi", error);
  }
}

if (IS_BUNDLED && process.platform === "linux") {
  nativeParts.onnxruntime = onnxruntime();
  nativeParts.libvips = libvips();
  nativeParts.koffi = koffi;
  nativeParts.sharp = () => require("sharp");
}
