/**
 * @module Cut proof: run on numbers of chance, the part of a graph after a cut gives what the decoder of maps gives, and the part before
 * it, rewritten, the maps that it gave.
 */

import { dirname, resolve } from "node:path";
import { ModelError } from "../core/errors.ts";
import { Chance, createTensor, type Tensor } from "../core/tensor.ts";
import { channelsOf } from "../image/preprocessing.ts";
import { Candidates, type RowExtra } from "../model/rows.ts";
import { OnnxValue } from "../onnx/messages.ts";
import { isOfHalves, OnnxModel } from "../onnx/model.ts";
import { Session } from "../onnxruntime/session.ts";
import type { Cut, CutMap } from "./cut.ts";
import type { DecodeInput, ModelSpec } from "./head.ts";
import {
  type Anchors,
  anchorsACell,
  classLogit,
  type MapLevel,
  type MapReading,
  scoreChannels,
} from "./map-readings.ts";
import { gatherRows, sigmoid } from "./outputs.ts";
import { decoderOf } from "./registry.ts";

/** Input of a model that leaves its size open: of all strides, and not square, so that rows and columns are told apart. */
const OPEN_SIZE: readonly [width: number, height: number] = [256, 128];

/** Cells below it are left out, as in use, so that the comparison with the threshold is proved as well. */
const THRESHOLD = 0.01;

/**
 * How far the two may lie apart, of pixels beyond the image in proportion, of a map in parts of its largest number. FP16 has 11 bits, of
 * a score as of a pixel; in FP32 the order of operations shows.
 */
const TOLERANCES = {
  f32: { score: 2e-5, pixels: 0.01, number: 1e-4, map: 1e-3 },
  f16: { score: 4e-3, pixels: 2, number: 1e-2, map: 1e-2 },
} as const;

/** Numbers of a kind: one for all of a cell, and how far each may lie from it. */
interface Range {
  readonly bias: readonly [low: number, high: number];
  readonly spread: number;
  /** Where a few lie instead: a head that cuts or bends numbers does so far out. */
  readonly seldom?: readonly [low: number, high: number];
  /** What sure cells have instead: every channel, or one each in turn. */
  readonly sure?: { readonly each: "channels" | "channel"; readonly first: number; readonly count: number };
}

const ZERO: Range = { bias: [0, 0], spread: 0 };

/** Of how many numbers one is seldom. */
const SELDOM = 16;

/** Logits of which a model is sure: beyond, FP32 has few scores left below 1. */
const SURE: readonly [low: number, high: number] = [6, 10];
/** Of how many cells at least one is sure, and how many of a map may be: rows that a model chooses itself must not be full of them. */
const SURE_EVERY = 32;
const MOST_SURE = 16;

/** What one way of decoding found. */
interface Found {
  readonly candidates: Candidates;
  readonly extras: readonly { readonly name: string; readonly length: number; readonly numbers: Float32Array }[];
}

/** What was found in maps. */
interface FoundInMaps extends Found {
  /** What a class scores where a row comes from. */
  readonly classScore: (row: number, classId: number) => number;
}

/** The part of a graph that a cut takes off, ready to run. */
export class CutProof implements AsyncDisposable {
  readonly #session: Session;
  readonly #cut: Cut;
  readonly #spec: ModelSpec;
  readonly #batch: number;
  readonly #size: readonly [width: number, height: number];
  readonly #tolerance: (typeof TOLERANCES)["f32" | "f16"];
  readonly #chance = new Chance();

  private constructor(session: Session, cut: Cut, spec: ModelSpec, batch: number) {
    this.#session = session;
    this.#cut = cut;
    this.#spec = spec;
    this.#batch = batch;
    this.#size = spec.fixedSize ?? OPEN_SIZE;
    this.#tolerance = TOLERANCES[cut.maps.some(({ elementType }) => elementType === "f16") ? "f16" : "f32"];
  }

  /**
   * Take the part out of a model, with the maps as its inputs.
   *
   * @throws {LibraryLoadError} If there is no ONNX Runtime
   * @throws {ModelError} If the part cannot be loaded by itself
   */
  static async begin(bytes: Uint8Array, cut: Cut, outputs: readonly string[], spec: ModelSpec): Promise<CutProof> {
    const onnx = OnnxModel.read(bytes);
    const { graph } = onnx;
    const [side] = graph.inputs.find(({ name }) => name === spec.imageInput)?.shape ?? [];
    const batch = typeof side === "number" && side > 0 ? side : 1;
    const [width, height] = spec.fixedSize ?? OPEN_SIZE;
    const grid = (stride: number): number[] => [Math.ceil(height / stride), Math.ceil(width / stride)];
    graph.inputs = [
      ...cut.maps.map((map) => OnnxValue.of(map.name, map.elementType, [batch, map.channels, ...grid(map.stride)])),
      ...[...cut.shapes].map(([name, stride]) => OnnxValue.of(name, "f32", [batch, 1, ...grid(stride)])),
    ];
    const given = new Set(graph.inputs.map(({ name }) => name));
    graph.nodes = graph.nodes.filter((node) => !node.outputs.some((name) => given.has(name)));
    graph.outputs = graph.outputs.filter(({ name }) => outputs.includes(name));
    for (const name of given) graph.values.delete(name);
    graph.removeUnused();
    return new CutProof(
      await Session.fromBytes(onnx.write(), "the head of the model", { spinning: false }),
      cut,
      spec,
      batch,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#session[Symbol.asyncDispose]();
  }

  /** Widths and heights of a cell's anchors, of a head that multiplies them by (2 × sigmoid)²: of maps of zeros they are the boxes. */
  async anchors(levels: readonly MapLevel[]): Promise<Anchors | undefined> {
    const count = anchorsACell(this.#spec, levels);
    const { plan } = this.#spec;
    if (count === undefined || plan.kind !== "dense") return undefined;
    const outputs = await this.#run(this.#tensors(() => ZERO));
    const { data, shape } = outputs.get(plan.output)!;
    const [, rows = 0, channels = 0] = shape;
    let row = 0;
    const found = levels.map(({ stride }) => {
      const cells = Math.ceil(this.#size[0] / stride) * Math.ceil(this.#size[1] / stride);
      const first = row;
      row += cells * count;
      return Array.from({ length: count }, (_, anchor) => {
        const at = (first + anchor * cells) * channels;
        return [Number(data[at + 2]), Number(data[at + 3])] as const;
      });
    });
    return row === rows ? found : undefined;
  }

  /** True if a reading of the maps gives what the part gives. */
  async holds(reading: MapReading): Promise<boolean> {
    const maps = this.#tensors((map, channel) => rangeOf(reading, map, channel, this.#size));
    const outputs = await this.#run(maps);
    try {
      for (let index = 0; index < this.#batch; index++) {
        if (!this.#isSameImage(reading, outputs, maps, index)) return false;
      }
    } catch (error) {
      // Numbers that a decoder refuses as those of another head.
      if (error instanceof ModelError) return false;
      throw error;
    }
    return true;
  }

  #isSameImage(
    { plan, extras }: MapReading,
    outputs: ReadonlyMap<string, Tensor>,
    maps: ReadonlyMap<string, Tensor>,
    index: number,
  ): boolean {
    const declared = this.#decode(this.#spec, this.#spec.extras ?? [], outputs, index);
    const found = this.#decode({ ...this.#spec, plan }, extras, maps, index);
    const classScore = (row: number, classId: number): number =>
      sigmoid(classLogit(plan, maps, index, found.candidates.sources[row]!, classId));
    return this.#isSame(declared, { ...found, classScore }, this.#spec.plan.kind === "rows");
  }

  #run(maps: ReadonlyMap<string, Tensor>): Promise<ReadonlyMap<string, Tensor>> {
    const given = this.#session.inputs.map(({ name, dtype, shape }) => [
      name,
      maps.get(name) ?? createTensor(dtype, shape),
    ]);
    return this.#session.run(Object.fromEntries(given));
  }

  /** Maps of numbers of chance. */
  #tensors(rangeOf: (map: CutMap, channel: number) => Range): Map<string, Tensor> {
    const [width, height] = this.#size;
    return new Map(
      this.#cut.maps.map((map) => {
        const { name, channels, stride, elementType } = map;
        const [rows, columns] = [Math.ceil(height / stride), Math.ceil(width / stride)];
        const tensor = createTensor(elementType as "f32" | "f16", [this.#batch, channels, rows, columns]);
        const cells = rows * columns;
        const every = Math.max(SURE_EVERY, Math.ceil(cells / MOST_SURE));
        const biases = Float32Array.from({ length: cells }, () => this.#chance.between(0, 1));
        for (let plane = 0, at = 0; plane < this.#batch * channels; plane++) {
          const channel = plane % channels;
          const { bias, spread, seldom, sure } = rangeOf(map, channel);
          for (let cell = 0; cell < cells; cell++, at++) {
            const usual = bias[0] + (bias[1] - bias[0]) * biases[cell]! + this.#chance.between(-spread, spread);
            const isSeldom = seldom !== undefined && this.#chance.between(0, SELDOM) < 1;
            const turn = (cell - (cell % every)) / every;
            // The last cell of every few: coarse maps have few.
            const isSure =
              sure !== undefined &&
              cell % every === Math.min(every, cells) - 1 &&
              (sure.each === "channels" || turn % sure.count === channel - sure.first);
            tensor.data[at] = isSure
              ? this.#chance.between(...SURE)
              : isSeldom
                ? this.#chance.between(...seldom)
                : usual;
          }
        }
        return [name, tensor];
      }),
    );
  }

  #decode(spec: ModelSpec, extras: readonly RowExtra[], outputs: ReadonlyMap<string, Tensor>, index: number): Found {
    const candidates = new Candidates();
    const [inputWidth, inputHeight] = this.#size;
    const input: DecodeInput = {
      outputs,
      index,
      inputWidth,
      inputHeight,
      threshold: THRESHOLD,
      pushed: candidates,
      isOfChance: true,
    };
    decoderOf(spec)(spec.plan, input, candidates);
    const gathered = extras.map((extra) => {
      const numbers = new Float32Array(candidates.count * extra.length);
      gatherRows(extra, input, candidates, numbers);
      return { name: extra.name, length: extra.length, numbers };
    });
    return { candidates, extras: gathered };
  }

  /** True if both found the same, but for what lies at the threshold, or has no area. @param isChosen the model chose its rows */
  #isSame(declared: Found, mapped: FoundInMaps, isChosen: boolean): boolean {
    const { candidates: a } = declared;
    const { candidates: b } = mapped;
    const { score: near, pixels } = this.#tolerance;
    const bySource = new Map(Array.from({ length: b.count }, (_, row) => [b.sources[row]!, row]));
    // Rows that the model has chosen are its best, and do not say which cells they come from.
    const lowest = isChosen ? a.scores.subarray(0, a.count).reduce((least, score) => Math.min(least, score), 1) : 0;
    const best = Array.from({ length: b.count }, (_, row) => row).filter((row) => b.scores[row]! >= lowest - near);
    const isMarginal = (rows: Candidates, row: number): boolean =>
      rows.scores[row]! <= Math.max(THRESHOLD, lowest) + near || Math.min(...sidesOf(rows, row)) < pixels;
    const matched = new Set<number>();
    for (let row = 0; row < a.count; row++) {
      const like = isChosen
        ? best.find((other) => this.#isAlike(declared, row, mapped, other))
        : bySource.get(a.sources[row]!);
      if (like === undefined ? !isMarginal(a, row) : !this.#isAlike(declared, row, mapped, like)) return false;
      if (like !== undefined) matched.add(like);
    }
    return matched.size > 0 && best.every((row) => matched.has(row) || isMarginal(b, row));
  }

  /** True if two rows are the same, but for rounding. Of two classes with like scores either may be the best. */
  #isAlike(declared: Found, row: number, mapped: FoundInMaps, other: number): boolean {
    const { candidates: a } = declared;
    const { candidates: b } = mapped;
    const { score: near, pixels, number } = this.#tolerance;
    const isInPixels = (x: number, y: number): boolean =>
      Math.abs(x - y) <= pixels * Math.max(1, Math.abs(x) / Math.max(...this.#size));
    if (!(Math.abs(a.scores[row]! - b.scores[other]!) <= near)) return false;
    const [wanted, found] = [a.classIds[row]!, b.classIds[other]!];
    if (wanted !== found) {
      // Rows that are chosen are of every class of a cell.
      if (this.#spec.plan.kind === "rows") return false;
      if (!(Math.abs(mapped.classScore(other, wanted) - mapped.classScore(other, found)) <= near)) return false;
    }
    for (let side = 0; side < 4; side++) {
      if (!isInPixels(a.boxes[row * 4 + side]!, b.boxes[other * 4 + side]!)) return false;
    }
    return declared.extras.every(({ name, length, numbers }, at) => {
      const others = mapped.extras[at]!.numbers;
      const areInPixels = name === "sides" || name === "keypoints";
      for (let one = 0; one < length; one++) {
        const [x, y] = [numbers[row * length + one]!, others[other * length + one]!];
        if (!(areInPixels ? isInPixels(x, y) : Math.abs(x - y) <= number)) return false;
      }
      return true;
    });
  }
}

/** What the numbers of a channel may be, if maps are read so. */
function rangeOf(reading: MapReading, { name, stride }: CutMap, channel: number, size: readonly number[]): Range {
  const { plan } = reading;
  const [first = 0, count = 0] = scoreChannels(reading, name) ?? [];
  if (channel >= first && channel < first + count) {
    // Of an image few cells have an object: in most all scores are low.
    const each = plan.kind === "distance-maps" && plan.isMultiLabel ? "channel" : "channels";
    return { bias: [-8, 0], spread: 3, sure: { each, first, count } };
  }
  // A logarithm of a side.
  if (plan.kind !== "distance-maps") return { bias: [0, 0], spread: 2, seldom: [-5, 5] };
  const isBare = plan.bins === 1 && plan.levels.some(({ distanceMap }) => distanceMap === name);
  // A distance that is no mean of bins is above 0 mostly, and up to the whole image long.
  const longest = Math.max(24, Math.max(...size) / stride);
  return isBare ? { bias: [2, 3], spread: 1.5, seldom: [-3, longest] } : { bias: [0, 0], spread: 2, seldom: [-12, 12] };
}

function sidesOf({ boxes }: Candidates, row: number): readonly [width: number, height: number] {
  const [x1 = 0, y1 = 0, x2 = 0, y2 = 0] = boxes.subarray(row * 4, row * 4 + 4);
  return [x2 - x1, y2 - y1];
}

/** Where a model that was cut comes from, and what ends its runs. */
export interface ProofOptions {
  /** Weights in other files are found beside it. */
  readonly path?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Run a cut model and the same rewritten, each once on one image of chance.
 *
 * @returns how a map of theirs differs, as a clause; `undefined` where all are the same but for rounding
 * @throws {ModelError} If ONNX Runtime cannot load one of them
 * @throws {OnnxRuntimeError} If a run fails
 * @throws the signal's reason, if it was aborted
 */
export async function mapsApart(
  cut: Uint8Array,
  rewritten: Uint8Array,
  spec: ModelSpec,
  options: ProofOptions = {},
): Promise<string | undefined> {
  const maps = await mapsOfChance(cut, spec, options);
  const others = await mapsOfChance(rewritten, spec, options);
  // Quantisers round further than FP16 does.
  const cutModel = OnnxModel.read(cut);
  const isRounded = isOfHalves(cutModel) || cutModel.graph.nodes.some(({ op }) => op === "QuantizeLinear");
  const tolerance = TOLERANCES[isRounded ? "f16" : "f32"].map;
  for (const [name, { data }] of maps) {
    const other = others.get(name)?.data;
    if (other?.length !== data.length) return `its map ${JSON.stringify(name)} has another shape`;
    let [largest, most] = [0, 0];
    for (let at = 0; at < data.length; at++) {
      const [wanted, found] = [Number(data[at]), Number(other[at])];
      if (Number.isFinite(wanted)) largest = Math.max(largest, Math.abs(wanted));
      // FP16 may overflow, in both.
      if (Object.is(wanted, found)) continue;
      const apart = Math.abs(wanted - found);
      most = Number.isFinite(apart) ? Math.max(most, apart) : Number.POSITIVE_INFINITY;
    }
    const allowed = largest * tolerance;
    if (most > allowed)
      return `its map ${JSON.stringify(name)} differs by ${most.toPrecision(2)}, rounding by ${allowed.toPrecision(2)} at most`;
  }
  return undefined;
}

/** What a cut model gives of one image of chance, or of as many as its batch is fixed to. */
async function mapsOfChance(
  bytes: Uint8Array,
  { imageInput, preprocessing, preferredSize }: ModelSpec,
  { path, signal }: ProofOptions,
): Promise<ReadonlyMap<string, Tensor>> {
  const weightsFolder = path === undefined ? undefined : dirname(resolve(path));
  await using session = await Session.fromBytes(bytes, "the cut model", { spinning: false, weightsFolder });
  const [width, height] = preferredSize;
  const { layout, scale, mean, std } = preprocessing;
  const channels = channelsOf(preprocessing);
  const open = layout === "NCHW" ? [1, channels, height, width] : [1, height, width, channels];
  const chance = new Chance();
  const given = session.inputs.map(({ name, dtype, shape }) => {
    const tensor = createTensor(
      dtype,
      shape.map((side, at) => (side > 0 ? side : name === imageInput ? open[at]! : 1)),
    );
    if (name !== imageInput) return [name, tensor];
    const { data } = tensor;
    for (let at = 0; at < data.length; at++) data[at] = (chance.between(0, 255) * scale - mean[0]) / std[0];
    return [name, tensor];
  });
  return await session.run(Object.fromEntries(given), { signal });
}
