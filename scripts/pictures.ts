/**
 * @module Makes the pictures of README.md and docs/: `bun run pictures [NAME…]`, all of them without a name.
 *
 * Charts come from bench/results. Photographs are the catalogue's, or of COCO val2017 (`--coco FOLDER`, default the one beside
 * this checkout); drawn by the same calls that a reader makes. Three models are of the folder beside this checkout as well, and
 * screenshots need Chromium: a picture whose parts are not there is skipped by name, and is an error where it was asked for.
 */

import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import sharp from "sharp";
import { element, textElement } from "../bench/report/markup.ts";
import type { BenchResult, StudyResult, TableBlock } from "../bench/result.ts";
import { summarise } from "../bench/support/samples.ts";
import { findEntry } from "../src/catalogue/catalogue.ts";
import { pull } from "../src/catalogue/pull.ts";
import {
  Classifier,
  Detector,
  encodeImage,
  type Image,
  ImageModel,
  Model,
  OrientedDetector,
  PoseEstimator,
  Segmenter,
} from "../src/index.ts";
import { serve } from "../src/serve/index.ts";
import { BrowserPage, chromium } from "../test/support/browser.ts";
import { sharedPath } from "../test/support/shared.ts";

const root = join(import.meta.dir, "..");
const FOLDER = "docs/images";

/** A photograph, and what the pages that show it must say of it. */
export interface Photograph {
  /** An entry of the catalogue, or a file of COCO val2017. */
  readonly source: { readonly entry: string } | { readonly coco: string };
  readonly licence: string;
  /** Where it is from, as the pages link it. */
  readonly credit: string;
}

const CC_BY = "https://creativecommons.org/licenses/by/2.0/";

const BEACH: Photograph = {
  source: { coco: "000000214753.jpg" },
  licence: CC_BY,
  credit: "https://www.flickr.com/photo.gne?id=8392128987",
};
const BUSES: Photograph = {
  source: { coco: "000000423617.jpg" },
  licence: CC_BY,
  credit: "https://www.flickr.com/photo.gne?id=8195678412",
};
const CYCLIST: Photograph = {
  source: { coco: "000000261888.jpg" },
  licence: CC_BY,
  credit: "https://www.flickr.com/photo.gne?id=4918743472",
};
const BEDROOM: Photograph = {
  source: { coco: "000000403353.jpg" },
  licence: CC_BY,
  credit: "https://www.flickr.com/photo.gne?id=8245255095",
};
const PARTY: Photograph = { source: { entry: "sample2" }, licence: "MIT", credit: "@vladmandic/face-api" };

/** One picture: its file in docs/images, what it shows, and how it is made. */
export interface Picture {
  readonly file: string;
  readonly photograph?: Photograph;
  /** A file that it is made with beside that. */
  readonly model?: string;
  /** Whether it is a screenshot. */
  readonly isPage?: boolean;
  /** Its bytes. @param image the photograph's file */
  readonly make: (image: string) => Promise<Uint8Array | string>;
}

/** Where the riders are on the beach, in pixels of the photograph. */
const RIDERS: Part = { left: 165, top: 75, width: 440, height: 320 };

/** Four by three, as all pictures of the gallery are. */
const STREET: Part = { left: 80, top: 45, width: 560, height: 420 };
const RIDE: Part = { left: 256, top: 98, width: 384, height: 288 };

/** What the gallery shows: as few mistakes as a reader would allow. */
const GALLERY = { threshold: 0.4 } as const;

const OBB = sharedPath("models", "tasks", "yolo11n-obb-coco_640.onnx");
const CLASSES = sharedPath("models", "tasks", "efficientnet_lite0_imagenet.onnx");
const LOW_LIGHT = sharedPath("models", "i2i_tbefn_lowlight_480x640.onnx");

/** Every picture there is. */
export const PICTURES: readonly Picture[] = [
  { file: "peers-light.svg", make: async () => peersChart(await peersResult(), LIGHT) },
  { file: "peers-dark.svg", make: async () => peersChart(await peersResult(), DARK) },
  { file: "hero.jpg", photograph: BEACH, make: (image) => drawn(image, 600, () => Detector.load("yolo11n"), RIDERS) },
  { file: "demo.jpg", photograph: PARTY, make: demonstrated },
  {
    file: "task-detect.jpg",
    photograph: BUSES,
    make: (image) => drawn(image, 480, () => Detector.load("yolo11n", GALLERY), STREET),
  },
  {
    file: "task-segment.jpg",
    photograph: BUSES,
    make: (image) => drawn(image, 480, () => Segmenter.load("yolo11n-seg", GALLERY), STREET),
  },
  {
    file: "task-pose.jpg",
    photograph: CYCLIST,
    make: (image) => drawn(image, 480, () => PoseEstimator.load("yolo11n-pose"), RIDE),
  },
  {
    file: "task-obb.jpg",
    photograph: BUSES,
    model: OBB,
    make: (image) => drawn(image, 480, () => OrientedDetector.load(OBB, GALLERY), STREET),
  },
  { file: "task-classify.jpg", photograph: BUSES, model: CLASSES, make: classified },
  { file: "task-image.jpg", photograph: BEDROOM, model: LOW_LIGHT, make: enhanced },
  {
    file: "serve-light.webp",
    photograph: BUSES,
    isPage: true,
    make: (image) => pageOf(image, "yolo11n", STREET, "light"),
  },
  {
    file: "serve-dark.webp",
    photograph: BUSES,
    isPage: true,
    make: (image) => pageOf(image, "yolo11n", STREET, "dark"),
  },
  {
    file: "serve-masks.webp",
    photograph: BUSES,
    isPage: true,
    make: (image) => pageOf(image, "yolo11n-seg", STREET, "light"),
  },
  {
    file: "serve-skeletons.webp",
    photograph: BEACH,
    isPage: true,
    make: (image) => pageOf(image, "yolo11n-pose", RIDERS, "light"),
  },
];

/** The photograph's file on this machine. */
async function fileOf({ source }: Photograph, coco: string): Promise<string> {
  return "entry" in source ? await pull(findEntry(source.entry)!) : join(coco, source.coco);
}

/** A model that draws what it finds. */
interface Drawing extends AsyncDisposable {
  detect(image: Uint8Array): Promise<{ save(path: string): Promise<unknown>; draw(): Promise<Image> }>;
}

/** A photograph, or a part of it, of this width with what a model finds in it, as JPEG. */
async function drawn(image: string, width: number, load: () => Promise<Drawing>, part?: Part): Promise<Uint8Array> {
  await using model = await load();
  const result = await model.detect(await resized(image, width, part));
  return await jpeg(await result.draw());
}

/** What `demo` writes, made smaller: found in the photograph as it is, so that the scores are those that it prints. */
async function demonstrated(image: string): Promise<Uint8Array> {
  await using model = await Detector.load("yolo11n", { backend: "cpu" });
  const { data, width, height } = await (await model.detect(image)).draw();
  const whole = sharp(data, { raw: { width, height, channels: 3 } });
  return await whole.resize(640).jpeg({ quality: 86, mozjpeg: true }).toBuffer();
}

async function classified(image: string): Promise<Uint8Array> {
  await using model = await Classifier.load(CLASSES, {
    labels: await Bun.file(sharedPath("models", "tasks", "imagenet_classes.json")).json(),
  });
  const result = await model.classify(await resized(image, 480, STREET), { top: 3 });
  return await jpeg(await result.draw());
}

/** The left half as it is, the right half as a model of dark photographs makes it. */
async function enhanced(image: string): Promise<Uint8Array> {
  await using model = await ImageModel.load(LOW_LIGHT);
  const before = await resized(image, 480);
  const after = (await model.transform(before)).image;
  const half = { left: after.width / 2, top: 0, width: after.width / 2, height: after.height };
  const right = await sharp(await encodeImage(after, { format: "png" }))
    .extract(half)
    .png()
    .toBuffer();
  const both = sharp(before).composite([{ input: right, left: half.left, top: 0 }]);
  return await both.jpeg({ quality: 86, mozjpeg: true }).toBuffer();
}

/** A part of a photograph, in its pixels. */
interface Part {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

/** A photograph of this width, without loss, so that the picture is compressed once. */
async function resized(image: string, width: number, part?: Part): Promise<Uint8Array> {
  const photograph = part === undefined ? sharp(image) : sharp(image).extract(part);
  return await photograph.resize(width).png().toBuffer();
}

async function jpeg({ data, width, height }: Image): Promise<Uint8Array> {
  return await sharp(data, { raw: { width, height, channels: 3 } })
    .jpeg({ quality: 86, mozjpeg: true })
    .toBuffer();
}

/** The page of `serve` with an image, by day or by night. */
async function pageOf(image: string, name: string, part: Part, scheme: "light" | "dark"): Promise<Uint8Array> {
  await using model = await Model.load(name);
  if (!("detect" in model)) throw new Error(`${name} is no model of objects`);
  await model.warmUp();
  await using server = await serve(model, { port: 0, name });
  await using page = await BrowserPage.open(1000, 760);
  await page.send("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: scheme }] });
  await page.goto(server.url.href);
  await page.until("document.querySelector('#model').textContent !== ''");
  const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-pictures-"));
  using owned = new DisposableStack();
  owned.defer(() => rmSync(folder, { recursive: true }));
  await Bun.write(join(folder, "street.png"), await resized(image, 2 * part.width, part));
  await page.chooseFiles("#file", [join(folder, "street.png")]);
  await page.until("document.querySelectorAll('#list li').length > 0");
  return await sharp(await page.screenshot())
    .webp({ quality: 84 })
    .toBuffer();
}

/** Colours of a chart. */
interface Theme {
  readonly ink: string;
  readonly soft: string;
  readonly grid: string;
  readonly ours: string;
  readonly others: string;
}

/** Of bench/report/style.ts, on the ground of the page that shows the chart. */
const LIGHT: Theme = { ink: "#1b1f24", soft: "#5b6570", grid: "#e4e7ea", ours: "#2f6fb3", others: "#b6bec6" };
const DARK: Theme = { ink: "#e6e9ec", soft: "#a3adb7", grid: "#2c3238", ours: "#6cb0f5", others: "#59636d" };

/** The run that the chart shows. */
export async function peersResult(): Promise<BenchResult> {
  return await Bun.file(join(root, "bench/results/h200/result.json")).json();
}

/** Those that run the same plan, and find as many boxes, by id of the measurement. */
const PEERS: readonly (readonly [id: string, name: string, note: string])[] = [
  ["ours-pinned", "bun-tensorrt", "frame in page-locked memory"],
  ["ours", "bun-tensorrt", "frame in ordinary memory"],
  ["trtutils-complete", "trtutils", "with NumPy decoding and NMS"],
  ["ultralytics", "Ultralytics", "predict()"],
];

const WIDTH = 760;
const LEFT = 232;
const RIGHT = 64;
const ROW = 42;
const TOP = 46;
const FONT = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, 'DejaVu Sans', sans-serif";

/** What trtexec says of the plan by itself, in milliseconds. */
function engineAlone({ blocks }: StudyResult): number {
  const table = blocks.find((block) => block.kind === "table" && block.title.startsWith("trtexec"));
  return Number((table as TableBlock).rows.find(([name]) => name === "CUDA graph")![1]);
}

/** Bars of the median time of a frame, with a line at what the engine alone takes. */
export function peersChart({ studies, environment }: BenchResult, theme: Theme): string {
  const peers = studies.find(({ name }) => name === "peers")!;
  const rows = PEERS.map(([id, name, note]) => {
    const { samples } = peers.measurements.find((one) => one.id === id)!;
    return { name, note, isOurs: id.startsWith("ours"), p50: summarise(samples).p50 };
  });
  const engine = engineAlone(peers);
  const most = Math.ceil(Math.max(...rows.map(({ p50 }) => p50)));
  const at = (ms: number): number => LEFT + ((WIDTH - LEFT - RIGHT) * ms) / most;
  const floor = TOP + rows.length * ROW;
  const text = (x: number, y: number, words: string, look: Record<string, string | number> = {}): string =>
    textElement("text", { x, y, fill: theme.ink, "font-size": 13, ...look }, words);
  const soft = { fill: theme.soft, "font-size": 12 };
  const title = `One decoded 1920x1080 frame to boxes: ${rows.map(({ name, note, p50 }) => `${name} (${note}) ${p50.toFixed(2)} ms`).join(", ")}`;
  const ticks = Array.from({ length: most + 1 }, (_, tick) =>
    [
      element("line", { x1: at(tick), x2: at(tick), y1: TOP - 6, y2: floor, stroke: theme.grid }),
      text(at(tick), floor + 18, tick === most ? `${tick} ms` : String(tick), { ...soft, "text-anchor": "middle" }),
    ].join(""),
  );
  const bars = rows.map(({ name, note, isOurs, p50 }, row) => {
    const y = TOP + row * ROW;
    const bar = {
      x: LEFT,
      y: y + 5,
      width: at(p50) - LEFT,
      height: 24,
      rx: 3,
      fill: isOurs ? theme.ours : theme.others,
    };
    return [
      text(LEFT - 12, y + 16, name, { "text-anchor": "end", "font-weight": 600 }),
      text(LEFT - 12, y + 31, note, { ...soft, "text-anchor": "end", "font-size": 11.5 }),
      element("rect", bar),
      text(at(p50) + 8, y + 22, p50.toFixed(2), { "font-weight": isOurs ? 700 : 400 }),
    ].join("");
  });
  const content = [
    text(LEFT, 16, "A decoded 1080p frame to boxes, median", { "font-size": 14, "font-weight": 600 }),
    ...ticks,
    ...bars,
    element("line", {
      x1: at(engine),
      x2: at(engine),
      y1: TOP - 10,
      y2: floor,
      stroke: theme.ink,
      "stroke-width": 1.5,
      "stroke-dasharray": "4 3",
    }),
    text(at(engine) + 6, TOP - 4, `trtexec, the engine alone: ${engine.toFixed(2)}`, soft),
    text(LEFT, floor + 42, `yolov8n, FP16, one plan for all, in turns; ${environment.runtime}`, soft),
  ];
  const size = { width: WIDTH, height: floor + 54 };
  const attributes = {
    xmlns: "http://www.w3.org/2000/svg",
    viewBox: `0 0 ${size.width} ${size.height}`,
    ...size,
    role: "img",
    "font-family": FONT,
  };
  return `${element("svg", attributes, textElement("title", {}, title), ...content)}\n`;
}

/** What a picture lacks on this machine, `undefined` where it can be made. */
function absentPart({ model, isPage }: Picture, image: string): string | undefined {
  if (image !== "" && !existsSync(image)) return `${image} is not there; --coco names val2017`;
  if (model !== undefined && !existsSync(model)) return `${model} is not there; BUN_TENSORRT_SHARED names its folder`;
  return isPage === true && chromium === undefined ? "there is no Chromium" : undefined;
}

if (import.meta.main) {
  const { values, positionals } = parseArgs({ options: { coco: { type: "string" } }, allowPositionals: true });
  const coco = values.coco ?? sharedPath("images", "coco_val2017");
  const unknown = positionals.filter((name) => !PICTURES.some(({ file }) => file === name));
  if (unknown.length > 0) throw new Error(`No such picture: ${unknown.join(", ")}`);
  for (const picture of PICTURES) {
    const { file, photograph, make } = picture;
    if (positionals.length > 0 && !positionals.includes(file)) continue;
    const image = photograph === undefined ? "" : await fileOf(photograph, coco);
    const absent = absentPart(picture, image);
    if (absent !== undefined) {
      console.log(`${FOLDER}/${file}: skipped, ${absent}`);
      if (positionals.length > 0) process.exitCode = 1;
      continue;
    }
    const bytes = await Bun.write(join(root, FOLDER, file), await make(image));
    console.log(`${FOLDER}/${file}: ${bytes} bytes`);
  }
}
