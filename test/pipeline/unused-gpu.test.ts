import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { toyDetector } from "../support/toy-detector.ts";

setDefaultTimeout(120_000);

const root = join(import.meta.dir, "../..");
const model = toyDetector().toBase64();

/** What a program that loads a detector twice says on standard error, on a machine whose best device cannot be used. */
async function said(
  before: string,
  env: Record<string, string> = {},
  isPresent = true,
  options = "{}",
): Promise<string> {
  const script = `
    import { Detector, setLogSink } from "./src/index.ts";
    import { registerAccelerator } from "./src/accelerators/accelerator.ts";
    registerAccelerator({
      names: ["fast"], machine: "GPU", preference: 99, isPresent: async () => ${isPresent},
      load: async () => ({ unavailable: () => "libfast was not found", open: () => Promise.reject(new Error("none")) }),
    });
    ${before}
    for (let times = 0; times < 2; times++) {
      await using detector = await Detector.load(Uint8Array.fromBase64("${model}"), ${options});
      if (detector.backend.kind !== "cpu") throw new Error(detector.backend.kind);
    }`;
  const { BUN_TENSORRT_BACKEND: _, ...rest } = process.env;
  const child = Bun.spawn([process.execPath, "-e", script], { cwd: root, env: { ...rest, ...env }, stderr: "pipe" });
  const text = await child.stderr.text();
  expect(await child.exited, text).toBe(0);
  return text;
}

test("a GPU that is there and is not used is told of once on standard error, and nothing else is", async () => {
  const [plain, silent, sink, chosen, absent] = await Promise.all([
    said(""),
    said("setLogSink(undefined);"),
    said("setLogSink((level, text) => level === 'warn' && console.error('sink', text.split('\\n')[0]));"),
    said("", { BUN_TENSORRT_BACKEND: "cpu" }),
    said("", {}, false),
  ]);
  expect(plain).toBe(
    "bun-tensorrt: Running on the CPU, and the GPU of this machine is not used: libfast was not found\n" +
      "Hint: bunx bun-tensorrt doctor says what is missing; " +
      'backend: "cpu" or BUN_TENSORRT_BACKEND=cpu, or setLogSink, silences this\n',
  );
  const line = "sink Running on the CPU, and the GPU of this machine is not used: libfast was not found\n";
  expect([silent, sink, chosen, absent]).toEqual(["", line + line, "", ""]);
});

test("a device that was named and is not used, as there is none, is told of on standard error, the first one too", async () => {
  const [first, list, chosen, byEnvironment] = await Promise.all([
    said("", {}, false, "{ device: 0 }"),
    said("", {}, false, "{ device: [0] }"),
    said("", {}, false, '{ device: 0, backend: "cpu" }'),
    said("", { BUN_TENSORRT_BACKEND: "cpu" }, false, "{ device: 0 }"),
  ]);
  const text =
    "bun-tensorrt: Ignoring `device`: the model runs on the CPU\n" +
    'Hint: backend: "gpu" (--backend gpu) makes this an error; leaving out `device`, or setLogSink, silences this\n';
  expect([first, list]).toEqual([text, text]);
  expect([chosen, byEnvironment]).toEqual(["", ""]);
});
