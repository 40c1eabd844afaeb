import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildFakeCuda, isFakeCudaMissing, runOnFakeCuda } from "../support/fake-cuda.ts";

describe.skipIf(isFakeCudaMissing)("with a fake CUDA, as gcc is there", () => {
  const folder = mkdtempSync(join(tmpdir(), "fake-cuda-"));
  let machine: Record<string, string> = {};

  beforeAll(() => {
    machine = buildFakeCuda(folder);
  });

  afterAll(() => rmSync(folder, { recursive: true }));

  test("EventBoard.watch() takes in an event that is given a place while it runs", async () => {
    const output = await runOnFakeCuda(
      machine,
      `
      const { EventBoard } = await import("./src/cuda/event-board.ts");
      const board = new EventBoard();
      const NOT_READY = 600;
      const early = board.add(NOT_READY);
      board.begin(early);
      const watching = board.watch(-1);
      await Bun.sleep(20);
      const late = board.add(0x5000);
      board.begin(late);
      await watching;
      console.log(board.isDone(early), board.isDone(late));
      `,
    );
    expect(output).toBe("false true");
  }, 30_000);
});
