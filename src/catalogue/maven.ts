/** @module Maven: where a jar lies, as the user's Maven says, and the jar itself where its address alone will not do. */

import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Attempt } from "./attempt.ts";
import type { JarSource } from "./component.ts";
import { findProgram, runClient } from "./package-client.ts";

/** The first run of a machine fetches Maven's own plugins. */
const ASK_TIMEOUT_MS = 300_000;
const DOWNLOAD_TIMEOUT_MS = 3_600_000;

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
