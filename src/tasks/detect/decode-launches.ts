/** @module DecodeLaunches: which kernels decode a model's outputs, and with what arguments, by its plan. Pure. */

import { type DeviceOutputs, deviceOutput, dtypeCode, type LaunchSpec } from "../../accelerators/tensorrt/kernels.ts";
import type { DType } from "../../core/tensor.ts";
import type { TypedDeviceMemory } from "../../cuda/buffers.ts";
import type { LaunchConfig } from "../../cuda/kernel.ts";
import { hostReason, type PartsPlan, type RowColumns } from "../../heads/host-plan.ts";
import type {
  ColumnsPlan,
  DecodePlan,
  DensePlan,
  DistanceBinsPlan,
  FastestDetPlan,
  GridPlan,
  QueriesPlan,
  RawBoxForm,
  RowsPlan,
} from "../../heads/plans.ts";
import { FLOATS, HOST_NUMBERS, INTEGERS, NUMBERS } from "../../heads/traits.ts";
import { noDevicePart } from "../../runtime/task.ts";
import { type DecodeBatch, type DecodeLaunches, UNLIKE } from "./device-batch.ts";
import { mapLaunches } from "./map-launches.ts";

const DECODE = "decode the outputs of a model";

/** What launches come to whose candidates have a box each. */
function plain(launches: readonly LaunchSpec[], capacity: number): DecodeLaunches {
  return { launches, capacity, boxes: capacity, candidatesPerBox: 1, unlike: UNLIKE.never };
}

const BOX_FRACTION = 1;
const BOX_CORNERS = 2;

/** The bits by which a kernel reads a box: see `box_of` in kernels/decode.cuh. */
function boxBits(form: RawBoxForm, unit: DensePlan["boxUnit"]): number {
  return (unit === "fraction" ? BOX_FRACTION : 0) | (form === "corners" ? BOX_CORNERS : 0);
}

const SCORE_RULES: Readonly<Record<DensePlan["score"], number>> = { class: 0, product: 1, objectness: 2 };
/** The product, where objectness must be 1. */
const SCORE_ONE = 3;

/** Rows of a block where a warp takes one, and where a thread does. */
const WARP_ROWS = 8;
const THREAD_ROWS = 256;
/** Anchors of a block where eight threads share one. */
const PLANE_ROWS = 32;
const SOFTMAX_ROWS = 64;

/** A warp for so many rows of each image, which its threads share, or a thread for each. */
function shared(rows: number, rowsPerBlock: number, batch: number): LaunchConfig {
  return { grid: [Math.ceil(rows / rowsPerBlock), batch, 1], block: [32, 8, 1] };
}

function single(rows: number, threads: number, batch: number): LaunchConfig {
  return { grid: [Math.ceil(rows / threads), batch, 1], block: [threads, 1, 1] };
}

/** Address and dtype of a tensor that may be missing. */
function given(tensor: TypedDeviceMemory | undefined): readonly [pointer: number, dtype: number] {
  return tensor === undefined ? [0, 0] : [tensor.pointer, dtypeCode(tensor)];
}

function dense(plan: DensePlan, outputs: DeviceOutputs, input: DecodeBatch): DecodeLaunches {
  const { batch, inputWidth: width, inputHeight: height } = input;
  const { channels, classes, classChannel: class_channel, order } = plan;
  const isChannelMajor = order === "channel-major";
  const output = deviceOutput(
    outputs,
    plan.output,
    FLOATS,
    isChannelMajor ? [batch, channels, -1] : [batch, -1, channels],
  );
  const anchors = output.shape[isChannelMajor ? 2 : 1]!;
  const box_form = boxBits(plan.boxForm ?? "centre", plan.boxUnit);
  const values = { output: output.pointer, anchors, channels, classes, class_channel, box_form, width, height };
  const kernel = `decode_dense_${isChannelMajor ? "channel" : "anchor"}_major_${output.dtype}`;
  const config = shared(anchors, isChannelMajor ? PLANE_ROWS : WARP_ROWS, batch);
  if (isChannelMajor) return plain([{ module: "decode_dense", kernel, config, values }], anchors);
  // Boxes of their own are of the same dtype, [N, anchors, 4] or [N, anchors, 1, 4].
  const { boxes } = plan;
  const isFlat = boxes !== undefined && outputs.get(boxes)?.shape.length === 3;
  const shape = isFlat ? [batch, anchors, 4] : [batch, anchors, 1, 4];
  const [box_tensor] = given(boxes === undefined ? undefined : deviceOutput(outputs, boxes, [output.dtype], shape));
  const score_rule = plan.isObjectnessOne ? SCORE_ONE : SCORE_RULES[plan.score];
  const all = { ...values, box_tensor, score_rule };
  return plain([{ module: "decode_dense", kernel, config, values: all }], anchors);
}

function rows(plan: RowsPlan, outputs: DeviceOutputs, { batch, inputWidth, inputHeight }: DecodeBatch): DecodeLaunches {
  const isFlat = plan.batchColumn !== undefined || plan.counts !== undefined;
  const output = deviceOutput(outputs, plan.output, FLOATS, isFlat ? [-1, plan.columns] : [batch, -1, plan.columns]);
  const count = output.shape[isFlat ? 0 : 1]!;
  const [counts, counts_dtype] = given(
    plan.counts === undefined ? undefined : deviceOutput(outputs, plan.counts, INTEGERS, [batch]),
  );
  const values = {
    output: output.pointer,
    counts,
    rows: count,
    columns: plan.columns,
    dtype: dtypeCode(output),
    counts_dtype,
    box_column: plan.boxColumn,
    score_column: plan.scoreColumn,
    class_column: plan.classColumn,
    batch_column: plan.batchColumn ?? -1,
    box_form: boxBits(plan.boxForm ?? "corners", plan.boxUnit ?? "pixels"),
    width: inputWidth,
    height: inputHeight,
  };
  const config = single(count, THREAD_ROWS, batch);
  return plain([{ module: "decode_rows", kernel: "decode_rows", config, values }], count);
}

/** Columns by themselves. */
function columns(
  { boxes, scores, classes, ...plan }: ColumnsPlan,
  outputs: DeviceOutputs,
  input: DecodeBatch,
): DecodeLaunches {
  return parts(
    {
      ...plan,
      kind: "parts",
      boxes: { output: boxes, width: 4, first: 0 },
      scores: { output: scores, width: 1, first: 0 },
      classes: { output: classes, width: 1, first: 0 },
    },
    outputs,
    input,
  );
}

function parts(plan: PartsPlan, outputs: DeviceOutputs, input: DecodeBatch): DecodeLaunches {
  const { batch, inputWidth, inputHeight } = input;
  const refusal = hostReason(plan);
  if (refusal !== undefined) throw noDevicePart(`a plan of ${refusal.what}`, DECODE);
  const partOf = ({ output, width }: RowColumns, dtypes: readonly DType[], rows: number): TypedDeviceMemory => {
    const lead = plan.isSingle ? [rows] : [batch, rows];
    const isFlat = width === 1 && outputs.get(output)?.shape.length === lead.length;
    return deviceOutput(outputs, output, dtypes, isFlat ? lead : [...lead, width]);
  };
  const boxes = partOf(plan.boxes, FLOATS, -1);
  const count = boxes.shape[plan.isSingle ? 0 : 1]!;
  const scores = partOf(plan.scores, FLOATS, count);
  const [class_tensor, class_dtype] = given(plan.classes && partOf(plan.classes, HOST_NUMBERS, count));
  const shape = plan.counts !== undefined && outputs.get(plan.counts)?.shape.length === 1 ? [batch] : [batch, 1];
  const [counts, counts_dtype] = given(
    plan.counts === undefined ? undefined : deviceOutput(outputs, plan.counts, NUMBERS, shape),
  );
  const values = {
    box_tensor: boxes.pointer,
    score_tensor: scores.pointer,
    class_tensor,
    counts,
    rows: count,
    box_dtype: dtypeCode(boxes),
    score_dtype: dtypeCode(scores),
    class_dtype,
    counts_dtype,
    box_width: plan.boxes.width,
    box_first: plan.boxes.first,
    score_width: plan.scores.width,
    score_first: plan.scores.first,
    class_width: plan.classes?.width ?? 1,
    class_first: plan.classes?.first ?? 0,
    y_first: plan.axes === "yx" ? 1 : 0,
    box_form: boxBits(plan.boxForm ?? "corners", plan.boxUnit ?? "pixels"),
    width: inputWidth,
    height: inputHeight,
  };
  const config = single(count, THREAD_ROWS, batch);
  return plain([{ module: "decode_rows", kernel: "decode_columns", config, values }], count);
}

function queries(plan: QueriesPlan, outputs: DeviceOutputs, input: DecodeBatch): DecodeLaunches {
  const { batch, inputWidth, inputHeight } = input;
  const { classes, activation } = plan;
  const logits = deviceOutput(outputs, plan.logits, FLOATS, [batch, -1, classes]);
  const count = logits.shape[1]!;
  const boxes = deviceOutput(outputs, plan.boxes, FLOATS, [batch, count, 4]);
  const isSigmoid = activation === "sigmoid";
  const capacity = isSigmoid ? count * classes : count;
  const values = {
    logits: logits.pointer,
    box_tensor: boxes.pointer,
    queries: count,
    classes,
    logits_dtype: dtypeCode(logits),
    box_dtype: dtypeCode(boxes),
    width: inputWidth,
    height: inputHeight,
  };
  const config = single(capacity, isSigmoid ? THREAD_ROWS : SOFTMAX_ROWS, batch);
  const kernel = `decode_queries_${activation}`;
  const launches = plain([{ module: "decode_queries", kernel, config, values }], capacity);
  return { ...launches, unlike: UNLIKE.onlyProbabilities };
}

/** The grid of one stride, and the number of its first cell. */
interface Grid {
  readonly stride: number;
  readonly columns: number;
  readonly rows: number;
  readonly first: number;
}

/** The grids of some strides, and how many cells they have. */
function grids(strides: readonly number[], { inputWidth, inputHeight }: DecodeBatch): [grids: Grid[], cells: number] {
  let first = 0;
  const found = strides.map((stride): Grid => {
    const level = { stride, columns: Math.ceil(inputWidth / stride), rows: Math.ceil(inputHeight / stride), first };
    first += level.columns * level.rows;
    return level;
  });
  return [found, first];
}

function grid(
  { classes, strides, output: name }: GridPlan,
  outputs: DeviceOutputs,
  input: DecodeBatch,
): DecodeLaunches {
  const { batch } = input;
  const [levels, cells] = grids(strides, input);
  const output = deviceOutput(outputs, name, FLOATS, [batch, cells, 5 + classes]);
  const launches = levels.map(
    (level): LaunchSpec => ({
      module: "decode_grid",
      kernel: `decode_grid_${output.dtype}`,
      config: shared(level.columns * level.rows, WARP_ROWS, batch),
      values: { output: output.pointer, cells, classes, ...level },
    }),
  );
  return plain(launches, cells);
}

function distanceBins(plan: DistanceBinsPlan, outputs: DeviceOutputs, input: DecodeBatch): DecodeLaunches {
  const { batch } = input;
  const { classes, bins, levels } = plan;
  const strides = levels.map(({ stride }) => stride);
  const [found, capacity] = grids(strides, input);
  const launches = found.map(({ stride, columns: across, rows: down, first }, at): LaunchSpec => {
    const cells = across * down;
    const scores = deviceOutput(outputs, levels[at]!.classMap, FLOATS, [batch, cells, classes]);
    const distances = deviceOutput(outputs, levels[at]!.distanceMap, FLOATS, [batch, cells, 4 * bins]);
    return {
      module: "decode_distance_bins",
      kernel: "decode_distance_bins",
      config: shared(cells, WARP_ROWS, batch),
      values: {
        class_map: scores.pointer,
        distance_map: distances.pointer,
        first,
        cells,
        columns: across,
        classes,
        bins,
        class_dtype: dtypeCode(scores),
        distance_dtype: dtypeCode(distances),
        stride,
      },
    };
  });
  return plain(launches, capacity);
}

function fastestDet(plan: FastestDetPlan, outputs: DeviceOutputs, input: DecodeBatch): DecodeLaunches {
  const { batch, inputWidth: width, inputHeight: height } = input;
  const { classes } = plan;
  const output = deviceOutput(outputs, plan.output, FLOATS, [batch, 5 + classes, -1, -1]);
  const [, , down = 0, across = 0] = output.shape;
  const size = { rows: down, columns: across, width, height };
  const values = { output: output.pointer, classes, dtype: dtypeCode(output), ...size };
  const config = shared(down * across, PLANE_ROWS, batch);
  return plain([{ module: "decode_fastestdet", kernel: "decode_fastestdet", config, values }], down * across);
}

/** The launches that append the candidates of a batch. @throws {ShapeError} If an output is not what the plan says */
export function decodeLaunches(plan: DecodePlan, outputs: DeviceOutputs, input: DecodeBatch): DecodeLaunches {
  switch (plan.kind) {
    case "dense":
      return dense(plan, outputs, input);
    case "rows":
      return rows(plan, outputs, input);
    case "columns":
      return columns(plan, outputs, input);
    case "queries":
      return queries(plan, outputs, input);
    case "grid":
      return grid(plan, outputs, input);
    case "distance-bins":
      return distanceBins(plan, outputs, input);
    case "fastestdet":
      return fastestDet(plan, outputs, input);
    case "anchor-maps":
    case "distance-maps":
    case "offset-maps":
      return mapLaunches(plan, outputs, input);
    case "parts":
      return parts(plan, outputs, input);
    case "planes":
    case "faces":
    case "priors":
    case "mask-queries":
    case "chosen":
    case "anchor-offsets":
    case "own":
      throw noDevicePart(`a plan of the kind "${plan.kind}"`, DECODE);
  }
}
