/** @module MapLaunches: which kernels decode maps, with what arguments, and the table of levels that they read. Pure. */

import { type DeviceOutputs, deviceOutput, dtypeCode, type LaunchSpec } from "../../accelerators/tensorrt/kernels.ts";
import { bytesPerElement } from "../../core/tensor.ts";
import type { TypedDeviceMemory } from "../../cuda/buffers.ts";
import { anchorNumbers } from "../../heads/anchor-decoder.ts";
import type { AnchorLevel, AnchorMapsPlan, DistanceMapsPlan, MapPlan, OffsetMapsPlan } from "../../heads/plans.ts";
import { FLOATS } from "../../heads/traits.ts";
import type { RowExtra, RowMaps } from "../../model/rows.ts";
import {
  type DecodeBatch,
  type DecodeLaunches,
  detectionWords,
  MOST_CANDIDATES,
  UNLIKE,
  type UnlikeScores,
} from "./device-batch.ts";

/** Bytes of `Map`, `Level` and `Anchor` in kernels/decode_maps.cu. */
const MAP_BYTES = 32;
const LEVEL_BYTES = 136;
const ANCHOR_BYTES = 16;

/** A map as it lies in memory: see `Map` in kernels/decode_maps.cu. */
interface PlacedMap {
  readonly pointer: number;
  readonly imageStride: number;
  readonly dtype: number;
  readonly vector: number;
  readonly channel: number;
  readonly anchorStep: number;
}

/** A level as it is packed, but for what follows from those before it. */
interface PlacedLevel {
  readonly stride: number;
  readonly columns: number;
  readonly rows: number;
  readonly maps: readonly PlacedMap[];
  readonly blocks: number;
  readonly anchorCount: number;
  /** Width and height of each; none where boxes do not start from them. */
  readonly anchors?: AnchorLevel["anchors"];
  readonly centreScale?: number;
}

/** The levels of a launch as the kernel reads them. */
interface LevelTable {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly sources: number;
  readonly blocks: number;
}

function pack(levels: readonly PlacedLevel[]): LevelTable {
  const all = levels.flatMap(({ anchors = [] }) => anchors);
  const bytes = new Uint8Array(new ArrayBuffer(levels.length * LEVEL_BYTES + all.length * ANCHOR_BYTES));
  const view = new DataView(bytes.buffer);
  let [sources, blocks, firstAnchor] = [0, 0, 0];
  for (const [index, level] of levels.entries()) {
    const at = index * LEVEL_BYTES;
    for (const [number, map] of level.maps.entries()) {
      const to = at + number * MAP_BYTES;
      view.setBigUint64(to, BigInt(map.pointer), true);
      view.setBigUint64(to + 8, BigInt(map.imageStride), true);
      const words = [map.dtype, map.vector, map.channel, map.anchorStep];
      for (const [word, value] of words.entries()) view.setInt32(to + 16 + word * 4, value, true);
    }
    view.setFloat64(at + 96, level.centreScale ?? 1, true);
    view.setFloat32(at + 104, level.stride, true);
    const words = [level.columns, level.rows, sources, blocks, level.anchorCount, firstAnchor];
    for (const [word, value] of words.entries()) view.setInt32(at + 108 + word * 4, value, true);
    sources += level.columns * level.rows * level.anchorCount;
    blocks += level.blocks;
    firstAnchor += level.anchors?.length ?? 0;
  }
  for (const [index, sides] of all.entries()) {
    const at = levels.length * LEVEL_BYTES + index * ANCHOR_BYTES;
    for (const [side, value] of sides.entries()) view.setFloat64(at + side * 8, value, true);
  }
  return { bytes, sources, blocks };
}

/** What a launch of one level has to know of it. */
interface Grid {
  readonly stride: number;
  readonly columns: number;
  readonly rows: number;
}

function gridOf(stride: number, { inputWidth, inputHeight }: DecodeBatch): Grid {
  return { stride, columns: Math.ceil(inputWidth / stride), rows: Math.ceil(inputHeight / stride) };
}

/** A map [N, channels, rows, columns], of any vector. @param numbers from `channel` on there are as many, or more */
function planes(
  outputs: DeviceOutputs,
  name: string,
  { columns, rows }: Grid,
  batch: number,
  numbers: number,
  { channel, anchorStep = 0 }: { readonly channel?: number | undefined; readonly anchorStep?: number },
): PlacedMap {
  const found = outputs.get(name)?.shape[1] ?? 0;
  const channels = channel === undefined ? numbers : Math.max(found, channel + numbers);
  const output = deviceOutput(outputs, name, FLOATS, [batch, channels, rows, columns], "any");
  const { vector = 1 } = output;
  return {
    pointer: output.pointer,
    imageStride: Math.ceil(channels / vector) * vector * columns * rows,
    dtype: dtypeCode(output),
    vector,
    channel: channel ?? 0,
    anchorStep,
  };
}

/** A row-major tensor as a map: of channels last, as many side by side as there are numbers together. */
function sideBySide(output: TypedDeviceMemory, imageStride: number, vector: number, channel = 0): PlacedMap {
  return { pointer: output.pointer, imageStride, dtype: dtypeCode(output), vector, channel, anchorStep: 0 };
}

/** Cells of a block, and anchors of one. */
const CELLS = 32;
const ANCHORS = 256;

/** What scores must show: see CHECK_ in kernels/decode_maps.cu. */
const CHECK = { nothing: 0, logits: 1, probabilities: 2 } as const;

function unlikeOf(check: (typeof CHECK)[keyof typeof CHECK]): UnlikeScores {
  return check === CHECK.logits ? UNLIKE.noLogit : UNLIKE.never;
}

/** What follows from the table of a launch. */
function launchOf(
  kernel: string,
  levels: readonly PlacedLevel[],
  batch: number,
  values: LaunchSpec["values"],
  { candidatesPerBox, unlike }: Pick<DecodeLaunches, "candidatesPerBox" | "unlike">,
): DecodeLaunches {
  const { bytes, sources, blocks } = pack(levels);
  const launch: LaunchSpec = {
    module: "decode_maps",
    kernel,
    config: { grid: [blocks, batch, 1], block: [CELLS, 8, 1] },
    values: { ...values, level_count: levels.length },
  };
  const candidates = sources * candidatesPerBox;
  const capacity = candidatesPerBox > 1 ? Math.min(candidates, MOST_CANDIDATES) : candidates;
  return { launches: [launch], capacity, boxes: sources, candidatesPerBox, unlike, table: bytes };
}

function distances(plan: DistanceMapsPlan, outputs: DeviceOutputs, input: DecodeBatch): DecodeLaunches {
  const { batch } = input;
  const { classes, bins, order, areLogits, classChannel, distanceChannel, isMultiLabel = false, angle } = plan;
  const grids = plan.levels.map(({ stride }) => gridOf(stride, input));
  const total = grids.reduce((sum, { columns, rows }) => sum + columns * rows, 0);
  const numbers = classes + 4 * bins;
  let first = 0;
  const levels = plan.levels.map(({ classMap, distanceMap, angleMap }, at): PlacedLevel => {
    const grid = grids[at]!;
    const { columns, rows } = grid;
    const cells = columns * rows;
    const maps: PlacedMap[] = [];
    if (order === "NCHW") {
      maps.push(
        planes(outputs, classMap, grid, batch, classes, { channel: classChannel }),
        planes(outputs, distanceMap, grid, batch, 4 * bins, { channel: distanceChannel }),
      );
      if (angle !== undefined) maps.push(planes(outputs, angleMap ?? "", grid, batch, 1, {}));
    } else if (order === "NHWC") {
      for (const [name, width] of [
        [classMap, classes],
        [distanceMap, 4 * bins],
      ] as const) {
        const output = deviceOutput(outputs, name, FLOATS, [batch, rows, columns, width]);
        maps.push(sideBySide(output, cells * width, width));
      }
    } else {
      const output = deviceOutput(outputs, classMap, FLOATS, [batch, total, numbers]);
      const map = sideBySide(output, total * numbers, numbers);
      const pointer = output.pointer + first * numbers * bytesPerElement(output.dtype);
      maps.push({ ...map, pointer }, { ...map, pointer, channel: classes });
    }
    first += cells;
    return { ...grid, maps, blocks: Math.ceil(cells / CELLS), anchorCount: 1 };
  });
  const isMulti = isMultiLabel && classes > 1;
  const check = order === "rows" || plan.isProved ? CHECK.nothing : areLogits ? CHECK.logits : CHECK.probabilities;
  const values = {
    sources: total,
    classes,
    bins,
    multi: isMulti ? 1 : 0,
    are_logits: areLogits ? 1 : 0,
    check,
    angle: angle === undefined ? 0 : angle === "sigmoid" ? 1 : 2,
    centre: plan.centre,
  };
  const more = { candidatesPerBox: isMulti ? classes : 1, unlike: unlikeOf(check) };
  const launches = launchOf("decode_distance_maps", levels, batch, values, more);
  return angle === undefined ? launches : { ...launches, isOriented: true };
}

const FORMS: Readonly<Record<AnchorMapsPlan["form"], number>> = {
  darknet: 0,
  yolov2: 1,
  yolov5: 2,
  yolox: 3,
  "custom-vision": 4,
};

const ACTIVATED: Readonly<Record<AnchorMapsPlan["activated"], number>> = { nothing: 0, scores: 1, all: 2 };

/** Where x, y, w and h of a level's anchors lie, objectness, and the classes. */
function anchorMaps(
  { output: name, objectnessMap, classMap, anchors: { length } }: AnchorLevel,
  plan: AnchorMapsPlan,
  outputs: DeviceOutputs,
  grid: Grid,
  batch: number,
): readonly PlacedMap[] {
  const { classes, order } = plan;
  if (objectnessMap !== undefined && classMap !== undefined) {
    return (
      [
        [name, 4],
        [objectnessMap, 1],
        [classMap, classes],
      ] as const
    ).map(([map, anchorStep]) => planes(outputs, map, grid, batch, anchorStep * length, { anchorStep }));
  }
  const { columns, rows } = grid;
  const numbers = anchorNumbers(plan);
  let joined: PlacedMap;
  if (order === "channels") joined = planes(outputs, name, grid, batch, numbers * length, { anchorStep: numbers });
  else {
    const isSplit = outputs.get(name)?.shape.length === 5;
    const cells = isSplit ? [rows, columns, length, numbers] : [rows, columns, length * numbers];
    const shape = order === "anchors" ? [length, rows, columns, numbers] : cells;
    const output = deviceOutput(outputs, name, FLOATS, [batch, ...shape]);
    const vector = order === "anchors" ? numbers : length * numbers;
    joined = { ...sideBySide(output, columns * rows * length * numbers, vector), anchorStep: numbers };
  }
  return [joined, { ...joined, channel: 4 }, { ...joined, channel: 5 }];
}

function anchored(plan: AnchorMapsPlan, outputs: DeviceOutputs, input: DecodeBatch): DecodeLaunches {
  const { classes, form, activated, counted } = plan;
  const levels = plan.levels.map((level): PlacedLevel => {
    const grid = gridOf(level.stride, input);
    const { anchors, centreScale = 1 } = level;
    const blocks = Math.ceil((grid.columns * grid.rows * anchors.length) / ANCHORS);
    const maps = anchorMaps(level, plan, outputs, grid, input.batch);
    return { ...grid, maps, blocks, anchorCount: anchors.length, anchors, centreScale };
  });
  const isRaw = activated === "nothing";
  const check = plan.isProved ? CHECK.nothing : isRaw ? CHECK.logits : CHECK.probabilities;
  const values = {
    classes,
    form: FORMS[form],
    activated: ACTIVATED[activated],
    counted: counted === "anchors" ? 1 : 0,
    check,
  };
  return launchOf("decode_anchor_maps", levels, input.batch, values, { candidatesPerBox: 1, unlike: unlikeOf(check) });
}

function offsets({ levels: of, classes, centre }: OffsetMapsPlan, outputs: DeviceOutputs, input: DecodeBatch) {
  const { batch } = input;
  const levels = of.map(({ stride, classMap, boxMap, anchors }): PlacedLevel => {
    const grid = gridOf(stride, input);
    const { length } = anchors;
    const maps = [
      planes(outputs, classMap, grid, batch, classes * length, { anchorStep: classes }),
      planes(outputs, boxMap, grid, batch, 4 * length, { anchorStep: 4 }),
    ];
    const blocks = Math.ceil((grid.columns * grid.rows) / CELLS) * length;
    return { ...grid, maps, blocks, anchorCount: length, anchors };
  });
  const sources = levels.reduce((sum, { columns, rows, anchorCount }) => sum + columns * rows * anchorCount, 0);
  const values = { sources, classes, multi: classes > 1 ? 1 : 0, check: CHECK.probabilities, centre };
  return launchOf("decode_offset_maps", levels, batch, values, { candidatesPerBox: classes, unlike: UNLIKE.never });
}

/** The launch that appends the candidates of a batch of maps. @throws {ShapeError} If an output is not what the plan says */
export function mapLaunches(plan: MapPlan, outputs: DeviceOutputs, input: DecodeBatch): DecodeLaunches {
  if (plan.kind === "distance-maps") return distances(plan, outputs, input);
  return plan.kind === "anchor-maps" ? anchored(plan, outputs, input) : offsets(plan, outputs, input);
}

const RULES: Readonly<Record<RowMaps["rule"], number>> = { raw: 0, points: 1, "centred-points": 2 };

/** The table of an extra that lies in maps. @throws {ShapeError} If an output is not what the extra says */
export function extraTable(
  { channels, first }: RowExtra,
  { levels, anchors = 1 }: RowMaps,
  outputs: DeviceOutputs,
  input: DecodeBatch,
): Uint8Array<ArrayBuffer> {
  const placed = levels.map(({ stride, output }): PlacedLevel => {
    const grid = gridOf(stride, input);
    const map = planes(outputs, output, grid, input.batch, channels, { anchorStep: channels / anchors });
    return { ...grid, maps: [{ ...map, channel: first }], blocks: 0, anchorCount: anchors };
  });
  return pack(placed).bytes;
}

/** Rows of a block, a warp each. */
const GATHERED_ROWS = 8;

/** The launch that gathers an extra from maps. @param to where: the table's copy on the device, and addresses as the kernel has them */
export function mapGathering(
  { length }: RowExtra,
  { levels, rule, numbers = 3, counted }: RowMaps,
  batch: number,
  to: Readonly<Record<"levels" | "detections" | "gathered" | "rows", number>>,
): LaunchSpec {
  return {
    module: "decode_maps",
    kernel: "gather_maps",
    config: { grid: [Math.ceil(to.rows / GATHERED_ROWS), batch, 1], block: [32, GATHERED_ROWS, 1] },
    values: {
      ...to,
      words: detectionWords(to.rows),
      level_count: levels.length,
      length,
      rule: RULES[rule],
      numbers,
      counted: counted === "anchors" ? 1 : 0,
    },
  };
}
