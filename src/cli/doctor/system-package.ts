/** @module SystemPackage: the command that installs a package of the operating system, by what system it is. */

import { existsSync, readFileSync } from "node:fs";

/** Names of one package on the systems that name it in their own way. */
export interface SystemPackageNames {
  readonly debian: string;
  readonly ubuntu: string;
  readonly fedora: string;
  readonly arch: string;
  readonly alpine: string;
  readonly macos: string;
}

/** The `ID` and `ID_LIKE` words of an os-release file, the most specific first. Pure. */
export function systemIds(osRelease: string): string[] {
  const field = (key: string): string => osRelease.match(new RegExp(`^${key}="?([^"\\n]*)"?$`, "m"))?.[1] ?? "";
  return `${field("ID")} ${field("ID_LIKE")}`.trim().split(/\s+/);
}

/** The command that installs the package on a system with these ids. Pure. */
export function installCommand(names: SystemPackageNames, ids: readonly string[]): string | undefined {
  for (const id of ids) {
    if (id === "ubuntu") return `sudo apt install ${names.ubuntu}`;
    if (id === "debian") return `sudo apt install ${names.debian}`;
    if (["fedora", "rhel", "centos"].includes(id)) return `sudo dnf install ${names.fedora}`;
    if (id === "arch") return `sudo pacman -S ${names.arch}`;
    if (id === "alpine") return `apk add ${names.alpine}`;
    if (id === "macos") return `brew install ${names.macos}`;
  }
  return undefined;
}

/** Ids of the system this runs on. */
export function thisSystem(): string[] {
  if (process.platform === "darwin") return ["macos"];
  return existsSync("/etc/os-release") ? systemIds(readFileSync("/etc/os-release", "utf8")) : [];
}
