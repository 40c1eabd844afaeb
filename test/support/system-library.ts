/** @module SystemLibrary: a small library that every Linux has, of this processor. */

import { existsSync } from "node:fs";
import { join } from "node:path";

const MULTIARCH = process.arch === "arm64" ? "aarch64-linux-gnu" : "x86_64-linux-gnu";
/** In an emulator the system is a folder, which it shows to some calls only. */
const SYSTEM = process.env.QEMU_LD_PREFIX ?? "/";

/** Path of the C library's libm, or `undefined` where it is elsewhere: the test is then skipped. */
export const LIBM: string | undefined = [`lib/${MULTIARCH}/libm.so.6`, "lib64/libm.so.6"]
  .map((path) => join(SYSTEM, path))
  .find((path) => existsSync(path));
