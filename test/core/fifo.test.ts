import { expect, test } from "bun:test";
import { Fifo } from "../../src/core/fifo.ts";

test("Fifo gives back what it took, in order, while it grows and goes round", () => {
  const fifo = new Fifo<number>();
  expect(fifo.shift()).toBeUndefined();
  let pushed = 0;
  let taken = 0;
  for (const [push, shift] of [
    [3, 2],
    [15, 9],
    [40, 1],
    [0, 30],
    [200, 216],
  ] as const) {
    for (let step = 0; step < push; step++) fifo.push(pushed++);
    for (let step = 0; step < shift; step++) expect(fifo.shift()).toBe(taken++);
    expect(fifo.length).toBe(pushed - taken);
  }
  expect(fifo.length).toBe(0);
  expect(fifo.shift()).toBeUndefined();
});

test("Fifo takes undefined for an item like any other", () => {
  const fifo = new Fifo<undefined>();
  fifo.push(undefined);
  expect(fifo.length).toBe(1);
  fifo.shift();
  expect(fifo.length).toBe(0);
});
