import { expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

setDefaultTimeout(120_000);

const native = join(import.meta.dir, "../../native");
const isMissing = Bun.which("gcc") === null;

/** The stress program under a sanitizer of gcc. */
function stress(sanitizer: string): { readonly exitCode: number; readonly output: string } {
  const folder = mkdtempSync(join(tmpdir(), "shim-threads-"));
  try {
    const program = join(folder, "stress");
    const sources = [join(import.meta.dir, "ring-stress.c"), join(native, "ring.c"), join(native, "observers.c")];
    const flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "-g", `-fsanitize=${sanitizer}`];
    const compiled = Bun.spawnSync(["gcc", ...flags, "-o", program, ...sources, "-lpthread"], { stderr: "pipe" });
    if (compiled.exitCode !== 0) return { exitCode: compiled.exitCode, output: compiled.stderr.toString() };
    const ran = Bun.spawnSync([program], { stdout: "pipe", stderr: "pipe" });
    return { exitCode: ran.exitCode, output: ran.stdout.toString() + ran.stderr.toString() };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

for (const sanitizer of ["thread", "address,undefined"]) {
  test.skipIf(isMissing)(
    `the shim's ring and observers stand eight threads under -fsanitize=${sanitizer}, as gcc is there`,
    () => {
      const { exitCode, output } = stress(sanitizer);
      expect(output).toMatch(/^\d+ records\n$/);
      expect(exitCode).toBe(0);
    },
    120_000,
  );
}
