/** docs/deployment/: what the files say fits the program and each other. docs/deployment.md tells what was run from them. */

import { expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import manifest from "../package.json" with { type: "json" };
import { parseWords } from "../src/cli/args.ts";
import { COMMANDS } from "../src/cli/commands.ts";
import { readConfigFile } from "../src/worker/worker.ts";
import { parseWorkerOptions } from "../src/worker/worker-config.ts";
import { cliWords } from "./cli/run-cli.ts";
import { fileFolder } from "./support/folder.ts";
import { toyDetector } from "./support/toy-detector.ts";

setDefaultTimeout(120_000);

const folder = join(import.meta.dir, "../docs/deployment");
const inFolder = fileFolder("deployment");
const read = (name: string): string => readFileSync(join(folder, name), "utf8");

interface Instruction {
  readonly name: string;
  readonly words: string;
}

/** The stages of a Dockerfile, each with the instructions of those it is built on. */
function stagesOf(text: string): Map<string, Instruction[]> {
  const joined = text.replace(/^\s*#.*\n/gm, "").replace(/\\\n/g, " ");
  const stages = new Map<string, Instruction[]>();
  let current: Instruction[] = [];
  for (const line of joined.split("\n").filter((one) => one.trim() !== "")) {
    const [, name = "", words = ""] = /^([A-Z]+) +(.*)$/.exec(line) ?? [];
    if (name === "") throw new Error(`no instruction: ${line}`);
    if (name === "FROM") {
      const [, base = "", stage = ""] = /^(\S+) AS (\w+)$/.exec(words) ?? [];
      current = [...(stages.get(base) ?? [])];
      stages.set(stage, current);
    }
    current.push({ name, words: words.replace(/ +/g, " ") });
  }
  return stages;
}

/** Command and flags as the command line reads them. @throws {OptionError} If one is unknown or wrong */
async function parsed(words: readonly string[]): Promise<{ readonly [flag: string]: unknown }> {
  const command = COMMANDS.find(({ name }) => name === words[0]);
  if (command === undefined) throw new Error(`no command: ${words.join(" ")}`);
  return parseWords(command.name, words.slice(1), await command.flags()).flags;
}

const stages = stagesOf(read("Dockerfile"));
const last = (stage: string, name: string): string =>
  stages.get(stage)!.findLast((instruction) => instruction.name === name)!.words;
const listOf = (words: string): string[] => JSON.parse(words) as string[];

test("the Dockerfile's stages are there, its Bun is the pinned one, and every command it runs is one", async () => {
  const all = [...stages.values()].flat();
  for (const { words } of all.filter(({ name }) => name === "COPY")) {
    const from = /^--from=(\w+)/.exec(words)?.[1];
    if (from !== undefined) expect(stages.has(from)).toBe(true);
  }
  const runs = all.filter(({ name }) => name === "RUN").map(({ words }) => words);
  expect(runs.join("\n")).toContain(`npm install --global ${manifest.packageManager} `);
  expect(runs.join("\n")).toContain("libturbojpeg0");
  const commands = runs.flatMap((words) => [...words.matchAll(/(?:^| )bun-tensorrt ([^&$]+)/g)].map(([, one]) => one!));
  expect(commands.length).toBeGreaterThan(1);
  for (const words of commands) await parsed(words.trim().split(" "));
});

test.each(["cpu", "gpu"])(
  "the target %s serves as another user, tells its health and drains before Docker kills",
  async (target) => {
    expect(last(target, "USER")).toMatch(/^[1-9]\d+:[1-9]\d+$/);
    expect(last(target, "STOPSIGNAL")).toBe("SIGTERM");
    expect(listOf(last(target, "ENTRYPOINT"))).toEqual(["bun-tensorrt"]);
    const flags = await parsed(listOf(last(target, "CMD")));
    expect(Number(flags["drain-timeout-ms"])).toBeLessThan(10_000);
    expect(flags.host).toBe("0.0.0.0");
    expect(last(target, "HEALTHCHECK")).toContain(`http://127.0.0.1:${last(target, "EXPOSE")}/readyz`);
  },
);

/** What the health check of the image runs. */
function healthCheck(port: string): string[] {
  const [, words = ""] = / CMD (.*)$/.exec(last("cpu", "HEALTHCHECK")) ?? [];
  return listOf(words).map((word) => word.replace(last("cpu", "EXPOSE"), port).replace(/^bun$/, process.execPath));
}

test("the health check of the images goes by serve's answer, and the unit knows the exit code after SIGTERM", async () => {
  const model = inFolder("toy.onnx");
  writeFileSync(model, toyDetector());
  const child = Bun.spawn(cliWords(["serve", "--model", model, "--port", "0", "--backend", "cpu"]), {
    stdout: "pipe",
    stderr: "pipe",
  });
  let [port, heard] = ["", ""];
  for await (const chunk of child.stderr) {
    heard += new TextDecoder().decode(chunk);
    port = /http:\/\/127\.0\.0\.1:(\d+)\//.exec(heard)?.[1] ?? "";
    if (port !== "") break;
  }
  expect({ heard, port }).toMatchObject({ port: expect.stringMatching(/^\d+$/) });
  expect(await Bun.spawn(healthCheck(port)).exited).toBe(0);
  child.kill("SIGTERM");
  const code = await child.exited;
  expect(read("bun-tensorrt.service")).toContain(`\nSuccessExitStatus=${code}\n`);
  expect(await Bun.spawn(healthCheck(port), { stderr: "ignore" }).exited).not.toBe(0);
});

test("the unit of systemd starts serve with flags there are, and waits for it to drain", async () => {
  const unit = read("bun-tensorrt.service");
  const value = (key: string): string => new RegExp(`^${key}=(.*)$`, "m").exec(unit)?.[1] ?? "";
  const [, words = ""] = /bun-tensorrt (.*)$/.exec(value("ExecStart")) ?? [];
  const flags = await parsed(words.split(" "));
  expect(flags.model).toBe("yolo11n");
  expect(Number(value("TimeoutStopSec"))).toBeGreaterThan(15);
  if (Bun.which("systemd-analyze") === null) return;
  const path = inFolder("bun-tensorrt.service");
  writeFileSync(path, unit.replaceAll("/usr/local/bin/bun", process.execPath));
  const verify = Bun.spawnSync(["systemd-analyze", "verify", path], { stderr: "pipe" });
  expect({ code: verify.exitCode, errors: verify.stderr.toString() }).toEqual({ code: 0, errors: "" });
});

type Manifest = { readonly kind: string } & Record<string, never>;

/** A value somewhere in a manifest. */
function at(value: unknown, ...path: readonly (string | number)[]): unknown {
  return path.reduce<unknown>((found, key) => (found as Record<string | number, unknown>)[key], value);
}

test("the workers' manifest: one group, probes of routes there are, a GPU each, and time to drain", async () => {
  const manifests = Bun.YAML.parse(read("workers.yaml")) as Manifest[];
  const of = (kind: string): Manifest => manifests.find((one) => one.kind === kind)!;
  const file = inFolder("worker.toml");
  writeFileSync(file, at(of("ConfigMap"), "data", "worker.toml") as string);
  const options = parseWorkerOptions(await readConfigFile(file));
  expect(options).toMatchObject({ group: "detector", http: { host: "0.0.0.0", port: 9464 } });
  const pod = at(of("Deployment"), "spec", "template", "spec");
  expect(at(pod, "terminationGracePeriodSeconds") as number).toBeGreaterThan(options.drainMs / 1000);
  const container = at(pod, "containers", 0);
  const flags = await parsed(at(container, "args") as string[]);
  expect(flags).toMatchObject({ consumer: "$(POD_NAME)", backend: "gpu" });
  expect(at(container, "resources", "limits", "nvidia.com/gpu")).toBe(1);
  expect(at(container, "ports", 0)).toEqual({ name: "metrics", containerPort: options.http!.port });
  for (const [probe, path] of [
    ["startupProbe", "/readyz"],
    ["readinessProbe", "/readyz"],
    ["livenessProbe", "/healthz"],
  ] as const) {
    expect(at(container, probe, "httpGet")).toEqual({ path, port: "metrics" });
  }
  const folders = (at(container, "volumeMounts") as { mountPath: string }[]).map(({ mountPath }) => mountPath);
  expect(folders).toContain(last("gpu", "VOLUME"));
});

const validator = Bun.which("kubernetes-validate");

test.skipIf(validator === null)("the workers' manifest fits Kubernetes' schemas (PyPI: kubernetes-validate)", () => {
  const child = Bun.spawnSync([validator!, "--strict", join(folder, "workers.yaml")], { stderr: "pipe" });
  expect({ code: child.exitCode, said: child.stdout.toString() + child.stderr.toString() }).toMatchObject({ code: 0 });
});
