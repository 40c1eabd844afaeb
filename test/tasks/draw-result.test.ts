import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { Model } from "../../src/api/model.ts";
import { ArgumentError, ImageError, OptionError } from "../../src/core/errors.ts";
import { type Image, imageOf } from "../../src/image/image.ts";
import { decodeImage, encodeImage } from "../../src/image/image-file.ts";
import { packedImage, tightRgb } from "../../src/image/nv12.ts";
import { CLASSIFY_FORMS } from "../../src/tasks/classify/classify-task.ts";
import { DEPTH_FORMS } from "../../src/tasks/depth/depth-task.ts";
import type { DrawOptions } from "../../src/tasks/draw-options.ts";
import { formsFor } from "../../src/tasks/objects/object-forms.ts";
import { COCO_KEYPOINTS, type ObjectResult } from "../../src/tasks/objects/objects.ts";
import { Mask } from "../../src/tasks/segment/mask.ts";
import { SEMANTIC_FORMS } from "../../src/tasks/semantic/semantic-task.ts";
import { type Drawable, drawable, type ResultForms, type TaskResult } from "../../src/tasks/task-result.ts";
import { fixedModel, rawGrid } from "../support/fixed-model.ts";
import { nv12Pair } from "../support/nv12-images.ts";
import { toyClassifier } from "../support/toy-classifier.ts";
import { toyMap } from "../support/toy-map.ts";

const [WIDTH, HEIGHT] = [203, 171];

const FACTS = {
  ...{ width: WIDTH, height: HEIGHT, dropped: 0, implausible: 0 },
  timing: { decode: 0, preprocess: 0, infer: 0, postprocess: 0, total: 0 },
};
const FOUND = { label: "dog", classId: 1, score: 0.7, box: [61, 41, 181, 139] } as const;

/** An ellipse in the box. */
const MASK = Mask.fromBitmap(
  Array.from({ length: WIDTH * HEIGHT }, (_, at) => {
    const [x, y] = [at % WIDTH, Math.floor(at / WIDTH)];
    return Number(((x + 0.5 - 121) / 60) ** 2 + ((y + 0.5 - 90) / 49) ** 2 <= 1);
  }),
  WIDTH,
  HEIGHT,
);

const RESULTS: { readonly [Task in ObjectResult["task"]]: ObjectResult & { readonly task: Task } } = {
  segment: { task: "segment", ...FACTS, objects: [{ ...FOUND, mask: MASK }] },
  obb: {
    task: "obb",
    ...FACTS,
    objects: [
      {
        ...FOUND,
        angle: 0.5,
        xywhr: [121, 90, 100, 40, 0.5],
        corners: [
          [155, 131],
          [174, 96],
          [87, 49],
          [68, 84],
        ],
      },
    ],
  },
  pose: {
    task: "pose",
    ...FACTS,
    objects: [
      {
        ...FOUND,
        keypoints: COCO_KEYPOINTS.map((name, at) => ({ x: 70 + at * 6, y: 50 + ((at * 37) % 80), score: 1, name })),
      },
    ],
  },
};

function differences(a: Uint8Array, b: Uint8Array, most: number): number {
  let count = 0;
  for (let at = 0; at < a.length; at += 3) {
    if ([0, 1, 2].some((channel) => Math.abs(a[at + channel]! - b[at + channel]!) > most)) count += 1;
  }
  return count;
}

function grey(format: "RGB" | "BGR" | "RGBA" | "NV12" = "RGB"): Image {
  const pixelBytes = { RGB: 3, BGR: 3, RGBA: 4, NV12: 1 }[format];
  const pitchBytes = WIDTH * pixelBytes + 5;
  const rows = format === "NV12" ? HEIGHT + Math.ceil(HEIGHT / 2) : HEIGHT;
  const data = new Uint8Array(pitchBytes * rows + 8).fill(128);
  return imageOf(data, { width: WIDTH, height: HEIGHT, format, pitchBytes });
}

for (const [task, result] of Object.entries(RESULTS)) {
  test(`paint() draws a result of the task ${task} in place, on frames of every format`, async () => {
    const forms = formsFor(result.task);
    const reference = await forms.draw(grey(), result);
    expect(differences(reference.data, tightRgb(grey()), 0)).toBeGreaterThan(500);
    for (const format of ["RGB", "BGR", "RGBA"] as const) {
      const image = grey(format);
      drawable<TaskResult>(result, forms, image).paint(image);
      expect([format, differences(tightRgb(image), reference.data, 0)]).toEqual([format, 0]);
    }
    for (const form of [{}, { gap: 5, chromaGap: 3, between: 7, yuvStandard: "BT.709", yuvRange: "full" }] as const) {
      const { nv12 } = nv12Pair(WIDTH, HEIGHT, form);
      nv12.data.fill(128);
      const packed = { ...packedImage(nv12), data: tightRgb(nv12) };
      for (const image of [packed, nv12]) forms.paint(image, result);
      // Colours reach a pixel further than their light.
      expect(differences(tightRgb(nv12), packed.data, 24) / (WIDTH * HEIGHT)).toBeLessThan(0.08);
      const inside = new Set<number>();
      for (let y = 0; y < HEIGHT; y++) for (let x = 0; x < WIDTH; x++) inside.add(y * nv12.pitchBytes + x);
      const { chromaOffset = 0, chromaPitchBytes = 0 } = nv12;
      for (let y = 0; y < HEIGHT; y += 2)
        for (let x = 0; x <= WIDTH; x++) inside.add(chromaOffset + (y / 2) * chromaPitchBytes + x);
      expect(nv12.data.every((byte, at) => byte === 128 || inside.has(at))).toBe(true);
    }
  });
}

test("a mask is laid on NV12 with all of its colour where it covers all", async () => {
  const forms = formsFor("segment");
  const options: DrawOptions = {
    boxes: false,
    labels: false,
    scores: false,
    opacity: 1,
    palette: ["#102030", "#e04080"],
  };
  const nv12 = grey("NV12");
  forms.paint(nv12, RESULTS.segment, options);
  const rgb = tightRgb(nv12);
  const at = (90 * WIDTH + 121) * 3;
  for (const [channel, level] of [0xe0, 0x40, 0x80].entries()) {
    expect(Math.abs(rgb[at + channel]! - level)).toBeLessThanOrEqual(3);
  }
});

test("draw() draws what its options ask for", async () => {
  const count = async (task: ObjectResult["task"], options: DrawOptions): Promise<number> =>
    differences((await formsFor(task).draw(grey(), RESULTS[task], options)).data, tightRgb(grey()), 0);
  const bare = { boxes: false, labels: false, scores: false, masks: false, skeleton: false };
  for (const task of ["segment", "obb", "pose"] as const) expect(await count(task, bare)).toBe(0);
  expect(await count("segment", { ...bare, masks: true })).toBe(MASK.area);
  expect(await count("segment", { ...bare, masks: true, opacity: 0 })).toBe(0);
  // A frame of 120x98 pixels, 3 wide.
  expect(await count("segment", { ...bare, boxes: true, lineWidth: 3 })).toBe(120 * 98 - 114 * 92);
  for (const part of [{ labels: true }, { scores: true }])
    expect(await count("segment", { ...bare, ...part })).toBeGreaterThan(100);
  expect(await count("obb", { ...bare, boxes: true })).toBeGreaterThan(200);
  expect(await count("pose", { ...bare, skeleton: true })).toBeGreaterThan(200);
  const label = { ...bare, labels: true };
  expect(await count("segment", { ...label, fontSize: 40 })).toBeGreaterThan(2 * (await count("segment", label)));
  const framed = await formsFor("segment").draw(grey(), RESULTS.segment, {
    ...bare,
    boxes: true,
    palette: ["#000000", "#FF8001"],
  });
  expect([...framed.data.subarray((41 * WIDTH + 61) * 3).subarray(0, 3)]).toEqual([0xff, 0x80, 0x01]);
  for (const [options, text] of [
    [{ opacity: 2 }, 'Option "opacity" must be a number from 0 to 1, got 2'],
    [{ palette: ["red"] }, 'Option "palette.0" must be a colour such as "#ff8800", got "red"'],
    [{ palette: [] }, 'Option "palette" must be a list of at least one colour, got an empty list'],
    [{ lineWidth: 1.5 }, 'Option "lineWidth" must be a whole number from 1 to 1000, got 1.5'],
    [{ lable: true }, 'Unknown option "lable". Did you mean "labels"?'],
  ] as const) {
    expect(() => formsFor("segment").paint(grey(), RESULTS.segment, options as DrawOptions)).toThrow(
      new OptionError(text, ""),
    );
  }
});

test("the classes of an image are drawn one below the other, the best on top", async () => {
  const classes = ["cat", "dog", "cow"].map((label, classId) => ({ label, classId, score: 0.9 - classId / 4 }));
  const result = { task: "classify", ...FACTS, classes } as const;
  const palette = ["#ff0000", "#00ff00", "#0000ff"];
  const { data } = await CLASSIFY_FORMS.draw(grey(), result, { palette });
  const first = [0, 1, 2].map((channel) => {
    for (let y = 0; y < HEIGHT; y++) if (data[y * WIDTH * 3 + channel] === 255) return y;
    return -1;
  });
  expect(first[0]).toBe(0);
  expect(first[1]).toBeGreaterThan(8);
  expect(first[2]).toBe(2 * first[1]!);
});

test("results of every façade draw themselves on what they were asked for with, and write that", async () => {
  const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-draw-"));
  try {
    const source = join(folder, "source.png");
    await sharp({ create: { width: 64, height: 32, channels: 3, background: "gray" } })
      .png()
      .toFile(source);
    const names = "{0: 'person'}";
    const points = [10, 14, 0.9, 14, 18, 0.8];
    const prototypes = { name: "output1", shape: [1, 32, 8, 8], values: new Array(32 * 64).fill(1) };
    const models: readonly (readonly [string, Uint8Array, ResultForms])[] = [
      [
        "detect",
        fixedModel([rawGrid(5, [[1, [12, 16, 16, 12, 0.75]]])], { metadata: { task: "detect", names } }),
        formsFor("detect"),
      ],
      [
        "pose",
        fixedModel([rawGrid(11, [[1, [12, 16, 16, 12, 0.75, ...points]]])], {
          metadata: { task: "pose", names, kpt_shape: "[2, 3]" },
        }),
        formsFor("pose"),
      ],
      [
        "obb",
        fixedModel([rawGrid(6, [[1, [16, 16, 12, 4, 0.75, 1]]])], { metadata: { task: "obb", names } }),
        formsFor("obb"),
      ],
      [
        "segment",
        fixedModel([rawGrid(37, [[1, [12, 16, 16, 12, 0.75, ...new Array(32).fill(1)]]]), prototypes], {
          metadata: { task: "segment", names },
        }),
        formsFor("segment"),
      ],
      [
        "classify",
        toyClassifier({
          scores: "means",
          hasSoftmax: true,
          metadata: { task: "classify", names: "{0: 'a', 1: 'b', 2: 'c'}" },
        }),
        CLASSIFY_FORMS,
      ],
      [
        "semantic",
        toyMap({ classes: 3, size: [64, 32], metadata: { task: "semantic", names: "['a', 'b', 'c']" } }),
        SEMANTIC_FORMS,
      ],
      ["depth", toyMap({ form: "depth-channel", size: [64, 32], metadata: { task: "depth" } }), DEPTH_FORMS],
    ];
    const image = await decodeImage(source);
    for (const [task, bytes, forms] of models) {
      await using model = await Model.load(bytes, { backend: "cpu" });
      expect<string>(model.task).toBe(task);
      if (model.task === "image") throw new Error("it makes images");
      const run = async (from: string | Image | Uint8Array): Promise<TaskResult & Drawable> =>
        model.task === "classify"
          ? model.classify(from)
          : model.task === "semantic"
            ? model.segment(from)
            : model.task === "depth"
              ? model.estimate(from)
              : model.detect(from);
      const result = await run(source);
      expect(forms.count(result)).toBeGreaterThan(0);
      const wanted = await forms.draw(image, result, { scores: false });
      expect(differences(wanted.data, image.data, 0)).toBeGreaterThan(20);
      expect((await result.draw({ scores: false })).data).toEqual(wanted.data);
      for (const other of [image, await encodeImage(image, { format: "png" })]) {
        expect((await (await run(other)).draw({ scores: false })).data).toEqual(wanted.data);
      }
      await result.save(join(folder, "deep", `${task}.png`), { scores: false });
      expect((await decodeImage(join(folder, "deep", `${task}.png`))).data).toEqual(wanted.data);
      await result.save(join(folder, `${task}.JPG`), { quality: 50, image });
      expect(await decodeImage(join(folder, `${task}.JPG`))).toMatchObject({ width: 64, height: 32 });
      await expect(result.save("out.bmp")).rejects.toThrow(
        new ArgumentError('Cannot save "out.bmp": its name must end in .jpg, .jpeg, .png or .webp'),
      );
      const small = imageOf(new Uint8Array(32 * 16 * 3), { width: 32, height: 16 });
      const refused = new ArgumentError("Cannot draw the result on 32x16 pixels: it was found in an image of 64x32");
      expect(() => result.paint(small)).toThrow(refused);
      await expect(result.draw({ image: small })).rejects.toThrow(refused);
      // It is data as before: nothing of how it is drawn is copied, sent or written.
      expect(Object.keys(structuredClone(result))).toEqual(Object.keys(result));
      expect(JSON.parse(JSON.stringify(result))).toHaveProperty("timing");
    }
    const [, bytes] = models[3]!;
    await using segmenter = await Model.load(bytes, { backend: "cpu" });
    if (segmenter.task !== "segment") throw new Error("it finds no masks");
    const result = await segmenter.detect(source);
    const [{ mask }] = result.objects as [(typeof result.objects)[0]];
    const written = JSON.parse(JSON.stringify(result)).objects[0].mask;
    expect(written).toEqual({ size: [32, 64], counts: mask.toRle({ compressed: true }).counts });
    expect(Mask.fromRle(written).iou(mask)).toBe(1);
    rmSync(source);
    await expect(result.draw()).rejects.toThrow(ImageError);
    expect((await result.draw({ image })).width).toBe(64);
    for await (const streamed of segmenter.stream([image])) expect((await streamed.draw()).width).toBe(64);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
