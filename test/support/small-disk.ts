/** @module SmallDisk: a disk of a few kilobytes, for what happens where there is no room. */

/** A shell for one line, in which `mount -t tmpfs -o size=64k tmpfs PLACE` makes a disk that goes with its process. */
export const SMALL_DISK = ["unshare", "--mount", "--map-root-user", "sh", "-c"] as const;

/** Not every container lets one be made. */
export const hasSmallDisk: boolean =
  Bun.which("unshare") !== null &&
  Bun.spawnSync([...SMALL_DISK, "mount -t tmpfs -o size=64k tmpfs /mnt"], { stderr: "ignore" }).exitCode === 0;
