import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BrowserPage, chromium } from "../support/browser.ts";
import { ToyServer, white } from "../support/serving.ts";
import { toyMap } from "../support/toy-map.ts";
import { toyColours, toyObb, toyPose, toySegmenter } from "../support/toy-objects.ts";

setDefaultTimeout(120_000);

/** Starting a browser takes seconds on a busy machine. */
const TIMEOUT_MS = 60_000;
const BOXES = "document.querySelector('#canvas').dataset.boxes";
const ERROR = "document.querySelector('#error')";

let folder = "";
let page: BrowserPage | undefined;
const path = (name: string): string => join(folder, name);

beforeAll(async () => {
  if (chromium === undefined) return;
  folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-page-"));
  await white(64, 64).jpeg().toFile(path("white.jpg"));
  await white(200, 100).png().toFile(path("wide.png"));
  // Lies on its side, and says so: upright it is 40 wide and 80 high.
  await white(80, 40).jpeg().withMetadata({ orientation: 6 }).toFile(path("turned.jpg"));
  writeFileSync(path("notes.txt"), "these are notes");
  page = await BrowserPage.open(1100, 760);
}, TIMEOUT_MS);

afterAll(async () => {
  await page?.[Symbol.asyncDispose]();
  if (folder !== "") rmSync(folder, { recursive: true });
});

/** Colour of one pixel of the canvas, at a place of the image. */
function pixel(x: number, y: number): Promise<number[]> {
  return page!.evaluate(`(() => {
    const canvas = document.querySelector("#canvas");
    const { width, height } = canvas;
    const data = canvas.getContext("2d").getImageData(Math.round(${x} * width), Math.round(${y} * height), 1, 1).data;
    return [...data.slice(0, 3)];
  })()`);
}

const WHITE = [255, 255, 255];

test.skipIf(chromium === undefined)(
  "the page shows an image with its boxes, list and times, and none of it by another host's help",
  async () => {
    await using toy = await ToyServer.open();
    await page!.goto(toy.server.url.href);
    await page!.until("document.querySelector('#model').textContent.includes('toy · 2 classes')"); // asked for by the page
    await page!.chooseFiles("#file", [path("white.jpg")]);
    await page!.until(`${BOXES} === "3"`);
    // The left edge of the box from 8 to 40 of 64 pixels is painted, the corner of the image is not.
    expect(await pixel(8 / 64, 30 / 64)).not.toEqual(WHITE);
    expect(await pixel(0.02, 0.9)).toEqual(WHITE);
    const items = "[...document.querySelectorAll('#list li')].map((item) => item.textContent)";
    expect(await page!.evaluate<string[]>(items)).toEqual(["cat0.90", "dog0.70", "dog0.60"]);
    const label = await page!.evaluate<string>("document.querySelector('#canvas').getAttribute('aria-label')");
    expect(label).toBe("Image with 1 × cat, 2 × dog");
    expect(await page!.evaluate<string>("document.querySelector('#timing').innerText")).toMatch(/Model\s+\d+\.\d ms/);
    expect(page!.console.filter((text) => /"level":"error"|exceptionThrown|Refused/.test(text))).toEqual([]);
  },
  TIMEOUT_MS,
);

test.skipIf(chromium === undefined)(
  "the page tints masks, and lets the slider take them away with their boxes",
  async () => {
    await using toy = await ToyServer.serving(toySegmenter);
    await page!.goto(toy.server.url.href);
    await page!.chooseFiles("#file", [path("white.jpg")]);
    await page!.until(`${BOXES} === "2"`);
    // The dog's box goes on to the right of its mask, below the labels.
    const [inside, outside] = [await pixel(28 / 64, 50 / 64), await pixel(48 / 64, 50 / 64)];
    expect(outside).toEqual(WHITE);
    // So much of its colour on white as src/tasks/draw-options.ts says, where one channel is the highest there is.
    expect(Math.max(...inside)).toBeGreaterThan(200);
    expect(Math.min(...inside)).toBeLessThan(200);
    await page!.evaluate(`(() => {
      const slider = document.querySelector("#threshold");
      slider.value = "0.95";
      slider.dispatchEvent(new Event("input"));
    })()`);
    expect(await pixel(28 / 64, 50 / 64)).toEqual(WHITE);
    expect(page!.console.filter((text) => /"level":"error"|exceptionThrown|Refused/.test(text))).toEqual([]);
  },
  TIMEOUT_MS,
);

test.skipIf(chromium === undefined)(
  "the page draws a skeleton, oriented boxes, and the classes of a whole image",
  async () => {
    await using pose = await ToyServer.serving(toyPose);
    await page!.goto(pose.server.url.href);
    await page!.chooseFiles("#file", [path("white.jpg")]);
    await page!.until(`${BOXES} === "1"`);
    // The line from the left shoulder to the left hip, between their points; beside it nothing.
    expect(await pixel(33 / 64, 29 / 64)).not.toEqual(WHITE);
    expect(await pixel(14 / 64, 50 / 64)).toEqual(WHITE);
    // The ankles are not seen.
    expect(await pixel(48 / 64, 44 / 64)).toEqual(WHITE);

    await using obb = await ToyServer.serving(toyObb);
    await page!.goto(obb.server.url.href);
    await page!.chooseFiles("#file", [path("white.jpg")]);
    await page!.until(`${BOXES} === "2"`);
    expect(await pixel(28 / 64, 40 / 64)).not.toEqual(WHITE);
    expect(await pixel(32 / 64, 36 / 64)).toEqual(WHITE);

    await using colours = await ToyServer.serving(toyColours);
    await page!.goto(colours.server.url.href);
    await page!.chooseFiles("#file", [path("white.jpg")]);
    await page!.until(`${BOXES} === "3"`);
    expect(await page!.evaluate<string>("document.querySelector('#results-title').textContent")).toBe("Classes");
    const label = await page!.evaluate<string>("document.querySelector('#canvas').getAttribute('aria-label')");
    expect(label).toBe("Image of red");
    expect(await page!.evaluate<boolean>("document.querySelector('#threshold').hidden")).toBe(true);
    expect(page!.console.filter((text) => /"level":"error"|exceptionThrown|Refused/.test(text))).toEqual([]);
  },
  TIMEOUT_MS,
);

test.skipIf(chromium === undefined)(
  "the page takes an image that is dropped, and one that lies on its side",
  async () => {
    await using toy = await ToyServer.open();
    await page!.goto(toy.server.url.href);
    await page!.dropFiles(300, 300, [path("wide.png")]);
    await page!.until(`${BOXES} === "3"`);
    const ratio = "document.querySelector('#canvas').width / document.querySelector('#canvas').height";
    expect(await page!.evaluate<number>(ratio)).toBeCloseTo(2, 2);
    await page!.dropFiles(300, 300, [path("turned.jpg")]);
    await page!.until(`${ratio} < 1`);
    expect(await page!.evaluate<number>(ratio)).toBeCloseTo(0.5, 2);
    expect(await page!.evaluate<boolean>(`${ERROR}.hidden`)).toBe(true);
  },
  TIMEOUT_MS,
);

test.skipIf(chromium === undefined)(
  "the page says what is wrong with a text file, and goes on with the next image",
  async () => {
    await using toy = await ToyServer.open();
    await page!.goto(toy.server.url.href);
    await page!.chooseFiles("#file", [path("notes.txt")]);
    await page!.until(`!${ERROR}.hidden`);
    expect(await page!.evaluate<string>(`${ERROR}.textContent`)).toContain("it is not an image");
    expect(await page!.evaluate<string | null>(`${ERROR}.getAttribute("role")`)).toBe("alert");
    await page!.chooseFiles("#file", [path("white.jpg")]);
    await page!.until(`${BOXES} === "3"`);
    expect(await page!.evaluate<boolean>(`${ERROR}.hidden`)).toBe(true);
    await toy.server.close();
    await page!.chooseFiles("#file", [path("white.jpg")]);
    await page!.until(`${ERROR}.textContent.includes("cannot be reached")`);
  },
  TIMEOUT_MS,
);

test.skipIf(chromium === undefined)(
  "the page saves the image that is shown under its own name, after one that was refused as well",
  async () => {
    await using toy = await ToyServer.open();
    await page!.goto(toy.server.url.href);
    await page!.chooseFiles("#file", [path("white.jpg")]);
    await page!.until(`${BOXES} === "3"`);
    await page!.chooseFiles("#file", [path("notes.txt")]);
    await page!.until(`!${ERROR}.hidden`);
    const note = "HTMLAnchorElement.prototype.click = function () { document.title = this.download; }";
    await page!.evaluate(`${note}, document.querySelector("#save").click()`);
    await page!.until(`document.title.endsWith(".png")`);
    expect(await page!.evaluate<string>("document.title")).toBe("white-boxes.png");
  },
  TIMEOUT_MS,
);

test.skipIf(chromium === undefined)(
  "the page works by keyboard alone, and the slider leaves boxes out at once",
  async () => {
    await using toy = await ToyServer.open();
    await page!.goto(toy.server.url.href);
    const focused = (): Promise<string> => page!.evaluate("document.activeElement.id");
    await page!.press("Tab");
    expect(await focused()).toBe("file");
    await page!.chooseFiles("#file", [path("white.jpg")]);
    await page!.until(`${BOXES} === "3"`);
    await page!.press("Tab");
    expect(await focused()).toBe("save");
    await page!.press("Tab");
    expect(await focused()).toBe("threshold");
    await page!.press("End");
    await page!.until(`${BOXES} === "0"`);
    expect(await page!.evaluate<string>("document.querySelector('#status').textContent")).toBe(
      "No object, 3 below the score",
    );
    await page!.press("Home");
    await page!.until(`${BOXES} === "3"`);
    expect(await page!.evaluate<string>("document.querySelector('#threshold-value').textContent")).toBe("0.05");
  },
  TIMEOUT_MS,
);

test.skipIf(chromium === undefined)(
  "the page asks for the token of a server that has one",
  async () => {
    await using toy = await ToyServer.open({ token: "open-sesame" });
    await page!.goto(toy.server.url.href);
    await page!.until("!document.querySelector('#access').hidden");
    await page!.chooseFiles("#file", [path("white.jpg")]);
    await page!.until(`!${ERROR}.hidden`);
    await page!.evaluate("document.querySelector('#token').value = 'open-sesame'");
    await page!.evaluate("document.querySelector('#access').requestSubmit()");
    await page!.until(`${BOXES} === "3"`);
    expect(await page!.evaluate<boolean>("document.querySelector('#access').hidden")).toBe(true);
    await page!.evaluate("sessionStorage.clear()");
  },
  TIMEOUT_MS,
);

for (const scheme of ["light", "dark"]) {
  test.skipIf(chromium === undefined)(
    `the page's text is readable in ${scheme}, and nothing is wider than a telephone`,
    async () => {
      await using toy = await ToyServer.open();
      const features = [{ name: "prefers-color-scheme", value: scheme }];
      await page!.send("Emulation.setEmulatedMedia", { features });
      await page!.send("Emulation.setDeviceMetricsOverride", {
        width: 360,
        height: 640,
        deviceScaleFactor: 1,
        mobile: false,
      });
      await page!.goto(toy.server.url.href);
      await page!.chooseFiles("#file", [path("wide.png")]);
      await page!.until(`${BOXES} === "3"`);
      expect(await page!.evaluate<number>("document.documentElement.scrollWidth")).toBeLessThanOrEqual(360);
      const contrast = await page!.evaluate<number>(`(() => {
        const level = (text) => {
          const [r, g, b] = text.match(/[\\d.]+/g).map((one) => one / 255).map((one) => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
          return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const ground = level(getComputedStyle(document.querySelector("#results")).backgroundColor);
        return Math.min(...["#status", "#list b", "#timing dt"].map((one) => {
          const ink = level(getComputedStyle(document.querySelector(one)).color);
          return (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
        }));
      })()`);
      expect(contrast).toBeGreaterThanOrEqual(4.5);
    },
    TIMEOUT_MS,
  );
}

test.skipIf(chromium === undefined)(
  "the page shows the classes of pixels, and depth as an image of it",
  async () => {
    const semantic = { classes: 3, size: [64, 64], metadata: { task: "semantic", names: "['a', 'b', 'c']" } } as const;
    await using classes = await ToyServer.serving(toyMap(semantic));
    await page!.goto(classes.server.url.href);
    await page!.until("document.querySelector('#model').textContent.includes('toy · 3 classes')");
    await page!.chooseFiles("#file", [path("white.jpg")]);
    await page!.until("document.querySelector('#status').textContent === '1 class'");
    // The whole image is of one class, whose colour covers a part of its white.
    expect(await pixel(0.5, 0.5)).not.toEqual(WHITE);
    expect(await page!.evaluate<string>("document.querySelector('#list').textContent")).toMatch(/^[abc]1\.00$/);

    await using depth = await ToyServer.serving(toyMap({ form: "depth", size: [64, 64], metadata: { task: "depth" } }));
    await page!.goto(depth.server.url.href);
    await page!.until("document.querySelector('#model').textContent.includes('toy')");
    await page!.chooseFiles("#file", [path("white.jpg")]);
    await page!.until(
      "/^From -?\\d+\\.\\d\\d to -?\\d+\\.\\d\\d m$/.test(document.querySelector('#status').textContent)",
    );
    expect(await pixel(0.5, 0.5)).not.toEqual(WHITE);
  },
  TIMEOUT_MS,
);
