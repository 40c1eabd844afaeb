import { beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import {
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import sharp, { type Sharp } from "sharp";
import { pulled } from "../support/catalogue.ts";
import { fileFolder } from "../support/folder.ts";
import { noiseImage } from "../support/image-models.ts";
import { sharedPath } from "../support/shared.ts";
import { hasSmallDisk, SMALL_DISK } from "../support/small-disk.ts";
import { TOY_BOXES, toyDetector } from "../support/toy-detector.ts";
import { toyTopDown } from "../support/toy-top-down.ts";
import { type CliResult, cliWords, runCli, spawnCli } from "./run-cli.ts";

setDefaultTimeout(120_000);

/** A photograph that only some machines have. */
const BUS = sharedPath("images/photos/bus.jpg");

const path = fileFolder("detect");

function white(width: number, height: number): Sharp {
  return sharp({ create: { width, height, channels: 3, background: "white" } });
}

beforeAll(async () => {
  for (const sub of ["good", "mixed", "empty", "many"]) mkdirSync(path(sub));
  writeFileSync(path("toy.onnx"), toyDetector());
  await white(64, 64).jpeg().toFile(path("good/img1.jpg"));
  await white(33, 129).png().toFile(path("good/img2.png"));
  await white(1, 1).webp().toFile(path("good/img3.webp"));
  for (const name of ["img1.jpg", "img2.png"]) symlinkSync(path("good", name), path("mixed", name));
  writeFileSync(path("mixed/broken.jpg"), "no image");
  writeFileSync(path("mixed/cut.jpg"), readFileSync(path("good/img1.jpg")).subarray(0, 100));
  for (let at = 0; at < 2000; at++) symlinkSync(path("good/img1.jpg"), path("many", `${1000 + at}.jpg`));
});

function toy(...words: readonly string[]): Promise<CliResult> {
  return runCli(["detect", "--model", path("toy.onnx"), "--backend", "cpu", "--quiet", ...words], { cwd: path() });
}

function jsonLines(text: string): { file: string; detections: { label: string; score: number; box: number[] }[] }[] {
  return text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
}

test("detect prints a table, without colours where no terminal is", async () => {
  const { code, output, errors } = await toy("good/img1.jpg");
  expect(errors).toBe("");
  expect(code).toBe(0);
  const lines = output.split("\n");
  expect(lines[0]).toMatch(/^good\/img1\.jpg {2}64x64, 3 objects, [\d.]+ ms$/);
  expect(lines[1]).toMatch(/^ {2}label +score +x1 +y1 +x2 +y2$/);
  expect(lines[2]).toMatch(/^ {2}cat +0\.\d{3} +8\.0 +8\.0 +40\.0 +40\.0$/);
});

test("an operand that is missing does not stop the others", async () => {
  const { code, output, errors } = await toy(
    "none.jpg",
    "good/img1.jpg",
    "empty",
    "--format",
    "jsonl",
    "--save",
    "some",
  );
  expect(code).toBe(1);
  expect(jsonLines(output).map(({ file }) => file)).toEqual(["good/img1.jpg"]);
  expect(readdirSync(path("some"))).toEqual(["img1.jpg"]);
  expect(errors).toContain('error: Cannot detect in "none.jpg": there is no such file or folder\nHint: ');
  expect(errors).toContain('error: Cannot detect in the folder "empty": it holds no image or video\n');
  expect(errors).toEndWith("\n2 inputs could not be opened\n");
});

test("detect --list takes one input a line, seen from here or from the list, and beside operands", async () => {
  mkdirSync(path("lists"), { recursive: true });
  const lines = ["# ours", "", "  good/img2.png\r", "img1.jpg", "none.jpg"].join("\n");
  writeFileSync(path("lists/a b.txt"), lines);
  symlinkSync(path("good/img1.jpg"), path("lists/img1.jpg"));
  const { code, output, errors } = await toy("good/img3.webp", "--list", "lists/a b.txt", "--format", "jsonl");
  expect(code).toBe(1);
  expect(jsonLines(output).map(({ file }) => file)).toEqual(["good/img3.webp", "good/img2.png", "lists/img1.jpg"]);
  expect(errors).toContain('Cannot detect in "none.jpg": there is no such file');
  writeFileSync(path("lists/none.txt"), "# none\n\n");
  for (const [list, found] of [
    ["lists/none.txt", '--list "lists/none.txt" holds no input'],
    ["lists/missing.txt", '--list "lists/missing.txt" cannot be read: ENOENT'],
    ["lists", '--list "lists" cannot be read: EISDIR'],
  ] as const) {
    const refused = await toy("--list", list);
    expect([refused.code, refused.errors]).toEqual([2, expect.stringContaining(found)]);
  }
});

test("detect --list - takes names from standard input", async () => {
  const words = cliWords(["detect", "-m", "toy.onnx", "--backend", "cpu", "--list", "-", "-f", "jsonl", "-q"]);
  const line = `find good -name '*.png' | ${words.join(" ")}`;
  const child = Bun.spawn(["sh", "-c", line], { cwd: path(), stdout: "pipe", stderr: "pipe" });
  const [output, errors, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  expect([code, errors]).toEqual([0, ""]);
  expect(jsonLines(output).map(({ file }) => file)).toEqual(["good/img2.png"]);
});

test("detect --format json is an array of images in the order of the names, boxes in source pixels", async () => {
  const { code, output } = await toy("good", "--format", "json");
  expect(code).toBe(0);
  const images = JSON.parse(output);
  expect(images.map(({ file }: { file: string }) => file)).toEqual(
    ["img1.jpg", "img2.png", "img3.webp"].map((name) => join("good", name)),
  );
  expect(images[0].width).toBe(64);
  expect(images[1].height).toBe(129);
  expect(Object.keys(images[0].timing)).toEqual(["decode", "preprocess", "infer", "postprocess", "total"]);
  expect(images[0].detections[0]).toEqual({
    label: "cat",
    classId: 0,
    score: expect.closeTo(TOY_BOXES[0]!.score, 2),
    box: TOY_BOXES[0]!.box.map((side) => expect.closeTo(side, 1)),
  });
  for (const { width, height, detections } of images) {
    for (const { box } of detections) {
      expect(Math.min(...box)).toBeGreaterThanOrEqual(0);
      expect(Math.max(box[0], box[2])).toBeLessThanOrEqual(width);
      expect(Math.max(box[1], box[3])).toBeLessThanOrEqual(height);
    }
  }
});

test("detect takes thresholds, classes, limits and batches from its flags", async () => {
  const counts = async (...words: readonly string[]): Promise<string[]> => {
    const { code, output, errors } = await toy("good/img1.jpg", "--format", "jsonl", ...words);
    expect(errors).toBe("");
    expect(code).toBe(0);
    return jsonLines(output)[0]!.detections.map(({ label, score }) => `${label} ${score.toFixed(1)}`);
  };
  const all = ["cat 0.9", "cat 0.8", "dog 0.7", "dog 0.6"];
  expect(await counts("--iou", "0.8")).toEqual(all);
  expect(await counts("--iou", "0.8", "--threshold", "0.65")).toEqual(all.slice(0, 3));
  expect(await counts("--iou", "0.5")).toEqual(["cat 0.9", "dog 0.7", "dog 0.6"]);
  expect(await counts("--iou", "0.5", "--agnostic")).toEqual(["cat 0.9", "dog 0.6"]);
  expect(await counts("--classes", "dog")).toEqual(["dog 0.7", "dog 0.6"]);
  expect(await counts("--classes", "0,dog", "--max-detections", "1")).toEqual(["cat 0.9"]);
  expect(await counts("--iou", "1", "--batch", "3", "--threads", "1", "--head", "yolo")).toEqual(all);
});

test("detect refuses a class and a head that do not exist, and a size out of range, with 2", async () => {
  const size = await toy("good", "--size", "99999");
  expect([size.code, size.errors]).toEqual([
    2,
    expect.stringContaining("--size must be a side from 1 to 16384 pixels, or"),
  ]);
  const [classes, head] = await Promise.all([
    toy("good/img1.jpg", "--classes", "dgo"),
    toy("good/img1.jpg", "--head", "yolox-decode"),
  ]);
  expect([classes.code, head.code]).toEqual([2, 2]);
  expect(classes.errors).toContain('Did you mean "dog"?');
  expect(head.errors).toContain('Did you mean "yolox-decoded"?');
});

test("detect does the rest of a folder with bad images, names those, and exits with 1", async () => {
  for (const batch of ["1", "4"]) {
    const { code, output, errors } = await toy("mixed", "--format", "jsonl", "--batch", batch);
    expect(code).toBe(1);
    expect(jsonLines(output).map(({ file }) => file)).toEqual([join("mixed", "img1.jpg"), join("mixed", "img2.png")]);
    expect(errors).toMatch(/^error: Cannot \S+ .*broken\.jpg/m);
    expect(errors).toMatch(/^error: Cannot \S+ .*cut\.jpg/m);
    expect(errors).toMatch(/^error: Cannot .*broken\.jpg.*\nHint: JPEG, PNG, .* are supported$/m);
    expect(errors).toEndWith("2 of 4 images could not be read\n");
    expect(errors).not.toContain("    at ");
  }
});

test("detect --pose-model finds the points of each person, or of the classes that are named, in order", async () => {
  type Posed = { file: string; task: string; objects: { label: string; box: number[]; keypoints: number[][] }[] };
  const posed = async (...words: readonly string[]): Promise<CliResult & { readonly lines: Posed[] }> => {
    const result = await toy("--pose-model", path("points.onnx"), ...words);
    return { ...result, lines: result.output === "" ? [] : (jsonLines(result.output) as never) };
  };
  writeFileSync(path("points.onnx"), toyTopDown("simcc"));
  writeFileSync(path("people.onnx"), toyDetector({ metadata: { names: "{0: 'person', 1: 'dog'}", stride: "32" } }));
  const jsonl = ["--format", "jsonl"];
  const people = await posed("mixed", "--model", path("people.onnx"), "--save", path("posed"), ...jsonl);
  expect(people.code).toBe(1);
  expect(people.errors).toEndWith("2 of 4 images could not be read\n");
  expect(people.lines.map(({ file }) => file)).toEqual([join("mixed", "img1.jpg"), join("mixed", "img2.png")]);
  expect(readdirSync(path("posed")).length).toBe(2);
  for (const { task, objects } of people.lines) {
    expect([task, objects.map(({ label }) => label)]).toEqual(["pose", ["person"]]);
    expect(objects[0]!.keypoints.map((point) => point.length)).toEqual([3, 3, 3]);
  }
  const dogs = await posed("good/img1.jpg", "--classes", "dog", "--pose-padding", "2", ...jsonl);
  expect(dogs.lines[0]!.objects.map(({ label }) => label)).toEqual(["dog", "dog"]);
  const nobody = await posed("good/img1.jpg", "--threshold", "0.99", "--classes", "dog", ...jsonl);
  expect(nobody.lines[0]).toMatchObject({ task: "pose", objects: [] });
  const refused = await Promise.all([
    posed("good"),
    posed("good", "--classes", "dog", "--pose-model", path("toy.onnx")),
    toy("good", "--pose-padding", "2"),
    posed("good", "--classes", "dgo"),
  ]);
  expect(refused.map(({ code }) => code)).toEqual([2, 1, 2, 2]);
  expect(refused[0]!.errors).toMatch(
    /--pose-model is for people, and \S+ has no class "person"\nHint: say by --classes /,
  );
  expect(refused[1]!.errors).toContain("as a top-down pose model");
  expect(refused[2]!.errors).toContain("--pose-padding is for --pose-model");
  expect(refused[3]!.errors).toContain('Unknown class "dgo". Did you mean "dog"?');
});

test("detect names what stands for no image", async () => {
  const results = await Promise.all([toy("nothing.jpg"), toy("empty"), toy("good/*.gif")]);
  expect(results.map(({ code }) => code)).toEqual([1, 1, 1]);
  expect(results[0]!.errors).toContain('Cannot detect in "nothing.jpg": there is no such file or folder');
  expect(results[1]!.errors).toContain('Cannot detect in the folder "empty": it holds no image');
  expect(results[2]!.errors).toContain('Cannot detect in "good/*.gif": no image or video fits the pattern');
});

test("detect finds an output that cannot be written before anything else", async () => {
  const start = ["detect", "good", "--model", "missing.onnx"];
  const results = await Promise.all(
    [
      ["--output", "nowhere/out.json", "--format", "json"],
      ["--output", "toy.onnx", "--format", "yolo"],
      ["--save", "toy.onnx/out"],
    ].map((words) => runCli([...start, ...words], { cwd: path() })),
  );
  for (const { code, errors } of results) {
    expect(code).toBe(1);
    expect(errors).toContain("Cannot write");
  }
});

test("detect, inspect and build name a model that is a folder, or an empty plan", async () => {
  writeFileSync(path("empty.plan"), "");
  const [detected, inspected, built, empty] = await Promise.all(
    [
      ["detect", "good", "--model", "good"],
      ["inspect", "good"],
      ["build", "good"],
      ["inspect", "empty.plan"],
    ].map((words) => runCli(words, { cwd: path() })),
  );
  for (const result of [detected!, inspected!, built!]) {
    expect(result.errors).toBe(
      'error: Cannot load the model "good": it is a folder\nHint: name the .onnx file in it\n',
    );
    expect(result.code).toBe(1);
  }
  expect(empty!.errors).toStartWith('error: Cannot load the model "empty.plan": it is empty\nHint: ');
});

test("detect leaves a former output alone when the run fails at its start", async () => {
  writeFileSync(path("former.json"), "[]");
  const words = ["detect", "good", "--model", "missing.onnx", "--format", "json", "--output", "former.json"];
  const { code, errors } = await runCli(words, { cwd: path() });
  expect(code).toBe(1);
  expect(errors).toContain('Cannot load the model "missing.onnx"');
  expect(readFileSync(path("former.json"), "utf8")).toBe("[]");
});

test("detect --format yolo writes a text file an image", async () => {
  const { code, output } = await toy("good", "--format", "yolo", "--output", "labels");
  expect(code).toBe(0);
  expect(output).toBe("");
  expect(readdirSync(path("labels")).sort()).toEqual(["img1.txt", "img2.txt", "img3.txt"]);
  expect(readFileSync(path("labels/img1.txt"), "utf8")).toMatch(
    /^0 0\.375000 0\.375000 0\.500000 0\.500000 0\.\d{6}\n/,
  );
});

test.skipIf(!hasSmallDisk).each(["yolo", "json", "coco"])(
  "detect --format %s on a full disk keeps the former file, and no half of one",
  async (format) => {
    mkdirSync(path(format));
    const name = format === "yolo" ? "img1.txt" : `boxes.${format}`;
    const output = format === "yolo" ? format : join(format, name);
    const words = cliWords(["detect", "good", "-m", "toy.onnx", "-f", format, "--output", output, "--backend", "cpu"]);
    // What is left of the disk is less than one page.
    const fill = `printf old > ${format}/${name}; cat /dev/zero > ${format}/zero 2> /dev/null`;
    const shell = `mount -t tmpfs -o size=64k tmpfs ${format} && { ${fill}; "$@"; ls -A ${format}; cat ${format}/${name}; }`;
    const child = Bun.spawn([...SMALL_DISK, shell, "sh", ...words], { cwd: path(), stdout: "pipe", stderr: "pipe" });
    const [found, errors] = await Promise.all([child.stdout.text(), child.stderr.text()]);
    expect(errors).toMatch(new RegExp(`error: Cannot write ".*${format}/${name}": ENOSPC`));
    expect(found).toBe(`${name}\nzero\nold`);
  },
);

test.skipIf(!hasSmallDisk)(
  "detect --save on a full disk keeps the copy that was there, and no half of one",
  async () => {
    mkdirSync(path("disk"));
    const { data, width, height } = noiseImage(200, 150);
    await sharp(data, { raw: { width, height, channels: 3 } })
      .png()
      .toFile(path("noise.png"));
    const words = cliWords(["detect", "noise.png", "-m", "toy.onnx", "--backend", "cpu", "--save", "disk"]);
    const shell = `mount -t tmpfs -o size=64k tmpfs disk && printf old > disk/noise.png; "$@" > table; ls -A disk; wc -c < disk/noise.png`;
    const child = Bun.spawn([...SMALL_DISK, shell, "sh", ...words], { cwd: path(), stdout: "pipe", stderr: "pipe" });
    const [output, errors] = await Promise.all([child.stdout.text(), child.stderr.text()]);
    expect(errors).toContain('error: Cannot write "disk/noise.png"');
    expect(output).toBe("noise.png\n3\n");
  },
);

test.skipIf(!hasSmallDisk)("detect --output on a full disk leaves no empty file behind", async () => {
  mkdirSync(path("full"));
  const words = cliWords(["detect", "good", "-m", "toy.onnx", "--backend", "cpu", "-f", "json", "-o", "full/out.json"]);
  const shell = `mount -t tmpfs -o size=64k tmpfs full && head -c 65536 /dev/zero > full/fill; "$@"; ls -A full`;
  const child = Bun.spawn([...SMALL_DISK, shell, "sh", ...words], { cwd: path(), stdout: "pipe", stderr: "pipe" });
  const [output, errors] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  expect(errors).toContain('error: Cannot write "full/out.json": ENOSPC');
  expect(output).toBe("fill\n");
});

test("detect --save writes a copy of each image in its own format", async () => {
  const { code } = await toy("good", "--save", "drawn", "--output", "table.txt");
  expect(code).toBe(0);
  const kinds = await Promise.all(
    ["img1.jpg", "img2.png", "img3.webp"].map(async (name) => {
      const { format, width, height } = await sharp(path("drawn", name)).metadata();
      return `${format} ${width}x${height}`;
    }),
  );
  expect(kinds).toEqual(["jpeg 64x64", "png 33x129", "webp 1x1"]);
  const { channels } = await sharp(path("drawn/img2.png")).stats();
  expect(Math.min(...channels.map(({ min }) => min))).toBeLessThan(255);
  expect(readFileSync(path("table.txt"), "utf8")).toContain("3 objects");
});

test("detect --save writes the copy of one image to a file that is named like one, and refuses it for several", async () => {
  const one = await toy("good/img2.png", "--save", "alone/copy.webp", "--output", "-", "--format", "jsonl");
  expect([one.code, JSON.parse(one.output).file]).toEqual([0, "good/img2.png"]);
  const { format, width, height } = await sharp(path("alone/copy.webp")).metadata();
  expect([format, width, height]).toEqual(["webp", 33, 129]);
  expect(existsSync(path("-"))).toBe(false);
  // A folder may be named so.
  mkdirSync(path("folder.png"));
  expect((await toy("good/img2.png", "--save", "folder.png")).code).toBe(0);
  expect(readdirSync(path("folder.png"))).toEqual(["img2.png"]);
  expect((await toy("good/img2.png", "--save", "new-folder.png/")).code).toBe(0);
  expect(readdirSync(path("new-folder.png"))).toEqual(["img2.png"]);
  const several = await toy("good", "--save", "all.jpg");
  expect(several.code).toBe(2);
  expect(several.errors).toBe('error: --save "all.jpg" is one file, got 3 images\nHint: give a folder\n');
  const own = await toy("good/img2.png", "--save", "good/img2.png");
  expect([own.code, own.errors.includes("--save would overwrite an image that is read: ")]).toEqual([2, true]);
});

test("detect --save draws on the very image it looked at, where an address gives another the next time", async () => {
  const images = await Promise.all([64, 33].map((side) => white(side, side).jpeg().toBuffer()));
  let asked = 0;
  using server = Bun.serve({ port: 0, fetch: () => new Response(new Uint8Array(images[asked++] ?? images[1]!)) });
  const address = new URL("/snapshot.jpg", server.url).href;
  const { code, output, errors } = await toy(address, "--save", "snapshots", "--format", "jsonl");
  expect([code, errors, asked]).toEqual([0, "", 1]);
  expect(jsonLines(output)[0]).toMatchObject({ file: address, width: 64 });
  expect((await sharp(path("snapshots/snapshot.jpg")).metadata()).width).toBe(64);
});

test("detect --save draws on what comes through a pipe, and names one that is no image", async () => {
  const words = cliWords(["detect", "--model", "toy.onnx", "--backend", "cpu", "--save", "piped", "-q", "-f", "jsonl"]);
  const line = `${words.join(" ")} <(cat good/img1.jpg) <(echo no image)`;
  const child = Bun.spawn(["bash", "-c", line], { cwd: path(), stdout: "pipe", stderr: "pipe" });
  const [output, errors, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  expect(jsonLines(output).map(({ detections }) => detections.length)).toEqual([3]);
  expect(readdirSync(path("piped"))).toHaveLength(1);
  expect(errors).toMatch(/^error: Cannot decode "\/dev\/fd\/\d+": it is not an image but 9 bytes/);
  expect(errors).toEndWith("1 of 2 images could not be read\n");
  expect(code).toBe(1);
});

test("detect --format coco numbers images and classes by the annotations", async () => {
  const annotations = {
    images: [1, 2, 3].map((id) => ({ id: id * 100, file_name: ["img1.jpg", "img2.png", "img3.webp"][id - 1] })),
    categories: [
      { id: 17, name: "cat" },
      { id: 18, name: "Dog" },
    ],
  };
  writeFileSync(path("instances.json"), JSON.stringify(annotations));
  const [annotated, plain] = await Promise.all([
    toy("good", "--format", "coco", "--annotations", "instances.json"),
    toy("good", "--format", "coco"),
  ]);
  expect([annotated.code, plain.code]).toEqual([0, 0]);
  const rows = JSON.parse(annotated.output);
  expect(rows[0]).toEqual({ image_id: 100, category_id: 17, bbox: [8, 8, 32, 32], score: expect.closeTo(0.9, 2) });
  const ids = (text: string, key: string): number[] => [
    ...new Set<number>(JSON.parse(text).map((row: Record<string, number>) => row[key])),
  ];
  expect(ids(annotated.output, "category_id").sort()).toEqual([17, 18]);
  expect(ids(plain.output, "image_id")).toEqual([1, 2, 3]);
  expect(ids(plain.output, "category_id").sort()).toEqual([1, 2]);
});

test("detect --format coco refuses images without a number before anything is loaded", async () => {
  writeFileSync(path("other.json"), '{"images": [{"id": 1, "file_name": "else.jpg"}], "categories": []}');
  const { code, errors } = await toy("good", "--format", "coco", "--annotations", "other.json");
  expect(code).toBe(1);
  expect(errors).toContain(
    'Cannot derive a COCO image id from "good/img1.jpg": none of the 1 images of the annotations',
  );
});

test("detect ends quietly when the reader of its output goes", async () => {
  const line = cliWords(["detect", "many", "--model", "toy.onnx", "--format", "jsonl"]).join(" ");
  const child = Bun.spawn(["bash", "-c", `set -o pipefail; ${line} | head -n 1 | cut -c1-8`], {
    cwd: path(),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [output, errors, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  expect(output).toBe('{"file":\n');
  expect(errors).toBe("");
  expect(code).toBe(0);
});

test.each([
  ["SIGINT", 130],
  ["SIGTERM", 143],
] as const)(
  "detect on %s finishes what is running, leaves whole lines, and exits with %d",
  async (signal, expected) => {
    const words = ["detect", "many", "--model", "toy.onnx", "--format", "json", "--output", `${signal}.json`];
    const child = spawnCli(words, { cwd: path() });
    const isWritten = (name: string): boolean =>
      /^\.bun-tensorrt-.*\.tmp$/.test(name) && statSync(path(name)).size >= 10;
    while (!readdirSync(path()).some(isWritten)) await Bun.sleep(5);
    expect(existsSync(path(`${signal}.json`))).toBe(false);
    child.kill(signal);
    const [errors, code] = await Promise.all([child.stderr.text(), child.exited]);
    expect(code).toBe(expected);
    expect(errors).toMatch(/^Stopped after \d+ of 2000 images\n$/);
    const done = Number(errors.match(/\d+/)![0]);
    expect(JSON.parse(readFileSync(path(`${signal}.json`), "utf8"))).toHaveLength(done);
    expect(done).toBeLessThan(2000);
  },
);

const yolo11n = await pulled("yolo11n");
const sample2 = await pulled("sample2");

test.skipIf(yolo11n === undefined || sample2 === undefined)(
  "demo finds the people of the sample and draws them",
  async () => {
    const { code, output, errors } = await runCli(["demo"], { cwd: path() });
    expect(code).toBe(0);
    expect(output.match(/^ {2}person /gm)).toHaveLength(3);
    expect(errors).toContain("Running yolo11n, with head yolo, on ");
    expect(errors).toContain(`Boxes drawn: ${join("out", "sample2.jpg")}`);
    expect((await sharp(path("out/sample2.jpg")).metadata()).width).toBe(1920);
  },
);

test.skipIf(yolo11n === undefined)("inspect tells a model's head and why, as text and as JSON", async () => {
  const [text, json] = await Promise.all([runCli(["inspect", "yolo11n"]), runCli(["inspect", yolo11n!, "--json"])]);
  expect([text.code, json.code]).toEqual([0, 0]);
  expect(text.output).toMatch(/^ {2}head +yolo$/m);
  expect(text.output).toContain("images: f32 [?, 3, ?, ?]");
  const { inputs, recognition, metadata } = JSON.parse(json.output);
  expect(inputs).toEqual([{ name: "images", dtype: "f32", shape: [-1, 3, -1, -1] }]);
  expect(recognition.labels).toHaveLength(80);
  expect(metadata.task).toBe("detect");
});

test("inspect is certain of a model whose metadata name Ultralytics, and names other heads of one that any may have exported", async () => {
  const tell = async (metadata: Readonly<Record<string, string>>): Promise<unknown[]> => {
    writeFileSync(path("told.onnx"), toyDetector({ metadata }));
    const { confidence, recognition } = JSON.parse((await runCli(["inspect", path("told.onnx"), "--json"])).output);
    return [recognition.head, confidence, recognition.alternatives];
  };
  const names = "{0: 'cat', 1: 'dog'}";
  expect(await tell({ names })).toEqual(["yolo", "likely", expect.arrayContaining(["libreyolo"])]);
  for (const by of [{ author: "Ultralytics" }, { description: "Ultralytics YOLO11n model" }])
    expect(await tell({ names, ...by } as Readonly<Record<string, string>>)).toEqual(["yolo", "certain", []]);
});

test("inspect exits with 1 for a model of no known head, and tells why", async () => {
  writeFileSync(path("odd.onnx"), toyDetector({ metadata: { task: "classify" } }));
  const { code, output } = await runCli(["inspect", path("odd.onnx")]);
  expect(code).toBe(1);
  expect(output).toContain("Not recognised\n");
  expect(output).toContain('its task is "classify"');
});

test.skipIf(!existsSync(BUS) || yolo11n === undefined)(
  "detect finds four persons and a bus in the photograph of Ultralytics",
  async () => {
    const { output } = await runCli(["detect", BUS, "--format", "jsonl"]);
    const labels = jsonLines(output)[0]!.detections.map(({ label }) => label);
    expect(labels.sort()).toEqual(["bus", "person", "person", "person", "person"]);
  },
);

test("detect --output refuses what is read: images, the model, annotations, by whatever name", async () => {
  writeFileSync(path("annotations.json"), '{"images":[],"categories":[]}');
  linkSync(path("toy.onnx"), path("hard.json"));
  symlinkSync(path("good/img1.jpg"), path("link.json"));
  const before = readFileSync(path("good/img1.jpg"));
  const cases: readonly (readonly string[])[] = [
    ["good/img1.jpg", "--format", "json", "-o", "./good/img1.jpg"],
    ["good", "--format", "jsonl", "-o", "link.json"],
    ["good/img2.png", "-o", "toy.onnx"],
    ["good/img2.png", "-o", "hard.json"],
    ["good/img1.jpg", "--format", "coco", "--annotations", "annotations.json", "-o", "annotations.json"],
  ];
  for (const { code, errors } of await Promise.all(cases.map((words) => toy(...words)))) {
    expect(errors).toMatch(/^error: --output would overwrite a file that is read: "\S+"\nHint: give another/);
    expect(code).toBe(2);
  }
  mkdirSync(path("copies"));
  const both = await toy("good", "--save", "copies", "-o", "copies/img1.jpg");
  expect(both.errors).toStartWith('error: --output and --save both write "copies/img1.jpg"\nHint: ');
  expect([both.code, readdirSync(path("copies"))]).toEqual([2, []]);
  writeFileSync(path("copies/img1.jpg"), "former");
  symlinkSync("copies/img1.jpg", path("copy.json"));
  const linked = await toy("good", "--save", "copies", "--format", "json", "-o", "copy.json");
  expect(linked.errors).toStartWith('error: --output and --save both write "copy.json"\nHint: ');
  expect(readFileSync(path("copies/img1.jpg"), "utf8")).toBe("former");
  expect(readFileSync(path("good/img1.jpg"))).toEqual(before);
  expect(new Uint8Array(readFileSync(path("toy.onnx")))).toEqual(toyDetector());
});
