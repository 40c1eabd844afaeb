/** @module ArchiveSource: the wheel or jar that holds libraries, named as its package client names it. */

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
