import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ModelError } from "../../src/core/errors.ts";
import type { TensorInfo } from "../../src/core/tensor.ts";
import type { RecogniseOptions } from "../../src/heads/head.ts";
import { recogniseModel } from "../../src/heads/recognition.ts";
import { HEADS } from "../../src/heads/registry.ts";
import type { ModelInfo } from "../../src/model/model-info.ts";

interface GoldenCase {
  readonly name: string;
  readonly inputs: readonly TensorInfo[];
  readonly outputs: readonly TensorInfo[];
  readonly anchors?: string;
}

const cases = readFileSync(join(import.meta.dir, "golden.jsonl"), "utf8")
  .trimEnd()
  .split("\n")
  .map((line) => JSON.parse(line) as GoldenCase);

/** With tensors under other names, and sides that are open, which tell less. */
function* less({ inputs, outputs }: GoldenCase): Generator<ModelInfo> {
  const plain = (infos: readonly TensorInfo[]): TensorInfo[] =>
    infos.map(({ name, dtype, shape }) => ({ name, dtype, shape }));
  const model = { inputs: plain(inputs), outputs: plain(outputs), metadata: {} };
  yield model;
  yield { ...model, outputs: model.outputs.map((info, at) => ({ ...info, name: `output_${at}` })) };
  for (let axis = 1; axis < 4; axis++) {
    const open = (shape: readonly number[]): number[] => shape.map((side, at) => (at === axis ? -1 : side));
    yield { ...model, outputs: model.outputs.map((info) => ({ ...info, shape: open(info.shape) })) };
  }
  // Of a class or two, whose numbers of channels are those of other heads.
  for (const classes of [1, 2, 79, 80, 81, 85, 91]) {
    for (const extra of [4, 5]) {
      const [first, ...others] = model.outputs;
      if (first?.shape.length !== 3 || others.length > 0) continue;
      for (const axis of [1, 2]) {
        const shape = first.shape.map((side, at) => (at === axis ? classes + extra : at === 0 ? side : 126));
        yield { ...model, outputs: [{ ...first, shape }] };
      }
    }
  }
}

function told(model: ModelInfo, options: RecogniseOptions): string | undefined {
  try {
    recogniseModel(model, { ...options, isSilent: true });
    return undefined;
  } catch (error) {
    expect(error).toBeInstanceOf(ModelError);
    return (error as ModelError).message;
  }
}

test("where tensors fit several heads the error has what each wants, and with one named the model is read by it", () => {
  const pairs = new Set<string>();
  for (const one of cases) {
    for (const model of less(one)) {
      const options: RecogniseOptions = { anchors: one.anchors };
      const text = told(model, options);
      if (text === undefined || !/its tensors fit \d+ heads, and nothing tells which/.test(text)) continue;
      const names = [...text.matchAll(/^ {2}([a-z0-9-]+): /gm)]
        .map((match) => match[1]!)
        .filter((name) => HEADS.some((head) => head.name === name));
      const hint = text.slice(text.lastIndexOf("\nHint: "));
      expect(names.length, text).toBeGreaterThan(1);
      for (const name of names) {
        expect(text).toContain(`  ${name}: ${HEADS.find((head) => head.name === name)!.summary}`);
        expect(hint).toMatch(new RegExp(`["\`: ]${name}["\`)]`));
        expect(recogniseModel(model, { ...options, head: name, isSilent: true }).head, one.name).toBe(name);
      }
      // No two say the same: what they want tells them apart.
      expect(new Set(names.map((name) => HEADS.find((head) => head.name === name)!.summary)).size).toBe(names.length);
      pairs.add(names.sort().join(" "));
    }
  }
  expect([...pairs]).toContain("yolo-transposed yolox");
  expect(pairs.size).toBeGreaterThan(4);
});
