/**
 * @module Object task: objects with key points, angles or masks in images: what a model says beside boxes, and how a task finds
 * it around a model in host memory: points, angles by which rotated boxes overlap, or masks.
 */

import { decodeFacePoints } from "../../heads/face-grid.ts";
import type { DecodeInput, KeypointForm } from "../../heads/head.ts";
import { hostReason, LARGEST_PATCH, type MaskSource } from "../../heads/host-plan.ts";
import { evidentHead, type ObjectSpec, objectTaskOf, recogniseObjects } from "../../heads/object-reading.ts";
import { gatherRows, NumberSlice, outputTensor, refuseOutput } from "../../heads/outputs.ts";
import { decodePartPoints } from "../../heads/rows.ts";
import { FLOATS, OBJECT_TASKS, type ObjectTaskName } from "../../heads/traits.ts";
import type { Region, Size } from "../../image/geometry.ts";
import { needsShapes } from "../../model/model-info.ts";
import { type Candidates, type DetectionBlock, moveRow } from "../../model/rows.ts";
import {
  chosenTask,
  type DeclaredModel,
  type EngineShapes,
  type HostTask,
  noDevicePart,
  type OpenedModel,
  type RecognisedModel,
  type Task,
  type TaskModel,
} from "../../runtime/task.ts";
import { type DetectTaskOptions, engineShapes, forShaping, RecognisedDetector } from "../detect/detect-task.ts";
import type { CudaObjects } from "../detect/device-batch.ts";
import { HostDetect } from "../detect/host-detect.ts";
import { appendRow, assertProbability, type NmsOptions } from "../detect/nms.ts";
import type { PlausibilityGuard } from "../detect/plausibility.ts";
import { orientedToSource, RotatedSelector, type RotatedSuppression } from "../obb/rotated.ts";
import type { Mask } from "../segment/mask.ts";
import { type MaskSize, ruleOf } from "../segment/mask-plan.ts";
import { ProtoMasks } from "../segment/proto-masks.ts";
import { giveMasks, mapKeypoints } from "./objects.ts";

/** What one slot needs to find objects and their points. */
class HostPose extends HostDetect {
  readonly #plan: ObjectSpec["plan"];
  readonly #form: KeypointForm;

  constructor(
    spec: ObjectSpec,
    guard: PlausibilityGuard,
    options: Partial<Pick<DetectTaskOptions, "heads" | "slices" | "batch">> = {},
  ) {
    const form = spec.keypoints!;
    super(spec, guard, options, [{ length: form.count * form.numbers }]);
    this.#plan = spec.plan;
    this.#form = form;
  }

  /** Points that are no columns of an output beside the box are worked out. */
  protected override gather(input: DecodeInput, block: DetectionBlock): void {
    const plan = this.#plan;
    const points = block.extras[0]!;
    if (plan.kind === "parts") decodePartPoints(plan, input, block, points);
    else if (plan.kind === "faces") decodeFacePoints(plan, input, block, points);
    else super.gather(input, block);
  }

  protected override mapRows(block: DetectionBlock, input: DecodeInput, region: Region): void {
    super.mapRows(block, input, region);
    mapKeypoints(block, this.#form, region);
  }
}

/** Numbers of a box but for its angle. */
const SIDES = 4;

/** What one slot needs to find oriented boxes. */
export class HostObb extends HostDetect {
  readonly #spec: ObjectSpec;
  readonly #suppression: RotatedSuppression;
  readonly #selector = new RotatedSelector();
  #sides = new Float32Array(0);
  #angles = new Float32Array(0);
  /** f32 [capacity, 5]: cx, cy, w, h in pixels, angle in radians. */
  #boxes = new Float32Array(0);

  constructor(
    spec: ObjectSpec,
    guard: PlausibilityGuard,
    options: Partial<Pick<DetectTaskOptions, "rotatedNms" | "heads" | "slices" | "batch">> = {},
  ) {
    super(spec, guard, options);
    this.#spec = spec;
    this.#suppression = options.rotatedNms ?? "any";
  }

  protected override select(
    candidates: Candidates,
    selection: NmsOptions,
    input: DecodeInput,
    block: DetectionBlock,
  ): void {
    this.#gather(candidates, selection, input);
    if (!this.#spec.needsNms) {
      super.select(candidates, selection, input, block);
      return;
    }
    const { count, scores, classIds } = candidates;
    block.count = 0;
    block.dropped = candidates.dropped;
    const kept = this.#selector.select({ count, scores, classIds, boxes: this.#boxes }, selection, this.#suppression);
    block.hasInsideOut = candidates.hasInsideOut;
    for (let at = 0; at < kept; at++) appendRow(block, candidates, this.#selector.kept[at]!);
    if (kept > 0) assertProbability(block.scores[0]!, this.#spec.head);
  }

  /** Have the five numbers of every candidate. One of a class asked for whose angle is no number is left out, and counted. */
  #gather(candidates: Candidates, { classIds }: NmsOptions, input: DecodeInput): void {
    const [sidesAt, anglesAt] = this.#spec.extras;
    const { count } = candidates;
    if (this.#angles.length < count) {
      const capacity = candidates.scores.length;
      this.#sides = new Float32Array(capacity * SIDES);
      this.#angles = new Float32Array(capacity);
      this.#boxes = new Float32Array(capacity * (SIDES + 1));
    }
    gatherRows(sidesAt!, input, candidates, this.#sides);
    gatherRows(anglesAt!, input, candidates, this.#angles);
    for (let row = 0, to = 0; row < count; row++, to += SIDES + 1) {
      for (let side = 0; side < SIDES; side++) this.#boxes[to + side] = this.#sides[row * SIDES + side]!;
      this.#boxes[to + SIDES] = this.#angles[row]!;
      if (Number.isFinite(this.#angles[row]!)) continue;
      candidates.scores[row] = -1;
      if (classIds === undefined || classIds.has(candidates.classIds[row]!)) candidates.dropped += 1;
    }
  }

  protected override mapRows(block: DetectionBlock, _: DecodeInput, region: Region): void {
    orientedToSource(block, region);
  }
}

/** Of planes and patches, which are masks as they are. */
const ONE = Float32Array.of(1);

/** What one slot needs to find objects and their masks. */
class HostSegment extends HostDetect {
  readonly #source: MaskSource;
  /** Channels of the prototypes, and coefficients of an object. */
  readonly #channels: number;
  readonly #maskSize: MaskSize;
  readonly #masks = new ProtoMasks();
  readonly #values = new NumberSlice();
  /** Prototypes whose channels came last. */
  #turned = new Float32Array(0);

  constructor(
    spec: ObjectSpec,
    guard: PlausibilityGuard,
    options: Pick<DetectTaskOptions, "maskSize" | "heads" | "slices"> & { readonly batch?: number | undefined },
  ) {
    super(spec, guard, options);
    this.#maskSize = options.maskSize;
    this.#source = spec.masks!;
    this.#channels = spec.extras[0]?.length ?? 1;
  }

  protected override mapRows(block: DetectionBlock, input: DecodeInput, region: Region): void {
    // Masks lie under boxes as they are: in the image, or before they are mapped to it.
    const isOfImage = this.#maskSize === "image";
    this.#masks.unfinished = 0;
    if (isOfImage) super.mapRows(block, input, region);
    // Of prototypes are those that have coefficients.
    const masks =
      block.extras.length > 0 ? this.#ofPrototypes(block, input, region) : this.#ofPlanes(block, input, region);
    if (!isOfImage) super.mapRows(block, input, region);
    keepMasked(block, masks);
    block.dropped += this.#masks.unfinished;
  }

  #ofPrototypes({ count, boxes, extras }: DetectionBlock, input: DecodeInput, region: Region): Mask[] {
    const { index } = input;
    const { output, rule } = this.#source;
    const channels = this.#channels;
    const isLast = rule === "yolact";
    // A model of one image may have no batch.
    const isFlat = isLast && index === 0 && input.outputs.get(output)?.shape.length === 3;
    const tensor = isFlat
      ? outputTensor(input, output, FLOATS, 1, -1, channels)
      : outputTensor(input, output, FLOATS, index + 1, isLast ? -1 : channels, -1, isLast ? channels : -1);
    const [height = 0, width = 0] = tensor.shape.slice(isFlat ? 0 : isLast ? 1 : 2);
    const length = channels * height * width;
    this.#values.load(tensor, index * length, length);
    const { data, offset } = isLast ? this.#turn(length) : this.#values;
    const prototypes = { data, offset, channels, width, height };
    return this.#masks.finish(prototypes, { count, coefficients: extras[0]!, boxes }, region, this.#maskSize, rule);
  }

  /** The values, channels first, of prototypes that have them last. */
  #turn(length: number): { readonly data: Float32Array; readonly offset: number } {
    const channels = this.#channels;
    const cells = length / channels;
    if (this.#turned.length !== length) this.#turned = new Float32Array(length);
    const turned = this.#turned;
    const { data, offset } = this.#values;
    for (let cell = 0, at = offset; cell < cells; cell++) {
      for (let channel = 0; channel < channels; channel++, at++) turned[channel * cells + cell] = data[at]!;
    }
    return { data: turned, offset: 0 };
  }

  /** A plane a query, a patch under its box, or a mask that the model has pasted into its input already. */
  #ofPlanes({ count, boxes, sources }: DetectionBlock, input: DecodeInput, region: Region): Mask[] {
    const { index, inputWidth, inputHeight } = input;
    const { output, rule } = this.#source;
    const { patch } = ruleOf(rule, this.#maskSize);
    const isFlat = rule === "torchvision";
    const tensor = isFlat
      ? outputTensor(input, output, FLOATS, 0, 1, -1, -1)
      : outputTensor(input, output, FLOATS, index + 1, -1, -1, -1);
    const [, rows = 0, height = 0, width = 0] = tensor.shape;
    const isPatch = patch !== undefined && (width !== inputWidth || height !== inputHeight);
    if (isPatch && (width !== height || width > LARGEST_PATCH)) {
      const expected = `as large as the input, ${inputHeight}x${inputWidth}, or squares of at most ${LARGEST_PATCH}`;
      refuseOutput(output, expected, tensor);
    }
    const size = this.#maskSize;
    const image: Size = size === "image" ? [region.sourceWidth, region.sourceHeight] : [inputWidth, inputHeight];
    const masks: Mask[] = [];
    for (let row = 0; row < count; row++) {
      const plane = (isFlat ? 0 : index * rows) + sources[row]!;
      this.#values.load(tensor, plane * height * width, height * width);
      const { data, offset } = this.#values;
      const cells = { data, offset, channels: 1, width, height };
      if (isPatch && size !== "proto") masks.push(this.#masks.paste(cells, boxes, row * 4, image, patch));
      else masks.push(...this.#masks.finish(cells, { count: 1, coefficients: ONE, boxes }, region, size, rule));
    }
    return masks;
  }
}

/**
 * Give the rows of a block their masks. One whose mask has no pixel is left out, as in Ultralytics; if that is because what it is made
 * of is NaN, the host counts it in `dropped`. A GPU does not: only bits leave it, and of NaN all of them are 0.
 *
 * @param masks one a row; the same array afterwards holds those of the rows that are left
 */
function keepMasked(block: DetectionBlock, masks: Mask[]): void {
  let kept = 0;
  for (let row = 0; row < block.count; row++) {
    const mask = masks[row]!;
    if (mask.isEmpty) continue;
    if (kept < row) moveRow(block, row, kept);
    masks[kept] = mask;
    kept += 1;
  }
  masks.length = kept;
  block.count = kept;
  giveMasks(block, masks);
}

/** What a task is on the host, and on a GPU. */
interface ObjectParts {
  readonly host: new (spec: ObjectSpec, guard: PlausibilityGuard, options: DetectTaskOptions) => HostDetect;
  cuda(spec: ObjectSpec, options: DetectTaskOptions): Promise<CudaObjects>;
}

const PARTS: Readonly<Record<ObjectTaskName, ObjectParts>> = {
  obb: {
    host: HostObb,
    cuda: async (spec) => (await import("../detect/cuda-postprocess.ts")).cudaObb(spec),
  },
  pose: {
    host: HostPose,
    cuda: async ({ keypoints }) => ({ mapRows: (block, region) => mapKeypoints(block, keypoints!, region) }),
  },
  segment: {
    host: HostSegment,
    cuda: async (spec, { maskSize }) => (await import("../segment/cuda-segment.ts")).cudaSegment(spec, maskSize),
  },
};

/** What runs on the CPU only, and which export does not. */
interface HostPart {
  readonly what: string;
  readonly help?: string | undefined;
}

/** What of a model runs on the CPU alone; `undefined` if nothing does. */
export function hostOnly(
  { task, head, plan, needsNms, masks }: ObjectSpec,
  { rotatedNms }: Pick<DetectTaskOptions, "rotatedNms">,
): HostPart | undefined {
  // A head of the caller's reads outputs on the host, wherever they come from.
  if (plan.kind === "own") return undefined;
  const reason = hostReason(plan);
  if (reason !== undefined) return { what: `the head "${head}"`, help: reason.help };
  // Sums of these families go through functions that a GPU does not compute to the bit.
  if (masks !== undefined && masks.rule !== "ultralytics") return { what: `the masks of the family "${masks.rule}"` };
  return task === "obb" && needsNms && rotatedNms === "greedy" ? { what: '`rotatedNms: "greedy"`' } : undefined;
}

/** Finds objects in images, and what else a model says of them: one region an image, the whole of it. */
export class ObjectTask implements Task<ObjectSpec, NmsOptions, DetectionBlock> {
  readonly name: ObjectTaskName;
  readonly action: string;
  readonly #options: DetectTaskOptions;

  constructor(name: ObjectTaskName, options: DetectTaskOptions) {
    this.name = name;
    this.action = `load ${OBJECT_TASKS[name].noun}`;
    this.#options = options;
  }

  /** @throws {ModelError} If it is of another task, or its outputs fit none that are known */
  async recognise(opened: OpenedModel): Promise<TaskModel<ObjectSpec, NmsOptions, DetectionBlock>> {
    const model = await opened.described(this.#options.size);
    const { source, former } = opened;
    const spec = recogniseObjects(model, this.name, { ...this.#options, source, isSilent: former !== undefined });
    return new RecognisedObjects(spec, opened, this.#options);
  }

  /** @throws {UnavailableError} If there is no part of it for the device that an engine would be built for */
  async check(opened: OpenedModel): Promise<void> {
    const model = await opened.described(this.#options.size);
    // Of a model that is known by the names of its outputs the rows need not be known.
    if (needsShapes(model) && evidentHead(model, this.#options) === undefined) return;
    const spec = recogniseObjects(model, this.name, { ...this.#options, source: opened.source, isSilent: true });
    const absent = hostOnly(spec, this.#options);
    if (absent !== undefined) throw noDevicePart(absent.what, this.action, absent.help);
  }

  forShaping(opened: OpenedModel): Promise<RecognisedModel | undefined> {
    return forShaping(opened, this.#options, (model, options) => recogniseObjects(model, this.name, options));
  }

  engineShapes({ model }: DeclaredModel): EngineShapes {
    return engineShapes(model.metadata, this.#options);
  }
}

class RecognisedObjects extends RecognisedDetector<ObjectSpec> {
  override readonly task: string;
  override readonly device: TaskModel<unknown, unknown, unknown>["device"];

  constructor(spec: ObjectSpec, opened: OpenedModel, options: DetectTaskOptions) {
    super(spec, opened, options);
    const { cuda } = PARTS[spec.task];
    const isOwn = spec.plan.kind === "own";
    this.task = options.task === "detect" ? "detect" : spec.task;
    this.device =
      hostOnly(spec, options) === undefined
        ? { cuda: async () => this.cuda(isOwn ? undefined : await cuda(spec, options)) }
        : {};
  }

  override async host(): Promise<HostTask<NmsOptions, DetectionBlock>> {
    const { host: Work } = PARTS[this.spec.task];
    return { createWork: () => new Work(this.spec, this.guard, this.options) };
  }
}

/**
 * A task that is that of the model where this says more than boxes, and another where it does not. With `task: "detect"` it finds
 * boxes in any; those around oriented ones are kept as the model's own task keeps them.
 *
 * @param otherwise for a model that does not, or of which nothing tells
 */
export function orObjects(
  otherwise: Task<unknown, unknown, unknown>,
  options: DetectTaskOptions,
): Task<unknown, unknown, unknown> {
  return chosenTask(otherwise, ({ model }) => {
    const name = objectTaskOf(model, options, options.task);
    return name === undefined ? otherwise : (new ObjectTask(name, options) as never);
  });
}
