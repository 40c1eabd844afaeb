import { expect } from "bun:test";
import { fakeCudaTest } from "../support/fake-cuda.ts";

fakeCudaTest("EventBoard.watch() takes in an event that is given a place while it runs", async (runOnFakeCuda) => {
  const output = await runOnFakeCuda(
    `
    const { EventBoard } = await import("./src/cuda/event-waits.ts");
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
});
