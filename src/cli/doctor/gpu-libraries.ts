/** @module GPU libraries: what `doctor` says of the CUDA runtime, TensorRT, the shim and nvJPEG. */

import { readdirSync } from "node:fs";
import { dirname } from "node:path";
import { LibraryLoadError } from "../../core/errors.ts";
import { cudaRuntimePath, cudaRuntimeSpec, cudaRuntimeVersion, formatCudaVersion } from "../../ffi/cuda-runtime.ts";
import { nvJpegLibrary, nvJpegSpec } from "../../ffi/nvjpeg.ts";
import { SHIM_SPEC, shim } from "../../ffi/shim.ts";
import { openTensorRt, type TensorRtLibrary, tensorRtSpec } from "../../tensorrt/library.ts";
import type { TensorRtFamily } from "../../tensorrt/version.ts";
import type { Finding } from "./finding.ts";
import { faultsOf, whyUnusable } from "./library-faults.ts";

/** Names of `bun-tensorrt install`. */
const COMPONENTS: Readonly<Record<TensorRtFamily, string>> = {
  TensorRT: "tensorrt",
  "TensorRT-RTX": "tensorrt-rtx",
};

/** The CUDA runtime. */
export function findCudaRuntime(): Finding {
  const name = "CUDA runtime";
  try {
    return { name, state: "ok", found: `${formatCudaVersion(cudaRuntimeVersion())} at ${cudaRuntimePath()}` };
  } catch (error) {
    if (!(error instanceof LibraryLoadError)) throw error;
    const found = `libcudart 12 or 13 ${whyUnusable(error, cudaRuntimeSpec([]))}`;
    return { name, state: "absent", found, fix: "bun-tensorrt install cuda-runtime" };
  }
}

/** The C library through which TensorRT's C++ objects are called; the package brings it. */
export function findShim(): Finding {
  const name = "TensorRT shim";
  try {
    return { name, state: "ok", found: `version ${shim().bt_abi_version()} for ${process.platform}-${process.arch}` };
  } catch (error) {
    if (!(error instanceof LibraryLoadError)) throw error;
    return { name, state: "absent", found: whyUnusable(error, SHIM_SPEC), fix: SHIM_SPEC.hint };
  }
}

/** True if a TensorRT lacks the kernels its builder chooses from: it runs plans, and builds none. */
export function lacksBuilder({ path, version }: TensorRtLibrary): boolean {
  // A library that the dynamic linker found by name has its parts where that finds them too.
  if (version.family !== "TensorRT" || !path.includes("/")) return false;
  return !readdirSync(dirname(path)).some((file) => file.startsWith("libnvinfer_builder_resource"));
}

/** What a TensorRT that opens cannot do, and what would help. */
function shortcoming(library: TensorRtLibrary): { readonly text: string; readonly fix: string } | undefined {
  const what = "plans run, but ONNX models cannot be built";
  try {
    library.openParser();
  } catch (error) {
    if (!(error instanceof LibraryLoadError)) throw error;
    const [fault = "it is not beside it"] = faultsOf(error);
    return { text: `${what} without its ONNX parser: ${fault}`, fix: installCommand(library.version.family) };
  }
  if (!lacksBuilder(library)) return undefined;
  return { text: `${what} without its builder resource`, fix: "bun-tensorrt install tensorrt-builder" };
}

function installCommand(family: TensorRtFamily): string {
  return `bun-tensorrt install ${COMPONENTS[family]}`;
}

/** TensorRT, or TensorRT-RTX. */
export function findTensorRt(family: TensorRtFamily): Finding {
  try {
    const library = openTensorRt({ family });
    const { release, build } = library.version;
    const found = `${release}${build === undefined ? "" : `.${build}`} at ${library.path}`;
    const short = shortcoming(library);
    if (short === undefined) return { name: family, state: "ok", found };
    return { name: family, state: "ok", found: `${found}: ${short.text}`, fix: short.fix };
  } catch (error) {
    if (!(error instanceof LibraryLoadError)) throw error;
    return { name: family, state: "absent", found: whyUnusable(error, tensorRtSpec()), fix: installCommand(family) };
  }
}

/** nvJPEG. */
export function findNvJpeg(): Finding {
  const name = "nvJPEG";
  try {
    const { version, path } = nvJpegLibrary();
    return { name, state: "ok", found: `${version} at ${path}` };
  } catch (error) {
    if (!(error instanceof LibraryLoadError)) throw error;
    const found = `${whyUnusable(error, nvJpegSpec())}: JPEG is decoded on the CPU`;
    return { name, state: "absent", found, fix: "bun-tensorrt install nvjpeg" };
  }
}
