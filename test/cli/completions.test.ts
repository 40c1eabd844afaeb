import { beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { COMMANDS } from "../../src/cli/commands.ts";
import { fileFolder } from "../support/folder.ts";
import { runCli } from "./run-cli.ts";

setDefaultTimeout(120_000);

const SHELLS = ["bash", "zsh", "fish"] as const;

const path = fileFolder("completions");

beforeAll(async () => {
  mkdirSync(path("here/photos of us"), { recursive: true });
  writeFileSync(path("here/model.onnx"), "");
  writeFileSync(path("here/street 1.jpg"), "");
  for (const shell of SHELLS) writeFileSync(path(shell), (await runCli(["completions", shell])).output);
});

/** What a shell says. */
function told(shell: string, script: string, env: Readonly<Record<string, string>> = {}): string {
  const { stdout, stderr } = Bun.spawnSync([shell, ...(shell === "fish" ? ["--no-config"] : []), "-c", script], {
    cwd: path("here"),
    stdin: "ignore",
    env: { ...process.env, HOME: path(), TERM: "xterm", ...env },
    timeout: 60_000,
  });
  expect(stderr.toString()).toBe("");
  return stdout.toString();
}

/** What bash offers for the last of the words. */
function inBash(words: readonly string[]): string[] {
  const list = words.map((word) => `'${word}'`).join(" ");
  const script = `source ../bash; COMP_WORDS=(${list}); COMP_CWORD=${words.length - 1}
    compopt() { :; }; _bun_tensorrt; printf '%s\\n' "\${COMPREPLY[@]}"`;
  return told("bash", script).split("\n").filter(Boolean);
}

/** What fish offers at the end of the line, without the descriptions. */
function inFish(line: string): string[] {
  const lines = told("fish", `source ../fish; complete -C '${line}'`).split("\n").filter(Boolean);
  return lines.map((one) => one.split("\t")[0]!);
}

/** A terminal in which zsh prints the words that its line editor has made of what is typed. */
const ZSH_INIT = `PS1= PS2=
autoload -U compinit; compinit -u -D
source ../zsh
bun-tensorrt() { printf '<'; printf '%s|' "$@"; print '>' }
print READY`;
const ZSH_TYPE = `zmodload zsh/zpty; zpty z zsh -f -i; zpty -w z 'source ../init.zsh'
until zpty -r z out && [[ $out == *READY$'\\r'* ]]; do :; done
zpty -w -n z "$(printf $KEYS)"$'\\n'
until zpty -r z out && [[ $out == *'<'*'>'* ]]; do :; done
print -r -- $out`;

/** The words that zsh makes of keys; \\t is the tabulator. */
function inZsh(keys: string): string[] {
  writeFileSync(path("init.zsh"), ZSH_INIT);
  const line = /<(.*)\|>/.exec(told("zsh", ZSH_TYPE, { KEYS: keys }));
  return line?.[1]?.split("|") ?? [];
}

test.skipIf(Bun.which("bash") === null)("bash completes commands, flags, values and files", () => {
  expect(inBash(["bun-tensorrt", "in"])).toEqual(["inspect", "install"]);
  expect(inBash(["bun-tensorrt", ""])).toEqual([...COMMANDS.map(({ name }) => name), "help"]);
  expect(inBash(["bun-tensorrt", "detect", "--form"])).toEqual(["--format"]);
  expect(inBash(["bun-tensorrt", "detect", "--format", "js"])).toEqual(["json", "jsonl"]);
  expect(inBash(["bun-tensorrt", "detect", "--format", "nd"])).toEqual(["ndjson"]);
  // As bash splits --format=js.
  expect(inBash(["bun-tensorrt", "detect", "--format", "=", "js"])).toEqual(["json", "jsonl"]);
  expect(inBash(["bun-tensorrt", "detect", "--format", "="])).toContain("table");
  expect(inBash(["bun-tensorrt", "-q", "detect", "a.jpg", "-m", "yolov8"])).toEqual(["yolov8n", "yolov8s", "yolov8m"]);
  expect(inBash(["bun-tensorrt", "detect", "-m", "mo"])).toEqual(["model.onnx"]);
  expect(inBash(["bun-tensorrt", "detect", "st"])).toEqual(["street 1.jpg"]);
  expect(inBash(["bun-tensorrt", "detect", "--crop", ""])).toEqual(["photos of us"]);
  expect(inBash(["bun-tensorrt", "detect", "--threshold", ""])).toEqual([]);
  expect(inBash(["bun-tensorrt", "models", "pu"])).toEqual(["pull"]);
  expect(inBash(["bun-tensorrt", "install", "cuda"])).toEqual(["cuda-runtime"]);
});

test.skipIf(Bun.which("fish") === null)("fish completes commands, flags, values and files", () => {
  expect(inFish("bun-tensorrt in")).toEqual(["inspect", "install"]);
  expect(inFish("bun-tensorrt detect --forma")).toEqual(["--format"]);
  expect(inFish("bun-tensorrt detect --format js")).toEqual(["json", "jsonl"]);
  expect(inFish("bun-tensorrt detect --format=js")).toEqual(["--format=json", "--format=jsonl"]);
  expect(inFish("bun-tensorrt detect -m yolov8")).toEqual(["yolov8m", "yolov8n", "yolov8s"]);
  expect(inFish("bun-tensorrt detect -m mod")).toEqual(["model.onnx"]);
  expect(inFish("bun-tensorrt detect str")).toEqual(["street 1.jpg"]);
  expect(inFish("bun-tensorrt detect --crop ")).toEqual(["photos of us/"]);
  expect(inFish("bun-tensorrt detect --threshold ")).toEqual([]);
  expect(inFish("bun-tensorrt models pu")).toEqual(["pull"]);
});

test.skipIf(Bun.which("zsh") === null)("zsh completes commands, flags, values and files", () => {
  for (const [keys, words] of [
    ["detec\\t--forma\\ttab\\tstr\\t", ["detect", "--format=table", "street 1.jpg"]],
    ["insp\\tmod\\t", ["inspect", "model.onnx"]],
    ["detect a.jpg -m yolo11n-p\\t --crop pho\\t", ["detect", "a.jpg", "-m", "yolo11n-pose", "--crop", "photos of us"]],
    ["models pul\\tyolov8s", ["models", "pull", "yolov8s"]],
  ] as const) {
    expect(inZsh(`bun-tensorrt ${keys}`)).toEqual(words as unknown as string[]);
  }
});

test("each script knows every command and every flag", async () => {
  for (const shell of SHELLS) {
    const { output } = await runCli(["completions", shell]);
    for (const { name, flags } of COMMANDS) {
      expect(output).toContain(name);
      for (const flag of await flags())
        expect(output).toContain(shell === "fish" ? `-l ${flag.name}` : `--${flag.name}`);
    }
  }
});

test("no two flags of a command have one name, letter or alias", async () => {
  for (const { name: command, flags } of COMMANDS) {
    const names = (await flags()).flatMap(({ name, short, aliases = [] }) => [
      name,
      ...(short === undefined ? [] : [short]),
      ...aliases.map((alias) => alias.name).filter((alias) => alias !== name),
    ]);
    const twice = names.filter((name, at) => names.indexOf(name) !== at);
    expect([command, twice]).toEqual([command, []]);
  }
});

test("completions refuses another shell", async () => {
  for (const [words, found] of [
    [[], "Expected one shell, got 0\nHint: bunx bun-tensorrt completions bash|zsh|fish"],
    [["fis"], 'Unknown shell "fis". Did you mean "fish"?'],
  ] as const) {
    const { code, errors } = await runCli(["completions", ...words]);
    expect([code, errors]).toEqual([2, expect.stringContaining(found)]);
  }
});
