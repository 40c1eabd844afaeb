/** @module Units: how sizes and times are printed. */

/** `6.25 MiB` */
export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = bytes;
  let unit = 0;
  while (Math.abs(value) >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(2)} ${units[unit]}`;
}

/** `0.451 ms`, `12.3 ms`, `4.20 s`, `3 min 12 s` */
export function formatDuration(milliseconds: number): string {
  if (milliseconds < 1) return `${milliseconds.toFixed(3)} ms`;
  // What rounds up to the next unit is printed in it.
  if (milliseconds < 999.5) return `${milliseconds.toPrecision(3)} ms`;
  const seconds = milliseconds / 1000;
  if (seconds < 59.95) return `${seconds.toPrecision(3)} s`;
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

/** `5 objects`, `1 object` */
export function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : noun.endsWith("s") ? "es" : "s"}`;
}

/** Round for printing: the model's own precision is lower. */
export function round(value: number, digits: number): number {
  const factor = 10 ** digits;
  return Math.round(value * factor) / factor;
}

/** A native handle: a pointer below 2^53, as a number, that only fits where its own kind is asked for. */
export type Handle<Tag extends string> = number & { readonly __handle: Tag };

/** Address in host memory. */
export type HostPtr = Handle<"host">;

/** Address in device memory, or of mapped host memory as the device sees it. */
export type DevicePtr = Handle<"device">;

/** A quarter more than asked for, so that images of slightly different sizes do not allocate each time. */
const GROWTH = 1.25;

/** Bytes to take where `byteLength` are needed, and somewhat more will be. */
export function grownLength(byteLength: number): number {
  return Math.ceil(byteLength * GROWTH);
}
