import { expect, test } from "bun:test";
import { ShapeError } from "../../src/core/errors.ts";
import type { Tensor } from "../../src/core/tensor.ts";
import { gatherRows } from "../../src/heads/outputs.ts";
import { place } from "../../src/image/geometry.ts";
import { createDetectionBlock, type RowExtra } from "../../src/model/rows.ts";
import { decodeCases } from "../support/decode-cases.ts";
import { decodedOnCpu } from "../support/decoded.ts";

const IDENTITY = place(640, 640, 640, 640, "stretch");

/** The element that stands at a source and a channel, read one by one. */
function elementAt(
  { data, shape }: Tensor,
  { order, channels }: RowExtra,
  image: number,
  at: readonly number[],
): number {
  const [source = 0, channel = 0] = at;
  if (order === "flat") return Number(data[source * channels + channel]);
  const sources = shape[order === "channel-major" ? 2 : 1]!;
  const within = order === "channel-major" ? channel * sources + source : source * channels + channel;
  return Number(data[image * channels * sources + within]);
}

test("sources lead back to the anchor, query or row, and gatherRows() fetches what stands there", () => {
  let rows = 0;
  for (const example of decodeCases()) {
    if (example.extras === undefined) continue;
    const selection = { threshold: 0.01, iou: 0.7, maxDetections: 40, classAgnostic: false, classIds: undefined };
    for (let image = 0; image < example.batch; image++) {
      const block = decodedOnCpu(example, image, selection, IDENTITY);
      for (const [at, extra] of example.extras.entries()) {
        const tensor = example.outputs.get(extra.output)!;
        for (let row = 0; row < block.count; row++) {
          for (let element = 0; element < extra.length; element++) {
            const got = block.extras[at]![row * extra.length + element]!;
            const want = elementAt(tensor, extra, image, [block.sources[row]!, extra.first + element]);
            if (!Object.is(got, want)) throw new Error(`${example.name}, ${extra.name}: ${got} instead of ${want}`);
          }
          rows += 1;
        }
      }
    }
  }
  expect(rows).toBeGreaterThan(1000);
});

test("a score column that is gathered is the score of the row itself", () => {
  const example = decodeCases().find(({ name }) => name.startsWith("rows of all images f32"))!;
  const selection = { threshold: 0.1, iou: 0.7, maxDetections: 40, classAgnostic: false, classIds: undefined };
  const block = decodedOnCpu(example, 1, selection, IDENTITY);
  expect(block.count).toBeGreaterThan(3);
  for (let row = 0; row < block.count; row++) {
    expect([...block.extras[0]!.subarray(row * 3, row * 3 + 3)]).toEqual([block.scores[row]!, block.classIds[row]!, 1]);
  }
});

test("gatherRows() refuses an output that is missing or of another shape", () => {
  const extra: RowExtra = {
    name: "points",
    output: "output0",
    order: "channel-major",
    channels: 9,
    first: 5,
    length: 4,
  };
  const block = createDetectionBlock(3, [extra]);
  const outputs = new Map<string, Tensor>([
    ["output0", { dtype: "f32", shape: [1, 8, 2], data: new Float32Array(16) }],
  ]);
  const input = { outputs, index: 0, inputWidth: 640, inputHeight: 640, threshold: 0 };
  expect(() => gatherRows(extra, input, block, block.extras[0]!)).toThrow(ShapeError);
  expect(() => gatherRows({ ...extra, output: "other" }, input, block, block.extras[0]!)).toThrow("no such output");
});
