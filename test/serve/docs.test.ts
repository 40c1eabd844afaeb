import { expect, setDefaultTimeout, test } from "bun:test";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Detector } from "../../src/api/detector.ts";
import { serve } from "../../src/serve/detection-server.ts";
import { pulled } from "../support/catalogue.ts";
import { ToyServer } from "../support/serving.ts";
import { toyColours } from "../support/toy-objects.ts";

setDefaultTimeout(120_000);

const document = readFileSync(join(import.meta.dir, "../../docs/serve.md"), "utf8");
const lines = [...document.matchAll(/^```sh\n([\s\S]*?)^```/gm)]
  .flatMap((match) => match[1]!.trim().split("\n"))
  .filter((line) => /^(curl|\{) /.test(line));
const model = await pulled("yolo11n");
const image = await pulled("sample1");
const isAbsent = model === undefined || image === undefined;

test.skipIf(isAbsent || Bun.which("curl") === null)(
  "docs/serve.md: every curl line gets an answer",
  async () => {
    expect(lines.length).toBeGreaterThanOrEqual(9);
    const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-curl-"));
    try {
      copyFileSync(image!, join(folder, "street.jpg"));
      await using detector = await Detector.load("yolo11n", { backend: "cpu" });
      await using server = await serve(detector, { port: 0, name: "yolo11n" });
      await using classifier = await ToyServer.serving(toyColours);
      for (const line of lines) {
        const { origin } = line.includes("/classify") ? classifier.server.url : server.url;
        const words = line.replaceAll(/http:\/\/localhost:\d+/g, origin).replace("curl ", "curl --fail ");
        const child = Bun.spawn(["bash", "-c", words], { cwd: folder, stdout: "pipe", stderr: "pipe" });
        const [output, errors, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
        expect([line, errors, code]).toEqual([line, "", 0]);
        const file = / -o (\S+)/.exec(line)?.[1] ?? /> (\S+)$/.exec(line)?.[1];
        expect(file === undefined ? output.length : statSync(join(folder, file)).size).toBeGreaterThan(10);
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
  120_000,
);

test("docs/serve.md names every code that a refusal can have", async () => {
  const files = [...new Bun.Glob("*.ts").scanSync(join(import.meta.dir, "../../src/serve"))];
  const codes = new Set<string>();
  for (const file of files) {
    const text = readFileSync(join(import.meta.dir, "../../src/serve", file), "utf8");
    for (const match of text.matchAll(/refusal\(\s*\d{3},\s*"([a-z-]+)"/g)) codes.add(match[1]!);
  }
  expect(codes.size).toBeGreaterThanOrEqual(15);
  expect([...codes].filter((code) => !document.includes(`\`${code}\``))).toEqual([]);
});
