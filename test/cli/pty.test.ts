import { beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import sharp from "sharp";
import { fileFolder } from "../support/folder.ts";
import { isGpuMissing } from "../support/gpu.ts";
import { toyDetector } from "../support/toy-detector.ts";
import { cliWords } from "./run-cli.ts";

setDefaultTimeout(120_000);

const path = fileFolder("pty");

beforeAll(async () => {
  mkdirSync(path("many"));
  writeFileSync(path("toy.onnx"), toyDetector());
  const image = await sharp({ create: { width: 64, height: 64, channels: 3, background: "white" } })
    .jpeg()
    .toBuffer();
  for (let at = 0; at < 100; at++) writeFileSync(path("many", `${100 + at}.jpg`), image);
});

/** What a terminal of 90 columns gets to see. */
async function onTerminal(words: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<string> {
  let text = "";
  const decoder = new TextDecoder();
  const { NO_COLOR: _, ...inherited } = process.env;
  const { promise: drained, resolve: onDrained } = Promise.withResolvers<void>();
  const child = Bun.spawn(cliWords(words), {
    cwd: path(),
    env: { ...inherited, TERM: "xterm-256color", ...env },
    terminal: {
      cols: 90,
      rows: 24,
      data: (_terminal, bytes) => {
        text += decoder.decode(bytes, { stream: true });
      },
      exit: () => onDrained(),
    },
  });
  expect(await child.exited).toBe(0);
  // What the process wrote last may come after its end.
  await drained;
  return text;
}

const DETECT = ["detect", "many", "--model", "toy.onnx", "--format", "jsonl", "--output", "out.jsonl"];

test("detect shows a bar with rate and time left on a terminal, wipes it, and sums up", async () => {
  const text = await onTerminal(DETECT);
  expect(text).toMatch(/detect {2}\[[#-]{24}\] {2}\d+ of 100 {2}[\d.]+ images\/s/);
  const tally = text.split("\r\x1b[K").at(-1)!;
  expect(Bun.stripANSI(tally)).toMatch(/^100 images, 300 objects in [\d.]+ m?s, [\d.]+ images\/s\r\n$/);
});

test.skipIf(!isGpuMissing)("detect tells on a terminal why it runs on the CPU, once and dimly", async () => {
  const note = "\x1b[2mRunning on the CPU, as the GPU cannot be used: ";
  const open = { BUN_TENSORRT_BACKEND: "auto" };
  const [auto, chosen, named] = await Promise.all([
    onTerminal(DETECT, open),
    onTerminal([...DETECT, "--backend", "cpu"], open),
    onTerminal(DETECT, { BUN_TENSORRT_BACKEND: "cpu" }),
  ]);
  expect(auto.split(note)).toHaveLength(2);
  expect(auto).not.toContain("none of these paths");
  expect(chosen).not.toContain(note);
  expect(named).not.toContain(note);
});

test("detect --quiet shows nothing on a terminal", async () => {
  expect(await onTerminal([...DETECT, "--quiet"])).toBe("");
});

test("colours are for terminals, and not where NO_COLOR is set", async () => {
  const table = ["detect", "many/100.jpg", "--model", "toy.onnx"];
  expect(await onTerminal(table)).toContain("\x1b[36mcat\x1b[39m");
  expect(await onTerminal(table, { NO_COLOR: "1" })).not.toContain("\x1b[");
});
