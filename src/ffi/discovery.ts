/**
 * @module Discovery: every path at which a shared library may lie, in one order: what the user has set, packages for this program,
 * the active Python environment, the project's, the system's. Only known library folders are read.
 */

import { readdirSync } from "node:fs";
import { dirname, posix, win32 } from "node:path";
import { installedFile, openablePath } from "../core/embedded.ts";
import { cacheFolder, homeFolder } from "../core/paths.ts";

/** A folder inside an npm package. */
export type NpmFolder = readonly [packageName: string, folder: string];

/** A folder with its libraries in `lib`, `lib64`, `bin` or `targets`, as NVIDIA's archives and installers make them. */
export interface Toolkit {
  /** Environment variables that name it, best first: `CUDA_HOME`. */
  readonly variables: readonly string[];
  /** Where installers put it; one `*` stands for a version, newest first: `/usr/local/cuda-*`. */
  readonly folders: readonly string[];
}

/** Where a library may lie, and what to say when it is nowhere. */
export interface LibrarySpec {
  /** For messages and logs: `onnxruntime`. */
  readonly name: string;
  /** Environment variable that holds the path of the file, or of its folder; it wins over everything else. */
  readonly variable: string;
  /** The file that the package or the executable has itself; it is looked for nowhere else then. */
  readonly own?: () => string | undefined;
  /** File names, best first: `libonnxruntime.so.1`. One `*` stands for a version: `libonnxruntime.so.1.*`, newest first. */
  readonly files: readonly string[];
  /** The installation that has it; its variables win over everything but `variable` and the library path. */
  readonly toolkit?: Toolkit;
  /** Folders inside npm packages that the user may have added: `["onnxruntime-node", "bin/napi-v6/linux/x64"]`. */
  readonly npm?: readonly NpmFolder[];
  /** Folders inside npm packages that come with this one: behind what the user has added or installed. */
  readonly bundled?: readonly NpmFolder[];
  /** Folders below a Python site-packages folder: `nvidia/cuda_runtime/lib`. */
  readonly python?: readonly string[];
  /**
   * Further absolute folders: `/usr/lib/wsl/lib`. `{arch}` stands for `x86_64` or `aarch64`, one `*` for a version, and `""` is
   * the dynamic linker's turn, which otherwise comes behind them.
   */
  readonly folders?: readonly string[];
  /** True if it is part of the system: only the dynamic linker is asked, whatever a library path holds. */
  readonly isOfSystem?: boolean;
  /** True if there are builds for musl. */
  readonly hasMuslBuild?: boolean;
  /** Why none is to be had for this machine, and what to do: said where nothing was found. */
  readonly unavailable?: { readonly found: string; readonly hint: string } | undefined;
  /** What to do about it, one sentence. */
  readonly hint: string;
  /** True where nothing goes on without it: its error says what was ignored, and the log does not say it again. */
  readonly isNeeded?: boolean;
}

/** CUDA's toolkit: NVIDIA's installer, Arch Linux, Windows. */
export const CUDA_TOOLKIT: Toolkit = {
  variables: ["CUDA_HOME", "CUDA_PATH"],
  folders: [
    "/usr/local/cuda",
    "/usr/local/cuda-*",
    "/opt/cuda",
    "C:\\Program Files\\NVIDIA GPU Computing Toolkit\\CUDA\\v*",
  ],
};

/** TensorRT's archive, unpacked. */
export const TENSORRT_TOOLKIT: Toolkit = {
  variables: ["TENSORRT_ROOT"],
  folders: [
    "/opt/tensorrt",
    "/usr/local/tensorrt",
    "/opt/TensorRT-*",
    "/usr/local/TensorRT-*",
    "C:\\Program Files\\NVIDIA\\TensorRT-*",
  ],
};

/**
 * Where drivers lie that the dynamic linker may not know: WSL 2 (whose Linux may have one of its own, which cannot work there),
 * NixOS, GKE, Jetson boards from JetPack 6 on, and before.
 */
export const DRIVER_FOLDERS: readonly string[] = [
  "/usr/lib/wsl/lib",
  "/run/opengl-driver/lib",
  "/usr/local/nvidia/lib64",
  "/usr/lib/aarch64-linux-gnu/nvidia",
  "/usr/lib/aarch64-linux-gnu/tegra",
];

/** What a search goes by: the machine this runs on, or one made up by a test. */
export interface Machine {
  readonly platform: NodeJS.Platform;
  /** As `process.arch` spells it. */
  readonly architecture: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly home: string;
  readonly workingFolder: string;
  /** The folder that `bun-tensorrt install` fills. */
  readonly cache: string;
  /** Names in a folder, or `undefined` if it is none. */
  readonly list: (folder: string) => readonly string[] | undefined;
  /** Folder of an npm package, or `undefined` if it is not installed. */
  readonly npmPackage: (name: string) => string | undefined;
}

function listFolder(path: string): string[] | undefined {
  try {
    return readdirSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === undefined) throw error;
    return undefined;
  }
}

function npmPackage(name: string): string | undefined {
  const manifest = installedFile(`${name}/package.json`);
  return manifest === undefined ? undefined : dirname(manifest);
}

function thisMachine(): Machine {
  return {
    platform: process.platform,
    architecture: process.arch,
    environment: process.env,
    home: process.env.HOME || homeFolder(),
    workingFolder: process.cwd(),
    cache: cacheFolder(),
    list: listFolder,
    npmPackage,
  };
}

function pathOf({ platform }: Machine): typeof posix {
  return platform === "win32" ? win32 : posix;
}

/** A variable's value; an empty one counts as unset. */
function variableOf({ environment }: Machine, name: string): string | undefined {
  const value = environment[name];
  return value === "" ? undefined : value;
}

/** The names that one with a `*` stands for, newest version first. */
function versionsOf(names: readonly string[], pattern: string): string[] {
  const star = pattern.indexOf("*");
  const head = pattern.slice(0, star);
  const tail = pattern.slice(star + 1);
  return names
    .filter((name) => name.length > head.length + tail.length && name.startsWith(head) && name.endsWith(tail))
    .sort((a, b) => b.localeCompare(a, "en", { numeric: true }));
}

/** The folders that one stands for which may have `{arch}` and one `*`; none for a path of another system. */
function expandFolder(pattern: string, machine: Machine): string[] {
  if (pattern === "") return [pattern];
  if (/^[A-Z]:\\/.test(pattern) !== (machine.platform === "win32")) return [];
  const path = pathOf(machine);
  const folder = pattern.replace("{arch}", machine.architecture === "arm64" ? "aarch64" : "x86_64");
  if (!folder.includes("*")) return [folder];
  const parts = folder.split(path.sep);
  const at = parts.findIndex((part) => part.includes("*"));
  const parent = parts.slice(0, at).join(path.sep);
  const inside = parts.slice(at + 1);
  return versionsOf(machine.list(parent) ?? [], parts[at]!).map((name) => path.join(parent, name, ...inside));
}

/** Target folders of a toolkit: arm64 servers and Jetson boards have different ones. */
const TARGETS: Readonly<Record<string, readonly string[]>> = {
  arm64: ["targets/sbsa-linux/lib", "targets/aarch64-linux/lib"],
  x64: ["targets/x86_64-linux/lib"],
};

/** Folders with libraries inside a toolkit or a conda environment. */
function insideOf(root: string, machine: Machine): string[] {
  const isWindows = machine.platform === "win32";
  const inside = isWindows ? ["bin", "bin/x64", "lib"] : ["lib64", ...(TARGETS[machine.architecture] ?? []), "lib"];
  return inside.map((folder) => pathOf(machine).join(root, folder));
}

function npmFolders(folders: readonly NpmFolder[] = [], machine: Machine): string[] {
  const { join } = pathOf(machine);
  return folders.map(([packageName, folder]) =>
    // What is not installed is named in the list of what was tried.
    join(machine.npmPackage(packageName) ?? join("node_modules", packageName), folder),
  );
}

/** The spec's folders inside the Python packages of an installation, newest Python first; `libs` are the names of its `lib`. */
function pythonFolders(
  prefix: string,
  { python = [] }: LibrarySpec,
  machine: Machine,
  libs: readonly string[] = ["lib"],
): string[] {
  if (python.length === 0) return [];
  const { join } = pathOf(machine);
  const roots =
    machine.platform === "win32"
      ? [join(prefix, "Lib", "site-packages")]
      : libs.flatMap((lib) =>
          versionsOf(machine.list(join(prefix, lib)) ?? [], "python3*")
            .concat("python3")
            .flatMap((name) => ["site-packages", "dist-packages"].map((kind) => join(prefix, lib, name, kind))),
        );
  const there = roots.filter((root) => machine.list(root) !== undefined);
  return there.flatMap((root) => python.map((folder) => join(root, folder)));
}

/** What is active: a virtual environment, and conda's below it; then the project's own. */
function environmentFolders(spec: LibrarySpec, machine: Machine): string[] {
  const { join } = pathOf(machine);
  const virtual = variableOf(machine, "VIRTUAL_ENV");
  const conda = variableOf(machine, "CONDA_PREFIX");
  return [
    ...(virtual === undefined ? [] : pythonFolders(virtual, spec, machine)),
    ...(conda === undefined ? [] : pythonFolders(conda, spec, machine)),
    ...(conda === undefined
      ? []
      : insideOf(machine.platform === "win32" ? join(conda, "Library") : conda, machine)
    ).filter((folder) => machine.list(folder) !== undefined),
    ...pythonFolders(join(machine.workingFolder, ".venv"), spec, machine),
  ];
}

/** Pythons that lie side by side, one folder each: those of uv and pyenv. */
function managedPythons(machine: Machine): string[] {
  const { join } = pathOf(machine);
  const isWindows = machine.platform === "win32";
  const data = isWindows
    ? (variableOf(machine, "APPDATA") ?? join(machine.home, "AppData", "Roaming"))
    : (variableOf(machine, "XDG_DATA_HOME") ?? join(machine.home, ".local", "share"));
  const uv = variableOf(machine, "UV_PYTHON_INSTALL_DIR") ?? join(data, "uv", "python");
  const pyenv =
    variableOf(machine, "PYENV_ROOT") ?? join(machine.home, isWindows ? join(".pyenv", "pyenv-win") : ".pyenv");
  return [
    ...versionsOf(machine.list(uv) ?? [], "cpython-3.*").map((name) => join(uv, name)),
    ...versionsOf(machine.list(join(pyenv, "versions")) ?? [], "3.*").map((name) => join(pyenv, "versions", name)),
  ];
}

/** Packages of Pythons that are not active: the user's, then the system's; only those that are there, as there are many Pythons. */
function systemPythonFolders(spec: LibrarySpec, machine: Machine): string[] {
  return inactivePythonFolders(spec, machine).filter((folder) => machine.list(folder) !== undefined);
}

function inactivePythonFolders(spec: LibrarySpec, machine: Machine): string[] {
  const { join } = pathOf(machine);
  const managed = managedPythons(machine).flatMap((prefix) => pythonFolders(prefix, spec, machine));
  if (machine.platform === "win32") {
    const local = variableOf(machine, "LOCALAPPDATA") ?? join(machine.home, "AppData", "Local");
    const installed = [join(local, "Programs", "Python", "Python3*"), "C:\\Program Files\\Python3*"];
    const prefixes = installed.flatMap((pattern) => expandFolder(pattern, machine));
    return [...managed, ...prefixes.flatMap((prefix) => pythonFolders(prefix, spec, machine))];
  }
  // Red Hat's Pythons keep packages with native code in lib64.
  const libs = ["lib", "lib64"];
  const shared = machine.platform === "darwin" ? ["/opt/homebrew", "/usr/local"] : ["/usr/local", "/usr"];
  return [
    ...pythonFolders(join(machine.home, ".local"), spec, machine, libs),
    ...managed,
    ...shared.flatMap((prefix) => pythonFolders(prefix, spec, machine, libs)),
  ];
}

/** Folders of the library path: the user's word. On Windows that is PATH, which is the system's as well: see there. */
function libraryPath(machine: Machine): string[] {
  if (machine.platform === "win32") return [];
  const isMac = machine.platform === "darwin";
  const path = isMac ? variableOf(machine, "DYLD_LIBRARY_PATH") : variableOf(machine, "LD_LIBRARY_PATH");
  const folders = (path ?? "").split(/[:;]/).filter((folder) => folder !== "");
  return folders.map((folder) => posix.resolve(machine.workingFolder, folder));
}

/** The dynamic linker, which is `""`, and folders that it may not look in. */
function systemFolders(machine: Machine): string[] {
  if (machine.platform === "win32") {
    // Windows has an old onnxruntime.dll of its own in PATH, so this comes last.
    const path = (variableOf(machine, "PATH") ?? "").replaceAll('"', "").split(";");
    return ["", ...path.filter((folder) => win32.isAbsolute(folder))];
  }
  if (machine.platform !== "linux") return ["", "/usr/local/lib", "/opt/homebrew/lib"];
  return ["", ...expandFolder("/usr/lib/{arch}-linux-gnu", machine), "/usr/lib64", "/usr/local/lib"];
}

/** A library's file names in one folder; `""` leaves the search to the dynamic linker, which knows no `*`. */
function filesIn(folder: string, { files }: LibrarySpec, machine: Machine): string[] {
  if (folder === "") return files.filter((file) => !file.includes("*"));
  const names = files.flatMap((file) => {
    const versions = file.includes("*") ? versionsOf(machine.list(folder) ?? [], file) : [];
    return versions.length === 0 ? [file] : versions;
  });
  return names.map((name) => pathOf(machine).join(folder, name));
}

function foldersOf(spec: LibrarySpec, machine: Machine): string[] {
  if (spec.isOfSystem === true) return [""];
  const { variables, folders } = spec.toolkit ?? { variables: [], folders: [] };
  const named = variables.flatMap((name) => variableOf(machine, name) ?? []);
  const installed = folders
    .flatMap((folder) => expandFolder(folder, machine))
    .filter((root) => machine.list(root) !== undefined);
  return [
    ...libraryPath(machine),
    ...named.flatMap((root) => insideOf(root, machine)),
    ...npmFolders(spec.npm, machine),
    pathOf(machine).join(machine.cache, "lib"),
    ...npmFolders(spec.bundled, machine),
    ...environmentFolders(spec, machine),
    ...systemPythonFolders(spec, machine),
    ...installed.flatMap((root) => insideOf(root, machine)),
    ...(spec.folders ?? []).flatMap((folder) => expandFolder(folder, machine)),
    ...systemFolders(machine),
  ];
}

/**
 * Every path at which a library is looked for, in order: the environment variable; the file that the program brings; the library
 * path and the toolkit that the environment names; npm packages of the user's, the catalogue's cache, npm packages that come with
 * this one; the active Python environment and conda's; the project's `.venv`; other Pythons; toolkits; the given folders; the
 * system's. A bare file name is left to the dynamic linker.
 */
export function candidatePaths(spec: LibrarySpec, machine: Machine = thisMachine()): string[] {
  const named = variableOf(machine, spec.variable);
  if (named !== undefined) {
    const path = openablePath(pathOf(machine).resolve(machine.workingFolder, named));
    return machine.list(path) === undefined ? [path] : filesIn(path, spec, machine);
  }
  const own = spec.own?.();
  if (own !== undefined) return [own];
  return [...new Set(foldersOf(spec, machine))].flatMap((folder) => filesIn(folder, spec, machine));
}
