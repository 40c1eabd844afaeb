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

/// <reference path="../core/files.d.ts" />
/// <reference path="./models.d.ts" preserve="true" />

import { IS_BUNDLED, type NativeParts, nativeParts } from "../core/embedded.ts";

type FileImport = { readonly default: string } | undefined;

/** `bun build` forgives an import of what is not installed where its failure is caught; a program without that part says so itself. */
const absent = (): undefined => undefined;

/** `bun build --compile` writes platform and processor of its target into the program and drops the other branches. */
async function partsOfTarget(): Promise<NativeParts> {
  let onnxruntime: FileImport;
  let koffi: FileImport;
  let libvips: FileImport;
  if (process.platform === "linux" && process.arch === "x64") {
    onnxruntime = await import("onnxruntime-node/bin/napi-v6/linux/x64/libonnxruntime.so.1", {
      with: { type: "file" },
    }).catch(absent);
    onnxruntime ??= await import("sherpa-onnx-linux-x64/libonnxruntime.so", { with: { type: "file" } }).catch(absent);
    koffi = await import("@koromix/koffi-linux-x64/linux_x64/koffi.node", { with: { type: "file" } }).catch(absent);
    libvips = await import("@img/sharp-libvips-linux-x64/binary", { with: { type: "file" } }).catch(absent);
  }
  if (process.platform === "linux" && process.arch === "arm64") {
    onnxruntime = await import("onnxruntime-node/bin/napi-v6/linux/arm64/libonnxruntime.so.1", {
      with: { type: "file" },
    }).catch(absent);
    onnxruntime ??= await import("sherpa-onnx-linux-arm64/libonnxruntime.so", { with: { type: "file" } }).catch(absent);
    koffi = await import("@koromix/koffi-linux-arm64/linux_arm64/koffi.node", { with: { type: "file" } }).catch(absent);
    libvips = await import("@img/sharp-libvips-linux-arm64/binary", { with: { type: "file" } }).catch(absent);
  }
  return { onnxruntime: onnxruntime?.default, koffi: koffi?.default, libvips: libvips?.default };
}

if (IS_BUNDLED) Object.assign(nativeParts, await partsOfTarget(), { sharp: () => require("sharp") });
