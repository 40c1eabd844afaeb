/** @module Plausibility: kept rows that cannot be right are reported, the first ones of a model, with what they may mean. */

import { ModelError, message } from "../../core/errors.ts";
import { logger } from "../../core/log.ts";
import { type ModelSpec, naming } from "../../heads/head.ts";
import { headInFractions } from "../../heads/registry.ts";
import { refuseProbabilities } from "../../heads/rows.ts";
import { rtdetrUltralyticsRows } from "../../heads/rtdetr.ts";
import { yoloEndToEnd, yoloObjectness, yoloTransposed } from "../../heads/yolo.ts";
import { yolox, yoloxDecoded } from "../../heads/yolox.ts";
import type { Region } from "../../image/geometry.ts";
import { type DetectionBlock, SURE_SCORE } from "../../model/rows.ts";
import type { NmsOptions } from "./nms.ts";

/** A probability, with room for the rounding of f16 and of products. */
const HIGHEST_SCORE = 1.001;

/** One or two rows may be a mistake of the model's, or one object of several classes. */
const FEWEST_TO_TELL = 3;

/** A higher threshold is meant to leave most images without objects. */
const HIGHEST_USUAL = 0.5;

/** What a guard needs to know of a model. */
type GuardedSpec = Pick<ModelSpec, "labels" | "assumedNames"> & Partial<Pick<ModelSpec, "plan" | "alternatives">>;

/** Heads of rows of a box, perhaps objectness, and classes: under another one of them scores are hardly ever high. */
const SAME_ROWS: readonly string[] = [yoloTransposed, yoloObjectness, yolox, yoloxDecoded].map(({ name }) => name);

/** What YOLOv6 calls its output, and hardly anyone else. */
const YOLOV6_OUTPUT = "outputs";

/** The other heads of a model whose rows begin with objectness, of which only its shapes tell. */
function headsOfSameRows({ plan, alternatives = [] }: Omit<GuardedSpec, "labels">): readonly string[] | undefined {
  const isOfYolov6 = plan?.kind === "dense" && plan.score === "product" && plan.output === YOLOV6_OUTPUT;
  if (plan?.kind !== "grid" && !isOfYolov6) return undefined;
  return SAME_ROWS.filter((name) => alternatives.includes(name));
}

const HINT =
  "the head or the pre-processing may be another: `bunx bun-tensorrt inspect` shows what is assumed, and how to say otherwise";

/**
 * Looks at the kept rows of each image. A row cannot be right if its score is above 1, if its box lies outside the image,
 * or if all rows are alike. Boxes inside out are not among the rows: they are reported. Keep one for a model: it reports once.
 * Nothing is allocated for an image.
 */
export class PlausibilityGuard {
  readonly #source: string;
  readonly #names: number;
  readonly #assumedNames: string | undefined;
  /** Heads that read the same rows, where none of these may ever pass; `undefined` once an image was seen. */
  #others: readonly string[] | undefined;
  #hasReported = false;
  #hasNamed = false;

  /**
   * @param source the model, for messages
   * @param spec   of whose labels there may be fewer than classes, and whose head may be another
   */
  constructor(source: string, { labels, assumedNames, ...head }: GuardedSpec = { labels: [] }) {
    this.#source = source;
    this.#others = headsOfSameRows(head);
    this.#names = labels.length > 0 ? labels.length : Number.POSITIVE_INFINITY;
    this.#assumedNames = assumedNames;
  }

  /**
   * Count the rows that cannot be right, into `block.implausible`.
   *
   * @param block     the kept rows of an image, best first, in its own pixels and clipped to it
   * @param placement what they were mapped back by
   * @param selection what was asked for
   * @throws {ModelError} If the class names were assumed, and a class has none: the others are not its names either
   */
  check(
    block: DetectionBlock,
    placement: Region,
    selection: Pick<NmsOptions, "classIds" | "threshold" | "isMadeUp">,
  ): void {
    const { boxes, scores, classIds, count } = block;
    block.implausible = 0;
    if (this.#others !== undefined) this.#checkFirst(block, placement, selection);
    if (count === 0) return;
    for (let row = 0; row < count; row++) if (classIds[row]! >= this.#names) this.#reportUnnamed(classIds[row]!);
    let high = 0;
    while (high < count && scores[high]! > HIGHEST_SCORE) high += 1;
    let outside = 0;
    for (let row = high, at = high * 4; row < count; row++, at += 4) {
      // Rows of score 0 are filling. What is clipped to nothing lay beside the image.
      if (scores[row]! > 0 && (boxes[at]! >= boxes[at + 2]! || boxes[at + 1]! >= boxes[at + 3]!)) outside += 1;
    }
    block.implausible = high + outside;
    const isAlike = count >= FEWEST_TO_TELL && scores[0]! > 0 && areAlike(block, placement);
    if (isAlike) block.implausible = count;
    if (this.#hasReported) return;
    if (high > 0) this.#report(`${high} of ${count} scores of an image are above 1, up to ${scores[0]}`);
    else if (isAlike) this.#report(`all ${count} boxes of an image are alike`);
    else if (outside >= FEWEST_TO_TELL && outside * 2 >= count) {
      this.#report(`${outside} of ${count} boxes of an image lie outside it`);
    } else if (block.furthestAngle !== 0) {
      const angle = Number(block.furthestAngle.toPrecision(3));
      this.#report(`angles of an image are further than a whole turn, up to ${angle}, and may be degrees`);
    } else if (block.hasInsideOut) {
      this.#report("further boxes of an image are inside out: their right or lower side comes before the other");
    }
  }

  /** Where the first image has no object, the model may have another head: rows of objectness and of classes look alike. */
  #checkFirst(
    { count, dropped }: DetectionBlock,
    { width, height, sourceWidth, sourceHeight }: Region,
    { classIds, threshold, isMadeUp }: Pick<NmsOptions, "classIds" | "threshold" | "isMadeUp">,
  ): void {
    if (isMadeUp === true) return;
    const others = this.#others ?? [];
    this.#others = undefined;
    const isSlice = width < sourceWidth || height < sourceHeight;
    if (count + dropped > 0 || others.length === 0 || isSlice || classIds !== undefined || threshold > HIGHEST_USUAL)
      return;
    logger.warn(
      `No objects in the first image of ${this.#source}, and nothing but its shapes tells its head: if there are some, name the head by ` +
        naming(others),
    );
  }

  #reportUnnamed(classId: number): void {
    const found = `class ${classId} is beyond the ${this.#names} names`;
    if (this.#assumedNames !== undefined) {
      const hint = "it was trained on other classes: give their names by `labels` (`--labels FILE`)";
      throw new ModelError(
        message(`name what ${this.#source} found`, `${found} that were assumed`, hint),
        this.#source,
      );
    }
    if (this.#hasNamed) return;
    this.#hasNamed = true;
    logger.warn(`Unnamed class of ${this.#source}: ${found}; give one for each class by \`labels\``);
  }

  #report(found: string): void {
    this.#hasReported = true;
    logger.warn(`Implausible detections of ${this.#source}: ${found}; ${HINT}`);
  }
}

/** True if all rows have one box, and one score, too, unless the box is the whole image: classes of an object share theirs. */
function areAlike({ boxes, scores, count }: DetectionBlock, { sourceWidth, sourceHeight }: Region): boolean {
  const isWhole = boxes[0] === 0 && boxes[1] === 0 && boxes[2] === sourceWidth && boxes[3] === sourceHeight;
  if (scores[0] !== scores[count - 1] && !isWhole) return false;
  for (let at = 4; at < count * 4; at++) if (boxes[at] !== boxes[at & 3]) return false;
  return true;
}

/** As far as fractions of the input reach, some beyond its edge. */
const MAX_FRACTION = 1.5;

/** Boxes that are fractions reach a little beyond the input; those that are pixels reach hundreds of inputs far. */
const FURTHEST_FRACTION = 4;

/** Of so many scores that all lie where the sigmoid of a probability does, no model is the author. */
const FEWEST_SQUASHED = 100;

/** The sigmoid of 0 and of 1, with room for rounding. */
const SQUASHED = { lowest: 0.4995, highest: 0.7316 } as const;

/** What a check needs to know of a model. */
type NamedHead = Pick<ModelSpec, "head" | "alternatives"> & Partial<Pick<ModelSpec, "plan">>;

/** True if a head's boxes are fractions of the input. */
function isInFractions({ plan }: NamedHead): boolean {
  return plan !== undefined && (plan.kind === "queries" || ("boxUnit" in plan && plan.boxUnit === "fraction"));
}

/**
 * Refuses boxes that were fractions of the input where a head has pixels: all of them lie in the input's first pixel then.
 * And pixels where a head has fractions: all of them lie beyond the image's right or lower side then, or cover it.
 * And boxes that have another form than the head's: there are none but such as are inside out.
 * Keep one for a detector's slot: once a box lay elsewhere, only several that do not are refused.
 */
export class PixelCheck {
  #hasPixels = false;

  /**
   * @param block     the kept rows of an image, in its own pixels
   * @param placement what they were mapped back by
   * @param spec      for messages: which head the model was read by
   * @param selection where it is of some classes, boxes of others may be right
   * @throws {ModelError} If all lie there, and they are several, or the first of which one was sure; or none is left
   */
  check(
    block: DetectionBlock,
    placement: Region,
    spec: NamedHead,
    { classIds }: Partial<Pick<NmsOptions, "classIds">> = {},
  ): void {
    const { boxes, scores, count, dropped, hasInsideOut } = block;
    if (hasInsideOut && count + dropped === 0 && classIds === undefined && !this.#hasPixels) refuseInsideOut(spec);
    if (count === 0) return;
    if (spec.plan?.kind === "queries" && spec.plan.activation === "sigmoid") refuseSquashed(block);
    if (!this.#isToBeLookedAt(scores, count)) return;
    if (isInFractions(spec)) {
      this.#checkCorner(block, placement, spec);
      return;
    }
    const { padX, padY, scaleX, scaleY } = placement;
    // What lies beside the image is at its edge.
    const right = Math.max(0, (MAX_FRACTION - padX) / scaleX);
    const bottom = Math.max(0, (MAX_FRACTION - padY) / scaleY);
    for (let at = 0; at < count * 4; at += 2) {
      if (boxes[at]! > right || boxes[at + 1]! > bottom) {
        this.#hasPixels = true;
        return;
      }
    }
    refuseFractions(count, spec);
  }

  /**
   * The same of a head whose boxes are fractions, where those of the input are at hand: how far they reach tells more than what is
   * left of them.
   *
   * @param block the kept rows, in pixels of the input
   * @throws {ModelError} If all reach far beyond it
   */
  checkReach(block: DetectionBlock, inputWidth: number, inputHeight: number, spec: NamedHead): void {
    const { boxes, scores, count } = block;
    if (count === 0 || !isInFractions(spec) || !this.#isToBeLookedAt(scores, count)) return;
    const right = inputWidth * FURTHEST_FRACTION;
    const bottom = inputHeight * FURTHEST_FRACTION;
    for (let at = 0; at < count * 4; at += 4) {
      if (boxes[at + 2]! <= right && boxes[at + 3]! <= bottom) {
        this.#hasPixels = true;
        return;
      }
    }
    refusePixels(count, spec);
  }

  /** What is left of pixels times the input's size: nothing, at the right or lower side, or all of the image. */
  #checkCorner(block: DetectionBlock, { sourceWidth, sourceHeight }: Region, spec: NamedHead): void {
    const { boxes, count } = block;
    let hasCorner = false;
    for (let at = 0; at < count * 4; at += 4) {
      const [left, top] = [boxes[at]!, boxes[at + 1]!];
      const reaches = boxes[at + 2] === sourceWidth && boxes[at + 3] === sourceHeight;
      const [isRight, isBelow] = [left === sourceWidth, top === sourceHeight];
      if (!reaches || !(isRight || left === 0) || !(isBelow || top === 0)) {
        this.#hasPixels = true;
        return;
      }
      // A box that touches the image's left or upper side stays there: pixels times the input's size are 0 there, or below.
      hasCorner ||= isRight || isBelow;
    }
    if (hasCorner) refusePixels(count, spec);
  }

  /** Empty rows, as Ultralytics' `nms=True` pads with, are kept where the threshold is 0: they are no boxes of anything. */
  #isToBeLookedAt(scores: Float32Array, count: number): boolean {
    if (count >= FEWEST_TO_TELL && scores[FEWEST_TO_TELL - 1]! > 0) return true;
    return !this.#hasPixels && scores[0]! >= SURE_SCORE;
  }
}

/** Rows whose boxes are centre and size have the tensors of those whose boxes are corners. */
const CENTRED = rtdetrUltralyticsRows.name;

function refuse({ head }: NamedHead, found: string, hint: string): never {
  throw new ModelError(message(`decode the model's output as head "${head}"`, found, hint), head);
}

function refuseFractions(count: number, spec: NamedHead): never {
  const fractions = headInFractions(spec.head);
  const centred = spec.head === yoloEndToEnd.name ? `, or where boxes are centre and size by ${naming([CENTRED])}` : "";
  const named = fractions === undefined ? "" : `name the head by ${naming([fractions])}${centred}, or `;
  const found = `${count === 1 ? "its only box lies" : `all ${count} boxes lie`} in the first pixel of the input`;
  refuse(spec, found, `the model gives fractions of the input; ${named}export it with boxes in pixels`);
}

/** What the names of heads end in that are others with boxes as fractions. */
const IN_FRACTIONS = "-fractions";

function refusePixels(count: number, spec: NamedHead): never {
  const { head } = spec;
  const named = head.endsWith(IN_FRACTIONS)
    ? `name the head by ${naming([head.slice(0, -IN_FRACTIONS.length)])}, or `
    : "";
  const found = `${count === 1 ? "its only box reaches" : `all ${count} boxes reach`} far beyond the input`;
  refuse(spec, found, `the model gives pixels; ${named}export it with boxes as fractions of the input`);
}

/** @throws {ModelError} If many scores were kept, and all are what the sigmoid makes of a probability */
function refuseSquashed({ scores, count }: DetectionBlock): void {
  if (count < FEWEST_SQUASHED || scores[0]! > SQUASHED.highest || scores[count - 1]! < SQUASHED.lowest) return;
  refuseProbabilities(`its ${count} best scores lie from ${scores[count - 1]!.toFixed(3)} to ${scores[0]!.toFixed(3)}`);
}

function refuseInsideOut(spec: NamedHead): never {
  const { alternatives } = spec;
  const others = alternatives.includes(CENTRED) ? [CENTRED] : alternatives;
  const way = others.length === 0 ? "export it with boxes as corners" : `name the head by ${naming(others)}`;
  const found = "the right side of each box comes before its left one";
  refuse(spec, found, `the numbers of its boxes may be others, such as centre and size; ${way}`);
}
