/** @module AveragePrecision: precision and recall of what was found in images, to the digit of pycocotools' `COCOeval`. */

/** An object that was found, as far as it is ranked. */
export interface FoundObject {
  readonly classId: number;
  readonly score: number;
}

/** An object of the ground truth, as far as it is counted. */
export interface TrueObject {
  readonly classId: number;
  /** In pixels; decides whether it is small, medium or large. */
  readonly area: number;
  /** True for a region that several objects may match, none of which counts. */
  readonly isCrowd: boolean;
}

/** From which area up to which, in pixels. */
const AREAS = { all: [0, 1e10], small: [0, 1024], medium: [1024, 9216], large: [9216, 1e10] } as const;
const AREA_NAMES = Object.keys(AREAS) as (keyof typeof AREAS)[];

/** A figure: a mean over thresholds, or that at one of them. */
export interface Metric {
  readonly of: "precision" | "recall";
  /** Number of the threshold; default: the mean over all. */
  readonly at?: number;
  readonly area?: "small" | "medium" | "large";
  /** At most this many objects of a class in an image; default: as many as count at all. */
  readonly most?: number;
}

/** Likenesses from which on an object is found: 0.5 to 0.95. */
const THRESHOLDS: readonly number[] = Array.from({ length: 10 }, (_, at) => at * ((0.95 - 0.5) / 9) + 0.5);
/** Numbers of the thresholds 0.5 and 0.75. */
const LOOSE = 0;
const STRICT = 5;

/** The figures of boxes and masks, by the names that COCO's page has. */
export type BoxMetricName =
  | "AP"
  | "AP50"
  | "AP75"
  | "APs"
  | "APm"
  | "APl"
  | "AR1"
  | "AR10"
  | "AR100"
  | "ARs"
  | "ARm"
  | "ARl";
/** The figures of key points. */
export type KeypointMetricName = "AP" | "AP50" | "AP75" | "APm" | "APl" | "AR" | "AR50" | "AR75" | "ARm" | "ARl";

/** Of boxes and masks. */
export const BOX_METRICS: Readonly<Record<BoxMetricName, Metric>> = {
  AP: { of: "precision" },
  AP50: { of: "precision", at: LOOSE },
  AP75: { of: "precision", at: STRICT },
  APs: { of: "precision", area: "small" },
  APm: { of: "precision", area: "medium" },
  APl: { of: "precision", area: "large" },
  AR1: { of: "recall", most: 1 },
  AR10: { of: "recall", most: 10 },
  AR100: { of: "recall" },
  ARs: { of: "recall", area: "small" },
  ARm: { of: "recall", area: "medium" },
  ARl: { of: "recall", area: "large" },
};

/** Of key points. */
export const KEYPOINT_METRICS: Readonly<Record<KeypointMetricName, Metric>> = {
  AP: { of: "precision" },
  AP50: { of: "precision", at: LOOSE },
  AP75: { of: "precision", at: STRICT },
  APm: { of: "precision", area: "medium" },
  APl: { of: "precision", area: "large" },
  AR: { of: "recall" },
  AR50: { of: "recall", at: LOOSE },
  AR75: { of: "recall", at: STRICT },
  ARm: { of: "recall", area: "medium" },
  ARl: { of: "recall", area: "large" },
};

/** How objects are compared. */
export interface Measure<Found, Truth, Name extends string = string> {
  readonly metrics: Readonly<Record<Name, Metric>>;
  /** At most this many objects of a class count in an image, the best. */
  readonly most: number;
  /** Area of an object that was found, in pixels. */
  area(found: Found): number;
  /** How alike they are, 0–1. */
  likeness(found: Found, truth: Truth): number;
  /** True for an object that need not be found, and may be. */
  isIgnored(truth: Truth): boolean;
}

/** Figures by name, 0–1; `NaN` where the ground truth has no object that counts. */
export type Metrics<Name extends string> = Readonly<Record<Name, number>>;

/** Figures of one class. */
export type ClassMetrics<Name extends string> = Metrics<Name> & {
  readonly label: string;
  /** Objects of the ground truth that count: none that is a crowd, or, for key points, has no point. */
  readonly objects: number;
};

/** Figures over all classes, and of each that is in the ground truth. */
export type PrecisionReport<Name extends string> = Metrics<Name> & {
  /** Of all classes. */
  readonly objects: number;
  readonly classes: readonly ClassMetrics<Name>[];
};

/** Recall from 0 to 1 at which precision is read. */
const RECALLS = 101;
/** The lower half of a word of {@linkcode AveragePrecision} says at which thresholds a row is right, the upper half at which it is wrong. */
const WRONG = 16;
const ALL_WRONG = ((1 << THRESHOLDS.length) - 1) << WRONG;

/**
 * Average precision of what was found in a sequence of images. Of each object that was found it keeps a score and which thresholds
 * it was right at, in columns that grow; images are not kept.
 */
export class AveragePrecision<Found extends FoundObject, Truth extends TrueObject, Name extends string> {
  readonly #measure: Measure<Found, Truth, Name>;
  readonly #labels: readonly string[];
  /** Objects that count, by class and area. */
  readonly #truths: Float64Array;
  #count = 0;
  #scores = new Float64Array(1024);
  #classIds = new Int32Array(1024);
  /** Place among those of its class and image. */
  #ranks = new Uint8Array(1024);
  /** A word an area. */
  #words = new Uint32Array(1024 * AREA_NAMES.length);

  /** @param labels by class id, of which every object must have one */
  constructor(measure: Measure<Found, Truth, Name>, labels: readonly string[]) {
    this.#measure = measure;
    this.#labels = labels;
    this.#truths = new Float64Array(labels.length * AREA_NAMES.length);
  }

  /** Add an image. Where scores are equal, the order of the images and of what was found in them decides. */
  add(found: readonly Found[], truths: readonly Truth[]): void {
    const truthsOf = Map.groupBy(truths, ({ classId }) => classId);
    for (const [classId, some] of Map.groupBy(found, (one) => one.classId)) {
      const best = some.toSorted((a, b) => b.score - a.score).slice(0, this.#measure.most);
      this.#match(classId, best, truthsOf.get(classId) ?? []);
      truthsOf.delete(classId);
    }
    for (const [classId, some] of truthsOf) this.#match(classId, [], some);
  }

  #match(classId: number, found: readonly Found[], truths: readonly Truth[]): void {
    const first = this.#append(classId, found);
    const areas = found.map((one) => this.#measure.area(one));
    const likeness = found.map((one) => truths.map((truth) => this.#measure.likeness(one, truth)));
    for (const [at, name] of AREA_NAMES.entries()) {
      const [least, most] = AREAS[name];
      const isOutside = (area: number): boolean => area < least || area > most;
      const ignored = truths.map((truth) => this.#measure.isIgnored(truth) || isOutside(truth.area));
      this.#truths[classId * AREA_NAMES.length + at]! += ignored.filter((is) => !is).length;
      for (let row = 0; row < found.length; row++) {
        this.#words[(first + row) * AREA_NAMES.length + at] = isOutside(areas[row]!) ? 0 : ALL_WRONG;
      }
      if (truths.length > 0) this.#compare(likeness, truths, ignored, first * AREA_NAMES.length + at);
    }
  }

  /** Note for rows that match a truth at which thresholds they are right. @param from the word of the first row */
  #compare(
    likeness: readonly (readonly number[])[],
    truths: readonly Truth[],
    ignored: readonly boolean[],
    from: number,
  ): void {
    const words = this.#words;
    const taken = new Uint8Array(truths.length);
    // Those that count come first.
    const order = [...truths.keys()].sort((a, b) => Number(ignored[a]) - Number(ignored[b]));
    for (const [at, threshold] of THRESHOLDS.entries()) {
      taken.fill(0);
      for (let row = 0, word = from; row < likeness.length; row++, word += AREA_NAMES.length) {
        let best = threshold;
        let match = -1;
        for (const truth of order) {
          if (taken[truth] === 1 && !truths[truth]!.isCrowd) continue;
          if (match >= 0 && !ignored[match] && ignored[truth]) break;
          if (likeness[row]![truth]! < best) continue;
          best = likeness[row]![truth]!;
          match = truth;
        }
        if (match < 0) continue;
        taken[match] = 1;
        words[word] = (words[word]! & ~(1 << (at + WRONG))) | (ignored[match] ? 0 : 1 << at);
      }
    }
  }

  /** Take rows of one class and image, none of which is right or wrong yet. @returns the first */
  #append(classId: number, found: readonly Found[]): number {
    const first = this.#count;
    this.#count += found.length;
    if (this.#count > this.#scores.length) this.#grow(this.#count * 2);
    for (const [rank, { score }] of found.entries()) {
      this.#scores[first + rank] = score;
      this.#classIds[first + rank] = classId;
      this.#ranks[first + rank] = rank;
    }
    return first;
  }

  #grow(capacity: number): void {
    const grown = <Column extends Float64Array | Int32Array | Uint8Array | Uint32Array>(
      old: Column,
      to: Column,
    ): Column => {
      to.set(old);
      return to;
    };
    this.#scores = grown(this.#scores, new Float64Array(capacity));
    this.#classIds = grown(this.#classIds, new Int32Array(capacity));
    this.#ranks = grown(this.#ranks, new Uint8Array(capacity));
    this.#words = grown(this.#words, new Uint32Array(capacity * AREA_NAMES.length));
  }

  /** The figures of all images so far. */
  report(): PrecisionReport<Name> {
    const names = Object.keys(this.#measure.metrics) as Name[];
    const rows = this.#rowsByClass();
    const values = this.#labels.map((_, classId) => this.#metricsOf(classId, rows[classId]!));
    const classes = this.#labels.flatMap((label, classId): ClassMetrics<Name>[] => {
      const objects = this.#truths[classId * AREA_NAMES.length]!;
      return objects === 0 ? [] : [{ label, objects, ...values[classId]! }];
    });
    const overall = names.map((name) => {
      const known = values.map((value) => value[name]).filter((value) => !Number.isNaN(value));
      return [name, known.reduce((sum, value) => sum + value, 0) / known.length];
    });
    const objects = classes.reduce((sum, one) => sum + one.objects, 0);
    return { objects, ...(Object.fromEntries(overall) as Metrics<Name>), classes };
  }

  /** Rows of each class, best score first. */
  #rowsByClass(): Uint32Array[] {
    const counts = new Uint32Array(this.#labels.length);
    for (let row = 0; row < this.#count; row++) counts[this.#classIds[row]!]! += 1;
    const rows = Array.from(counts, (count) => new Uint32Array(count));
    counts.fill(0);
    for (let row = 0; row < this.#count; row++) {
      const classId = this.#classIds[row]!;
      rows[classId]![counts[classId]!++] = row;
    }
    const scores = this.#scores;
    for (const some of rows) some.sort((a, b) => scores[b]! - scores[a]!);
    return rows;
  }

  #metricsOf(classId: number, rows: Uint32Array): Metrics<Name> {
    const precisions = AREA_NAMES.map((_, area) => this.#precisions(classId, area, rows));
    const entries = Object.entries<Metric>(this.#measure.metrics).map(([name, metric]) => {
      const { of, at, area: areaName = "all", most = this.#measure.most } = metric;
      const area = AREA_NAMES.indexOf(areaName);
      const values = of === "precision" ? precisions[area]! : this.#recalls(classId, area, rows, most);
      const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
      return [name, at === undefined ? mean : values[at]!];
    });
    return Object.fromEntries(entries) as Metrics<Name>;
  }

  /** At each threshold: how many of the objects are found by the best so many of an image. */
  #recalls(classId: number, area: number, rows: Uint32Array, most: number): number[] {
    const truths = this.#truths[classId * AREA_NAMES.length + area]!;
    const right = new Uint32Array(THRESHOLDS.length);
    for (let place = 0; place < rows.length; place++) {
      const row = rows[place]!;
      if (this.#ranks[row]! >= most) continue;
      const word = this.#words[row * AREA_NAMES.length + area]!;
      for (let at = 0; at < right.length; at++) right[at]! += (word >>> at) & 1;
    }
    return Array.from(right, (count) => count / truths);
  }

  /** At each threshold: the mean of the highest precision with at least a recall of 0, 0.01, … 1. */
  #precisions(classId: number, area: number, rows: Uint32Array): number[] {
    const truths = this.#truths[classId * AREA_NAMES.length + area]!;
    const precision = new Float64Array(rows.length);
    const recall = new Float64Array(rows.length);
    const words = this.#words;
    return THRESHOLDS.map((_, at) => {
      if (truths === 0) return Number.NaN;
      let right = 0;
      let wrong = 0;
      let length = 0;
      for (let place = 0; place < rows.length; place++) {
        const word = words[rows[place]! * AREA_NAMES.length + area]! >>> at;
        if ((word & (1 | (1 << WRONG))) === 0) continue;
        right += word & 1;
        wrong += (word >>> WRONG) & 1;
        recall[length] = right / truths;
        precision[length++] = right / (right + wrong);
      }
      for (let row = length - 1; row > 0; row--) {
        if (precision[row]! > precision[row - 1]!) precision[row - 1] = precision[row]!;
      }
      let sum = 0;
      for (let step = 0, row = 0; step < RECALLS; step++) {
        while (row < length && recall[row]! < step * 0.01) row++;
        if (row === length) break;
        sum += precision[row]!;
      }
      return sum / RECALLS;
    });
  }
}
