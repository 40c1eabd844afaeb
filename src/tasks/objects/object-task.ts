/** @module Object task: objects with key points, angles or masks in images: what a model says beside boxes. */

import { hostReason } from "../../heads/host-plan.ts";
import { evidentHead, evidentTask, type ObjectSpec, recogniseObjects } from "../../heads/object-reading.ts";
import { OBJECT_HEADS } from "../../heads/registry.ts";
import { OBJECT_TASKS, type ObjectTaskName } from "../../heads/traits.ts";
import { needsShapes } from "../../model/model-info.ts";
import type { DetectionBlock } from "../../model/rows.ts";
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
import type { HostDetect } from "../detect/host-detect.ts";
import type { NmsOptions } from "../detect/nms.ts";
import type { PlausibilityGuard } from "../detect/plausibility.ts";

/** What a task is on the host, and on a GPU. */
interface ObjectParts {
  host(): Promise<new (spec: ObjectSpec, guard: PlausibilityGuard, options: DetectTaskOptions) => HostDetect>;
  cuda(spec: ObjectSpec, options: DetectTaskOptions): Promise<CudaObjects>;
}

const PARTS: Readonly<Record<ObjectTaskName, ObjectParts>> = {
  obb: {
    host: async () => (await import("./host-objects.ts")).HostObb,
    cuda: async (spec) => (await import("../detect/cuda-postprocess.ts")).cudaObb(spec),
  },
  pose: {
    host: async () => (await import("./host-objects.ts")).HostPose,
    async cuda({ keypoints }) {
      const { mapKeypoints } = await import("./objects.ts");
      return { mapRows: (block, region) => mapKeypoints(block, keypoints!, region) };
    },
  },
  segment: {
    host: async () => (await import("./host-objects.ts")).HostSegment,
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
    const Work = await PARTS[this.spec.task].host();
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
  const { task, head, heads = [] } = options;
  const isOther = head !== undefined && ![...heads, ...OBJECT_HEADS].some(({ name }) => name === head);
  return chosenTask(otherwise, ({ model }) => {
    if (isOther) return otherwise;
    const name = task === undefined || task === "detect" ? evidentTask(model, options) : task;
    if (name === undefined || (task === "detect" && name !== "obb")) return otherwise;
    return new ObjectTask(name, options) as never;
  });
}
