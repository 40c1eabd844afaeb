import { expect, test } from "bun:test";
import { allEnded } from "../../src/core/resource.ts";

test("allEnded() gives the values in order", async () => {
  expect(await allEnded([Bun.sleep(3).then(() => 1), Promise.resolve(2)])).toEqual([1, 2]);
  expect(await allEnded([])).toEqual([]);
});

test("allEnded() throws the first reason in order, once none runs any more", async () => {
  let isEnded = false;
  const slow = Bun.sleep(5).then(() => {
    isEnded = true;
    throw new Error("slow");
  });
  await expect(allEnded([slow, Promise.reject(new Error("quick"))])).rejects.toThrow("slow");
  expect(isEnded).toBe(true);
});
