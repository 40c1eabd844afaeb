/** @module Cut proof: the part of a graph after a cut, run on numbers of chance, gives what the decoder of maps gives. */

import { createTensor, type Tensor } from "../core/tensor.ts";
import { Candidates, type RowExtra } from "../model/rows.ts";
import { OnnxValue } from "../onnx/messages.ts";
import { OnnxModel } from "../onnx/model.ts";
import { Session } from "../onnxruntime/session.ts";
import type { Cut } from "./cut.ts";
import type { DecodeInput, ModelSpec } from "./head.ts";
import { type Anchors, anchorsACell, holdsScores, type MapLevel, type MapReading } from "./map-readings.ts";
import { gatherRows } from "./outputs.ts";
import { decoderOf } from "./registry.ts";

/** Input of a model that leaves its size open: of all strides, and not square, so that rows and columns are told apart. */
const OPEN_SIZE: readonly [width: number, height: number] = [256, 128];

/** Cells below it are left out, as in use, so that the comparison with the threshold is proved as well. */
const THRESHOLD = 0.01;

/** How far the two may lie apart. FP16 has 11 bits, of a score as of a pixel; in FP32 the order of operations shows. */
const TOLERANCES = {
  f32: { score: 2e-5, pixels: 0.01, number: 1e-4 },
  f16: { score: 4e-3, pixels: 2, number: 1e-2 },
} as const;

/** Share of the candidates that only one of the two has, as they lie at the threshold or have no area. */
const MOST_MARGINAL = 0.01;

/** The numbers of a kind of maps: one for all numbers of a cell, and how far each may lie from it. */
interface Range {
  readonly bias: readonly [low: number, high: number];
  readonly spread: number;
}

const ZERO: Range = { bias: [0, 0], spread: 0 };

/** What one way of decoding found. */
interface Found {
  readonly candidates: Candidates;
  readonly extras: readonly { readonly name: string; readonly length: number; readonly numbers: Float32Array }[];
}

/** The part of a graph that a cut takes off, ready to run. */
export class CutProof implements AsyncDisposable {
  readonly #session: Session;
  readonly #cut: Cut;
  readonly #spec: ModelSpec;
  readonly #batch: number;
  readonly #size: readonly [width: number, height: number];
  readonly #tolerance: (typeof TOLERANCES)["f32" | "f16"];
  #chance = 1;

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
    const { plan } = reading;
    const maps = this.#tensors((map) => {
      // Of an image few cells have an object: in most all scores are low.
      if (holdsScores(reading, map)) return { bias: [-8, 0], spread: 3 };
      // A distance that is no mean of bins is above 0.
      const isBare = plan.kind === "distance-maps" && plan.bins === 1;
      const isDistance = isBare && plan.levels.some(({ distanceMap }) => distanceMap === map);
      return isDistance ? { bias: [2, 3], spread: 1.5 } : { bias: [0, 0], spread: 2 };
    });
    const outputs = await this.#run(maps);
    const { extras = [] } = this.#spec;
    for (let index = 0; index < this.#batch; index++) {
      const declared = this.#decode(this.#spec, extras, outputs, index);
      const mapped = this.#decode({ ...this.#spec, plan: reading.plan }, reading.extras, maps, index);
      if (!this.#isSame(declared, mapped, this.#spec.plan.kind === "rows")) return false;
    }
    return true;
  }

  #run(maps: ReadonlyMap<string, Tensor>): Promise<ReadonlyMap<string, Tensor>> {
    const given = this.#session.inputs.map(({ name, dtype, shape }) => [
      name,
      maps.get(name) ?? createTensor(dtype, shape),
    ]);
    return this.#session.run(Object.fromEntries(given));
  }

  /** Maps of numbers of chance. */
  #tensors(rangeOf: (map: string) => Range): Map<string, Tensor> {
    const [width, height] = this.#size;
    return new Map(
      this.#cut.maps.map(({ name, channels, stride, elementType }) => {
        const [rows, columns] = [Math.ceil(height / stride), Math.ceil(width / stride)];
        const tensor = createTensor(elementType as "f32" | "f16", [this.#batch, channels, rows, columns]);
        const { bias, spread } = rangeOf(name);
        const biases = Float32Array.from({ length: rows * columns }, () => this.#between(...bias));
        for (let at = 0; at < tensor.data.length; at++) {
          tensor.data[at] = biases[at % biases.length]! + this.#between(-spread, spread);
        }
        return [name, tensor];
      }),
    );
  }

  /** The same numbers in each process: a model that is cut once is cut always. */
  #between(low: number, high: number): number {
    this.#chance = (Math.imul(this.#chance, 1_664_525) + 1_013_904_223) >>> 0;
    return low + ((high - low) * this.#chance) / 2 ** 32;
  }

  #decode(spec: ModelSpec, extras: readonly RowExtra[], outputs: ReadonlyMap<string, Tensor>, index: number): Found {
    const candidates = new Candidates();
    const [inputWidth, inputHeight] = this.#size;
    const input: DecodeInput = { outputs, index, inputWidth, inputHeight, threshold: THRESHOLD, pushed: candidates };
    decoderOf(spec)(spec.plan, input, candidates);
    const gathered = extras.map((extra) => {
      const numbers = new Float32Array(candidates.count * extra.length);
      gatherRows(extra, input, candidates, numbers);
      return { name: extra.name, length: extra.length, numbers };
    });
    return { candidates, extras: gathered };
  }

  /** True if both found the same, but for what lies at the threshold, or has no area. */
  #isSame(declared: Found, mapped: Found, isChosen: boolean): boolean {
    const { candidates: a } = declared;
    const { candidates: b } = mapped;
    const { score: near, pixels } = this.#tolerance;
    const bySource = new Map(Array.from({ length: b.count }, (_, row) => [b.sources[row]!, row]));
    const lowest = a.scores.subarray(0, a.count).reduce((least, score) => Math.min(least, score), 1) - near;
    // Rows that the model has chosen do not say which cells they come from.
    const best = Array.from({ length: isChosen ? b.count : 0 }, (_, row) => row).filter(
      (row) => b.scores[row]! >= lowest,
    );
    for (let row = 0; row < a.count; row++) {
      const score = a.scores[row]!;
      const like = isChosen
        ? best.find((other) => this.#isAlike(declared, row, mapped, other))
        : bySource.get(a.sources[row]!);
      const isMarginal = score <= THRESHOLD + near || Math.min(...sidesOf(a, row)) < pixels;
      if (like === undefined ? !isMarginal : !this.#isAlike(declared, row, mapped, like)) return false;
    }
    const extra = isChosen ? best.length - a.count : b.count - a.count;
    return a.count > 0 && extra <= MOST_MARGINAL * a.count;
  }

  /** True if two rows are the same, but for rounding. Of two classes with like scores either may be the best. */
  #isAlike(declared: Found, row: number, mapped: Found, other: number): boolean {
    const { candidates: a } = declared;
    const { candidates: b } = mapped;
    const { score: near, pixels, number } = this.#tolerance;
    if (Math.abs(a.scores[row]! - b.scores[other]!) > near) return false;
    const isTie = this.#spec.plan.kind !== "rows";
    if (a.classIds[row] !== b.classIds[other] && !isTie) return false;
    for (let side = 0; side < 4; side++) {
      if (!(Math.abs(a.boxes[row * 4 + side]! - b.boxes[other * 4 + side]!) <= pixels)) return false;
    }
    return declared.extras.every(({ name, length, numbers }, at) => {
      const others = mapped.extras[at]!.numbers;
      const allowed = name === "sides" || name === "keypoints" ? pixels : number;
      for (let one = 0; one < length; one++) {
        if (!(Math.abs(numbers[row * length + one]! - others[other * length + one]!) <= allowed)) return false;
      }
      return true;
    });
  }
}

function sidesOf({ boxes }: Candidates, row: number): readonly [width: number, height: number] {
  const [x1 = 0, y1 = 0, x2 = 0, y2 = 0] = boxes.subarray(row * 4, row * 4 + 4);
  return [x2 - x1, y2 - y1];
}
