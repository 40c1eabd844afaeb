import { expect, test } from "bun:test";
import { posix, win32 } from "node:path";
import { CUDA_DRIVER_SPEC, cudaRuntimeSpec } from "../../src/ffi/cuda-runtime.ts";
import { candidatePaths, type LibrarySpec, type Machine } from "../../src/ffi/discovery.ts";
import { ONNXRUNTIME } from "../../src/ffi/onnxruntime.ts";
import { tensorRtSpec } from "../../src/tensorrt/library.ts";

/** A machine as people have it, with made-up files. */
interface SetUp {
  readonly name: string;
  /** `linux-x64` by default. */
  readonly platform?: `${"linux" | "darwin" | "win32"}-${"x64" | "arm64"}`;
  readonly environment?: Readonly<Record<string, string>>;
  readonly npm?: Readonly<Record<string, string>>;
  readonly files: readonly string[];
  /** Libraries that the dynamic linker finds by name. */
  readonly linker?: readonly string[];
  /** What is found, by library; `undefined` for nothing. */
  readonly found: Readonly<Partial<Record<keyof typeof LIBRARIES, string | undefined>>>;
}

const LINUX_CUDART = ["libcudart.so.13", "libcudart.so.12"];
const WINDOWS_TENSORRT = ["nvinfer_11.dll", "nvinfer_10.dll", "tensorrt_rtx_1_7.dll"];

/** Specs by library, with their files on Windows. */
const LIBRARIES = {
  driver: { spec: CUDA_DRIVER_SPEC, windows: ["nvcuda.dll"] },
  cudart: { spec: cudaRuntimeSpec(LINUX_CUDART), windows: ["cudart64_13.dll", "cudart64_12.dll"] },
  tensorrt: { spec: tensorRtSpec(), windows: WINDOWS_TENSORRT },
  onnxruntime: {
    spec: { ...ONNXRUNTIME, files: ["libonnxruntime.so.1", "libonnxruntime.so", "libonnxruntime.so.1.*"] },
    windows: ["onnxruntime.dll"],
  },
} as const satisfies Record<string, { spec: LibrarySpec; windows: readonly string[] }>;

const HOME = "/home/ada";
const WORK = `${HOME}/app`;

function machineOf({ platform = "linux-x64", environment = {}, npm = {}, files }: SetUp): Machine {
  const [system, architecture] = platform.split("-") as [NodeJS.Platform, string];
  const isWindows = system === "win32";
  const { sep } = isWindows ? win32 : posix;
  const home = isWindows ? "C:\\Users\\ada" : HOME;
  return {
    platform: system,
    architecture,
    environment,
    home,
    workingFolder: isWindows ? `${home}\\app` : WORK,
    cache: isWindows ? `${home}\\AppData\\Local\\bun-tensorrt` : `${home}/.cache/bun-tensorrt`,
    list: (folder) => {
      const below = files.filter((file) => file.startsWith(folder + sep));
      if (below.length === 0) return undefined;
      return [...new Set(below.map((file) => file.slice(folder.length + 1).split(sep, 1)[0]!))];
    },
    npmPackage: (name) => npm[name],
  };
}

function find(library: keyof typeof LIBRARIES, setUp: SetUp): string | undefined {
  const machine = machineOf(setUp);
  const { spec, windows } = LIBRARIES[library];
  const { own: _, ...searched } = spec as LibrarySpec;
  const files = machine.platform === "win32" ? windows : spec.files;
  return candidatePaths({ ...searched, files }, machine).find(
    (path) => setUp.files.includes(path) || setUp.linker?.includes(path),
  );
}

const SITE = "lib/python3.12/site-packages";
const CUDART_12 = "nvidia/cuda_runtime/lib/libcudart.so.12";
const CUDART_13 = "nvidia/cu13/lib/libcudart.so.13";
const WSL = "/usr/lib/wsl/lib/libcuda.so.1";
const X64 = "/usr/lib/x86_64-linux-gnu";
const ARM64 = "/usr/lib/aarch64-linux-gnu";
const JETSON = { cudart: "/usr/local/cuda-12.6/targets/aarch64-linux/lib/libcudart.so.12" };
const WINDOWS_CUDA = "C:\\Program Files\\NVIDIA GPU Computing Toolkit\\CUDA";
const NPM = `${WORK}/node_modules/onnxruntime-node`;

const SET_UPS: readonly SetUp[] = [
  {
    name: "WSL 2 with Windows' driver only",
    files: [WSL],
    found: { driver: WSL, cudart: undefined },
  },
  {
    name: "WSL 2 where a Linux driver was installed by mistake",
    files: [WSL, `${X64}/libcuda.so.1`],
    linker: ["libcuda.so.1"],
    found: { driver: WSL },
  },
  {
    name: "WSL 2 with the toolkit and TensorRT from NVIDIA's repository",
    files: [WSL, "/usr/local/cuda/lib64/libcudart.so.12", `${X64}/libnvinfer.so.10`],
    found: { driver: WSL, cudart: "/usr/local/cuda/lib64/libcudart.so.12", tensorrt: `${X64}/libnvinfer.so.10` },
  },
  {
    name: "Jetson Orin with JetPack 6",
    platform: "linux-arm64",
    files: [`${ARM64}/nvidia/libcuda.so.1`, JETSON.cudart, `${ARM64}/libnvinfer.so.10`],
    found: { driver: `${ARM64}/nvidia/libcuda.so.1`, cudart: JETSON.cudart, tensorrt: `${ARM64}/libnvinfer.so.10` },
  },
  {
    name: "Jetson whose TensorRT lies in the folder of the board's libraries",
    platform: "linux-arm64",
    files: [`${ARM64}/nvidia/libcuda.so.1`, `${ARM64}/nvidia/libnvinfer.so.10`],
    found: { driver: `${ARM64}/nvidia/libcuda.so.1`, tensorrt: `${ARM64}/nvidia/libnvinfer.so.10` },
  },
  {
    name: "Jetson Xavier with JetPack 5",
    platform: "linux-arm64",
    files: [`${ARM64}/tegra/libcuda.so.1`],
    found: { driver: `${ARM64}/tegra/libcuda.so.1` },
  },
  {
    name: "Jetson Thor or Grace with the toolkit for servers",
    platform: "linux-arm64",
    files: ["/usr/local/cuda-13.0/targets/sbsa-linux/lib/libcudart.so.13", `${ARM64}/libnvinfer.so.10`],
    linker: ["libcuda.so.1"],
    found: {
      driver: "libcuda.so.1",
      cudart: "/usr/local/cuda-13.0/targets/sbsa-linux/lib/libcudart.so.13",
      tensorrt: `${ARM64}/libnvinfer.so.10`,
    },
  },
  {
    name: "NixOS, whose dynamic linker has no folders",
    environment: { CUDA_PATH: "/nix/store/abc-cuda-merged-12.8" },
    files: ["/run/opengl-driver/lib/libcuda.so.1", "/nix/store/abc-cuda-merged-12.8/lib/libcudart.so.12"],
    found: {
      driver: "/run/opengl-driver/lib/libcuda.so.1",
      cudart: "/nix/store/abc-cuda-merged-12.8/lib/libcudart.so.12",
    },
  },
  {
    name: "NixOS with a shell that sets the library path",
    environment: { LD_LIBRARY_PATH: "/nix/store/x-driver/lib:/nix/store/y-tensorrt/lib" },
    files: [
      "/run/opengl-driver/lib/libcuda.so.1",
      "/nix/store/x-driver/lib/libcuda.so.1",
      "/nix/store/y-tensorrt/lib/libnvinfer.so.10",
    ],
    found: {
      driver: "/nix/store/x-driver/lib/libcuda.so.1",
      tensorrt: "/nix/store/y-tensorrt/lib/libnvinfer.so.10",
    },
  },
  {
    name: "GKE, whose device plugin mounts the driver",
    files: ["/usr/local/nvidia/lib64/libcuda.so.1", `/usr/local/${SITE}/${CUDART_12}`],
    found: { driver: "/usr/local/nvidia/lib64/libcuda.so.1", cudart: `/usr/local/${SITE}/${CUDART_12}` },
  },
  {
    name: "GKE with its library path",
    environment: { LD_LIBRARY_PATH: "/usr/local/nvidia/lib64:/usr/local/nvidia/lib" },
    files: ["/usr/local/nvidia/lib64/libcuda.so.1", "/usr/local/cuda/compat/libcuda.so.1"],
    found: { driver: "/usr/local/nvidia/lib64/libcuda.so.1" },
  },
  {
    name: "NVIDIA's CUDA image: the host's driver is mounted, and goes before the image's newer one",
    files: ["/usr/local/cuda/compat/libcuda.so.1", "/usr/local/cuda-12.9/compat/libcuda.so.1"],
    linker: ["libcuda.so.1"],
    found: { driver: "libcuda.so.1" },
  },
  {
    name: "NVIDIA's CUDA image whose driver is only the one for forward compatibility",
    files: ["/usr/local/cuda-12.9/compat/libcuda.so.1", "/usr/local/cuda-12.4/compat/libcuda.so.1"],
    found: { driver: "/usr/local/cuda-12.9/compat/libcuda.so.1" },
  },
  {
    name: "conda with CUDA from conda-forge",
    environment: { CONDA_PREFIX: "/opt/conda/envs/vision" },
    files: ["/opt/conda/envs/vision/lib/libcudart.so.12", "/opt/conda/envs/vision/lib/libonnxruntime.so.1.22.0"],
    linker: ["libcudart.so.12"],
    found: {
      cudart: "/opt/conda/envs/vision/lib/libcudart.so.12",
      onnxruntime: "/opt/conda/envs/vision/lib/libonnxruntime.so.1.22.0",
    },
  },
  {
    name: "conda with NVIDIA's channel",
    environment: { CONDA_PREFIX: "/opt/conda" },
    files: ["/opt/conda/targets/x86_64-linux/lib/libcudart.so.12"],
    found: { cudart: "/opt/conda/targets/x86_64-linux/lib/libcudart.so.12" },
  },
  {
    name: "a virtual environment inside conda: both are active, and the virtual one wins",
    environment: { CONDA_PREFIX: "/opt/conda", VIRTUAL_ENV: `${WORK}/env` },
    files: [
      `${WORK}/env/${SITE}/${CUDART_12}`,
      "/opt/conda/lib/libcudart.so.12",
      `/opt/conda/${SITE}/tensorrt_libs/libnvinfer.so.10`,
    ],
    found: {
      cudart: `${WORK}/env/${SITE}/${CUDART_12}`,
      tensorrt: `/opt/conda/${SITE}/tensorrt_libs/libnvinfer.so.10`,
    },
  },
  {
    name: "an empty VIRTUAL_ENV, as some shells leave it, names no folder",
    environment: { VIRTUAL_ENV: "" },
    files: [`lib/python3.12/site-packages/${CUDART_12}`, `/${SITE}/${CUDART_12}`, `/usr/local/${SITE}/${CUDART_13}`],
    found: { cudart: `/usr/local/${SITE}/${CUDART_13}` },
  },
  {
    name: "uv: the project's .venv, which is not active",
    files: [
      `${WORK}/.venv/${SITE}/tensorrt_libs/libnvinfer.so.10`,
      `/usr/local/${SITE}/tensorrt_libs/libnvinfer.so.10`,
    ],
    found: { tensorrt: `${WORK}/.venv/${SITE}/tensorrt_libs/libnvinfer.so.10` },
  },
  {
    name: "uv run: the active environment goes before the project's",
    environment: { VIRTUAL_ENV: "/srv/venv" },
    files: [`/srv/venv/${SITE}/${CUDART_13}`, `${WORK}/.venv/${SITE}/${CUDART_13}`],
    found: { cudart: `/srv/venv/${SITE}/${CUDART_13}` },
  },
  {
    name: "uv's own Pythons, newest first",
    files: [
      `${HOME}/.local/share/uv/python/cpython-3.9.20-linux-x86_64-gnu/lib/python3.9/site-packages/${CUDART_12}`,
      `${HOME}/.local/share/uv/python/cpython-3.12.7-linux-x86_64-gnu/${SITE}/${CUDART_12}`,
    ],
    found: { cudart: `${HOME}/.local/share/uv/python/cpython-3.12.7-linux-x86_64-gnu/${SITE}/${CUDART_12}` },
  },
  {
    name: "pyenv",
    files: [`${HOME}/.pyenv/versions/3.12.7/${SITE}/tensorrt_rtx_libs/libtensorrt_rtx.so.1`],
    found: { tensorrt: `${HOME}/.pyenv/versions/3.12.7/${SITE}/tensorrt_rtx_libs/libtensorrt_rtx.so.1` },
  },
  {
    name: "pyenv of a root of its own",
    environment: { PYENV_ROOT: "/opt/pyenv" },
    files: [`/opt/pyenv/versions/3.11.9/lib/python3.11/site-packages/${CUDART_12}`],
    found: { cudart: `/opt/pyenv/versions/3.11.9/lib/python3.11/site-packages/${CUDART_12}` },
  },
  {
    name: "Debian with TensorRT from NVIDIA's repository: its path, not its name",
    files: [`${X64}/libnvinfer.so.10`, `${X64}/libcudart.so.12`],
    linker: ["libnvinfer.so.10", "libcuda.so.1", "libcudart.so.12"],
    found: { tensorrt: `${X64}/libnvinfer.so.10`, driver: "libcuda.so.1", cudart: "libcudart.so.12" },
  },
  {
    name: "Debian with pip install --user",
    files: [`${HOME}/.local/lib/python3.11/site-packages/tensorrt_libs/libnvinfer.so.11`],
    found: { tensorrt: `${HOME}/.local/lib/python3.11/site-packages/tensorrt_libs/libnvinfer.so.11` },
  },
  {
    name: "Debian's own Python packages",
    files: [`/usr/lib/python3/dist-packages/${CUDART_12}`],
    found: { cudart: `/usr/lib/python3/dist-packages/${CUDART_12}` },
  },
  {
    name: "Ubuntu with three toolkits side by side and no default: the newest",
    files: ["9.2", "12.10", "12.9"].map((version) => `/usr/local/cuda-${version}/lib64/libcudart.so.12`),
    found: { cudart: "/usr/local/cuda-12.10/lib64/libcudart.so.12" },
  },
  {
    name: "CUDA_HOME goes before the system's toolkit, and LD_LIBRARY_PATH before both",
    environment: { CUDA_HOME: "/data/cuda-12.4", LD_LIBRARY_PATH: ":/data/lib:" },
    files: [
      "/data/cuda-12.4/lib64/libcudart.so.12",
      "/usr/local/cuda/lib64/libcudart.so.12",
      "/data/lib/libnvinfer.so.10",
      `${X64}/libnvinfer.so.10`,
    ],
    found: { cudart: "/data/cuda-12.4/lib64/libcudart.so.12", tensorrt: "/data/lib/libnvinfer.so.10" },
  },
  {
    name: "NVIDIA's archive of TensorRT, named by TENSORRT_ROOT",
    environment: { TENSORRT_ROOT: "/data/TensorRT-10.6.0.26", VIRTUAL_ENV: "/srv/venv" },
    files: ["/data/TensorRT-10.6.0.26/lib/libnvinfer.so.10", `/srv/venv/${SITE}/tensorrt_libs/libnvinfer.so.11`],
    found: { tensorrt: "/data/TensorRT-10.6.0.26/lib/libnvinfer.so.10" },
  },
  {
    name: "NVIDIA's archive of TensorRT, unpacked in /opt",
    files: ["/opt/TensorRT-10.6.0.26/lib/libnvinfer.so.10", "/opt/TensorRT-10.15.1.29/lib/libnvinfer.so.10"],
    found: { tensorrt: "/opt/TensorRT-10.15.1.29/lib/libnvinfer.so.10" },
  },
  {
    name: "RHEL: lib64, and Pythons whose native packages lie there",
    files: [`/usr/local/lib64/python3.9/site-packages/${CUDART_12}`, "/usr/lib64/libnvinfer.so.10"],
    linker: ["libcuda.so.1"],
    found: {
      driver: "libcuda.so.1",
      cudart: `/usr/local/lib64/python3.9/site-packages/${CUDART_12}`,
      tensorrt: "/usr/lib64/libnvinfer.so.10",
    },
  },
  {
    name: "Arch",
    files: ["/opt/cuda/lib64/libcudart.so.13", "/opt/cuda/targets/x86_64-linux/lib/libcudart.so.13"],
    linker: ["libcuda.so.1", "libnvinfer.so.10"],
    found: { driver: "libcuda.so.1", cudart: "/opt/cuda/lib64/libcudart.so.13", tensorrt: "libnvinfer.so.10" },
  },
  {
    name: "what `install` has fetched goes before packages of Python, and what npm's user has added before both",
    environment: { VIRTUAL_ENV: "/srv/venv" },
    npm: { "onnxruntime-node": NPM },
    files: [
      `${NPM}/bin/napi-v6/${process.platform}/${process.arch}/libonnxruntime.so.1`,
      `${HOME}/.cache/bun-tensorrt/lib/libonnxruntime.so.1.30.0`,
      `${HOME}/.cache/bun-tensorrt/lib/libnvinfer.so.10`,
      `/srv/venv/${SITE}/tensorrt_libs/libnvinfer.so.11`,
    ],
    found: {
      onnxruntime: `${NPM}/bin/napi-v6/${process.platform}/${process.arch}/libonnxruntime.so.1`,
      tensorrt: `${HOME}/.cache/bun-tensorrt/lib/libnvinfer.so.10`,
    },
  },
  {
    name: "a variable of ours wins over everything, and nothing else is tried",
    environment: { BUN_TENSORRT_TENSORRT: "libs", LD_LIBRARY_PATH: "/data/lib" },
    files: [`${WORK}/libs/libtensorrt_rtx.so.1`, "/data/lib/libnvinfer.so.10"],
    found: { tensorrt: `${WORK}/libs/libtensorrt_rtx.so.1` },
  },
  {
    name: "macOS with Homebrew's Python",
    platform: "darwin-arm64",
    files: ["/opt/homebrew/lib/python3.12/site-packages/onnxruntime/capi/libonnxruntime.so.1"],
    found: { onnxruntime: "/opt/homebrew/lib/python3.12/site-packages/onnxruntime/capi/libonnxruntime.so.1" },
  },
  {
    name: "Windows with CUDA's installer, which sets CUDA_PATH",
    platform: "win32-x64",
    environment: { CUDA_PATH: `${WINDOWS_CUDA}\\v12.9` },
    files: [`${WINDOWS_CUDA}\\v12.9\\bin\\cudart64_12.dll`, `${WINDOWS_CUDA}\\v13.0\\bin\\x64\\cudart64_13.dll`],
    linker: ["nvcuda.dll"],
    found: { driver: "nvcuda.dll", cudart: `${WINDOWS_CUDA}\\v12.9\\bin\\cudart64_12.dll` },
  },
  {
    name: "Windows with CUDA's installer, found by its folder",
    platform: "win32-x64",
    files: [`${WINDOWS_CUDA}\\v12.9\\bin\\cudart64_12.dll`, `${WINDOWS_CUDA}\\v13.0\\bin\\x64\\cudart64_13.dll`],
    found: { cudart: `${WINDOWS_CUDA}\\v13.0\\bin\\x64\\cudart64_13.dll` },
  },
  {
    name: "Windows with a virtual environment",
    platform: "win32-x64",
    environment: { VIRTUAL_ENV: "D:\\app\\.venv", PATH: "C:\\Windows\\System32;C:\\tools" },
    files: ["D:\\app\\.venv\\Lib\\site-packages\\tensorrt_rtx_libs\\tensorrt_rtx_1_7.dll", "C:\\tools\\nvinfer_10.dll"],
    found: { tensorrt: "D:\\app\\.venv\\Lib\\site-packages\\tensorrt_rtx_libs\\tensorrt_rtx_1_7.dll" },
  },
  {
    name: "Windows with conda, python.org's Python and uv's",
    platform: "win32-x64",
    environment: { CONDA_PREFIX: "C:\\Users\\ada\\miniconda3" },
    files: [
      "C:\\Users\\ada\\miniconda3\\Library\\bin\\cudart64_12.dll",
      "C:\\Users\\ada\\AppData\\Local\\Programs\\Python\\Python312\\Lib\\site-packages\\tensorrt_libs\\nvinfer_10.dll",
    ],
    found: {
      cudart: "C:\\Users\\ada\\miniconda3\\Library\\bin\\cudart64_12.dll",
      tensorrt:
        "C:\\Users\\ada\\AppData\\Local\\Programs\\Python\\Python312\\Lib\\site-packages\\tensorrt_libs\\nvinfer_10.dll",
    },
  },
  {
    name: "Windows, whose own old onnxruntime.dll is in PATH: every other goes before it",
    platform: "win32-x64",
    environment: { PATH: "C:\\Windows\\System32" },
    files: [
      "C:\\Windows\\System32\\onnxruntime.dll",
      "C:\\Users\\ada\\app\\.venv\\Lib\\site-packages\\onnxruntime\\capi\\onnxruntime.dll",
    ],
    found: { onnxruntime: "C:\\Users\\ada\\app\\.venv\\Lib\\site-packages\\onnxruntime\\capi\\onnxruntime.dll" },
  },
  {
    name: "Windows with TensorRT's archive in PATH, as its guide says",
    platform: "win32-x64",
    environment: { PATH: "C:\\Windows\\System32;C:\\TensorRT-10.6.0.26\\lib" },
    files: ["C:\\TensorRT-10.6.0.26\\lib\\nvinfer_10.dll"],
    found: { tensorrt: "C:\\TensorRT-10.6.0.26\\lib\\nvinfer_10.dll" },
  },
];

for (const setUp of SET_UPS) {
  test(`candidatePaths() of ${setUp.name}`, () => {
    const libraries = Object.keys(setUp.found) as (keyof typeof LIBRARIES)[];
    expect(Object.fromEntries(libraries.map((library) => [library, find(library, setUp)]))).toEqual(setUp.found);
  });
}

test("candidatePaths() takes relative folders of the library path for those below the working folder", () => {
  const machine = machineOf({ name: "", environment: { LD_LIBRARY_PATH: ".:libs:/data" }, files: [], found: {} });
  const spec = { name: "probe", variable: "BUN_TENSORRT_PROBE", files: ["a.so"], hint: "" };
  expect(candidatePaths(spec, machine).slice(0, 3)).toEqual([`${WORK}/a.so`, `${WORK}/libs/a.so`, "/data/a.so"]);
});

test("candidatePaths() asks only the dynamic linker for a part of the system, whatever the library path holds", () => {
  const machine = machineOf({ name: "", environment: { LD_LIBRARY_PATH: "/sysroot/lib" }, files: [], found: {} });
  const spec = { name: "libc", variable: "BUN_TENSORRT_LIBC", files: ["libc.so.6"], isOfSystem: true, hint: "" };
  expect(candidatePaths(spec, machine)).toEqual(["libc.so.6"]);
});

test("candidatePaths() names no path twice, and reads only folders of libraries", () => {
  const read = new Set<string>();
  const setUp: SetUp = { name: "", files: [], found: {}, environment: { LD_LIBRARY_PATH: "/usr/lib64:/usr/lib64" } };
  const machine = machineOf(setUp);
  const watched = { ...machine, list: (folder: string) => void read.add(folder) };
  const paths = Object.values(LIBRARIES).flatMap(({ spec }) => {
    const { own: _, ...searched } = spec as LibrarySpec;
    const found = candidatePaths(searched, watched);
    expect(found).toEqual([...new Set(found)]);
    return found;
  });
  expect(paths).not.toContain("");
  const known =
    /^\/(?:usr|opt|home\/ada\/\.(?:local|pyenv|cache)|home\/ada\/app\/(?:\.venv|node_modules))(?:\/|$)|^node_modules\//;
  expect([...read].filter((folder) => !known.test(folder))).toEqual([]);
});
