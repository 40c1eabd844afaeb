/**
 * @module PackageClients: the user's own package clients, which know the user's registries and passwords: where pip finds a wheel
 * and Maven a jar, and the archives themselves where their addresses alone will not do.
 */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Attempt } from "./attempt.ts";
import type { JarSource, WheelSource } from "./components.ts";

/** How a client is run. */
export interface ClientOptions {
  readonly timeoutMs: number;
  /** What is said where it fails, before the reason. Default: that the program failed. */
  readonly failure?: string | undefined;
  /** Where it runs; clients read settings of the folder they are in. Default: the current one. */
  readonly cwd?: string | undefined;
  /** Beside the environment of this process. */
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** Ends the client when aborted; its reason is thrown. */
  readonly signal?: AbortSignal | undefined;
}

/** The line that says what is wrong: clients print tracebacks, warnings and advice around it. */
function reasonIn(text: string): string {
  const lines = text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
  // pip calls an index that it cannot reach one without the package; its warnings know better.
  const broken = lines.map((line) => /connection broken by .*?: ([^:]+: \[Errno .*?)'/.exec(line)?.[1]);
  const reached = broken.find((reason) => reason !== undefined);
  if (reached !== undefined) return reached;
  const errors = lines.filter((line) => /^\[?(ERROR|error)\b/.test(line));
  return errors[0]?.replace(/^\[?(ERROR|error)\]?:?\s*/, "") ?? lines[0] ?? "no reason given";
}

/** Path of a program; `undefined` if the user has none. The search goes by `PATH` as it is now. */
function findProgram(name: string): string | undefined {
  return Bun.which(name, { PATH: process.env.PATH ?? "" }) ?? undefined;
}

/** What a client that was told to end may take for putting its temporary files away. */
const GRACE_MS = 2000;

/** True for what the system says of a process that has ended, or is another user's. */
function isNoneOfOurs(error: unknown): boolean {
  return ["ENOENT", "ESRCH", "EACCES", "EPERM"].includes((error as NodeJS.ErrnoException).code ?? "");
}

/** Parents by process; empty where the system has no `/proc`. */
function parents(): ReadonlyMap<number, number> {
  const found = new Map<number, number>();
  for (const name of existsSync("/proc") ? readdirSync("/proc") : []) {
    if (!/^\d+$/.test(name)) continue;
    try {
      // The name of the program, in brackets, may hold anything.
      const [, parent] = /\) \S (\d+) [^)]*$/.exec(readFileSync(`/proc/${name}/stat`, "latin1")) ?? [];
      if (parent !== undefined) found.set(Number(name), Number(parent));
    } catch (error) {
      if (!isNoneOfOurs(error)) throw error;
    }
  }
  return found;
}

/** A process and all that it started: version managers put a shell in front of a client. */
function withDescendants(root: number): readonly number[] {
  const known = [...parents()];
  const family = [root];
  for (const one of family) family.push(...known.filter(([, parent]) => parent === one).map(([child]) => child));
  return family;
}

function signalAll(pids: readonly number[], signal: "SIGINT" | "SIGKILL"): void {
  for (const pid of pids) {
    try {
      process.kill(pid, signal);
    } catch (error) {
      if (!isNoneOfOurs(error)) throw error;
    }
  }
}

/** End a client with all that it started, gently first. @returns gives up on ending it any harder */
function endClient(pid: number): () => void {
  const family = withDescendants(pid);
  signalAll(family, "SIGINT");
  const timer = setTimeout(() => signalAll(family, "SIGKILL"), GRACE_MS);
  return () => clearTimeout(timer);
}

/**
 * Run a client to its end. Where it is ended before, so is all that it started.
 *
 * @returns what it printed; or why it failed, in its own words
 */
export async function runClient(command: readonly string[], options: ClientOptions): Promise<Attempt<string>> {
  const { timeoutMs, failure = `${command[0]} failed`, cwd, env, signal } = options;
  signal?.throwIfAborted();
  const client = Bun.spawn([...command], {
    env: { ...process.env, NO_COLOR: "1", ...env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    ...(cwd === undefined ? {} : { cwd }),
  });
  let settle: (() => void) | undefined;
  let isLate = false;
  const end = (): void => {
    settle ??= endClient(client.pid);
  };
  const timer = setTimeout(() => {
    isLate = true;
    end();
  }, timeoutMs);
  signal?.addEventListener("abort", end);
  try {
    const [output, errors, code] = await Promise.all([client.stdout.text(), client.stderr.text(), client.exited]);
    signal?.throwIfAborted();
    if (code === 0 && !isLate) return { value: Bun.stripANSI(output) };
    const reason = isLate ? `no answer within ${timeoutMs / 1000} s` : reasonIn(Bun.stripANSI(`${errors}\n${output}`));
    return { problem: `${failure}: ${reason}`, transient: false };
  } finally {
    clearTimeout(timer);
    settle?.();
    signal?.removeEventListener("abort", end);
  }
}

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

/** The first run of a machine fetches Maven's own plugins. */
const ASK_TIMEOUT_MS = 300_000;

const ASK = "org.apache.maven.plugins:maven-help-plugin:3.5.2:evaluate";
const DOWNLOAD = "org.apache.maven.plugins:maven-dependency-plugin:2.8:get";

/** What the plugin prints for a place beyond the end of a list. */
const NOTHING = "null object or invalid expression";

/** More repositories than that nobody has. */
const MOST_REPOSITORIES = 16;

async function mvn(
  words: readonly string[],
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<Attempt<string>> {
  const program = findProgram("mvn");
  if (program === undefined) return { problem: "mvn, the command of Maven, was not found", transient: false };
  // A project in the current folder would bring repositories of its own.
  return await runClient([program, "--batch-mode", "--quiet", ...words], { timeoutMs, cwd: tmpdir(), signal });
}

/** Ask for a setting as it is in force, mirrors and profiles considered. */
async function evaluate(expression: string, signal: AbortSignal | undefined): Promise<Attempt<string>> {
  const answer = await mvn([ASK, `-Dexpression=${expression}`, "-DforceStdout"], ASK_TIMEOUT_MS, signal);
  return "value" in answer ? { value: answer.value.trim() } : answer;
}

/** The jar's path inside any repository. */
function jarPath({ group, artifact, version, classifier }: JarSource): string {
  return [...group.split("."), artifact, version, `${artifact}-${version}-${classifier}.jar`].join("/");
}

async function localJar(source: JarSource, signal: AbortSignal | undefined): Promise<Attempt<string>> {
  const repository = await evaluate("settings.localRepository", signal);
  return "value" in repository ? { value: join(repository.value, jarPath(source)) } : repository;
}

/**
 * Ask where a jar may lie: in the user's local repository if it is there already, else in each of the user's
 * repositories, in order. None is named here.
 */
export async function jarAddresses(source: JarSource, signal?: AbortSignal): Promise<Attempt<readonly string[]>> {
  const local = await localJar(source, signal);
  if (!("value" in local)) return local;
  if (existsSync(local.value)) return { value: [pathToFileURL(local.value).href] };
  const addresses: string[] = [];
  while (addresses.length < MOST_REPOSITORIES) {
    const repository = await evaluate(`project.remoteArtifactRepositories[${addresses.length}].url`, signal);
    if (!("value" in repository)) return repository;
    if (repository.value === NOTHING || !URL.canParse(repository.value)) break;
    addresses.push(`${repository.value.replace(/\/+$/, "")}/${jarPath(source)}`);
  }
  if (addresses.length > 0) return { value: addresses };
  return { problem: "Maven named no repository", transient: false };
}

/**
 * Let Maven itself fetch a jar whole into the user's local repository, with the password, proxy and certificates it is
 * set to.
 *
 * @returns path of the jar; it is Maven's and stays
 */
export async function downloadJar(source: JarSource, signal?: AbortSignal): Promise<Attempt<string>> {
  const { group, artifact, version, classifier } = source;
  const words = [DOWNLOAD, `-Dartifact=${group}:${artifact}:${version}:jar:${classifier}`, "-Dtransitive=false"];
  const output = await mvn(words, DOWNLOAD_TIMEOUT_MS, signal);
  if (!("value" in output)) return output;
  const local = await localJar(source, signal);
  if (!("value" in local) || existsSync(local.value)) return local;
  return { problem: `Maven left no jar at ${local.value}`, transient: false };
}
