/** @module Point models: toy models of people and faces, each with the outputs of a family at 32x32 pixels. */

import { type FixedOutput, fixedModel } from "../support/fixed-model.ts";

/** A tensor of zeros but for some rows of numbers. @param shape rows and numbers last */
function rows(
  name: string,
  shape: readonly number[],
  found: readonly (readonly [row: number, numbers: readonly number[]])[],
): FixedOutput {
  const width = shape.at(-1)!;
  const values = new Array<number>(shape.reduce((all, side) => all * side)).fill(0);
  for (const [row, numbers] of found) for (const [at, value] of numbers.entries()) values[row * width + at] = value;
  return { name, shape, values };
}

/** Five points, each a little further than the one before. */
function five(x: number, y: number, step: number): number[] {
  return [0, 1, 2, 3, 4].flatMap((at) => [x + at * step, y + at * step * 0.5]);
}

/** Faces beside the anchors of a grid: two that overlap by about half, one at a coarse stride, and one that is too faint. */
const STRIDES = [8, 16, 32] as const;

/** YuNet: two factors of a score, one above 1 and one below 0. */
export const YUNET: Uint8Array<ArrayBuffer> = fixedModel(
  STRIDES.flatMap((stride, level) => {
    const cells = (32 / stride) ** 2;
    const at = [5, 3, 0][level]!;
    const near = level === 0 ? ([[6, [0.8]]] as const) : [];
    return [
      rows(`cls_${stride}`, [1, cells, 1], [[at, [[0.9, 1.3, 0.9][level]!]], ...near]),
      rows(`obj_${stride}`, [1, cells, 1], [[at, [[0.8, 0.5, -0.2][level]!]], ...near]),
      rows(
        `bbox_${stride}`,
        [1, cells, 4],
        [[at, [0.5, 0.25, 0.6, 0.7]], ...(level === 0 ? ([[6, [0, 0.4, 0.6, 0.7]]] as const) : [])],
      ),
      rows(
        `kps_${stride}`,
        [1, cells, 10],
        [[at, five(-0.25, 0.1, 0.2)], ...(level === 0 ? ([[6, five(0, 0, 0.1)]] as const) : [])],
      ),
    ];
  }),
);

/** SCRFD: two anchors a cell; names as the exporter numbers them, and no axis of the batch. */
export const SCRFD: Uint8Array<ArrayBuffer> = fixedModel(
  STRIDES.flatMap((stride, level) => {
    const anchors = (32 / stride) ** 2 * 2;
    const at = [11, 6, 1][level]!;
    const near = level === 0;
    const number = (kind: number): string => `${[448, 471, 494][level]! + kind * 3}`;
    return [
      rows(number(0), [anchors, 1], [[at, [[0.9, 0.7, 0.1][level]!]], ...(near ? ([[13, [0.8]]] as const) : [])]),
      rows(
        number(1),
        [anchors, 4],
        [[at, [0.75, 0.5, 1.25, 0.9]], ...(near ? ([[13, [1.25, 0.5, 0.75, 0.9]]] as const) : [])],
      ),
      rows(number(2), [anchors, 10], [[at, five(-0.5, -0.25, 0.25)]]),
    ];
  }),
);

const PRIORS = 2 * (16 + 4 + 1);

/** RetinaFace, by the names of its own exporter. */
export const RETINAFACE: Uint8Array<ArrayBuffer> = fixedModel([
  rows(
    "output",
    [1, PRIORS, 4],
    [
      [10, [0.5, -0.25, -1, -0.5]],
      [12, [0.5, -0.25, -1, -0.5]],
      [34, [-1, -2, -5, -6]],
    ],
  ),
  rows(
    "outputt",
    [1, PRIORS, 2],
    [
      [10, [0.1, 0.9]],
      [12, [0.2, 0.8]],
      [34, [0.4, 0.6]],
      [40, [0.9, 0.1]],
    ],
  ),
  rows(
    "outputtt",
    [1, PRIORS, 10],
    [
      [10, five(-2, -1, 0.5)],
      [34, five(-1, -0.5, 0.25)],
    ],
  ),
]);

/** RetinaFace of number plates: a plate around an anchor of 24 pixels, by the names that its users give it. */
export const PLATES: Uint8Array<ArrayBuffer> = fixedModel([
  rows("loc", [1, PRIORS, 4], [[10, [0.5, -0.25, -1, -0.5]]]),
  rows("conf", [1, PRIORS, 2], [[10, [0.1, 0.9]]]),
  rows("landms", [1, PRIORS, 8], [[10, [1, 1, -1, 1, -1, -1, 1, -1]]]),
]);

/** CenterFace's maps of 64 pixels of width, four pixels a cell; one face at the edge. */
function centerFaceMaps(height: number): FixedOutput[] {
  return (
    [
      ["537", [[0.9], [0.8], [0.6]]],
      [
        "538",
        [
          [1.2, 1.0],
          [1.2, 1.0],
          [1.5, 1.4],
        ],
      ],
      [
        "539",
        [
          [0.1, -0.2],
          [0.1, -0.2],
          [0.3, 0.4],
        ],
      ],
      ["540", [five(0.3, 0.25, 0.1), five(0.3, 0.25, 0.1), five(0.4, 0.35, 0.05)]],
    ] as const
  ).map(([name, faces]): FixedOutput => {
    const cells = (height / 4) * 16;
    const channels = faces[0].length;
    const values = new Array<number>(channels * cells).fill(0);
    for (const [face, numbers] of faces.entries())
      for (const [at, value] of numbers.entries()) values[at * cells + [85, 86, 0][face]!] = value;
    return { name, shape: [1, channels, height / 4, 16], values };
  });
}

/** CenterFace at 64x64 pixels. */
export const CENTERFACE: Uint8Array<ArrayBuffer> = fixedModel(centerFaceMaps(64), { side: 64 });

/** Of any size, by its declaration; its maps are those of 64 pixels of width, and as many or 32 of height. */
export const OPEN_CENTERFACE: Readonly<Record<32 | 64, Uint8Array<ArrayBuffer>>> = {
  32: fixedModel(centerFaceMaps(32), { side: "side" }),
  64: fixedModel(centerFaceMaps(64), { side: "side" }),
};
