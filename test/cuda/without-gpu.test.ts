import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { RUNTIME_WHEELS, wheelFolder } from "../../scripts/cuda-wheels.ts";
import { cudaUnavailable } from "../../src/cuda/device.ts";

setDefaultTimeout(120_000);

const root = join(import.meta.dir, "../..");

/** Run a snippet in a process of its own: a library that is opened stays open. @returns what it printed */
function run(code: string, environment: Record<string, string> = {}): string {
  const child = Bun.spawnSync([process.execPath, "-e", code], { cwd: root, env: { ...process.env, ...environment } });
  expect(child.exitCode, child.stderr.toString()).toBe(0);
  return child.stdout.toString().trim();
}

function hasDriver(): boolean {
  return Bun.spawnSync(["sh", "-c", "ldconfig -p | grep -q libcuda.so.1"]).exitCode === 0;
}

test("importing src/cuda opens no library", () => {
  const maps = run(`
    await import("./src/cuda/index.ts");
    const { readFileSync } = await import("node:fs");
    console.log(readFileSync("/proc/self/maps", "utf8"));
  `);
  expect(maps).not.toMatch(/libcuda|libcudart|libnvrtc|koffi/);
});

describe.each([...RUNTIME_WHEELS])("with $name $version and no driver", (wheel) => {
  const cannotRun = !existsSync(wheelFolder(wheel)) || hasDriver();
  const environment = { BUN_TENSORRT_CUDART: wheelFolder(wheel) };

  test.skipIf(cannotRun)("Device.open() names the call, the code and what to do", () => {
    const code = `
      const { Device, CudaError } = await import("./src/cuda/index.ts");
      try {
        Device.open();
      } catch (error) {
        if (!(error instanceof CudaError)) throw error;
        console.log([error.call, error.code, error.status, error.message].join("\\n"));
      }
    `;
    const [call, name, status, text, hint] = run(code, environment).split("\n");
    expect(call).toBe("cudaGetDeviceCount");
    expect(name).toBe("cudaErrorInsufficientDriver");
    expect(status).toBe("35");
    expect(text).toStartWith("Cannot complete cudaGetDeviceCount: it returned cudaErrorInsufficientDriver (35), ");
    expect(hint).toMatch(/^Hint: install or update NVIDIA's driver/);
  });

  test.skipIf(cannotRun)("cudaRuntimeVersion() tells its version", () => {
    const code = `
      const { cudaRuntimeVersion, formatCudaVersion } = await import("./src/cuda/index.ts");
      console.log(formatCudaVersion(cudaRuntimeVersion()));
    `;
    expect(wheel.version).toStartWith(`${run(code, environment)}.`);
  });
});

test.skipIf(hasDriver())("cudaUnavailable() says that libcuda is nowhere", () => {
  expect(cudaUnavailable()).toBe("libcuda was not found");
});
