/** @module HeldFrame: a frame from when it was read until it is answered, dropped or left, and the rules that hold for it. */

import { basename } from "node:path";
import { nmsOptionsOf } from "../api/call-options.ts";
import type { DetectConfig, DetectOptions } from "../api/detector-config.ts";
import { message, OptionError } from "../core/errors.ts";
import type { BackendInfo } from "../runtime/backend.ts";
import { type AskedModel, isOfWhole, type ServedTask, servedMessages } from "../service/served-model.ts";
import type { ResultFilter } from "../tasks/task-result.ts";
import type { StreamEntry } from "./broker.ts";
import type { AnswerFormat, FrameMessage } from "./messages.ts";
import { isNormalized, type SourceConfig, type WorkerConfig } from "./worker-config.ts";

/** A frame this worker is responsible for. */
export interface HeldFrame {
  /** Stream and entry id. */
  readonly key: string;
  readonly entry: StreamEntry;
  readonly message: FrameMessage;
  readonly rule: SourceRule;
  /** When it was taken apart, and how long receiving and that took; milliseconds. */
  readonly readyAt: number;
  readonly receiveMs: number;
  /** When the server was last told, or was to be told, that it is being worked on. */
  keptAt: number;
  /** Nobody else is given the frame before `claim.idleMs` has passed since; -Infinity: somebody may have been. */
  heardAt: number;
}

/** The key of an entry. */
export function keyOf({ stream, id }: Pick<StreamEntry, "stream" | "id">): string {
  return `${stream}\0${id}`;
}

/** What to call an entry in messages. */
export function titleOf({ stream, id }: Pick<StreamEntry, "stream" | "id">): string {
  return `frame ${id} of ${JSON.stringify(stream)}`;
}

/** The rules of one source. */
interface SourceRule extends ResultFilter {
  readonly policy: "all" | "latest";
  /** Options of the detector's calls; `undefined`: those it was loaded with. */
  readonly detectOptions: DetectOptions | undefined;
}

/**
 * The rules of all sources. The detector runs every frame with the same options, the lowest threshold of all, so that
 * frames of several sources fit into one batch; what a source does not want is left out afterwards, which changes
 * nothing else: a box never suppresses one with a higher score, and classes are suppressed apart. Slices of a frame are a batch of
 * their own, and boxes of theirs grow by weaker ones: they run with the threshold of their source.
 */
export class SourceBook {
  /** True if the policy of any source is `latest`. */
  readonly hasLatest: boolean;
  readonly #default: SourceRule;
  readonly #rules: ReadonlyMap<string, SourceRule>;

  /**
   * @param detect what the detector was loaded with
   * @param labels the model's
   * @param task   the model's; one that finds no objects has no threshold of its own, and no slices
   * @throws {OptionError} If a class is none of the model's, or slices are wanted of a model that finds no objects
   */
  constructor(config: WorkerConfig, detect: DetectConfig, labels: readonly string[], task: ServedTask = "detect") {
    const isWhole = isOfWhole(task);
    const least = isWhole ? 0 : detect.threshold;
    const usual = config.detector.slices;
    const all = [config.rules, ...config.sources.values()];
    const thresholds = all.filter(({ slices = usual }) => !slices).map(({ threshold = least }) => threshold);
    const shared = Math.min(...thresholds);
    const ruleOf = ({ policy, threshold = least, classes, edgeMargin, slices }: SourceConfig): SourceRule => {
      if (slices && isWhole)
        throw new OptionError(message("cut frames into slices", `the model's task is ${task}`), "slices");
      const runs = (slices ?? usual) ? threshold : shared;
      const options = {
        ...(isWhole || runs === least ? {} : { threshold: runs }),
        ...(slices === undefined ? {} : { slices }),
      };
      return {
        policy,
        threshold,
        classIds: classes === undefined ? undefined : nmsOptionsOf({ ...detect, classes }, labels).classIds,
        edgeMargin,
        detectOptions: Object.keys(options).length === 0 ? undefined : options,
      };
    };
    this.#default = ruleOf(config.rules);
    this.#rules = new Map([...config.sources].map(([id, rules]) => [id, ruleOf(rules)]));
    this.hasLatest = all.some(({ policy }) => policy === "latest");
  }

  /** The rules of a source. */
  of(sourceId: string): SourceRule {
    return this.#rules.get(sourceId) ?? this.#default;
  }
}

/** What may change while the worker runs. */
export interface DispatchRules {
  readonly config: WorkerConfig;
  readonly book: SourceBook;
  readonly format: AnswerFormat;
  /** Frames held at most. */
  readonly maxHeld: number;
  /** Frames at the detector at most. */
  readonly concurrency: number;
}

/** Least number of frames held where the options do not tell: the next ones are there when the detector is free. */
const LEAST_HELD = 4;

/** What rules depend on of a model. */
type RuledModel = AskedModel & {
  readonly labels?: readonly string[];
  readonly backends: readonly Pick<BackendInfo, "inFlight" | "maxBatch">[];
};

/** Frames that keep every slot of the detector at work: with batches, one more is gathered meanwhile. */
function detectorFrames({ backends }: RuledModel, { inFlight, batch = 1 }: WorkerConfig["detector"]): number {
  const slots = backends.reduce((sum, backend) => sum + (inFlight ?? backend.inFlight), 0);
  const frames = Math.min(batch, ...backends.map(({ maxBatch }) => maxBatch));
  return (frames > 1 ? slots + 1 : slots) * frames;
}

/** The rules of a worker. @throws {OptionError} If fewer frames may be held than a read gives, or as `SourceBook` does */
export function rulesOf(config: WorkerConfig, detect: DetectConfig, detector: RuledModel): DispatchRules {
  const { output, input, model } = config;
  const concurrency = config.concurrency ?? detectorFrames(detector, config.detector);
  // A read takes one frame of each stream at least: there is room for one while the detector's next frames wait.
  const maxHeld = config.maxHeld ?? Math.max(LEAST_HELD, 2 * concurrency + input.length - 1);
  if (maxHeld < input.length) {
    const found = `option "maxHeld" must be at least the number of streams, ${input.length}, got ${maxHeld}`;
    throw new OptionError(message("run a worker", found, "a read takes one frame of each stream"), "maxHeld");
  }
  return {
    config,
    book: new SourceBook(config, detect, detector.labels ?? [], detector.task),
    format: {
      format: output.format,
      isNormalized: isNormalized(config),
      hasMap: output.maps,
      messages: servedMessages(detector),
      model: basename(model).replace(/\.(onnx|plan|engine)$/i, ""),
      worker: config.consumer,
    },
    maxHeld,
    concurrency,
  };
}

function sourceOf({ entry, message }: HeldFrame): string {
  return `${entry.stream}\0${message.sourceId}`;
}

/** A line in which a newer frame may push out an older one of its source. */
export class FrameQueue {
  /** In order; a Map keeps it, and finds a frame by its key. */
  readonly #waiting = new Map<string, HeldFrame>();
  /** By source with the policy `latest`: the one frame that waits. */
  readonly #latest = new Map<string, HeldFrame>();

  /** Number of frames that wait. */
  get length(): number {
    return this.#waiting.size;
  }

  /** Number of those that nothing can push out. */
  get fixedLength(): number {
    return this.#waiting.size - this.#latest.size;
  }

  /**
   * Line up.
   *
   * @returns the frame that was pushed out: the older one of the two, which need not be the one that was there first
   */
  push(frame: HeldFrame): HeldFrame | undefined {
    if (frame.rule.policy === "all") {
      this.#waiting.set(frame.key, frame);
      return undefined;
    }
    const source = sourceOf(frame);
    const former = this.#latest.get(source);
    // What was claimed from a dead worker may be older than what waits.
    if (former !== undefined && isOlder(frame.entry.id, former.entry.id)) return frame;
    if (former !== undefined) this.#waiting.delete(former.key);
    this.#latest.set(source, frame);
    this.#waiting.set(frame.key, frame);
    return former;
  }

  /** Take the frame that has waited longest. */
  shift(): HeldFrame | undefined {
    const [frame] = this.#waiting.values();
    if (frame === undefined) return undefined;
    this.#waiting.delete(frame.key);
    if (frame.rule.policy === "latest") this.#latest.delete(sourceOf(frame));
    return frame;
  }
}

/** Compare two ids of a stream: `milliseconds-number`. */
export function isOlder(id: string, than: string): boolean {
  const [ms = "0", number = "0"] = id.split("-");
  const [thanMs = "0", thanNumber = "0"] = than.split("-");
  return ms === thanMs ? isLess(number, thanNumber) : isLess(ms, thanMs);
}

/** Compare two whole numbers in digits: those of an id have 64 bits, more than a number holds. */
function isLess(digits: string, than: string): boolean {
  return digits.length === than.length ? digits < than : digits.length < than.length;
}
