/**
 * @module Arguments: the words of a command line split into flags and operands. What users of other tools type, those of
 * Ultralytics and trtexec above all, is read as what it is here; aliases of options stand with the options.
 */

import { existsSync } from "node:fs";
import { parseArgs } from "node:util";
import { OptionError } from "../core/errors.ts";
import { nearestWord } from "../core/options.ts";

/** One flag of a command. */
export interface Flag {
  /** kebab-case, without the dashes. */
  readonly name: string;
  /** One letter, without the dash. */
  readonly short?: string;
  /** What stands for the value in the help: `FILE`. A flag without one takes no value. */
  readonly value?: string;
  /** What the value may be, where it is one of these. */
  readonly values?: readonly string[];
  /** True for a list: given again, it goes on. Of other flags the last one counts. */
  readonly isList?: boolean;
  readonly summary: string;
  /** Further names, that the help does not list; with text, or what makes it, for the value they stand for. */
  readonly aliases?: readonly { readonly name: string; readonly text?: string | ((text: string) => string) }[];
}

/** Signs of a pattern of file names. */
export const PATTERN: RegExp = /[*?[\]{}]/;

/** A command line, split. */
export interface ParsedArguments {
  /** By name in kebab-case: the text given, or `true` for a flag without a value. Lists are joined by commas. */
  readonly flags: Readonly<Record<string, string | true>>;
  /** What is left, in order. */
  readonly operands: readonly string[];
}

/** Flags every command has. */
export const COMMON_FLAGS: readonly Flag[] = [
  { name: "help", short: "h", summary: "show this help" },
  { name: "verbose", summary: "log what is done, and show the stack of errors (also BUN_TENSORRT_DEBUG=1)" },
];

/** A flag by one of its names. */
interface Spelling {
  readonly flag: Flag;
  readonly name: string;
  readonly takesValue: boolean;
  readonly text: string | ((text: string) => string) | undefined;
}

/** Every name of every flag. */
function spellingsOf(flags: readonly Flag[]): Spelling[] {
  return flags.flatMap((flag) => {
    const takesValue = flag.value !== undefined;
    const foreign = Object.keys(FOREIGN_NAMES).filter((name) => FOREIGN_NAMES[name] === flag.name);
    const aliases = [...(flag.aliases ?? []), ...foreign.map((name) => ({ name, text: undefined }))];
    return [
      { flag, name: flag.name, takesValue, text: undefined },
      ...aliases.flatMap(({ name, text }) =>
        [...new Set([name, name.replaceAll("-", "_")])].map((spelling) => ({
          flag,
          name: spelling,
          takesValue: takesValue && typeof text !== "string",
          text,
        })),
      ),
    ];
  });
}

/** Names an operand, as `--source` does elsewhere; and `--model`, where a model is one. */
const SOURCE: Flag = { name: "source", value: "FILE", summary: "" };
const SOURCE_OR_MODEL: Flag = { ...SOURCE, aliases: [{ name: "model" }, { name: "weights" }] };

/** `-model` is none of the letters of short flags, and `–model` has the dash of a text processor. */
function isMisdashed(word: string, spellings: readonly Spelling[]): boolean {
  const name = word.split("=", 1)[0]!.slice(1);
  return /^[–—]/.test(word) || (/^-[^-]{2}/.test(word) && spellings.some((spelling) => spelling.name === name));
}

/** True for a word that is a flag, and the value of none: parseArgs takes it for the value of the flag before it. */
function isFlag(word: string, spellings: readonly Spelling[]): boolean {
  const isShort = spellings.some(({ flag: { short } }) => short !== undefined && word === `-${short}`);
  return isShort || /^--([a-z]|$)/i.test(word) || isMisdashed(word, spellings);
}

/**
 * Split a command's words. `conf=0.5` is `--conf 0.5` where the command has such a flag, and there is no file of that name.
 *
 * @param command for messages: `detect`
 * @throws {OptionError} If a flag is unknown, lacks its value, or has one that it does not take
 */
export function parseWords(command: string, words: readonly string[], flags: readonly Flag[]): ParsedArguments {
  const known = [...flags, ...COMMON_FLAGS];
  const source = known.some(({ name }) => name === "model") ? SOURCE : SOURCE_OR_MODEL;
  const spellings = spellingsOf([...known, source]);
  const options = Object.fromEntries(
    spellings.map(({ flag, name, takesValue }) => [
      name,
      {
        type: takesValue ? ("string" as const) : ("boolean" as const),
        ...(flag.short === undefined || name !== flag.name ? {} : { short: flag.short }),
      },
    ]),
  );
  const { tokens } = parseArgs({ args: [...words], options, strict: false, allowPositionals: true, tokens: true });
  const found: Record<string, string | true> = {};
  const operands: string[] = [];
  const take = (spelling: Spelling, given: string | undefined): void => {
    const value = said(spelling, given, command);
    const { name, isList } = spelling.flag;
    if (spelling.flag === source) operands.push(foreignSource(String(value)));
    else found[name] = isList === true && found[name] !== undefined ? `${found[name]},${value}` : value;
  };
  const end = tokens.find(({ kind }) => kind === "option-terminator")?.index ?? words.length;
  for (const token of tokens) {
    if (token.kind === "option-terminator") continue;
    const word = words[token.index]!;
    const mayBeFlag = token.index < end;
    if (mayBeFlag && isMisdashed(word, spellings)) throw unknownFlag(command, word.split("=", 1)[0]!, known);
    if (token.kind === "option") {
      const spelling = spellings.find(({ name }) => name === token.name);
      if (spelling === undefined) throw unknownFlag(command, token.rawName, known);
      if (spelling.takesValue && token.inlineValue === false && isFlag(token.value, spellings)) {
        const { name, value } = spelling.flag;
        const found = `--${token.name} needs a value, got the flag ${JSON.stringify(token.value)}`;
        throw refuse(
          name,
          found,
          `write --${token.name} ${value}; one that begins with dashes as --${token.name}=${token.value}`,
        );
      }
      take(spelling, spelling.takesValue || token.inlineValue === true ? token.value : undefined);
      continue;
    }
    const { key = "", value = "" } = (mayBeFlag && !existsSync(word) && assignmentIn(word)) || {};
    const spelling = spellings.find(({ name }) => name === key);
    if (spelling === undefined) {
      if (/^false$/i.test(value) && answerTo(key, known) !== undefined) continue;
      const isMistaken = key !== "" && !PATTERN.test(word) && suggestionFor(key, known) !== undefined;
      if (isMistaken) throw unknownFlag(command, key, known);
      if (!isMode(word, operands, source)) operands.push(word);
    } else if (!/^false$/i.test(value)) {
      take(spelling, /^true$/i.test(value) ? undefined : value);
    }
  }
  if (known.some(({ name }) => name === "backend")) foreignDevice(found);
  return { flags: found, operands };
}

/** `predict` of `detect predict`, as Ultralytics' command line has it, where no file is called so: what the command does anyway. */
function isMode(word: string, operands: readonly string[], source: Flag): boolean {
  return word === "predict" && operands.length === 0 && source === SOURCE && !existsSync(word);
}

/** What a flag stands for, said by one of its names. @throws {OptionError} If it lacks its value, or has one that it does not take */
function said({ flag, name, takesValue, text }: Spelling, given: string | undefined, command: string): string | true {
  if (!takesValue && given !== undefined) {
    throw refuse(flag.name, `--${name} takes no value, got ${JSON.stringify(given)}`, helpHint(command));
  }
  if (takesValue && given === undefined) {
    throw refuse(flag.name, `--${name} needs a value`, `write --${name} ${flag.value}`);
  }
  return typeof text === "function" ? text(given ?? "") : (text ?? given ?? true);
}

/** What to do in place of a flag of other tools; `undefined` where the command has no flag for it. */
function answerTo(name: string, known: readonly Flag[]): string | undefined {
  const key = name.toLowerCase();
  const found = Object.entries(ANSWERS).find(([, answers]) => Object.hasOwn(answers, key));
  const flag = known.find((one) => one.name === found?.[0]);
  // Commands that run a model take it as it was converted.
  if (flag?.name === "precision" && /^(int|fp)8$/.test(key) && flag.values?.includes(key) !== true)
    return `bunx bun-tensorrt convert MODEL --precision ${key} --calibration DIR makes such a model`;
  return flag && found?.[1][key];
}

/** How a message about an unknown flag ends; `undefined` where nothing is like it. */
function suggestionFor(name: string, known: readonly Flag[]): string | undefined {
  const answer = answerTo(name, known);
  if (answer !== undefined) return `\nHint: ${answer}`;
  const spellings = spellingsOf(known);
  const names = spellings.map((spelling) => spelling.name);
  // The whole of `out`, and the opposite of `boxes`, are further from these than other words.
  const isPart = (one: string): boolean => name.length > 1 && (one.startsWith(name) || one === `no-${name}`);
  const near = names.find(isPart) ?? nearestWord(name, names);
  const flag = spellings.find((spelling) => spelling.name === near)?.flag;
  return flag === undefined ? undefined : `. Did you mean ${JSON.stringify(`--${flag.name}`)}?`;
}

function unknownFlag(command: string, rawName: string, known: readonly Flag[]): OptionError {
  const suggestion = suggestionFor(rawName.replace(/^[-–—]+/, "").replaceAll("_", "-"), known);
  return new OptionError(
    `Unknown flag ${JSON.stringify(rawName)}${suggestion ?? `\nHint: ${helpHint(command)}`}`,
    rawName,
  );
}

/** An error of a command line: what was typed and what is wrong with it, one sentence; and what helps. */
export function refuse(option: string, found: string, hint: string): OptionError {
  return new OptionError(`${found}\nHint: ${hint}`, option);
}

/** Where a command's flags can be read. */
export function helpHint(command: string): string {
  return `bunx bun-tensorrt ${command} --help lists the flags`;
}

/** Refuse what is left of a command line whose command takes no file. @throws {OptionError} If anything is */
export function refuseOperands(command: string, { operands }: ParsedArguments): void {
  const [first] = operands;
  if (first === undefined) return;
  throw refuse("file", `Unexpected argument ${JSON.stringify(first)}: ${command} takes no files`, helpHint(command));
}

/** Commands that others have, and the one here that does it, with the flag that it takes for that. */
const COMMANDS: Readonly<Record<string, string>> = {
  ...{ predict: "detect", run: "detect", obb: "detect", track: "detect --track bytetrack" },
  ...{ segment: "detect --model yolo11n-seg", pose: "detect --model yolo11n-pose" },
  ...{ cls: "classify", export: "build", trtexec: "build", compile: "build", validate: "val", eval: "val" },
  ...{ info: "inspect", checks: "doctor", check: "doctor", pull: "models", download: "models", list: "models" },
  ...{ upscale: "transform", enhance: "transform", completion: "completions" },
};

/** The command that does what one of that name does elsewhere. */
export function knownCommand(name: string): string | undefined {
  return Object.hasOwn(COMMANDS, name.toLowerCase()) ? COMMANDS[name.toLowerCase()] : undefined;
}

/** How the refusal of a command ends that several commands here do a part of; empty for others. */
export function commandHint(name: string): string {
  if (name.toLowerCase() !== "export") return "";
  const others = "`convert` a model of FP16, INT8 or FP8; the ONNX file itself comes of `yolo export format=onnx`";
  return `\nHint: \`build\` makes an engine of an ONNX file, ${others}`;
}

const PLACE = "--save DIR names the folder of annotated copies";
const SHOWN = "nothing is shown on a screen; --save DIR writes annotated copies";
const SHAPES = "--shapes NAME=LEAST,TYPICAL,LARGEST says all three";
const COMMAND = "leave it out: the command says it";
const NONE = "leave it out: there is no such step here";

/** What to do in place of flags of others, by the flag that does it, whose commands the answer holds for. Those of trtexec in lower case. */
const ANSWERS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  annotations: {
    "save-txt": "--format yolo --output DIR writes label files",
    "save-json": "--format coco --output FILE writes what pycocotools scores",
  },
  save: {
    ...{ project: PLACE, name: PLACE, "save-dir": PLACE, "exist-ok": PLACE, show: SHOWN, "view-img": SHOWN },
    nosave: "leave it out: nothing is drawn without --save",
  },
  crop: { "save-crop": "--crop DIR writes what was found as images of its own" },
  "no-boxes": { "show-boxes": "--no-boxes draws none" },
  "no-labels": { "show-labels": "--no-labels draws none" },
  "no-scores": {
    "show-conf": "--no-scores draws none",
    "save-conf": "label files of --format yolo have scores; --no-scores omits them",
  },
  "mask-size": { "retina-masks": "leave it out: masks have the size of the image" },
  policy: { "stream-buffer": "--policy all queues the frames of live sources" },
  track: { tracker: "--track bytetrack, or botsort or ocsort" },
  format: { json: "--format json, or jsonl for one image a line", csv: "--format csv" },
  backend: {
    cpu: "--backend cpu",
    gpu: "--backend gpu, and --device N for another than the first",
    dnn: "--backend chooses between ONNX Runtime and TensorRT",
  },
  precision: {
    ...Object.fromEntries(["fp32", "fp16", "int8", "fp8"].map((name) => [name, `--precision ${name}`])),
    half: "--precision fp16",
    best: "--precision names the lowest that is allowed",
  },
  shapes: { minshapes: SHAPES, optshapes: SHAPES, maxshapes: SHAPES },
  pools: { mempoolsize: "--workspace 2GiB limits the workspace, --pools LIST other pools" },
  "optimization-level": {
    onnx: "give the model without a flag: bunx bun-tensorrt build model.onnx",
    saveengine: "--output FILE writes a copy of the plan",
    builderoptimizationlevel: "--optimization-level 0-5",
    skipinference: "leave it out: nothing runs after the build",
    format: "leave it out: an engine is built",
  },
  "timing-cache": { timingcachefile: "--timing-cache FILE" },
  "timing-iterations": { avgtiming: "--timing-iterations N" },
  dla: { usedlacore: "--dla CORE" },
  help: {
    ...{ mode: COMMAND, augment: NONE, visualize: NONE, embed: NONE, update: NONE, plots: NONE, workers: NONE },
    persist: "leave it out: a tracker keeps its tracks to the end of the video",
    stream: "leave it out: results come one by one anyway",
  },
};

/** Other names of flags that several commands have, each in its own way. */
const FOREIGN_NAMES: Readonly<Record<string, string>> = { weights: "model" };

/** `conf=0.5`: a flag and its value in one word. */
function assignmentIn(word: string): { readonly key: string; readonly value: string } | undefined {
  const found = /^([a-z][\w-]*)=(.*)$/is.exec(word);
  if (found === null) return undefined;
  const value = found[2]!.replace(/^\[(.*)\]$/s, "$1").replace(/^(["'])(.*)\1$/s, "$2");
  return { key: found[1]!.replaceAll("_", "-").toLowerCase(), value };
}

/** `/dev/video0` of `0`: a camera, where others take a number for one. */
function foreignSource(source: string): string {
  return /^\d{1,2}$/.test(source) ? `/dev/video${source}` : source;
}

/** `0` of `cuda` and `cuda:0`, which ask for a GPU, where a number by itself only says which; `cpu` is no number, but where models run. */
function foreignDevice(flags: Record<string, string | true>): void {
  const { device } = flags;
  if (typeof device !== "string") return;
  if (/^cpu$/i.test(device)) {
    delete flags.device;
    flags.backend ??= "cpu";
  }
  const number = /^cuda(?::(\d+))?$/i.exec(device);
  if (number === null) return;
  flags.device = number[1] ?? "0";
  flags.backend ??= "gpu";
}
