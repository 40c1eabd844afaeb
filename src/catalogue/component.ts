/** @module Component: native libraries that can be installed by name, and which of their builds fits a machine. */

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
export type Architecture = "x64" | "arm64";

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
