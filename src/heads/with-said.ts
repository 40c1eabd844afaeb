/** @module With said: a recognised model as a file beside it says, and as the caller does. */

import { logger } from "../core/log.ts";
import { withOptions } from "../image/preprocessing.ts";
import { refuseUnreadAnchors } from "./anchor-maps.ts";
import { yolov9Heads } from "./dense-reading.ts";
import { efficientNms } from "./efficient-nms.ts";
import type { ExporterConfig } from "./exporter-config.ts";
import { type ModelSpec, naming, type RecogniseOptions } from "./head.ts";
import { huggingFace, huggingFaceSoftmax } from "./hugging-face.ts";
import { mask2former } from "./mask2former.ts";
import { maskRcnnMmdeploy, mmdet, mmrotate } from "./mmdeploy.ts";
import { picodet } from "./nanodet.ts";
import { paddleDetection, paddleRtdetr, ppyoloePlanes, ppyoloeRaw } from "./paddle.ts";
import { rtmo } from "./people.ts";
import { deimv2Imagenet, rtdetr } from "./rtdetr.ts";
import { type ModelTraits, quoted, shown } from "./traits.ts";

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
