import { expect, test } from "bun:test";
import { Turns } from "../../src/tensorrt/library.ts";

test("Turns.take() lets one in at a time, in order", async () => {
  const turns = new Turns();
  const order: string[] = [];
  const work = async (name: string): Promise<void> => {
    using _turn = await turns.take();
    order.push(`${name} in`);
    await Bun.sleep(5);
    order.push(`${name} out`);
  };
  await Promise.all([work("a"), work("b"), work("c")]);
  expect(order).toEqual(["a in", "a out", "b in", "b out", "c in", "c out"]);
});

test("Turns.take() ends waiting by a signal, and keeps the order of the rest", async () => {
  const turns = new Turns();
  const first = await turns.take();
  const controller = new AbortController();
  const second = turns.take(controller.signal).catch((error: unknown) => error);
  let isThird = false;
  const third = turns.take().then((turn) => {
    isThird = true;
    return turn;
  });
  controller.abort(new Error("enough"));
  expect(((await second) as Error).message).toBe("enough");
  await Bun.sleep(2);
  expect(isThird).toBe(false);
  first[Symbol.dispose]();
  (await third)[Symbol.dispose]();
  const late = await turns.take(controller.signal).catch((error: unknown) => error);
  expect((late as Error).message).toBe("enough");
  (await turns.take())[Symbol.dispose]();
});
