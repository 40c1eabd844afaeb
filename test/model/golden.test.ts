import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { TensorInfo } from "../../src/core/tensor.ts";
import { HEADS, headNamed, recogniseModel } from "../../src/heads/registry.ts";
import { Candidates } from "../../src/model/rows.ts";
import { describedTensor, type TensorDescription } from "./described-tensor.ts";

interface GoldenCase {
  readonly name: string;
  readonly head: string;
  /** True if the caller must name the head. */
  readonly forced: boolean;
  readonly labels: readonly string[] | null;
  readonly inputs: readonly TensorInfo[];
  readonly outputs: readonly TensorDescription[];
  readonly index: number;
  readonly inputWidth: number;
  readonly inputHeight: number;
  readonly threshold: number;
  readonly expected: readonly (readonly number[])[];
}

const cases: readonly GoldenCase[] = readFileSync(join(import.meta.dir, "golden.jsonl"), "utf8")
  .trimEnd()
  .split("\n")
  .map((line) => JSON.parse(line) as GoldenCase);

test("every head has a golden case", () => {
  const covered = new Set(cases.map((one) => one.head));
  expect(HEADS.map((head) => head.name).filter((name) => !covered.has(name))).toEqual([]);
});

for (const one of cases) {
  test(`${one.name}: the second image of a batch is decoded as NumPy decodes it`, () => {
    // Reversed, as the order of tensors must mean nothing.
    const outputs = one.outputs.toReversed().map(({ name, dtype, shape }) => ({ name, dtype, shape }));
    const recognition = recogniseModel(
      { inputs: one.inputs.toReversed(), outputs, metadata: {} },
      { head: one.forced ? one.head : undefined, labels: one.labels ?? undefined },
    );
    expect(recognition.head).toBe(one.head);
    expect(structuredClone(recognition)).toEqual(recognition);

    const { index, inputWidth, inputHeight, threshold } = one;
    const tensors = new Map(one.outputs.map((output) => [output.name, describedTensor(output)]));
    const candidates = new Candidates(1);
    const input = { outputs: tensors, index, inputWidth, inputHeight, threshold };
    headNamed(recognition.head).decode(recognition.plan, input, candidates);
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
