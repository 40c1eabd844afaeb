/**
 * @module bun-tensorrt/embed: `import "bun-tensorrt/embed"` puts ONNX Runtime, koffi, sharp and libvips into what
 * `bun build` makes, those of the system that `--target` names. Where nothing is built, it does nothing.
 *
 * @example
 * ```ts
 * import "bun-tensorrt/embed";
 * import { Detector } from "bun-tensorrt";
 * ```
 */

/// <reference path="./models.d.ts" preserve="true" />

import { addonError, IS_BUNDLED, isMissing, type NativeFiles, nativeParts } from "../core/embedded.ts";

/*
 * `bun build` makes a path of the `require` of a library, and an error of one that is not installed where a `try` is around it.
 * Platform and processor are written into an executable, and the branches of others are dropped.
 */

function onnxruntime(): NativeFiles | undefined {
  try {
    if (process.platform === "linux" && process.arch === "x64") {
      return { "libonnxruntime.so.1": require("onnxruntime-node/bin/napi-v6/linux/x64/libonnxruntime.so.1") };
    }
    if (process.platform === "linux" && process.arch === "arm64") {
      return { "libonnxruntime.so.1": require("onnxruntime-node/bin/napi-v6/linux/arm64/libonnxruntime.so.1") };
    }
    if (process.platform === "darwin" && process.arch === "arm64") {
      return { "libonnxruntime.1.dylib": require("onnxruntime-node/bin/napi-v6/darwin/arm64/libonnxruntime.1.dylib") };
    }
    if (process.platform === "win32" && process.arch === "x64") {
      return {
        "onnxruntime.dll": require("onnxruntime-node/bin/napi-v6/win32/x64/onnxruntime.dll"),
        // It looks beside itself first: the system's may be older.
        "DirectML.dll": require("onnxruntime-node/bin/napi-v6/win32/x64/DirectML.dll"),
      };
    }
  } catch {
    // Only those have it who have added it.
  }
  try {
    if (process.platform === "linux" && process.arch === "x64") {
      return { "libonnxruntime.so": require("sherpa-onnx-linux-x64/libonnxruntime.so") };
    }
    if (process.platform === "linux" && process.arch === "arm64") {
      return { "libonnxruntime.so": require("sherpa-onnx-linux-arm64/libonnxruntime.so") };
    }
    if (process.platform === "darwin" && process.arch === "arm64") {
      return { "libonnxruntime.dylib": require("sherpa-onnx-darwin-arm64/libonnxruntime.dylib") };
    }
    if (process.platform === "win32" && process.arch === "x64") {
      return { "onnxruntime.dll": require("sherpa-onnx-win-x64/onnxruntime.dll") };
    }
  } catch {
    // Not installed for this platform: whoever needs it is told so.
  }
  return undefined;
}

function libvips(): NativeFiles | undefined {
  try {
    if (process.platform === "linux" && process.arch === "x64") {
      return { "libvips-cpp.so": require("@img/sharp-libvips-linux-x64/binary") };
    }
    if (process.platform === "linux" && process.arch === "arm64") {
      return { "libvips-cpp.so": require("@img/sharp-libvips-linux-arm64/binary") };
    }
    if (process.platform === "darwin" && process.arch === "arm64") {
      return { "libvips-cpp.dylib": require("@img/sharp-libvips-darwin-arm64/binary") };
    }
  } catch {
    // As above.
  }
  return undefined;
}

/**
 * On Windows it is in the package of the addon, which exports the addon only: so it is looked for in the folders where installers
 * put that package, beside this one, beside a store of packages, and in this one.
 */
function libvipsOfWindows(): NativeFiles | undefined {
  if (process.platform !== "win32" || process.arch !== "x64") return undefined;
  try {
    return {
      "libvips-cpp-8.18.7.dll": require("../../../@img/sharp-win32-x64/lib/libvips-cpp-8.18.7.dll"),
      "libvips-42.dll": require("../../../@img/sharp-win32-x64/lib/libvips-42.dll"),
    };
  } catch {
    // In another of the folders.
  }
  try {
    return {
      "libvips-cpp-8.18.7.dll": require("../../../../../node_modules/@img/sharp-win32-x64/lib/libvips-cpp-8.18.7.dll"),
      "libvips-42.dll": require("../../../../../node_modules/@img/sharp-win32-x64/lib/libvips-42.dll"),
    };
  } catch {
    // In another of the folders.
  }
  try {
    return {
      "libvips-cpp-8.18.7.dll": require("../../node_modules/@img/sharp-win32-x64/lib/libvips-cpp-8.18.7.dll"),
      "libvips-42.dll": require("../../node_modules/@img/sharp-win32-x64/lib/libvips-42.dll"),
    };
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
    if (process.platform === "darwin" && process.arch === "arm64") {
      return require("@koromix/koffi-darwin-arm64/darwin_arm64/koffi.node");
    }
    if (process.platform === "win32" && process.arch === "x64") {
      return require("@koromix/koffi-win32-x64/win32_x64/koffi.node");
    }
  } catch (error) {
    if (!isMissing(error)) throw addonError("koffi", error);
  }
  return undefined;
}

if (IS_BUNDLED) {
  nativeParts.onnxruntime = onnxruntime();
  nativeParts.libvips = libvips() ?? libvipsOfWindows();
  nativeParts.koffi = koffi;
  nativeParts.sharp = () => require("sharp");
}
