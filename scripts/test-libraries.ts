/**
 * @module Fetches the releases of TensorRT that the tests without a GPU drive, and Microsoft's build of ONNX Runtime, with which
 * the one that is installed by default is compared, into the package's cache folder.
 *
 * `bun scripts/test-libraries.ts rtx onnxruntime dispatch-10` for those the gate needs (119 MB on the wire); further names: `rtx-1.4`,
 * `lean-11`, `10.6`. They are those of this machine's processor, or of the one that `--arch=arm64` names.
 */

import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { cacheFolder } from "../src/core/paths.ts";

/** A Python wheel, or a Maven artifact, and the folder of the libraries inside. */
type Source =
  | { readonly wheel: string; readonly version: string; readonly inside: string }
  | { readonly artifact: string; readonly inside: string };

const named = Bun.argv.find((word) => word.startsWith("--arch="))?.slice("--arch=".length);
const isArm = (named ?? process.arch) === "arm64";
/** Where pip runs on another processor it is told of the wheel's; the newest glibc that one asks for. */
const PLATFORM = ["manylinux_2_35", "manylinux_2_28"].flatMap((tag) => [
  "--platform",
  `${tag}_${isArm ? "aarch64" : "x86_64"}`,
]);
const JAVACPP = isArm ? "linux-arm64" : "linux-x86_64";

const SOURCES: Readonly<Record<string, Source>> = {
  rtx: { wheel: "tensorrt-rtx-cu13-libs", version: "1.7.1.116", inside: "tensorrt_rtx_libs" },
  "rtx-1.4": { wheel: "tensorrt-rtx-cu13-libs", version: "1.4.0.76", inside: "tensorrt_rtx_libs" },
  "lean-11": { wheel: "tensorrt-lean-cu13-libs", version: "11.4.0.106", inside: "tensorrt_lean_libs" },
  "dispatch-10": { wheel: "tensorrt-dispatch-cu12-libs", version: "10.16.1.11", inside: "tensorrt_dispatch_libs" },
  onnxruntime: { wheel: "onnxruntime", version: "1.30.0", inside: "onnxruntime/capi" },
  "10.6": {
    artifact: `org.bytedeco:tensorrt:10.6-1.5.11:jar:${JAVACPP}-redist`,
    inside: `org/bytedeco/tensorrt/${JAVACPP}`,
  },
};

function run(command: readonly string[]): void {
  const { exitCode, stderr, stdout } = Bun.spawnSync([...command], { stdout: "pipe", stderr: "pipe" });
  if (exitCode !== 0)
    throw new Error(`Cannot run ${command.join(" ")}: it exited with ${exitCode}:\n${stdout}${stderr}`);
}

/** @returns path of the archive */
function download(source: Source, folder: string): string {
  if ("wheel" in source) {
    const pinned = `${source.wheel}==${source.version}`;
    const words = ["--quiet", "--no-deps", "--only-binary=:all:", ...(named === undefined ? [] : PLATFORM)];
    run(["python3", "-m", "pip", "download", ...words, "-d", folder, pinned]);
    return join(folder, [...new Bun.Glob("*.whl").scanSync(folder)][0]!);
  }
  const [group, name, version, , classifier] = source.artifact.split(":");
  run(["mvn", "-q", "dependency:get", `-Dartifact=${source.artifact}`, "-Dtransitive=false"]);
  const repository = join(process.env.HOME ?? "/root", ".m2/repository", group!.replaceAll(".", "/"), name!, version!);
  return join(repository, `${name}-${version}-${classifier}.jar`);
}

for (const name of Bun.argv.slice(2).filter((word) => !word.startsWith("--"))) {
  const source = SOURCES[name];
  if (source === undefined) throw new Error(`Cannot fetch ${name}: the names are ${Object.keys(SOURCES).join(", ")}`);
  const target = join(cacheFolder(), "test-libraries", name);
  if (!existsSync(target)) {
    mkdirSync(join(cacheFolder(), "test-libraries"), { recursive: true });
    const folder = mkdtempSync(`${target}-`);
    try {
      const archive = download(source, folder);
      run(["python3", "-m", "zipfile", "-e", archive, join(folder, "archive")]);
      mkdirSync(join(folder, "lib"));
      for (const library of new Bun.Glob("lib*").scanSync(join(folder, "archive", source.inside))) {
        // The builder resource, 1.4 GB, is of no use without a GPU.
        if (library.includes("builder_resource")) continue;
        renameSync(join(folder, "archive", source.inside, library), join(folder, "lib", library));
      }
      renameSync(join(folder, "lib"), target);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }
  console.log(target);
}
