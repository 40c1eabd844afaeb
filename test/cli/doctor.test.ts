import { expect, test } from "bun:test";
import { formatFindings, isHealthy } from "../../src/cli/doctor/finding.ts";
import { cudaVersion, driverVersion, tensorRtVersion } from "../../src/cli/doctor/gpu.ts";
import { installCommand, systemIds } from "../../src/cli/doctor/system-package.ts";
import { paintOf } from "../../src/cli/terminal.ts";

test("versions are read out of the numbers and texts NVIDIA gives", () => {
  expect(cudaVersion(12040)).toBe("12.4");
  expect(cudaVersion(13000)).toBe("13.0");
  expect(tensorRtVersion(100600)).toBe("10.6.0");
  expect(tensorRtVersion(110204)).toBe("11.2.4");
  expect(tensorRtVersion(8601)).toBe("8.6.1");
  expect(
    driverVersion("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024\n"),
  ).toBe("535.183.01");
  expect(
    driverVersion("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build\nGCC version: 13"),
  ).toBe("580.95.05");
  expect(driverVersion("")).toBeUndefined();
});

test("installCommand() goes by the system, and by the one it is like", () => {
  const names = { debian: "d", ubuntu: "u", fedora: "f", arch: "a", alpine: "l", macos: "m" };
  expect(installCommand(names, systemIds('NAME="Ubuntu"\nID=ubuntu\nID_LIKE=debian\n'))).toBe("sudo apt install u");
  expect(installCommand(names, systemIds("ID=linuxmint\nID_LIKE=ubuntu\n"))).toBe("sudo apt install u");
  expect(installCommand(names, systemIds('ID="rocky"\nID_LIKE="rhel centos fedora"\n'))).toBe("sudo dnf install f");
  expect(installCommand(names, systemIds("ID=plan9"))).toBeUndefined();
  expect(installCommand(names, systemIds(""))).toBeUndefined();
});

test("formatFindings() puts the fix below what it fixes; only broken things are unhealthy", () => {
  const findings = [
    { name: "Bun", state: "ok", found: "1.4.5" },
    { name: "libturbojpeg", state: "absent", found: "not found", fix: "sudo apt install libturbojpeg0" },
  ] as const;
  expect(formatFindings(findings, paintOf(false))).toBe(
    [
      "ok      Bun           1.4.5",
      "absent  libturbojpeg  not found",
      "        fix: sudo apt install libturbojpeg0",
      "",
    ].join("\n"),
  );
  expect(isHealthy(findings)).toBe(true);
  expect(isHealthy([{ name: "sharp", state: "broken", found: "" }])).toBe(false);
});
