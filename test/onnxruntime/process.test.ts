import { beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileFolder } from "../support/folder.ts";
import { arithmeticModel, countingModel } from "../support/onnx-models.ts";

setDefaultTimeout(120_000);

const ROOT = join(import.meta.dir, "../..");

const path = fileFolder("process");

beforeAll(() => {
  writeFileSync(path("counting.onnx"), countingModel());
  writeFileSync(path("arithmetic.onnx"), arithmeticModel());
});

/** Run a script in a process of its own; `counting(n)` there begins a run of about n · 0.7 µs. */
async function run(
  script: string,
): Promise<{ code: number | null; signal: NodeJS.Signals | number | null; out: string; error: string }> {
  const prelude = `
    import { createTensor, Session, tensorOf } from "bun-tensorrt/onnxruntime";
    const FOLDER = ${JSON.stringify(path())};
    const session = await Session.load(FOLDER + "/counting.onnx", { intraOpThreads: 3 });
    function counting(rounds) {
      return session.run({ rounds: tensorOf("i64", [], BigInt64Array.of(BigInt(rounds))), start: createTensor("f32", [1]) });
    }
  `;
  const child = Bun.spawn([process.execPath, "-e", prelude + script], { cwd: ROOT, stdout: "pipe", stderr: "pipe" });
  const [out, error] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  await child.exited;
  return { code: child.exitCode, signal: child.signalCode, out, error };
}

const FOREVER = 2_000_000_000;

test("a process that exits while a model runs ends at once, with its own exit code and nothing on stderr", async () => {
  expect(await run(`counting(${FOREVER}); counting(${FOREVER}); await Bun.sleep(10); process.exit(7);`)).toEqual({
    code: 7,
    signal: null,
    out: "",
    error: "",
  });
});

test("a process that exits while a model loads ends cleanly", async () => {
  const load = `Session.load(FOLDER + "/arithmetic.onnx"); Session.load(FOLDER + "/counting.onnx"); process.exit(0);`;
  expect(await run(load)).toEqual({ code: 0, signal: null, out: "", error: "" });
});

test("a process that exits with a deferred close ends cleanly", async () => {
  const script = `counting(${FOREVER}); await Bun.sleep(5); session.close(); process.exit(3);`;
  expect(await run(script)).toEqual({ code: 3, signal: null, out: "", error: "" });
});

test("a process that throws while a model runs ends with the error, not a crash", async () => {
  const { code, signal, error } = await run(`counting(${FOREVER}); await Bun.sleep(5); throw new Error("on purpose");`);
  expect([code, signal]).toEqual([1, null]);
  expect(error).toContain("on purpose");
});

test("a process with a run in flight waits for it, and ends cleanly with its session still open", async () => {
  const script = `counting(50000).then((outputs) => process.stdout.write(String(outputs.get("counted").data[0])));`;
  expect(await run(script)).toEqual({ code: 0, signal: null, out: "50000", error: "" });
});

test("ONNX Runtime writes nothing to stderr, whatever fails", async () => {
  const { error, out } = await run(`
    const bad = await Session.load(FOLDER + "/arithmetic.onnx");
    const inputs = { a: createTensor("f32", [2, 3]), b: createTensor("f32", [4, 3]) };
    await bad.run(inputs).catch((reason) => process.stdout.write(reason.name));
    await Session.fromBytes(new Uint8Array(99), "zeros").catch((reason) => process.stdout.write(" " + reason.name));
  `);
  expect(out).toBe("OnnxRuntimeError ModelError");
  expect(error).toBe("");
});
