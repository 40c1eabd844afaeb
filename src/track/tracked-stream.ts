/** @module TrackedStream: the results of a stream, with the identities of their objects. */

import type { Image } from "../image/image.ts";
import type { Detection } from "../tasks/detect/detection.ts";
import { paintDetections } from "../tasks/detect/draw.ts";
import type { DrawOptions } from "../tasks/draw-options.ts";
import type { ResultForms, TaskResult } from "../tasks/task-result.ts";
import { type Tracked, type TrackedFrame, Tracker } from "./tracker.ts";
import type { TrackerName, TrackerOptions } from "./tracker-options.ts";

/** A result whose objects all belong to a track. */
export type TrackedResult<Result> = Result extends { readonly detections: readonly (infer Object extends Detection)[] }
  ? Omit<Result, "detections"> & { readonly detections: readonly Tracked<Object>[] }
  : Result extends { readonly objects: readonly (infer Object extends Detection)[] }
    ? Omit<Result, "objects"> & { readonly objects: readonly Tracked<Object>[] }
    : Result;

/** The options of a tracker, for a model's `track`. */
export interface TrackOptions {
  /** The tracker, or its options. Default `bytetrack`. */
  readonly tracker?: TrackerOptions | TrackerName | undefined;
}

/** What a result has of objects. */
interface WithObjects {
  detections?: readonly Detection[];
  objects?: readonly Detection[];
}

/** The objects of a result, whatever its task calls them. */
export function objectsOf(result: object): readonly Detection[] {
  const { detections, objects = [] } = result as WithObjects;
  return detections ?? objects;
}

/** The forms of results whose objects have ids: the same with a column for ids, behind the name. What JSON and files say of an object has its id already. */
export function withIds<Result extends TaskResult>(forms: ResultForms<Result>): ResultForms<Result> {
  const inserted = (title: string, [name = "", ...others]: readonly string[]): string[] => [name, title, ...others];
  const rowsWith = (result: Result, rows: readonly string[][]): string[][] => {
    const objects = objectsOf(result);
    return rows.map((cells, at) => inserted(String(objects[at]?.trackId ?? ""), cells));
  };
  return {
    ...forms,
    columns: inserted("id", forms.columns),
    rows: (result) => rowsWith(result, forms.rows(result)),
    csvColumns: inserted("trackId", forms.csvColumns),
    csvRows: (result) => rowsWith(result, forms.csvRows(result)),
  };
}

/**
 * Keep what a model found, before a tracker moves it and leaves out what it is not sure of yet.
 *
 * @param options of which `privacy` and `privacyClasses` count
 * @returns hides it in an image
 */
export function hiderOf(result: object, options: DrawOptions): (image: Image) => void {
  const found = objectsOf(result).map(({ label, score, box }) => ({ label, score, box }));
  const bare = { ...options, boxes: false, labels: false, scores: false };
  return (image) => paintDetections(image, found, bare);
}

/**
 * Give the objects of a result their identities, and leave those out that belong to no track. The result is changed; its objects
 * stay in their order, best score first.
 *
 * @param frame its time, and with `cameraMotion` its pixels
 */
export function trackResult<Result extends object>(
  tracker: Tracker,
  result: Result,
  frame?: TrackedFrame,
): TrackedResult<Result> {
  const found = objectsOf(result);
  const tracked = new Set<Detection>(tracker.update(found, frame));
  const kept = found.filter((object) => tracked.has(object));
  const target = result as WithObjects;
  if (target.detections === undefined) target.objects = kept;
  else target.detections = kept;
  return result as unknown as TrackedResult<Result>;
}

/** The time of an image that may be a frame of a video; images without one are a frame's time apart. */
function frameOf(source: unknown, index: number, hasPixels: boolean): TrackedFrame {
  const frame = (typeof source === "object" && source !== null ? source : {}) as TrackedFrame;
  const { timestampMs, durationMs } = frame;
  const time = typeof timestampMs === "number" ? { timestampMs, durationMs } : { timestampMs: index, durationMs: 1 };
  if (!hasPixels) return time;
  const { width, height, format, pitchBytes, chromaOffset, chromaPitchBytes, yuvRange } = frame;
  return {
    ...time,
    width,
    height,
    format,
    pitchBytes,
    chromaOffset,
    chromaPitchBytes,
    yuvRange,
    // Of a frame on the GPU a copy, which is not made before the frame has been run.
    get data() {
      return frame.data;
    },
  } as TrackedFrame;
}

/**
 * Follow objects through a stream of results.
 *
 * @param sources the images of one stream, in order
 * @param open    runs them; results say by `index` which of them they are of
 * @throws {OptionError} If an option of the tracker is unknown or out of range
 */
export function trackStream<Source, Result extends { readonly index: number }, Summary>(
  sources: Iterable<Source> | AsyncIterable<Source>,
  { tracker: options }: TrackOptions,
  open: (sources: AsyncIterable<Source>, lowThreshold: number) => AsyncGenerator<Result, Summary, undefined>,
): AsyncGenerator<TrackedResult<Result>, Summary, undefined> {
  const tracker = new Tracker(options);
  // Of the images whose results are still to come; those of dropped ones go with the next.
  const times = new Map<number, TrackedFrame>();
  const hasPixels = tracker.options.cameraMotion !== "none";
  async function* timed(): AsyncGenerator<Source, void, undefined> {
    let index = 0;
    for await (const source of sources) {
      times.set(index, frameOf(source, index, hasPixels));
      index += 1;
      yield source;
    }
  }
  const results = open(timed(), tracker.options.lowThreshold);
  async function* tracked(): AsyncGenerator<TrackedResult<Result>, Summary, undefined> {
    try {
      for (;;) {
        const step = await results.next();
        if (step.done === true) return step.value;
        const { index } = step.value;
        const time = times.get(index);
        for (const earlier of times.keys()) if (earlier <= index) times.delete(earlier);
        yield trackResult(tracker, step.value, time);
      }
    } finally {
      await results.return(undefined as never);
    }
  }
  return tracked();
}
