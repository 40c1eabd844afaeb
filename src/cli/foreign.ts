/** @module Foreign: words that users of other tools type, those of Ultralytics and trtexec above all, and what they are here. Aliases of options stand with the options. */

/** Commands that others have, and the one here that does it. */
const COMMANDS: Readonly<Record<string, string>> = {
  ...{ predict: "detect", run: "detect", track: "detect", segment: "detect", pose: "detect", obb: "detect" },
  ...{ cls: "classify", export: "build", trtexec: "build", compile: "build", validate: "val", eval: "val" },
  ...{ info: "inspect", checks: "doctor", check: "doctor", pull: "models", download: "models", list: "models" },
  ...{ upscale: "transform", enhance: "transform", completion: "completions" },
};

/** The command that does what one of that name does elsewhere. */
export function knownCommand(name: string): string | undefined {
  return Object.hasOwn(COMMANDS, name.toLowerCase()) ? COMMANDS[name.toLowerCase()] : undefined;
}

/** A flag that is another word here, or none. */
interface Answer {
  /** The flag that does it; the answer holds for commands that have it. */
  readonly flag: string;
  readonly text: string;
}

const PLACE: Answer = { flag: "save", text: "--save DIR names the folder of annotated copies" };
const SHOWN: Answer = { flag: "save", text: "nothing is shown on a screen; --save DIR writes annotated copies" };
const COMMAND: Answer = { flag: "help", text: "leave it out: the command says it" };
const NONE: Answer = { flag: "help", text: "leave it out: there is no such step here" };

const SHAPES: Answer = { flag: "shapes", text: "--shapes NAME=LEAST,TYPICAL,LARGEST says all three" };

/** By name in kebab-case; those of trtexec in lower case. */
const ANSWERS: Readonly<Record<string, Answer>> = {
  "save-txt": { flag: "annotations", text: "--format yolo --output DIR writes label files" },
  "save-conf": { flag: "no-scores", text: "label files of --format yolo have scores; --no-scores omits them" },
  "save-crop": { flag: "crop", text: "--crop DIR writes what was found as images of its own" },
  "save-json": { flag: "annotations", text: "--format coco --output FILE writes what pycocotools scores" },
  project: PLACE,
  name: PLACE,
  "exist-ok": PLACE,
  nosave: { flag: "save", text: "leave it out: nothing is drawn without --save" },
  show: SHOWN,
  "view-img": SHOWN,
  "show-boxes": { flag: "no-boxes", text: "--no-boxes draws none" },
  "show-labels": { flag: "no-labels", text: "--no-labels draws none" },
  "show-conf": { flag: "no-scores", text: "--no-scores draws none" },
  "retina-masks": { flag: "mask-size", text: "leave it out: masks have the size of the image" },
  "stream-buffer": { flag: "policy", text: "--policy all queues the frames of live sources" },
  dnn: { flag: "backend", text: "--backend chooses between ONNX Runtime and TensorRT" },
  tracker: { flag: "track", text: "--track bytetrack, or botsort or ocsort" },
  json: { flag: "format", text: "--format json, or jsonl for one image a line" },
  csv: { flag: "format", text: "--format csv" },
  cpu: { flag: "backend", text: "--backend cpu" },
  gpu: { flag: "backend", text: "--backend gpu, and --device N for another than the first" },
  fp32: { flag: "precision", text: "--precision fp32" },
  fp16: { flag: "precision", text: "--precision fp16" },
  int8: { flag: "precision", text: "--precision int8" },
  fp8: { flag: "precision", text: "--precision fp8" },
  best: { flag: "precision", text: "--precision names the lowest that is allowed" },
  onnx: { flag: "optimization-level", text: "give the model without a flag: bunx bun-tensorrt build model.onnx" },
  saveengine: { flag: "optimization-level", text: "--output FILE writes a copy of the plan" },
  mempoolsize: { flag: "pools", text: "--workspace 2GiB limits the workspace, --pools LIST other pools" },
  minshapes: SHAPES,
  optshapes: SHAPES,
  maxshapes: SHAPES,
  builderoptimizationlevel: { flag: "optimization-level", text: "--optimization-level 0-5" },
  timingcachefile: { flag: "timing-cache", text: "--timing-cache FILE" },
  avgtiming: { flag: "timing-iterations", text: "--timing-iterations N" },
  usedlacore: { flag: "dla", text: "--dla CORE" },
  skipinference: { flag: "optimization-level", text: "leave it out: nothing runs after the build" },
  mode: COMMAND,
  augment: NONE,
  visualize: NONE,
  embed: NONE,
  update: NONE,
};

/** What to do in place of a flag that is unknown. @param has whether the command has a flag */
export function foreignFlag(name: string, has: (flag: string) => boolean): string | undefined {
  const key = name.toLowerCase();
  const answer = Object.hasOwn(ANSWERS, key) ? ANSWERS[key] : undefined;
  return answer !== undefined && has(answer.flag) ? answer.text : undefined;
}

/** Other names of flags that several commands have, each in its own way. */
export const FOREIGN_NAMES: Readonly<Record<string, string>> = { weights: "model" };

/** `conf=0.5`: a flag and its value in one word. */
export function assignmentIn(word: string): { readonly key: string; readonly value: string } | undefined {
  const found = /^([a-z][\w-]*)=(.*)$/is.exec(word);
  if (found === null) return undefined;
  const value = found[2]!.replace(/^\[(.*)\]$/s, "$1").replace(/^(["'])(.*)\1$/s, "$2");
  return { key: found[1]!.replaceAll("_", "-").toLowerCase(), value };
}

/** `/dev/video0` of `0`: a camera, where others take a number for one. */
export function foreignSource(source: string): string {
  return /^\d{1,2}$/.test(source) ? `/dev/video${source}` : source;
}

/** `0` of `cuda` and `cuda:0`, which ask for a GPU, where a number by itself only says which; `cpu` is no number, but where models run. */
export function foreignDevice(flags: Record<string, string | true>): void {
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
