import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { boardText, readBoard } from "../../src/nvml/gpu-usage.ts";

let root = "";

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "board-"));
});

afterEach(() => rmSync(root, { recursive: true }));

function make(files: Readonly<Record<string, string>>): void {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
}

const MONITOR = "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon4";
const ORIN = {
  "proc/device-tree/model": "NVIDIA Jetson AGX Orin Developer Kit\0",
  "etc/nv_tegra_release": "# R36 (release), REVISION: 4.0, GCID: 37537400, BOARD: generic, EABI: aarch64\n",
  "var/lib/nvpmodel/status": "pmode:0000",
  "sys/class/devfreq/17000000.gpu/device/load": "431\n",
  "sys/class/devfreq/15340000.vic/device/load": "999\n",
  [`${MONITOR}/in1_label`]: "VDD_GPU_SOC\n",
  [`${MONITOR}/in1_input`]: "19136\n",
  [`${MONITOR}/curr1_input`]: "168\n",
  [`${MONITOR}/in2_label`]: "VDD_CPU_CV\n",
  [`${MONITOR}/in2_input`]: "19136\n",
  [`${MONITOR}/curr2_input`]: "40\n",
  // A sum of the others, which has no voltage.
  [`${MONITOR}/in4_label`]: "Sum of shunt voltages\n",
  "sys/bus/i2c/drivers/ina3221/bind": "",
} as const;

test("readBoard() tells a Jetson's model, release, power mode, load and rails", () => {
  make(ORIN);
  const board = readBoard(root)!;
  expect(board).toEqual({
    model: "NVIDIA Jetson AGX Orin Developer Kit",
    release: "36.4.0",
    powerMode: 0,
    gpuLoad: 0.431,
    rails: [
      { name: "VDD_GPU_SOC", watts: expect.closeTo(3.2148, 3) },
      { name: "VDD_CPU_CV", watts: expect.closeTo(0.7654, 3) },
    ],
  });
  expect(boardText(board)).toBe(
    "Jetson Linux 36.4.0, power mode 0, GPU 43 % busy, VDD_GPU_SOC 3.2 W, VDD_CPU_CV 0.8 W",
  );
});

test("readBoard() leaves out what an older or a locked board does not tell", () => {
  make({ "proc/device-tree/model": "NVIDIA Jetson Nano\0", "sys/devices/gpu.0/load": "0\n" });
  expect(readBoard(root)).toEqual({
    model: "NVIDIA Jetson Nano",
    release: undefined,
    powerMode: undefined,
    gpuLoad: 0,
    rails: [],
  });
  expect(boardText(readBoard(root)!)).toBe("GPU 0 % busy");
});

test("readBoard() is undefined on other machines, other arm64 boards too", () => {
  expect(readBoard(root)).toBeUndefined();
  make({ "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0" });
  expect(readBoard(root)).toBeUndefined();
});
