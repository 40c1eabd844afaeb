/**
 * @module Accuracy of every reference model through `detect --format coco`, beside the published figure.
 *
 * Usage: `bun bench/accuracy.ts [--shared DIR] [--python PATH] [--backend cpu|gpu] [--only NAME] [--json FILE]`.
 * Needs the folder with the reference models and images, and a Python with pycocotools.
 */

import { existsSync, mkdtempSync, rmSync } from "node:fs";
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
  },
});

/** Largest difference to the reference mAP50-95. */
const TOLERANCE = 0.003;

/**
 * Reference: score > 0.001, class-aware NMS at IoU 0.65, at most 300 boxes, ONNX Runtime FP32, OpenCV letterbox; DEIMv2 as
 * upstream does, with Pillow and without a letterbox.
 */
const ROWS = [
  { name: "yolov8n", model: "models/yolov8n_640.onnx", map: 0.3797, map50: 0.5527 },
  { name: "yolo11n", model: "yolo11n", map: 0.4019, map50: 0.5616 },
  { name: "yolo26n", model: "models/yolo26n_640_e2e.onnx", map: 0.4555, map50: 0.6306 },
  { name: "yolox_nano", model: "models/yolox_nano.onnx", map: 0.3269, map50: 0.5113 },
  { name: "nanodet_m", model: "models/nanodet_m_416.onnx", map: 0.285, map50: 0.4432 },
  { name: "deimv2_atto", model: "models/deimv2_hgnetv2_atto_coco.onnx", map: 0.2965, map50: 0.457 },
  { name: "deimv2_femto", model: "models/deimv2_hgnetv2_femto_coco.onnx", map: 0.3693, map50: 0.534 },
] as const;

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

const annotations = join(values.shared, "images/coco_val2017_100.json");
if (!existsSync(annotations)) {
  console.log(`Skipped: the reference images are not here (${annotations}); name their folder with --shared`);
  process.exit(0);
}
if (Bun.spawnSync([values.python, "-c", "import pycocotools"]).exitCode !== 0) {
  console.log(
    `Skipped: ${values.python} has no pycocotools; install it with pip, or name another Python with --python`,
  );
  process.exit(0);
}

const scratch = mkdtempSync(join(tmpdir(), "bun-tensorrt-accuracy-"));
const results: unknown[] = [];
let failed = 0;
console.log("model          mAP50-95  reference  difference     mAP50  reference   ms/image");
for (const row of ROWS.filter((entry) => values.only === undefined || entry.name === values.only)) {
  const output = join(scratch, `${row.name}.json`);
  const started = performance.now();
  run([
    process.execPath,
    join(import.meta.dir, "../src/cli/main.ts"),
    "detect",
    join(values.shared, "images/coco_val2017"),
    ...["--model", row.model.includes("/") ? join(values.shared, row.model) : row.model],
    ...["--backend", values.backend],
    ...["--threshold", "0.001", "--iou", "0.65", "--max-detections", "300"],
    ...["--format", "coco", "--annotations", annotations, "--output", output],
  ]);
  const elapsed = performance.now() - started;
  const script = join(import.meta.dir, "peers/coco_eval.py");
  const score = JSON.parse(run([values.python, script, annotations, output])) as Score;
  const difference = score.map - row.map;
  const isWithin = Math.abs(difference) <= TOLERANCE;
  if (!isWithin) failed += 1;
  results.push({ ...row, reference: { map: row.map, map50: row.map50 }, ...score });
  console.log(
    [
      row.name.padEnd(14),
      score.map.toFixed(4).padStart(8),
      row.map.toFixed(4).padStart(10),
      `${difference >= 0 ? "+" : ""}${difference.toFixed(4)}`.padStart(11),
      score.map50.toFixed(4).padStart(9),
      row.map50.toFixed(4).padStart(10),
      (elapsed / score.images).toFixed(1).padStart(12),
      isWithin ? "" : `  off by more than ${TOLERANCE}`,
    ].join(" "),
  );
}
rmSync(scratch, { recursive: true });
if (values.json !== undefined) await Bun.write(values.json, `${JSON.stringify(results, null, 2)}\n`);
process.exit(failed === 0 ? 0 : 1);
