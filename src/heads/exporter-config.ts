/** @module Exporter config: what the files that mmdeploy, PaddleDetection and transformers write beside a model say of an image, and of its classes. */

import type { PreprocessingOptions, PreprocessingSaid } from "../image/preprocessing.ts";

/** What such a file says. */
export interface ExporterConfig {
  readonly exporter: "mmdeploy" | "PaddleDetection" | "transformers";
  /** Its name. */
  readonly file: string;
  readonly preprocessing: PreprocessingSaid;
  readonly labels?: readonly string[] | undefined;
  /** What is done otherwise than it says. */
  readonly assumptions: readonly string[];
}

type Step = Readonly<Record<string, unknown>>;
type Triple = readonly [number, number, number];

function isStep(value: unknown): value is Step {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Steps of a list, by what they are called. */
function stepsOf(value: unknown): readonly (readonly [type: string, step: Step])[] {
  return Array.isArray(value) ? value.filter(isStep).map((step) => [String(step.type), step] as const) : [];
}

/** A number for each channel. */
function tripleIn(value: unknown): Triple | undefined {
  const isTriple = Array.isArray(value) && value.length === 3 && value.every((one) => Number.isFinite(one));
  return isTriple ? (value as unknown as Triple) : undefined;
}

/** The level of padding that a step names: a number, three of them, or either for the image. */
function padOf(value: unknown): number | Triple | undefined {
  const said = isStep(value) ? value.img : value;
  return typeof said === "number" ? said : tripleIn(said);
}

/**
 * Of mmdeploy's `pipeline.json`: resized to the ratio's or the input's sides, padded before or after levels are normalised.
 *
 * @returns `undefined` if it is another file
 */
export function mmdeployConfig(file: string, content: Step): ExporterConfig | undefined {
  const { pipeline } = content;
  const tasks = isStep(pipeline) && Array.isArray(pipeline.tasks) ? pipeline.tasks.filter(isStep) : [];
  const steps = stepsOf(tasks.find(({ module }) => module === "Transform")?.transforms);
  const at = steps.findIndex(([type]) => type === "Normalize");
  const { mean, std, to_rgb } = steps[at]?.[1] ?? {};
  const levels = { mean: tripleIn(mean), std: tripleIn(std) };
  if (levels.mean === undefined || levels.std === undefined || levels.std.includes(0)) return undefined;
  const isCentred = steps.some(([type]) => type === "LetterResize");
  const isStretched = steps.some(([type, { keep_ratio }]) => /^(FixShape)?Resize$/.test(type) && keep_ratio === false);
  const pads = steps.slice(0, at).map(([, { pad_val }]) => padOf(pad_val));
  const preprocessing: PreprocessingOptions = {
    fit: isCentred ? "letterbox" : isStretched ? "stretch" : "letterbox-top-left",
    colour: to_rgb === false ? "BGR" : "RGB",
    scale: 1,
    ...levels,
    // What is padded afterwards is 0 there.
    pad: pads.find((pad) => pad !== undefined) ?? levels.mean,
  };
  return { exporter: "mmdeploy", file, preprocessing, assumptions: [] };
}

/** OpenCV's number of the filter that is read in the same way here. */
const LINEAR = 1;

/**
 * Of PaddleDetection's `infer_cfg.yml`. Images are RGB, and padded after levels are normalised.
 *
 * @returns `undefined` if it is another file
 */
export function paddleConfig(file: string, content: Step): ExporterConfig | undefined {
  const steps = stepsOf(content.Preprocess);
  const stepOf = (name: string): Step | undefined => steps.find(([type]) => type === name)?.[1];
  const resize = stepOf("Resize");
  if (resize === undefined) return undefined;
  const normalise = stepOf("NormalizeImage");
  const isNormalised = normalise !== undefined && normalise.norm_type !== "none";
  const scale = normalise === undefined || normalise.is_scale === false ? 1 : 1 / 255;
  const mean = (isNormalised ? tripleIn(normalise.mean) : undefined) ?? [0, 0, 0];
  const std = (isNormalised ? tripleIn(normalise.std) : undefined) ?? [1, 1, 1];
  const isKept = resize.keep_ratio === true;
  const pad = mean.map((value) => Math.min(255, Math.max(0, value / scale))) as unknown as Triple;
  const { interp = LINEAR } = resize;
  const { label_list } = content;
  const isNamed = Array.isArray(label_list) && label_list.every((name) => typeof name === "string");
  return {
    exporter: "PaddleDetection",
    file,
    preprocessing: { fit: isKept ? "letterbox-top-left" : "stretch", colour: "RGB", scale, mean, std, pad },
    labels: isNamed && label_list.length > 0 ? label_list : undefined,
    assumptions: interp === LINEAR ? [] : [`bilinear in place of OpenCV's filter ${interp}, which ${file} names`],
  };
}
