/** @module Report: what a conversion cost, measured beside the model of FP32, and as a page of one file. */

import { basename } from "node:path";
import type { ModelSource } from "../api/model-source.ts";
import { printable } from "../core/log.ts";
import { formatBytes, plural } from "../core/units.ts";
import { loadSharp } from "../image/sharp.ts";
import type { ImageAgreement } from "../tasks/evaluate/evaluation.ts";
import type { Drawable, TaskResult } from "../tasks/task-result.ts";
import { type Examined, openExamined, precisionOf, runComparison } from "./comparison.ts";
import type { Conversion, ConversionReport, ConvertConfig, Sensitivity } from "./precision-config.ts";

/** Lowest score of the objects that are matched and drawn. */
const THRESHOLD = 0.25;
/** Most images that are drawn, … */
const MOST_DRAWN = 8;
/** … no larger than this on either side, … */
const DRAWN_SIDE = 480;
/** … and no image that changed less: an object counts 1, a share of an IoU or of a score so much. */
const LEAST_CHANGE = 0.01;
/** Layers that are listed by what they cost. */
const MOST_RANKED = 20;

/** An image with what both models find, as JPEGs. */
interface DrawnImage {
  readonly path: string;
  readonly agreement: ImageAgreement;
  readonly before: Uint8Array;
  readonly after: Uint8Array;
}

/** What is measured for a report. */
export interface Measured extends Omit<ConversionReport, "path"> {
  readonly drawn: readonly DrawnImage[];
}

/** What is measured, and on what. */
interface MeasureRequest {
  readonly model: ModelSource;
  /** Path of the converted model. */
  readonly converted: string;
  /** Images that were held back; empty: all that were calibrated on. */
  readonly heldBack: readonly string[];
  readonly images: readonly string[];
  readonly config: ConvertConfig;
  readonly sensitivity: Sensitivity | undefined;
}

/** How much what is found in an image changed. */
function changeOf({ matched, onlyFirst, onlySecond, iou, scoreChange }: ImageAgreement): number {
  return onlyFirst + onlySecond + (matched === 0 ? 0 : 1 - iou + scoreChange);
}

/** An image with what a model finds in it, small. */
async function drawn({ known }: Examined, path: string): Promise<Uint8Array> {
  const { result } = await known!.examine(path, { threshold: THRESHOLD });
  const found = result as unknown as TaskResult & Drawable;
  const { width, height } = found;
  // Lines and letters stay as wide when the image becomes smaller.
  const scale = Math.max(1, Math.max(width, height) / DRAWN_SIDE);
  const lineWidth = Math.min(Math.round(2 * scale), 1000);
  const image = await found.draw({ lineWidth, fontSize: Math.min(13 * scale, 1000) });
  const sharp = await loadSharp();
  const raw = { width: image.width, height: image.height, channels: 3 as const };
  return await sharp(image.data as Uint8Array, { raw, limitInputPixels: false })
    .resize({ width: DRAWN_SIDE, height: DRAWN_SIDE, fit: "inside", withoutEnlargement: true })
    .jpeg({ quality: 80 })
    .toBuffer();
}

/** Figures by annotations. A search has them already. */
async function truthOf(
  { config: { annotations, signal }, sensitivity }: MeasureRequest,
  open: (which: "model" | "converted") => Promise<Examined>,
): Promise<ConversionReport["truth"]> {
  if (annotations === undefined) return undefined;
  const { truth, loss = 0 } = sensitivity ?? {};
  if (truth !== undefined) return { before: truth, after: truth - loss };
  const before = await precisionOf(await open("model"), annotations, signal);
  return { before, after: await precisionOf(await open("converted"), annotations, signal) };
}

/**
 * Measure a converted model beside the one it was made of, by the CPU.
 *
 * @throws {ImageError} If an image cannot be read and there is no `onError`, or none can
 * @throws the signal's reason
 */
export async function measureConversion(request: MeasureRequest): Promise<Measured> {
  const { model, converted, heldBack, images: calibrated, config } = request;
  const { onError, onProgress, signal } = config;
  await using opened = new AsyncDisposableStack();
  const models = new Map<string, Examined>();
  const open = async (which: "model" | "converted"): Promise<Examined> => {
    const known = models.get(which);
    if (known !== undefined) return known;
    const one = await openExamined(which === "model" ? model : converted, { backend: "cpu" });
    opened.defer(() => one.model.close());
    models.set(which, one);
    return one;
  };
  const images = heldBack.length > 0 ? heldBack : calibrated;
  const truth = await truthOf(request, open);
  const said = { heldBack, ...(truth && { truth }) };
  if (images.length === 0) return { ...said, drawn: [] };
  const comparison = await runComparison(model, converted, {
    ...{ images, threshold: THRESHOLD, onError, signal },
    samples: 64,
    first: { backend: "cpu" },
    second: { backend: "cpu" },
    onProgress: (done, total) => onProgress?.({ phase: "measure", done, total }),
  });
  const { agreement } = comparison;
  const changed = agreement?.kind === "objects" ? agreement.images.filter((one) => changeOf(one) >= LEAST_CHANGE) : [];
  const most = changed.toSorted((a, b) => changeOf(b) - changeOf(a)).slice(0, MOST_DRAWN);
  const shown: DrawnImage[] = [];
  for (const one of most) {
    signal?.throwIfAborted();
    const before = await drawn(await open("model"), one.path);
    shown.push({ path: one.path, agreement: one, before, after: await drawn(await open("converted"), one.path) });
  }
  return { ...said, comparison, drawn: shown };
}

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

/** Text as it may stand in an element or an attribute. */
function escaped(text: string): string {
  return printable(text).replace(/[&<>"']/g, (character) => ENTITIES[character]!);
}

function figure(value: number, digits = 4): string {
  if (Number.isNaN(value)) return "–";
  return Number.isFinite(value) ? value.toFixed(digits) : "∞";
}

/** A table of text, which is escaped. */
function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = (row: readonly string[], tag: string): string =>
    `<tr>${row.map((cell) => `<${tag}>${escaped(cell)}</${tag}>`).join("")}</tr>`;
  const body = rows.map((row) => cells(row, "td")).join("\n");
  return `<div class="wide"><table><thead>${cells(head, "th")}</thead>\n<tbody>${body}</tbody></table></div>`;
}

function section(title: string, ...content: readonly string[]): string {
  return `<section><h2>${escaped(title)}</h2>\n${content.join("\n")}\n</section>`;
}

function paragraph(text: string): string {
  return `<p>${escaped(text)}</p>`;
}

/** Why a layer is not quantised that nothing else is said of. */
const NO_WEIGHTS = "an activation, a join or another operator without weights";

function accuracySection(precision: string, { comparison, truth, heldBack }: Measured): string {
  const parts: string[] = [];
  const type = precision.toUpperCase();
  const columns = ["", "FP32", type, "difference"];
  if (truth !== undefined) {
    const { before, after } = truth;
    parts.push(table(columns, [["mAP50-95, by annotations", figure(before), figure(after), figure(after - before)]]));
  }
  if (comparison === undefined) {
    if (truth === undefined)
      parts.push(paragraph("Nothing was measured: there were no images. --calibration names them."));
    return section("Accuracy", ...parts);
  }
  const { agreement, outputs, images } = comparison;
  const where =
    heldBack.length > 0
      ? "held back from the calibration"
      : "of the calibration, as there were too few to hold some back";
  const against = `The FP32 model is the reference, so 1 means that the ${type} model finds the same.`;
  parts.push(paragraph(`Measured on ${plural(images, "image")} ${where}. ${against}`));
  if (agreement?.kind === "objects") {
    const rows = Object.entries(agreement.ap).map(([kind, ap]) => [
      `mAP50-95, ${kind}`,
      "1",
      figure(ap),
      figure(ap - 1),
    ]);
    parts.push(table(columns, rows));
    const { matched, onlyFirst, onlySecond, iou, scoreChange } = agreement;
    const head = ["objects in both", "only in FP32", `only in ${type}`, "mean IoU", "largest change of a score"];
    parts.push(
      table(head, [[String(matched), String(onlyFirst), String(onlySecond), figure(iou), figure(scoreChange)]]),
    );
  } else if (agreement?.kind === "classes") {
    const { top1, top5 } = agreement;
    parts.push(
      table(columns, [
        ["same first class", "1", figure(top1), figure(top1 - 1)],
        ["first class among the first five", "1", figure(top5), figure(top5 - 1)],
      ]),
    );
  }
  const rows = outputs.map(({ name, max, relative, cosine, sqnr }) => [
    ...[name, figure(max), figure(relative), figure(cosine, 6), figure(sqnr, 1)],
  ]);
  if (rows.length > 0) parts.push(table(["output", "largest difference", "relative", "cosine", "SQNR, dB"], rows));
  return section("Accuracy", ...parts);
}

function layerSection({ layers, precision }: Conversion): string {
  const counts = [...Map.groupBy(layers, ({ type }) => type)].map(([type, { length }]) => [
    type.toUpperCase(),
    String(length),
  ]);
  const others = layers.filter(({ type }) => type !== precision);
  const reasons = Map.groupBy(others, ({ type, reason = NO_WEIGHTS }) => `${type}\0${reason}`);
  const why = [...reasons.values()].map((alike) => [
    ...[alike[0]!.type.toUpperCase(), String(alike.length), alike[0]!.reason ?? NO_WEIGHTS],
  ]);
  const all = table(
    ["layer", "operator", "type", "why"],
    layers.map(({ name, op, type, reason = "" }) => [name, op, type.toUpperCase(), reason]),
  );
  return section(
    "Layers",
    table(["type", "layers"], counts),
    ...(why.length > 0 ? [paragraph(`Why layers are not ${precision.toUpperCase()}:`)] : []),
    ...(why.length > 0 ? [table(["type", "layers", "why"], why)] : []),
    `<details><summary>${escaped(`All ${plural(layers.length, "layer")}`)}</summary>${all}</details>`,
  );
}

function searchSection({ maxLoss, loss, layers, blocks, attempts }: Sensitivity): string {
  const kept = layers.filter(({ isKept }) => isKept).length;
  const tried = attempts.map((one) => [String(one.kept), figure(one.loss), one.loss <= maxLoss ? "yes" : "no"]);
  const worst = layers
    .slice(0, Math.max(MOST_RANKED, kept))
    .map(({ name, op, sqnr, isKept }) => [name, op, figure(sqnr, 1), isKept ? "FP16" : "quantised"]);
  const together = blocks.map((one) => [
    ...[one.name, String(one.layers.length), figure(one.cost)],
    one.isKept ? "FP16" : "quantised",
  ]);
  return section(
    "Search",
    paragraph(`Allowed was a loss of ${maxLoss}. With ${plural(kept, "layer")} back in FP16 it is ${figure(loss)}.`),
    table(["layers back in FP16", "loss", "within the budget"], tried),
    ...(together.length > 0 ? [table(["block", "layers", "loss it causes", "now"], together)] : []),
    ...(worst.length > 0 ? [table(["layer", "operator", "SQNR with only it quantised, dB", "now"], worst)] : []),
  );
}

function skippedSection(paths: readonly string[]): string {
  return section("Skipped images", `<ul>${paths.map((path) => `<li>${escaped(path)}</li>`).join("\n")}</ul>`);
}

function imageSection(precision: string, images: readonly DrawnImage[]): string {
  const figures = images.flatMap(({ path, agreement, before, after }) => {
    const { matched, onlyFirst, onlySecond, iou, scoreChange } = agreement;
    const only = `${onlyFirst} only in FP32, ${onlySecond} only in ${precision.toUpperCase()}`;
    const change = `${plural(matched, "object")} in both (mean IoU ${figure(iou)}, scores within ±${figure(scoreChange)}), ${only}`;
    const one = (bytes: Uint8Array, type: string): string => {
      const data = Buffer.from(bytes).toString("base64");
      const title = escaped(`${basename(path)}, ${type}`);
      return `<figure><img alt="${title}" src="data:image/jpeg;base64,${data}"><figcaption>${escaped(type)}</figcaption></figure>`;
    };
    return [
      `<h3>${escaped(path)}</h3>\n${paragraph(change)}`,
      `<div class="pair">${one(before, "FP32")}${one(after, precision.toUpperCase())}</div>`,
    ];
  });
  return section("Images that changed most", ...figures);
}

const STYLE = `:root { color-scheme: light dark; --ink: #1d2430; --paper: #fff; --line: #d5dae2; --faint: #5b6675 }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ee; --paper: #14181e; --line: #343c48; --faint: #9aa5b4 } }
body { margin: 2rem auto; max-width: 64rem; padding: 0 1rem; font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper) }
h1, h3 { overflow-wrap: anywhere } h3 { margin: 1.5rem 0 0; font-size: 1rem } p { color: var(--faint) }
.wide { overflow-x: auto } table { border-collapse: collapse; margin: .75rem 0; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .75rem .25rem 0; border-bottom: 1px solid var(--line); text-align: left }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem } figure { margin: 0 } img { max-width: 100% }
figcaption { color: var(--faint) } summary { cursor: pointer }`;

/** What a page shows. */
interface ReportPage {
  /** Name of the model. */
  readonly title: string;
  readonly conversion: Conversion;
  readonly measured: Measured;
}

/** The page: one file, without scripts, that asks nobody for anything. Pure. */
export function reportPage({ title, conversion, measured }: ReportPage): string {
  const { precision, byteLength, casts, calibration, sensitivity, path } = conversion;
  const { before, after } = byteLength;
  const heading = `${title} in ${precision.toUpperCase()}`;
  const share = `${((100 * after) / before).toFixed(0)} %`;
  const skipped = new Set([
    ...(calibration?.skipped ?? []),
    ...(sensitivity?.skipped ?? []),
    ...(measured.comparison?.skipped ?? []),
  ]);
  const rows = [
    ["file", basename(path)],
    ["size", `${formatBytes(before)} before, ${formatBytes(after)} after (${share})`],
    ["casts between FP32 and FP16", String(casts)],
    ["images calibrated on", calibration === undefined ? "none" : String(calibration.images)],
  ];
  const parts = [
    `<h1>${escaped(heading)}</h1>`,
    table(["model", title], rows),
    accuracySection(precision, measured),
    layerSection(conversion),
    ...(sensitivity === undefined ? [] : [searchSection(sensitivity)]),
    ...(skipped.size === 0 ? [] : [skippedSection([...skipped])]),
    ...(measured.drawn.length === 0 ? [] : [imageSection(precision, measured.drawn)]),
  ];
  const policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'";
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<title>${escaped(heading)}</title>
<style>${STYLE}</style></head>
<body>
${parts.join("\n")}
</body></html>
`;
}
