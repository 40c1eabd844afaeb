/** @module PlanFormat: what a plan is, as text and as JSON. Pure. */

import { formatShape, isDynamic } from "../core/shape.ts";
import { printable } from "../core/shown.ts";
import { formatTensorInfo } from "../core/tensor.ts";
import { formatBytes } from "../core/units.ts";
import type { ComputeCapability } from "../tensorrt/plan-file.ts";
import type { EngineTensor } from "../tensorrt/tensor-info.ts";
import { metadataRows, recognitionLines } from "./format-inspection.ts";
import type { EngineFacts, PlanInspection } from "./inspect-plan.ts";
import type { Paint } from "./terminal.ts";
import { alignRows } from "./text-table.ts";

/** Which GPUs it runs on beside the one it was built for. */
const COMPATIBILITY: ReadonlyMap<string, string> = new Map([
  ["none", "that alone"],
  ["ampere-plus", "every GPU from Ampere on"],
  ["same-compute-capability", "every GPU of that compute capability"],
]);

function formatCapabilities(capabilities: readonly ComputeCapability[]): string {
  return capabilities.map((one) => one.join(".")).join(", ");
}

/** What stands before the engine, as far as it says anything. */
function headerRows({ plan, byteLength }: PlanInspection): string[][] {
  const { header, origin } = plan;
  const capabilities = origin?.computeCapabilities ?? header?.computeCapabilities ?? [];
  const version = header === undefined ? origin?.tensorRt : `${header.family} ${header.release}.${header.build}`;
  const rows: (readonly [string, string | undefined])[] = [
    ["built by", version ?? "unknown: its header has an unknown form"],
    ["made with", origin === undefined ? "another program than bun-tensorrt" : "bun-tensorrt"],
    ["compute capability", capabilities.length === 0 ? undefined : formatCapabilities(capabilities)],
    ["built on", origin?.gpu],
    ["runs on", origin === undefined ? undefined : COMPATIBILITY.get(origin.hardwareCompatibility ?? "none")],
    ["precision", origin?.precision],
    ["size", formatBytes(byteLength)],
  ];
  return rows.flatMap(([name, value]) => (value === undefined ? [] : [[name, printable(value)]]));
}

function tensorLines(tensor: EngineTensor): string[] {
  const { profiles, formatText, location, isShapeInput, shape } = tensor;
  const facts = [formatText, ...(location === "host" ? ["in host memory"] : []), ...(isShapeInput ? ["a shape"] : [])];
  const ranges = profiles.map(({ min, opt, max }, at) => {
    const title = profiles.length === 1 ? "" : `profile ${at}: `;
    return `  ${title}${formatShape(min)} to ${formatShape(max)}, best at ${formatShape(opt)}`;
  });
  return [
    `${printable(formatTensorInfo(tensor))}  ${printable(facts.join(", "))}`,
    ...(isDynamic(shape) ? ranges : []),
  ];
}

function engineRows(engine: EngineFacts): string[][] {
  return [
    ["loaded by", engine.loadedBy],
    ["layers", String(engine.layerCount)],
    ["profiles", String(engine.profileCount)],
    ["streams", String(engine.auxStreamCount + 1)],
    ["device memory", `${formatBytes(engine.deviceMemoryBytes)} for the activations of one context`],
    ["refittable", engine.isRefittable ? "yes" : "no"],
  ];
}

/** Number, name and, where the plan was built to tell, type and tactic of each layer. */
function layerRows(layers: NonNullable<EngineFacts["layers"]>, paint: Paint): string[][] {
  const text = (value: unknown): string => (typeof value === "string" ? printable(value) : "");
  const rows = layers.map((layer, at) => {
    if (typeof layer === "string") return [String(at), printable(layer), "", ""];
    return [String(at), text(layer.Name), text(layer.LayerType), text(layer.TacticName)];
  });
  return [["", "name", "type", "tactic"].map((title) => paint("dim", title)), ...rows];
}

function indent(lines: readonly string[]): string[] {
  return lines.map((line) => `  ${line}`);
}

function engineLines(engine: PlanInspection["engine"], paint: Paint): string[] {
  const title = (text: string): string => paint("bold", text);
  if ("problem" in engine) {
    const [first = "", ...rest] = engine.problem.split("\n").map(printable);
    const said = engine.isMissingGpu
      ? [`Inputs, outputs, profiles, layers and the layout need a GPU: ${first}`]
      : [`It could not be loaded: ${first}`];
    return [title("Engine"), ...indent([...said, ...rest])];
  }
  return [
    title("Inputs"),
    ...indent(engine.inputs.flatMap(tensorLines)),
    title("Outputs"),
    ...indent(engine.outputs.flatMap(tensorLines)),
    title("Engine"),
    ...indent(alignRows(engineRows(engine), ["left", "left"])),
    ...recognitionLines(engine.recognition, paint),
    ...(engine.layers === undefined
      ? []
      : [title("Layers"), ...indent(alignRows(layerRows(engine.layers, paint), ["right", "left", "left", "left"]))]),
  ];
}

/** For people. */
export function formatPlan(inspection: PlanInspection, paint: Paint): string {
  const { file, plan, engine } = inspection;
  const title = (text: string): string => paint("bold", text);
  const metadata = metadataRows(plan.metadata, paint);
  const lines = [
    title(printable(file)),
    title("Plan"),
    ...indent(alignRows(headerRows(inspection), ["left", "left"])),
    ...(metadata.length > 0 ? [title("Metadata"), ...indent(alignRows(metadata, ["left", "left"]))] : []),
    ...engineLines(engine, paint),
  ];
  return `${lines.join("\n")}\n`;
}

/** For programs: everything, nothing shortened. */
export function planJson({ file, byteLength, plan, engine }: PlanInspection): unknown {
  const { metadata, header, origin } = plan;
  return { file, byteLength, header, origin, metadata, engine };
}
