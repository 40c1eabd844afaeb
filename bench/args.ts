/** @module Args: the command line of `bun run bench`. */

import { dirname } from "node:path";
import { parseArgs } from "node:util";
import { OptionError } from "../src/core/errors.ts";
import { unknownWord } from "../src/core/options.ts";

/** What a run was asked for. */
export interface BenchOptions {
  /** Names of the studies; empty for all. */
  readonly studies: readonly string[];
  readonly isList: boolean;
  readonly isHelp: boolean;
  /** Fewer samples, and nothing that needs an engine built. */
  readonly isQuick: boolean;
  readonly model: string | undefined;
  readonly engine: string | undefined;
  /** The plan of the model as it was exported, for trtexec and the peers. */
  readonly exportedEngine: string | undefined;
  /** The ONNX model with open sizes and batch for the study of shapes. */
  readonly dynamicModel: string | undefined;
  readonly image: string | undefined;
  readonly out: string;
  readonly compare: string | undefined;
  /** A result that is drawn again; nothing is measured. */
  readonly report: string | undefined;
  readonly backend: "auto" | "cpu" | "gpu";
  /** Seconds a measurement of throughput takes. */
  readonly durationSeconds: number;
  /** Frames of the latency and the memory study; `undefined` for each one's own. */
  readonly frames: number | undefined;
  readonly cycles: number | undefined;
  readonly maxMinutes: number;
  /** Let the peers take part. */
  readonly hasPeers: boolean;
  readonly python: string;
  readonly trtexec: string | undefined;
  /** Where the tree is no checkout: which commit it is. */
  readonly commit: string | undefined;
}

/** What `--help` prints. */
export const HELP = `bun run bench [STUDY …]: where the time of a detection goes, on this machine

  --list               the studies, and what each answers
  --quick              fewer samples; nothing that needs an engine built
  --model FILE|NAME    ONNX model, or a name of the catalogue (default: yolov8n_640.onnx of ../shared, else yolo11n)
  --engine FILE        a plan for this GPU, which is measured instead of one built from the model
  --exported-engine FILE  the plan of the model as it was exported, for trtexec and the peers (default: --engine)
  --dynamic-model FILE ONNX model with open size and batch, for the study "shapes"
  --image FILE         a JPEG (default: a 1920x1080 photograph of ../shared, else one that is generated)
  --out DIR            where result.json, report.html, table.txt, trace.json and figures/*.svg go (default: out/bench)
  --compare FILE       result.json of an earlier run to put beside this one
  --report FILE        draw all that of an earlier run's result.json again, beside it or in --out, and measure nothing;
                       with --compare beside another
  --backend WHERE      auto, cpu or gpu
  --duration S         seconds each measurement of throughput takes (default: 3; with --quick 0.5)
  --frames N           frames of the studies "frame", "latency", "memory" and "record" (default: 10000 on a GPU, 300 on a CPU)
  --cycles N           times the study "memory" loads and closes the model (default: 20)
  --max-minutes N      what has not begun by then is left out (default: no limit)
  --peers, --no-peers  take in (the default) or leave out Ultralytics, trtutils, trtexec, ONNX Runtime, PyTorch and OpenCV
  --python FILE        interpreter of the peers (default: $PYTHON, else python3)
  --trtexec FILE       NVIDIA's trtexec (default: $TRTEXEC, else the one in PATH)
  --commit HASH        what to call this version where it is no checkout

The exit code is 1 if a study failed, 2 for wrong usage.`;

const OPTIONS = {
  list: { type: "boolean" },
  help: { type: "boolean", short: "h" },
  quick: { type: "boolean" },
  model: { type: "string" },
  engine: { type: "string" },
  "exported-engine": { type: "string" },
  "dynamic-model": { type: "string" },
  image: { type: "string" },
  out: { type: "string" },
  compare: { type: "string" },
  report: { type: "string" },
  backend: { type: "string" },
  duration: { type: "string" },
  frames: { type: "string" },
  cycles: { type: "string" },
  "max-minutes": { type: "string" },
  peers: { type: "boolean" },
  "no-peers": { type: "boolean" },
  python: { type: "string" },
  trtexec: { type: "string" },
  commit: { type: "string" },
} as const;

function refuse(option: string, found: string, hint: string): never {
  throw new OptionError(`${found}\nHint: ${hint}`, option);
}

function number(
  name: string,
  text: string | undefined,
  limits: { least: number; isWhole: boolean },
): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  const { least, isWhole } = limits;
  if (text.trim() !== "" && Number.isFinite(value) && value >= least && (!isWhole || Number.isInteger(value)))
    return value;
  const rule = `${isWhole ? "a whole number" : "a number"} from ${least} on`;
  return refuse(name, `--${name} must be ${rule}, got ${JSON.stringify(text)}`, `--${name} ${Math.max(least, 1)}`);
}

/**
 * Read the command line.
 *
 * @param known names of the studies there are
 * @throws {OptionError} If an option or a study is unknown, or a value is wrong
 */
export function parseBenchArgs(words: readonly string[], known: readonly string[]): BenchOptions {
  const { values, positionals } = parse(words);
  for (const study of positionals) {
    if (known.includes(study)) continue;
    throw new OptionError(unknownWord("study", study, known), "study");
  }
  const { backend = "auto" } = values;
  if (backend !== "auto" && backend !== "cpu" && backend !== "gpu") {
    refuse("backend", `--backend must be auto, cpu or gpu, got ${JSON.stringify(backend)}`, "--backend cpu");
  }
  const { report } = values;
  if (report !== undefined && positionals.length > 0) {
    const found = `--report draws all studies of its file, got ${positionals.join(" ")}`;
    refuse("report", found, `bun run bench --report ${report}`);
  }
  const isQuick = values.quick === true;
  return {
    studies: positionals,
    isList: values.list === true,
    isHelp: values.help === true,
    isQuick,
    model: values.model,
    engine: values.engine,
    exportedEngine: values["exported-engine"] ?? values.engine,
    dynamicModel: values["dynamic-model"],
    image: values.image,
    out: values.out ?? (report === undefined ? "out/bench" : dirname(report)),
    compare: values.compare,
    report,
    backend,
    durationSeconds: number("duration", values.duration, { least: 0.05, isWhole: false }) ?? (isQuick ? 0.5 : 3),
    frames: number("frames", values.frames, { least: 1, isWhole: true }),
    cycles: number("cycles", values.cycles, { least: 1, isWhole: true }),
    maxMinutes: number("max-minutes", values["max-minutes"], { least: 0, isWhole: false }) ?? Number.POSITIVE_INFINITY,
    hasPeers: values["no-peers"] !== true,
    python: values.python ?? process.env.PYTHON ?? "python3",
    trtexec: values.trtexec ?? process.env.TRTEXEC ?? Bun.which("trtexec") ?? undefined,
    commit: values.commit,
  };
}

function parse(
  words: readonly string[],
): ReturnType<typeof parseArgs<{ options: typeof OPTIONS; allowPositionals: true }>> {
  try {
    return parseArgs({ args: [...words], options: OPTIONS, allowPositionals: true });
  } catch (error) {
    const { message: text } = error as Error;
    const unknown = /Unknown option '--?([\w-]+)'/.exec(text)?.[1];
    if (unknown === undefined) return refuse("command line", text, "bun run bench --help");
    throw new OptionError(
      unknownWord(
        "option",
        `--${unknown}`,
        Object.keys(OPTIONS).map((name) => `--${name}`),
      ),
      unknown,
    );
  }
}
