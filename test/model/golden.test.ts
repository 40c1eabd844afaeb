import { expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Tensor, TensorInfo } from "../../src/core/tensor.ts";
import { decodeFacePoints } from "../../src/heads/face-grid.ts";
import type { Head, ModelSpec } from "../../src/heads/head.ts";
import type { PartsPlan } from "../../src/heads/host-plan.ts";
import { recogniseObjects } from "../../src/heads/object-reading.ts";
import { ownHeads } from "../../src/heads/own-head.ts";
import { recogniseModel } from "../../src/heads/recognition.ts";
import { decoderOf, HEADS, headInFractions, headNamed, OBJECT_HEADS } from "../../src/heads/registry.ts";
import { decodePartPoints } from "../../src/heads/rows.ts";
import type { ObjectTaskName } from "../../src/heads/traits.ts";
import { Candidates, createDetectionBlock } from "../../src/model/rows.ts";
import { fileFolder } from "../support/folder.ts";
import { passed } from "../support/moved-head.ts";
import { describedTensor, type TensorDescription } from "./described-tensor.ts";

interface GoldenCase {
  readonly name: string;
  readonly head: string;
  /** True if the caller must name the head. */
  readonly forced: boolean;
  readonly labels: readonly string[] | null;
  readonly anchors?: string;
  readonly inputs: readonly TensorInfo[];
  readonly outputs: readonly TensorDescription[];
  readonly index: number;
  readonly inputWidth: number;
  readonly inputHeight: number;
  readonly threshold: number;
  readonly expected: readonly (readonly number[])[];
  /** Of heads that say more of an object than its box. */
  readonly task?: ObjectTaskName;
  /** x and y of the points of each object. */
  readonly points?: readonly (readonly number[])[];
}

const every: readonly GoldenCase[] = readFileSync(join(import.meta.dir, "golden.jsonl"), "utf8")
  .trimEnd()
  .split("\n")
  .map((line) => JSON.parse(line) as GoldenCase);
const cases = every.filter(({ task }) => task === undefined);

/** Those of objects are tested below, and in test/objects with what else they say. */
const PLAIN_HEADS = HEADS.filter(
  ({ name, task }) => task === undefined && headInFractions(name.replace(/-fractions$/, "")) !== name,
);

test("every head has a golden case", () => {
  const covered = new Set(cases.map((one) => one.head));
  expect(PLAIN_HEADS.map((head) => head.name).filter((name) => !covered.has(name))).toEqual([]);
});

/** Heads of objects whose models other tests write out by hand: their boxes lie in masks, or beside numbers that are no tensor of a grid. */
const BY_HAND: readonly string[] = [
  ...["yolo-nas-pose-flat", "yolo-nas-pose", "movenet", "keypoint-rcnn", "mmrotate"],
  ...["yolact", "tf-detection-masks", "mask2former"],
];

test("every head of objects has a golden case, or a test of its own", () => {
  const covered = new Set(every.map(({ head, task }) => `${head} ${task}`));
  const missing = OBJECT_HEADS.filter(({ name, task }) => !covered.has(`${name} ${task}`)).map(({ name }) => name);
  expect(missing.sort()).toEqual([...BY_HAND].sort());
  const tests = [...new Bun.Glob("../{objects,detector}/*.test.ts").scanSync({ cwd: import.meta.dir })];
  const texts = tests.map((file) => readFileSync(join(import.meta.dir, file), "utf8")).join();
  expect(BY_HAND.filter((name) => !texts.includes(name))).toEqual([]);
});

for (const one of every) {
  const { task } = one;
  if (task === undefined) continue;
  test(`${one.name}: the ${one.index === 0 ? "only" : "second"} image of a batch is decoded as NumPy decodes it, box and points`, () => {
    const outputs = one.outputs.toReversed().map(({ name, dtype, shape }) => ({ name, dtype, shape }));
    const labels = one.labels ?? undefined;
    const options = { labels, isSilent: true, head: one.forced ? one.head : undefined };
    const spec = recogniseObjects({ inputs: one.inputs, outputs, metadata: {} }, task, options);
    expect(spec.head).toBe(one.head);
    const tensors = new Map(one.outputs.map((output) => [output.name, describedTensor(output)]));
    const { index, inputWidth, inputHeight, threshold, expected, points } = one;
    const input = { outputs: tensors, index, inputWidth, inputHeight, threshold };
    const candidates = new Candidates();
    decoderOf(spec)(spec.plan, input, candidates);
    expect(candidates.count).toBe(expected.length);
    for (const [row, [x1, y1, x2, y2, score, classId]] of expected.entries()) {
      for (const [axis, value] of [x1!, y1!, x2!, y2!].entries())
        expect(candidates.boxes[row * 4 + axis]).toBeCloseTo(value, 3);
      expect(candidates.scores[row]).toBeCloseTo(score!, 4);
      expect(candidates.classIds[row]).toBe(classId!);
    }
    if (points === undefined) return;
    const { count: each, numbers } = spec.keypoints!;
    const block = createDetectionBlock(expected.length, [{ length: each * numbers }]);
    block.count = expected.length;
    block.sources.set(candidates.sources.subarray(0, block.count));
    const gathered = block.extras[0]!;
    if (spec.plan.kind === "faces") decodeFacePoints(spec.plan, input, block, gathered);
    else decodePartPoints(spec.plan as PartsPlan, input, block, gathered);
    for (const [row, wanted] of points.entries()) {
      const found = Array.from({ length: each * 2 }, (_, at) => {
        return gathered[(row * each + Math.floor(at / 2)) * numbers + (at % 2)]!;
      });
      for (const [at, value] of wanted.entries()) expect(found[at]).toBeCloseTo(value, 3);
    }
  });
}

function decoded(
  recognition: ModelSpec,
  one: GoldenCase,
  tensors: ReadonlyMap<string, Tensor>,
  own?: readonly Head[],
): Candidates {
  const { index, inputWidth, inputHeight, threshold } = one;
  const candidates = new Candidates(1);
  const input = { outputs: tensors, index, inputWidth, inputHeight, threshold };
  headNamed(recognition.head, own).decode(recognition.plan, input, candidates);
  return candidates;
}

/** Where the boxes are: the tensor, the number of values from one of the four to the next, and the first of each box. */
function boxValues(
  { plan }: ModelSpec,
  tensors: ReadonlyMap<string, Tensor>,
): [Tensor, step: number, starts: number[]] {
  const every = (count: number, step: number, first = 0): number[] =>
    Array.from({ length: count }, (_, at) => first + at * step);
  if (plan.kind === "columns" || (plan.kind === "dense" && plan.boxes !== undefined)) {
    const tensor = tensors.get(plan.boxes!)!;
    return [tensor, 1, every(tensor.data.length / 4, 4)];
  }
  if (plan.kind !== "rows" && plan.kind !== "dense") throw new Error(`no box in pixels: ${plan.kind}`);
  const tensor = tensors.get(plan.output)!;
  if (plan.kind === "rows") return [tensor, 1, every(tensor.data.length / plan.columns, plan.columns, plan.boxColumn)];
  const { order, channels } = plan;
  if (order === "anchor-major") return [tensor, 1, every(tensor.data.length / channels, channels)];
  const anchors = tensor.shape[2]!;
  return [tensor, anchors, every(tensor.shape[0]!, channels * anchors).flatMap((first) => every(anchors, 1, first))];
}

for (const one of cases) {
  const name = headInFractions(one.head);
  if (name === undefined || one.name.includes("f16")) continue;
  test(`${one.name}: boxes in fractions of the input are those in pixels, by the head ${name}`, () => {
    const options = { labels: one.labels ?? undefined, isSilent: true };
    const described = { inputs: one.inputs, outputs: one.outputs, metadata: {} };
    const tensors = new Map(one.outputs.map((output) => [output.name, describedTensor(output)]));
    const inPixels = recogniseModel(described, { ...options, head: one.head });
    const wanted = decoded(inPixels, one, tensors);
    const [{ data }, step, starts] = boxValues(inPixels, tensors);
    for (const start of starts) {
      for (let side = 0; side < 4; side++) {
        data[start + side * step] =
          Number(data[start + side * step]) / (side % 2 === 0 ? one.inputWidth : one.inputHeight);
      }
    }
    const found = decoded(recogniseModel(described, { ...options, head: name }), one, tensors);
    expect(found.count).toBe(one.expected.length);
    for (let at = 0; at < found.count * 4; at++) expect(found.boxes[at]).toBeCloseTo(wanted.boxes[at]!, 3);
    expect(found.scores.subarray(0, found.count)).toEqual(wanted.scores.subarray(0, found.count));
    expect(found.classIds.subarray(0, found.count)).toEqual(wanted.classIds.subarray(0, found.count));
  });
}

for (const one of cases) {
  test(`${one.name}: the ${one.index === 0 ? "only" : "second"} image of a batch is decoded as NumPy decodes it`, () => {
    // Reversed, as the order of tensors must mean nothing.
    const outputs = one.outputs.toReversed().map(({ name, dtype, shape }) => ({ name, dtype, shape }));
    const recognition = recogniseModel(
      { inputs: one.inputs.toReversed(), outputs, metadata: {} },
      { head: one.forced ? one.head : undefined, labels: one.labels ?? undefined, anchors: one.anchors },
    );
    expect(recognition.head).toBe(one.head);
    expect(structuredClone(recognition)).toEqual(recognition);

    const candidates = decoded(
      recognition,
      one,
      new Map(one.outputs.map((output) => [output.name, describedTensor(output)])),
    );
    expect(candidates.count).toBe(one.expected.length);
    expect(candidates.dropped).toBe(0);
    for (const [row, [x1, y1, x2, y2, score, classId]] of one.expected.entries()) {
      const box = [...candidates.boxes.subarray(row * 4, row * 4 + 4)];
      for (const [axis, value] of [x1!, y1!, x2!, y2!].entries()) expect(box[axis]).toBeCloseTo(value, 3);
      expect(candidates.scores[row]).toBeCloseTo(score!, 4);
      expect(candidates.classIds[row]).toBe(classId!);
    }
  });
}

/** Modules of heads as they are in a folder elsewhere: copies, whose imports lead back to what heads share. */
const inFolder = fileFolder("moved");
const folder = join(import.meta.dir, "../../src/heads");
const moved = new Map<string, Head>();
for (const file of new Bun.Glob("*.ts").scanSync(folder)) {
  const text = readFileSync(join(folder, file), "utf8");
  if (!/^(export )?const \w+: Head</m.test(text)) continue;
  const path = inFolder(file);
  writeFileSync(
    path,
    text.replaceAll(/from "(\.[^"]+)"/g, (_, from: string) => `from ${JSON.stringify(join(folder, from))}`),
  );
  // Some modules export their heads in one list.
  for (const head of Object.values((await import(path)) as Record<string, Partial<Head> | undefined>).flat()) {
    if (head?.name !== undefined && head.decode !== undefined && head.recognise !== undefined)
      moved.set(head.name, head as Head);
  }
}

for (const one of cases.filter(({ head }) => moved.has(head))) {
  test(`${one.name}: moved out of the tree and passed by defineHead(), the head gives the same`, () => {
    const head = moved.get(one.head)!;
    expect(HEADS).not.toContain(head);
    const labels = one.labels ?? undefined;
    const described = { inputs: one.inputs, outputs: one.outputs, metadata: {} };
    const tensors = new Map(one.outputs.map((output) => [output.name, describedTensor(output)]));
    const builtIn = recogniseModel(described, {
      labels,
      anchors: one.anchors,
      head: one.forced ? one.head : undefined,
    });
    const heads = ownHeads([passed(head, { labels, anchors: one.anchors })]);
    const own = recogniseModel(described, {
      labels,
      anchors: one.anchors,
      heads,
      head: one.forced ? "moved-out" : undefined,
    });
    expect(own).toMatchObject({ head: "moved-out", plan: { kind: "own", plan: builtIn.plan } });
    for (const key of ["preprocessing", "needsNms", "sizeInputs", "stride", "fixedSize", "imageInput"] as const) {
      expect(own[key]).toEqual(builtIn[key]);
    }
    const wanted = decoded(builtIn, one, tensors);
    const found = decoded(own, one, tensors, heads);
    expect(found.count).toBe(one.expected.length);
    for (const key of ["boxes", "scores", "classIds"] as const) {
      const length = found.count * (key === "boxes" ? 4 : 1);
      expect(found[key].subarray(0, length)).toEqual(wanted[key].subarray(0, length) as never);
    }
  });
}

test("most heads were moved out", () => {
  const plain = PLAIN_HEADS.map(({ name }) => name).filter((name) => !name.endsWith("-fractions"));
  expect(plain.filter((name) => !moved.has(name))).toEqual([]);
});
