/**
 * @module With said: a recognised model as a file beside it says, and as the caller does: class names, and what the files of mmdeploy,
 * PaddleDetection and transformers say of an image.
 */

import { ModelError } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { plural } from "../core/units.ts";
import { type PreprocessingOptions, withOptions } from "../image/preprocessing.ts";
import type { ModelInfo } from "../model/model-info.ts";
import { refuseUnreadAnchors } from "./anchor-maps.ts";
import { yolov9Heads } from "./dense-reading.ts";
import { picodet } from "./distance-maps.ts";
import { type ExporterConfig, type ModelSpec, naming, type RecogniseOptions } from "./head.ts";
import { huggingFace, huggingFaceSoftmax, mask2former } from "./hugging-face.ts";
import { ownLevels } from "./image-input.ts";
import { efficientNms, maskRcnnMmdeploy, mmdet, mmrotate } from "./nms-inside.ts";
import { paddleDetection, paddleRtdetr, ppyoloePlanes, ppyoloeRaw } from "./paddle.ts";
import { rtmo } from "./people.ts";
import { deimv2Imagenet, rtdetr } from "./rtdetr.ts";
import { type ModelTraits, quoted, shown } from "./traits.ts";

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

/** What transformers writes beside its models. */
const TRANSFORMERS_FILE = "config.json";

/** What is read, or `undefined` where the model is refused. */
function attempt<Spec>(read: () => Spec): Spec | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof ModelError) return undefined;
    throw error;
  }
}

/**
 * Read a model with the class names of a file beside it, if neither the caller nor the model has any. They name classes, and settle
 * what is else open; where they would make another head of it, or do not fit, they are not of this model.
 */
export function withNamesBeside<Spec extends ModelSpec>(
  { metadata }: ModelInfo,
  options: RecogniseOptions,
  read: (options: RecogniseOptions) => Spec,
): Spec {
  const { namesBeside: beside, labels, isSilent, source = "the model" } = options;
  if (beside === undefined || (labels?.length ?? 0) > 0 || metadata.names !== undefined) return read(options);
  const named = { ...options, labels: beside.names };
  const plain = attempt(() => read({ ...options, isSilent: true }));
  const found = attempt(() => read({ ...named, isSilent: true }));
  const file = JSON.stringify(beside.file);
  // Of several models in its folder it is of those of transformers only.
  const isOfOthers = found?.head.startsWith(huggingFace.name) !== true && beside.isOfOne !== true;
  if (beside.file === TRANSFORMERS_FILE && isOfOthers) return read(options);
  if (found === undefined || (plain !== undefined && plain.head !== found.head)) {
    if (plain !== undefined && isSilent !== true) {
      const count = plural(beside.names.length, "class name");
      logger.warn(`Ignoring the ${count} of ${file} beside ${source}, which do not fit: give \`labels\``);
    }
    return read(options);
  }
  const spec = read(named);
  return { ...spec, reason: `${spec.reason}, of ${file} beside it` };
}

/** Heads of the models that each exporter writes. */
const HEADS_OF: Readonly<Record<ExporterConfig["exporter"], readonly string[]>> = {
  mmdeploy: [mmdet, mmrotate, maskRcnnMmdeploy, rtmo, efficientNms].map(({ name }) => name),
  transformers: [huggingFace, huggingFaceSoftmax, mask2former].map(({ name }) => name),
  PaddleDetection: [paddleDetection, paddleRtdetr, ppyoloeRaw, ppyoloePlanes, picodet].map(({ name }) => name),
};

/** A model as the file beside it says, where its head is one of the exporter's. @param isNamed the caller or the model names its classes */
export function withConfig<Spec extends ModelSpec>(
  spec: Spec,
  config: ExporterConfig | undefined,
  isNamed: boolean,
): Spec {
  // A model that takes bytes normalises them itself.
  if (config === undefined || !HEADS_OF[config.exporter].includes(spec.head) || spec.preprocessing.dtype === "u8")
    return spec;
  const { labels = [], assumptions, file } = config;
  const { plan } = spec;
  const classes = "classes" in plan && typeof plan.classes === "number" ? plan.classes : labels.length;
  return {
    ...spec,
    reason: `${spec.reason}; pre-processing by ${file}`,
    preprocessing: withOptions(spec.preprocessing, config.preprocessing),
    assumptions,
    ...(!isNamed && labels.length > 0 && labels.length === classes ? { labels, assumedNames: undefined } : {}),
  };
}

/** A model as its graph says: one that scales levels itself gets them as they are. */
export function withLevels<Spec extends ModelSpec>(spec: Spec, levelsIn: readonly string[] | undefined): Spec {
  const own = ownLevels(spec, levelsIn, { name: spec.imageInput, dtype: spec.preprocessing.dtype });
  if (own === undefined) return spec;
  const { reason, ...levels } = own;
  return { ...spec, reason, preprocessing: withOptions(spec.preprocessing, levels) };
}

/**
 * What the caller says of the pre-processing counts, and is assumed no longer; what is assumed is logged, class names included. Heads
 * of anchors assume something of the boxes.
 */
export function withSaid<Spec extends ModelSpec>(spec: Spec, options: RecogniseOptions): Spec {
  const { preprocessing, isSilent, source = "the model" } = options;
  refuseUnreadAnchors(spec, options);
  const { assumedNames } = spec;
  const ofImage = preprocessing === undefined || spec.anchors !== undefined ? spec.assumptions : [];
  const assumptions = assumedNames === undefined ? ofImage : [...ofImage, assumedNames];
  if (isSilent !== true) for (const assumption of assumptions) logger.warn(`Assuming for ${source} ${assumption}`);
  return { ...spec, preprocessing: withOptions(spec.preprocessing, preprocessing), assumptions };
}

/** What was left aside where the tensors, or the caller, say otherwise than the model. */
export function warnOfReading(
  spec: ModelSpec,
  traits: ModelTraits,
  { head: said, heads, source = "the model" }: RecogniseOptions,
): void {
  const { head, needsNms, unexplained, plan } = spec;
  const reading = `Reading ${source} with head ${JSON.stringify(head)}`;
  // Nothing in the file tells which DEIMv2 it is, but upstream's names of those with another pre-processing do.
  if (head === rtdetr.name && /dinov3/i.test(source)) {
    const hint = `it wants ImageNet's mean and deviation: give ${naming([deimv2Imagenet.name])}`;
    logger.warn(`${reading}: if it is DEIMv2 with DINOv3, ${hint}`);
  }
  if (traits.rowsAreFinal && needsNms && said === undefined) {
    logger.warn(`Ignoring that the metadata of ${source} says that NMS is done, as its output is a raw grid`);
  }
  const [main, other] = yolov9Heads(traits);
  if (main !== undefined && other !== undefined && plan.kind === "dense" && plan.output === main.name) {
    const hint = `for another of its outputs give ${naming([`${head}:${other.name}`])}`;
    logger.warn(`${reading} from its output ${JSON.stringify(main.name)}, which is the main one of YOLOv9: ${hint}`);
  }
  const refusing = (heads ?? []).map(({ name }) => name);
  if (refusing.length > 0 && !refusing.includes(head)) {
    logger.warn(`${reading}: none of the heads that were given takes it for its own (${quoted(refusing, ", ")})`);
  }
  if (unexplained.length > 0) logger.warn(`${reading} although that has no ${unexplained.map(shown).join(", ")}`);
}
