/**
 * @module Accuracy of every reference model, beside the published figure: through `detect --format coco`, or `val`.
 *
 * Usage: `bun bench/accuracy.ts [--shared DIR] [--python PATH] [--backend cpu|gpu|cpu,gpu] [--only NAME,NAME] [--json FILE]
 * [--val] [--level N] [--build FLAGS] [--compare-fp32-layers]`.
 * Needs the folder with the reference models and images, and a Python with pycocotools; with `--val` none. `--backend cpu,gpu` scores each model
 * on both, and says how far the GPU's engine is from the CPU. `--level` builds the GPU's engines at that optimisation level first, with what
 * `--build="--io-format model --timing-iterations 1"` says more;
 * `--compare-fp32-layers` builds those that keep layers in FP32 without them as well.
 */

import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: {
    shared: { type: "string", default: join(import.meta.dir, "../../shared") },
    python: { type: "string", default: "python3" },
    backend: { type: "string", default: "auto" },
    only: { type: "string" },
    json: { type: "string" },
    val: { type: "boolean", default: false },
    level: { type: "string" },
    build: { type: "string", default: "" },
    "compare-fp32-layers": { type: "boolean", default: false },
  },
});

const backends = values.backend.split(",");

/** Largest difference to the reference mAP50-95. */
const TOLERANCE = 0.003;

/**
 * Reference: score > 0.001, class-aware NMS at IoU 0.65, at most 300 boxes, ONNX Runtime FP32, OpenCV letterbox; DEIMv2 as
 * upstream does, with Pillow and without a letterbox.
 */
const ROWS = [
  { name: "yolov8n", model: "models/yolov8n_640.onnx", map: 0.3797, map50: 0.5527 },
  { name: "yolov8n_dynamic", model: "models/yolov8n_640_dynamic.onnx", map: 0.3797, map50: 0.5527 },
  { name: "yolo11n", model: "yolo11n", map: 0.4019, map50: 0.5616 },
  { name: "yolo26n", model: "models/yolo26n_640_e2e.onnx", map: 0.4555, map50: 0.6306 },
  { name: "yolox_nano", model: "models/yolox_nano.onnx", map: 0.3269, map50: 0.5113 },
  { name: "nanodet_m", model: "models/nanodet_m_416.onnx", map: 0.285, map50: 0.4432 },
  { name: "fastestdet", model: "models/FastestDet.onnx", map: 0.1817, map50: 0.3387 },
  { name: "deimv2_atto", model: "models/deimv2_hgnetv2_atto_coco.onnx", map: 0.2965, map50: 0.457 },
  { name: "deimv2_femto", model: "models/deimv2_hgnetv2_femto_coco.onnx", map: 0.3693, map50: 0.534 },
] as const;

type Row = (typeof ROWS)[number];

interface Score {
  readonly map: number;
  readonly map50: number;
  readonly images: number;
}

/** Run a command; its standard output. @throws {Error} If it fails, with what it printed on standard error */
function run(command: readonly string[]): string {
  const child = Bun.spawnSync([...command], { stdout: "pipe", stderr: "pipe" });
  if (child.exitCode !== 0) throw new Error(`${command.join(" ")} failed:\n${child.stderr.toString()}`);
  return child.stdout.toString();
}

function tool(...words: readonly string[]): string {
  return run([process.execPath, join(import.meta.dir, "../src/cli/main.ts"), ...words]);
}

const annotations = join(values.shared, "images/coco_val2017_100.json");
const images = join(values.shared, "images/coco_val2017");
if (!existsSync(annotations)) {
  console.log(`Skipped: the reference images are not here (${annotations}); name their folder with --shared`);
  process.exit(0);
}
if (!values.val && Bun.spawnSync([values.python, "-c", "import pycocotools"]).exitCode !== 0) {
  const hint = "install it with pip, name another Python with --python, or take --val";
  console.log(`Skipped: ${values.python} has no pycocotools; ${hint}`);
  process.exit(0);
}

const scratch = mkdtempSync(join(tmpdir(), "bun-tensorrt-accuracy-"));

/** Score what `detect` finds by pycocotools, or what `val` says. */
function score(model: string, name: string, backend: string): Score {
  const machine = ["--backend", backend];
  const kept = ["--threshold", "0.001", "--iou", "0.65", "--max-detections", "300"];
  if (values.val) {
    const told = tool(
      "val",
      model,
      "--data",
      annotations,
      "--images",
      images,
      ...machine,
      ...kept,
      "--json",
      "--quiet",
    );
    const { images: count, metrics } = JSON.parse(told);
    return { map: metrics.box.AP, map50: metrics.box.AP50, images: count };
  }
  const output = join(scratch, `${name}.json`);
  const format = ["--format", "coco", "--annotations", annotations, "--output", output];
  tool("detect", images, "--model", model, ...machine, ...kept, ...format);
  return JSON.parse(run([values.python, join(import.meta.dir, "peers/coco_eval.py"), annotations, output]));
}

/** An engine of the level that was asked for. @returns its path, and the names of the nodes it keeps in FP32 */
function build(model: string, name: string, flags: readonly string[]): { plan: string; fp32: number; ms: number } {
  const plan = join(scratch, `${name}.plan`);
  const told = tool(
    "build",
    model,
    "--optimization-level",
    values.level!,
    "--output",
    plan,
    "--json",
    "--quiet",
    ...values.build.split(" ").filter(Boolean),
    ...flags,
  );
  const { origin, elapsedMs } = JSON.parse(told);
  return { plan, fp32: origin?.fp32Layers?.length ?? 0, ms: elapsedMs };
}

const results: unknown[] = [];
let failed = 0;

/** Score a model and print its line. */
function report(
  { row, name, backend }: { row: Row; name: string; backend: string },
  model: string,
  facts: Readonly<Record<string, unknown>>,
): Score {
  const started = performance.now();
  const found = score(model, name, backend);
  const elapsed = performance.now() - started;
  const difference = found.map - row.map;
  const isWithin = Math.abs(difference) <= TOLERANCE;
  if (!isWithin) failed += 1;
  const reference = { map: row.map, map50: row.map50 };
  results.push({ ...row, name, reference, backend, ...facts, ...found });
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(results, null, 2)}\n`);
  console.log(
    [
      `${name}${backends.length > 1 ? `, ${backend}` : ""}`.padEnd(22),
      found.map.toFixed(4).padStart(8),
      row.map.toFixed(4).padStart(10),
      `${difference >= 0 ? "+" : ""}${difference.toFixed(4)}`.padStart(11),
      found.map50.toFixed(4).padStart(9),
      row.map50.toFixed(4).padStart(10),
      (elapsed / found.images).toFixed(1).padStart(12),
      ...Object.entries(facts).map(([key, value]) => ` ${key} ${value}`),
      isWithin ? "" : `  off by more than ${TOLERANCE}`,
    ].join(" "),
  );
  return found;
}

/** Score a model on one backend, of the level that was asked for. @returns the score of the model as it is */
function measure(row: Row, model: string, backend: string): Score {
  const of = { row, name: row.name, backend };
  if (values.level === undefined || backend === "cpu") return report(of, model, {});
  const { plan, fp32, ms } = build(model, row.name, []);
  const found = report(of, plan, { fp32, buildMs: ms });
  if (fp32 > 0 && values["compare-fp32-layers"]) {
    const name = `${row.name}_all_fp16`;
    const bare = build(model, name, ["--no-fp32-layers"]);
    report({ row, name, backend }, bare.plan, { fp32: bare.fp32, buildMs: bare.ms });
  }
  return found;
}

console.log("model                  mAP50-95  reference  difference     mAP50  reference   ms/image");
const only = values.only?.split(",");
for (const row of ROWS.filter(({ name }) => only === undefined || only.includes(name))) {
  const model = row.model.includes("/") ? join(values.shared, row.model) : row.model;
  try {
    const [first, ...others] = backends.map((backend) => measure(row, model, backend));
    for (const { map, map50 } of others) {
      const apart = [map - first!.map, map50 - first!.map50].map((by) => `${by >= 0 ? "+" : ""}${by.toFixed(4)}`);
      console.log(`  beside ${backends[0]}: mAP50-95 ${apart[0]}, mAP50 ${apart[1]}`);
    }
  } catch (error) {
    // One that cannot be fetched or built leaves the others.
    failed += 1;
    console.log(`${row.name.padEnd(22)} ${(error as Error).message.split("\n").slice(1, 3).join(" ")}`);
  }
}
rmSync(scratch, { recursive: true });
process.exit(failed === 0 ? 0 : 1);
