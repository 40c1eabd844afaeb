/** @module Components: the native libraries that can be installed by name, each file pinned, and which of their builds fits a machine. */

import { CatalogueError, message } from "../core/errors.ts";

/** A wheel in the user's Python package index. */
export interface WheelSource {
  readonly kind: "wheel";
  readonly package: string;
  /** Exact version. */
  readonly version: string;
  /** The wheel's platform tag: `manylinux_2_28_x86_64`. */
  readonly platform: string;
}

/** A jar in the user's Maven repositories. */
export interface JarSource {
  readonly kind: "jar";
  readonly group: string;
  readonly artifact: string;
  /** Exact version. */
  readonly version: string;
  readonly classifier: string;
}

/** An archive that a package client can find. Plain data. */
export type ArchiveSource = WheelSource | JarSource;

/** `wheel nvidia-nvjpeg 13.3.2.43 (manylinux2014_x86_64)`: for people, and one for each archive. */
export function sourceName(source: ArchiveSource): string {
  if (source.kind === "wheel") return `wheel ${source.package} ${source.version} (${source.platform})`;
  return `jar ${source.group}:${source.artifact}:${source.version} (${source.classifier})`;
}

/** A major version of CUDA that there are libraries for. */
export type CudaMajor = 12 | 13;

/** A processor that there are libraries for, as `process.arch` spells it. */
type Architecture = "x64" | "arm64";

/** A machine that libraries are wanted for, as `process` describes it. */
interface Machine {
  readonly platform: string;
  readonly arch: string;
}

/** One pinned file inside an archive. Its name on this machine is the last part of `member`. */
export interface ComponentFile {
  /** Path inside the archive. */
  readonly member: string;
  /** SHA-256 of the file, 64 hexadecimal digits. */
  readonly sha256: string;
  /** Size of the file in bytes. */
  readonly byteLength: number;
}

/** A component for one system and processor, and one CUDA where it needs one. Plain data. */
export interface ComponentBuild {
  /** As `process.platform` spells it. */
  readonly platform: "linux" | "darwin" | "win32";
  readonly architecture: Architecture;
  readonly cuda: CudaMajor | undefined;
  /** Version of the libraries. */
  readonly version: string;
  readonly source: ArchiveSource;
  /** The libraries, and nothing else of the archive. */
  readonly files: readonly ComponentFile[];
}

/** Libraries that are installed together. Plain data. */
export interface Component {
  /** As the CLI takes it: `cuda-runtime`. */
  readonly name: string;
  /** One line for people. */
  readonly description: string;
  /** Licence of the libraries and who gives it. */
  readonly licence: string;
  /** Where its text lies: not every archive holds that of its libraries. */
  readonly licenceText: { readonly source: ArchiveSource; readonly file: ComponentFile };
  readonly builds: readonly ComponentBuild[];
}

/** Which CUDA is wanted. */
export interface CudaWish {
  readonly major: CudaMajor;
  /** What says so, for messages: `--cuda 12`. `undefined` if nothing does: the other one will do as well. */
  readonly reason?: string;
}

/** `windows` of `win32`, for people; others are called as Bun calls them. */
function systemName(platform: string): string {
  return platform === "win32" ? "windows" : platform;
}

/** `nvjpeg 12.4.0.76 for CUDA 12, x64: NVIDIA …, from wheel nvidia-nvjpeg-cu12 12.4.0.76 (…)`: to be shown first. */
export function componentLine(component: Component, build: ComponentBuild): string {
  const { version, cuda, platform, architecture, source } = build;
  const machine = cuda === undefined ? systemName(platform) : `CUDA ${cuda}`;
  const what = `${component.name} ${version} for ${machine}, ${architecture}`;
  return `${what}: ${component.licence}, from ${sourceName(source)}`;
}

/** Size of all files of a build in bytes. */
export function buildBytes(build: ComponentBuild): number {
  return build.files.reduce((sum, file) => sum + file.byteLength, 0);
}

/** The builds of a component that a machine can run, whatever its CUDA. */
export function buildsFor(component: Component, machine: Machine): readonly ComponentBuild[] {
  return component.builds.filter(
    ({ platform, architecture }) => platform === machine.platform && architecture === machine.arch,
  );
}

/**
 * The build for a machine: of the CUDA that is wanted, else of an older one, which newer drivers run as well.
 *
 * @throws {CatalogueError} If there is none
 */
export function chooseBuild(component: Component, machine: Machine, wish: CudaWish): ComponentBuild {
  const builds = buildsFor(component, machine).toSorted((a, b) => (b.cuda ?? 0) - (a.cuda ?? 0));
  const fitting = builds.find((build) => (build.cuda ?? 0) <= wish.major);
  const newest = builds[0];
  if (fitting !== undefined) return fitting;
  const action = `install ${JSON.stringify(component.name)}`;
  if (newest === undefined) {
    const known = [...new Set(component.builds.map((one) => `${systemName(one.platform)} ${one.architecture}`))];
    const found = `there are builds for ${known.join(" and ")} only, not for ${systemName(machine.platform)} ${machine.arch}`;
    const isForCuda = component.builds.every((build) => build.cuda !== undefined);
    const hint =
      "install NVIDIA's own packages; BUN_TENSORRT_CUDART and BUN_TENSORRT_TENSORRT name libraries elsewhere";
    throw new CatalogueError(message(action, found, isForCuda ? hint : undefined), component.name);
  }
  if (wish.reason === undefined) return newest;
  const found = `on ${machine.arch} it needs CUDA ${newest.cuda}, and ${wish.reason}`;
  const hint = "update NVIDIA's driver (CUDA 13 needs 580 or later), or force it with --cuda 13";
  throw new CatalogueError(message(action, found, hint), component.name);
}

function wheel(name: string, version: string, platform: string): WheelSource {
  return { kind: "wheel", package: name, version, platform };
}

/** The one release that this artifact redistributes whole: those of 10.15 and 11.2 cannot build for sm_90. */
function tensorRtJar(classifier: string): JarSource {
  return { kind: "jar", group: "org.bytedeco", artifact: "tensorrt", version: "10.6-1.5.11", classifier };
}

const X64 = "manylinux2014_x86_64";
const ARM64 = "manylinux2014_aarch64";
const WINDOWS = "win_amd64";
const RTX_PARSER = "libtensorrt_onnxparser_rtx.so.1";
const RTX_PARSER_DLL = "tensorrt_onnxparser_rtx_1_7.dll";
const BUILDER_RESOURCE = "libnvinfer_builder_resource.so.10.6.0";
const TENSORRT_JARS = {
  x64: tensorRtJar("linux-x86_64-redist"),
  arm64: tensorRtJar("linux-arm64-redist"),
  windows: tensorRtJar("windows-x86_64-redist"),
};

/** @param files of one folder of the archive: name, size in bytes, SHA-256 */
function build(
  architecture: Architecture,
  cuda: CudaMajor,
  source: ArchiveSource,
  folder: string,
  files: readonly (readonly [name: string, byteLength: number, sha256: string])[],
): ComponentBuild {
  // The jar's version is that of TensorRT, and of its bindings after it.
  const version = source.kind === "jar" ? "10.6.0" : source.version;
  const pinned = files.map(([name, byteLength, sha256]) => ({ member: `${folder}/${name}`, sha256, byteLength }));
  return { platform: "linux", architecture, cuda, version, source, files: pinned };
}

/** The same for Windows on x64. */
function windowsBuild(...[cuda, ...rest]: SkipFirst<Parameters<typeof build>>): ComponentBuild {
  return { ...build("x64", cuda, ...rest), platform: "win32" };
}

type SkipFirst<List extends readonly unknown[]> = List extends readonly [unknown, ...infer Rest] ? Rest : never;

/** A build of ONNX Runtime by Microsoft. */
function onnxRuntime(
  platform: ComponentBuild["platform"],
  architecture: Architecture,
  tag: string,
  [name, byteLength, sha256]: readonly [name: string, byteLength: number, sha256: string],
): ComponentBuild {
  const source = wheel("onnxruntime", ONNX_RUNTIME, tag);
  const files = [{ member: `onnxruntime/capi/${name}`, sha256, byteLength }];
  return { platform, architecture, cuda: undefined, version: ONNX_RUNTIME, source, files };
}

const ONNX_RUNTIME = "1.30.0";

const CUDA_LICENCE = {
  licence: "NVIDIA CUDA Toolkit EULA (proprietary)",
  licenceText: {
    source: wheel("nvidia-cuda-runtime-cu12", "12.9.79", X64),
    file: {
      member: "nvidia_cuda_runtime_cu12-12.9.79.dist-info/licenses/License.txt",
      sha256: "ad6f5853fba0ca0d159d0f58d49ae49830c2f8c93f7a92648b9ce90adb4c6ccd",
      byteLength: 59_262,
    },
  },
} as const;

/** TensorRT-RTX comes under the same text. The jar holds none: it is read from the Python bindings of that version. */
const TENSORRT_LICENCE = {
  licence: "NVIDIA TensorRT SLA (proprietary)",
  licenceText: {
    source: wheel("tensorrt-cu12-bindings", "10.6.0", "manylinux_2_17_x86_64"),
    file: {
      member: "tensorrt_cu12_bindings-10.6.0.dist-info/LICENSE.txt",
      sha256: "64bd290f0251405f783ba1d2e155c500542be69795e51147a1d9f11a57bda8cc",
      byteLength: 46_961,
    },
  },
} as const;

/** Every component, in the order a list shows. */
export const components: readonly Component[] = [
  {
    name: "cuda-runtime",
    description: "libcudart: memory, streams and events; every GPU needs it",
    ...CUDA_LICENCE,
    builds: [
      build("x64", 12, wheel("nvidia-cuda-runtime-cu12", "12.9.79", X64), "nvidia/cuda_runtime/lib", [
        ["libcudart.so.12", 741_088, "256e6409e4f06f618e1fb53d4844a6b81cdded1013afa8ade40c22f99eb133b7"],
      ]),
      build("arm64", 12, wheel("nvidia-cuda-runtime-cu12", "12.9.79", ARM64), "nvidia/cuda_runtime/lib", [
        ["libcudart.so.12", 752_768, "f795754c077c4d74e26b900569c7e65fa3e68d47b2a29d0e6c02f77cd057d117"],
      ]),
      build("x64", 13, wheel("nvidia-cuda-runtime", "13.5.37", X64), "nvidia/cu13/lib", [
        ["libcudart.so.13", 806_720, "be114eaabb3f3251cf30b6e334be5e8c3cf1b12c0a11c17295a810dd83cc141a"],
      ]),
      build("arm64", 13, wheel("nvidia-cuda-runtime", "13.5.37", ARM64), "nvidia/cu13/lib", [
        ["libcudart.so.13", 802_096, "9050e4f487c91acf373b63b72128467115d2d6552ab935d36a3d154ac9443288"],
      ]),
      windowsBuild(12, wheel("nvidia-cuda-runtime-cu12", "12.9.79", WINDOWS), "nvidia/cuda_runtime/bin", [
        ["cudart64_12.dll", 583_680, "760c38928bbe5759f7b31ed6692599eb7ec83cedd5702e84c2b72028a89837e1"],
      ]),
      windowsBuild(13, wheel("nvidia-cuda-runtime", "13.5.37", WINDOWS), "nvidia/cu13/bin/x86_64", [
        ["cudart64_13.dll", 551_024, "16ab35d8150b6105b7e49da264d360db4ece090157ad48d226c1dc7254136008"],
      ]),
    ],
  },
  {
    name: "nvjpeg",
    description: "libnvjpeg: JPEG decoding on the GPU",
    ...CUDA_LICENCE,
    builds: [
      build("x64", 12, wheel("nvidia-nvjpeg-cu12", "12.4.0.76", X64), "nvidia/nvjpeg/lib", [
        ["libnvjpeg.so.12", 9_352_784, "27e1eb1834b20db64f99deba379746d8ec46b92975ccb4cdfa06a84d77e4c11e"],
      ]),
      build("arm64", 12, wheel("nvidia-nvjpeg-cu12", "12.4.0.76", ARM64), "nvidia/nvjpeg/lib", [
        ["libnvjpeg.so.12", 9_040_496, "dd1f2eeb2fa225f1edb4093f6c41400c1953fb21d28d6c1ece29a9739641afab"],
      ]),
      build("x64", 13, wheel("nvidia-nvjpeg", "13.3.2.43", X64), "nvidia/cu13/lib", [
        ["libnvjpeg.so.13", 6_097_696, "e9df27bc5a32d4b4c30d482da815d9e7af2efb593a673692aa6b2b429be17c39"],
      ]),
      build("arm64", 13, wheel("nvidia-nvjpeg", "13.3.2.43", ARM64), "nvidia/cu13/lib", [
        ["libnvjpeg.so.13", 6_027_056, "079fc7324bab0a15e5c9ccc485619b99c22dc26854dbdf0d2b59e9967d515a71"],
      ]),
      windowsBuild(12, wheel("nvidia-nvjpeg-cu12", "12.4.0.76", WINDOWS), "nvidia/nvjpeg/bin", [
        ["nvjpeg64_12.dll", 7_664_128, "26559f5319f6b947912daded08680ab248d5af7867529402af050b38b53193ff"],
      ]),
      windowsBuild(13, wheel("nvidia-nvjpeg", "13.3.2.43", WINDOWS), "nvidia/cu13/bin/x86_64", [
        ["nvjpeg64_13.dll", 3_960_432, "73aac4f2668e2a30fa8455f8eb1ee3abb10a7987f46c77456fc1a0735d770ac5"],
      ]),
    ],
  },
  {
    name: "tensorrt-rtx",
    description: "TensorRT-RTX with its ONNX parser: GeForce and RTX cards",
    ...TENSORRT_LICENCE,
    builds: [
      build("x64", 12, wheel("tensorrt-rtx-cu12-libs", "1.7.1.116", "manylinux_2_28_x86_64"), "tensorrt_rtx_libs", [
        ["libtensorrt_rtx.so.1", 220_572_064, "fa73b07d275bd89caee07110122c44702d7ab54a8c915c005e7732a66a6b776e"],
        [RTX_PARSER, 4_097_984, "27be1f67ef28683b54390b6cbc7ec3efc75b39c8ebc4c683cb8603bcfd0b8896"],
      ]),
      build("x64", 13, wheel("tensorrt-rtx-cu13-libs", "1.7.1.116", "manylinux_2_28_x86_64"), "tensorrt_rtx_libs", [
        ["libtensorrt_rtx.so.1", 234_013_248, "a74fa3974f1892b65a53b06a14ffcb15758ac51c12135ada84490f53f67e1051"],
        [RTX_PARSER, 4_097_984, "27be1f67ef28683b54390b6cbc7ec3efc75b39c8ebc4c683cb8603bcfd0b8896"],
      ]),
      build("arm64", 13, wheel("tensorrt-rtx-cu13-libs", "1.7.1.116", "manylinux_2_35_aarch64"), "tensorrt_rtx_libs", [
        ["libtensorrt_rtx.so.1", 213_748_008, "a7180e0a15a5387d60767ef7133a4fa42fe9f347fbf3c6d613099a609952df0a"],
        [RTX_PARSER, 3_422_296, "1c8ff39f9d1a2112165b8e2b59708785c9f5de218b60a55df1b8e9139b9d63bf"],
      ]),
      windowsBuild(12, wheel("tensorrt-rtx-cu12-libs", "1.7.1.116", WINDOWS), "tensorrt_rtx_libs", [
        ["tensorrt_rtx_1_7.dll", 219_122_800, "76fa47b594074bc5626244be1f4b6157f7d93474adb2192c7d4b91bd30b6e135"],
        [RTX_PARSER_DLL, 2_329_200, "586e27fd31cfc386ed534465e87010f5e59607b2bab38d32af100d14af30f1d4"],
      ]),
      windowsBuild(13, wheel("tensorrt-rtx-cu13-libs", "1.7.1.116", WINDOWS), "tensorrt_rtx_libs", [
        ["tensorrt_rtx_1_7.dll", 229_312_112, "f0ea0be2fb7d6a06519ef7090869248ab7c39e13d320a24389b85b6ee2d588b4"],
        [RTX_PARSER_DLL, 2_329_200, "14beff4494fa3e45cba695ea2a1bb8b69aa55c75b67677a1163357db9d7097c1"],
      ]),
    ],
  },
  {
    name: "tensorrt",
    description: "TensorRT with its ONNX parser and plugins: runs engines; building them takes tensorrt-builder too",
    ...TENSORRT_LICENCE,
    builds: [
      build("x64", 12, TENSORRT_JARS.x64, "org/bytedeco/tensorrt/linux-x86_64", [
        ["libnvinfer.so.10", 233_099_232, "f78b8f1962da16466df8ace14418886a5dedcfa9cf0af82fe36677229fbff420"],
        ["libnvonnxparser.so.10", 4_066_992, "d33b38ec4a98a89721aea507ddb4a648f43ae1cbbd4d22808b7c88d740caad8f"],
        ["libnvinfer_plugin.so.10", 33_439_456, "ca7562273a0783035849d0163a905f1f8ccfdc46e17e9e942b70239ec1251374"],
      ]),
      build("arm64", 12, TENSORRT_JARS.arm64, "org/bytedeco/tensorrt/linux-arm64", [
        ["libnvinfer.so.10", 216_670_664, "519714c69563b6a36e6b9df0d903151f99238f760ba4a9d517a61dbfafbb958d"],
        ["libnvonnxparser.so.10", 3_852_704, "ea858c94809ba9bfdf4f3ebbc60ec7dcc2baf0578bd5539a091ec0044a623c28"],
        ["libnvinfer_plugin.so.10", 33_218_712, "0b3873acda78d8b56e42f63eb89d606212d58002762974d939d82b06069a789e"],
      ]),
      windowsBuild(12, TENSORRT_JARS.windows, "org/bytedeco/tensorrt/windows-x86_64", [
        ["nvinfer_10.dll", 205_076_008, "07193cb30db7d539ae0d7577f9a672601dfe8154d26866e139582b4d65dcf34b"],
        ["nvonnxparser_10.dll", 2_981_928, "0d1d2b86514c2be168ea0c5dbdd19b2c17a9f01f34ef1cf230589980bcb5f7da"],
        ["nvinfer_plugin_10.dll", 30_031_912, "2f1e3f937cbb06c92a0c8c8b441037414d7c4a810a558a6927a4f146ee110d21"],
      ]),
    ],
  },
  {
    name: "tensorrt-builder",
    description: "what TensorRT builds engines from, beside tensorrt: about 1 GB to fetch",
    ...TENSORRT_LICENCE,
    builds: [
      build("x64", 12, TENSORRT_JARS.x64, "org/bytedeco/tensorrt/linux-x86_64", [
        [BUILDER_RESOURCE, 1_430_118_240, "a8739cdbf89ade0b3a2e66e4ca5123c46a0ce4be77d38ff5c9ceb1dbb317e00e"],
      ]),
      build("arm64", 12, TENSORRT_JARS.arm64, "org/bytedeco/tensorrt/linux-arm64", [
        [BUILDER_RESOURCE, 1_430_175_376, "d1990f98f466c2da0dabadfea02a606856bf796feff2f05095180b990023ff08"],
      ]),
      windowsBuild(12, TENSORRT_JARS.windows, "org/bytedeco/tensorrt/windows-x86_64", [
        [
          "nvinfer_builder_resource_10.dll",
          1_434_419_752,
          "5183688fff7d0ab5576a04ca654736bde4fef790746ec2f9e4d77299ed683ce3",
        ],
      ]),
    ],
  },
  {
    name: "onnxruntime",
    description: "Microsoft's own ONNX Runtime, in place of the one that is installed by default",
    licence: "MIT (Microsoft)",
    licenceText: {
      source: wheel("onnxruntime", ONNX_RUNTIME, "manylinux_2_28_x86_64"),
      file: {
        member: "onnxruntime/LICENSE",
        sha256: "2f07c72751aed99790b8a4869cf2311df85a860b22ded05fa22803587a48922c",
        byteLength: 1073,
      },
    },
    builds: [
      onnxRuntime("linux", "x64", "manylinux_2_28_x86_64", [
        "libonnxruntime.so.1.30.0",
        28_985_152,
        "c902c70b3003c0e99fada202f37478c515ae9bba7944c2b2abd0017bae0c82ed",
      ]),
      onnxRuntime("linux", "arm64", "manylinux_2_28_aarch64", [
        "libonnxruntime.so.1.30.0",
        25_135_496,
        "8a218e1e446880131115c368ec7005969a5022af9a15a26173de648fef0b7789",
      ]),
      onnxRuntime("darwin", "arm64", "macosx_14_0_arm64", [
        "libonnxruntime.1.30.0.dylib",
        33_209_560,
        "8f54aa3989f2d4b2f9fbe8af298b1c147978ec899a8c28e20d0d35edc0005027",
      ]),
      onnxRuntime("win32", "x64", WINDOWS, [
        "onnxruntime.dll",
        18_446_136,
        "44741724166ad61c8c82885e394793807f2cf5707c83b9e33c2d78d75c6e7650",
      ]),
    ],
  },
];

/** The component of that name; `undefined` if there is none. */
export function findComponent(name: string): Component | undefined {
  return components.find((component) => component.name === name);
}
