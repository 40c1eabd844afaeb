import { beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import sharp from "sharp";
import { type Conversion, convert, decodeImage, type ObjectAgreement, OptionError } from "../../src/index.ts";
import { reportPage } from "../../src/precision/report.ts";
import { runCli } from "../cli/run-cli.ts";
import { fixedModel, rawGrid } from "../support/fixed-model.ts";
import { fileFolder } from "../support/folder.ts";
import { tinyModel } from "../support/tensorrt.ts";

setDefaultTimeout(120_000);

const path = fileFolder("report");

/** Centre, width, height, scores. FP16 rounds the cat's up to the threshold of 0.25. */
const ROWS = [
  [12, 16, 16, 12, 0.75, 0],
  [24, 8, 8, 8, 0, 0.249999],
] as const;

beforeAll(async () => {
  mkdirSync(path("photos"));
  for (let at = 0; at < 40; at++) {
    const background = { r: at * 6, g: 128, b: 255 - at * 6 };
    // Some are larger than they are shown.
    await sharp({ create: { width: at === 0 ? 1200 : 40, height: at === 0 ? 600 : 30, channels: 3, background } })
      .png()
      .toFile(path(`photos/${String(at).padStart(2, "0")}.png`));
  }
  const grid = rawGrid(
    6,
    ROWS.map((row, at) => [at, row] as const),
  );
  const metadata = { task: "detect", names: "{0: 'person', 1: 'cat'}" };
  writeFileSync(path("a.onnx"), fixedModel([grid], { metadata }));
  writeFileSync(path("tiny.onnx"), tinyModel());
});

/** What no page may have: another file, or a script. */
function expectSelfContained(page: string): void {
  expect(page).toStartWith("<!doctype html>");
  expect(page).toContain("</html>");
  expect(page).not.toMatch(/<script|<link|https?:|\son\w+=|src="(?!data:image\/jpeg;base64,)/i);
  expect(page).toContain("prefers-color-scheme: dark");
}

test("convert() writes a report of images that were held back, with those that changed side by side", async () => {
  const place = path("report.html");
  const options = {
    precision: "fp16",
    calibration: path("photos"),
    output: path("a.fp16.onnx"),
    report: place,
  } as const;
  const { report, calibration } = await convert(path("a.onnx"), options);
  expect([report!.path, report!.heldBack.length, calibration!.images]).toEqual([place, 10, 30]);
  const { comparison } = report!;
  expect(comparison!.images).toBe(10);
  const { matched, onlyFirst, onlySecond, images } = comparison!.agreement as ObjectAgreement;
  expect([matched, onlyFirst, onlySecond]).toEqual([10, 0, 10]);
  expect(images.map((image) => image.path)).toEqual([...report!.heldBack]);
  const page = readFileSync(place, "utf8");
  expectSelfContained(page);
  expect(page).toContain("<h1>a.onnx in FP16</h1>");
  expect(page).toContain("Measured on 10 images held back from the calibration.");
  // Eight of ten, each by both models.
  const jpegs = [...page.matchAll(/src="data:image\/jpeg;base64,([^"]+)"/g)].map(([, data]) =>
    Buffer.from(data!, "base64"),
  );
  expect(jpegs.length).toBe(16);
  const [before, after] = await Promise.all(jpegs.slice(0, 2).map((bytes) => decodeImage(bytes)));
  // The first image is shown smaller; the second model's has a box more.
  expect([before!.width, before!.height]).toEqual([480, 240]);
  expect(after!.data).not.toEqual(before!.data);
  expect(page.length).toBeLessThan(400_000);
  const first = await Bun.file(place).text();
  await convert(path("a.onnx"), options);
  expect(await Bun.file(place).text()).toBe(first);
});

test("a report says how many layers have each type and why, and that nothing was measured without images", async () => {
  const { report, layers } = await convert(path("tiny.onnx"), { precision: "fp16", report: path("tiny.html") });
  expect(report).toEqual({ path: path("tiny.html"), heldBack: [] });
  const page = readFileSync(path("tiny.html"), "utf8");
  expectSelfContained(page);
  expect(page).toContain(`<td>FP16</td><td>${layers.length}</td>`);
  expect(page).toContain("Nothing was measured: there were no images.");
});

test("a report has what both models have by annotations, as well as what one has by the other", async () => {
  const images = Array.from({ length: 3 }, (_, at) => ({ id: at, file_name: `photos/0${at + 1}.png` }));
  // The person's corners in 32x32, in pixels of 40x30 that lie letterboxed in it.
  const bbox = [5, 7.5, 20, 15];
  const objects = images.map(({ id }) => ({ id, image_id: id, category_id: 1, bbox, area: 300, iscrowd: 0 }));
  const data = { images, annotations: objects.slice(1), categories: [{ id: 1, name: "person" }] };
  writeFileSync(path("objects.json"), JSON.stringify(data));
  const { report } = await convert(path("a.onnx"), {
    ...{ precision: "fp16", output: path("b.onnx"), report: path("b.html"), annotations: path("objects.json") },
  });
  const { before, after } = report!.truth!;
  // Of three images the first has a person that is not annotated.
  expect(before).toBeGreaterThan(0.5);
  expect(before).toBeLessThan(1);
  expect(after).toBe(before);
  expect(report!.comparison).toBeUndefined();
  const page = readFileSync(path("b.html"), "utf8");
  expect(page).toContain(
    `<td>mAP50-95, by annotations</td><td>${before.toFixed(4)}</td><td>${after.toFixed(4)}</td><td>0.0000</td>`,
  );
  expect(page).not.toContain("Nothing was measured");
});

test("a page escapes every name, and shows the search, reasons and skipped images", () => {
  const evil = `<img src=x onerror="alert(1)">&'\u001b`;
  const conversion: Conversion = {
    ...{ path: evil, precision: "int8", byteLength: { before: 4096, after: 1024 }, casts: 2 },
    layers: [
      { name: evil, op: "Conv", type: "int8" },
      { name: "b", op: "Exp", type: "fp32", reason: `boxes: ${evil}` },
    ],
    calibration: { images: 3, skipped: [evil], file: "ranges.json" },
    sensitivity: {
      ...{ maxLoss: 0.01, lossBefore: 0.0321, loss: 0.0099, images: 4, heldBack: [], skipped: ["late.jpg"] },
      layers: [{ name: evil, op: "Conv", sqnr: 12.34, isKept: true }],
      blocks: [{ name: evil, layers: [evil], cost: 0.0222, isKept: true }],
      attempts: [
        { kept: 0, loss: 0.0321 },
        { kept: 1, loss: 0.0099 },
      ],
    },
  };
  const agreement = { path: evil, matched: 1, onlyFirst: 2, onlySecond: 3, iou: 0.5, scoreChange: 0.25 };
  const jpeg = Uint8Array.of(0xff, 0xd8);
  const measured = {
    heldBack: [],
    truth: { before: 0.5, after: 0.4901 },
    drawn: [{ path: evil, agreement, before: jpeg, after: jpeg }],
  };
  const page = reportPage({ title: evil, conversion, measured });
  expect(page).toContain("<td>1</td><td>0.0222</td><td>FP16</td>");
  expect(page).not.toContain("<img src=x");
  expect(page).not.toContain("\u001b");
  expect(page.replaceAll("&lt;img src=x onerror=&quot;alert(1)&quot;&gt;&amp;&#39;\\u001b", "NAME")).not.toContain(
    "alert",
  );
  for (const text of [
    "<td>mAP50-95, by annotations</td><td>0.5000</td><td>0.4901</td><td>-0.0099</td>",
    "4.00 KiB before, 1.00 KiB after (25 %)",
    "<tr><td>0</td><td>0.0321</td><td>no</td></tr>\n<tr><td>1</td><td>0.0099</td><td>yes</td></tr>",
    "<td>Conv</td><td>12.3</td><td>FP16</td>",
    "<li>late.jpg</li>",
    "<td>FP32</td><td>1</td>",
    "1 object in both (mean IoU 0.5000, scores within ±0.2500), 2 only in FP32, 3 only in INT8",
  ]) {
    expect(page).toContain(text);
  }
});

test("a report that cannot be written is refused before any work, and nothing is written", async () => {
  const before = readdirSync(path()).sort();
  const calibrate = { precision: "fp16", calibration: path("photos"), output: path("none.onnx") } as const;
  const onProgress = (): void => {
    throw new Error("work has begun");
  };
  for (const report of [path("a.onnx"), path("none.onnx"), path("none.onnx.calibration.json")]) {
    const failed = await convert(path("a.onnx"), { ...calibrate, report, onProgress }).catch((error: unknown) => error);
    expect(failed).toBeInstanceOf(OptionError);
    expect((failed as Error).message).toStartWith("`report` would overwrite the model");
  }
  const nowhere = path("nowhere", "report.html");
  const failed = await convert(path("a.onnx"), { ...calibrate, report: nowhere, onProgress }).catch(
    (error: unknown) => error,
  );
  expect((failed as Error).message).toContain(`Cannot write ${JSON.stringify(nowhere)}`);
  if (process.platform !== "win32" && process.getuid?.() !== 0) {
    writeFileSync(path("fixed.html"), "mine");
    chmodSync(path("fixed.html"), 0o444);
    const refused = await convert(path("a.onnx"), { ...calibrate, report: path("fixed.html"), onProgress }).catch(
      (error: unknown) => error,
    );
    expect((refused as Error).message).toContain("Cannot write");
    expect(readFileSync(path("fixed.html"), "utf8")).toBe("mine");
    rmSync(path("fixed.html"), { force: true });
  }
  expect(readdirSync(path()).sort()).toEqual(before);
});

test("convert --report says where the report is, and has what was measured in its JSON", async () => {
  const words = ["convert", "a.onnx", "-p", "fp16", "--calibration", "photos", "--samples", "4", "-o", "cli.onnx"];
  const { code, output, errors } = await runCli([...words, "--report", "cli.html", "--json"], { cwd: path() });
  expect([code, errors.includes("\nReport: cli.html\n")]).toEqual([0, true]);
  const { report, calibration } = JSON.parse(output);
  expect([report.path, report.heldBack.length, calibration.images]).toEqual(["cli.html", 10, 4]);
  expect(report.comparison.agreement.onlySecond).toBe(10);
  expectSelfContained(readFileSync(path("cli.html"), "utf8"));
  expect(existsSync(path("cli.onnx"))).toBe(true);
});
