import { expect, test } from "bun:test";
import { rmSync, writeFileSync } from "node:fs";
import { DETECTOR_OPTIONS } from "../../src/api/detector-config.ts";
import { IMAGE_MODEL_OPTIONS } from "../../src/api/image-model-config.ts";
import { DEPTH_OPTIONS, SEMANTIC_OPTIONS } from "../../src/api/whole-image-config.ts";
import { type Flag, parseWords } from "../../src/cli/args.ts";
import { BUILD_FLAGS } from "../../src/cli/build-flags.ts";
import { DETECT_FLAGS } from "../../src/cli/detect-flags.ts";
import {
  byteCount,
  capabilityList,
  count,
  countRange,
  flagsOf,
  optionsFrom,
  pixelSize,
  sizeRange,
  toggle,
  valuesFrom,
  wholeNumber,
} from "../../src/cli/option-flags.ts";
import { INSPECT_FLAGS } from "../../src/cli/own-flags.ts";
import { OptionError } from "../../src/core/errors.ts";
import { kebab } from "../../src/core/options.ts";
import { SERVE_OPTIONS } from "../../src/serve/serve-config.ts";
import { WORKER_OPTIONS } from "../../src/worker/worker-config.ts";

const FLAGS: readonly Flag[] = [
  { name: "threshold", short: "t", value: "SCORE", summary: "" },
  { name: "quiet", short: "q", summary: "" },
];

test("parseWords() splits flags and operands, in every spelling", () => {
  expect(parseWords("detect", ["a.jpg", "--threshold", "0.5", "-q", "b.jpg"], FLAGS)).toEqual({
    flags: { threshold: "0.5", quiet: true },
    operands: ["a.jpg", "b.jpg"],
  });
  expect(parseWords("detect", ["--threshold=0.5", "-t", "0.6"], FLAGS).flags).toEqual({ threshold: "0.6" });
  expect(parseWords("detect", ["-qt0.7", "--", "--threshold"], FLAGS)).toEqual({
    flags: { quiet: true, threshold: "0.7" },
    operands: ["--threshold"],
  });
});

test("parseWords() goes on with a list that is given again", () => {
  const list: Flag = { name: "classes", value: "LIST", isList: true, summary: "" };
  expect(parseWords("detect", ["--classes", '"a, b"', "--classes=c,d"], [list]).flags).toEqual({
    classes: '"a, b",c,d',
  });
});

test("parseWords() names an unknown flag and the nearest one", () => {
  const call = (): unknown => parseWords("detect", ["--treshold", "0.5"], FLAGS);
  expect(call).toThrow(OptionError);
  expect(call).toThrow('Unknown flag "--treshold". Did you mean "--threshold"?');
  expect(() => parseWords("detect", ["--colour"], FLAGS)).toThrow(
    "Hint: bunx bun-tensorrt detect --help lists the flags",
  );
});

test("parseWords() refuses a missing and a superfluous value", () => {
  expect(() => parseWords("detect", ["--threshold"], FLAGS)).toThrow(
    "--threshold needs a value\nHint: write --threshold SCORE",
  );
  expect(() => parseWords("detect", ["--quiet=yes"], FLAGS)).toThrow('--quiet takes no value, got "yes"');
});

test("parseWords() takes no flag for the value of the flag before it", () => {
  for (const word of ["--quiet", "--qiet", "--quiet=yes", "-h", "--"]) {
    expect(() => parseWords("detect", ["--threshold", word, "a.jpg"], FLAGS)).toThrow(
      `--threshold needs a value, got the flag "${word}"\nHint: write --threshold SCORE`,
    );
  }
  expect(parseWords("detect", ["--threshold", "-0.5"], FLAGS).flags).toEqual({ threshold: "-0.5" });
  expect(parseWords("detect", ["--threshold", "-"], FLAGS).flags).toEqual({ threshold: "-" });
  expect(parseWords("detect", ["--threshold=--quiet"], FLAGS).flags).toEqual({ threshold: "--quiet" });
});

test("valuesFrom() converts values, fills in defaults and names the flag that is refused", () => {
  const table = { threshold: { schema: count(8).optional(), help: "" }, quiet: { ...toggle, help: "" } };
  const parse = (...words: string[]): unknown => valuesFrom(parseWords("detect", words, FLAGS), table);
  expect(parse("-t", "5", "-q")).toEqual({ threshold: 5, quiet: true });
  expect(parse()).toEqual({ quiet: false });
  expect(() => parse("-t", "9")).toThrow('--threshold must be a whole number from 1 to 8, got "9"');
  expect(() => parse("--threshold=")).toThrow('--threshold must be a whole number from 1 to 8, got ""');
  expect(() => parse("-t", "half")).toThrow(OptionError);
});

const DETECTOR = flagsOf(DETECTOR_OPTIONS);

/** What words say of a detector. */
function said(...words: string[]): unknown {
  return optionsFrom(parseWords("detect", words, DETECTOR), DETECTOR);
}

test("flags of a table say its options, and only those that were given", () => {
  expect(said()).toEqual({});
  expect(said("-t", "0.5", "--class-agnostic", "--no-jpeg-check")).toEqual({
    threshold: 0.5,
    classAgnostic: true,
    tensorrt: { jpegCheck: false },
  });
  expect(said("--providers", "cuda,coreml", "--threads=2")).toEqual({
    onnxruntime: { providers: ["cuda", "coreml"], threads: 2 },
  });
  expect(() => said("-t", "1.5")).toThrow('--threshold must be a number from 0 to 1, got "1.5"');
  for (const text of ["", "half"]) expect(() => said(`--threshold=${text}`)).toThrow(OptionError);
  expect(() => said("--backend", "tpu")).toThrow(
    '--backend must be one of auto, onnxruntime, cpu, tensorrt, gpu, got "tpu"',
  );
});

test("a flag is known by the names that it had, and that others call it by", () => {
  expect(said("--conf", "0.5", "--imgsz", "320", "--max_det", "7", "--half", "--agnostic_nms")).toEqual({
    threshold: 0.5,
    size: 320,
    maxDetections: 7,
    tensorrt: { precision: "fp16" },
    classAgnostic: true,
  });
  expect(said("--agnostic", "--batch-wait", "2.5", "--decode-timeout", "3")).toEqual({
    classAgnostic: true,
    batchWaitMs: 2.5,
    decodeTimeoutMs: 3000,
  });
  expect(
    said(
      "--layout",
      "yolo",
      "--conf-thres",
      "0.1",
      "--iou_thres",
      "0.5",
      "--img",
      "320",
      "--batch-size",
      "2",
      "--rect",
    ),
  ).toEqual({
    head: "yolo",
    threshold: 0.1,
    iou: 0.5,
    size: 320,
    batch: 2,
    rectangular: true,
  });
  expect(() => said("--decode-timeout", "soon")).toThrow(
    '--decode-timeout-ms must be a number of milliseconds, got "soon"',
  );
  expect(() => said("--half=1")).toThrow("--half takes no value");
  expect(() => said("--conf")).toThrow("--conf needs a value");
});

test("words of Ultralytics' command lines are understood", () => {
  const parse = (...words: string[]): unknown => parseWords("detect", words, DETECT_FLAGS);
  expect(
    parse(
      "model=yolo11n.pt",
      "source=bus.jpg",
      "conf=0.5",
      "imgsz=640",
      "half=True",
      "agnostic_nms=False",
      "show=False",
    ),
  ).toEqual({
    flags: { model: "yolo11n.pt", threshold: "0.5", size: "640", precision: "fp16" },
    operands: ["bus.jpg"],
  });
  expect(parse("predict", "source=bus.jpg")).toEqual({ flags: {}, operands: ["bus.jpg"] });
  expect(parse("bus.jpg", "predict")).toEqual({ flags: {}, operands: ["bus.jpg", "predict"] });
  expect(parseWords("inspect", ["predict"], INSPECT_FLAGS).operands).toEqual(["predict"]);
  expect(parse("--weights", "a.onnx", "--source", "0", "--conf-thres=0.3", "classes=[0, 2]", "vid_stride=2")).toEqual({
    flags: { model: "a.onnx", threshold: "0.3", classes: "0, 2", every: "2" },
    operands: ["/dev/video0"],
  });
  for (const [device, flags] of [
    ["cpu", { backend: "cpu" }],
    ["cuda", { device: "0", backend: "gpu" }],
    ["cuda --backend auto", { device: "0", backend: "auto" }],
    ["cuda:1", { device: "1", backend: "gpu" }],
    ["1", { device: "1" }],
    ["0,1", { device: "0,1" }],
  ] as const) {
    expect(parse(...`device=${device}`.split(" "))).toEqual({ flags, operands: [] });
  }
  for (const [words, found] of [
    ["--save-txt", 'Unknown flag "--save-txt"\nHint: --format yolo --output DIR writes label files'],
    ["save_crop=True", 'Unknown flag "save-crop"\nHint: --crop DIR'],
    ["--project runs", 'Unknown flag "--project"\nHint: --save DIR names the folder'],
    ["tracker=botsort.yaml", 'Unknown flag "tracker"\nHint: --track bytetrack, or botsort or ocsort'],
    ["stream=True", 'Unknown flag "stream"\nHint: leave it out: results come one by one anyway'],
    ["save_dir=out", 'Unknown flag "save-dir"\nHint: --save DIR names the folder'],
    // What `detect` refuses by --precision is no answer to it.
    ["int8=True", 'Unknown flag "int8"\nHint: bunx bun-tensorrt convert MODEL --precision int8'],
    ["--json", 'Unknown flag "--json"\nHint: --format json, or jsonl'],
    ["--out a.json", 'Unknown flag "--out". Did you mean "--output"?'],
    ["--xyz", 'Unknown flag "--xyz"\nHint: bunx bun-tensorrt detect --help lists the flags'],
    ["save=True", "--save needs a value\nHint: write --save DIR|FILE"],
    ["cnof=0.5", 'Unknown flag "cnof". Did you mean "--threshold"?'],
    ["--max-dets 5", 'Unknown flag "--max-dets". Did you mean "--max-detections"?'],
    ["-model a.onnx", 'Unknown flag "-model". Did you mean "--model"?'],
    ["–model a.onnx", 'Unknown flag "–model". Did you mean "--model"?'],
    ["half=maybe", '--half takes no value, got "maybe"'],
  ] as const) {
    expect(() => parse(...words.split(" "))).toThrow(found);
  }
});

test("flags of trtexec are answered with those of build", () => {
  for (const [word, answer] of [
    ["--onnx=a.onnx", "give the model without a flag: bunx bun-tensorrt build model.onnx"],
    ["--saveEngine=a.plan", "--output FILE writes a copy of the plan"],
    ["--fp16", "--precision fp16"],
    ["--int8", "--precision int8"],
    ["--half", "--precision fp16"],
    ["--minShapes=images:1x3x8x8", "--shapes NAME=LEAST,TYPICAL,LARGEST says all three"],
    ["--memPoolSize=workspace:1024", "--workspace 2GiB limits the workspace, --pools LIST other pools"],
    ["--builderOptimizationLevel=3", "--optimization-level 0-5"],
    ["--timingCacheFile=a.cache", "--timing-cache FILE"],
    ["--useDLACore=0", "--dla CORE"],
    ["--skipInference", "leave it out: nothing runs after the build"],
  ] as const) {
    const flag = word.split("=")[0]!;
    expect(() => parseWords("build", ["a.onnx", word], BUILD_FLAGS)).toThrow(`Unknown flag "${flag}"\nHint: ${answer}`);
  }
  // Of a command without engines, nothing of engines is said.
  expect(() => parseWords("detect", ["--saveEngine=a.plan"], DETECT_FLAGS)).toThrow("detect --help lists the flags");
});

test("a file or a pattern that looks like an assignment is one, and so is what follows --", () => {
  const file = "conf=args.test";
  writeFileSync(file, "");
  try {
    expect(parseWords("detect", [file, "--", "iou=0.5", "-model"], DETECT_FLAGS)).toEqual({
      flags: {},
      operands: [file, "iou=0.5", "-model"],
    });
  } finally {
    rmSync(file);
  }
  expect(parseWords("detect", ["frame=*.jpg", "http://h/?conf=1"], DETECT_FLAGS).operands).toHaveLength(2);
  const build = parseWords("build", ["--shapes", "images=1x3x8x8", "model=a.onnx"], BUILD_FLAGS);
  expect(build).toEqual({ flags: { shapes: "images=1x3x8x8" }, operands: ["a.onnx"] });
});

test("values: whole numbers, sizes, classes", () => {
  expect(count(8).parse("8")).toBe(8);
  for (const text of ["0", "9", "1.5", "", "x"]) expect(count(8).safeParse(text).success).toBe(false);
  expect(pixelSize.parse("640")).toBe(640);
  expect(pixelSize.parse("640x480")).toEqual([640, 480]);
  for (const text of ["0", "640x", "x480", "-1", "1e3", "640 480"])
    expect(pixelSize.safeParse(text).success).toBe(false);
});

test("flags: classes, what levels are multiplied by, and values for channels", () => {
  const classes = (text: string): unknown => (said("--classes", text) as { classes: unknown }).classes;
  expect(classes("person, 2,traffic light")).toEqual(["person", 2, "traffic light"]);
  expect(classes('"lamp, red",person, "7",7,"12"" pizza",12" pizza')).toEqual([
    "lamp, red",
    "person",
    "7",
    7,
    '12" pizza',
    '12" pizza',
  ]);
  expect(classes('"a, b" ,c')).toEqual(["a, b", "c"]);
  for (const text of [" ,", "", '"lamp, red', '"a"b']) expect(() => classes(text)).toThrow(OptionError);
  const preprocessing = (flag: string, text: string): unknown =>
    Object.values((said(`--${flag}=${text}`) as { preprocessing: object }).preprocessing)[0];
  expect(["1", "1/255", "0.5", "2/4"].map((text) => preprocessing("scale", text))).toEqual([1, 1 / 255, 0.5, 0.5]);
  for (const text of ["", "0", "-1", "1/0", "1/", "1/2/3", "x"]) {
    expect(() => preprocessing("scale", text)).toThrow(OptionError);
  }
  expect(preprocessing("mean", "114")).toBe(114);
  expect(preprocessing("mean", "0.485, 0.456,-1")).toEqual([0.485, 0.456, -1]);
  expect(preprocessing("mean", "1,2,3,4")).toEqual([1, 2, 3, 4]);
  for (const text of ["", "1,2", "1,2,3,4,5", "1,,3", "x"]) {
    expect(() => preprocessing("mean", text)).toThrow(OptionError);
  }
});

test("every option of every group has one flag, in kebab-case, and each default stands in the help", () => {
  for (const table of [
    DETECTOR_OPTIONS,
    IMAGE_MODEL_OPTIONS,
    SEMANTIC_OPTIONS,
    DEPTH_OPTIONS,
    SERVE_OPTIONS,
    WORKER_OPTIONS,
  ]) {
    const flags = flagsOf(table);
    expect(flags.map(({ name }) => name)).toEqual([...new Set(flags.map(({ name }) => name))]);
    for (const { name, path, option, aliases = [] } of flags) {
      if (option.flag === undefined) expect(name).toBe(kebab(path.at(-1)!));
      for (const alias of aliases) expect(flags.map((flag) => flag.name)).not.toContain(alias.name);
      if (/Ms$/.test(path.at(-1)!)) expect(name).toEndWith("-ms");
    }
  }
  const help = flagsOf(SERVE_OPTIONS).find(({ name }) => name === "timeout-ms");
  expect(help).toMatchObject({
    value: "MS",
    summary: "time to answer after the body has arrived, then 503 (default 30000)",
  });
});

test("values: ranges of counts and sizes, in order", () => {
  expect(countRange(8).parse("4")).toBe(4);
  expect(countRange(8).parse("1, 4,8")).toEqual({ min: 1, opt: 4, max: 8 });
  for (const text of ["", "0", "1,4", "8,4,1", "1,4,9", "1,,4", "1,2,3,4"])
    expect(countRange(8).safeParse(text).success).toBe(false);
  expect(sizeRange.parse("640")).toEqual([640, 640]);
  expect(sizeRange.parse("320x192,640x384,1280")).toEqual({ min: [320, 192], opt: [640, 384], max: [1280, 1280] });
  for (const text of ["", "640,", "640,320,1280", "320x200,640x100,1280x800", "1x2x3"])
    expect(sizeRange.safeParse(text).success).toBe(false);
});

test("values: bytes, compute capabilities, numbers from 0 on", () => {
  const bytes = ["64MiB", "1.5 GiB", "2gib", "500MB", "1kB", "4096", "12B", "0"].map((text) => byteCount.parse(text));
  expect(bytes).toEqual([64 * 2 ** 20, 1.5 * 2 ** 30, 2 * 2 ** 30, 500e6, 1e3, 4096, 12, 0]);
  for (const text of ["", "MiB", "-1", "1TB", "1 MiB 2", "0x10", "1M"])
    expect(byteCount.safeParse(text).success).toBe(false);
  expect(capabilityList.parse("8.6, 12.0")).toEqual(["8.6", "12.0"]);
  for (const text of ["", "86", "8.6,", "sm_86"]) expect(capabilityList.safeParse(text).success).toBe(false);
  expect(wholeNumber(0, 5).parse("0")).toBe(0);
  for (const text of ["6", "-1", "1.5", ""]) expect(wholeNumber(0, 5).safeParse(text).success).toBe(false);
});
