import { expect, test } from "bun:test";
import { ModelError } from "../../src/core/errors.ts";
import { place, type Region } from "../../src/image/geometry.ts";
import { Candidates, createDetectionBlock, type DetectionBlock } from "../../src/model/rows.ts";
import { boxesToSource } from "../../src/tasks/detect/host-detect.ts";
import { Selector } from "../../src/tasks/detect/nms.ts";
import { PixelCheck } from "../../src/tasks/detect/plausibility.ts";

type Box = readonly [x1: number, y1: number, x2: number, y2: number];

const FRACTIONS: readonly Box[] = [
  [0.1, 0.2, 0.5, 0.9],
  [-0.05, 0.6, 0.4, 1.02],
  [0.5, 0.1, 1, 0.3],
];

/** Rows as a model gives them, mapped back to the image. */
function found(boxes: readonly Box[], placement: Region): DetectionBlock {
  const block = createDetectionBlock(boxes.length);
  block.boxes.set(boxes.flat());
  block.scores.fill(0.5);
  block.count = boxes.length;
  boxesToSource(block.boxes, block.count, placement);
  return block;
}

function check(block: DetectionBlock, placement: Region, head = "yolo", pixels = new PixelCheck()): void {
  pixels.check(block, placement, { head, alternatives: [] });
}

const PLACEMENTS = [
  [61, 43, 96, 64, "letterbox"],
  [43, 61, 640, 640, "letterbox"],
  [1920, 1080, 640, 640, "letterbox"],
  [10_000, 3, 640, 384, "letterbox"],
  [1, 1, 640, 640, "letterbox"],
  [333, 777, 416, 352, "stretch"],
  [9, 5, 416, 416, "letterbox-top-left"],
] as const;

test.each(PLACEMENTS)(
  "PixelCheck refuses fractions of an image of %d x %d in %d x %d, %s",
  (sourceWidth, sourceHeight, width, height, fit) => {
    const placement = place(sourceWidth, sourceHeight, width, height, fit);
    expect(() => check(found(FRACTIONS, placement), placement)).toThrow(ModelError);
    // However few there are.
    for (const count of [1, 2]) {
      expect(() => check(found(FRACTIONS.slice(0, count), placement), placement)).toThrow(ModelError);
    }
    // The same boxes in pixels; one among fractions.
    const pixels = FRACTIONS.map(([x1, y1, x2, y2]): Box => [x1 * width, y1 * height, x2 * width, y2 * height]);
    check(found(pixels, placement), placement);
    check(found([...FRACTIONS, pixels[0]!], placement), placement);
    check(found([], placement), placement);
  },
);

test("PixelCheck takes no row of score 0 for a box: nms=True fills up with them", () => {
  const placement = place(61, 43, 96, 64, "letterbox");
  const block = found(Array<Box>(300).fill([0, 0, 0, 0]), placement);
  block.scores.fill(0);
  check(block, placement, "yolo-end-to-end");
  block.scores.fill(0.01, 0, 3);
  expect(() => check(block, placement, "yolo-end-to-end")).toThrow(ModelError);
});

test("PixelCheck lets one or two pass of which the model is not sure, or that come after boxes in pixels", () => {
  const placement = place(640, 480, 640, 640, "letterbox");
  const few = found(FRACTIONS.slice(0, 2), placement);
  few.scores.fill(0.1);
  check(few, placement);
  few.scores.fill(0.9);
  expect(() => check(few, placement)).toThrow(ModelError);
  const pixels = new PixelCheck();
  check(found([[10, 100, 200, 300]], placement), placement, "yolo", pixels);
  check(few, placement, "yolo", pixels);
  expect(() => check(found(FRACTIONS, placement), placement, "yolo", pixels)).toThrow(ModelError);
});

test("PixelCheck refuses an image in which nothing was found but boxes inside out, until some lay in pixels", () => {
  const placement = place(640, 640, 640, 640, "stretch");
  const read = (rows: readonly number[][], pixels = new PixelCheck(), classIds?: ReadonlySet<number>): void => {
    const candidates = new Candidates();
    for (const [x1, y1, x2, y2, score] of rows) candidates.push(x1!, y1!, x2!, y2!, score!, 0, 0);
    const block = createDetectionBlock(4);
    const selection = { threshold: 0.01, iou: 0.5, maxDetections: 4, classAgnostic: false, classIds };
    new Selector().select(candidates, selection, { needsNms: false, head: "yolo-end-to-end" }, block);
    const spec = { head: "yolo-end-to-end", alternatives: ["deepstream", "rtdetr-ultralytics-rows"] };
    pixels.check(block, placement, spec, selection);
  };
  const centred = [0.5, 0.5, 0.3, 0.2];
  expect(() => read([[...centred, 0.9]])).toThrow(
    "the right side of each box comes before its left one\nHint: the numbers of its boxes may be others, such as centre and size; " +
      'name the head by `head: "rtdetr-ultralytics-rows"`',
  );
  // What one is not sure of, what is empty, and what comes beside or after good boxes, is left out as ever.
  read([[...centred, 0.1]]);
  read([[0, 0, 0, 0, 0.9]]);
  read([]);
  // Others have no sides, or are of classes that were not asked for.
  read([
    [...centred, 0.9],
    [0, 0, Number.NaN, 4, 0.9],
  ]);
  read([[...centred, 0.9]], new PixelCheck(), new Set([1]));
  const pixels = new PixelCheck();
  read(
    [
      [...centred, 0.9],
      [10, 20, 300, 400, 0.8],
    ],
    pixels,
  );
  read([[...centred, 0.9]], pixels);
});

test("PixelCheck says how many there are, and what to do", () => {
  const placement = place(640, 640, 640, 640, "stretch");
  expect(() => check(found(FRACTIONS, placement), placement)).toThrow(
    'Cannot decode the model\'s output as head "yolo": all 3 boxes lie in the first pixel of the input\nHint: the model gives ' +
      'fractions of the input; name the head by `head: "yolo-fractions"` (`--head yolo-fractions`), or export it',
  );
  expect(() => check(found(FRACTIONS.slice(0, 1), placement), placement)).toThrow(
    "its only box lies in the first pixel",
  );
});

const QUERIES = { kind: "queries", logits: "logits", boxes: "boxes", classes: 80, activation: "sigmoid" } as const;
const OF_QUERIES = { head: "hugging-face", alternatives: ["damo-yolo"], plan: QUERIES } as const;

test.each(PLACEMENTS)(
  "PixelCheck refuses pixels under a head of fractions, of an image of %d x %d in %d x %d, %s",
  (sourceWidth, sourceHeight, width, height, fit) => {
    const placement = place(sourceWidth, sourceHeight, width, height, fit);
    const times = (boxes: readonly Box[], x: number, y: number): Box[] =>
      boxes.map(([x1, y1, x2, y2]): Box => [x1 * x, y1 * y, x2 * x, y2 * y]);
    const right = times(FRACTIONS, width, height);
    // A box of the whole input, and one that covers it.
    const whole: Box = [-0.1 * width, -0.1 * height, 1.1 * width, 1.1 * height];
    const pixels = times(
      [
        [0.2, 0.2, 0.6, 0.9],
        [0.3, 0.25, 0.4, 0.5],
      ],
      width * width,
      height * height,
    );
    const reach = (boxes: readonly Box[]): void => {
      const block = createDetectionBlock(boxes.length);
      block.boxes.set(boxes.flat());
      block.scores.fill(0.5);
      block.count = boxes.length;
      new PixelCheck().checkReach(block, width, height, OF_QUERIES);
    };
    for (const boxes of [right, [whole], [...pixels, right[0]!]]) {
      reach(boxes);
      new PixelCheck().check(found(boxes, placement), placement, OF_QUERIES);
    }
    const far = pixels.filter(([, , x2, y2]) => x2 > 4 * width || y2 > 4 * height);
    if (far.length === pixels.length) expect(() => reach(pixels)).toThrow("all 2 boxes reach far beyond the input");
    // What a GPU leaves of them is in the corner. A head of pixels has them there only if they are beside the image.
    const corner = found([[3 * width, 3 * height, 9 * width, 9 * height]], placement);
    expect(() => new PixelCheck().check(corner, placement, OF_QUERIES)).toThrow(
      "its only box reaches far beyond the input\nHint: the model gives pixels; export it with boxes as fractions",
    );
    check(corner, placement);
    // Of objects at the left and the upper side of the image too.
    const sides = found(
      [
        [-width, 3 * height, 9 * width, 9 * height],
        [3 * width, 0, 9 * width, 9 * height],
        [-width, -height, 9 * width, 9 * height],
      ],
      placement,
    );
    expect(() => new PixelCheck().check(sides, placement, OF_QUERIES)).toThrow("all 3 boxes reach far beyond");
    check(sides, placement);
    const named = { ...OF_QUERIES, head: "yolo-fractions" };
    expect(() => new PixelCheck().check(corner, placement, named)).toThrow('name the head by `head: "yolo"`');
  },
);

test("PixelCheck refuses scores that are all the sigmoid of a probability, if they are many", () => {
  const placement = place(640, 640, 640, 640, "stretch");
  const scored = (count: number, best: number): DetectionBlock => {
    const block = found(Array<Box>(count).fill([10, 20, 300, 400]), placement);
    block.scores.fill(0.501).fill(best, 0, 1);
    return block;
  };
  const refused = "its 100 best scores lie from 0.501 to 0.728";
  expect(() => new PixelCheck().check(scored(100, 0.728), placement, OF_QUERIES)).toThrow(refused);
  new PixelCheck().check(scored(99, 0.728), placement, OF_QUERIES);
  new PixelCheck().check(scored(100, 0.74), placement, OF_QUERIES);
  check(scored(100, 0.728), placement);
});
